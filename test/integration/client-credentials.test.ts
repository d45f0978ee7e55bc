import { describe, expect, test } from 'vitest'
import { basic, decodeJwt, requestToken } from '../support/flow.ts'
import {
  BILLING,
  NOTES,
  SERVICE_SECRET,
  shareServer,
  startServer,
  WEB_SECRET,
  type TestServer,
} from '../support/server.ts'

const sharedServer = shareServer()

const asService = { authorization: basic('service', SERVICE_SECRET) }
const grant = { grant_type: 'client_credentials' }

function ask({ issuer }: TestServer, secret: string) {
  const authorization = basic('service', secret)
  return requestToken(issuer, { ...grant, scope: 'notes:read' }, { authorization })
}

describe('client credentials', () => {
  test('give a service a JWT for the resource that owns its scopes', async () => {
    const server = sharedServer()
    const { status, body } = await requestToken(
      server.issuer,
      { ...grant, scope: 'notes:read' },
      asService,
    )
    expect(status).toBe(200)
    expect(body).toMatchObject({ token_type: 'Bearer', expires_in: 600, scope: 'notes:read' })
    const { header, claims } = decodeJwt(body.access_token)
    expect(header).toMatchObject({ typ: 'at+jwt', alg: 'ES256' })
    expect(claims).toMatchObject({
      iss: server.issuer,
      aud: NOTES,
      sub: 'service',
      client_id: 'service',
      scope: 'notes:read',
    })
    expect(claims['sid']).toBeUndefined()
    expect(claims['grant_id']).toBeUndefined()
  })

  test('give the scopes of the named resource only', async () => {
    const server = sharedServer()
    const { status, body } = await requestToken(
      server.issuer,
      { ...grant, scope: 'notes:read', resource: NOTES },
      asService,
    )
    expect([status, decodeJwt(body.access_token).claims['aud']]).toEqual([200, NOTES])
  })

  test.each([
    ['a wrong secret', { authorization: basic('service', 'wrong') }, {}, 401, 'invalid_client'],
    ['an unknown client', { authorization: basic('nobody', 'x') }, {}, 401, 'invalid_client'],
    ['no client', {}, {}, 400, 'invalid_request'],
    ['a scope the client may not have', asService, { scope: 'notes:write' }, 400, 'invalid_scope'],
    ['a scope nobody knows', asService, { scope: 'nothing:here' }, 400, 'invalid_scope'],
    ['a scope about people', asService, { scope: 'openid' }, 400, 'invalid_scope'],
    ['no scope', asService, { scope: '' }, 400, 'invalid_scope'],
    ['an unknown resource', asService, { resource: 'https://x.example/' }, 400, 'invalid_target'],
    ['a resource without its scope', asService, { resource: BILLING }, 400, 'invalid_scope'],
    [
      'a client registered for people',
      { authorization: basic('web', WEB_SECRET) },
      {},
      400,
      'invalid_request',
    ],
  ])('are refused with %s', async (_case, headers, change, status, error) => {
    const server = sharedServer()
    const request = { ...grant, scope: 'notes:read', ...change }
    const answer = await requestToken(server.issuer, request, headers)
    expect([answer.status, answer.body.error]).toEqual([status, error])
    expect(answer.headers.get('cache-control')).toContain('no-store')
  })

  test('say what is missing where a resource is named and none of its scopes', async () => {
    const { body } = await requestToken(
      sharedServer().issuer,
      { ...grant, resource: NOTES },
      asService,
    )
    expect([body.error, body['error_description']]).toEqual([
      'invalid_scope',
      `name at least one scope of ${NOTES}`,
    ])
  })

  test('assume the default scopes of a client that names none', async () => {
    await using server = await startServer((config) => ({
      ...config,
      clients: config.clients?.map((client) =>
        client.id === 'service' ? { ...client, defaultScopes: ['notes:read'] } : client,
      ),
    }))
    const { status, body } = await requestToken(server.issuer, grant, asService)
    expect([status, body.scope]).toEqual([200, 'notes:read'])
  })

  test('take the secret from the body as well', async () => {
    const server = sharedServer()
    const request = {
      ...grant,
      scope: 'notes:read',
      client_id: 'service',
      client_secret: SERVICE_SECRET,
    }
    expect((await requestToken(server.issuer, request, {})).status).toBe(200)
  })

  test('mark tokens as plain JWT for a resource whose decoder wants that', async () => {
    await using server = await startServer((config) => ({
      ...config,
      resources: config.resources?.map((resource) => ({ ...resource, tokenType: 'JWT' as const })),
    }))
    const { body } = await requestToken(server.issuer, { ...grant, scope: 'notes:read' }, asService)
    expect(decodeJwt(body.access_token).header['typ']).toBe('JWT')
  })

  test('stop guesses at a secret, and let the right one in again elsewhere', async () => {
    await using server = await startServer((config) => ({
      ...config,
      signIn: { perAccount: { attempts: 3, windowSeconds: 60 } },
    }))
    for (let count = 0; count < 3; count += 1) {
      expect((await ask(server, `wrong ${count}`)).status).toBe(401)
    }
    const refused = await ask(server, 'wrong 3')
    expect([refused.status, refused.body.error]).toEqual([429, 'temporarily_unavailable'])
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    // What was wrong already is no way around it, nor is the right one.
    for (const secret of ['wrong 0', SERVICE_SECRET]) {
      expect((await ask(server, secret)).status).toBe(429)
    }
    expect(server.logged()).not.toContain(SERVICE_SECRET)
  })

  test('are not locked out by a service that goes on with an old secret', async () => {
    await using server = await startServer()
    const rotated = 'another-service-secret-of-some-length'
    await (await server.startAnother({ SERVICE_SECRET: rotated }))[Symbol.asyncDispose]()
    for (let count = 0; count < 30; count += 1) {
      const { status, body } = await ask(server, SERVICE_SECRET)
      expect([status, body.error]).toEqual([401, 'invalid_client'])
    }
    expect((await ask(server, rotated)).status).toBe(200)
    expect(server.logged().match(/"reason":"wrong_secret"/g)).toHaveLength(1)
    expect(server.logged().match(/"reason":"same_wrong_secret"/g)).toHaveLength(29)

    await (await server.startAnother())[Symbol.asyncDispose]()
    expect((await ask(server, SERVICE_SECRET)).status).toBe(200)
    expect((await ask(server, rotated)).status).toBe(401)

    const statuses: number[] = []
    for (let count = 0; count < 30; count += 1) {
      statuses.push((await ask(server, `guess ${count}`)).status)
    }
    expect([statuses[0], statuses.at(-1)]).toEqual([401, 429])
    expect((await ask(server, SERVICE_SECRET)).status).toBe(429)
  })

  test('say of a secret that many send at once that it is wrong, and let the right one in', async () => {
    await using server = await startServer()
    const asked = await Promise.all(Array.from({ length: 30 }, () => ask(server, 'wrong')))
    expect(new Set(asked.map(({ status }) => status))).toEqual(new Set([401]))
    expect((await ask(server, SERVICE_SECRET)).status).toBe(200)
  })
})
