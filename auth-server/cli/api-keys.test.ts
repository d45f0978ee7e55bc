import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { judgeApiKey } from '../api-keys/api-key.ts'
import { makeCli } from '../../test/support/cli.ts'

const NOTES = 'https://notes.example/'
const scopesOf = (...names: string[]) =>
  Object.fromEntries(names.map((name) => [name, { description: name }]))
const CONFIG = {
  roles: { reader: { scopes: ['notes:read', 'shared'] }, editor: { scopes: ['notes:write'] } },
  resources: [
    { identifier: NOTES, name: 'Notes', scopes: scopesOf('notes:read', 'notes:write', 'shared') },
    {
      identifier: 'https://bills.example/',
      name: 'Bills',
      scopes: scopesOf('bills:read', 'shared'),
    },
  ],
}
/** The clock of the command line stands at 2025-06-15T15:06:40Z. */
const IN_90_DAYS = '2025-09-13T15:06:40.000Z'

interface Answer {
  readonly apiKey: Readonly<Record<string, unknown>>
  readonly apiKeys: readonly Readonly<Record<string, unknown>>[]
  readonly key: string
  readonly error: Readonly<Record<string, unknown>>
}

/** With a user who may read notes. */
async function start() {
  const cli = makeCli({ config: CONFIG })
  await cli.run('users', 'add', 'ann', '--no-password', '--role', 'reader')
  const asJson = async (...args: string[]) => {
    const { code, stdout, stderr } = await cli.run('api-keys', ...args, '--json')
    return { code, ...(JSON.parse(stdout + stderr) as Answer) }
  }
  return {
    ...cli,
    asJson,
    add: (...more: string[]) => asJson('add', 'ann', '--name', 'Backup', ...more),
    [Symbol.dispose]: () => cli[Symbol.dispose](),
  }
}

const READ = ['--scope', 'notes:read']

