import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser } from '../support/browser.ts'
import { nextSecond } from '../support/clock.ts'
import { authorizationUrl, basic, makePkce, requestToken } from '../support/flow.ts'
import { makeFolder } from '../support/folder.ts'
import {
  runProgram,
  startServerProcess,
  writeConfig,
  type ServerProcess,
} from '../support/process.ts'
import { ENVIRONMENT, SERVICE_SECRET } from '../support/server.ts'

const PASSWORD = 'a password of some length'
const CALLBACK = 'https://shop.example/callback'
const REQUEST = { client_id: 'shop', redirect_uri: CALLBACK, scope: 'openid notes:write' }
/** Every command is a process of its own. */
const PATIENCE = { timeout: 120_000 }

/** A folder with a configuration, and the program in it. */
function makeCli() {
  const folder = makeFolder()
  const config = writeConfig(folder.path)
  const run = (args: string, input?: string | Buffer) =>
    runProgram(args.split(' '), { folder: folder.path, input })
  return {
    folder: folder.path,
    file: folder.file,
    config,
    run,
    /** Runs a command that has to succeed, and answers its JSON. */
    async done(args: string, input?: string): Promise<Record<string, unknown>> {
      const { code, stdout, stderr } = await run(`${args} --json`, input)
      if (code !== 0) throw new Error(`${args}: ${stderr}`)
      return JSON.parse(stdout) as Record<string, unknown>
    },
    serve: () => startServerProcess(config, { folder: folder.path }),
    [Symbol.dispose]: () => folder[Symbol.dispose](),
  }
}

type Cli = ReturnType<typeof makeCli>

/** A user and a client that were made by command; answers the secret of the client. */
async function fill(cli: Cli): Promise<string> {
  await cli.done('users add ann --role editor --name Ann --password-stdin', PASSWORD)
  const scopes = '--scope openid --scope notes:read --scope notes:write'
  const added = await cli.done(
    `clients add shop --first-party --redirect-uri ${CALLBACK} ${scopes}`,
  )
  return String(added['secret'])
}

async function obtainTokens(server: ServerProcess, secret: string) {
  const browser = createBrowser(server.issuer)
  const { verifier, challenge } = makePkce()
  const page = await browser.get(authorizationUrl(server.issuer, challenge, REQUEST))
  const answer = await browser.submit(page, '/sign-in', { username: 'ann', password: PASSWORD })
  const code = new URL(answer.location ?? CALLBACK).searchParams.get('code') ?? ''
  return requestToken(
    server.issuer,
    { grant_type: 'authorization_code', code, code_verifier: verifier, redirect_uri: CALLBACK },
    { authorization: basic('shop', secret) },
  )
}

