import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type AddressInfo } from 'node:net'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { text } from 'node:stream/consumers'
import { describe, expect, test, vi } from 'vitest'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { basic } from '../support/flow.ts'
import { makeFolder } from '../support/folder.ts'
import { runProgram, startServerProcess, writeConfig } from '../support/process.ts'
import { startProgram } from '../support/program.ts'
import { SEED_CONFIG, SEED_ENVIRONMENT } from '../support/seed.ts'
import { ENVIRONMENT, SERVICE_SECRET } from '../support/server.ts'

const MAIN = path.resolve(import.meta.dirname, '../../auth-server/main.ts')

/** Runs `serve` where it cannot start. */
async function serve(
  change: (config: ConfigInput) => object,
  options: { environment?: Record<string, string>; args?: readonly string[] } = {},
) {
  using folder = makeFolder()
  writeConfig(folder.path, change)
  const { args = [], environment } = options
  return await runProgram(['serve', ...args], { folder: folder.path, environment })
}

/** Every command is a process of its own. */
const PATIENCE = { timeout: 120_000 }

function alter(database: string, statement: string): void {
  using connection = new DatabaseSync(database, { timeout: 5000 })
  connection.exec(statement)
}

test(
  'portreeve serve warns once, as it starts, that it gives tokens for nothing',
  PATIENCE,
  async () => {
    using folder = makeFolder()
    const config = writeConfig(folder.path, () => SEED_CONFIG)
    const options = { folder: folder.path, environment: { ...ENVIRONMENT, ...SEED_ENVIRONMENT } }
    const words = 'nobody is asked who they are, on this machine'
    await using shown = startProgram('auth-server/main.ts', ['serve', '--config', config], options)
    await vi.waitFor(() => expect(shown.logged()).toContain(words), { timeout: 60_000 })
    shown.signal('SIGTERM')
    const { stderr } = await shown.ended
    expect(stderr.match(/^warning: .*directAccess\.unauthenticated.*$/gm)).toHaveLength(1)
    await using server = await startServerProcess(config, options)
    const { warnings } = JSON.parse(server.printed().split('\n')[0] ?? '') as { warnings: object[] }
    expect(warnings).toContainEqual({
      rule: 'PR551',
      path: ['directAccess', 'unauthenticated'],
      message: words,
    })
  },
)

describe('portreeve serve refuses', PATIENCE, () => {
  test('a port that is taken, and names it and the setting', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as AddressInfo
    const { code, stdout, stderr } = await serve((config) => ({
      ...config,
      issuer: `http://127.0.0.1:${port}`,
      listen: { host: '127.0.0.1', port },
    }))
    other.close()
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toBe(
      `error: Port ${port} on 127.0.0.1 is taken by another program. Stop it, or choose another port with PORT or listen.port (and the issuer with ISSUER or issuer).\n`,
    )
  })

  test('every mistake of the configuration at once, with its path, what was expected and what came', async () => {
    const { code, stdout, stderr } = await serve((config) => ({
      ...config,
      issuer: 'not a url',
      lisen: { port: 1 },
      listen: { host: '127.0.0.1', port: 'high' },
      tokens: { sessionTtlSeconds: -1 },
      users: [{ username: 'ann', roles: 'editor' }],
    }))
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toMatch(/^error: 5 mistakes in .*portreeve\.config\.json:\n/)
    for (const part of [
      /^ {2}issuer: .*"not a url"/m,
      /^ {2}lisen: .*listen/m,
      /^ {2}listen\.port: expected .*"high"/m,
      /^ {2}tokens\.sessionTtlSeconds: expected .*-1/m,
      /^ {2}users\[0\]\.roles: expected .*"editor"/m,
    ]) {
      expect(stderr).toMatch(part)
    }
  })

  test('combinations that are unsafe, with the ids of the rules', async () => {
    const { code, stderr } = await serve((config) => ({
      ...config,
      issuer: 'http://id.example.org',
      clients: [
        {
          id: 'spa',
          authMethod: 'none',
          pkce: 'exempt',
          redirectUris: ['http://spa.example/', 'https://*.example/'],
          scopes: ['openid'],
        },
      ],
    }))
    expect(code).toBe(1)
    expect(stderr.match(/PR\d{3}/g)?.length).toBeGreaterThanOrEqual(3)
    expect(stderr).toMatch(/^ {2}issuer: PR\d{3}: /m)
    expect(stderr).toMatch(/^ {2}clients\[0\]\.redirectUris\[0\]: PR\d{3}: /m)
  })

  test('secrets that cannot be had, all of them', async () => {
    const environment = { WEB_SECRET: '', SERVICE_SECRET: 'short', ALICE: '' }
    const { code, stderr } = await serve((config) => config, { environment })
    expect(code).toBe(1)
    for (const name of ['WEB_SECRET', 'SERVICE_SECRET', 'ALICE']) expect(stderr).toContain(name)
    expect(stderr).not.toMatch(/\bshort\b(?!er)/)
  })

  test.each([
    ['a folder', (file: string) => mkdirSync(file), /Cannot open the database/],
    ['no database', (file: string) => writeFileSync(file, 'x'.repeat(5000)), /not a database/],
  ])('a database that is %s', async (_name, make, message) => {
    using folder = makeFolder()
    writeConfig(folder.path)
    make(folder.file('portreeve.sqlite'))
    const { code, stderr } = await runProgram(['serve'], { folder: folder.path })
    expect([code, stderr]).toEqual([1, expect.stringMatching(message)])
    expect(stderr).not.toMatch(/\n {4}at /)
  })

  test.each([
    ['as it was left', ''],
    // Each alone says that there was a key.
    ['without signing keys', 'delete from signing_key'],
    ['without an audit log', 'delete from audit_entry'],
  ])('a database %s whose root key is gone, and makes no other', async (_name, statement) => {
    using folder = makeFolder()
    const config = writeConfig(folder.path)
    const runOnce = async () => {
      await using server = await startServerProcess(config, { folder: folder.path })
      server.signal('SIGTERM')
      await server.ended
    }
    await runOnce()
    const file = folder.file('portreeve.key')
    const key = readFileSync(file)
    rmSync(file)
    alter(folder.file('portreeve.sqlite'), statement)
    for (const args of [['serve'], ['users', 'add', 'ann', '--no-password']]) {
      const { code, stdout, stderr } = await runProgram(args, { folder: folder.path })
      expect([code, stdout]).toEqual([1, ''])
      expect(stderr).toMatch(
        /^error: The root key is expected in .*portreeve\.key, which does not exist, and the database was used with one: .* Put that file back, or name .* docs\/backup\.md says/,
      )
      expect(existsSync(file)).toBe(false)
    }
    // What is lost with the key is not lost with the users.
    const exported = await runProgram(['export'], { folder: folder.path })
    expect([exported.code, exported.stdout]).toEqual([0, expect.stringContaining('"users"')])
    writeFileSync(file, key, { mode: 0o600 })
    await runOnce()
  })

  test('a mistake in JSON where programs read it', async () => {
    const wrong = (config: ConfigInput) => ({ ...config, issuer: 1 })
    const { code, stdout, stderr } = await serve(wrong, { args: ['--json'] })
    expect([code, stdout]).toEqual([1, ''])
    expect(JSON.parse(stderr)).toEqual({
      error: {
        code: 'misconfigured',
        message: expect.any(String),
        mistakes: [{ path: ['issuer'], message: expect.stringContaining('expected') }],
      },
    })
  })
})

