import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ACR_VALUES } from '../../auth-server/config/built-in.ts'
import { createBrowser, type Browser } from '../support/browser.ts'
import { post } from '../support/endpoints.ts'
import {
  authorizationUrl,
  basic,
  decodeJwt,
  makePkce,
  requestToken,
  signIn,
  type AuthorizationRequest,
} from '../support/flow.ts'
import {
  METADATA,
  register,
  send,
  withRegistration,
  type Metadata,
  type Registered,
} from '../support/registration.ts'
import { REDIRECT, startServer, type TestServer } from '../support/server.ts'
import {
  describeAssertion,
  describeRequestObject,
  makeSigningKey,
  signClaims,
  type SigningKey,
} from '../support/signing.ts'

/* What OpenID Connect Dynamic Client Registration 1.0 and others add to RFC 7591. The table is in
   docs/conformance/rfc7591-registration.md. */

const key = await makeSigningKey('es')
const other = await makeSigningKey('ps', 'PS256')
const KEYS = { jwks: { keys: [key.jwk, other.jwk] } }

let server: TestServer
beforeAll(async () => {
  const perAddress = { attempts: 10_000, windowSeconds: 60 }
  const scopes = ['openid', 'notes:read']
  server = await startServer(withRegistration({ access: 'open', scopes, perAddress }))
})
afterAll(() => server[Symbol.asyncDispose]())

/** Where the browser ends: at the client, with these parameters, or on a page that says why not. */
async function visit(client: Registered, request: AuthorizationRequest = {}, browser?: Browser) {
  const own = browser ?? createBrowser(server.issuer)
  const { verifier, challenge } = makePkce()
  const url = authorizationUrl(server.issuer, challenge, { client_id: client.id, ...request })
  let page = await own.get(url)
  const hasSignedIn = page.text.includes('/sign-in"')
  if (hasSignedIn) page = await signIn(own, page)
  if (page.text.includes('/consent"')) page = await own.submit(page, '/consent')
  const answer = new URL(page.location ?? 'about:blank').searchParams
  return { browser: own, answer, verifier, hasSignedIn }
}

async function getTokens(
  client: Registered,
  request: AuthorizationRequest = {},
  browser?: Browser,
) {
  const { answer, verifier, ...visited } = await visit(client, request, browser)
  const form = {
    grant_type: 'authorization_code',
    code: answer.get('code') ?? answer.toString(),
    code_verifier: verifier,
    redirect_uri: REDIRECT,
  }
  const headers = { authorization: basic(client.id, client.secret) }
  return { ...visited, ...(await requestToken(server.issuer, form, headers)) }
}

const refusalOf = async (metadata: Metadata) => {
  const { status, body } = await send(`${server.issuer}/register`, 'POST', {
    ...METADATA,
    ...metadata,
  })
  return [status, body['error'], body['error_description']]
}
const refused = (member: string) => [
  400,
  'invalid_client_metadata',
  expect.stringMatching(new RegExp(`^${member}\\b`)),
]

describe('§2 default_max_age', () => {
  test('has people sign in again, and says when they did', async () => {
    const client = await register(server.issuer, { default_max_age: 0 })
    expect(client.body['default_max_age']).toBe(0)
    const first = await getTokens(client)
    const again = await getTokens(client, {}, first.browser)
    expect([first.hasSignedIn, again.hasSignedIn]).toEqual([true, true])
    expect(decodeJwt(again.body.id_token).claims['auth_time']).toEqual(expect.any(Number))
  })

  test('is for requests that say nothing themselves', async () => {
    const client = await register(server.issuer, { default_max_age: 0 })
    const { browser } = await visit(client)
    expect((await visit(client, { max_age: '600' }, browser)).hasSignedIn).toBe(false)
  })

  test.each([-1, 1.5, '600', 1e12])('is no %s', async (default_max_age) => {
    expect(await refusalOf({ default_max_age })).toEqual(refused('default_max_age'))
  })
})

describe('§2 require_auth_time', () => {
  test('puts the time of the sign-in into each ID token', async () => {
    const client = await register(server.issuer, { require_auth_time: true })
    expect(client.body['require_auth_time']).toBe(true)
    const { browser } = await visit(client)
    const { body } = await getTokens(client, {}, browser)
    expect(decodeJwt(body.id_token).claims['auth_time']).toEqual(expect.any(Number))
  })

  test('is no text', async () => {
    expect(await refusalOf({ require_auth_time: 'yes' })).toEqual(refused('require_auth_time'))
  })
})

