import { createRemoteJWKSet, CompactEncrypt, importJWK, jwtVerify } from 'jose'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import {
  CLIENT_ENCRYPTION_ALGORITHMS,
  CONTENT_ENCRYPTIONS,
  ENCRYPTED_KINDS,
} from '../../auth-server/config/built-in.ts'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import type { Browser } from '../support/browser.ts'
import { decrypt, makeDecryptionKey, type DecryptionKey } from '../support/encryption.ts'
import { introspect, post, withClients, type Answer } from '../support/endpoints.ts'
import { authorizationUrl, authorize, basic, makePkce, requestToken } from '../support/flow.ts'
import { startKeyPlace, type KeyPlace } from '../support/key-place.ts'
import { startLogoutReceiver, type LogoutReceiver } from '../support/logout-receiver.ts'
import { register, send, METADATA, withRegistration } from '../support/registration.ts'
import { REDIRECT, startServer, WEB_SECRET, type TestServer } from '../support/server.ts'
import {
  describeAssertion,
  describeRequestObject,
  makeSigningKey,
  signClaims,
} from '../support/signing.ts'

/* The table of the requirements is in docs/conformance/encryption.md. */

const TYPE = 'application/token-introspection+jwt'
const rsa = await makeDecryptionKey('rsa', 'RSA-OAEP-256')
const ec = await makeDecryptionKey('ec', 'ECDH-ES')
const x = await makeDecryptionKey('x', 'ECDH-ES', {}, 'X25519')
const next = await makeDecryptionKey('next', 'ECDH-ES', { use: 'enc', alg: 'ECDH-ES' })
const signing = await makeSigningKey('signing')

type Client = NonNullable<ConfigInput['clients']>[number]
type Algorithm = (typeof CLIENT_ENCRYPTION_ALGORITHMS)[number]
type Content = (typeof CONTENT_ENCRYPTIONS)[number]

const COMBINATIONS = CLIENT_ENCRYPTION_ALGORITHMS.flatMap((algorithm) =>
  CONTENT_ENCRYPTIONS.map((content) => [algorithm, content] as const),
)

/** What is no key that ECDH-ES can be done with, whoever publishes it. */
const UNFIT: Readonly<Record<string, object>> = {
  'of alg RSA1_5': { ...(await makeDecryptionKey('k', 'RSA-OAEP-256')).jwk, alg: 'RSA1_5' },
  'of another algorithm': { ...ec.jwk, alg: 'ECDH-ES+A128KW' },
  'that signs (use)': { ...ec.jwk, use: 'sig' },
  'that signs (alg)': { ...ec.jwk, use: undefined, alg: 'ES256' },
  'that signs (key_ops)': { ...ec.jwk, key_ops: ['verify'] },
  'of Ed25519': {
    kty: 'OKP',
    crv: 'Ed25519',
    x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo',
  },
  'on no curve': { ...ec.jwk, x: 'AAAA' },
  'that agrees with nobody': { kty: 'OKP', crv: 'X25519', x: 'A'.repeat(43) },
  'of another curve': { ...ec.jwk, crv: 'secp256k1' },
  'that is a secret': { kty: 'oct', k: 'c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0' },
  'that is private': { ...ec.jwk, d: 'c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2Vj' },
  'that is none': { kid: 'x' },
}

const OPEN = { access: 'open', perAddress: { attempts: 100, windowSeconds: 60 } } as const

const app = {
  secret: { env: 'WEB_SECRET' },
  redirectUris: [REDIRECT],
  postLogoutRedirectUris: ['https://app.example/bye'],
  scopes: ['openid', 'profile', 'offline_access'],
  firstParty: true,
}

function encryptAll(algorithm: Algorithm, content?: Content) {
  const one = content === undefined ? { algorithm } : { algorithm, content }
  return { idToken: one, userinfo: one, response: one, introspection: one }
}

