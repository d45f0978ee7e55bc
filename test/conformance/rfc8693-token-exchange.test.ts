import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { openStores, type Stores } from '../../auth-server/storage/stores.ts'
import { createVerifier } from '../../resource-server/index.ts'
import { nextSecond } from '../support/clock.ts'
import { introspect, post, prove, revoke, withClients, type Answer } from '../support/endpoints.ts'
import { authorize, basic, decodeJwt, obtainTokens, requestToken } from '../support/flow.ts'
import { createKey, signToken } from '../support/issuer.ts'
import { createProofClient } from '../support/proof.ts'
import {
  BILLING,
  NOTES,
  REDIRECT,
  SERVICE_SECRET,
  startServer,
  WEB_SECRET,
  type TestServer,
} from '../support/server.ts'

/* The table of the requirements is in docs/conformance/rfc8693-token-exchange.md. */

const GATEWAY = 'https://gateway.example/'
const GRANT = 'urn:ietf:params:oauth:grant-type:token-exchange'
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'
const JWT = 'urn:ietf:params:oauth:token-type:jwt'
const SCOPES = ['notes:read', 'notes:write', 'billing:read']

const BILLS = { 'billing:read': { description: 'Read your bills' } }

const as = (id: string) => ({ authorization: basic(id, SERVICE_SECRET) })
const asWeb = { authorization: basic('web', WEB_SECRET) }

function change(config: ConfigInput): ConfigInput {
  const api = { secret: { env: 'SERVICE_SECRET' }, scopes: SCOPES }
  const described = withClients(
    {
      ...api,
      id: 'gateway',
      grants: ['client_credentials', 'token_exchange'],
      introspects: [GATEWAY],
      exchange: [
        { resource: NOTES, subjects: ['person', 'service'], from: [GATEWAY], mode: ['delegation'] },
        {
          resource: BILLING,
          scopes: ['billing:read'],
          subjects: ['person'],
          from: [GATEWAY],
          mode: ['impersonation'],
        },
      ],
    },
    {
      ...api,
      id: 'notes-api',
      grants: ['token_exchange'],
      introspects: [NOTES],
      exchange: [{ resource: BILLING, subjects: ['person'], from: [NOTES], mode: ['delegation'] }],
    },
    {
      ...api,
      id: 'stranger',
      grants: ['token_exchange'],
      exchange: [{ resource: NOTES, subjects: ['person'], from: [GATEWAY], mode: ['delegation'] }],
    },
    { ...api, id: 'robot', grants: ['client_credentials'] },
    {
      id: 'web',
      grants: ['authorization_code', 'refresh_token', 'token_exchange'],
      exchange: [
        { resource: NOTES, subjects: ['person'], from: [GATEWAY], mode: ['impersonation'] },
      ],
    },
  )(config)
  return {
    ...described,
    users: config.users?.map((user) =>
      user.username === 'bob' ? { ...user, roles: ['admin'] } : user,
    ),
    resources: [
      // Whoever calls another API for somebody has to be allowed as much itself.
      ...(config.resources ?? []).map((resource) =>
        resource.identifier === NOTES
          ? { ...resource, scopes: { ...resource.scopes, ...BILLS } }
          : resource,
      ),
      {
        identifier: GATEWAY,
        name: 'Gateway',
        scopes: Object.fromEntries(SCOPES.map((scope) => [scope, { description: scope }])),
      },
    ],
  }
}

let server: TestServer
beforeAll(async () => {
  server = await startServer(change)
})
afterAll(() => server[Symbol.asyncDispose]())
afterEach(() => void vi.useRealTimers())

const REQUEST = { scope: 'notes:read notes:write', resource: GATEWAY }

async function personToken(request: Record<string, string> = {}): Promise<string> {
  return (await obtainTokens(server.issuer, { ...REQUEST, ...request })).access_token
}

