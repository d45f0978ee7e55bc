import { chmodSync, statSync } from 'node:fs'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { prepareConfig } from '../../auth-server/config/load.ts'
import { createLog } from '../../auth-server/log.ts'
import { createAuthServer, type AuthServer } from '../../auth-server/server.ts'
import { makeFolder } from '../support/folder.ts'
import { ENVIRONMENT, startServer } from '../support/server.ts'

async function findFreePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, 'close')
  return port
}

describe('a server that is starting', () => {
  test('takes no connection before it can serve, so that a proxy goes elsewhere', async () => {
    using folder = makeFolder()
    const port = await findFreePort()
    const starting = startSlowly(folder.path, `http://127.0.0.1:${port}`, port)
    const answer = await firstAnswer(`http://127.0.0.1:${port}/.well-known/openid-configuration`)
    expect(answer.status).toBe(200)
    await using server = await starting
    expect(server.url).toBe(`http://127.0.0.1:${port}`)
  })

  test('answers at once that it is not ready yet where it has to listen to know its issuer', async () => {
    using folder = makeFolder()
    const port = await findFreePort()
    const starting = startSlowly(folder.path, 'http://127.0.0.1:0', port)
    const answer = await firstAnswer(`http://127.0.0.1:${port}/.well-known/openid-configuration`)
    expect(answer.status).toBe(503)
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      'retry-after': '1',
      connection: 'close',
      'cache-control': 'no-store',
    })
    expect(await answer.json()).toEqual({
      error: 'temporarily_unavailable',
      error_description: 'The server is starting, try again.',
    })
    await using server = await starting
    expect((await fetch(`${server.issuer}/.well-known/openid-configuration`)).status).toBe(200)
  })
})

/** Each password is hashed before the server is ready, one after the other. */
function startSlowly(folder: string, issuer: string, port: number): Promise<AuthServer> {
  const users = Array.from({ length: 40 }, (_, index) => ({
    username: `user-${index}`,
    password: { env: 'ALICE' },
  }))
  const loaded = prepareConfig(
    { issuer, listen: { host: '127.0.0.1', port }, users },
    { folder, environment: ENVIRONMENT },
  )
  return createAuthServer(loaded, { log: createLog('silent') })
}

/** Knocks until somebody listens. */
async function firstAnswer(url: string): Promise<Response> {
  for (;;) {
    const answer = await fetch(url).catch(() => undefined)
    if (answer) return answer
  }
}

describe('the file of the root key', () => {
  test.each([
    ['640', 1],
    ['604', 1],
    ['600', 0],
    ['400', 0],
  ])('of mode %s is warned of in lines: %i', async (mode, count) => {
    await using server = await startServer()
    const file = path.join(server.folder, 'portreeve.key')
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(server.logged()).not.toContain('root_key_readable')
    chmodSync(file, Number.parseInt(mode, 8))
    await (await server.startAnother())[Symbol.asyncDispose]()
    const warnings = server
      .logged()
      .split('\n')
      .filter((line) => line.includes('root_key_readable'))
      .map((line) => JSON.parse(line) as unknown)
    const remedy = expect.stringContaining(`chmod 600 ${file}`) as unknown
    const warning = {
      level: 40,
      event: 'root_key_readable',
      time: expect.any(Number) as unknown,
      file,
      remedy,
    }
    expect(warnings).toEqual(Array.from({ length: count }, () => warning))
  })
})
