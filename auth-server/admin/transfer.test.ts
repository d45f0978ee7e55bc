import { describe, expect, test } from 'vitest'
import { createPasswordHasher } from '../accounts/password.ts'
import { hashApiKey } from '../api-keys/api-key.ts'
import { verifyClientSecret } from '../clients/secret.ts'
import { formatTime } from '../clock.ts'
import { prepareConfig } from '../config/load.ts'
import type { ConfigInput } from '../config/schema.ts'
import { createEvents } from '../events.ts'
import { createLog } from '../log.ts'
import { openStores } from '../storage/stores.ts'
import { exportConfig } from './export-config.ts'
import { createOperations } from './operations.ts'
import { reconcile } from './reconcile.ts'

const CONFIG: ConfigInput = {
  roles: { reader: { scopes: ['notes:read'] }, editor: { scopes: ['notes:read'] } },
  resources: [
    {
      identifier: 'https://notes.example/',
      audience: 'notes',
      name: 'Notes',
      scopes: { 'notes:read': { description: 'Read your notes' } },
    },
  ],
  clients: [{ id: 'declared', authMethod: 'none', redirectUris: ['https://app.example/cb'] }],
  users: [{ username: 'declared', password: { env: 'PASSWORD' } }],
}
const FILE = '/etc/portreeve/portreeve.config.ts'
const ENVIRONMENT = { PASSWORD: 'a declared password' }
const WEB = { id: 'web', redirectUris: ['https://app.example/cb'], scopes: ['notes:read'] }
const X25519 = '3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08'
const DRY = { isDryRun: true }
const WET = { isDryRun: false }