describe('portreeve serve', PATIENCE, () => {
  test('answers what is under way when it is told to stop, and ends well', async () => {
    using folder = makeFolder()
    const config = writeConfig(folder.path)
    await using server = await startServerProcess(config, { folder: folder.path })
    const request = await beginRequest(server.url)
    server.signal('SIGTERM')
    await request.isRefusing()
    request.finish()
    expect(await request.answer).toMatch(/^HTTP\/1\.1 200 .*"access_token"/s)
    expect(await server.ended).toMatchObject({ code: 0, signal: null })
    expect(server.logged()).toContain('"event":"stopped"')
  })

  test('writes nothing but lines of JSON to its log, whatever clients do', async () => {
    using folder = makeFolder()
    const config = writeConfig(folder.path)
    await using server = await startServerProcess(config, { folder: folder.path })
    const request = await beginRequest(server.url)
    request.reset()
    await fetch(`${server.url}/nothing?secret=s3cr3t`)
    server.signal('SIGTERM')
    await server.ended
    const events = server
      .logged()
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { event: string }).event)
    expect(events).toEqual(
      expect.arrayContaining(['started', 'connection_lost', 'request', 'stopped']),
    )
    expect(server.logged()).not.toMatch(/s3cr3t|"level":50/)
  })

  test('ends at once when it is told to stop a second time', async () => {
    using folder = makeFolder()
    const config = writeConfig(folder.path)
    await using server = await startServerProcess(config, { folder: folder.path })
    const request = await beginRequest(server.url)
    server.signal('SIGINT')
    await request.isRefusing()
    server.signal('SIGINT')
    expect(await server.ended).toMatchObject({ code: 1, signal: null })
    expect(await request.answer).toBe('')
  })

  test('says once and for programs where it listens, and nothing secret', async () => {
    using folder = makeFolder()
    const config = writeConfig(folder.path)
    await using server = await startServerProcess(config, { folder: folder.path })
    expect(server.printed().split('\n')).toHaveLength(2)
    expect(JSON.parse(server.printed())).toEqual({
      issuer: server.issuer,
      url: server.url,
      database: folder.file('portreeve.sqlite'),
      config,
    })
    expect(server.logged() + server.printed()).not.toContain(SERVICE_SECRET)
  })
})