async function serviceToken(id: string, headers: Record<string, string> = {}): Promise<string> {
  const form = { grant_type: 'client_credentials', scope: 'notes:read', resource: GATEWAY }
  return (await requestToken(server.issuer, form, { ...as(id), ...headers })).body.access_token
}

function exchange(
  token: string,
  more: Readonly<Record<string, string>> = {},
  headers: Readonly<Record<string, string>> = as('gateway'),
): Promise<Answer> {
  const form = {
    grant_type: GRANT,
    subject_token: token,
    subject_token_type: ACCESS_TOKEN,
    resource: NOTES,
    ...more,
  }
  return post(server.issuer, '/token', form, headers)
}

const claimsOf = ({ body }: Answer) => decodeJwt(String(body['access_token'])).claims
const refusal = ({ status, body }: Answer) => [status, body['error']]

async function withStores(work: (stores: Stores) => Promise<unknown>): Promise<void> {
  await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
  await work(stores)
}

describe('RFC 8693 §2.2.1: the answer', () => {
  test('is an access token for the target, about the same person', async () => {
    const token = await personToken()
    const answer = await exchange(token)
    expect(answer.status).toBe(200)
    expect(answer.headers.get('cache-control')).toContain('no-store')
    expect(answer.body).toMatchObject({
      issued_token_type: ACCESS_TOKEN,
      token_type: 'Bearer',
      scope: 'notes:read notes:write',
    })
    expect(answer.body).not.toHaveProperty('refresh_token')
    const old = decodeJwt(token).claims
    expect(claimsOf(answer)).toMatchObject({
      iss: server.issuer,
      aud: NOTES,
      sub: old['sub'],
      client_id: 'gateway',
      sid: old['sid'],
      grant_id: old['grant_id'],
      auth_time: old['auth_time'],
      amr: old['amr'],
      roles: ['editor'],
      act: { sub: 'gateway' },
    })
    expect(claimsOf(answer)['jti']).not.toBe(old['jti'])
  })

  test('is good at the API', async () => {
    const { body } = await exchange(await personToken())
    await using verifier = createVerifier({ issuer: server.issuer, audience: NOTES })
    const result = await verifier.verify(String(body['access_token']))
    expect(result).toMatchObject({ ok: true, value: { kind: 'person', clientId: 'gateway' } })
  })

  test('tells a service from a person', async () => {
    const answer = await exchange(await serviceToken('robot'))
    expect(claimsOf(answer)).toMatchObject({ sub: 'robot', client_id: 'gateway' })
    for (const claim of ['sid', 'grant_id', 'roles'])
      expect(claimsOf(answer)).not.toHaveProperty(claim)
    await using verifier = createVerifier({ issuer: server.issuer, audience: NOTES })
    const result = await verifier.verify(String(answer.body['access_token']))
    expect(result).toMatchObject({ ok: true, value: { kind: 'service', subject: 'robot' } })
  })
})

describe('RFC 8693 §2.1: the request', () => {
  test.each([
    ['the type jwt', { subject_token_type: JWT }],
    ['the type that is wanted', { requested_token_type: ACCESS_TOKEN }],
    ['an audience instead of a resource', { resource: '', audience: NOTES }],
    ['both, for the same', { audience: NOTES }],
  ])('may have %s', async (_case, more) => {
    expect((await exchange(await personToken(), more)).status).toBe(200)
  })

  test.each([
    ['no subject token', { subject_token: '' }, 'invalid_request'],
    ['no type', { subject_token_type: '' }, 'invalid_request'],
    [
      'another type',
      { subject_token_type: 'urn:ietf:params:oauth:token-type:id_token' },
      'invalid_request',
    ],
    [
      'a refresh token wanted',
      { requested_token_type: 'urn:ietf:params:oauth:token-type:refresh_token' },
      'invalid_request',
    ],
    [
      'the type of an actor token without one',
      { actor_token_type: ACCESS_TOKEN },
      'invalid_request',
    ],
    ['an actor token without its type', { actor_token: 'x' }, 'invalid_request'],
    ['an unknown resource', { resource: 'https://x.example/' }, 'invalid_target'],
    ['an unknown audience', { resource: '', audience: 'x' }, 'invalid_target'],
    ['a resource that no rule is for', { resource: GATEWAY }, 'invalid_target'],
    ['two targets', { audience: BILLING }, 'invalid_target'],
    ['no target, where there are several', { resource: '' }, 'invalid_target'],
  ])('is refused with %s', async (_case, more, error) => {
    expect(refusal(await exchange(await personToken(), more))).toEqual([400, error])
  })

  test('is refused to a client without the grant, without its secret, and to a public one', async () => {
    const token = await personToken()
    expect(refusal(await exchange(token, {}, as('robot')))).toEqual([400, 'invalid_request'])
    const wrong = { authorization: basic('gateway', 'wrong') }
    expect(refusal(await exchange(token, {}, wrong))).toEqual([401, 'invalid_client'])
    expect(refusal(await exchange(token, { client_id: 'spa' }, {}))).toEqual([
      400,
      'invalid_request',
    ])
  })
})