describe('§2 default_acr_values', () => {
  test('asks for what there is of them', async () => {
    const client = await register(server.issuer, {
      default_acr_values: ['urn:example:gold', ...ACR_VALUES],
    })
    expect(client.body['default_acr_values']).toEqual(ACR_VALUES)
    const { body } = await getTokens(client)
    expect(decodeJwt(body.id_token).claims['acr']).toBe(ACR_VALUES[0])
  })

  test('of which there is none are refused', async () => {
    const default_acr_values = ['urn:example:gold']
    expect(await refusalOf({ default_acr_values })).toEqual(refused('default_acr_values'))
  })
})

describe('§2 request_object_signing_alg', () => {
  async function askSigned(client: Registered, signer: SigningKey) {
    const { challenge } = makePkce()
    const claims = describeRequestObject(client.id, server.issuer, {
      response_type: 'code',
      redirect_uri: REDIRECT,
      scope: 'openid',
      code_challenge: challenge,
      code_challenge_method: 'S256',
    })
    const { answer } = await visit(client, { request: await signClaims(claims, signer) })
    return answer.get('error') ?? 'none'
  }

  test('is what its requests are signed with, and nothing else', async () => {
    const any = await register(server.issuer, KEYS)
    expect([await askSigned(any, key), await askSigned(any, other)]).toEqual(['none', 'none'])
    const client = await register(server.issuer, { ...KEYS, request_object_signing_alg: 'PS256' })
    expect(client.body['request_object_signing_alg']).toBe('PS256')
    expect(await askSigned(client, other)).toBe('none')
    expect(await askSigned(client, key)).toBe('invalid_request_object')
  })

  test.each(['none', 'HS256', 'RS512'])('is not %s', async (request_object_signing_alg) => {
    expect(await refusalOf({ ...KEYS, request_object_signing_alg })).toEqual(
      refused('request_object_signing_alg'),
    )
  })

  test('require_signed_request_object takes no others', async () => {
    const strict = { ...KEYS, require_signed_request_object: true }
    const client = await register(server.issuer, strict)
    expect(await askSigned(client, key)).toBe('none')
    expect((await visit(client)).answer.get('error')).toBe('invalid_request')
    const without = { require_signed_request_object: true }
    expect(await refusalOf(without)).toEqual(refused('require_signed_request_object'))
  })
})

describe('§2 token_endpoint_auth_signing_alg', () => {
  const SIGNS = { ...KEYS, token_endpoint_auth_method: 'private_key_jwt' }

  async function prove(client: Registered, signer: SigningKey) {
    const { answer, verifier } = await visit(client)
    const assertion = await signClaims(describeAssertion(client.id, server.issuer), signer)
    const form = {
      grant_type: 'authorization_code',
      code: answer.get('code') ?? '',
      code_verifier: verifier,
      redirect_uri: REDIRECT,
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: assertion,
    }
    return (await requestToken(server.issuer, form, {})).status
  }

  test('is what it proves itself with, and nothing else', async () => {
    const any = await register(server.issuer, SIGNS)
    expect([await prove(any, key), await prove(any, other)]).toEqual([200, 200])
    const alg = { token_endpoint_auth_signing_alg: 'PS256' }
    const client = await register(server.issuer, { ...SIGNS, ...alg })
    expect(client.body).toMatchObject(alg)
    expect(await prove(client, other)).toBe(200)
    expect(await prove(client, key)).toBe(401)
  })

  test.each(['none', 'HS256', 'ES256K'])('is not %s', async (token_endpoint_auth_signing_alg) => {
    expect(await refusalOf({ ...SIGNS, token_endpoint_auth_signing_alg })).toEqual(
      refused('token_endpoint_auth_signing_alg'),
    )
  })

  test('says nothing of another method', async () => {
    const { body } = await register(server.issuer, { token_endpoint_auth_signing_alg: 'PS256' })
    expect(body).not.toHaveProperty('token_endpoint_auth_signing_alg')
  })
})

