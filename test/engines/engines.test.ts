import { existsSync } from 'node:fs'
import { Client } from 'pg'
import { createClient } from 'redis'
import { describe, expect, test } from 'vitest'
import { needEngines } from '../support/engines/need.ts'
import { startNginx } from '../support/engines/nginx.ts'
import { startPostgres } from '../support/engines/postgres.ts'
import { startRedis } from '../support/engines/redis.ts'
import { findFreePort } from '../support/engines/service.ts'

const postgres = needEngines('postgres')
const redis = needEngines('redis')
const nginx = needEngines('nginx')

const isThere = (pid: number) => existsSync(`/proc/${pid}`)

/** Asks within a second. */
async function query(url: string, text: string): Promise<unknown> {
  const client = new Client({
    connectionString: url,
    connectionTimeoutMillis: 1000,
    query_timeout: 1000,
  })
  // The rejection of what is asked says the same.
  client.on('error', () => {})
  try {
    await client.connect()
    const { rows } = await client.query(text)
    return rows
  } finally {
    await client.end().catch(() => {})
  }
}

describe.skipIf(postgres.isMissing)(`PostgreSQL${postgres.note}`, () => {
  test('answers, keeps its data, can be paused, and leaves nothing behind', async () => {
    let pid = 0
    {
      await using server = await startPostgres({ durable: true })
      pid = server.pid()
      await query(server.url, 'create table kept as select 7 as number')
      await server.stop()
      expect(isThere(pid)).toBe(false)
      await expect(query(server.url, 'select 1')).rejects.toThrow(/ECONNREFUSED/)
      await server.start()
      pid = server.pid()
      expect(await query(server.url, 'select number from kept')).toEqual([{ number: 7 }])
      expect(await query(await server.createDatabase(), 'select 1 as one')).toEqual([{ one: 1 }])
      server.pause()
      await expect(query(server.url, 'select 1')).rejects.toThrow(/timeout/)
      server.resume()
      expect(await query(server.url, 'select number from kept')).toEqual([{ number: 7 }])
    }
    expect(isThere(pid)).toBe(false)
  })
})

describe.skipIf(redis.isMissing)(`Redis${redis.note}`, () => {
  test.each([
    ['its data', true, 'value'],
    ['nothing', false, null],
  ])('answers, keeps %s over a stop, can be paused', async (_what, durable, kept) => {
    await using server = await startRedis({ durable })
    const ask = async <T>(work: (client: ReturnType<typeof createClient>) => Promise<T>) => {
      const client = createClient({
        url: server.url,
        socket: { reconnectStrategy: false, connectTimeout: 1000, socketTimeout: 1000 },
      })
      client.on('error', () => {})
      try {
        await client.connect()
        return await work(client as ReturnType<typeof createClient>)
      } finally {
        client.destroy()
      }
    }
    await ask((client) => client.set('name', 'value'))
    await server.stop()
    await expect(ask((client) => client.get('name'))).rejects.toThrow(/ECONNREFUSED/)
    await server.start()
    expect(await ask((client) => client.get('name'))).toBe(kept)
    server.pause()
    await expect(ask((client) => client.get('name'))).rejects.toThrow(/timeout|closed/i)
    server.resume()
    expect(await ask((client) => client.ping())).toBe('PONG')
  })
})

describe.skipIf(nginx.isMissing)(`nginx${nginx.note}`, () => {
  test('answers, and leaves nothing behind', async () => {
    const port = await findFreePort()
    const url = `http://127.0.0.1:${port}/`
    let pid = 0
    {
      await using server = await startNginx({
        http: `server { listen 127.0.0.1:${port}; location / { return 204; } }`,
        probeUrl: url,
      })
      pid = server.pid()
      expect((await fetch(url)).status).toBe(204)
    }
    expect(isThere(pid)).toBe(false)
    await expect(fetch(url)).rejects.toThrow('fetch failed')
  })
})
