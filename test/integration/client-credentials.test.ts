import { describe, expect, test } from 'vitest'
import { basic, decodeJwt, requestToken } from '../support/flow.ts'
import {
  BILLING,
  NOTES,
  SERVICE_SECRET,
  shareServer,
  startServer,
  WEB_SECRET,
} from '../support/server.ts'

const sharedServer = shareServer()

const asService = { authorization: basic('service', SERVICE_SECRET) }
const grant = { grant_type: 'client_credentials' }

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
    const guess = () =>
      requestToken(
        server.issuer,
        { ...grant, scope: 'notes:read' },
        { authorization: basic('service', 'wrong') },
      )
    for (let count = 0; count < 3; count += 1) expect((await guess()).status).toBe(401)
    const refused = await guess()
    expect([refused.status, refused.body.error]).toEqual([429, 'temporarily_unavailable'])
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(server.logged()).not.toContain(SERVICE_SECRET)
  })
})
