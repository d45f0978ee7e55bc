import { createRemoteJWKSet, decodeProtectedHeader, jwtVerify } from 'jose'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { createBrowser } from '../support/browser.ts'
import { post, prove, withClients } from '../support/endpoints.ts'
import { authorizationUrl, decodeJwt, makePkce, signIn } from '../support/flow.ts'
import { createProofClient } from '../support/proof.ts'
import { REDIRECT, startServer, type TestServer } from '../support/server.ts'
import {
  describeAssertion,
  describeRequestObject,
  makeSigningKey,
  secondsNow,
  signClaims,
  type Claims,
} from '../support/signing.ts'

/* The table of the requirements is in docs/conformance/fapi2.md. */

const TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'
const es = await makeSigningKey('es')
const ps = await makeSigningKey('ps', 'PS256')
const ed = await makeSigningKey('ed', 'EdDSA')
/** It declares no algorithm, so that nothing but the profile refuses it. */
const rs = await makeSigningKey('rs', 'RS256')
const proofKey = await createProofClient()

let server: TestServer
beforeAll(async () => {
  const { alg: _alg, ...rsa } = rs.jwk
  const bank = {
    authMethod: 'private_key_jwt' as const,
    jwks: { keys: [es.jwk, ps.jwk, ed.jwk, rsa] },
    redirectUris: [REDIRECT],
    scopes: ['openid', 'offline_access', 'notes:read'],
    dpop: 'required' as const,
    par: 'required' as const,
    profile: 'fapi2' as const,
    firstParty: true,
  }
  const declare = withClients(
    { id: 'bank', ...bank },
    { id: 'signed', ...bank, signedRequests: 'required', signedResponses: 'required' },
  )
  server = await startServer((config) => ({
    ...declare(config),
    tokens: { authorizationCodeTtlSeconds: 600 },
  }))
})
afterAll(() => server[Symbol.asyncDispose]())
afterEach(() => void vi.useRealTimers())

interface Proven {
  readonly client?: string
  readonly key?: typeof es
  readonly change?: Claims
}

type Form = Readonly<Record<string, string>>

async function assert({ client = 'bank', key = es, change = {} }: Proven = {}) {
  const claims = { ...describeAssertion(client, server.issuer), ...change }
  return { client_assertion_type: TYPE, client_assertion: await signClaims(claims, key) }
}

async function push(form: Form, proven: Proven = {}) {
  return post(server.issuer, '/request', { ...form, ...(await assert(proven)) }, {})
}

/** Asks for tokens with a proof, and once more where the server wants its nonce in it. */
async function askForTokens(form: Form, proven: Proven = {}) {
  const send = async (nonce?: string) =>
    post(
      server.issuer,
      '/token',
      { ...form, ...(await assert(proven)) },
      { dpop: prove(proofKey, server.issuer, '/token', { claims: { nonce } }) },
    )
  const first = await send()
  const nonce = first.headers.get('dpop-nonce')
  return first.body['error'] === 'use_dpop_nonce' && nonce ? send(nonce) : first
}

function describeRequest(change: Readonly<Record<string, string | undefined>> = {}) {
  const { verifier, challenge } = makePkce()
  const form = {
    client_id: 'bank',
    response_type: 'code',
    redirect_uri: REDIRECT,
    scope: 'openid offline_access notes:read',
    code_challenge: challenge,
    code_challenge_method: 'S256',
    ...change,
  }
  const given = Object.entries(form).filter(([, value]) => value !== undefined)
  return { form: Object.fromEntries(given) as Record<string, string>, verifier }
}

/** Signs in with what was pushed, and answers what the client is told. */
async function follow(requestUri: unknown, client = 'bank') {
  const query = new URLSearchParams({ client_id: client, request_uri: String(requestUri) })
  const browser = createBrowser(server.issuer)
  const page = await browser.get(`${server.issuer}/auth?${query.toString()}`)
  const { location, status } = await signIn(browser, page)
  return { answer: new URL(location ?? '').searchParams, status }
}

async function obtain() {
  const { form, verifier } = describeRequest()
  const pushed = await push(form)
  const { answer } = await follow(pushed.body['request_uri'])
  const redeem = {
    grant_type: 'authorization_code',
    code: answer.get('code') ?? '',
    code_verifier: verifier,
    redirect_uri: REDIRECT,
  }
  return { tokens: await askForTokens(redeem), redeem, answer, pushed }
}