let server: TestServer
let logouts: LogoutReceiver
let published: KeyPlace
let unfit: KeyPlace
let browser: Browser
beforeAll(async () => {
  logouts = await startLogoutReceiver()
  published = await startKeyPlace(ec.jwk)
  unfit = await startKeyPlace(signing.jwk)
  const jwks = { keys: [signing.jwk, rsa.jwk, ec.jwk] }
  const declare = withClients(
    ...COMBINATIONS.map(([algorithm, content]) => ({
      id: `${algorithm.replace('+', '.')}-${content}`,
      ...app,
      jwks,
      encryption: encryptAll(algorithm, content),
    })),
    ...ENCRYPTED_KINDS.map((kind) => ({
      id: `unfit-${kind}`,
      ...app,
      jwksUri: unfit.url,
      encryption: { [kind]: { algorithm: 'ECDH-ES' as const } },
      ...(kind === 'idToken' ? { backchannelLogoutUri: logouts.uri } : {}),
    })),
    {
      id: 'app',
      ...app,
      jwks,
      backchannelLogoutUri: logouts.uri,
      encryption: { idToken: { algorithm: 'ECDH-ES' } },
    },
    {
      id: 'publisher',
      ...app,
      jwksUri: published.url,
      backchannelLogoutUri: logouts.uri,
      encryption: { idToken: { algorithm: 'ECDH-ES' }, userinfo: { algorithm: 'ECDH-ES' } },
    },
    {
      id: 'okp',
      ...app,
      jwks: { keys: [x.jwk] },
      encryption: { idToken: { algorithm: 'ECDH-ES+A128KW' } },
    },
    {
      id: 'marked',
      ...app,
      jwks: { keys: [{ ...ec.jwk, use: undefined }, rsa.jwk, next.jwk, ec.jwk] as never[] },
      encryption: { idToken: { algorithm: 'ECDH-ES' } },
    },
    {
      id: 'signer',
      ...app,
      secret: undefined,
      authMethod: 'private_key_jwt',
      jwks: { keys: [{ ...signing.jwk, use: 'enc', alg: undefined }] as never[] },
    } as never,
  )
  server = await startServer((config) => withRegistration(OPEN)(declare(config)))
  browser = (await authorize(server.issuer, { client_id: 'app', scope: 'openid' })).browser
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await logouts[Symbol.asyncDispose]()
  await published[Symbol.asyncDispose]()
  await unfit[Symbol.asyncDispose]()
})
afterEach(() => void vi.useRealTimers())

function verify(token: string, audience: string) {
  const keys = createRemoteJWKSet(new URL(`${server.issuer}/jwks`))
  return jwtVerify(token, keys, { issuer: server.issuer, audience })
}

/** Decrypts and verifies, and answers both headers with the claims. */
async function read(text: string, key: DecryptionKey, audience: string) {
  const { header, token } = await decrypt(text, key)
  const { payload, protectedHeader } = await verify(token, audience)
  return { outer: header, inner: protectedHeader, payload, token }
}

/** Asks for a code in the browser where alice is signed in. */
async function askForCode(client_id: string, request: Readonly<Record<string, string>> = {}) {
  const { verifier, challenge } = makePkce()
  const given = { client_id, scope: 'openid profile', ...request }
  const page = await browser.get(authorizationUrl(server.issuer, challenge, given))
  const { searchParams } = new URL(page.location ?? 'about:blank')
  return { page, verifier, answer: searchParams }
}

function redeem(client: string, code: unknown, verifier: string) {
  const form = { grant_type: 'authorization_code', code: String(code), code_verifier: verifier }
  const headers = { authorization: basic(client, WEB_SECRET) }
  return requestToken(server.issuer, { ...form, redirect_uri: REDIRECT }, headers)
}

async function obtain(client: string) {
  const { answer, verifier } = await askForCode(client)
  return redeem(client, answer.get('code'), verifier)
}

async function askUserinfo(accessToken: string) {
  const headers = { authorization: `Bearer ${accessToken}` }
  const response = await fetch(`${server.issuer}/userinfo`, { headers })
  return { status: response.status, headers: response.headers, text: await response.text() }
}

