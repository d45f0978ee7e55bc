import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import { openStores, type Stores } from '../../auth-server/storage/stores.ts'
import { introspect, post, revoke, withClients } from '../support/endpoints.ts'
import { basic, decodeJwt, obtainTokens, refresh, requestToken } from '../support/flow.ts'
import { createKey, signToken } from '../support/issuer.ts'
import {
  BILLING,
  NOTES,
  SERVICE_SECRET,
  startServer,
  WEB_SECRET,
  type TestServer,
} from '../support/server.ts'

/* The table of the requirements is in docs/conformance/rfc7662-introspection.md. */

const asWeb = { authorization: basic('web', WEB_SECRET) }
const asService = { authorization: basic('service', SERVICE_SECRET) }
const asNotes = { authorization: basic('notes-api', SERVICE_SECRET) }
const asBilling = { authorization: basic('billing-api', SERVICE_SECRET) }

const describeApi = (id: string, resource: string) => ({
  id,
  grants: ['client_credentials' as const],
  secret: { env: 'SERVICE_SECRET' },
  scopes: ['notes:read'],
  introspects: [resource],
})

let server: TestServer
beforeAll(async () => {
  const apis = [describeApi('notes-api', NOTES), describeApi('billing-api', BILLING)]
  server = await startServer(withClients(...apis))
})
afterAll(() => server[Symbol.asyncDispose]())
afterEach(() => void vi.useRealTimers())

const INACTIVE = { active: false }

async function ask(token: string, headers: Readonly<Record<string, string>> = asWeb) {
  const { status, body } = await introspect(server.issuer, token, headers)
  expect(status).toBe(200)
  return body
}

async function serviceToken(): Promise<string> {
  const form = { grant_type: 'client_credentials', scope: 'notes:read' }
  return (await requestToken(server.issuer, form, asService)).body.access_token
}

async function withStores(work: (stores: Stores) => Promise<unknown>): Promise<void> {
  await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
  await work(stores)
}

describe('RFC 7662 §2.1: who asks', () => {
  test.each([
    ['a wrong secret', { authorization: basic('web', 'wrong') }, {}, 401, 'invalid_client'],
    ['an unknown client', { authorization: basic('nobody', 'x') }, {}, 401, 'invalid_client'],
    ['nobody', {}, {}, 400, 'invalid_request'],
    ['a confidential client by its id alone', {}, { client_id: 'web' }, 401, 'invalid_client'],
    ['a public client', {}, { client_id: 'spa' }, 401, 'invalid_client'],
    ['a Bearer token', { authorization: 'Bearer x' }, {}, 400, 'invalid_request'],
  ])(
    'as %s learns nothing, of a good token or a bad one',
    async (_case, headers, form, status, error) => {
      for (const token of [
        await serviceToken(),
        'x',
        (await obtainTokens(server.issuer)).refresh_token,
      ]) {
        const answer = await post(server.issuer, '/introspect', { token, ...form }, headers)
        expect([answer.status, answer.body['error']]).toEqual([status, error])
        expect(answer.text).not.toContain('active')
      }
    },
  )

  test('has to say about what, in a form', async () => {
    const none = await post(server.issuer, '/introspect', {}, asWeb)
    expect([none.status, none.body['error']]).toEqual([400, 'invalid_request'])
    const twice = await post(server.issuer, '/introspect', 'token=a&token=b', asWeb)
    expect([twice.status, twice.body['error']]).toEqual([400, 'invalid_request'])
    const got = await fetch(`${server.issuer}/introspect?token=x`, { headers: asWeb })
    expect([got.status, got.headers.get('allow')]).toEqual([405, 'POST'])
  })
})

describe('RFC 7662 §2.2: the answer', () => {
  test("says what a person's JWT says, to the client that it was issued to", async () => {
    const { access_token } = await obtainTokens(server.issuer)
    const { claims } = decodeJwt(access_token)
    expect(await ask(access_token)).toEqual({ ...claims, active: true, token_type: 'Bearer' })
  })

  test("says what a service's JWT says", async () => {
    expect(await ask(await serviceToken(), asService)).toMatchObject({
      active: true,
      iss: server.issuer,
      sub: 'service',
      client_id: 'service',
      aud: NOTES,
      scope: 'notes:read',
      token_type: 'Bearer',
    })
  })

  test('tells the API that the token is for', async () => {
    const { access_token } = await obtainTokens(server.issuer)
    expect(await ask(access_token, asNotes)).toMatchObject({
      active: true,
      scope: 'openid notes:read',
    })
  })

  test('tells other APIs and other clients no more than of a token that there never was', async () => {
    const { access_token } = await obtainTokens(server.issuer)
    for (const headers of [asBilling, asService]) {
      expect(await ask(access_token, headers)).toEqual(INACTIVE)
      expect(await ask('x', headers)).toEqual(INACTIVE)
    }
  })

  test('is about the opaque token of openid alone, for its client', async () => {
    const { access_token } = await obtainTokens(server.issuer, { scope: 'openid email' })
    expect(await ask(access_token)).toMatchObject({
      active: true,
      client_id: 'web',
      scope: 'openid email',
      token_type: 'Bearer',
    })
    expect(await ask(access_token, asNotes)).toEqual(INACTIVE)
  })

  test('is about refresh tokens, for their client', async () => {
    const { refresh_token } = await obtainTokens(server.issuer)
    const body = await ask(refresh_token)
    expect(body).toMatchObject({ active: true, client_id: 'web' })
    expect(JSON.stringify(body)).not.toContain(refresh_token)
    expect(await ask(refresh_token, asNotes)).toEqual(INACTIVE)
  })

  test.each(['access_token', 'refresh_token', 'nonsense'])(
    'comes whatever the hint says (%s)',
    async (hint) => {
      const tokens = await obtainTokens(server.issuer)
      for (const token of [tokens.access_token, tokens.refresh_token]) {
        const form = { token, token_type_hint: hint }
        const { body } = await post(server.issuer, '/introspect', form, asWeb)
        expect(body['active']).toBe(true)
      }
    },
  )

  test('is JSON whatever is accepted, and is kept nowhere (§4)', async () => {
    for (const token of [await serviceToken(), 'x']) {
      for (const accept of ['text/html', 'application/jwt', '*/*']) {
        const { status, headers } = await introspect(server.issuer, token, { ...asService, accept })
        expect([status, headers.get('content-type')]).toEqual([
          200,
          expect.stringContaining('application/json'),
        ])
        expect(headers.get('cache-control')).toContain('no-store')
      }
    }
  })
})

