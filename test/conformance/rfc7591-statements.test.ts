import { SignJWT, UnsecuredJWT } from 'jose'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { authorize, basic, obtainTokens, requestToken } from '../support/flow.ts'
import { startKeyPlace, type KeyPlace } from '../support/key-place.ts'
import {
  invite,
  METADATA,
  register,
  send,
  withRegistration,
  type Metadata,
} from '../support/registration.ts'
import { REDIRECT, startServer, type TestServer } from '../support/server.ts'
import {
  describeAssertion,
  makeSigningKey,
  secondsNow,
  signClaims,
  type Claims,
  type SigningKey,
} from '../support/signing.ts'

/* Software statements (RFC 7591 §2.3, §3.1.1). The table is in docs/conformance/rfc7591-registration.md. */

const VENDOR = 'https://vendor.example'
const PUBLISHER = 'https://publisher.example'
const vendor = await makeSigningKey('vendor')
const publisher = await makeSigningKey('publisher')
const app = await makeSigningKey('app')

type Registration = NonNullable<ConfigInput['registration']>

let keyPlace: KeyPlace
let server: TestServer

function describePolicy(more: Registration = {}, required = false): Registration {
  const issuers = [
    {
      issuer: VENDOR,
      jwks: { keys: [vendor.jwk] },
      scopes: ['notes:write'],
      grants: ['client_credentials' as const, 'device_code' as const],
    },
    { issuer: PUBLISHER, jwksUri: keyPlace.url },
  ]
  return {
    access: 'open',
    scopes: ['openid', 'notes:read'],
    perAddress: { attempts: 10_000, windowSeconds: 60 },
    softwareStatements: { issuers, required },
    ...more,
  }
}

beforeAll(async () => {
  keyPlace = await startKeyPlace(publisher.jwk)
  server = await startServer(withRegistration(describePolicy()))
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await keyPlace[Symbol.asyncDispose]()
})
afterEach(() => {
  keyPlace.place.isAway = false
})

interface Making {
  readonly key?: SigningKey
  readonly header?: Claims
}

function state(claims: Claims = {}, { key = vendor, header = {} }: Making = {}): Promise<string> {
  const whole = { iss: VENDOR, software_id: 'notes-for-all', ...claims }
  return new SignJWT(whole)
    .setProtectedHeader({ alg: 'ES256', kid: key.kid, ...header })
    .sign(key.privateKey, { crit: { x: true } })
}

const ask = (metadata: Metadata, token?: string, { issuer } = server) =>
  send(`${issuer}/register`, 'POST', metadata, token)
const outcome = ({ status, body }: Awaited<ReturnType<typeof send>>) => [
  status,
  body['error'] ?? 'none',
]
const INVALID = [400, 'invalid_software_statement']
const UNAPPROVED = [400, 'unapproved_software_statement']
const BAD = [400, 'invalid_client_metadata']

