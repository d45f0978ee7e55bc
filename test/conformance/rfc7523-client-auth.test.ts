import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, SignJWT, UnsecuredJWT, type JWTPayload } from 'jose'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import { post, withClients } from '../support/endpoints.ts'
import { basic, makePkce } from '../support/flow.ts'
import { REDIRECT, startServer, type TestServer } from '../support/server.ts'

/* The table of the requirements is in docs/conformance/rfc7523-client-auth.md. */

const TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'
const own = await makeKey('own')
const next = await makeKey('next')
const foreign = await makeKey('own')

async function makeKey(kid: string) {
  const { publicKey, privateKey } = await generateKeyPair('ES256')
  return { kid, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg: 'ES256' } }
}

/** A place where a client publishes its keys. */
async function startKeyPlace() {
  const place = {
    keys: [own.jwk] as object[],
    answer: undefined as string | undefined,
    headers: {},
    asked: 0,
  }
  const http = createServer((_request, response) => {
    place.asked += 1
    if (place.answer === 'redirect') response.writeHead(302, { location: '/elsewhere' }).end()
    else if (place.answer === 'flood') response.end('x'.repeat(100_000))
    else response.writeHead(200, place.headers).end(JSON.stringify({ keys: place.keys }))
  })
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}/jwks`
  return {
    place,
    url,
    async [Symbol.asyncDispose]() {
      http.closeAllConnections()
      await new Promise((resolve) => http.close(resolve))
    },
  }
}

let keyPlace: Awaited<ReturnType<typeof startKeyPlace>>
let server: TestServer
beforeAll(async () => {
  keyPlace = await startKeyPlace()
  const machine = {
    authMethod: 'private_key_jwt' as const,
    grants: ['client_credentials' as const, 'authorization_code' as const],
    redirectUris: [REDIRECT],
    scopes: ['notes:read'],
    defaultScopes: ['notes:read'],
  }
  server = await startServer(
    withClients(
      { id: 'signer', ...machine, jwks: { keys: [own.jwk] } },
      { id: 'publisher', ...machine, jwksUri: keyPlace.url },
    ),
  )
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await keyPlace[Symbol.asyncDispose]()
})
afterEach(() => {
  vi.useRealTimers()
  keyPlace.place.answer = undefined
  keyPlace.place.headers = {}
  keyPlace.place.keys = [own.jwk]
})

const secondsNow = () => Math.floor(systemClock.now() / 1000)

type Change = { readonly [Name in keyof JWTPayload]?: JWTPayload[Name] | undefined }

function describeAssertion(client = 'signer'): JWTPayload {
  return {
    iss: client,
    sub: client,
    aud: server.issuer,
    jti: randomUUID(),
    iat: secondsNow(),
    exp: secondsNow() + 60,
  }
}

function sign(claims: Change, key: Pick<typeof own, 'kid' | 'privateKey'> = own) {
  return new SignJWT(claims as JWTPayload)
    .setProtectedHeader({ alg: 'ES256', kid: key.kid })
    .sign(key.privateKey)
}

async function ask(assertion: string, more: Readonly<Record<string, string>> = {}, headers = {}) {
  const form = { grant_type: 'client_credentials', client_assertion_type: TYPE, ...more }
  const answer = await post(
    server.issuer,
    '/token',
    { ...form, client_assertion: assertion },
    headers,
  )
  return [answer.status, answer.body['error'] ?? 'none']
}

const GRANTED = [200, 'none']
const REFUSED = [401, 'invalid_client']

test('the metadata names the method and the algorithms', async () => {
  const response = await fetch(`${server.issuer}/.well-known/openid-configuration`)
  const metadata = (await response.json()) as Record<string, readonly string[]>
  expect(metadata['token_endpoint_auth_methods_supported']).toContain('private_key_jwt')
  const algorithms = metadata['token_endpoint_auth_signing_alg_values_supported'] ?? []
  expect(algorithms).toContain('ES256')
  expect(algorithms.filter((name) => /^(HS|none)/.test(name))).toEqual([])
})

describe('§3 an assertion', () => {
  test.each([
    ['for the issuer', () => ({})],
    ['for the token endpoint', () => ({ aud: `${server.issuer}/token` })],
    ['for several, the issuer among them', () => ({ aud: ['https://x.example', server.issuer] })],
    ['without iat', () => ({ iat: undefined })],
    ['that lives for five minutes', () => ({ exp: secondsNow() + 299 })],
  ])('%s proves who the client is', async (_what, change) => {
    expect(await ask(await sign({ ...describeAssertion(), ...change() }))).toEqual(GRANTED)
  })

  test.each<[string, () => Change]>([
    ['§3.1 without iss', () => ({ iss: undefined })],
    ['§3.1 of another issuer', () => ({ iss: 'publisher' })],
    ['§3.2 about another client', () => ({ sub: 'publisher' })],
    ['§3.3 for nobody', () => ({ aud: undefined })],
    ['§3.3 for another server', () => ({ aud: 'https://other.example' })],
    ['§3.3 for another endpoint', () => ({ aud: `${server.issuer}/userinfo` })],
    ['§3.4 without exp', () => ({ exp: undefined })],
    ['§3.4 that has expired', () => ({ exp: secondsNow() - 60 })],
    ['§3.4 that lives for an hour', () => ({ exp: secondsNow() + 3600 })],
    ['§3.5 of later', () => ({ nbf: secondsNow() + 60 })],
    ['§3.6 of the future', () => ({ iat: secondsNow() + 90, exp: secondsNow() + 120 })],
    ['§3.7 without jti', () => ({ jti: undefined })],
    ['§3.7 with a jti without an end', () => ({ jti: 'x'.repeat(257) })],
  ])('%s does not', async (_what, change) => {
    expect(await ask(await sign({ ...describeAssertion(), ...change() }))).toEqual(REFUSED)
  })

  test('§3.7 proves it once, however many are sent at the same time', async () => {
    const assertion = await sign(describeAssertion())
    const answers = await Promise.all(Array.from({ length: 20 }, () => ask(assertion)))
    expect(answers.filter(([status]) => status === 200)).toHaveLength(1)
    expect(answers.filter(([status]) => status === 401)).toHaveLength(19)
  })

  test('§3.9 of another key, of none, or by the public key as a secret does not', async () => {
    const claims = describeAssertion()
    const secret = new TextEncoder().encode(JSON.stringify(own.jwk))
    const hmac = new SignJWT(claims).setProtectedHeader({ alg: 'HS256', kid: 'own' }).sign(secret)
    const [header = '', payload = ''] = (await sign(claims)).split('.')
    const wrong = [
      await sign(claims, foreign),
      await sign(claims, next),
      new UnsecuredJWT(claims).encode(),
      await hmac,
      `${header}.${payload}.`,
      `${header}.${payload}.AAAA`,
    ]
    for (const assertion of wrong) expect(await ask(assertion)).toEqual(REFUSED)
    // None of them has used the jti up.
    expect(await ask(await sign(claims))).toEqual(GRANTED)
  })
})

describe('§2.2 a request', () => {
  test('needs the type of the assertion, and an assertion that is one', async () => {
    const assertion = await sign(describeAssertion())
    const refused = [400, 'invalid_request']
    expect(await ask(assertion, { client_assertion_type: '' })).toEqual(refused)
    expect(await ask(assertion, { client_assertion_type: `${TYPE}s` })).toEqual(refused)
    expect(await ask('x')).toEqual(refused)
  })

  test('proves it in one way only, and in the one that is registered', async () => {
    const assertion = await sign(describeAssertion())
    const headers = { authorization: basic('signer', 'a secret') }
    expect(await ask(assertion, {}, headers)).toEqual([400, 'invalid_request'])
    expect(await ask(assertion, { client_secret: 'x' })).toEqual([400, 'invalid_request'])
    const form = { grant_type: 'client_credentials', client_id: 'signer' }
    expect((await post(server.issuer, '/token', form, {})).status).toBe(401)
    const bySecret = await post(server.issuer, '/token', form, headers)
    expect(bySecret.status).toBe(401)
  })

  test('names the same client, or none', async () => {
    const claims = describeAssertion()
    expect(await ask(await sign(claims), { client_id: 'web' })).toEqual([400, 'invalid_request'])
    expect(await ask(await sign(claims), { client_id: 'signer' })).toEqual(GRANTED)
  })

  test.each(['/request', '/introspect', '/revoke'])('is proven at %s as well', async (path) => {
    const { challenge } = makePkce()
    const form = {
      client_assertion_type: TYPE,
      token: 'x',
      client_id: 'signer',
      response_type: 'code',
      scope: 'notes:read',
      redirect_uri: REDIRECT,
      code_challenge: challenge,
      code_challenge_method: 'S256',
    }
    const prove = async (key = own) => {
      const client_assertion = await sign(describeAssertion(), key)
      const answer = await post(server.issuer, path, { ...form, client_assertion }, {})
      return answer.status
    }
    expect([200, 201]).toContain(await prove())
    expect(await prove(foreign)).toBe(401)
  })
})

describe('a client that publishes its keys', () => {
  const assert = (key = own) => sign(describeAssertion('publisher'), key)
  let passed = 0
  /** From one test to the next: what was fetched before is old. */
  const pass = (seconds: number) => {
    passed += seconds
    vi.useFakeTimers({ toFake: ['Date'], now: vi.getRealSystemTime() + passed * 1000 })
  }

  test('is known by them, and by the next ones once it has changed them', async () => {
    expect(await ask(await assert())).toEqual(GRANTED)
    const { asked } = keyPlace.place
    expect(await ask(await assert())).toEqual(GRANTED)
    expect(keyPlace.place.asked).toBe(asked)
    keyPlace.place.keys = [next.jwk]
    pass(61)
    expect(await ask(await assert(next))).toEqual(GRANTED)
    expect(await ask(await assert(own))).toEqual(REFUSED)
  })

  test('is not known any more by a key that it has withdrawn, whoever asks first', async () => {
    pass(3600)
    expect(await ask(await assert())).toEqual(GRANTED)
    keyPlace.place.keys = [next.jwk]
    pass(61)
    expect(await ask(await assert(own))).toEqual(REFUSED)
  })

  test('has them asked for again after an hour, whatever the answer says', async () => {
    keyPlace.place.headers = {
      'cache-control': 'public, max-age=999999999',
      expires: 'Tue, 19 Jan 2038 03:14:07 GMT',
    }
    pass(3600)
    expect(await ask(await assert())).toEqual(GRANTED)
    keyPlace.place.keys = [next.jwk]
    pass(3500)
    expect(await ask(await assert(own))).toEqual(GRANTED)
    pass(101)
    expect(await ask(await assert(own))).toEqual(REFUSED)
  })

  test.each(['redirect', 'flood'])('is refused while the place answers with a %s', async (how) => {
    keyPlace.place.answer = how
    pass(3600)
    const [status] = await ask(await assert())
    expect(status).toBeGreaterThanOrEqual(400)
    keyPlace.place.answer = undefined
    expect(await ask(await assert())).toEqual(GRANTED)
  })

  test('cannot slip a secret or a private key in', async () => {
    const secret = new TextEncoder().encode('a secret of some length, or more than that')
    keyPlace.place.keys = [{ kty: 'oct', kid: 'oct', k: Buffer.from(secret).toString('base64url') }]
    pass(3600)
    const hmac = await new SignJWT(describeAssertion('publisher'))
      .setProtectedHeader({ alg: 'HS256', kid: 'oct' })
      .sign(secret)
    expect((await ask(hmac))[0]).toBeGreaterThanOrEqual(400)
  })
})
