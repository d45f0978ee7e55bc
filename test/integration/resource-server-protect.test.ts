import { request } from 'node:http'
import { Router } from '@koa/router'
import Koa from 'koa'
import { describe, expect, expectTypeOf, test } from 'vitest'
import {
  createGuard,
  createProtect,
  createVerifier,
  type Auth,
  type AuthState,
  type RoutePolicy,
} from '../../resource-server/index.ts'
import { API, createKey, signToken, startIssuer, type TestIssuer } from '../support/issuer.ts'
import { startApi, type ProtectedApi } from '../support/protected-api.ts'
import { createTurnableClock } from '../support/turnable-clock.ts'

const key = await createKey('ES256')

interface World extends AsyncDisposable {
  readonly issuer: TestIssuer
  readonly api: ProtectedApi
  readonly token: (change?: Record<string, unknown>) => string
}

async function start(
  policy: RoutePolicy = {},
  audience: string | readonly string[] = API,
): Promise<World> {
  await using cleanUp = new AsyncDisposableStack()
  const clock = createTurnableClock()
  const issuer = cleanUp.use(await startIssuer(clock, key))
  const api = cleanUp.use(await startApi({ issuer: issuer.url, audience, clock }, policy))
  const running = cleanUp.move()
  return {
    issuer,
    api,
    token: (change) => signToken(key, issuer.claims(change)),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

/** With the headers just as they stand: `fetch` would join two of one name. */
function getRaw(url: string, headers: readonly string[]): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const { host } = new URL(url)
    request(url, { headers: ['host', host, ...headers], agent: false }, (response) => {
      response.resume()
      resolve(response.statusCode)
    })
      .on('error', reject)
      .end()
  })
}

describe('a request without a usable token', () => {
  test.each<[string, Record<string, string>]>([
    ['no Authorization header', {}],
    ['another scheme', { authorization: 'Basic YTpi' }],
    ['a scheme that begins like Bearer', { authorization: 'Bearers abc' }],
    ['the scheme of DPoP', { authorization: 'DPoP abc' }],
  ])('with %s is told what is needed, and no error code', async (_case, headers) => {
    await using world = await start()
    const answer = await world.api.get(headers)
    expect([answer.status, answer.headers.get('www-authenticate')]).toEqual([401, 'Bearer'])
    expect(answer.headers.get('cache-control')).toBe('no-store')
    expect(answer.body['error']).toBe('unauthorized')
  })

  test.each(['Bearer', 'Bearer ', 'Bearer a b', 'Bearer\ta', 'bearer é'])(
    'is malformed with "%s"',
    async (authorization) => {
      await using world = await start()
      const { status, headers } = await world.api.get({ authorization })
      const challenge = headers.get('www-authenticate')
      const expected = authorization.includes('\t')
        ? [401, 'Bearer']
        : [400, 'Bearer error="invalid_request"']
      expect([status, challenge]).toEqual(expected)
    },
  )

  test('is malformed with a good token in the query as well', async () => {
    await using world = await start()
    const token = world.token()
    const { status, body } = await world.api.get(
      { authorization: `Bearer ${token}` },
      `?x=1&access%5Ftoken=${token}`,
    )
    expect([status, body['error']]).toEqual([400, 'invalid_request'])
  })

  test.each([
    ['two good tokens', (good: string) => [good, good]],
    ['a good token and another one', (good: string) => [good, 'Bearer x']],
    ['another scheme first', (good: string) => ['Basic YTpi', good]],
  ])('is malformed with %s in two headers', async (_case, make) => {
    await using world = await start()
    const good = `Bearer ${world.token()}`
    expect(await getRaw(world.api.url, ['Authorization', good])).toBe(200)
    const headers = make(good).flatMap((value) => ['Authorization', value])
    expect(await getRaw(world.api.url, headers)).toBe(400)
  })
})

describe('a refused token', () => {
  test('is not told why: every reason reads the same', async () => {
    await using world = await start()
    const tokens = [
      'x',
      world.token({ exp: 1 }),
      world.token({ aud: 'https://b.example/' }),
      world.token({ iss: 'https://evil.example' }),
      signToken(await createKey('ES256', { kid: String(key.jwk.kid) }), world.issuer.claims()),
    ]
    const answers = await Promise.all(tokens.map((token) => world.api.send(token)))
    const seen = answers.map(({ status, headers, body }) =>
      JSON.stringify([status, headers.get('www-authenticate'), body]),
    )
    expect(new Set(seen).size).toBe(1)
    expect(answers[0]?.body).toEqual({
      error: 'invalid_token',
      error_description: 'The access token is not valid here.',
    })
    const kinds = world.api.refusals.map(({ kind }) => kind).toSorted()
    expect(kinds).toEqual([
      'bad_signature',
      'expired',
      'malformed',
      'wrong_audience',
      'wrong_issuer',
    ])
    expect(JSON.stringify(world.api.refusals)).not.toContain(tokens[1])
  })
})

