import { randomUUID } from 'node:crypto'
import { DatabaseSync } from 'node:sqlite'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { createBrowser } from '../support/browser.ts'
import { withClients } from '../support/endpoints.ts'
import { authorize } from '../support/flow.ts'
import { startKeyPlace, type KeyPlace } from '../support/key-place.ts'
import { startLogoutReceiver, type Answer } from '../support/logout-receiver.ts'
import { sendRaw } from '../support/raw.ts'
import { invite, METADATA, register, withRegistration } from '../support/registration.ts'
import { startServer, type TestServer } from '../support/server.ts'

/* What a client that has registered itself can have this server call: loopback stands for all that a
   stranger must not reach, because it is forbidden where the issuer is elsewhere. */

const ISSUER = 'https://id.example'
const { publicKey, privateKey } = await generateKeyPair('ES256')
const jwk = { ...(await exportJWK(publicKey)), kid: 'own', alg: 'ES256' }

const REGISTRATION = {
  grants: ['client_credentials', 'authorization_code'] as const,
  scopes: ['openid', 'notes:read'],
}

let inside: TestServer
let outside: TestServer
let receiver: Awaited<ReturnType<typeof startLogoutReceiver>>
let publisher: KeyPlace
beforeAll(async () => {
  receiver = await startLogoutReceiver()
  publisher = await startKeyPlace(jwk)
  const issuers = [{ issuer: 'https://publisher.example', jwksUri: publisher.url }]
  const change = withRegistration({
    ...REGISTRATION,
    grants: [...REGISTRATION.grants],
    softwareStatements: { issuers },
  })
  inside = await startServer(change)
  outside = await startServer((config) =>
    change({
      ...withClients({ id: 'web', backchannelLogoutUri: receiver.uri })(config),
      issuer: ISSUER,
      trustedProxies: ['127.0.0.1'],
    }),
  )
})
afterAll(async () => {
  await inside[Symbol.asyncDispose]()
  await outside[Symbol.asyncDispose]()
  await receiver[Symbol.asyncDispose]()
  await publisher[Symbol.asyncDispose]()
})

/** As its proxy does it. */
async function post(server: TestServer, path: string, type: string, body: string, token = '') {
  const { host, protocol } = new URL(server.issuer)
  return sendRaw(
    server.url,
    [
      `POST ${path} HTTP/1.1`,
      `Host: ${host}`,
      `X-Forwarded-Proto: ${protocol.slice(0, -1)}`,
      `Content-Type: ${type}`,
      `Content-Length: ${Buffer.byteLength(body)}`,
      ...(token === '' ? [] : [`Authorization: Bearer ${token}`]),
    ],
    body,
  )
}

async function tryAt(server: TestServer, metadata: object) {
  const { token } = await invite(server)
  const body = JSON.stringify({ ...METADATA, ...metadata })
  return post(server, '/register', 'application/json', body, token)
}

async function registerAt(server: TestServer, metadata: object): Promise<string> {
  const answer = await tryAt(server, metadata)
  expect(answer.status).toBe(201)
  return String((JSON.parse(answer.body) as Record<string, unknown>)['client_id'])
}

async function askForToken(
  server: TestServer,
  jwksUri: string,
  grant: { readonly type: string; readonly redirectUris: readonly string[] } = FOR_ITSELF,
): Promise<number> {
  const id = await registerAt(server, {
    grant_types: [grant.type],
    redirect_uris: grant.redirectUris,
    token_endpoint_auth_method: 'private_key_jwt',
    jwks_uri: jwksUri,
    scope: 'notes:read',
  })
  const now = Math.floor(systemClock.now() / 1000)
  const claims = { iss: id, sub: id, aud: server.issuer, jti: randomUUID(), exp: now + 60 }
  const assertion = await new SignJWT(claims)
    .setProtectedHeader({ alg: 'ES256', kid: 'own' })
    .sign(privateKey)
  const form = new URLSearchParams({
    grant_type: grant.type,
    code: 'of nobody',
    scope: 'notes:read',
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    client_assertion: assertion,
  })
  const type = 'application/x-www-form-urlencoded'
  return (await post(server, '/token', type, form.toString())).status
}

const FOR_ITSELF = { type: 'client_credentials', redirectUris: [] }
/** Whose keys are good is told that the code is none. */
const FOR_A_PERSON = { type: 'authorization_code', redirectUris: METADATA.redirect_uris }

test('keys are fetched from where strangers may have this server call', async () => {
  await using keys = await startKeyPlace(jwk)
  expect(await askForToken(inside, keys.url)).toBe(200)
  expect(keys.place.asked).toBe(1)
})

test('and from nowhere else', async () => {
  await using keys = await startKeyPlace(jwk)
  expect(await askForToken(outside, keys.url)).toBe(401)
  expect(keys.place.asked).toBe(0)
  for (const uri of ['https://169.254.169.254/latest', 'https://[::1]/', 'https://10.0.0.1/']) {
    expect(await askForToken(outside, uri)).toBe(401)
  }
})

