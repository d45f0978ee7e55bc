import { createRemoteJWKSet, decodeProtectedHeader, jwtVerify } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createIntrospectionVerifier } from '../../resource-server/index.ts'
import { introspect, post, withClients } from '../support/endpoints.ts'
import { basic, obtainTokens, requestToken } from '../support/flow.ts'
import { judge } from '../support/introspection.ts'
import { NOTES, SERVICE_SECRET, startServer, type TestServer } from '../support/server.ts'

/* The table of the requirements is in docs/conformance/rfc9701-signed-introspection.md. */

const TYPE = 'application/token-introspection+jwt'
const asService = { authorization: basic('service', SERVICE_SECRET) }
const asApi = { authorization: basic('notes-api', SERVICE_SECRET), accept: TYPE }

const api = {
  grants: ['client_credentials' as const],
  secret: { env: 'SERVICE_SECRET' },
  scopes: ['notes:read'],
  introspects: [NOTES],
}

let server: TestServer
beforeAll(async () => {
  server = await startServer(
    withClients(
      { id: 'notes-api', ...api },
      { id: 'es-api', ...api, algorithms: { introspection: 'ES256' } },
    ),
  )
})
afterAll(() => server[Symbol.asyncDispose]())

async function makeToken(): Promise<string> {
  const form = { grant_type: 'client_credentials', scope: 'notes:read' }
  return (await requestToken(server.issuer, form, asService)).body.access_token
}

/** As §5 has an API do it. */
function verify(text: string, audience = 'notes-api', algorithm = 'RS256') {
  return jwtVerify(text, createRemoteJWKSet(new URL(`${server.issuer}/jwks`)), {
    issuer: server.issuer,
    audience,
    typ: 'token-introspection+jwt',
    algorithms: [algorithm],
    requiredClaims: ['iat', 'token_introspection'],
  })
}

test('§7 the metadata name the algorithms', async () => {
  const response = await fetch(`${server.issuer}/.well-known/oauth-authorization-server`)
  expect(await response.json()).toMatchObject({
    introspection_signing_alg_values_supported: ['RS256', 'ES256'],
  })
})

describe('§5 an API that accepts a signed answer', () => {
  test('gets what it would get otherwise, signed, for itself, and of a type of its own', async () => {
    const token = await makeToken()
    const plain = await introspect(server.issuer, token, { authorization: asApi.authorization })
    const { status, headers, text } = await introspect(server.issuer, token, asApi)
    expect([status, headers.get('content-type'), headers.get('cache-control')]).toEqual([
      200,
      TYPE,
      expect.stringContaining('no-store'),
    ])
    const { payload } = await verify(text)
    expect(payload['token_introspection']).toEqual(plain.body)
    expect(plain.body['active']).toBe(true)
    // §8.1: nothing at the top that makes an access token or an ID token of it.
    expect(Object.keys(payload).toSorted()).toEqual(['aud', 'iat', 'iss', 'token_introspection'])
    expect(decodeProtectedHeader(text).typ).toBe('token-introspection+jwt')
    await expect(verify(text, NOTES)).rejects.toThrow('aud')
  })

  test('§6 gets it signed with what it has declared, and RS256 otherwise', async () => {
    const token = await makeToken()
    const asEs = { ...asApi, authorization: basic('es-api', SERVICE_SECRET) }
    const { payload } = await verify(
      (await introspect(server.issuer, token, asEs)).text,
      'es-api',
      'ES256',
    )
    expect(payload['token_introspection']).toMatchObject({ active: true })
    const { text } = await introspect(server.issuer, token, asApi)
    await expect(verify(text, 'notes-api', 'ES256')).rejects.toThrow('alg')
    await verify(text)
  })

  test('gets the same of an opaque token', async () => {
    const { refresh_token } = await obtainTokens(server.issuer)
    const asWeb = { ...asApi, authorization: basic('web', 'a-web-client-secret-of-some-length') }
    const { text } = await introspect(server.issuer, refresh_token, asWeb)
    const { payload } = await verify(text, 'web')
    expect(payload['token_introspection']).toMatchObject({ active: true, client_id: 'web' })
  })

  test('learns of an inactive one that it is, and nothing else', async () => {
    const { text } = await introspect(server.issuer, 'x.y.z', asApi)
    expect((await verify(text)).payload['token_introspection']).toEqual({ active: false })
  })

  test.each([
    [TYPE, true],
    [`${TYPE};q=0.9, application/json;q=0.5`, true],
    ['application/json', false],
    ['*/*', false],
    ['application/token-introspection+jwtx', false],
  ])('and asks by Accept: %s', async (accept, isSigned) => {
    const { headers } = await introspect(server.issuer, await makeToken(), { ...asApi, accept })
    const type = isSigned ? TYPE : 'application/json'
    expect(headers.get('content-type')).toContain(type)
  })
})

test.each(['notes-api', 'es-api'])(
  'the toolkit takes the signed answers that %s gets, and refuses a token that is not active',
  async (clientId) => {
    await using verifier = createIntrospectionVerifier({
      issuer: server.issuer,
      audience: NOTES,
      clientId,
      clientSecret: SERVICE_SECRET,
      signedAnswers: true,
    })
    expect(await judge(verifier, await makeToken())).toBe('allowed')
    expect(await judge(verifier, 'x.y.z')).toBe('inactive')
  },
)

describe('what is refused', () => {
  test('is not signed', async () => {
    const wrong = { ...asApi, authorization: basic('notes-api', 'x'.repeat(20)) }
    for (const [form, headers, status] of [
      [{ token: 'x' }, wrong, 401],
      [{}, asApi, 400],
    ] as const) {
      const answer = await post(server.issuer, '/introspect', form, headers)
      expect([answer.status, answer.headers.get('content-type')]).toEqual([
        status,
        expect.stringContaining('application/json'),
      ])
    }
  })

  test('at userinfo: a signed answer is no access token', async () => {
    const { text } = await introspect(server.issuer, await makeToken(), asApi)
    const headers = { authorization: `Bearer ${text}` }
    expect((await fetch(`${server.issuer}/userinfo`, { headers })).status).toBe(401)
    const asked = await introspect(server.issuer, text, { authorization: asApi.authorization })
    expect(asked.body).toEqual({ active: false })
  })
})