describe('scopes', () => {
  test.each<[string, string | readonly string[], string | undefined, number]>([
    ['one that is granted', 'notes:read', 'notes:read notes:write', 200],
    ['several that are granted', ['notes:read', 'notes:write'], 'notes:write notes:read', 200],
    ['several in one text', 'notes:read notes:write', 'notes:read notes:write', 200],
    ['one that is missing', 'notes:write', 'notes:read', 403],
    ['several of which one is missing', ['notes:read', 'notes:write'], 'notes:read', 403],
    ['one that begins like a granted one', 'notes:read', 'notes:read:all', 403],
    ['one in other letters', 'Notes:read', 'notes:read', 403],
    ['one where none is granted', 'notes:read', undefined, 403],
  ])('are needed: %s', async (_case, scope, granted, status) => {
    await using world = await start({ scope })
    expect(await world.api.status(world.token({ scope: granted }))).toBe(status)
  })

  test('that are needed are named all at once', async () => {
    await using world = await start({ scope: ['notes:read', 'notes:write', 'billing:read'] })
    const { status, headers, body } = await world.api.send(world.token())
    expect(status).toBe(403)
    expect(headers.get('www-authenticate')).toBe(
      'Bearer error="insufficient_scope", scope="notes:read notes:write billing:read"',
    )
    expect(body['error']).toBe('insufficient_scope')
    expect(world.api.refusals).toMatchObject([{ missing: ['billing:read'] }])
  })

  test('of a refused token are not named', async () => {
    await using world = await start({ scope: 'notes:secret' })
    const { status, headers } = await world.api.send(world.token({ exp: 1 }))
    expect([status, headers.get('www-authenticate')]).toEqual([401, 'Bearer error="invalid_token"'])
  })
})

describe('roles', () => {
  test.each([[['admin']], [['reader', 'auditor']]])(
    'allow what needs one of admin and auditor: %o',
    async (roles) => {
      await using world = await start({ roles: ['admin', 'auditor'] })
      expect(await world.api.status(world.token({ roles }))).toBe(200)
    },
  )

  test.each([[['reader']], [['administrator']], [[]], [undefined]])(
    'do not allow what needs one of admin and auditor: %o',
    async (roles) => {
      await using world = await start({ roles: ['admin', 'auditor'] })
      const { status, headers } = await world.api.send(world.token({ roles }))
      const challenge = headers.get('www-authenticate')
      expect([status, challenge]).toEqual([403, 'Bearer error="insufficient_scope"'])
    },
  )
})