const outcome = ({ status, body }: Awaited<ReturnType<typeof post>>) => [
  status,
  body['error'] ?? 'none',
]
const REFUSED_CLIENT = [401, 'invalid_client']

describe('§5.3.2.1 how a client proves who it is', () => {
  test.each([es, ps, ed])(
    'an assertion for the issuer, signed with $alg, is taken',
    async (key) => {
      expect((await push(describeRequest().form, { key })).status).toBe(201)
    },
  )

  test('one that is good in up to ten seconds is taken, and one of later is not', async () => {
    const { form } = describeRequest()
    const ahead = (seconds: number) => ({
      change: { iat: secondsNow() + seconds, nbf: secondsNow() + seconds },
    })
    expect((await push(form, ahead(8))).status).toBe(201)
    expect(outcome(await push(form, ahead(70)))).toEqual(REFUSED_CLIENT)
  })

  test.each<[string, () => Proven]>([
    ['for the token endpoint', () => ({ change: { aud: `${server.issuer}/token` } })],
    [
      'for the endpoint that it is sent to',
      () => ({ change: { aud: `${server.issuer}/request` } }),
    ],
    ['for a list with the issuer in it', () => ({ change: { aud: [server.issuer] } })],
    ['signed with RS256', () => ({ key: rs })],
    ['without exp', () => ({ change: { exp: undefined } })],
    ['without jti', () => ({ change: { jti: undefined } })],
  ])('one %s is not', async (_what, proven) => {
    expect(outcome(await push(describeRequest().form, proven()))).toEqual(REFUSED_CLIENT)
    const form = { grant_type: 'refresh_token', refresh_token: 'x' }
    expect(outcome(await askForTokens(form, proven()))).toEqual(REFUSED_CLIENT)
  })
})

describe('§5.3.2.2 the authorization endpoint', () => {
  test('takes what was pushed by the client, once, and says who answers (iss)', async () => {
    const { answer, pushed } = await obtain()
    expect(answer.get('iss')).toBe(server.issuer)
    expect(Number(pushed.body['expires_in'])).toBeLessThan(600)
    await expect(follow(pushed.body['request_uri'])).rejects.toThrow('no form for /sign-in')
  })

  test('takes nothing that was not pushed', async () => {
    const { challenge } = makePkce()
    const url = authorizationUrl(server.issuer, challenge, { client_id: 'bank' })
    const { location } = await createBrowser(server.issuer).get(url)
    expect(location).toContain('error=invalid_request')
  })

  test('sends people on by 303, never 307', async () => {
    const { form } = describeRequest()
    const pushed = await push(form)
    expect((await follow(pushed.body['request_uri'])).status).toBe(303)
  })

  test.each<[string, Readonly<Record<string, string | undefined>>]>([
    ['without a challenge', { code_challenge: undefined, code_challenge_method: undefined }],
    ['with a challenge that is the verifier', { code_challenge_method: 'plain' }],
    ['without redirect_uri', { redirect_uri: undefined }],
    ['with another redirect_uri', { redirect_uri: `${REDIRECT}?more` }],
    ['for tokens in the front channel', { response_type: 'code id_token' }],
    ['for a token in the front channel', { response_type: 'token' }],
  ])('takes nothing %s', async (_what, change) => {
    expect((await push(describeRequest(change).form)).status).toBe(400)
  })

  test('takes nothing from who cannot prove that it is the client', async () => {
    const { status } = await post(server.issuer, '/request', describeRequest().form, {})
    expect([400, 401]).toContain(status)
  })
})