test.each([
  ['open', 401, 0],
  ['invited', 400, 1],
] as const)(
  'nor, where registration is %s, from the networks that the operator lets clients lead to: %i',
  async (access, status, asked) => {
    await using keys = await startKeyPlace(jwk)
    await using within = await startServer((config) => ({
      ...withRegistration({ scopes: REGISTRATION.scopes, access })(config),
      issuer: ISSUER,
      trustedProxies: ['127.0.0.1'],
      outbound: { networks: ['127.0.0.0/8'] },
    }))
    expect(await askForToken(within, keys.url, FOR_A_PERSON)).toBe(status)
    expect(keys.place.asked).toBe(asked)
  },
)

test('the same holds for the keys of who signs software statements', async () => {
  const statement = await new SignJWT({ iss: 'https://publisher.example', software_id: 'x' })
    .setProtectedHeader({ alg: 'ES256', kid: 'own' })
    .sign(privateKey)
  const stated = { software_statement: statement }
  expect((await tryAt(outside, stated)).status).toBe(500)
  expect(publisher.place.asked).toBe(0)
  expect((await tryAt(inside, stated)).status).toBe(201)
  expect((await tryAt(inside, stated)).status).toBe(201)
  expect(publisher.place.asked).toBe(1)
})

/** A logout that the client is to be told of. */
function queue(database: DatabaseSync, client: string): void {
  database
    .prepare('insert into logout_delivery values (?, ?, ?, ?, ?, ?, ?)')
    .run(`logout of ${client}`, client, 'acc_somebody', 'sid', systemClock.now(), 0, 0)
}

test('a client is told of a session that ended', async () => {
  await using own = await startLogoutReceiver()
  const { token } = await invite(inside)
  const { id } = await register(inside.issuer, { backchannel_logout_uri: own.uri }, token)
  const browser = createBrowser(inside.issuer)
  const request = { client_id: id, scope: 'openid notes:read' }
  await authorize(inside.issuer, request, 'alice', browser)
  const page = await browser.get(`${inside.issuer}/session/end?client_id=${id}`)
  await browser.submit(page, '/session/end/confirm', { logout: 'yes' })
  await expect.poll(() => own.received.length, { timeout: 10_000 }).toBe(1)
})

test.each<[string, Answer]>([
  [
    'packed',
    (response) => void response.writeHead(200, { 'content-encoding': 'gzip' }).end('not packed'),
  ],
  ['at length', (response) => void response.writeHead(200).end(Buffer.alloc(1_000_000))],
  ['without an end', (response) => void response.writeHead(200).write('x')],
])('a client that answers %s was told', async (_how, answer) => {
  await using own = await startLogoutReceiver(answer)
  const id = await registerAt(inside, { backchannel_logout_uri: own.uri })
  using database = new DatabaseSync(`${inside.folder}/portreeve.sqlite`)
  queue(database, id)
  const delivered = () =>
    inside
      .logged()
      .split('\n')
      .filter((line) => line.includes('"logout_delivered"') && line.includes(id))
  await expect.poll(delivered, { timeout: 10_000 }).toHaveLength(1)
  expect(own.received).toHaveLength(1)
})

test('strangers that never answer keep no client of the operator waiting', async () => {
  await using silent = await startLogoutReceiver(() => {})
  await using own = await startLogoutReceiver()
  await using server = await startServer(withClients({ id: 'web', backchannelLogoutUri: own.uri }))
  {
    await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
    using database = new DatabaseSync(`${server.folder}/portreeve.sqlite`)
    const web = await stores.clients.findById('web')
    if (!web) throw new Error('no web')
    const strangers = Array.from({ length: 100 }, (_, index) => `a stranger ${index}`)
    const described = { ...web, owner: 'dynamic', backchannelLogoutUri: silent.uri } as const
    for (const id of strangers) await stores.clients.insert({ ...described, id })
    database.exec('begin immediate')
    for (const id of [...strangers, 'web']) queue(database, id)
    database.exec('commit')
  }
  // As many strangers as there are lanes for are called, and one that is not of them all the same.
  await expect.poll(() => silent.received.length, { timeout: 10_000 }).toBe(32)
  await expect.poll(() => own.received.length, { timeout: 4000 }).toBe(1)
  expect(server.logged()).not.toContain('"logout_postponed"')
})

test('a stranger’s address is not called with a logout, an operator’s is', async () => {
  await using own = await startLogoutReceiver()
  const id = await registerAt(outside, { backchannel_logout_uri: own.uri })
  using database = new DatabaseSync(`${outside.folder}/portreeve.sqlite`)
  for (const client of [id, 'web']) {
    queue(database, client)
  }
  await expect.poll(() => receiver.received.length, { timeout: 10_000 }).toBe(1)
  await expect.poll(() => outside.logged(), { timeout: 10_000 }).toContain('"logout_postponed"')
  expect(own.received).toEqual([])
})
