import { SignJWT, UnsecuredJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser, type Page } from '../support/browser.ts'
import { post, withClients } from '../support/endpoints.ts'
import { basic, makePkce, requestToken, signIn } from '../support/flow.ts'
import { REDIRECT, startServer, WEB_SECRET, type TestServer } from '../support/server.ts'
import {
  describeAssertion,
  describeRequestObject,
  makeSigningKey,
  secondsNow,
  signClaims,
  type Claims,
} from '../support/signing.ts'

/* The table of the requirements is in docs/conformance/rfc9101-jar.md. */

const own = await makeSigningKey('own')
const older = await makeSigningKey('older', 'RS256')
const next = await makeSigningKey('next', 'PS256')
const foreign = await makeSigningKey('own')
const asSigner = { authorization: basic('signer', WEB_SECRET) }

let server: TestServer
beforeAll(async () => {
  const signer = {
    secret: { env: 'WEB_SECRET' },
    redirectUris: [REDIRECT],
    scopes: ['openid', 'notes:read'],
    jwks: { keys: [own.jwk, older.jwk, next.jwk] },
  }
  server = await startServer(
    withClients(
      { id: 'signer', ...signer },
      { id: 'strict', ...signer, signedRequests: 'required' },
      { id: 'browser', ...signer, secret: undefined, authMethod: 'none' } as never,
    ),
  )
})
afterAll(() => server[Symbol.asyncDispose]())

/** The claims of a good request object, and the verifier of its code. */
function describeRequest(change: Claims = {}, clientId = 'signer') {
  const { verifier, challenge } = makePkce()
  const claims = describeRequestObject(clientId, server.issuer, {
    response_type: 'code',
    redirect_uri: REDIRECT,
    scope: 'openid notes:read',
    state: 'signed state',
    code_challenge: challenge,
    code_challenge_method: 'S256',
    ...change,
  })
  return { claims, verifier }
}

const textOf = (value: unknown) => (typeof value === 'string' ? value : '')

function requestUrl(request: string, more: Readonly<Record<string, string>> = {}): string {
  const query = new URLSearchParams({ client_id: 'signer', request, ...more })
  return `${server.issuer}/auth?${query.toString()}`
}

/** Signs in and agrees where that is asked for, and answers what the client is told. */
async function finish(url: string) {
  const browser = createBrowser(server.issuer)
  let page = await browser.get(url)
  if (page.text.includes('/sign-in"')) page = await signIn(browser, page)
  if (page.text.includes('/consent"')) page = await browser.submit(page, '/consent')
  return readAnswer(page)
}

function readAnswer({ location, status, text }: Page): URLSearchParams {
  if (location !== undefined) return new URL(location).searchParams
  const [error = ''] = /invalid_request\w*|request_uri\w+/.exec(text) ?? []
  return new URLSearchParams({ error, status: String(status) })
}

/** The error of a request, for the client or for the person where there is nowhere to send it. */
const refusalOf = async (request: string, more: Readonly<Record<string, string>> = {}) =>
  (await finish(requestUrl(request, { redirect_uri: REDIRECT, ...more }))).get('error')

const push = (form: Readonly<Record<string, string>>, headers = asSigner) =>
  post(server.issuer, '/request', form, headers)

test('the metadata say that requests may be signed, and never by reference', async () => {
  const response = await fetch(`${server.issuer}/.well-known/openid-configuration`)
  const metadata = (await response.json()) as Record<string, unknown>
  expect(metadata).toMatchObject({
    request_parameter_supported: true,
    request_uri_parameter_supported: false,
    request_object_signing_alg_values_supported: [
      'RS256',
      'PS256',
      'ES256',
      'ES384',
      'ES512',
      'EdDSA',
    ],
  })
  expect(metadata).not.toHaveProperty('request_object_encryption_alg_values_supported')
})

