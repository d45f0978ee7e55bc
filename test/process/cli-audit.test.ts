import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { obtainTokens, requestToken, basic } from '../support/flow.ts'
import { makeFolder } from '../support/folder.ts'
import {
  runProgram,
  startServerProcess,
  writeConfig,
  type ServerProcess,
} from '../support/process.ts'
import type { ProgramEnd } from '../support/program.ts'
import { SERVICE_SECRET } from '../support/server.ts'

/** Every command is a process, and several of them run at once. */
const PATIENCE = { timeout: 120_000 }
const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/
const HEAD = /^\d+:[\w-]{8}\.[\w-]{43}$/

interface Entry {
  readonly sequence: number
  readonly at: string
  readonly event: string
  readonly by: string
  readonly accountId?: string
  readonly username?: string
  readonly clientId?: string
  readonly facts: { readonly action?: string }
}

function makeCli() {
  const folder = makeFolder()
  writeConfig(folder.path, (config) => ({ ...config, metrics: { port: 0 } }))
  const run = (args: string, input?: string): Promise<ProgramEnd> =>
    runProgram(args.split(' ').filter(Boolean), { folder: folder.path, input })
  const audit = async (args = ''): Promise<Entry[]> => {
    const { code, stdout, stderr } = await run(`audit --json ${args}`)
    expect([code, stderr]).toEqual([0, ''])
    return (JSON.parse(stdout) as { entries: Entry[] }).entries
  }
  return {
    folder: folder.path,
    file: folder.file('portreeve.sqlite'),
    run,
    audit,
    tamper(...statements: string[]) {
      using database = new DatabaseSync(folder.file('portreeve.sqlite'), { timeout: 5000 })
      for (const statement of statements) database.exec(statement)
    },
    [Symbol.dispose]: () => folder[Symbol.dispose](),
  }
}

function describeEntries(entries: readonly Entry[]): string[] {
  return entries.map(
    ({ event, by, username, clientId, facts }) =>
      `${event} ${by} ${username ?? '-'} ${clientId ?? '-'} ${facts.action ?? '-'}`,
  )
}