describe('portreeve serve shows a person', PATIENCE, () => {
  /** What it prints until it is stopped. */
  const show = async (folder: string, ...args: string[]) => {
    const child = spawn(process.execPath, [MAIN, 'serve', ...args], {
      cwd: folder,
      env: ENVIRONMENT,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    let shown = ''
    for await (const chunk of child.stdout) {
      shown += String(chunk)
      if (shown.includes('Stop it with Ctrl+C.')) child.kill('SIGTERM')
    }
    return shown
  }
  const bare = (config: ConfigInput) => ({ ...config, users: [], clients: [] })

  test('what to do next, in commands that work as they stand, at the first start alone', async () => {
    using folder = makeFolder()
    writeConfig(folder.path, bare)
    const first = await show(folder.path)
    expect(first).toMatch(/^ {2}npx portreeve users add ann$/m)
    expect(first).toContain(
      '\n  npx portreeve clients add my-app --scope openid \\\n    --redirect-uri http://localhost:8080/callback\n',
    )
    const second = await show(folder.path)
    expect(second).toContain('Portreeve listens')
    expect(second).not.toContain('npx portreeve')
  })

  test('the configuration in these commands where one was named', async () => {
    using folder = makeFolder()
    const config = writeConfig(folder.path, bare, 'other.json')
    const shown = await show(folder.path, '--config', 'other.json')
    expect(shown).toContain(`  npx portreeve users add ann --config ${config}\n`)
  })

  test('nothing to do next where a database in memory lets nobody do it, or all is there', async () => {
    using folder = makeFolder()
    writeConfig(folder.path, (config) => ({
      ...bare(config),
      database: { url: 'sqlite::memory:' },
    }))
    expect(await show(folder.path)).not.toContain('npx portreeve')
    writeConfig(folder.path)
    expect(await show(folder.path)).not.toContain('npx portreeve')
  })
})

describe('what the file declares', PATIENCE, () => {
  test('is read-only to the command line', async () => {
    using folder = makeFolder()
    const config = writeConfig(folder.path)
    await using server = await startServerProcess(config, { folder: folder.path })
    const commands = [
      'users set-roles alice --none',
      'users set-password alice --password-stdin',
      'users disable alice',
      'users remove alice',
      'clients rotate-secret service',
      'clients remove service',
    ]
    for (const command of commands) {
      const { code, stderr } = await runProgram(command.split(' '), {
        folder: folder.path,
        input: 'another password',
      })
      expect([command, code, stderr]).toEqual([
        command,
        1,
        expect.stringMatching(
          /^error: The (user alice|client service) is declared in .*change it there\.\n$/,
        ),
      ])
    }
    expect(server.logged()).not.toContain('operator')
  })

  test('is disabled when it disappears, and can then be removed, or comes back', async () => {
    using folder = makeFolder()
    const config = writeConfig(folder.path)
    const show = async (command: string) =>
      JSON.parse(
        (await runProgram([...command.split(' '), '--json'], { folder: folder.path })).stdout,
      ) as { user: object; client: object }
    const runOnce = async () => {
      await using server = await startServerProcess(config, { folder: folder.path })
      server.signal('SIGTERM')
      await server.ended
    }
    await runOnce()
    const before = (await show('users show alice')).user
    writeConfig(folder.path, ({ users = [], clients = [], ...rest }) => ({
      ...rest,
      users: users.filter(({ username }) => username !== 'alice'),
      clients: clients.filter(({ id }) => id !== 'service'),
    }))
    await runOnce()
    expect((await show('users show alice')).user).toMatchObject({ disabled: true, owner: 'file' })
    expect((await show('clients show service')).client).toMatchObject({ disabled: true })
    const removed = await runProgram(['clients', 'remove', 'service'], { folder: folder.path })
    expect(removed.code).toBe(0)
    writeConfig(folder.path)
    await runOnce()
    const { user } = await show('users show alice')
    expect(user).toEqual({ ...before, updatedAt: expect.any(String) })
    expect((await show('clients show service')).client).toMatchObject({ disabled: false })
  })
})

const BODY = 'grant_type=client_credentials&scope=notes:read'

/** Half a request for a token, on a connection of its own. */
async function beginRequest(url: string) {
  const { hostname, port, host } = new URL(url)
  const socket = connect(Number(port), hostname)
  await once(socket, 'connect')
  const head = [
    'POST /token HTTP/1.1',
    `Host: ${host}`,
    `Authorization: ${basic('service', SERVICE_SECRET)}`,
    'Content-Type: application/x-www-form-urlencoded',
    `Content-Length: ${BODY.length}`,
  ]
  socket.write(`${head.join('\r\n')}\r\n\r\n${BODY.slice(0, 9)}`)
  socket.on('error', () => {})
  const answer = text(socket).catch(() => '')
  // It has arrived when a later request on another connection has been answered.
  await fetch(`${url}/livez`)
  return {
    answer,
    reset: () => socket.resetAndDestroy(),
    finish: () => void socket.write(BODY.slice(9)),
    /** Resolves when the server takes no more connections. */
    async isRefusing() {
      for (;;) {
        const probe = connect(Number(port), hostname)
        const [event] = await Promise.race([
          once(probe, 'connect').then(() => ['connect']),
          once(probe, 'close').then(() => ['close']),
        ]).catch(() => ['error'])
        probe.destroy()
        if (event !== 'connect') return
      }
    },
  }
}