describe('RFC 7662 §2.2: inactive is', () => {
  test('what is no access token of this server', async () => {
    const tokens = await obtainTokens(server.issuer)
    const [header = '', payload = '', signature = ''] = tokens.access_token.split('.')
    const { claims } = decodeJwt(tokens.access_token)
    const forged = Buffer.from(JSON.stringify({ ...claims, scope: 'notes:write' })).toString(
      'base64url',
    )
    const stranger = await createKey('ES256', {
      kid: String(decodeJwt(tokens.access_token).header['kid']),
    })
    const none = Buffer.from('{"alg":"none","typ":"at+jwt"}').toString('base64url')
    const hostile = [
      tokens.id_token,
      `${header}.${forged}.${signature}`,
      `${header}.${payload}.`,
      `${none}.${payload}.`,
      `${none}.${payload}.${signature}`,
      signToken(stranger, claims),
      'a.b.c',
      'a.b.c.d.e',
      '~'.padEnd(44, 'x'),
      `${header}.${payload}.${'A'.repeat(9000)}`,
    ]
    for (const token of hostile) expect(await ask(token)).toEqual(INACTIVE)
  })

  test('what has expired', async () => {
    const token = await serviceToken()
    vi.useFakeTimers({ toFake: ['Date'], now: systemClock.now() + 601_000 })
    expect(await ask(token, asService)).toEqual(INACTIVE)
  })

  test('what was revoked', async () => {
    const token = await serviceToken()
    await revoke(server.issuer, token, asService)
    expect(await ask(token, asService)).toEqual(INACTIVE)
    expect(await ask(token, asNotes)).toEqual(INACTIVE)
  })

  test('what hangs on a session that was ended', async () => {
    const { browser, ...tokens } = await obtainTokens(server.issuer)
    const page = await browser.get(`${server.issuer}/session/end?client_id=web`)
    await browser.submit(page, '/session/end/confirm', { logout: 'yes' })
    expect(await ask(tokens.access_token)).toEqual(INACTIVE)
    expect(await ask(tokens.access_token, asNotes)).toEqual(INACTIVE)
    expect(await ask(tokens.refresh_token)).toEqual(INACTIVE)
  })

  test('what hangs on a grant that was ended', async () => {
    const tokens = await obtainTokens(server.issuer, {
      scope: 'openid offline_access notes:read',
      prompt: 'consent',
    })
    await revoke(server.issuer, tokens.refresh_token)
    expect(await ask(tokens.access_token)).toEqual(INACTIVE)
    expect(await ask(tokens.refresh_token)).toEqual(INACTIVE)
  })

  test('what was rotated, when its successor has been used', async () => {
    const { refresh_token } = await obtainTokens(server.issuer)
    const second = await refresh(server.issuer, refresh_token)
    await refresh(server.issuer, second.body.refresh_token)
    expect(await ask(refresh_token)).toEqual(INACTIVE)
  })

  test('what belongs to somebody who was disabled', async () => {
    const { access_token } = await obtainTokens(server.issuer, {}, 'bob')
    await withStores(async ({ accounts }) => {
      const bob = await accounts.findByUsername('bob')
      if (!bob) throw new Error('no bob')
      await accounts.update({ ...bob, disabled: true })
      expect(await ask(access_token, asNotes)).toEqual(INACTIVE)
      await accounts.update(bob)
    })
    expect(await ask(access_token, asNotes)).toMatchObject({ active: true })
  })

  test('what was issued before somebody lost all access, not what came after', async () => {
    const { access_token } = await obtainTokens(server.issuer, {}, 'bob')
    await withStores(async ({ accounts }) => {
      const bob = await accounts.findByUsername('bob')
      if (bob) await accounts.updateAndEndAccess(bob)
    })
    expect(await ask(access_token, asNotes)).toEqual(INACTIVE)
    vi.useFakeTimers({ toFake: ['Date'], now: systemClock.now() + 2000 })
    const later = await obtainTokens(server.issuer, {}, 'bob')
    expect(await ask(later.access_token, asNotes)).toMatchObject({ active: true })
  })

  test('what was issued to a client that was disabled', async () => {
    const token = await serviceToken()
    await withStores(async ({ clients }) => {
      const client = await clients.findById('service')
      if (!client) throw new Error('no client')
      await clients.update({ ...client, disabled: true })
      expect(await ask(token, asNotes)).toEqual(INACTIVE)
      await clients.update(client)
    })
    expect(await ask(token, asNotes)).toMatchObject({ active: true })
  })
})

test('RFC 8414 §2: the metadata names the endpoint', async () => {
  const response = await fetch(`${server.issuer}/.well-known/oauth-authorization-server`)
  expect(await response.json()).toMatchObject({
    introspection_endpoint: `${server.issuer}/introspect`,
  })
})