/** `behind`: how far the clock of the database is behind that of the program, in ms. */
async function start(input: ConfigInput = CONFIG, behind = 0) {
  await using cleanUp = new AsyncDisposableStack()
  let now = 1_767_225_600_000
  const clock = { now: () => now }
  const stores = cleanUp.use(
    await openStores('sqlite::memory:', clock, { databaseClock: { now: () => now - behind } }),
  )
  const hasher = createPasswordHasher({ concurrency: 2, queue: 8 })
  const lines: string[] = []
  const log = createLog('info', { write: (line) => void lines.push(line) })
  const collaborators = { ...stores, hasher, clock, events: createEvents(log) }
  const prepared = prepareConfig(input, { environment: ENVIRONMENT, folder: '/etc/portreeve' })
  await reconcile(prepared, collaborators)
  const operations = createOperations(collaborators, { ...prepared, file: FILE })
  const { users, clients, apiKeys, transfer } = operations
  const running = cleanUp.move()
  return {
    users,
    clients,
    apiKeys,
    stores,
    hasher,
    lines,
    turnClock: () => (now += 60_000),
    export: () => transfer.export(),
    importText: (text: string) => transfer.import(text, WET),
    import: async (document: unknown, options = WET) =>
      (await transfer.import(JSON.stringify(document), options)).view,
    /** Everything in the database that an import could touch. */
    dump: async () => [
      await stores.accounts.list(),
      await stores.clients.list(),
      await stores.apiKeys.list(),
    ],
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

type Started = Awaited<ReturnType<typeof start>>

/** A user and two clients, with what they prove themselves by. */
async function fill({ users, clients, apiKeys }: Started) {
  const profile = { name: 'Ann Adams', email: 'ann@example.org', emailVerified: true }
  const ann = { username: 'Ann', roles: ['editor'], groups: ['staff'], profile }
  await users.add(ann, async () => 'correct horse')
  await users.add({ username: 'ben' }, undefined)
  await users.setDisabled('ben', true)
  const { secret } = await clients.add(WEB, undefined)
  await clients.add({ ...WEB, id: 'chosen' }, 'a secret that somebody chose')
  await clients.add({ ...WEB, id: 'spa', authMethod: 'none' }, undefined)
  const { key, apiKey } = await apiKeys.add({
    user: 'ann',
    name: 'Backup',
    scopes: ['notes:read'],
    expiresAt: 1_767_225_600_000 + 86_400_000,
  })
  return { secret: secret ?? '', key, keyId: apiKey.id }
}

const NOTHING = { added: [], updated: [], left: [] }

describe('an export', () => {
  test('comes to an empty database whole: passwords, secrets, ids and all', async () => {
    await using one = await start()
    const { secret, key, keyId } = await fill(one)
    const document = await one.export()
    await using two = await start()
    expect(await two.import(document)).toEqual({
      isDryRun: false,
      users: { ...NOTHING, added: ['ann', 'ben'] },
      clients: { ...NOTHING, added: ['chosen', 'spa', 'web'] },
      apiKeys: { ...NOTHING, added: [keyId] },
      otherSettings: [],
    })
    const brought = await two.stores.apiKeys.findByHash(hashApiKey(key))
    expect(brought).toEqual(await one.stores.apiKeys.findById(keyId))
    const ann = await two.stores.accounts.findByUsername('ann')
    expect(await two.hasher.verify('correct horse', ann?.passwordHash ?? '')).toBe(true)
    const [web, chosen] = [
      await two.clients.show('web'),
      await two.stores.clients.findById('chosen'),
    ]
    expect(web).toMatchObject({ ...WEB, hasSecret: true, owner: 'operator' })
    const kept = (await two.stores.clients.findById('web'))?.secretHash ?? ''
    expect(await verifyClientSecret(secret, kept, two.hasher)).toBe(true)
    const chosenHash = chosen?.secretHash ?? ''
    const isChosen = verifyClientSecret('a secret that somebody chose', chosenHash, two.hasher)
    expect(await isChosen).toBe(true)
    expect({ ...(await two.export()), exportedAt: document.exportedAt }).toEqual(document)
  })

  test('carries what is encrypted for a client, with the keys; another with keys that do not fit is refused', async () => {
    const jwks = { keys: [{ kty: 'OKP', crv: 'X25519', use: 'enc', x: X25519 }] }
    const encryption = { idToken: { algorithm: 'ECDH-ES' as const } }
    await using one = await start()
    await one.clients.add({ ...WEB, authMethod: 'none', jwks, encryption }, undefined)
    const document = await one.export()
    await using two = await start()
    await two.import(document)
    const { encryption: brought } = await two.clients.show('web')
    expect(brought).toEqual({ idToken: { algorithm: 'ECDH-ES', content: 'A128CBC-HS256' } })
    expect((await two.import(document)).clients.updated).toEqual([])
    const [web] = document.clients
    const changed = { idToken: { algorithm: 'RSA-OAEP-256' } }
    const clients = [{ ...web, encryption: changed }]
    await expect(two.import({ ...document, clients })).rejects.toThrow('RSA with 2048 bits')
  })

  test('holds what operators have made alone, and no secret and no key', async () => {
    await using it = await start()
    const { secret, key } = await fill(it)
    const document = await it.export()
    expect(document.users.map(({ username }) => username)).toEqual(['ann', 'ben'])
    expect(document.clients.map(({ id }) => id)).toEqual(['chosen', 'spa', 'web'])
    const text = JSON.stringify(document)
    for (const hidden of [
      secret,
      key,
      'a secret that somebody chose',
      'correct horse',
      ENVIRONMENT.PASSWORD,
      'sealed',
      'v1.',
    ]) {
      expect(text).not.toContain(hidden)
    }
    const declared = await it.stores.accounts.findByUsername('declared')
    expect(text).not.toContain(declared?.passwordHash)
    expect(text).toContain('"password":{"env":"PASSWORD"}')
  })

  test('holds the configuration as a file can say it', async () => {
    await using it = await start()
    const { config } = (await it.export()) as { config: ConfigInput }
    const loaded = prepareConfig(config, { folder: '/srv' })
    expect(loaded.config.rootKey).toEqual({ file: '/srv/portreeve.key' })
    expect(loaded.config.database.url).toBe('sqlite:/srv/portreeve.sqlite')
    expect(exportConfig(loaded)).toEqual(config)
  })
})

describe('the configuration in an export', () => {
  const show = (input: ConfigInput) =>
    exportConfig(prepareConfig(input, { folder: '/etc/portreeve' }))

  test.each([
    [
      'postgres://portreeve:hidden@db.example/portreeve?sslmode=verify-full',
      'postgres://portreeve@db.example/portreeve?sslmode=verify-full',
    ],
    ['postgres://portreeve:hid:d@n@127.0.0.1/x', 'postgres://portreeve@127.0.0.1/x'],
    ['postgres://:hidden@127.0.0.1/x', 'postgres://@127.0.0.1/x'],
    [
      'postgres://u@127.0.0.1/x?password=hidden&host=/run/pg',
      'postgres://u@127.0.0.1/x?host=%2Frun%2Fpg',
    ],
    ['postgres://u@127.0.0.1/x?sslkey=/hidden', 'postgres://u@127.0.0.1/x'],
    ['sqlite:/elsewhere/a.sqlite', 'sqlite:/elsewhere/a.sqlite'],
    ['sqlite:/etc/portreeve/data/a.sqlite', 'sqlite:data/a.sqlite'],
    ['sqlite::memory:', 'sqlite::memory:'],
  ])('shows the database %s as %s', (url, shown) => {
    const config = show({ database: { url } })
    expect(config).toMatchObject({ database: { url: shown } })
    expect(JSON.stringify(config)).not.toMatch(/hid/)
  })

  test('shows no password of Redis', () => {
    const config = show({ redis: { url: 'redis://:hidden@127.0.0.1:6379/1' } })
    expect(config).toMatchObject({ redis: { url: 'redis://@127.0.0.1:6379/1' } })
  })

  test('has the paths of secrets, from the folder of the file where they are in it', () => {
    const config = show({
      rootKey: { file: '../keys/root' },
      users: [{ username: 'ann', password: { file: 'secrets/ann' } }],
    })
    expect(config).toMatchObject({
      rootKey: { file: '/etc/keys/root' },
      users: [{ password: { file: 'secrets/ann' } }],
    })
  })
})

describe('an import', () => {
  test('changes nothing the second time, and says so', async () => {
    await using it = await start()
    await fill(it)
    const document = await it.export()
    const before = await it.dump()
    const lines = it.lines.length
    it.turnClock()
    expect(await it.import(document)).toMatchObject({
      users: { ...NOTHING, left: ['ann', 'ben'] },
      clients: { ...NOTHING, left: ['chosen', 'spa', 'web'] },
    })
    expect(await it.dump()).toEqual(before)
    expect(it.lines).toHaveLength(lines)
  })

  test('says what a dry run would do, and does not do it', async () => {
    await using one = await start()
    await fill(one)
    const document = await one.export()
    await using two = await start()
    const before = await two.dump()
    const said = await two.import(document, DRY)
    expect(await two.dump()).toEqual(before)
    expect(await two.import(document)).toEqual({ ...said, isDryRun: false })
  })

  test('changes what differs, says which members, and announces it once', async () => {
    await using it = await start()
    await fill(it)
    const { users, clients, ...rest } = await it.export()
    const changedUsers = users.map((user) =>
      user.username === 'ann' ? { ...user, roles: ['reader'], groups: [] } : user,
    )
    const changedClients = clients.map((client) =>
      client.id === 'web' ? { ...client, name: 'The Web', disabled: true } : client,
    )
    const { id } = await it.users.show('ann')
    it.turnClock()
    it.lines.length = 0
    const said = await it.import({ ...rest, users: changedUsers, clients: changedClients })
    expect(said).toMatchObject({
      users: { updated: [{ name: 'ann', changed: ['roles', 'groups'] }], left: ['ben'] },
      clients: { updated: [{ name: 'web', changed: ['name', 'disabled'] }] },
    })
    const ann = await it.stores.accounts.findById(id)
    expect(ann).toMatchObject({ roles: ['reader'], groups: [], accessEndedAt: undefined })
    expect((ann?.updatedAt ?? 0) - (ann?.createdAt ?? 0)).toBe(60_000)
    expect(await it.clients.show('web')).toMatchObject({ name: 'The Web', disabled: true })
    const events = it.lines.map((line) => JSON.parse(line) as Record<string, unknown>)
    const common = { event: 'object_changed', action: 'changed', by: 'operator' }
    expect(events).toMatchObject([
      { ...common, kind: 'user', id },
      { ...common, kind: 'client', id: 'web' },
    ])
  })

  test.each([
    ['another password', { passwordHash: undefined }],
    ['a disabling', { disabled: true }],
  ])('ends access of a user with %s', async (_what, change) => {
    await using it = await start()
    await fill(it)
    const { users, ...rest } = await it.export()
    const [ann] = users
    const { id } = await it.users.show('ann')
    it.turnClock()
    await it.import({ ...rest, users: [{ ...ann, ...change }] })
    expect(await it.stores.accounts.findById(id)).toMatchObject({
      accessEndedAt: 1_767_225_660_000,
      ...change,
    })
    expect(await it.stores.revocations.isRevoked('user', id)).toBe(true)
  })

  test('ends what was issued about who loses a role, and to a client that is disabled, and no more', async () => {
    await using it = await start()
    await fill(it)
    const { users, clients, ...rest } = await it.export()
    const [ann, ...others] = users
    const [web, ...apps] = clients
    const { id } = await it.users.show('ann')
    const { isRevoked, head } = it.stores.revocations
    const before = await head()
    const wider = [{ ...ann, roles: ['editor', 'reader'] }, ...others]
    await it.import({ ...rest, clients, users: wider })
    await it.import({ ...rest, users: wider, clients: [{ ...web, name: 'Renamed' }, ...apps] })
    expect(await head()).toBe(before)
    await it.import({ ...rest, clients, users: [{ ...ann, roles: ['reader'] }, ...others] })
    expect(await isRevoked('user', id)).toBe(true)
    expect(await it.stores.accounts.findById(id)).toMatchObject({ accessEndedAt: undefined })
    await it.import({ ...rest, users, clients: [{ ...web, disabled: true }, ...apps] })
    expect(await isRevoked('client', web?.id ?? '')).toBe(true)
  })

  test('gives no one what was begun before under the id that a document brings', async () => {
    await using one = await start()
    await fill(one)
    await using two = await start()
    await two.import(await one.export())
    const { id } = await one.users.show('ann')
    expect(await two.stores.accounts.findById(id)).toMatchObject({
      accessEndedAt: 1_767_225_600_000,
    })
  })

  test.each([
    ['ahead', 5000],
    ['behind', -5000],
  ])('goes by the clock of the database where its own is %s', async (_how, apart) => {
    await using one = await start(CONFIG, apart)
    await fill(one)
    await using two = await start(CONFIG, apart)
    await two.import(await one.export())
    const { id } = await one.users.show('ann')
    const accessEndedAt = 1_767_225_600_000 - apart
    expect(await two.stores.accounts.findById(id)).toMatchObject({ accessEndedAt })
    const scopes = ['notes:read']
    const add = { user: 'ann', name: 'Another', scopes, expiresAt: undefined }
    const { apiKey } = await two.apiKeys.add(add)
    expect(apiKey.createdAt).toBe(formatTime(accessEndedAt + 1000))
  })

  test('makes an id where the document has none', async () => {
    await using it = await start()
    await it.import({ version: 1, users: [{ username: 'Cleo' }] })
    expect((await it.users.show('cleo')).id).toMatch(/^acc_[\w-]{22}$/)
  })

  test('tells how the configuration of the document differs, and leaves it', async () => {
    await using one = await start({ ...CONFIG, issuer: 'http://localhost:4000', roles: {} })
    await using two = await start()
    const { otherSettings } = await two.import(await one.export())
    expect(otherSettings).toEqual(['issuer', 'roles'])
  })
})

const ID = 'acc_AAAAAAAAAAAAAAAAAAAAAA'
const ann = { username: 'ann' }
const spa = { id: 'spa', authMethod: 'none', redirectUris: ['https://spa.example/'] }
/** What would be added if the rest were right. */
const innocent = { users: [{ username: 'innocent' }], clients: [{ ...spa, id: 'innocent' }] }

describe('an import is refused, and nothing is changed, because of', () => {
  test.each<[string, object, string, string]>([
    ['an unknown member', { users: [{ ...ann, sub: ID }] }, 'users[0].sub', 'no such setting'],
    [
      'a clear password',
      { users: [{ ...ann, password: 'clear' }] },
      'users[0].password',
      'no such',
    ],
    [
      'a clear password as a hash',
      { users: [{ ...ann, passwordHash: 'clear text' }] },
      'users[0].passwordHash',
      'that is not shown',
    ],
    [
      'a clear secret as a hash',
      { clients: [{ ...spa, authMethod: undefined, secretHash: 'clear text' }] },
      'clients[0].secretHash',
      'that is not shown',
    ],
    [
      'a hash that is too dear',
      {
        users: [
          {
            ...ann,
            passwordHash:
              '$argon2id$v=19$m=1048576,t=9,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA',
          },
        ],
      },
      'users[0].passwordHash',
      'm from 7168',
    ],
    [
      'a short digest',
      { clients: [{ ...spa, authMethod: undefined, secretHash: 'sha256:AAAA' }] },
      'clients[0].secretHash',
      'sha256: and 43',
    ],
    [
      'a foreign id',
      { users: [{ ...ann, id: 'declared' }] },
      'users[0].id',
      'the id of an account',
    ],
    [
      'a name of every object',
      { users: [{ ...ann, constructor: 1 }] },
      'users[0].constructor',
      'no such setting',
    ],
    ['an owner', { users: [{ ...ann, owner: 'file' }] }, 'users[0].owner', 'no such setting'],
    [
      'a role that is not there',
      { users: [{ ...ann, roles: ['king'] }] },
      'users[0].roles[0]',
      'PR402',
    ],
    [
      'the role of everyone',
      { users: [{ ...ann, roles: ['everyone'] }] },
      'users[0].roles[0]',
      'PR403',
    ],
    [
      'two users of one name',
      { users: [ann, { username: 'ANN' }] },
      'users[1].username',
      'PR401: users[0] has "ANN" already',
    ],
    [
      'two users of one id',
      {
        users: [
          { ...ann, id: ID },
          { username: 'ben', id: ID },
        ],
      },
      'users[1].id',
      'users[0] has the same',
    ],
    ['two clients of one id', { clients: [spa, spa] }, 'clients[1].id', 'PR301'],
    ['the id of an account', { clients: [{ ...spa, id: ID }] }, 'clients[0].id', 'PR302'],
    [
      'the audience of a resource',
      { clients: [{ ...spa, id: 'notes' }] },
      'clients[0].id',
      'PR303',
    ],
    [
      'a client without a secret',
      { clients: [{ ...spa, authMethod: 'client_secret_post' }] },
      'clients[0].secret',
      'PR306',
    ],
    [
      'a secret of a public client',
      { clients: [{ ...spa, secretHash: `sha256:${'A'.repeat(43)}` }] },
      'clients[0].secret',
      'PR304',
    ],
    [
      'a wildcard',
      { clients: [{ ...spa, redirectUris: ['https://*.example/'] }] },
      'clients[0].redirectUris[0]',
      'PR312',
    ],
    [
      'a scope of nobody',
      { clients: [{ ...spa, scopes: ['admin'] }] },
      'clients[0].scopes[0]',
      'PR316',
    ],
    [
      'a setting that is not there',
      { config: { tokens: { forever: true } } },
      'config.tokens.forever',
      'no such setting',
    ],
    [
      'a clear secret in the configuration',
      { config: { rootKey: 'clear text' } },
      'config.rootKey',
      'that is not shown',
    ],
  ])('%s', async (_name, wrong, path, words) => {
    await using it = await start()
    const before = await it.dump()
    const document = JSON.parse(JSON.stringify(merge(wrong))) as object
    const error: unknown = await it.import(document).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'invalid_input' })
    expect(String(error)).toContain(`${path}: `)
    expect(String(error)).toContain(words)
    expect(String(error)).not.toContain('clear text')
    expect(await it.dump()).toEqual(before)
  })

  /** The innocent come last, so that their places do not count. */
  function merge(wrong: { users?: object[]; clients?: object[] }): object {
    const { users = [], clients = [] } = wrong
    return {
      version: 1,
      ...wrong,
      users: [...users, ...innocent.users],
      clients: [...clients, ...innocent.clients],
    }
  }

  test('what the configuration file declares, or declared once', async () => {
    await using it = await start()
    const left = { id: 'left', username: 'left', owner: 'file' as const, disabled: true }
    const [known] = await it.stores.accounts.list()
    if (known) await it.stores.accounts.insert({ ...known, ...left })
    const before = await it.dump()
    const document = {
      version: 1,
      users: [{ username: 'Declared' }, { username: 'left' }, ...innocent.users],
      clients: [{ ...spa, id: 'declared' }],
    }
    await expect(it.import(document)).rejects.toMatchObject({
      code: 'read_only',
      message: [
        '3 mistakes:',
        `users[0].username: the user "declared" is declared in ${FILE}: change it there`,
        'users[1].username: the user "left" was declared in a configuration file once: remove it first (npx portreeve users remove left)',
        `clients[0].id: the client "declared" is declared in ${FILE}: change it there`,
      ].join('\n  '),
    })
    expect(await it.dump()).toEqual(before)
  })

  test('a user who is somebody else here, by name or by id', async () => {
    await using it = await start()
    await fill(it)
    const before = await it.dump()
    const { id } = await it.users.show('ann')
    const document = {
      version: 1,
      users: [{ username: 'ann', id: ID }, { username: 'mallory', id }, ...innocent.users],
    }
    await expect(it.import(document)).rejects.toMatchObject({
      code: 'conflict',
      message: [
        '2 mistakes:',
        'users[0].id: the user "ann" is another one here: remove it first (npx portreeve users remove ann), or leave this one out',
        'users[1].id: it is the id of the user "ann" here',
      ].join('\n  '),
    })
    expect(await it.dump()).toEqual(before)
  })

  test.each([
    ['no JSON', '{"version":1,"users":[{"username":"hidden"', 'The document is no JSON'],
    ['nothing', '', 'The document is no JSON'],
    ['a list', '[]', 'no version'],
    ['no version', '{"users":[]}', 'no version'],
    ['a later version', '{"version":2,"new":true}', 'has version 2; this program reads version 1'],
    ['depth', `{"version":1,"config":${'['.repeat(100_000)}`, 'nested more than 32 deep'],
    [
      'a depth in an entry',
      `{"version":1,"users":[${'{"profile":'.repeat(50)}0`,
      'nested more than',
    ],
    ['many users', `{"version":1,"users":[${'0,'.repeat(50_000)}0]}`, 'a list of at most 50000'],
    [
      'many members',
      `{"version":1${Array.from({ length: 200 }, (_, index) => `,"m${index}":0`).join('')}}`,
      'too many members',
    ],
    [
      'a large entry',
      `{"version":1,"users":[{"username":"a","roles":[${'"r",'.repeat(10_000)}"r"]}]}`,
      'users[0]: expected at most 10000 values',
    ],
    [
      'a large configuration',
      `{"version":1,"config":{"clients":[${'0,'.repeat(60_000)}0]}}`,
      'config: expected at most 50000 values',
    ],
    [
      'very many mistakes',
      `{"version":1,"users":[${'{"a":0,"b":0,"c":0},'.repeat(40_000)}0]}`,
      '… and ',
    ],
  ])('%s', async (_name, text, words) => {
    await using it = await start()
    const error: unknown = await it.importText(text).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'invalid_input' })
    expect(String(error)).toContain(words)
    expect(String(error)).not.toContain('hidden')
    expect(String(error).length).toBeLessThan(4000)
  })
})