describe('OpenID Connect Core §10.2, JARM §2.2, RFC 9701 §5: what is encrypted', () => {
  test.each(COMBINATIONS)(
    'by %s with %s: the response, the ID token, userinfo and introspection',
    async (algorithm, content) => {
      const client = `${algorithm.replace('+', '.')}-${content}`
      const key = algorithm.startsWith('RSA') ? rsa : ec
      const { answer, verifier } = await askForCode(client, { response_mode: 'jwt' })
      const response = await read(answer.get('response') ?? '', key, client)
      const { body } = await redeem(client, response.payload['code'], verifier)
      const idToken = await read(body.id_token, key, client)
      const userinfo = await askUserinfo(body.access_token)
      expect(userinfo.headers.get('content-type')).toContain('application/jwt')
      const person = await read(userinfo.text, key, client)
      expect([person.payload.sub, person.payload['name']]).toEqual([
        idToken.payload.sub,
        'Alice Adams',
      ])
      const asked = await introspect(server.issuer, body.access_token, {
        authorization: basic(client, WEB_SECRET),
        accept: TYPE,
      })
      expect(asked.headers.get('content-type')).toBe(TYPE)
      const told = await read(asked.text, key, client)
      expect(told.inner.typ).toBe('token-introspection+jwt')
      expect(told.payload['token_introspection']).toMatchObject({ active: true })
      for (const { outer, inner } of [response, idToken, person, told]) {
        const { epk: _epk, ...header } = outer
        expect(header).toEqual({
          alg: algorithm,
          enc: content,
          cty: 'JWT',
          kid: key.kid,
          iss: server.issuer,
          aud: client,
        })
        expect(inner.alg).toBe('RS256')
      }
    },
  )

  test('is nothing that the client has not declared', async () => {
    const { body } = await obtain('app')
    const { status, headers } = await askUserinfo(body.access_token)
    expect([status, headers.get('content-type')]).toEqual([
      200,
      expect.stringContaining('application/json'),
    ])
    const authorization = basic('app', WEB_SECRET)
    const asked = await introspect(server.issuer, body.access_token, { authorization })
    expect(asked.body['active']).toBe(true)
  })

  test('an ID token of a refresh is encrypted as well', async () => {
    const { answer, verifier } = await askForCode('app', { scope: 'openid offline_access' })
    const { body } = await redeem('app', answer.get('code'), verifier)
    const form = { grant_type: 'refresh_token', refresh_token: body.refresh_token }
    const headers = { authorization: basic('app', WEB_SECRET) }
    const refreshed = await requestToken(server.issuer, form, headers)
    const { outer } = await read(refreshed.body.id_token, ec, 'app')
    expect(outer.enc).toBe('A128CBC-HS256')
  })

  test('and so is a logout token (Back-Channel Logout §2.6), with keys that are published too', async () => {
    const own = (await authorize(server.issuer, { client_id: 'app', scope: 'openid' })).browser
    const { challenge } = makePkce()
    const url = authorizationUrl(server.issuer, challenge, {
      client_id: 'publisher',
      scope: 'openid',
    })
    expect((await own.get(url)).location).toContain('code=')
    const page = await own.get(`${server.issuer}/session/end?client_id=app`)
    await own.submit(page, '/session/end/confirm', { logout: 'yes' })
    await expect.poll(() => logouts.received.length, { timeout: 5000 }).toBe(2)
    const told = await Promise.all(
      logouts.received.map(async ({ token }) => {
        const { header, token: inner } = await decrypt(token, ec)
        await verify(inner, String(header['aud']))
        return header
      }),
    )
    expect(new Set(told.map(({ aud }) => aud))).toEqual(new Set(['app', 'publisher']))
    expect(told[0]).toMatchObject({ alg: 'ECDH-ES', cty: 'JWT', iss: server.issuer })
  })

  test('to a client that is answered encrypted nothing is said otherwise', async () => {
    const client = 'ECDH-ES-A128GCM'
    for (const response_mode of ['query', 'fragment', 'form_post']) {
      const { page } = await askForCode(client, { response_mode })
      expect(`${page.location} ${page.text}`).toContain('invalid_request')
      expect(`${page.location} ${page.text}`).not.toContain('code=')
    }
    const authorization = basic(client, WEB_SECRET)
    for (const accept of ['application/json', '*/*']) {
      const asked = await introspect(server.issuer, 'x.y.z', { authorization, accept })
      expect([asked.status, asked.body]).toEqual([
        400,
        {
          error: 'invalid_request',
          error_description: `this client is answered encrypted: expected Accept: ${TYPE}`,
        },
      ])
    }
  })
})