describe('the audience of a route', () => {
  test('is fewer of those of the verifier', async () => {
    await using world = await start({ audience: 'https://b.example/' }, [API, 'https://b.example/'])
    expect(await world.api.status(world.token({ aud: 'https://b.example/' }))).toBe(200)
    expect(await world.api.status(world.token({ aud: [API, 'https://b.example/'] }))).toBe(200)
    expect(await world.api.status(world.token({ aud: API }))).toBe(401)
    expect(await world.api.status(world.token({ aud: 'https://c.example/' }))).toBe(401)
  })

  test('is never more than the verifier has', async () => {
    await using verifier = createVerifier({ issuer: 'https://as.example', audience: API })
    const make = () => createProtect(verifier)({ audience: [API, 'https://b.example/'] })
    expect(make).toThrow(TypeError)
    expect(make).toThrow(/^audience: .*https:\/\/api\.example\/, not https:\/\/b\.example\//)
  })

  test('never lets a token of one issuer in for the audience of another', async () => {
    const clock = createTurnableClock()
    await using a = await startIssuer(clock, key)
    await using b = await startIssuer(clock, key)
    const [forA, forB] = ['https://api.example/a', 'https://api.example/b']
    await using verifier = createVerifier({
      issuers: [
        { issuer: a.url, audience: [API, forA] },
        { issuer: b.url, audience: [API, forB] },
      ],
      clock,
    })
    const ask = async (issuer: TestIssuer, aud: unknown, audience?: string) => {
      const policy = audience === undefined ? {} : { audience }
      const guard = createGuard(verifier, policy)
      const rawHeaders = ['Authorization', `Bearer ${signToken(key, issuer.claims({ aud }))}`]
      const outcomes: string[] = []
      for (let count = 0; count < 2; count += 1) {
        const decision = await guard.decide({ rawHeaders, headers: {} }, undefined)
        outcomes.push(decision.ok ? 'allowed' : decision.reason.kind)
      }
      const [token = ''] = rawHeaders.slice(1).map((value) => value.slice(7))
      const verified = await verifier.verify(token, audience ? { audiences: [audience] } : {})
      outcomes.push(verified.ok ? 'allowed' : verified.reason.kind)
      const { refusal } = await guard.explain(token)
      outcomes.push(refusal?.kind ?? 'allowed')
      expect(new Set(outcomes).size).toBe(1)
      return outcomes[0]
    }
    expect(await ask(a, forA, forA)).toBe('allowed')
    expect(await ask(b, forA, forA)).toBe('wrong_audience')
    expect(await ask(b, [forA, forB], forA)).toBe('wrong_audience')
    expect(await ask(b, [API, forA], forA)).toBe('wrong_audience')
    expect(await ask(b, forB, forB)).toBe('allowed')
    expect(await ask(a, forB)).toBe('wrong_audience')
    expect(await ask(a, API, API)).toBe('allowed')
    expect(await ask(b, API, API)).toBe('allowed')
    expect(await ask(a, API, forA)).toBe('wrong_audience')
  })

  test('is the audience of the verifier where the route has none', async () => {
    await using world = await start()
    expect(await world.api.status(world.token({ aud: 'https://b.example/' }))).toBe(401)
    expect(await world.api.status(world.token({ aud: API }))).toBe(200)
  })
})

test('a handler learns who is asking', async () => {
  await using world = await start()
  const { body } = await world.api.send(world.token({ roles: ['editor'] }))
  expect(body).toMatchObject({
    kind: 'person',
    subject: 'acc_alice',
    clientId: 'web',
    scopes: ['notes:read', 'notes:write'],
    roles: ['editor'],
    claims: { iss: world.issuer.url, aud: API },
  })
})

test('a handler sees ctx.state.auth with its type, in an app and in a router', async () => {
  await using verifier = createVerifier({ issuer: 'https://as.example', audience: API })
  const protect = createProtect(verifier)
  new Koa().use(protect()).use((ctx) => {
    expectTypeOf(ctx.state.auth).toEqualTypeOf<Auth>()
  })
  new Router().get('/', protect(), (ctx) => {
    expectTypeOf(ctx.state.auth).toEqualTypeOf<Auth>()
  })
  new Router<AuthState>().get('/', protect(), (ctx) => {
    expectTypeOf(ctx.state.auth.scopes).not.toHaveProperty('add')
  })
})

describe('protect is not made', () => {
  test.each<[string, Record<string, unknown>, RegExp]>([
    ['with a misspelt option', { scopes: 'a' }, /protect has no option scopes/],
    ['with an empty scope', { scope: '' }, /^scope: /],
    ['with no scope in a list', { scope: [] }, /^scope: /],
    ['with a scope that would break the challenge', { scope: 'a"b' }, /^scope: /],
    ['with a line break in a scope', { scope: 'a\r\nX: y' }, /^scope: /],
    ['with two spaces between scopes', { scope: 'a  b' }, /^scope: /],
    ['with a scope that is no text', { scope: [1] }, /^scope: /],
    ['with no role in a list', { roles: [] }, /^roles: /],
    ['with no audience in a list', { audience: [] }, /^audience: /],
    ['with a scope that is not there', { scope: undefined }, /^scope: /],
    ['with a rule that is not there', { owns: undefined }, /^owns: /],
    ['with a proof that nothing checks', { sender: 'dpop' }, /^sender: .*sender\.dpop/],
    ['with one that nothing checks', { sender: ['certificate', 'dpop'] }, /^sender: /],
    ['with a text in place of a policy', 'notes:read' as never, /^protect: .*string/],
    ['with a list in place of a policy', [] as never, /^protect: .*list/],
    ['with a number in place of a policy', 5 as never, /^protect: .*number/],
    ['with a function in place of a policy', (() => true) as never, /^protect: .*function/],
    [
      'with a context of Koa',
      { req: {}, res: {} },
      /^protect was given a Koa context: write protect/,
    ],
    ['with two roles in one text', { roles: 'admin support' }, /^roles: expected a list/],
    ['with null in place of a policy', null as never, /^protect: .*null/],
  ])('%s', async (_case, policy, message) => {
    await using verifier = createVerifier({ issuer: 'https://as.example', audience: API })
    const protect = createProtect(verifier)
    expect(() => protect(policy as RoutePolicy)).toThrow(TypeError)
    expect(() => protect(policy as RoutePolicy)).toThrow(message)
  })
})