describe('RFC 8693 §2.2.2: a subject token is refused', () => {
  test('that is none of ours, or no access token', async () => {
    const tokens = await obtainTokens(server.issuer, {
      scope: 'openid notes:read',
      resource: GATEWAY,
    })
    const opaque = await obtainTokens(server.issuer, { scope: 'openid' })
    const [header, payload] = tokens.access_token.split('.')
    const { claims } = decodeJwt(tokens.access_token)
    const { kid } = decodeJwt(tokens.access_token).header
    const stranger = await createKey('ES256', { kid: String(kid) })
    const hostile = [
      'x',
      'a.b.c',
      tokens.id_token,
      tokens.refresh_token,
      opaque.access_token,
      `${header}.${payload}.`,
      signToken(stranger, claims),
    ]
    for (const token of hostile)
      expect(refusal(await exchange(token))).toEqual([400, 'invalid_request'])
  })

  test('that has expired', async () => {
    const token = await personToken()
    vi.useFakeTimers({ toFake: ['Date'], now: systemClock.now() + 601_000 })
    expect(refusal(await exchange(token))).toEqual([400, 'invalid_request'])
  })

  test('that was revoked', async () => {
    const token = await personToken()
    await revoke(server.issuer, token)
    expect(refusal(await exchange(token))).toEqual([400, 'invalid_request'])
  })

  test('whose session was ended', async () => {
    const { access_token, browser } = await obtainTokens(server.issuer, REQUEST)
    const page = await browser.get(`${server.issuer}/session/end?client_id=web`)
    await browser.submit(page, '/session/end/confirm', { logout: 'yes' })
    expect(refusal(await exchange(access_token))).toEqual([400, 'invalid_request'])
  })

  test('whose person was disabled', async () => {
    const token = await personToken()
    await withStores(async ({ accounts }) => {
      const alice = await accounts.findByUsername('alice')
      if (!alice) throw new Error('no alice')
      await accounts.update({ ...alice, disabled: true })
      expect(refusal(await exchange(token))).toEqual([400, 'invalid_request'])
      await accounts.update(alice)
    })
    expect((await exchange(token)).status).toBe(200)
  })

  test('by a client that it was neither issued to nor is the API behind', async () => {
    expect(refusal(await exchange(await personToken(), {}, as('stranger')))).toEqual([
      400,
      'invalid_request',
    ])
  })

  test('for an API that the rule does not take them from', async () => {
    const token = await personToken({ resource: BILLING, scope: 'billing:read' }).catch(() => '')
    expect(token).toBe('')
    const forNotes = await personToken({ resource: NOTES })
    expect(refusal(await exchange(forNotes, {}, asWeb))).toEqual([400, 'invalid_request'])
  })

  test('about a service, by a rule for people', async () => {
    const token = await serviceToken('robot')
    expect(refusal(await exchange(token, { resource: BILLING }))).toEqual([400, 'invalid_request'])
  })
})

