import { randomUUID } from 'node:crypto'
import { exportJWK, generateKeyPair, SignJWT, UnsecuredJWT, type JWTPayload } from 'jose'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { post, withClients, type Answer } from '../support/endpoints.ts'
import { basic, decodeJwt } from '../support/flow.ts'
import { startKeyPlace, type KeyPlace } from '../support/key-place.ts'
import { BILLING, NOTES, startServer, WEB_SECRET, type TestServer } from '../support/server.ts'

/* The table of the requirements is in docs/conformance/rfc7523-jwt-bearer.md. */

const GRANT = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
const IDP = 'https://idp.example/'
const PARTNER = 'https://partner.example'
const asAgent = { authorization: basic('agent', WEB_SECRET) }

const idp = await makeKey()
const partner = await makeKey()

async function makeKey() {
  const { publicKey, privateKey } = await generateKeyPair('ES256')
  return { privateKey, jwk: { ...(await exportJWK(publicKey)), kid: 'a', alg: 'ES256' } }
}

let keyPlace: KeyPlace
let server: TestServer
beforeAll(async () => {
  keyPlace = await startKeyPlace(partner.jwk)
  const agent = {
    id: 'agent',
    secret: { env: 'WEB_SECRET' },
    grants: ['jwt_bearer' as const],
    scopes: ['notes:read', 'notes:write', 'billing:read'],
    assertionIssuers: [IDP, PARTNER],
    defaultResource: NOTES,
  }
  const change = withClients(agent, { ...agent, id: 'stranger', assertionIssuers: [PARTNER] })
  server = await startServer((config) => ({
    ...change(config),
    trustedIssuers: [
      {
        issuer: IDP,
        jwks: { keys: [idp.jwk] },
        scopes: ['notes:read', 'notes:write'],
        accountClaim: 'preferred_username',
      },
      {
        issuer: PARTNER,
        jwksUri: keyPlace.url,
        profile: 'plain',
        scopes: ['notes:read'],
        accountClaim: 'email',
      },
    ],
  }))
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await keyPlace[Symbol.asyncDispose]()
})
afterEach(() => {
  keyPlace.place.isAway = false
})

const secondsNow = () => Math.floor(systemClock.now() / 1000)

type Claims = { readonly [Name in keyof JWTPayload]?: JWTPayload[Name] | undefined }

/** What the identity provider says: an ID-JAG for the client `agent`. */
function describeJag(change: Claims = {}): Claims {
  return {
    iss: IDP,
    sub: 'U019488227',
    preferred_username: 'alice',
    aud: server.issuer,
    client_id: 'agent',
    jti: randomUUID(),
    iat: secondsNow(),
    exp: secondsNow() + 60,
    scope: 'notes:read',
    ...change,
  }
}

interface Making {
  readonly typ?: string | undefined
  readonly key?: typeof idp
}

function sign(claims: Claims, making: Making = {}): Promise<string> {
  const { typ, key = idp } = { typ: 'oauth-id-jag+jwt', ...making }
  return new SignJWT(claims as JWTPayload)
    .setProtectedHeader({ alg: 'ES256', kid: 'a', ...(typ === undefined ? {} : { typ }) })
    .sign(key.privateKey)
}

function ask(
  assertion: string,
  more: Readonly<Record<string, string>> = {},
  headers: Readonly<Record<string, string>> = asAgent,
): Promise<Answer> {
  return post(server.issuer, '/token', { grant_type: GRANT, assertion, ...more }, headers)
}

const outcome = ({ status, body }: Answer) => [status, body['error'] ?? 'none']
const REFUSED = [400, 'invalid_grant']

async function readAlice() {
  await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
  const alice = await stores.accounts.findByUsername('alice')
  if (!alice) throw new Error('no alice')
  return alice
}

test('the metadata names the grant', async () => {
  const response = await fetch(`${server.issuer}/.well-known/oauth-authorization-server`)
  expect(await response.json()).toMatchObject({
    grant_types_supported: expect.arrayContaining([GRANT]) as unknown,
  })
})