describe('portreeve audit, beside a running server', PATIENCE, () => {
  const cli = makeCli()
  let server: ServerProcess
  beforeAll(async () => {
    const config = `${cli.folder}/portreeve.config.json`
    server = await startServerProcess(config, { folder: cli.folder })
    await cli.run('users add ann --no-password')
    await cli.run('clients add shop --redirect-uri https://shop.example/cb --scope openid')
    await cli.run('users disable ann')
    await obtainTokens(server.issuer)
    const service = { authorization: basic('service', SERVICE_SECRET) }
    const body = { grant_type: 'client_credentials', scope: 'notes:read' }
    await requestToken(server.issuer, body, service)
    await requestToken(server.issuer, body, service)
    const isThere = async () => expect(await cli.audit('--client service')).toHaveLength(3)
    await vi.waitFor(isThere, { timeout: 60_000 })
  })
  afterAll(async () => {
    await server[Symbol.asyncDispose]()
    cli[Symbol.dispose]()
  })

  test('stands beside metrics, where serve says that they are', async () => {
    const { metrics } = JSON.parse((await server.firstLine) ?? '') as { metrics: string }
    expect(metrics).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/metrics$/)
    expect(await (await fetch(metrics)).text()).toContain('portreeve_signed_in_total 1\n')
  })

  test('shows what the server and the commands did, in one log, the newest last', async () => {
    const entries = await cli.audit()
    expect(describeEntries(entries.filter(({ by }) => by !== 'server' && by !== 'file'))).toEqual([
      'object_changed operator ann - added',
      'object_changed operator - shop added',
      'object_changed operator ann - disabled',
      'signed_in user alice web -',
      'consent_given user alice web -',
      'token_issued client alice web -',
      'token_issued client - service -',
      'token_issued client - service -',
    ])
    expect(entries.map(({ sequence }) => sequence)).toEqual(entries.map((_, index) => index + 1))
    for (const { at } of entries) expect(at).toMatch(ISO)
  })

  test('narrows it to a user by name or by id, a client, a time, a number', async () => {
    const ann = ['object_changed operator ann - added', 'object_changed operator ann - disabled']
    const byName = await cli.audit('--user ANN')
    expect(describeEntries(byName)).toEqual(ann)
    expect(await cli.audit(`--user ${byName[0]?.accountId}`)).toEqual(byName)
    expect(describeEntries(await cli.audit('--client shop'))).toEqual([
      'object_changed operator - shop added',
    ])
    expect(await cli.audit('--user ann --client shop')).toEqual([])
    expect(describeEntries(await cli.audit('--user ann --limit 1'))).toEqual(ann.slice(1))
    const since = byName[1]?.at ?? ''
    expect(describeEntries(await cli.audit(`--user ann --since ${since}`))).toEqual(ann.slice(1))
    expect(await cli.audit('--user ann --since 1h')).toEqual(byName)
    expect(await cli.audit('--since 2999-01-01')).toEqual([])
  })

  test('says in JSON whether there are older ones', async () => {
    const { stdout } = await cli.run('audit --limit 2 --json')
    expect(JSON.parse(stdout)).toMatchObject({ more: true, entries: [{}, {}] })
    expect(JSON.parse((await cli.run('audit --user ann --limit 2 --json')).stdout)).toMatchObject({
      more: false,
    })
  })

  test('is readable', async () => {
    const { code, stdout } = await cli.run('audit --user alice')
    expect(code).toBe(0)
    const [titles = '', ...lines] = stdout.trimEnd().split('\n')
    expect(titles).toMatch(/^ENTRY +TIME +EVENT +ABOUT$/)
    expect(
      lines.map((line) => line.replace(/^\d+ +\S+Z +/, '').replaceAll(/ {2,}/g, '  ')),
    ).toEqual([
      'object_changed  alice · added user · by file',
      'signed_in  alice · web',
      'consent_given  alice · web · openid notes:read',
      'token_issued  alice · web · authorization_code openid notes:read',
    ])
    expect((await cli.run('audit --client spa --since 2999-01-01')).stdout).toBe('No entries.\n')
  })

  test('verifies the log while the server writes, and prints its head', async () => {
    const { code, stdout } = await cli.run('audit --verify --json')
    const { verified } = JSON.parse(stdout) as { verified: { entries: number; head: string } }
    expect([code, verified.head]).toEqual([0, expect.stringMatching(HEAD)])
    expect(verified.head).toMatch(new RegExp(`^${verified.entries}:`))
    const inWords = await cli.run('audit --verify')
    expect(inWords.stdout).toContain(`As it was written: ${verified.entries} entries.`)
    expect(inWords.stdout).toContain(verified.head)
    expect((await cli.run(`audit --verify ${verified.head}`)).code).toBe(0)
    const both = await cli.run('audit --verify --user ann --json')
    expect(JSON.parse(both.stdout)).toMatchObject({ verified, entries: [{}, {}], more: false })
  })
})