describe('§5.3.2.1 tokens', () => {
  test('are bound to a key, and signed with what the profile allows', async () => {
    const { tokens } = await obtain()
    expect([tokens.status, tokens.body['token_type']]).toEqual([200, 'DPoP'])
    const access = decodeJwt(String(tokens.body['access_token']))
    expect(access.claims['cnf']).toEqual({ jkt: proofKey.thumbprint })
    expect([
      access.header['alg'],
      decodeProtectedHeader(String(tokens.body['id_token'])).alg,
    ]).toEqual(['ES256', 'ES256'])
  })

  test('are given to nobody without a proof, nor for a code that was used', async () => {
    const { form, verifier } = describeRequest()
    const pushed = await push(form)
    const { answer } = await follow(pushed.body['request_uri'])
    const redeem = {
      grant_type: 'authorization_code',
      code: answer.get('code') ?? '',
      code_verifier: verifier,
      redirect_uri: REDIRECT,
    }
    const bare = await post(server.issuer, '/token', { ...redeem, ...(await assert()) }, {})
    expect(bare.status).toBe(400)
    expect((await askForTokens({ ...redeem, code_verifier: makePkce().verifier })).status).toBe(400)
    expect((await askForTokens(redeem)).status).toBe(200)
    expect(outcome(await askForTokens(redeem))).toEqual([400, 'invalid_grant'])
  })

  test('are refreshed without a new refresh token, by the same client alone', async () => {
    const { tokens } = await obtain()
    const refresh_token = String(tokens.body['refresh_token'])
    const form = { grant_type: 'refresh_token', refresh_token }
    const first = await askForTokens(form)
    expect([first.status, first.body['refresh_token']]).toEqual([200, refresh_token])
    expect((await askForTokens(form)).status).toBe(200)
    expect(outcome(await askForTokens(form, { client: 'signed' }))).toEqual([400, 'invalid_grant'])
  })
})

describe('Message Signing §5.3, §5.4', () => {
  async function pushSigned(change: Claims = {}, key = es) {
    const { form, verifier } = describeRequest({ client_id: undefined, response_mode: 'jwt' })
    const claims = describeRequestObject('signed', server.issuer, { ...form, ...change })
    const request = await signClaims(claims, key)
    return { pushed: await push({ request }, { client: 'signed' }), verifier }
  }

  test('a signed request leads to a signed response', async () => {
    const { pushed } = await pushSigned()
    expect(pushed.status).toBe(201)
    const { answer } = await follow(pushed.body['request_uri'], 'signed')
    const keys = createRemoteJWKSet(new URL(`${server.issuer}/jwks`))
    const { payload, protectedHeader } = await jwtVerify(answer.get('response') ?? '', keys, {
      issuer: server.issuer,
      audience: 'signed',
    })
    expect([protectedHeader.alg, typeof payload['code']]).toEqual(['ES256', 'string'])
  })

  test.each<[string, () => Claims]>([
    ['without nbf', () => ({ nbf: undefined })],
    ['without exp', () => ({ exp: undefined })],
    ['that began more than an hour before its end', () => ({ nbf: secondsNow() - 3500 })],
    ['for another server', () => ({ aud: 'https://other.example' })],
  ])('a request %s is refused', async (_what, change) => {
    const { pushed } = await pushSigned(change())
    expect(outcome(pushed)).toEqual([400, 'invalid_request_object'])
  })

  test('a request signed with RS256, or not at all, is refused', async () => {
    expect(outcome((await pushSigned({}, rs)).pushed)).toEqual([400, 'invalid_request_object'])
    const { form } = describeRequest({ client_id: 'signed', response_mode: 'jwt' })
    expect(outcome(await push(form, { client: 'signed' }))).toEqual([400, 'invalid_request'])
  })

  test('§5.5 what is said of a token is signed with what the profile allows', async () => {
    const { tokens } = await obtain()
    const form = { token: String(tokens.body['access_token']), ...(await assert()) }
    const accept = 'application/token-introspection+jwt'
    const { text } = await post(server.issuer, '/introspect', form, { accept })
    const keys = createRemoteJWKSet(new URL(`${server.issuer}/jwks`))
    const { payload } = await jwtVerify(text, keys, { audience: 'bank', algorithms: ['ES256'] })
    expect(payload['token_introspection']).toMatchObject({ active: true, client_id: 'bank' })
  })

  test('a request for an answer that is not signed is refused', async () => {
    const { pushed } = await pushSigned({ response_mode: undefined })
    expect(outcome(pushed)).toEqual([400, 'invalid_request'])
  })
})

test('§5.3.2.2 a code lives for a minute at most, whatever is configured', async () => {
  const { form, verifier } = describeRequest()
  const pushed = await push(form)
  const { answer } = await follow(pushed.body['request_uri'])
  vi.useFakeTimers({ toFake: ['Date'], now: vi.getRealSystemTime() + 61_000 })
  const redeem = {
    grant_type: 'authorization_code',
    code: answer.get('code') ?? '',
    code_verifier: verifier,
    redirect_uri: REDIRECT,
  }
  expect(outcome(await askForTokens(redeem))).toEqual([400, 'invalid_grant'])
})