describe('an Identity Assertion JWT Authorization Grant', () => {
  test('gives a token about the person whom it names, and no refresh token', async () => {
    const { status, headers, body } = await ask(
      await sign(describeJag({ auth_time: 5, amr: ['mfa'] })),
    )
    expect([status, body['token_type'], body['scope'], body['refresh_token']]).toEqual([
      200,
      'Bearer',
      'notes:read',
      undefined,
    ])
    expect(headers.get('cache-control')).toBe('no-store')
    const { claims } = decodeJwt(String(body['access_token']))
    expect(claims).toMatchObject({
      sub: (await readAlice()).id,
      client_id: 'agent',
      aud: NOTES,
      auth_time: 5,
      amr: ['mfa'],
    })
    expect(claims['sid']).toBeUndefined()
  })

  test('§3.3 of RFC 6749: carries what it says, of what the issuer, the client and the person may', async () => {
    const scopeOf = async (change: Claims, more: Readonly<Record<string, string>> = {}) =>
      (await ask(await sign(describeJag(change)), more)).body['scope']
    expect(await scopeOf({ scope: undefined })).toBe('notes:read notes:write')
    expect(await scopeOf({ scope: undefined }, { scope: 'notes:write' })).toBe('notes:write')
    expect(await scopeOf({ scope: undefined, preferred_username: 'bob' })).toBe('notes:read')
    expect(await scopeOf({ scope: 'notes:read billing:read' })).toBe('notes:read')
    const beyond = await ask(await sign(describeJag()), { scope: 'notes:write' })
    expect(outcome(beyond)).toEqual([400, 'invalid_scope'])
    const nothing = await ask(await sign(describeJag({ scope: 'billing:read' })))
    expect(outcome(nothing)).toEqual([400, 'invalid_scope'])
  })

  test('is for the resource that it names', async () => {
    const resource = { resource: NOTES }
    expect((await ask(await sign(describeJag(resource)))).status).toBe(200)
    expect((await ask(await sign(describeJag(resource)), resource)).status).toBe(200)
    const elsewhere = await ask(await sign(describeJag(resource)), { resource: BILLING })
    expect(outcome(elsewhere)).toEqual([400, 'invalid_target'])
    const unknown = await ask(await sign(describeJag({ resource: 'https://x.example/' })))
    expect(outcome(unknown)).toEqual([400, 'invalid_target'])
    const two = await ask(await sign(describeJag({ resource: [NOTES, BILLING] })))
    expect(outcome(two)).toEqual([400, 'invalid_target'])
  })

  test.each<[string, () => Promise<string>]>([
    ['of no type', () => sign(describeJag(), { typ: undefined })],
    ['that is an ID token', () => sign(describeJag(), { typ: 'JWT' })],
    ['that is an access token', () => sign(describeJag(), { typ: 'at+jwt' })],
    ['for another server', () => sign(describeJag({ aud: 'https://other.example' }))],
    ['for the token endpoint', () => sign(describeJag({ aud: `${server.issuer}/token` }))],
    ['for two servers', () => sign(describeJag({ aud: [server.issuer, 'https://x.example'] }))],
    ['for another client', () => sign(describeJag({ client_id: 'web' }))],
    ['for no client', () => sign(describeJag({ client_id: undefined }))],
    ['§3.1 without iss', () => sign(describeJag({ iss: undefined }))],
    ['§3.1 of another issuer', () => sign(describeJag({ iss: 'https://idp.example' }))],
    ['§3.1 of this server', () => sign(describeJag({ iss: server.issuer }))],
    ['§3.2 without sub', () => sign(describeJag({ sub: undefined }))],
    ['§3.4 without exp', () => sign(describeJag({ exp: undefined }))],
    ['§3.4 that has expired', () => sign(describeJag({ exp: secondsNow() - 20 }))],
    ['§3.4 that lives for long', () => sign(describeJag({ exp: secondsNow() + 301 }))],
    ['§3.5 for later', () => sign(describeJag({ nbf: secondsNow() + 60 }))],
    ['§3.6 of the future', () => sign(describeJag({ iat: secondsNow() + 60 }))],
    ['§3.6 without iat', () => sign(describeJag({ iat: undefined }))],
    ['§3.7 without jti', () => sign(describeJag({ jti: undefined }))],
    ['§3.9 signed by another key', () => sign(describeJag(), { key: partner })],
    [
      '§3.9 without a signature',
      async () => new UnsecuredJWT(describeJag() as JWTPayload).encode(),
    ],
    ['that is none', async () => 'x.y.z'],
    ['that is endless', () => sign(describeJag({ more: 'x'.repeat(9000) }))],
    ['whose scope is a list', () => sign(describeJag({ scope: ['notes:read'] }))],
    ['whose scope is empty in another way', () => sign(describeJag({ scope: null }))],
    ['that is bound to a key', () => sign(describeJag({ cnf: { jkt: 'x' } }))],
    ['with details', () => sign(describeJag({ authorization_details: [{ type: 'x' }] }))],
    ['about nobody', () => sign(describeJag({ preferred_username: 'nobody' }))],
    [
      'about somebody without the claim',
      () => sign(describeJag({ preferred_username: undefined })),
    ],
    ['about a list of people', () => sign(describeJag({ preferred_username: ['alice'] }))],
  ])('%s is refused', async (_what, make) => {
    const answer = await ask(await make())
    expect(outcome(answer)).toEqual(REFUSED)
  })

  test('§3.9 by the public key as a secret is refused', async () => {
    const secret = new TextEncoder().encode(JSON.stringify(idp.jwk))
    const assertion = await new SignJWT(describeJag() as JWTPayload)
      .setProtectedHeader({ alg: 'HS256', kid: 'a', typ: 'oauth-id-jag+jwt' })
      .sign(secret)
    expect(outcome(await ask(assertion))).toEqual(REFUSED)
  })

  test('§3.7 is good once, however many show it at the same time', async () => {
    const assertion = await sign(describeJag())
    const answers = await Promise.all(Array.from({ length: 20 }, () => ask(assertion)))
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1)
    expect(outcome(await ask(assertion))).toEqual(REFUSED)
  })

  test('tells nobody who is here', async () => {
    const [nobody, listed] = await Promise.all([
      ask(await sign(describeJag({ preferred_username: 'nobody' }))),
      ask(await sign(describeJag({ preferred_username: undefined }))),
    ])
    expect(nobody.text).toBe(listed.text)
    expect(nobody.text).not.toMatch(/account|person|user/)
  })

  test('of before the person’s access was ended is refused, and one about a disabled person', async () => {
    await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
    const bob = await stores.accounts.findByUsername('bob')
    if (!bob) throw new Error('no bob')
    const before = await sign(describeJag({ preferred_username: 'bob', iat: secondsNow() - 5 }))
    await stores.accounts.updateAndEndAccess({ ...bob, disabled: true })
    const during = await sign(describeJag({ preferred_username: 'bob' }))
    expect(outcome(await ask(during))).toEqual(REFUSED)
    const ended = await stores.accounts.findById(bob.id)
    if (ended) await stores.accounts.update({ ...ended, disabled: false })
    expect(outcome(await ask(before))).toEqual(REFUSED)
  })
})