describe('§5 a signed request', () => {
  test.each([own, older, next])('leads to a code: $alg', async (key) => {
    const { claims, verifier } = describeRequest()
    const answer = await finish(requestUrl(await signClaims(claims, key)))
    expect([answer.get('state'), answer.get('error')]).toEqual(['signed state', null])
    const tokens = await requestToken(
      server.issuer,
      {
        grant_type: 'authorization_code',
        code: answer.get('code') ?? '',
        code_verifier: verifier,
        redirect_uri: REDIRECT,
      },
      asSigner,
    )
    expect([tokens.status, tokens.body.scope]).toEqual([200, 'openid notes:read'])
  })

  test('§6.3 is all that counts: what stands beside it is not looked at', async () => {
    const { claims } = describeRequest({ state: undefined, nonce: undefined })
    const beside = {
      state: 'unsigned state',
      scope: 'openid notes:read profile',
      redirect_uri: 'https://attacker.example/',
      prompt: 'none',
      response_mode: 'fragment',
    }
    const answer = await finish(requestUrl(await signClaims(claims, own), beside))
    expect([...answer.keys()].toSorted()).toEqual(['code', 'iss'])
  })

  test('§6.3 lends no parameter: what it lacks is missing', async () => {
    for (const name of ['redirect_uri', 'response_type', 'code_challenge', 'client_id']) {
      const { claims } = describeRequest({ [name]: undefined })
      const beside = { [name]: textOf(describeRequest().claims[name]) }
      expect(await refusalOf(await signClaims(claims, own), beside)).toBe('invalid_request')
    }
  })

  test('§5 has client_id beside it, of the same client, and response_type of the same', async () => {
    const request = await signClaims(describeRequest().claims, own)
    const url = `${server.issuer}/auth?${new URLSearchParams({ request }).toString()}`
    expect((await finish(url)).get('error')).toBe('invalid_request')
    expect(await refusalOf(request, { client_id: 'strict' })).toBe('invalid_request_object')
    expect(await refusalOf(request, { response_type: 'none' })).toBe('invalid_request_object')
  })
})

describe('§4, §6.2 a request object is refused', () => {
  test.each<[string, () => Claims]>([
    ['without iss', () => ({ iss: undefined })],
    ['of another issuer', () => ({ iss: 'web' })],
    ['without aud', () => ({ aud: undefined })],
    ['for another server', () => ({ aud: 'https://other.example' })],
    ['for an endpoint of this one', () => ({ aud: `${server.issuer}/auth` })],
    ['without exp', () => ({ exp: undefined })],
    ['that has expired', () => ({ exp: secondsNow() - 60 })],
    ['that lives for more than an hour', () => ({ exp: secondsNow() + 3700 })],
    ['that began more than an hour before its end', () => ({ nbf: secondsNow() - 3500 })],
    ['that is good later', () => ({ nbf: secondsNow() + 90 })],
    ['of the future', () => ({ iat: secondsNow() + 90 })],
    ['with a jti without an end', () => ({ jti: 'x'.repeat(257) })],
    ['of another client', () => ({ client_id: 'web' })],
    ['that could be an assertion of its client', () => ({ sub: 'signer' })],
    ['with a request in it', () => ({ request: 'x' })],
    ['with a request_uri in it', () => ({ request_uri: 'urn:x' })],
  ])('%s', async (_what, change) => {
    const { claims } = describeRequest(change())
    expect(await refusalOf(await signClaims(claims, own))).toBe('invalid_request_object')
  })

  test.each<[string, () => Claims]>([
    [
      'for several servers, this one among them',
      () => ({ aud: ['https://x.example', server.issuer] }),
    ],
    ['without what need not be there', () => ({ nbf: undefined, iat: undefined, jti: undefined })],
    ['that is nearly an hour long', () => ({ exp: secondsNow() + 3500, nbf: secondsNow() - 60 })],
  ])('but not %s', async (_what, change) => {
    const { claims } = describeRequest(change())
    expect(await refusalOf(await signClaims(claims, own))).toBeNull()
  })

  test('§10.8 that is another kind of JWT: by its typ, or an assertion of the client', async () => {
    const { claims } = describeRequest()
    for (const typ of ['at+jwt', 'dpop+jwt', 'logout+jwt', 'secevent+jwt']) {
      const wrong = await signClaims(claims, own, { typ })
      expect(await refusalOf(wrong)).toBe('invalid_request_object')
    }
    const assertion = await signClaims(describeAssertion('signer', server.issuer), own)
    expect(await refusalOf(assertion)).toBe('invalid_request_object')
    for (const typ of ['JWT', 'oauth-authz-req+jwt']) {
      expect(await refusalOf(await signClaims(describeRequest().claims, own, { typ }))).toBeNull()
    }
  })

  test('§6.2 that is not signed, by another key, or by a key as a secret', async () => {
    const { claims } = describeRequest()
    const mac = (secret: string) =>
      new SignJWT(claims).setProtectedHeader({ alg: 'HS256' }).sign(Buffer.from(secret))
    const [header = '', body = ''] = (await signClaims(claims, own)).split('.')
    const wrong = [
      new UnsecuredJWT(claims).encode(),
      await signClaims(claims, foreign),
      await signClaims(claims, { ...own, kid: 'older' }),
      await mac(WEB_SECRET),
      await mac(JSON.stringify(own.jwk)),
      `${header}.${body}.`,
      `${header}.${body}.AAAA`,
      'x',
      'a.b.c',
      'a.b.c.d.e',
    ]
    for (const request of wrong) expect(await refusalOf(request)).toBe('invalid_request_object')
    // None of them has used the jti up.
    expect(await refusalOf(await signClaims(claims, own))).toBeNull()
  })

  test('§6.2 that is signed with an algorithm that its key is not for', async () => {
    const { claims } = describeRequest()
    const asPss = { ...(await makeSigningKey('older', 'PS256')) }
    expect(await refusalOf(await signClaims(claims, asPss))).toBe('invalid_request_object')
  })

  test('of a client without keys', async () => {
    const { claims } = describeRequest({}, 'web')
    const request = await signClaims(claims, own)
    expect(await refusalOf(request, { client_id: 'web' })).toBe('invalid_request_object')
  })

  test('once it was used, where it has a jti, however many come at the same time', async () => {
    const request = await signClaims(describeRequest().claims, own)
    const answers = await Promise.all(
      Array.from({ length: 10 }, () =>
        createBrowser(server.issuer).get(requestUrl(request, { redirect_uri: REDIRECT })),
      ),
    )
    const refused = answers.filter(({ location }) => location?.includes('invalid_request_object'))
    expect([refused.length, answers.length]).toEqual([9, 10])
  })
})

