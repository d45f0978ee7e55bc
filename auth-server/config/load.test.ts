import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { PortreeveError } from '../errors.ts'
import { loadConfig, locateDatabase, prepareConfig, type LoadOptions } from './load.ts'

/** A folder with the given files, removed in the end. */
async function makeFolder(files: Readonly<Record<string, string>> = {}) {
  const folder = await mkdtemp(path.join(tmpdir(), 'portreeve-config-'))
  for (const [name, text] of Object.entries(files)) await writeFile(path.join(folder, name), text)
  return {
    folder,
    load: (options: LoadOptions = {}) => loadConfig({ folder, environment: {}, ...options }),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true }),
  }
}

/** The error's lines without the first. */
async function mistakesOf(loading: Promise<unknown>): Promise<string[]> {
  const error = await loading.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (!(error instanceof PortreeveError)) throw new Error('expected a PortreeveError')
  expect(error.code).toBe('misconfigured')
  return error.message
    .split('\n')
    .slice(1)
    .map((line) => line.trim())
}

async function mistakesIn(config: unknown, options: LoadOptions = {}): Promise<string[]> {
  await using place = await makeFolder({ 'portreeve.config.json': JSON.stringify(config) })
  return await mistakesOf(place.load(options))
}

test('has defaults that need no file', async () => {
  await using place = await makeFolder()
  const { config, file, folder, warnings } = await place.load()
  expect({ file, folder, warnings }).toEqual({
    file: undefined,
    folder: place.folder,
    warnings: [],
  })
  expect(config.issuer).toBe('http://localhost:3000')
  expect(config.database.url).toBe(`sqlite:${place.folder}/portreeve.sqlite`)
  expect(config.rootKey).toEqual({ file: `${place.folder}/portreeve.key` })
})

test.each([
  [
    'portreeve.config.ts',
    'const log: { level: "warn" } = { level: "warn" }\nexport default { log }',
  ],
  ['portreeve.config.js', 'export const config = { log: { level: "warn" } }'],
  ['portreeve.config.json', '\uFEFF{ "log": { "level": "warn" } }'],
])('finds %s in the working directory', async (name, text) => {
  await using place = await makeFolder({ [name]: text })
  const { config, file } = await place.load()
  expect(config.log.level).toBe('warn')
  expect(file).toBe(path.join(place.folder, name))
})

test('refuses to choose between two files', async () => {
  await using place = await makeFolder({
    'portreeve.config.js': 'export default {}',
    'portreeve.config.json': '{}',
  })
  await expect(place.load()).rejects.toThrow(/more than one configuration file.*--config/)
  expect((await place.load({ file: 'portreeve.config.json' })).config.log.level).toBe('info')
})

test.each([
  ['{\n  "a": "x,}",\n  "b": 1,\n}', 'line 3 column 9'],
  ['{"a": [1, 2,\n\n ]}', 'line 1 column 12'],
  ['{"a\\",]": [{},]}', 'line 1 column 14'],
])('points at the comma after the last entry of %j', async (text, where) => {
  await using place = await makeFolder({ 'portreeve.config.json': text })
  await expect(place.load()).rejects.toThrow(
    `portreeve.config.json is no JSON: at ${where} a comma comes before } or ], where JSON allows none.`,
  )
})

test.each(['{"a": "b,]"', '{"a": ",}', '{"a" ,"b,}": 1}'])(
  'points at no comma that is right, or in a text: %s',
  async (text) => {
    await using place = await makeFolder({ 'portreeve.config.json': text })
    await expect(place.load()).rejects.toThrow(/is no JSON(?:: see line \d+ column \d+)?\.$/)
  },
)

test.each([
  ['a file that is not there', 'none.json', /There is no configuration file at .*none\.json/],
  ['a file of another kind', 'a.yaml', /expected \.ts, \.js or \.json/],
  ['a module without a configuration', 'a.ts', /exports no configuration/],
  ['a module that throws', 'b.js', /b\.js cannot be read: no luck\\u\{1b\}$/],
  ['what is no JSON, without quoting it', 'a.json', /a\.json is no JSON: see line 1 column 21\.$/],
])('refuses %s', async (_name, file, message) => {
  await using place = await makeFolder({
    'a.yaml': 'a: 1',
    'a.ts': 'export const other = {}',
    'b.js': 'throw new Error("no luck\\u001b")',
    'a.json': '{"secret": "hunter2}',
  })
  await expect(place.load({ file })).rejects.toThrow(message)
  await expect(place.load({ file })).rejects.not.toThrow(/hunter2/)
})

