import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, readlinkSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Client } from 'pg'
import { createClient } from 'redis'
import { describe, expect, test } from 'vitest'
import { findEngine } from '../support/engines/find.ts'
import { needEngines } from '../support/engines/need.ts'
import { startNginx } from '../support/engines/nginx.ts'
import { startPostgres } from '../support/engines/postgres.ts'
import { startRedis } from '../support/engines/redis.ts'
import { findFreePort, startService, type Service } from '../support/engines/service.ts'
import { makeFolder } from '../support/folder.ts'

const postgres = needEngines('postgres')
const redis = needEngines('redis')
const nginx = needEngines('nginx')

const TIMEOUT_MS = 1000

/** What must be gone when a service is. */
function traceOf({ pid }: Service) {
  const children = readFileSync(`/proc/${pid()}/task/${pid()}/children`, 'utf8').split(' ')
  const [folder = ''] = path.relative(tmpdir(), readlinkSync(`/proc/${pid()}/cwd`)).split(path.sep)
  return {
    processes: [pid(), ...children.filter((one) => one.trim() !== '').map(Number)],
    folder: path.join(tmpdir(), folder),
  }
}

function listRemains({ processes, folder }: ReturnType<typeof traceOf>): string[] {
  return [...processes.map((pid) => `/proc/${pid}`), folder].filter((place) => existsSync(place))
}

/** Whether it answers only after the service goes on. */
async function waitsFor(service: Service, ask: () => Promise<unknown>): Promise<boolean> {
  await service.pause()
  let isAnswered = false
  const answered = ask().then(() => (isAnswered = true))
  await expect(fetch(`http://127.0.0.1:${service.port}/`, timeLimit())).rejects.toThrow(/timeout/)
  const isEarly = isAnswered
  service.resume()
  return (await answered) && !isEarly
}

const timeLimit = () => ({ signal: AbortSignal.timeout(TIMEOUT_MS) })

describe.skipIf(postgres.isMissing)(`PostgreSQL${postgres.note}`, () => {
  async function connect(url: string) {
    const client = new Client({ connectionString: url, connectionTimeoutMillis: TIMEOUT_MS })
    // A stop cuts the connection, and the test asks for that.
    client.on('error', () => {})
    await client.connect()
    return {
      ask: async (text: string) => (await client.query(text)).rows as readonly unknown[],
      [Symbol.asyncDispose]: () => client.end(),
    }
  }

  test.each([true, false])('keeps what it has committed over a stop (fsync %s)', async (fsync) => {
    await using server = await startPostgres({ fsync })
    await using before = await connect(server.url)
    await before.ask('create table kept (number integer)')
    await before.ask('insert into kept values (7)')
    await server.stop()
    await expect(before.ask('select 1')).rejects.toThrow(/connection/i)
    await expect(connect(server.url)).rejects.toThrow(/ECONNREFUSED/)
    await server.start()
    await using after = await connect(server.url)
    expect(await after.ask('select number from kept')).toEqual([{ number: 7 }])
    expect(await after.ask('show fsync')).toEqual([{ fsync: fsync ? 'on' : 'off' }])
  })

  test('makes databases that know nothing of each other', async () => {
    await using server = await startPostgres({ fsync: false })
    const urls = [server.url, ...(await Promise.all([1, 2].map(server.createDatabase)))]
    expect(new Set(urls).size).toBe(3)
    for (const url of urls) {
      await using client = await connect(url)
      await client.ask('create table mine (number integer)')
    }
  })

  test('stands still while it is paused, and can be stopped then', async () => {
    await using server = await startPostgres({ fsync: false })
    await using client = await connect(server.url)
    expect(await waitsFor(server, () => client.ask('select 1'))).toBe(true)
    await server.pause()
    await server.stop()
    await server.start()
    await using after = await connect(server.url)
    expect(await after.ask('select 1 as one')).toEqual([{ one: 1 }])
  })

  test('leaves no process and no folder behind', async () => {
    const server = await startPostgres({ fsync: false })
    await using client = await connect(server.url)
    await client.ask('select 1')
    const trace = traceOf(server)
    expect(listRemains(trace).length).toBeGreaterThan(3)
    await server.pause()
    await server[Symbol.asyncDispose]()
    expect(listRemains(trace)).toEqual([])
  })
})