describe('a software statement', () => {
  test('§3.2.1 is answered unmodified, with what it says of the software, and kept', async () => {
    const statement = await state({ software_version: '2.1', client_name: 'Notes for All' })
    const client = await register(server.issuer, { software_statement: statement })
    const expected = {
      software_statement: statement,
      software_id: 'notes-for-all',
      software_version: '2.1',
      client_name: 'Notes for All',
    }
    expect(client.body).toMatchObject(expected)
    const read = await send(client.url, 'GET', undefined, client.token)
    expect(read.body).toMatchObject(expected)
  })

  test('§2.3 may be all that the app says', async () => {
    const uri = 'https://elsewhere.example/back'
    const statement = await state({ redirect_uris: [uri], token_endpoint_auth_method: 'none' })
    const { status, body } = await ask({ software_statement: statement })
    expect([status, body['redirect_uris'], body['token_endpoint_auth_method']]).toEqual([
      201,
      [uri],
      'none',
    ])
  })

  test('§3.1.1 goes before what the app says of itself, in every language', async () => {
    const stated = { client_name: 'Notes for All', redirect_uris: [REDIRECT], scope: 'openid' }
    const { body } = await register(server.issuer, {
      ...stated,
      client_name: 'Another App',
      redirect_uris: ['https://evil.example/'],
      scope: 'openid notes:read',
      software_id: 'another',
      post_logout_redirect_uris: ['https://app.example/bye'],
      software_statement: await state(stated),
    })
    expect(body).toMatchObject({
      ...stated,
      software_id: 'notes-for-all',
      post_logout_redirect_uris: ['https://app.example/bye'],
    })
  })

  test('that says null says nothing, and the app cannot say it either', async () => {
    const { body } = await register(server.issuer, {
      post_logout_redirect_uris: ['https://app.example/bye'],
      software_statement: await state({ post_logout_redirect_uris: null }),
    })
    expect(body['post_logout_redirect_uris']).toEqual([])
  })

  test('says nothing that is for the server to say', async () => {
    const { body, id } = await register(server.issuer, {
      software_statement: await state({
        client_id: 'web',
        client_secret: 'x',
        registration_access_token: 'x',
        registration_client_uri: 'https://evil.example/',
        firstParty: true,
      }),
    })
    expect(id).toMatch(/^dyn_/)
    expect(body['client_secret']).not.toBe('x')
    expect(body['registration_client_uri']).toBe(`${server.issuer}/register/${id}`)
  })

  test.each<[string, Claims, Making]>([
    ['of no type', {}, {}],
    ['of the type JWT', {}, { header: { typ: 'JWT' } }],
    ['whose keys its issuer publishes', { iss: PUBLISHER }, { key: publisher }],
    ['§4.1.4 of RFC 7519 that has not expired', { exp: secondsNow() + 60 }, {}],
    ['§4.1.5 that is good already', { nbf: secondsNow() - 60, iat: secondsNow() - 60 }, {}],
    ['of a clock that goes a little wrong', { exp: secondsNow() - 5, iat: secondsNow() + 5 }, {}],
  ])('%s is good', async (_what, claims, making) => {
    const statement = await state(claims, making)
    expect(outcome(await ask({ ...METADATA, software_statement: statement }))).toEqual([
      201,
      'none',
    ])
  })

  test('for this server among others is good, and for another is not', async () => {
    const askFor = async (aud: unknown) =>
      outcome(await ask({ ...METADATA, software_statement: await state({ aud }) }))
    expect(await askFor(server.issuer)).toEqual([201, 'none'])
    expect(await askFor(['https://other.example', server.issuer])).toEqual([201, 'none'])
    expect(await askFor('https://other.example')).toEqual(INVALID)
    expect(await askFor([])).toEqual(INVALID)
    expect(await askFor({})).toEqual(INVALID)
  })

  test.each<[string, () => unknown]>([
    ['that is no text', () => ({})],
    ['that is empty', () => ''],
    ['that is no JWT', () => 'x.y.z'],
    ['that is endless', () => state({ more: 'x'.repeat(9000) })],
    ['without a signature', () => new UnsecuredJWT({ iss: VENDOR, software_id: 'x' }).encode()],
    ['signed by a stranger', () => state({}, { key: { ...app, kid: 'vendor' } })],
    ['signed by another issuer', () => state({}, { key: publisher })],
    ['with a key of its own', () => state({}, { key: app, header: { jwk: app.jwk } })],
    ['of a key that is not known', () => state({}, { header: { kid: 'other' } })],
    ['with extensions that nobody knows', () => state({}, { header: { crit: ['x'], x: 1 } })],
    ['that has expired', () => state({ exp: secondsNow() - 60 })],
    ['that expires in words', () => state({ exp: 'never' })],
    ['that is for later', () => state({ nbf: secondsNow() + 60 })],
    ['of the future', () => state({ iat: secondsNow() + 60 })],
    ['that is an access token', () => state({ scope: 'openid' }, { header: { typ: 'at+jwt' } })],
    ['that is an ID-JAG', () => state({}, { header: { typ: 'oauth-id-jag+jwt' } })],
    ['that is a logout token', () => state({}, { header: { typ: 'logout+jwt' } })],
    [
      'that is an ID token for here',
      () => state({ software_id: undefined, sub: 'alice', aud: server.issuer, nonce: 'n' }),
    ],
    ['about software without a name', () => state({ software_id: 7 })],
  ])('%s is refused', async (_what, make) => {
    const statement = await make()
    expect(outcome(await ask({ ...METADATA, software_statement: statement }))).toEqual(INVALID)
  })

  test('by the public key as a secret is refused', async () => {
    const secret = new TextEncoder().encode(JSON.stringify(vendor.jwk))
    const statement = await new SignJWT({ iss: VENDOR, software_id: 'x' })
      .setProtectedHeader({ alg: 'HS256', kid: 'vendor' })
      .sign(secret)
    expect(outcome(await ask({ ...METADATA, software_statement: statement }))).toEqual(INVALID)
  })

  test.each<[string, () => Promise<string>]>([
    ['of another issuer', () => state({ iss: 'https://other.example' })],
    ['of nearly the same', () => state({ iss: `${VENDOR}/` })],
    ['of several', () => state({ iss: [VENDOR] })],
    ['of nobody', () => state({ iss: undefined })],
    ['of this server', () => state({ iss: server.issuer })],
    [
      'that is an ID token of this server',
      async () => (await obtainTokens(server.issuer, { scope: 'openid' })).id_token,
    ],
    [
      'that is an access token of this server',
      async () => (await obtainTokens(server.issuer, { scope: 'openid notes:read' })).access_token,
    ],
    [
      'by which a client proves who it is',
      () => state({ iss: 'service', sub: 'service', aud: server.issuer, exp: secondsNow() + 60 }),
    ],
  ])('%s is not approved', async (_what, make) => {
    const statement = await make()
    expect(outcome(await ask({ ...METADATA, software_statement: statement }))).toEqual(UNAPPROVED)
  })

  test.each<[string, Claims, readonly unknown[]]>([
    [
      'a redirect URI that nobody may have',
      { redirect_uris: ['http://x.example/'] },
      [400, 'invalid_redirect_uri'],
    ],
    ['the name of another app', { client_name: 'The Web App' }, BAD],
    ['a grant that is for nobody', { grant_types: ['password'] }, BAD],
    ['a secret as key', { jwks: { keys: [{ kty: 'oct', k: 'AAAA' }] } }, BAD],
  ])('gets nobody %s', async (_what, claims, expected) => {
    const statement = await state(claims)
    expect(outcome(await ask({ ...METADATA, software_statement: statement }))).toEqual(expected)
  })

  test('whose issuer’s keys cannot be had lets nobody in', async () => {
    await using away = await startKeyPlace(publisher.jwk)
    away.place.isAway = true
    const softwareStatements = { issuers: [{ issuer: PUBLISHER, jwksUri: away.url }] }
    await using other = await startServer(withRegistration(describePolicy({ softwareStatements })))
    const statement = await state({ iss: PUBLISHER }, { key: publisher })
    const { status, body } = await ask(
      { ...METADATA, software_statement: statement },
      undefined,
      other,
    )
    expect([status, body['error']]).toEqual([500, 'server_error'])
    expect(other.logged()).toContain(PUBLISHER)
    away.place.isAway = false
    expect(
      outcome(await ask({ ...METADATA, software_statement: statement }, undefined, other)),
    ).toEqual([201, 'none'])
  })

  test('is passed over where nobody’s word counts', async () => {
    await using other = await startServer(
      withRegistration(describePolicy({ softwareStatements: undefined })),
    )
    const { body } = await register(other.issuer, {
      software_statement: await state({ client_name: 'Notes for All' }),
    })
    expect(body['client_name']).toBe(METADATA.client_name)
    expect(body).not.toHaveProperty('software_statement')
  })
})