test('puts the environment above the file, and the file above the defaults', async () => {
  const file = { issuer: 'https://id.example', listen: { port: 4000, host: '127.0.0.2' } }
  await using place = await makeFolder({ 'portreeve.config.json': JSON.stringify(file) })
  const environment = {
    PORT: '5000',
    ISSUER: 'https://other.example',
    DATABASE_URL: 'sqlite::memory:',
  }
  const { config } = await place.load({ environment })
  expect(config.listen).toEqual({ host: '127.0.0.2', port: 5000 })
  expect(config.issuer).toBe('https://other.example')
  expect(config.database.url).toBe('sqlite::memory:')
  expect(locateDatabase(config)).toEqual({ kind: 'memory' })
})

test('names a database server without who may use it', async () => {
  await using place = await makeFolder()
  const environment = { DATABASE_URL: 'postgres://ann:hunter2@127.0.0.1:5433/portreeve' }
  const { config } = await place.load({ environment })
  expect(locateDatabase(config)).toEqual({ kind: 'server', name: '127.0.0.1:5433/portreeve' })
})

test('counts an empty variable as not set', async () => {
  await using place = await makeFolder()
  const environment = { PORT: '', ISSUER: '', DATABASE_URL: '', REDIS_URL: '' }
  expect((await place.load({ environment })).config.listen.port).toBe(3000)
})

test.each([
  ['PORT', {}, { PORT: '4000' }, 'http://localhost:4000'],
  ['PORT 80, as browsers write it', {}, { PORT: '80' }, 'http://localhost'],
  ['the port of the file', { listen: { port: 4001 } }, {}, 'http://localhost:4001'],
  ['ISSUER first', {}, { PORT: '4000', ISSUER: 'http://127.0.0.1:4000' }, 'http://127.0.0.1:4000'],
  [
    'the issuer of the file first',
    { issuer: 'http://[::1]:1' },
    { PORT: '4000' },
    'http://[::1]:1',
  ],
])('lets the issuer follow %s', async (_name, file, environment, issuer) => {
  await using place = await makeFolder({ 'portreeve.config.json': JSON.stringify(file) })
  expect((await place.load({ environment })).config.issuer).toBe(issuer)
})

test('names the variable that a mistake came from', async () => {
  await using place = await makeFolder()
  const environment = {
    PORT: '70000',
    ISSUER: 'nowhere',
    DATABASE_URL: 'postgres://u:hunter2@h',
    REDIS_URL: 'http://:hunter2@h',
  }
  expect(await mistakesOf(place.load({ environment }))).toEqual([
    'PORT (listen.port): expected a whole number from 0 to 65535, got 70000',
    'ISSUER (issuer): PR101: expected an origin such as https://id.example.org, without a slash at the end, got "nowhere"',
    'DATABASE_URL (database.url): PR105: expected postgres://USER@HOST:PORT/DATABASE',
    'REDIS_URL (redis.url): PR111: expected redis://HOST:PORT/NUMBER or rediss://HOST:PORT/NUMBER',
  ])
})

test.each([
  ['{"log":{"level":"info"}}', { PORT: 'high' }, /^One mistake in the variable PORT:\n/],
  ['{}', { PORT: 'high', REDIS_URL: 'x' }, /^2 mistakes in the variables PORT, REDIS_URL:\n/],
  [
    '{"lisen":1}',
    { ISSUER: 'x' },
    /^2 mistakes in \/.*\/portreeve\.config\.json and the variable ISSUER:\n/,
  ],
  ['{"lisen":1}', { PORT: '80' }, /^One mistake in \/.*\/portreeve\.config\.json:\n/],
])('says at the top whether to look into %s or at %j', async (text, environment, heading) => {
  await using place = await makeFolder({ 'portreeve.config.json': text })
  await expect(place.load({ environment })).rejects.toThrow(heading)
})

test('takes relative paths of the file from its folder, those of DATABASE_URL from here', async () => {
  const text = JSON.stringify({
    database: { url: 'sqlite:data/p.sqlite' },
    rootKey: { file: 'root.key' },
    clients: [{ id: 'app', secret: { file: 's' }, redirectUris: ['https://app.example/cb'] }],
    users: [{ username: 'ann', password: { file: '/run/p' } }],
  })
  await using place = await makeFolder({ 'p.json': text })
  await using here = await makeFolder()
  const file = path.join(place.folder, 'p.json')
  const { config, folder } = await here.load({ file })
  expect(folder).toBe(place.folder)
  expect(locateDatabase(config)).toEqual({ kind: 'file', file: `${place.folder}/data/p.sqlite` })
  expect(config.rootKey).toEqual({ file: `${place.folder}/root.key` })
  expect(config.clients[0]?.secret).toEqual({ file: `${place.folder}/s` })
  expect(config.users[0]?.password).toEqual({ file: '/run/p' })
  const environment = { DATABASE_URL: 'sqlite:x.sqlite' }
  const overridden = await here.load({ file, environment })
  expect(locateDatabase(overridden.config)).toEqual({
    kind: 'file',
    file: `${here.folder}/x.sqlite`,
  })
})