describe('§5.2 by reference', () => {
  test('nothing is fetched, whoever names it', async () => {
    const request = await signClaims(describeRequest().claims, own)
    const byUri = `${server.issuer}/auth?${new URLSearchParams({
      client_id: 'signer',
      request_uri: 'https://app.example/request.jwt',
      redirect_uri: REDIRECT,
    }).toString()}`
    expect((await finish(byUri)).get('error')).toBe('request_uri_not_supported')
    const both = { request_uri: 'urn:ietf:params:oauth:request_uri:x' }
    expect(await refusalOf(request, both)).toBe('invalid_request')
  })
})

describe('RFC 9126 §3 a signed request that is pushed', () => {
  test('leads to a code, and what stands beside it is not looked at', async () => {
    const { claims } = describeRequest({ scope: 'openid' })
    const request = await signClaims(claims, own)
    const { status, body } = await push({ request, scope: 'openid notes:read', state: 'other' })
    expect(status).toBe(201)
    const query = { client_id: 'signer', request_uri: String(body['request_uri']) }
    const url = `${server.issuer}/auth?${new URLSearchParams(query).toString()}`
    const answer = await finish(url)
    expect(answer.get('state')).toBe('signed state')
    expect((await finish(url)).get('error')).toBe('invalid_request_uri')
  })

  test('needs client_id in it, of the client that pushes', async () => {
    for (const client_id of [undefined, 'strict']) {
      const { claims } = describeRequest({ client_id })
      const answer = await push({ request: await signClaims(claims, own) })
      expect([answer.status, answer.body['error']]).toEqual([400, 'invalid_request_object'])
    }
  })

  test('is refused for the reasons that it is refused for in a browser', async () => {
    const { claims } = describeRequest({ exp: secondsNow() + 3700 })
    const wrong = [
      await signClaims(claims, own),
      await signClaims(describeRequest().claims, foreign),
      new UnsecuredJWT(describeRequest().claims).encode(),
    ]
    for (const request of wrong) {
      const answer = await push({ request })
      expect([answer.status, answer.body['error']]).toEqual([400, 'invalid_request_object'])
    }
  })

  test('of a public client is taken by its signature alone', async () => {
    const sign = (key = own) => signClaims(describeRequest({}, 'browser').claims, key)
    const form = { client_id: 'browser' }
    expect((await push({ ...form, request: await sign() }, {} as never)).status).toBe(201)
    expect((await push({ ...form, request: await sign(foreign) }, {} as never)).status).toBe(400)
  })
})

describe('§10.5 a client whose requests have to be signed', () => {
  const asStrict = { authorization: basic('strict', WEB_SECRET) }
  const plain = () =>
    Object.fromEntries(
      Object.entries(describeRequest({}, 'strict').claims).map(([name, value]) => [
        name,
        String(value),
      ]),
    )

  test('gets nowhere without a signature, pushed or not', async () => {
    const url = `${server.issuer}/auth?${new URLSearchParams(plain()).toString()}`
    expect((await finish(url)).get('error')).toBe('invalid_request')
    const pushed = await push(plain(), asStrict)
    expect([pushed.status, pushed.body['error']]).toEqual([400, 'invalid_request'])
    const none = new UnsecuredJWT(describeRequest({}, 'strict').claims).encode()
    expect(await refusalOf(none, { client_id: 'strict' })).toBe('invalid_request_object')
  })

  test('goes on with one, pushed or not', async () => {
    const sign = () => signClaims(describeRequest({}, 'strict').claims, own)
    expect(await refusalOf(await sign(), { client_id: 'strict' })).toBeNull()
    expect((await push({ request: await sign() }, asStrict)).status).toBe(201)
  })
})