describe('the scope', () => {
  test('is narrowed as asked, and never grows', async () => {
    const token = await personToken({ scope: 'notes:read' })
    expect((await exchange(token)).body['scope']).toBe('notes:read')
    const more = await exchange(token, { scope: 'notes:read notes:write' })
    expect(more.body['scope']).toBe('notes:read')
    expect(refusal(await exchange(token, { scope: 'notes:write' }))).toEqual([400, 'invalid_scope'])
    const both = await exchange(await personToken(), { scope: 'notes:write' })
    expect(both.body['scope']).toBe('notes:write')
  })

  test('is bounded by the rule and by the target', async () => {
    expect(refusal(await exchange(await personToken(), { resource: BILLING }))).toEqual([
      400,
      'invalid_scope',
    ])
  })

  test('is none for a token of before the person has lost a role', async () => {
    const token = await personToken()
    await withStores(async ({ accounts }) => {
      const alice = await accounts.findByUsername('alice')
      if (!alice) throw new Error('no alice')
      await accounts.update({ ...alice, roles: ['reader'] })
      expect(refusal(await exchange(token))).toEqual([400, 'invalid_request'])
      await accounts.update(alice)
      expect(refusal(await exchange(token))).toEqual([400, 'invalid_request'])
    })
    await nextSecond()
    expect((await exchange(await personToken())).status).toBe(200)
  })

  test('is bounded by what the client, and the service, are registered for now', async () => {
    const [person, robot] = [await personToken(), await serviceToken('robot')]
    await withStores(async ({ clients }) => {
      for (const [id, token] of [
        ['gateway', person],
        ['robot', robot],
      ] as const) {
        const client = await clients.findById(id)
        if (!client) throw new Error('no client')
        await clients.update({ ...client, scopes: ['billing:read'] })
        expect(refusal(await exchange(token))).toEqual([400, 'invalid_scope'])
        await clients.update(client)
      }
    })
  })
})

describe('RFC 8693 §1.1, §4.1: who acts', () => {
  test('is not said where a client impersonates by its rule', async () => {
    const answer = await exchange(await personToken(), {}, asWeb)
    expect(answer.status).toBe(200)
    expect(claimsOf(answer)).not.toHaveProperty('act')
    expect(claimsOf(answer)['client_id']).toBe('web')
  })

  test('is the client, or whoever its actor token is about', async () => {
    const token = await personToken()
    const actor = await serviceToken('robot')
    const answer = await exchange(token, { actor_token: actor, actor_token_type: JWT })
    expect(claimsOf(answer)['act']).toEqual({ sub: 'robot' })
  })

  test('is a chain, the latest first', async () => {
    const scope = 'notes:read billing:read'
    const { access_token } = await obtainTokens(server.issuer, { ...REQUEST, scope }, 'bob')
    const first = await exchange(access_token)
    const token = String(first.body['access_token'])
    const second = await exchange(token, { resource: BILLING }, as('notes-api'))
    expect(claimsOf(first)['act']).toEqual({ sub: 'gateway' })
    expect(claimsOf(second)).toMatchObject({
      aud: BILLING,
      sub: claimsOf(first)['sub'],
      client_id: 'notes-api',
      scope: 'billing:read',
      act: { sub: 'notes-api', act: { sub: 'gateway' } },
    })
    expect(second.body['scope']).toBe('billing:read')
  })

  test('is refused with an actor token that is not valid, of another client, or where nobody may act', async () => {
    const token = await personToken()
    const robot = await serviceToken('robot')
    const type = { actor_token_type: ACCESS_TOKEN }
    const revoked = await serviceToken('robot')
    await revoke(server.issuer, revoked, as('robot'))
    const answers = [
      await exchange(token, { actor_token: 'x', ...type }),
      await exchange(token, { actor_token: revoked, ...type }),
      await exchange(token, { actor_token: robot, ...type }, asWeb),
      await exchange(token, { actor_token: robot, ...type, resource: BILLING }),
    ]
    for (const answer of answers) expect(refusal(answer)).toEqual([400, 'invalid_request'])
  })
})