describe('what a statement gives beside what anybody gets', () => {
  const TIED = { redirect_uris: [REDIRECT], scope: 'openid notes:write' }

  test('is what the operator gives to apps of its issuer and it says itself', async () => {
    const client = await register(server.issuer, { software_statement: await state(TIED) })
    expect(client.body['scope']).toBe('openid notes:write')
    const request = { client_id: client.id, scope: 'openid notes:write' }
    const { code, verifier } = await authorize(server.issuer, request)
    const { body } = await requestToken(
      server.issuer,
      { grant_type: 'authorization_code', code, code_verifier: verifier, redirect_uri: REDIRECT },
      { authorization: basic(client.id, client.secret) },
    )
    expect(body.scope).toBe('openid notes:write')
  })

  test('is nothing that the app alone asks for', async () => {
    const statement = await state({ redirect_uris: [REDIRECT] })
    const own = { scope: 'openid notes:write', software_statement: statement }
    expect((await register(server.issuer, own)).body['scope']).toBe('openid')
    const grant = { grant_types: ['client_credentials'], software_statement: statement }
    expect(outcome(await ask({ ...METADATA, ...grant }))).toEqual(BAD)
  })

  test('is nothing that the operator gives to apps of another issuer', async () => {
    const statement = await state({ ...TIED, iss: PUBLISHER }, { key: publisher })
    const { body } = await register(server.issuer, { software_statement: statement })
    expect(body['scope']).toBe('openid')
  })

  test('is nothing that a copy of it would be enough for', async () => {
    const untied = await state({ scope: 'openid notes:write' })
    const copied = { redirect_uris: ['https://evil.example/'], software_statement: untied }
    expect(outcome(await ask(copied))).toEqual(UNAPPROVED)
    const grant_types = ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code']
    const aside = { ...METADATA, grant_types, software_statement: await state(TIED) }
    expect(outcome(await ask(aside))).toEqual(UNAPPROVED)
    const machine = await state({ grant_types: ['client_credentials'], redirect_uris: [REDIRECT] })
    expect(outcome(await ask({ ...METADATA, software_statement: machine }))).toEqual(UNAPPROVED)
    // Another program on the device can take those for its own.
    for (const uri of ['com.example.app:/callback', 'http://127.0.0.1/callback']) {
      const native = await state({ redirect_uris: [uri, REDIRECT], scope: 'openid notes:write' })
      const phone = { application_type: 'native', token_endpoint_auth_method: 'none' }
      expect(outcome(await ask({ ...phone, software_statement: native }))).toEqual(UNAPPROVED)
    }
    const keys = { jwks: { keys: [app.jwk] }, grant_types: ['client_credentials'] }
    const secret = { ...METADATA, software_statement: await state(keys) }
    expect(outcome(await ask(secret))).toEqual(UNAPPROVED)
  })

  test('may be tokens without a person, for who has the keys that it says', async () => {
    const statement = await state({
      jwks: { keys: [app.jwk] },
      token_endpoint_auth_method: 'private_key_jwt',
      grant_types: ['client_credentials'],
      scope: 'notes:write',
    })
    const { status, body } = await ask({ software_statement: statement })
    expect(status).toBe(201)
    const id = String(body['client_id'])
    const prove = async (key: SigningKey) => {
      const claims = describeAssertion(id, server.issuer)
      const assertion = await signClaims(claims, { ...key, kid: 'app' })
      const form = {
        grant_type: 'client_credentials',
        scope: 'notes:write',
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion: assertion,
      }
      return requestToken(server.issuer, form, {})
    }
    expect((await prove(app)).body.scope).toBe('notes:write')
    expect((await prove(vendor)).status).toBe(401)
  })
})