describe('portreeve api-keys', () => {
  test('makes a key that is shown this once, lists it and revokes it', async () => {
    using cli = await start()
    const { code, apiKey, key } = await cli.add(...READ)
    expect(code).toBe(0)
    expect(judgeApiKey(key)).toMatchObject({ ok: true })
    const expected = {
      id: expect.stringMatching(/^key_[\w-]{22}$/),
      username: 'ann',
      name: 'Backup',
      resource: NOTES,
      scopes: ['notes:read'],
      state: 'active',
      expiresAt: IN_90_DAYS,
    }
    expect(apiKey).toMatchObject(expected)
    const listed = await cli.asJson('list')
    expect(listed.apiKeys).toEqual([apiKey])
    expect((await cli.asJson('list', '--user', 'ANN')).apiKeys).toEqual([apiKey])
    const revoked = await cli.asJson('revoke', String(apiKey['id']))
    expect(revoked.apiKey).toMatchObject({ ...expected, state: 'revoked' })
    cli.clock.advance(1000)
    expect((await cli.asJson('revoke', String(apiKey['id']))).apiKey).toEqual(revoked.apiKey)
    const files = readdirSync(cli.folder).map((name) => readFileSync(path.join(cli.folder, name)))
    const kept = Buffer.concat(files).toString('latin1') + JSON.stringify(listed)
    expect(kept).not.toContain(key)
    expect(kept).toContain('key_')
  })

  test('tells a person what to do with it', async () => {
    using cli = await start()
    const args = ['--name', 'Backup of the notes', ...READ, '--expires', 'never']
    const { stdout } = await cli.run('api-keys', 'add', 'ann', ...args)
    expect(stdout).toMatch(
      /^Made the API key key_\S+\.\n\n {2}user {6}ann\n {2}name {6}Backup of the notes\n {2}resource {2}https:\/\/notes\.example\/\n {2}scopes {4}notes:read\n {2}expires {3}never\n\n {2}key {2}prk_\w{49}\n\nThe key is shown this once/,
    )
    const list = await cli.run('api-keys', 'list')
    expect(list.stdout).toMatch(
      /^ID +USER +NAME +SCOPES +STATE +EXPIRES +LAST USED\nkey_\S+ +ann +Backup of the notes +notes:read +active +never +never\n$/,
    )
    const [, id = ''] = /(key_\S+)/.exec(list.stdout) ?? []
    expect((await cli.run('api-keys', 'revoke', id)).stdout).toBe(
      `Revoked the API key ${id} (Backup of the notes).\n`,
    )
  })

  test('says so where there is none', async () => {
    using cli = await start()
    expect((await cli.run('api-keys', 'list')).stdout).toBe(
      'No API keys. Make one: npx portreeve api-keys add USER --name NAME --scope SCOPE\n',
    )
  })

  test.each([
    ['30d', '2025-07-15T15:06:40.000Z'],
    ['12h', '2025-06-16T03:06:40.000Z'],
    ['2027-03-01', '2027-03-01T00:00:00.000Z'],
    ['never', undefined],
  ])('takes %s as the end of a key', async (text, expiresAt) => {
    using cli = await start()
    const { apiKey } = await cli.add(...READ, '--expires', text)
    expect(apiKey['expiresAt']).toBe(expiresAt)
  })

  test('records what was done, and names the key and its owner', async () => {
    using cli = await start()
    const { apiKey } = await cli.add(...READ)
    await cli.run('api-keys', 'revoke', String(apiKey['id']))
    const { stdout } = await cli.run('audit', '--user', 'ann', '--json')
    const { entries } = JSON.parse(stdout) as { entries: readonly object[] }
    expect(entries.slice(-2)).toMatchObject([
      {
        event: 'api_key_made',
        by: 'operator',
        username: 'ann',
        facts: { keyId: apiKey['id'], resource: NOTES, scopes: ['notes:read'] },
      },
      { event: 'api_key_revoked', by: 'operator', facts: { keyId: apiKey['id'] } },
    ])
  })

  test('makes fifty keys for a user, and no more', async () => {
    using cli = await start()
    for (let count = 0; count < 50; count += 1) await cli.add(...READ, '--expires', '1h')
    const { code, error } = await cli.add(...READ)
    expect([code, error]).toMatchObject([1, { code: 'conflict' }])
    expect(error['message']).toContain('The user ann has 50 API keys already.')
    cli.clock.advance(3_600_000)
    expect((await cli.add(...READ)).code).toBe(0)
  })

  test.each([
    ['a scope of nobody', ['--scope', 'nope'], 'no resource has these scopes'],
    ['what the roles forbid', ['--scope', 'notes:write'], 'the roles of ann do not allow'],
    ['OpenID Connect', ['--scope', 'openid'], 'resource: no resource has these scopes'],
    ['two resources', ['--scope', 'notes:read bills:read'], 'to more than one resource'],
    [
      'scopes of two',
      ['--scope', 'shared'],
      'more than one resource has these scopes: name one of',
    ],
    ['an unknown resource', [...READ, '--resource', 'https://x/'], 'is the identifier of no'],
    [
      'a scope of another resource',
      ['--scope', 'bills:read', '--resource', NOTES],
      'scopes[0]: "bills:read" is no scope of https://notes.example/',
    ],
    ['a time that is over', [...READ, '--expires', '2020-01-01'], 'expiresAt: expected a time to'],
    ['no scope', ['--scope', ' '], 'scopes: expected at least one scope'],
    ['a name with a bell', [...READ, '--name', 'a\u0007'], 'name: expected a text of 1 to 100'],
  ])('makes no key for %s', async (_what, args, message) => {
    using cli = await start()
    const { code, error } = await cli.add(...args)
    expect([code, error]).toMatchObject([1, { code: 'invalid_input' }])
    expect(error['message']).toContain(message)
    expect((await cli.asJson('list')).apiKeys).toEqual([])
  })

  test('makes a key for the resource that is named, where two have the scope', async () => {
    using cli = await start()
    const { apiKey } = await cli.add('--scope', 'shared', '--resource', 'https://bills.example/')
    expect(apiKey).toMatchObject({ resource: 'https://bills.example/', scopes: ['shared'] })
  })

  test('makes none for a user who is disabled, and ends those of one who becomes so', async () => {
    using cli = await start()
    await cli.add(...READ)
    await cli.run('users', 'disable', 'ann')
    expect(await cli.add(...READ)).toMatchObject({
      code: 1,
      error: { code: 'invalid_input', message: 'The user ann is disabled.' },
    })
    expect((await cli.asJson('list')).apiKeys).toMatchObject([{ state: 'revoked' }])
    await cli.run('users', 'remove', 'ann')
    expect((await cli.asJson('list')).apiKeys).toEqual([])
  })

  test.each([
    [['add', 'nobody', '--name', 'x', ...READ], 1, 'not_found', 'There is no user "nobody".'],
    [['list', '--user', 'nobody'], 1, 'not_found', 'There is no user "nobody".'],
    [['revoke', 'key_x'], 1, 'not_found', 'There is no API key "key_x".'],
    [['add', 'ann', ...READ], 2, 'usage', "required option '--name <name>' not specified"],
    [['add', 'ann', '--name', 'x'], 2, 'usage', "required option '--scope <scopes>'"],
    [['add', 'ann', '--name', 'x', ...READ, '--expires', 'soon'], 2, 'usage', 'It must be a while'],
    [['revoke'], 2, 'usage', "missing required argument 'id'"],
  ])('refuses %j', async (args, code, kind, message) => {
    using cli = await start()
    const refused = await cli.asJson(...args)
    expect(refused).toMatchObject({ code, error: { code: kind } })
    expect(refused.error['message']).toContain(message)
  })
})