describe('the new token', () => {
  test('does not outlive the subject token', async () => {
    const token = await personToken()
    vi.useFakeTimers({ toFake: ['Date'], now: systemClock.now() + 500_000 })
    const answer = await exchange(token)
    const [exp, left] = [claimsOf(answer)['exp'], Number(answer.body['expires_in'])]
    expect(exp).toBeLessThanOrEqual(Number(decodeJwt(token).claims['exp']))
    expect(left).toBeLessThanOrEqual(101)
  })

  test('ends with the session and the grant of the subject token', async () => {
    const { access_token, browser } = await obtainTokens(server.issuer, REQUEST)
    const { body } = await exchange(access_token)
    const token = String(body['access_token'])
    const ask = async (headers: Record<string, string>) =>
      (await introspect(server.issuer, token, headers)).body['active']
    expect([await ask(as('gateway')), await ask(as('notes-api'))]).toEqual([true, true])
    const page = await browser.get(`${server.issuer}/session/end?client_id=web`)
    await browser.submit(page, '/session/end/confirm', { logout: 'yes' })
    expect([await ask(as('gateway')), await ask(as('notes-api'))]).toEqual([false, false])
  })

  test('is revoked by the client that has it, and not by that of the old one', async () => {
    const { body } = await exchange(await personToken())
    const token = String(body['access_token'])
    const isActive = async () =>
      (await introspect(server.issuer, token, as('gateway'))).body['active']
    await revoke(server.issuer, token, asWeb)
    expect(await isActive()).toBe(true)
    await revoke(server.issuer, token, as('gateway'))
    expect(await isActive()).toBe(false)
  })
})

describe('RFC 9449 §5: proofs', () => {
  test('bind the new token', async () => {
    const key = await createProofClient()
    const headers = { ...as('gateway'), dpop: prove(key, server.issuer) }
    const answer = await exchange(await personToken(), {}, headers)
    expect(answer.body['token_type']).toBe('DPoP')
    expect(claimsOf(answer)['cnf']).toEqual({ jkt: key.thumbprint })
  })

  test('a bound subject token needs one by its own key', async () => {
    const [key, other] = [await createProofClient(), await createProofClient()]
    const { code, verifier } = await authorize(server.issuer, REQUEST)
    const form = {
      grant_type: 'authorization_code',
      code,
      code_verifier: verifier,
      redirect_uri: REDIRECT,
    }
    const proof = { ...asWeb, dpop: prove(key, server.issuer) }
    const { body } = await requestToken(server.issuer, form, proof)
    const by = (client?: typeof key) =>
      exchange(
        body.access_token,
        {},
        {
          ...asWeb,
          ...(client ? { dpop: prove(client, server.issuer) } : {}),
        },
      )
    expect(refusal(await by())).toEqual([400, 'invalid_request'])
    expect(refusal(await by(other))).toEqual([400, 'invalid_request'])
    // The API has the token, and not the key.
    expect(refusal(await exchange(body.access_token))).toEqual([400, 'invalid_request'])
    const good = await by(key)
    expect([good.status, claimsOf(good)['cnf']]).toEqual([200, { jkt: key.thumbprint }])
  })
})

test('an exchange is told: who, for whom, from where to where', async () => {
  const token = await personToken()
  await exchange(token)
  const line = server
    .logged()
    .split('\n')
    .findLast((one) => one.includes('"token_exchanged"'))
  expect(JSON.parse(line ?? '{}')).toMatchObject({
    clientId: 'gateway',
    accountId: decodeJwt(token).claims['sub'],
    actor: 'gateway',
    from: GATEWAY,
    resource: NOTES,
  })
  expect(server.logged()).not.toContain(token)
})