describe('where statements let apps in', () => {
  test('who shows one need not be invited, and who is invited need not show one', async () => {
    await using closed = await startServer(withRegistration(describePolicy({ access: 'stated' })))
    expect(outcome(await ask(METADATA, undefined, closed))).toEqual(BAD)
    const stated = { ...METADATA, software_statement: await state() }
    expect(outcome(await ask(stated, undefined, closed))).toEqual([201, 'none'])
    const { token } = await invite(closed)
    expect(outcome(await ask(METADATA, token, closed))).toEqual([201, 'none'])
    expect(outcome(await ask(stated, 'x', closed))).toEqual([401, 'invalid_token'])
  })

  test('without one the invited are refused as well, where it is required', async () => {
    const policy = describePolicy({ access: 'invited' }, true)
    await using closed = await startServer(withRegistration(policy))
    const { token } = await invite(closed)
    expect(outcome(await ask(METADATA, token, closed))).toEqual(BAD)
    const stated = { ...METADATA, software_statement: await state() }
    expect(outcome(await ask(stated, undefined, closed))).toEqual([401, 'invalid_token'])
    expect(outcome(await ask(stated, token, closed))).toEqual([201, 'none'])
  })

  test('an app that was let in for one keeps one', async () => {
    await using closed = await startServer(withRegistration(describePolicy({ access: 'stated' })))
    const software_statement = await state()
    const client = await register(closed.issuer, { software_statement })
    const put = (change: Metadata) =>
      send(client.url, 'PUT', { ...METADATA, client_id: client.id, ...change }, client.token)
    expect(outcome(await put({}))).toEqual(BAD)
    expect(outcome(await put({ software_statement: await state({ exp: 1 }) }))).toEqual(INVALID)
    expect(outcome(await put({ software_statement }))).toEqual([200, 'none'])
  })
})