test('a sub is compared as it is, and a sign-in that is to come is not carried on', async () => {
  await using own = await startServer((config) => ({
    ...withClients({
      id: 'agent',
      secret: { env: 'WEB_SECRET' },
      grants: ['jwt_bearer'],
      scopes: ['notes:read'],
      assertionIssuers: [IDP],
      defaultResource: NOTES,
    })(config),
    trustedIssuers: [{ issuer: IDP, jwks: { keys: [idp.jwk] }, scopes: ['notes:read'] }],
  }))
  const redeem = async (change: Claims) => {
    const assertion = await sign(describeJag({ aud: own.issuer, sub: 'alice', ...change }))
    return post(own.issuer, '/token', { grant_type: GRANT, assertion }, asAgent)
  }
  for (const sub of ['ALICE', ' alice', 'ａｌｉｃｅ']) {
    expect(outcome(await redeem({ sub }))).toEqual(REFUSED)
  }
  for (const auth_time of [9e12, -5, '5']) {
    const { status, body } = await redeem({ auth_time })
    expect(status).toBe(200)
    expect(decodeJwt(String(body['access_token'])).claims).not.toHaveProperty('auth_time')
  }
})

describe('§2.1 a request', () => {
  test('has an assertion', async () => {
    const none = await post(server.issuer, '/token', { grant_type: GRANT }, asAgent)
    expect(outcome(none)).toEqual([400, 'invalid_request'])
  })

  test('is that of a client which proves who it is', async () => {
    const anonymous = await ask(await sign(describeJag()), { client_id: 'agent' }, {})
    expect(anonymous.status).toBe(401)
    const wrong = { authorization: basic('agent', 'x'.repeat(20)) }
    expect((await ask(await sign(describeJag()), {}, wrong)).status).toBe(401)
  })

  test('is that of a client which has the grant, and may show this issuer’s', async () => {
    const asWeb = { authorization: basic('web', WEB_SECRET) }
    const assertion = await sign(describeJag({ client_id: 'web' }))
    expect(outcome(await ask(assertion, {}, asWeb))).toEqual([400, 'invalid_request'])
    const asStranger = { authorization: basic('stranger', WEB_SECRET) }
    const other = await sign(describeJag({ client_id: 'stranger' }))
    expect(outcome(await ask(other, {}, asStranger))).toEqual(REFUSED)
  })
})