test('reports every mistake at once: of values, of rules, and of secrets', async () => {
  const mistakes = await mistakesIn({
    isuer: 'https://id.example',
    listen: { port: '3000', hots: 'x' },
    tokens: { refreshRetryWindowSeconds: 1.5 },
    roles: { 'bad role': { scopes: [] } },
    resources: [{ identifier: 'urn:a', name: 'A', scopes: { openid: { description: 'x' } } }],
    clients: [
      { id: 'a b' },
      { id: 'acc_1', redirect_uris: [], secret: { env: 'S' }, redirectUris: ['https://*.example'] },
      7,
    ],
    users: [
      { username: 'ann', roles: 'admin' },
      { username: 'bob', profile: { emailVerified: true } },
    ],
  })
  expect(mistakes).toEqual([
    'listen.port: expected a whole number from 0 to 65535, got "3000"',
    'listen.hots: there is no such setting. Did you mean host?',
    'roles["bad role"]: expected a role of 1 to 64 characters: a-z A-Z 0-9 _ . : -, got "bad role"',
    'clients[0].id: expected a client id of 1 to 128 characters: a-z A-Z 0-9 . _ ~ -, got "a b"',
    'clients[1].redirect_uris: there is no such setting. Did you mean redirectUris?',
    'clients[2]: expected an object, got 7',
    'users[0].roles: expected a list, got "admin"',
    'tokens.refreshRetryWindowSeconds: expected a whole number from 0 to 300, got 1.5',
    'isuer: there is no such setting. Did you mean issuer?',
    'resources[0].scopes.openid: PR204: "openid" is OpenID Connect\'s own scope',
    'clients[1].id: PR302: ids of accounts start with acc_, got "acc_1"',
    'clients[1].redirectUris[0]: PR312: redirect URIs are compared exactly, * included, got "https://*.example"',
    'users[1].profile.emailVerified: PR404: there is no e-mail address that could be verified',
  ])
})

test('does not report as unknown what stands in a section that is mistaken itself', async () => {
  const mistakes = await mistakesIn({
    resources: 'none',
    roles: { reader: { scopes: ['notes:read'] } },
    clients: [
      {
        id: 'app',
        authMethod: 'none',
        redirectUris: ['https://a.example'],
        scopes: ['notes:read'],
      },
    ],
  })
  expect(mistakes).toEqual(['resources: expected a list, got "none"'])
})

test.each([
  ['a list', [], 'expected an object, got a list of 0'],
  ['a text', 'x', 'expected an object, got "x"'],
  ['nothing', null, 'expected an object, got null'],
])('refuses %s for a configuration', async (_name, config, message) => {
  expect(await mistakesIn(config)).toEqual([message])
})

test('bounds what it shows and lets nothing through to the terminal', async () => {
  const [long] = await mistakesIn({ listen: { port: 'x'.repeat(5000) } })
  expect(long).toHaveLength(
    'listen.port: expected a whole number from 0 to 65535, got '.length + 83,
  )
  const [hostile] = await mistakesIn({ log: { level: '\u001B[2J\u202E' } })
  expect(hostile).toContain('got "\\u{1b}[2J\\u{202e}"')
})

test('never shows what stands in the place of a secret', async () => {
  const mistakes = await mistakesIn({
    rootKey: 'hunter2',
    database: { url: 12_345 },
    clients: [
      { id: 'a', secret: 'hunter2' },
      { id: 'b', secret: { env: 'hunter2 ' } },
    ],
    users: [
      { username: 'ann', password: 'hunter2' },
      { username: 'bob', password: ['hunter2'] },
    ],
  })
  expect(mistakes).toHaveLength(6)
  expect(mistakes.join('\n')).not.toMatch(/hunter2|12345/)
  expect(mistakes[2]).toBe(
    'clients[0].secret: expected { env: "NAME" } or { file: "path" }, never the secret itself, got a text that is not shown',
  )
})

test('reports the secrets that cannot be had only to who needs them', async () => {
  const config = {
    clients: [
      { id: 'a', secret: { env: 'A_SECRET' }, redirectUris: ['https://a.example'] },
      { id: 'b', secret: { env: 'B_SECRET' }, redirectUris: ['https://b.example'] },
    ],
    users: [{ username: 'ann', password: { file: 'ann.password' } }],
  }
  await using place = await makeFolder({ 'portreeve.config.json': JSON.stringify(config) })
  const environment = { B_SECRET: 'short' }
  expect((await place.load({ environment })).config.clients).toHaveLength(2)
  expect(await mistakesOf(place.load({ environment, checkSecrets: true }))).toEqual([
    'clients[0].secret: the variable A_SECRET is not set',
    'clients[1].secret: the variable B_SECRET: a client secret has at least 16 characters',
    `users[0].password: the file ${place.folder}/ann.password does not exist`,
  ])
})