describe('§2.2 of RFC 7592: an update', () => {
  test('is judged by the statement that comes with it', async () => {
    const first = await state({ redirect_uris: [REDIRECT], scope: 'openid notes:write' })
    const client = await register(server.issuer, { software_statement: first })
    const put = async (change: Metadata) =>
      (await send(client.url, 'PUT', { client_id: client.id, ...change }, client.token)).body
    const kept = await put({ software_statement: first, client_name: 'Renamed' })
    expect(kept).toMatchObject({ client_name: 'Renamed', scope: 'openid notes:write' })
    const second = await state({ redirect_uris: [REDIRECT], software_version: '3' })
    const changed = await put({ software_statement: second, scope: 'openid notes:write' })
    expect(changed).toMatchObject({ software_statement: second, software_version: '3' })
    expect(changed['scope']).toBe('openid')
    expect(outcome(await ask({ ...METADATA, software_statement: first }))).toEqual([201, 'none'])
  })

  test('cannot make it other software, which keeps what people gave the first', async () => {
    const first = await state({ redirect_uris: [REDIRECT] })
    const client = await register(server.issuer, { software_statement: first })
    const other = await state({ redirect_uris: [REDIRECT], software_id: 'other software' })
    const form = { client_id: client.id, software_statement: other }
    const answer = await send(client.url, 'PUT', form, client.token)
    expect(outcome(answer)).toEqual([400, 'unapproved_software_statement'])
    const { body } = await send(client.url, 'GET', undefined, client.token)
    expect(body).toMatchObject({ software_statement: first })
    const same = { client_id: client.id, software_statement: first }
    expect(outcome(await send(client.url, 'PUT', same, client.token))).toEqual([200, 'none'])
  })

  test('without one takes away what it gave', async () => {
    const statement = await state({ redirect_uris: [REDIRECT], scope: 'openid notes:write' })
    const client = await register(server.issuer, { software_statement: statement })
    const whole = { ...METADATA, client_id: client.id, scope: 'openid notes:write' }
    const { body } = await send(client.url, 'PUT', whole, client.token)
    expect(body['scope']).toBe('openid')
    expect(body).not.toHaveProperty('software_statement')
    expect(body).not.toHaveProperty('software_id')
  })
})

test('§2 software_id and software_version are kept as they came', async () => {
  const software = { software_id: '4NRB1-0XZABZI9E6-5SM3R', software_version: '1.4.2' }
  const client = await register(server.issuer, software)
  expect((await send(client.url, 'GET', undefined, client.token)).body).toMatchObject(software)
  for (const wrong of [{ software_id: 5 }, { software_version: 'a\nb' }, { software_id: '' }]) {
    expect(outcome(await ask({ ...METADATA, ...wrong }))).toEqual(BAD)
  }
})