describe('§10.2 the key', () => {
  test('is of X25519 as well', async () => {
    const { body } = await obtain('okp')
    const { outer } = await read(body.id_token, x, 'okp')
    expect(outer.alg).toBe('ECDH-ES+A128KW')
  })

  test('is, of several that fit, the one that says most of what it is for', async () => {
    const { body } = await obtain('marked')
    const { outer } = await read(body.id_token, next, 'marked')
    expect(outer.kid).toBe('next')
  })

  test.each(Object.entries(UNFIT))('is none %s: nothing is given', async (_what, jwk) => {
    await using place = await startKeyPlace(jwk)
    const { id, secret } = await register(server.issuer, {
      jwks_uri: place.url,
      id_token_encrypted_response_alg: 'ECDH-ES',
      scope: 'openid',
    })
    const { code, verifier } = await authorize(server.issuer, { client_id: id, scope: 'openid' })
    const form = { grant_type: 'authorization_code', code, code_verifier: verifier }
    const headers = { authorization: basic(id, secret) }
    const { status, body } = await requestToken(
      server.issuer,
      { ...form, redirect_uri: REDIRECT },
      headers,
    )
    expect([status, Object.keys(body)]).toEqual([400, ['error', 'error_description']])
    expect([place.place.asked, body.error]).toEqual([1, 'invalid_client_metadata'])
  })

  test('of RSA with less than 2048 bits is none, nor is one with private parts', async () => {
    const weak =
      'wfMg4-lGwNJ9vFEQlx9wz-kfPxmv8ayAoKZjcHpXIOFj6IJDmUcQ7Ut_AkWZ1D2kFnWHLGzM_4CNlGLNPmXqxSpbAjMjTnGPlCyOGqNKzPd4zNo_0sWKE7a0nO4oAJlY_6c7u_J-1VWnhcJJkxLjmjZSzPQhyVwMfMRbNzFhnEs'
    for (const jwk of [
      { kty: 'RSA', n: weak, e: 'AQAB' },
      { ...rsa.jwk, d: weak },
    ]) {
      await using place = await startKeyPlace(jwk)
      const declare = withClients({
        id: 'weak',
        ...app,
        jwksUri: place.url,
        encryption: { introspection: { algorithm: 'RSA-OAEP-256' } },
      })
      await using other = await startServer(declare)
      const headers = { authorization: basic('weak', WEB_SECRET), accept: TYPE }
      const asked = await introspect(other.issuer, 'x.y.z', headers)
      expect([asked.status, asked.body['error']]).toEqual([400, 'invalid_client_metadata'])
    }
  })
})

describe('where no key can be had', () => {
  const refused = ({ status, text }: Pick<Answer, 'status' | 'text'>) => {
    expect(status).toBe(400)
    expect(text).toContain('invalid_client_metadata')
  }

  test.each(['no key fits', 'the place of the keys is away'] as const)(
    'because %s, nothing is given as it is',
    async (why) => {
      unfit.place.isAway = why !== 'no key fits'
      const explained = unfit.place.isAway
        ? 'client JSON Web Key Set failed to be refreshed'
        : 'the client has no key that this can be encrypted to: expected a public key of P-256, P-384, P-521 or X25519, with use "enc" or none, and alg "ECDH-ES" or none'
      if (unfit.place.isAway) turn(3700)
      const idToken = await obtain('unfit-idToken')
      expect([idToken.status, idToken.body]).toEqual([
        400,
        { error: 'invalid_client_metadata', error_description: explained },
      ])
      const { page } = await askForCode('unfit-response', { response_mode: 'jwt' })
      refused(page)
      expect([page.location, /code=|eyJ/.exec(page.text)]).toEqual([undefined, null])
      const headers = { authorization: basic('unfit-introspection', WEB_SECRET), accept: TYPE }
      const asked = await introspect(server.issuer, 'x.y.z', headers)
      expect([asked.status, asked.body['error_description']]).toEqual([400, explained])
      const { body } = await obtain('unfit-userinfo')
      const userinfo = await askUserinfo(body.access_token)
      refused(userinfo)
      expect(userinfo.text).not.toContain('Alice')
    },
  )

  test('nor to a client whose next keys are none, until it has one that fits', async () => {
    turn(7400)
    expect((await obtain('publisher')).status).toBe(200)
    published.place.keys = [signing.jwk]
    turn(7500)
    expect((await obtain('publisher')).status).toBe(400)
    published.place.keys = [signing.jwk, next.jwk]
    turn(7600)
    await read((await obtain('publisher')).body.id_token, next, 'publisher')
    published.place.keys = [ec.jwk]
  })

  test('and no logout is told: it is tried again', async () => {
    const own = (await authorize(server.issuer, { client_id: 'app', scope: 'openid' })).browser
    const { challenge } = makePkce()
    const request = { client_id: 'unfit-idToken', scope: 'openid' }
    await own.get(authorizationUrl(server.issuer, challenge, request))
    const page = await own.get(`${server.issuer}/session/end?client_id=app`)
    await own.submit(page, '/session/end/confirm', { logout: 'yes' })
    await expect
      .poll(() => server.logged(), { timeout: 5000 })
      .toMatch(/"logout_postponed"[^\n]*"unfit-idToken"[^\n]*"reason":"keys"/)
    expect(logouts.received.filter(({ token }) => token.split('.').length !== 5)).toEqual([])
  })

  function turn(seconds: number) {
    vi.useFakeTimers({ toFake: ['Date'], now: vi.getRealSystemTime() + seconds * 1000 })
  }
})