test('reports secrets of resources that are too short, not secret, or shared by two', async () => {
  const resource = (name: string, algorithm: string, secret: string) => ({
    identifier: `https://${name}.example/`,
    name,
    scopes: {},
    issuer: 'a',
    algorithm,
    secret: { env: secret },
  })
  const config = {
    resources: [
      resource('a', 'HS256', 'GOOD'),
      resource('b', 'HS256', 'GOOD'),
      resource('c', 'HS256', 'SHORT'),
      resource('d', 'HS512', 'MEDIUM'),
      resource('e', 'HS512', 'LONG'),
      resource('f', 'HS256', 'PUBLIC'),
      resource('g', 'HS256', 'NONE'),
    ],
  }
  const environment = {
    GOOD: 'g'.repeat(32),
    SHORT: 's'.repeat(31),
    MEDIUM: 'm'.repeat(63),
    LONG: 'é'.repeat(32),
    PUBLIC: `-----BEGIN PUBLIC KEY-----\n${'A'.repeat(200)}`,
  }
  await using place = await makeFolder({ 'portreeve.config.json': JSON.stringify(config) })
  const mistakes = await mistakesOf(place.load({ environment, checkSecrets: true }))
  expect(mistakes).toEqual([
    'resources[1].secret: the variable GOOD: another resource has the same: who may make tokens for one could make them for the other',
    'resources[2].secret: the variable SHORT: a secret for HS256 has at least 32 random bytes',
    'resources[3].secret: the variable MEDIUM: a secret for HS512 has at least 64 random bytes',
    'resources[5].secret: the variable PUBLIC: expected a secret, not a key or a certificate',
    'resources[6].secret: the variable NONE is not set',
  ])
  for (const secret of Object.values(environment)) {
    expect(mistakes.join()).not.toContain(secret)
  }
})

test('never shows the secret of a resource, or a key, that stands where its source should', async () => {
  const mistakes = await mistakesIn({
    resources: [{ identifier: 'urn:a', name: 'A', scopes: {}, secret: 'hunter2' }],
    directAccess: {
      apiKey: { resource: 'urn:a', demonstrationKeys: [{ secret: 'hunter2', user: 'ann' }] },
    },
  })
  expect(mistakes).toHaveLength(2)
  expect(mistakes.join()).not.toContain('hunter2')
})

test('takes a shorter password where the configuration says so, and keys that people type', async () => {
  const config = {
    signIn: { shortestPassword: 6 },
    resources: [{ identifier: 'urn:a', name: 'A', scopes: {} }],
    users: [
      { username: 'naren', password: { env: 'NAREN' } },
      { username: 'ann', password: { env: 'ANN' } },
    ],
    directAccess: {
      apiKey: {
        resource: 'urn:a',
        demonstrationKeys: [
          { secret: { file: 'key' }, user: 'ann' },
          { secret: { env: 'SPACED' }, user: 'ann' },
        ],
      },
    },
  }
  const files = { 'portreeve.config.json': JSON.stringify(config), key: 'ABCDE\n' }
  await using place = await makeFolder(files)
  const environment = { NAREN: 'passme', ANN: 'short', SPACED: 'A B' }
  expect(await mistakesOf(place.load({ environment, checkSecrets: true }))).toEqual([
    'users[1].password: the variable ANN: a password has at least 6 characters',
    'directAccess.apiKey.demonstrationKeys[1].secret: the variable SPACED: a demonstration key is 1 to 256 printable characters without spaces',
  ])
})

test('hands warnings over beside the configuration', async () => {
  const config = { tokens: { sessionTtlSeconds: 31_536_000 } }
  await using place = await makeFolder({ 'portreeve.config.json': JSON.stringify(config) })
  const { warnings } = await place.load()
  expect(warnings).toEqual([
    {
      rule: 'PR108',
      path: ['tokens', 'sessionTtlSeconds'],
      message: '365 days is long for what a thief can use',
    },
  ])
})

test('prepares what a program holds, and overrides nothing of it', () => {
  const environment = { PORT: '1', ISSUER: 'https://other.example' }
  const { config } = prepareConfig({ listen: { port: 0 } }, { environment, folder: '/srv' })
  expect(config.listen.port).toBe(0)
  expect(config.issuer).toBe('http://localhost:0')
  expect(locateDatabase(config)).toEqual({ kind: 'file', file: '/srv/portreeve.sqlite' })
  expect(() => prepareConfig({ listen: { port: -1 } })).toThrow(PortreeveError)
})