describe('what is signed for it is signed as it says:', () => {
  test('id_token_signed_response_alg', async () => {
    const byDefault = await register(server.issuer)
    expect(byDefault.body['id_token_signed_response_alg']).toBe('RS256')
    const client = await register(server.issuer, { id_token_signed_response_alg: 'ES256' })
    expect(client.body['id_token_signed_response_alg']).toBe('ES256')
    expect(decodeJwt((await getTokens(client)).body.id_token).header['alg']).toBe('ES256')
  })

  test('userinfo_signed_response_alg', async () => {
    const client = await register(server.issuer, { userinfo_signed_response_alg: 'ES256' })
    const { body } = await getTokens(client, { scope: 'openid' })
    const headers = { authorization: `Bearer ${body.access_token}` }
    const answer = await fetch(`${server.issuer}/userinfo`, { headers })
    expect(answer.headers.get('content-type')).toMatch(/^application\/jwt/)
    expect(decodeJwt(await answer.text()).header['alg']).toBe('ES256')
  })

  test('authorization_signed_response_alg', async () => {
    const client = await register(server.issuer, { authorization_signed_response_alg: 'ES256' })
    const { answer } = await visit(client, { response_mode: 'query.jwt' })
    expect(decodeJwt(answer.get('response') ?? '').header['alg']).toBe('ES256')
  })

  test.each([
    'id_token_signed_response_alg',
    'userinfo_signed_response_alg',
    'authorization_signed_response_alg',
  ])('%s is neither none nor a secret’s', async (member) => {
    for (const alg of ['none', 'HS256', 'ES512', 5]) {
      expect(await refusalOf({ [member]: alg })).toEqual(refused(member))
    }
  })
})

test('RFC 9449 §5.2 dpop_bound_access_tokens gives no token without a proof', async () => {
  const client = await register(server.issuer, { dpop_bound_access_tokens: true })
  expect(client.body['dpop_bound_access_tokens']).toBe(true)
  const { status, body } = await getTokens(client)
  expect([status, body.error]).toEqual([400, 'invalid_grant'])
  expect(await refusalOf({ dpop_bound_access_tokens: 'true' })).toEqual(
    refused('dpop_bound_access_tokens'),
  )
})

test('RFC 9126 §6 require_pushed_authorization_requests takes no others', async () => {
  const client = await register(server.issuer, { require_pushed_authorization_requests: true })
  expect((await visit(client)).answer.get('error')).toBe('invalid_request')
  const { challenge } = makePkce()
  const query = new URL(authorizationUrl(server.issuer, challenge, { client_id: client.id }))
  const headers = { authorization: basic(client.id, client.secret) }
  const pushed = await post(server.issuer, '/request', query.searchParams.toString(), headers)
  const uri = String(pushed.body['request_uri'])
  const { answer } = await visit(client, { request_uri: uri })
  expect(answer.get('code')).toMatch(/./)
})

describe('§2 application_type', () => {
  test.each([
    ['web', [REDIRECT], undefined],
    ['native', ['http://127.0.0.1/cb', 'com.example.app:/cb'], undefined],
    ['native', ['http://localhost/cb'], 'native'],
    ['web', ['http://localhost/cb'], 'web'],
  ])('is %s for %s', async (expected, redirect_uris, application_type) => {
    const { body } = await register(server.issuer, { redirect_uris, application_type })
    expect(body['application_type']).toBe(expected)
  })

  test('a web app has no scheme of its own', async () => {
    const web = { application_type: 'web', redirect_uris: ['com.example.app:/cb'] }
    expect((await refusalOf(web)).slice(0, 2)).toEqual([400, 'invalid_redirect_uri'])
  })
})

test('§2 initiate_login_uri is kept as it came, and is https', async () => {
  const uri = 'https://app.example/start'
  expect((await register(server.issuer, { initiate_login_uri: uri })).body).toMatchObject({
    initiate_login_uri: uri,
  })
  expect(await refusalOf({ initiate_login_uri: 'http://app.example/' })).toEqual(
    refused('initiate_login_uri'),
  )
})

test('backchannel_logout_session_required is always so', async () => {
  const uri = 'https://app.example/logout'
  const told = { backchannel_logout_uri: uri, backchannel_logout_session_required: false }
  expect((await register(server.issuer, told)).body).toMatchObject({
    ...told,
    backchannel_logout_session_required: true,
  })
  expect((await register(server.issuer)).body).not.toHaveProperty('backchannel_logout_uri')
})

/** Given and passed over: the answer says that nothing came of it. */
test.each<[string, unknown]>([
  ['request_uris', ['https://app.example/request.jwt']],
  ['frontchannel_logout_uri', 'https://app.example/frame'],
  ['frontchannel_logout_session_required', true],
  ['backchannel_token_delivery_mode', 'push'],
  ['backchannel_client_notification_endpoint', 'https://app.example/told'],
  ['backchannel_authentication_request_signing_alg', 'ES256'],
  ['backchannel_user_code_parameter', true],
  ['authorization_details_types', ['payment']],
  ['response_modes', ['query']],
  ['request_object_encryption_alg', 'RSA-OAEP-256'],
  ['request_object_encryption_enc', 'A256GCM'],
  ['tls_client_certificate_bound_access_tokens', true],
])('%s is passed over', async (member, value) => {
  const { body } = await register(server.issuer, { [member]: value })
  expect(body).not.toHaveProperty(member)
})