describe.concurrent('portreeve audit', PATIENCE, () => {
  test('finds what was changed, says where, and exits 1', async () => {
    using cli = makeCli()
    for (const name of ['ann', 'ben', 'cem', 'dora'])
      await cli.run(`users add ${name} --no-password`)
    const { verified } = JSON.parse((await cli.run('audit --verify --json')).stdout) as {
      verified: unknown
    }
    expect(verified).toMatchObject({ entries: 4, head: expect.stringMatching(/^4:/) })
    cli.tamper("update audit_entry set actor = 'server' where sequence = 2")
    const changed = await cli.run('audit --verify --json')
    expect([changed.code, changed.stdout]).toEqual([1, ''])
    expect(JSON.parse(changed.stderr)).toMatchObject({
      error: {
        code: 'tampered',
        message: expect.stringMatching(
          /^The audit log is not as it was written: entry 2 was changed or forged \(expected "[\w-]{8}\.[\w-]{43}", found "[\w-]{8}\.[\w-]{43}"\)\.$/,
        ),
      },
    })
    cli.tamper('delete from audit_entry where sequence = 2')
    const removed = await cli.run('audit --verify --user ann')
    expect([removed.code, removed.stdout]).toEqual([1, ''])
    expect(removed.stderr).toContain('entry 2 is not in its place (expected "2", found "3")')
    // What is there can still be read.
    expect(await cli.audit()).toHaveLength(3)
  })

  test('finds a log that was cut, by its head', async () => {
    using cli = makeCli()
    for (const name of ['ann', 'ben', 'cem']) await cli.run(`users add ${name} --no-password`)
    const { stdout } = await cli.run('audit --verify --json')
    const { head } = (JSON.parse(stdout) as { verified: { head: string } }).verified
    cli.tamper('delete from audit_entry where sequence = 3')
    expect((await cli.run('audit --verify')).code).toBe(0)
    const cut = await cli.run(`audit --verify ${head}`)
    expect([cut.code, cut.stdout]).toEqual([1, ''])
    expect(cut.stderr).toContain('entry 3 differs')
    expect(cut.stderr).toContain('found "the end of the log after entry 2"')
  })

  test('says that there is no database yet, and makes none', async () => {
    using cli = makeCli()
    const { code, stderr } = await cli.run('audit --verify')
    expect(code).toBe(1)
    expect(stderr).toContain('There is no database')
    expect(readdirSync(cli.folder)).toEqual(['portreeve.config.json'])
  })
})

describe.concurrent('a command that changes something', PATIENCE, () => {
  test('changes nothing without the root key that the audit log was written under', async () => {
    using cli = makeCli()
    await cli.run('users add ann --no-password')
    const file = `${cli.folder}/portreeve.key`
    const key = readFileSync(file)
    rmSync(file)
    const missing = await cli.run('users disable ann')
    expect([missing.code, missing.stdout]).toEqual([1, ''])
    expect(missing.stderr).toContain(`The root key is expected in ${file}, which does not exist`)
    expect(existsSync(file)).toBe(false)
    writeFileSync(file, randomBytes(32).toString('base64url'), { mode: 0o600 })
    for (const args of ['users disable ann', 'users add ben --no-password', 'users remove ann']) {
      const other = await cli.run(args)
      expect([other.code, other.stdout]).toEqual([1, ''])
      expect(other.stderr).toContain(
        'The audit log in the database was written under another root key.',
      )
    }
    // Looking at things needs no key.
    const shown = await cli.run('users list --json')
    expect(JSON.parse(shown.stdout)).toMatchObject({
      users: [{ username: 'ann', disabled: false }],
    })
    const verified = await cli.run('audit --verify')
    expect(verified.stderr).toContain('It says that it was written under another root key.')
    writeFileSync(file, key)
    expect((await cli.run('users disable ann')).code).toBe(0)
    expect((await cli.run('audit --verify')).code).toBe(0)
    expect(await cli.audit()).toHaveLength(2)
  })

  test('says so where it was done, but could not be recorded', async () => {
    using cli = makeCli()
    await cli.run('users add ann --no-password')
    cli.tamper(
      `create trigger full before insert on audit_entry begin select raise(abort, 'no room'); end`,
    )
    const { code, stdout, stderr } = await cli.run('users disable ann --json')
    expect([code, stdout]).toEqual([1, ''])
    const message = 'It was done, but could not be recorded in the audit log: no room'
    expect(JSON.parse(stderr)).toEqual({ error: { code: 'storage_failed', message } })
    const shown = await cli.run('users show ann --json')
    expect(JSON.parse(shown.stdout)).toMatchObject({ user: { disabled: true } })
  })

  test('is recorded once, whoever else is at it', async () => {
    using cli = makeCli()
    await cli.run('users add first --no-password')
    const names = ['a', 'b', 'c', 'd', 'e', 'f']
    const added = await Promise.all(names.map((name) => cli.run(`users add ${name} --no-password`)))
    expect(added.map(({ code }) => code)).toEqual(names.map(() => 0))
    const entries = await cli.audit()
    expect(new Set(entries.map(({ username }) => username))).toEqual(new Set([...names, 'first']))
    expect(entries).toHaveLength(7)
    expect(JSON.parse((await cli.run('audit --verify --json')).stdout)).toMatchObject({
      verified: { entries: 7 },
    })
  })
})