describe('what is encrypted to us, or is no proof', () => {
  test('an assertion by a key that is encrypted to is none', async () => {
    const client_assertion = await signClaims(describeAssertion('signer', server.issuer), signing)
    const form = {
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion,
      token: 'x.y.z',
    }
    const { status, body } = await post(server.issuer, '/introspect', form, {})
    expect([status, body['error']]).toEqual([401, 'invalid_client'])
  })

  test('nor is a request by it signed', async () => {
    const request = await signClaims(describeRequestObject('signer', server.issuer), signing)
    const { page } = await askForCode('signer', { request })
    expect(`${page.location} ${page.text}`).toContain('invalid_request_object')
  })

  test('an encrypted request is refused', async () => {
    const { keys } = (await (await fetch(`${server.issuer}/jwks`)).json()) as { keys: object[] }
    const ours = keys.find((key) => (key as { kty: string }).kty === 'RSA') ?? {}
    const { use: _use, alg: _alg, ...jwk } = ours as Record<string, unknown>
    const claims = describeRequestObject('app', server.issuer)
    for (const alg of ['RSA-OAEP-256', 'PBES2-HS256+A128KW', 'dir', 'A128KW']) {
      const secret = new Uint8Array(alg === 'dir' ? 32 : 16)
      const request = await new CompactEncrypt(Buffer.from(await signClaims(claims, signing)))
        .setProtectedHeader({ alg, enc: 'A128CBC-HS256', cty: 'JWT' })
        .encrypt(alg.startsWith('RSA') ? await importJWK(jwk as never, alg) : secret)
      const { page } = await askForCode('app', { request })
      expect(`${page.location} ${page.text}`).toContain('invalid_request_object')
    }
  })

  test('an ID token is a hint once its client has decrypted it, and not before', async () => {
    const { body } = await obtain('app')
    const { token } = await decrypt(body.id_token, ec)
    const decrypted = await askForCode('app', { id_token_hint: token, prompt: 'none' })
    expect(decrypted.answer.get('code')).toBeTruthy()
    const encrypted = await askForCode('app', { id_token_hint: body.id_token, prompt: 'none' })
    expect(encrypted.answer.get('error')).toBe('invalid_request')
    expect(encrypted.answer.get('error_description')).toContain('id_token_hint')
    const bye = 'post_logout_redirect_uri=https://app.example/bye&id_token_hint='
    const leave = (hint: string) => browser.get(`${server.issuer}/session/end?${bye}${hint}`)
    expect((await leave(token)).status).toBe(200)
    const refused = await leave(body.id_token)
    expect([refused.status, refused.text]).toEqual([400, expect.stringContaining('id_token_hint')])
  })
})