describe('a plain assertion', () => {
  const describePlain = (change: Claims = {}): Claims => ({
    ...describeJag(),
    iss: PARTNER,
    client_id: undefined,
    scope: undefined,
    email: 'alice',
    email_verified: true,
    ...change,
  })
  const make = (change?: Claims, making: Making = {}) =>
    sign(describePlain(change), { typ: undefined, key: partner, ...making })

  test.each<[string, Claims, Making]>([
    ['without a type', {}, {}],
    ['of type JWT', {}, { typ: 'JWT' }],
    ['for this client', { client_id: 'agent' }, {}],
  ])('%s gives a token, by keys that its issuer publishes', async (_what, change, making) => {
    expect((await ask(await make(change, making))).body['scope']).toBe('notes:read')
  })

  test('§3.3 may be for the token endpoint', async () => {
    expect((await ask(await make({ aud: `${server.issuer}/token` }))).status).toBe(200)
    expect((await ask(await make({ aud: ['https://x.example', server.issuer] }))).status).toBe(200)
  })

  test.each<[string, Claims, Making]>([
    ['of another kind', {}, { typ: 'oauth-id-jag+jwt' }],
    ['that is an access token', {}, { typ: 'at+jwt' }],
    ['for another client', { client_id: 'web' }, {}],
    ['that is a software statement', { software_id: 'x' }, {}],
    ['about an address that nobody has verified', { email_verified: undefined }, {}],
    ['by the key of another issuer', {}, { key: idp }],
  ])('%s is refused', async (_what, change, making) => {
    expect(outcome(await ask(await make(change, making)))).toEqual(REFUSED)
  })
})

test('an issuer whose keys cannot be had is the server’s trouble, and in its log', async () => {
  await using away = await startKeyPlace(partner.jwk)
  away.place.isAway = true
  await using other = await startServer((config) => ({
    ...withClients({
      id: 'agent',
      secret: { env: 'WEB_SECRET' },
      grants: ['jwt_bearer'],
      scopes: ['notes:read'],
      assertionIssuers: [PARTNER],
      defaultResource: NOTES,
    })(config),
    trustedIssuers: [
      { issuer: PARTNER, jwksUri: away.url, profile: 'plain', scopes: ['notes:read'] },
    ],
  }))
  const claims = { ...describeJag(), iss: PARTNER, sub: 'alice', aud: other.issuer }
  const assertion = await sign(claims, { typ: undefined, key: partner })
  const form = { grant_type: GRANT, assertion }
  const failed = await post(other.issuer, '/token', form, asAgent)
  expect(failed.status).toBeGreaterThanOrEqual(500)
  expect(failed.text).not.toContain(PARTNER)
  expect(other.logged()).toContain(`The keys of the trusted issuer ${PARTNER} cannot be had.`)
  away.place.isAway = false
  expect((await post(other.issuer, '/token', form, asAgent)).status).toBe(200)
})