describe('an import of API keys', () => {
  test('of a user of the configuration file finds them by name', async () => {
    await using one = await start()
    const reader: ConfigInput = {
      ...CONFIG,
      users: [{ username: 'declared', password: { env: 'PASSWORD' }, roles: ['reader'] }],
    }
    await using two = await start(reader)
    const made = await two.apiKeys.add({
      user: 'declared',
      name: 'Backup',
      scopes: ['notes:read'],
      expiresAt: undefined,
    })
    await one.import(await two.export())
    const [brought] = await one.apiKeys.list('declared')
    expect(brought).toMatchObject({ id: made.apiKey.id, state: 'active', expiresAt: undefined })
    const declared = await one.stores.accounts.findByUsername('declared')
    expect(brought?.accountId).toBe(declared?.id)
  })

  test('leaves a key as it is here, and revives none', async () => {
    await using it = await start()
    const { keyId } = await fill(it)
    const document = await it.export()
    await it.apiKeys.revoke(keyId)
    expect(await it.import(document)).toMatchObject({ apiKeys: { ...NOTHING, left: [keyId] } })
    expect(await it.apiKeys.list()).toMatchObject([{ id: keyId, state: 'revoked' }])
  })

  test('brings no key that has ended', async () => {
    await using it = await start()
    const { keyId } = await fill(it)
    const add = { user: 'ann', name: 'Soon', scopes: ['notes:read'] }
    await it.apiKeys.add({ ...add, expiresAt: 1_767_225_600_000 + 1000 })
    it.turnClock()
    expect((await it.export()).apiKeys).toMatchObject([{ id: keyId, user: 'ann' }])
    await it.apiKeys.revoke(keyId)
    expect((await it.export()).apiKeys).toEqual([])
  })

  const KEY = {
    id: `key_${'A'.repeat(22)}`,
    user: 'declared',
    name: 'Backup',
    resource: 'https://notes.example/',
    scopes: ['notes:read'],
    hash: hashApiKey('a key'),
    createdAt: '2026-01-01T00:00:00.000Z',
  }
  test.each([
    ['an unknown user', [{ ...KEY, user: 'x' }], 'apiKeys[0].user: there is no user "x"'],
    ['a disabled user', [{ ...KEY, user: 'ben' }], 'apiKeys[0].user: the user "ben" is disabled'],
    [
      'an unknown resource',
      [{ ...KEY, resource: 'https://x.example/' }],
      'apiKeys[0].resource: "https://x.example/" is the identifier of no resource',
    ],
    ['an unknown scope', [{ ...KEY, scopes: ['x'] }], 'apiKeys[0].scopes[0]: "x" is no scope'],
    ['no scope', [{ ...KEY, scopes: [] }], 'apiKeys[0].scopes'],
    ['a hash that is none', [{ ...KEY, hash: 'x' }], 'apiKeys[0].hash: expected 43 characters'],
    ['a key as it is shown', [{ ...KEY, key: 'prk_x' }], 'apiKeys[0]'],
    ['an id of somebody’s own', [{ ...KEY, id: 'mine' }], 'apiKeys[0].id: expected the id of an'],
    ['a time that is none', [{ ...KEY, expiresAt: 'soon' }], 'apiKeys[0].expiresAt: expected a'],
    ['one id twice', [KEY, { ...KEY, hash: hashApiKey('b') }], 'apiKeys[1].id: apiKeys[0] has'],
    [
      'one hash twice',
      [KEY, { ...KEY, id: `key_${'B'.repeat(22)}` }],
      'apiKeys[1].hash: apiKeys[0] has the same',
    ],
  ])('refuses %s, and changes nothing', async (_what, apiKeys, message) => {
    await using it = await start()
    await fill(it)
    const before = await it.dump()
    await expect(it.import({ version: 1, apiKeys })).rejects.toThrow(message)
    expect(await it.dump()).toEqual(before)
  })

  test.each([
    ['id', { hash: hashApiKey('another') }, 'apiKeys[0].id: it is the id of another key here'],
    ['hash', { id: KEY.id }, 'apiKeys[0].hash: it is that of the key key_'],
  ])('refuses the %s of another key here', async (_what, change, message) => {
    await using it = await start()
    await fill(it)
    const [key] = (await it.export()).apiKeys
    const document = { version: 1, apiKeys: [{ ...key, ...change }] }
    await expect(it.import(document)).rejects.toMatchObject({ code: 'conflict' })
    await expect(it.import(document)).rejects.toThrow(message)
  })
})

test('leaves clients that have registered themselves where they are', async () => {
  await using it = await start()
  await it.clients.add(WEB, undefined)
  const [web] = (await it.stores.clients.list()).filter(({ id }) => id === 'web')
  if (!web) throw new Error('it is not there')
  await it.stores.clients.insert({ ...web, id: 'dyn_1', owner: 'dynamic' })
  const document = await it.export()
  expect(document.clients.map(({ id }) => id)).toEqual(['web'])
  const before = await it.dump()
  const taken = { ...document, clients: [{ ...WEB, id: 'dyn_1', authMethod: 'none' }] }
  await expect(it.import(taken)).rejects.toMatchObject({
    code: 'read_only',
    message: expect.stringContaining('has registered itself'),
  })
  expect(await it.dump()).toEqual(before)
})