describe('portreeve export and import', PATIENCE, () => {
  const one = makeCli()
  let server: ServerProcess
  let secret: string
  beforeAll(async () => {
    secret = await fill(one)
    server = await one.serve()
  })
  afterAll(async () => {
    await server[Symbol.asyncDispose]()
    one[Symbol.dispose]()
  })

  test('bring a user and a client to a fresh database, beside servers that run', async () => {
    using two = makeCli()
    await using second = await two.serve()
    const url = authorizationUrl(second.issuer, makePkce().challenge, REQUEST)
    expect((await createBrowser(second.issuer).get(url)).status).toBe(400)
    const { stdout } = await one.run('export')
    const imported = await two.run('import', stdout)
    expect([imported.code, imported.stderr]).toEqual([0, ''])
    expect(imported.stdout).toBe(
      [
        'Imported.',
        '',
        '  users     1 added, 0 updated, 0 left as they were',
        '  clients   1 added, 0 updated, 0 left as they were',
        '  API keys  0 added, 0 updated, 0 left as they were',
        '',
        'KIND    NAME  CHANGE',
        'user    ann   added',
        'client  shop  added',
        '',
      ].join('\n'),
    )
    // Without a restart: the same password signs in, the same secret works, the same person comes.
    const { status, body } = await obtainTokens(second, secret)
    expect([status, body.scope]).toEqual([200, 'openid notes:write'])
    const show = async (cli: Cli) => (await cli.done('users show ann'))['user'] as { id: string }
    expect((await show(two)).id).toBe((await show(one)).id)
    expect(await two.done('import', stdout)).toMatchObject({
      imported: { users: { added: [], updated: [], left: ['ann'] }, clients: { left: ['shop'] } },
    })
    expect((await obtainTokens(second, secret)).status).toBe(200)
  })

  test('write no secret, no key and no token, whether to a file or not', async () => {
    const { body } = await obtainTokens(server, secret)
    const printed = await one.run('export')
    const asJson = await one.done('export')
    const told = await one.run('export export.json')
    const file = one.file('export.json')
    expect(statSync(file).mode & 0o777).toBe(0o600)
    const written = readFileSync(file, 'utf8')
    const withoutTime = ({ exportedAt: _exportedAt, ...rest }: Record<string, unknown>) => rest
    const parsed = [printed.stdout, written].map((text) => JSON.parse(text) as typeof asJson)
    expect(parsed.map(withoutTime)).toEqual([withoutTime(asJson), withoutTime(asJson)])
    expect(asJson).toMatchObject({
      version: 1,
      config: {
        rootKey: { file: 'portreeve.key' },
        database: { url: 'sqlite:portreeve.sqlite' },
        clients: [{ id: 'web', secret: { env: 'WEB_SECRET' } }, { id: 'spa' }, { id: 'service' }],
      },
      users: [{ username: 'ann', passwordHash: expect.stringMatching(/^\$argon2id\$/) }],
      clients: [{ id: 'shop', secretHash: expect.stringMatching(/^sha256:/) }],
    })
    const seen = printed.stdout + written + told.stdout + told.stderr
    for (const hidden of [
      PASSWORD,
      secret,
      SERVICE_SECRET,
      ...Object.values(ENVIRONMENT),
      readFileSync(one.file('portreeve.key'), 'utf8').trim(),
      body.refresh_token,
      body.access_token,
      'sealed',
    ]) {
      expect(seen).not.toContain(hidden)
    }
  })

  test('hold a configuration that a fresh server starts with as it stands', async () => {
    using two = makeCli()
    const { config } = await one.done('export')
    writeFileSync(two.config, JSON.stringify(config))
    await using second = await two.serve()
    await two.done('import', (await one.run('export')).stdout)
    expect((await obtainTokens(second, secret)).status).toBe(200)
  })

  test('never replace a file', async () => {
    writeFileSync(one.file('there.json'), 'there')
    const { code, stderr } = await one.run('export there.json')
    expect([code, stderr]).toEqual([1, expect.stringContaining('is there already: choose another')])
    expect(readFileSync(one.file('there.json'), 'utf8')).toBe('there')
  })

  test('say what would be done, and make no database and no key for it', async () => {
    using two = makeCli()
    const { stdout } = await one.run('export')
    const { code, stdout: said } = await two.run('import --dry-run', stdout)
    expect(code).toBe(0)
    expect(said).toContain('This would be done; nothing was changed.')
    expect(said).toContain('users     1 added, 0 updated')
    expect(readdirSync(two.folder)).toEqual(['portreeve.config.json'])
  })

  test('sign out a person whose password another document replaces', async () => {
    const { body } = await obtainTokens(server, secret)
    const { users, ...rest } = (await one.done('export')) as { users: object[] }
    const changed = users.map((user) => ({ ...user, passwordHash: undefined }))
    const { imported } = await one.done('import', JSON.stringify({ ...rest, users: changed }))
    expect(imported).toMatchObject({
      users: { updated: [{ name: 'ann', changed: ['passwordHash'] }] },
    })
    const refused = await requestToken(
      server.issuer,
      { grant_type: 'refresh_token', refresh_token: body.refresh_token },
      { authorization: basic('shop', secret) },
    )
    expect([refused.status, refused.body.error]).toEqual([400, 'invalid_grant'])
    expect((await obtainTokens(server, secret)).status).not.toBe(200)
    await one.done('import', JSON.stringify({ ...rest, users }))
    await nextSecond()
    expect((await obtainTokens(server, secret)).status).toBe(200)
    const { entries } = (await one.done('audit --user ann')) as { entries: object[] }
    expect(entries).toMatchObject(
      expect.arrayContaining([
        expect.objectContaining({
          event: 'object_changed',
          by: 'operator',
          facts: expect.objectContaining({ action: 'changed' }),
        }),
      ]),
    )
  })
})