describe.skipIf(redis.isMissing)(`Redis${redis.note}`, () => {
  async function connect(url: string) {
    const client = createClient({
      url,
      disableOfflineQueue: true,
      socket: { reconnectStrategy: false, connectTimeout: TIMEOUT_MS },
    })
    client.on('error', () => {})
    await client.connect()
    return Object.assign(client, { [Symbol.asyncDispose]: async () => client.destroy() })
  }

  test.each([
    ['what it has answered for', true, 'value'],
    ['nothing', false, null],
  ])('keeps %s over a stop', async (_what, durable, kept) => {
    await using server = await startRedis({ durable })
    {
      await using client = await connect(server.url)
      await client.set('name', 'value')
      await server.stop()
      await expect(client.get('name')).rejects.toThrow(/closed/i)
    }
    await expect(connect(server.url)).rejects.toThrow(/ECONNREFUSED/)
    await server.start()
    await using client = await connect(server.url)
    expect(await client.get('name')).toBe(kept)
  })

  test('takes directives', async () => {
    const directives = ['--rename-command', 'CONFIG', '', '--maxmemory', '2mb']
    await using server = await startRedis({ directives })
    await using client = await connect(server.url)
    expect(await client.info('memory')).toContain('maxmemory:2097152\r\n')
    await expect(client.configGet('maxmemory')).rejects.toThrow(/unknown command/)
  })

  test('stands still while it is paused', async () => {
    await using server = await startRedis()
    await using client = await connect(server.url)
    expect(await waitsFor(server, () => client.ping())).toBe(true)
  })

  test('leaves no process and no folder behind', async () => {
    const server = await startRedis()
    const trace = traceOf(server)
    expect(listRemains(trace)).toHaveLength(2)
    await server.pause()
    await server[Symbol.asyncDispose]()
    expect(listRemains(trace)).toEqual([])
  })

  test('is on another port where somebody else got the first one', async () => {
    await using somebody = createServer((socket) => socket.destroy())
    somebody.listen(0, '127.0.0.1')
    await once(somebody, 'listening')
    const { port: taken } = somebody.address() as AddressInfo
    const free = await findFreePort()
    const ports = [taken, free]
    using folder = makeFolder()
    const found = findEngine('redis')
    if (typeof found === 'string') throw new Error(found)
    await using server = await startService(
      {
        command: found.command,
        args: (port) => ['--port', String(port), '--bind', '127.0.0.1', '--save', ''],
        folder: folder.path,
        endSignal: 'SIGKILL',
        async probe(port) {
          await using client = await connect(`redis://127.0.0.1:${port}`)
          await client.ping()
        },
      },
      async () => ports.shift() ?? 0,
    )
    expect(server.port).toBe(free)
  })

  test.skipIf(!existsSync('/usr/bin/setpriv'))('ends with whoever started it', async () => {
    using folder = makeFolder()
    const module = path.resolve(import.meta.dirname, '../support/engines/redis.ts')
    const script = `import { startRedis } from ${JSON.stringify(module)}
      console.log((await startRedis()).pid())`
    const starter = spawn(process.execPath, ['--input-type=module', '-e', script], {
      env: { TMPDIR: folder.path },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const [printed] = (await once(starter.stdout, 'data')) as [Buffer]
    const pid = Number(printed.toString('utf8'))
    expect(existsSync(`/proc/${pid}`)).toBe(true)
    starter.kill('SIGKILL')
    await expect.poll(() => existsSync(`/proc/${pid}`), { timeout: 10_000 }).toBe(false)
  })

  test('says what it wrote when it ends at its start', async () => {
    await expect(startRedis({ directives: ['--nonsense', 'yes'] })).rejects.toThrow(/nonsense/)
  })
})

describe.skipIf(nginx.isMissing)(`nginx${nginx.note}`, () => {
  const start = () =>
    startNginx((port) => `server { listen 127.0.0.1:${port}; location / { return 204; } }`)
  const ask = ({ port }: Service) => fetch(`http://127.0.0.1:${port}/`)

  test('answers, stops, starts and stands still', async () => {
    await using server = await start()
    expect((await ask(server)).status).toBe(204)
    await server.stop()
    await expect(ask(server)).rejects.toThrow('fetch failed')
    await server.start()
    expect((await ask(server)).status).toBe(204)
    expect(await waitsFor(server, () => ask(server))).toBe(true)
  })

  test('leaves no process and no folder behind', async () => {
    const server = await start()
    const trace = traceOf(server)
    expect(listRemains(trace)).toHaveLength(3)
    await server.pause()
    await server[Symbol.asyncDispose]()
    expect(listRemains(trace)).toEqual([])
  })

  test('says what is wrong with its configuration', async () => {
    await expect(startNginx(() => 'nonsense;')).rejects.toThrow(/unknown directive "nonsense"/)
  })
})