describe('declaring it', () => {
  test.each<[string, Client['encryption']]>([
    ['RSA1_5', { idToken: { algorithm: 'RSA1_5' as never } }],
    ['RSA-OAEP', { idToken: { algorithm: 'RSA-OAEP' as never } }],
    ['a shared key (dir)', { userinfo: { algorithm: 'dir' as never } }],
    ['a shared key (A128KW)', { response: { algorithm: 'A128KW' as never } }],
    ['a password', { introspection: { algorithm: 'PBES2-HS256+A128KW' as never } }],
    ['A192GCM', { idToken: { algorithm: 'ECDH-ES', content: 'A192GCM' as never } }],
    ['a content alone', { idToken: { content: 'A128GCM' } as never }],
  ])('by %s stops the start', async (_what, encryption) => {
    const start = startServer(
      withClients({ id: 'x', ...app, jwks: { keys: [ec.jwk] }, encryption }),
    )
    await expect(start).rejects.toThrow('encryption')
  })

  const wanted = { ...METADATA, scope: 'openid', jwks: { keys: [ec.jwk] } }

  test('a client that registers itself does so by the names of the wire', async () => {
    const metadata = {
      jwks: { keys: [ec.jwk] },
      scope: 'openid',
      id_token_encrypted_response_alg: 'ECDH-ES',
      userinfo_encrypted_response_alg: 'ECDH-ES+A256KW',
      userinfo_encrypted_response_enc: 'A256GCM',
      introspection_signed_response_alg: 'ES256',
      introspection_encrypted_response_alg: 'ECDH-ES',
    }
    const { id, secret, body } = await register(server.issuer, metadata)
    expect(body).toMatchObject({
      ...metadata,
      id_token_encrypted_response_enc: 'A128CBC-HS256',
      introspection_encrypted_response_enc: 'A128CBC-HS256',
    })
    const { code, verifier } = await authorize(server.issuer, { client_id: id, scope: 'openid' })
    const form = { grant_type: 'authorization_code', code, code_verifier: verifier }
    const authorization = basic(id, secret)
    const answer = await requestToken(
      server.issuer,
      { ...form, redirect_uri: REDIRECT },
      { authorization },
    )
    await read(answer.body.id_token, ec, id)
    const asked = await introspect(server.issuer, answer.body.access_token, {
      authorization,
      accept: TYPE,
    })
    expect((await read(asked.text, ec, id)).inner.alg).toBe('ES256')
  })

  test.each<[string, object, string]>([
    ['RSA1_5', { id_token_encrypted_response_alg: 'RSA1_5' }, 'id_token_encrypted_response_alg'],
    ['RSA-OAEP', { userinfo_encrypted_response_alg: 'RSA-OAEP' }, 'userinfo_encrypted_'],
    ['dir', { authorization_encrypted_response_alg: 'dir' }, 'authorization_encrypted_'],
    ['A256KW', { introspection_encrypted_response_alg: 'A256KW' }, 'introspection_encrypted_'],
    ['an enc without its alg', { id_token_encrypted_response_enc: 'A128GCM' }, '_response_alg: '],
    [
      'an enc that is not there',
      {
        id_token_encrypted_response_alg: 'ECDH-ES',
        id_token_encrypted_response_enc: 'A192CBC-HS384',
      },
      'id_token_encrypted_response_enc',
    ],
    [
      'keys of another kind',
      { id_token_encrypted_response_alg: 'RSA-OAEP-256' },
      'id_token_encrypted_response_alg: expected in jwks a public key of RSA',
    ],
    [
      'no keys',
      { jwks: undefined, userinfo_encrypted_response_alg: 'ECDH-ES' },
      'userinfo_encrypted_response_alg: it needs keys',
    ],
    ['HS256', { introspection_signed_response_alg: 'HS256' }, 'introspection_signed_response_alg'],
  ])('and is refused with %s', async (_what, metadata, words) => {
    const answer = await send(`${server.issuer}/register`, 'POST', { ...wanted, ...metadata })
    expect([answer.status, answer.body]).toEqual([
      400,
      { error: 'invalid_client_metadata', error_description: expect.stringContaining(words) },
    ])
  })
})

test('the metadata name what there is, and nothing of encrypted requests', async () => {
  const response = await fetch(`${server.issuer}/.well-known/openid-configuration`)
  const metadata = (await response.json()) as Record<string, unknown>
  for (const kind of ['id_token', 'userinfo', 'authorization', 'introspection']) {
    expect(metadata[`${kind}_encryption_alg_values_supported`]).toEqual([
      ...CLIENT_ENCRYPTION_ALGORITHMS,
    ])
    expect(metadata[`${kind}_encryption_enc_values_supported`]).toEqual([...CONTENT_ENCRYPTIONS])
  }
  expect(
    Object.keys(metadata).filter((name) => name.startsWith('request_object_encryption')),
  ).toEqual([])
})