describe('portreeve import refuses', PATIENCE, () => {
  /** Refused documents change nothing: they can share a folder. */
  const shared = makeCli()
  beforeAll(() => shared.done('users add other --no-password'))
  afterAll(() => shared[Symbol.dispose]())

  const refuse = async (args: string, input?: string | Buffer) => {
    const { code, stdout, stderr } = await shared.run(args, input)
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toMatch(/^error: /)
    expect(stderr).not.toMatch(/\n {4}at /)
    expect(stderr).not.toMatch(/(?!\n)\p{C}/u)
    expect(stderr.length).toBeLessThan(4000)
    return stderr
  }

  test.concurrent.each<[string, string | Buffer, string]>([
    ['nothing', '', 'The document is no JSON.'],
    ['what is no UTF-8', Buffer.from([0x7b, 0xff, 0x7d]), 'is not UTF-8'],
    ['what is no export', '{"users":[]}', 'it has no version'],
    ['a later version', '{"version":2}', 'has version 2'],
    ['escapes', '{"version":1,"\\u001b[31mred":1}', 'there is no such setting'],
    ['a deep document', '['.repeat(1_000_000), 'nested more than 32 deep'],
    ['a huge document', Buffer.alloc(70_000_000, ' '), 'more than 67108864 bytes'],
    [
      'everything that is wrong, at once',
      JSON.stringify({
        version: 1,
        config: { issuer: 'nowhere' },
        users: [{ username: 'ann', roles: ['king'], passwordHash: 'clear' }, { username: 'a b' }],
        clients: [{ id: 'acc_x', authMethod: 'none', redirectUris: ['http://x.example/'] }],
      }),
      '5 mistakes:',
    ],
    [
      'what the file declares',
      '{"version":1,"users":[{"username":"alice"}]}',
      'users[0].username: the user "alice" is declared in ',
    ],
  ])('%s', async (_name, input, message) => {
    const stderr = await refuse('import', input)
    expect(stderr).toContain(message)
    expect(stderr).not.toContain('clear')
  })

  test('a file that is not there, or is none', async () => {
    expect(await refuse('import nowhere.json')).toContain('The file nowhere.json does not exist.')
    expect(await refuse('import .')).toContain('. is not a file.')
    expect(await refuse('import /dev/zero')).toContain('is not a file')
  })

  test('in JSON, with every mistake', async () => {
    const { code, stderr } = await shared.run(
      'import --json',
      '{"version":1,"users":[{"username":"ann","disabled":0,"x":1}]}',
    )
    expect([code, JSON.parse(stderr)]).toEqual([
      1,
      {
        error: {
          code: 'invalid_input',
          message: expect.stringContaining('2 mistakes:'),
          mistakes: [
            { path: ['users', 0, 'disabled'], message: 'expected true or false, got 0' },
            { path: ['users', 0, 'x'], message: 'there is no such setting' },
          ],
        },
      },
    ])
  })

  test('and has changed nothing', async () => {
    expect(await shared.done('users list')).toMatchObject({ users: [{ username: 'other' }] })
    expect(await shared.done('clients list')).toEqual({ clients: [] })
  })
})
