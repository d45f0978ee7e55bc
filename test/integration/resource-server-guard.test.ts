import { createHash } from 'node:crypto'
import { createServer, type Server } from 'node:http'
import { Socket, type AddressInfo } from 'node:net'
import { bodyParser } from '@koa/bodyparser'
import { Router } from '@koa/router'
import Koa, { type Context } from 'koa'
import { describe, expect, expectTypeOf, test } from 'vitest'
import {
  assertProtected,
  createCounters,
  createDpopVerifier,
  createGuard,
  createProtect,
  createVerifier,
  fromAuthorization,
  fromBodyField,
  fromHeader,
  fromOneOf,
  publicRoute,
  type AccessTokenClaims,
  type Auth,
  type ClaimsSchema,
  type Decision,
  type Protect,
  type ProtectOptions,
  type RoutePolicy,
  type SenderOptions,
  type TokenExtractor,
  type Verifier,
} from '../../resource-server/index.ts'
import { API, createKey, fail, signToken, startIssuer, type TestIssuer } from '../support/issuer.ts'
import { createProofClient, makeProof, type ProofClient } from '../support/proof.ts'
import { createTurnableClock, type TurnableClock } from '../support/turnable-clock.ts'

const key = await createKey('ES256')

interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly body: Readonly<Record<string, unknown>>
}

interface World extends AsyncDisposable {
  readonly clock: TurnableClock
  readonly issuer: TestIssuer
  readonly verifier: Verifier
  readonly url: string
  readonly decisions: readonly Decision[]
  token(change?: Record<string, unknown>): string
  send(token: string, path?: string): Promise<Answer>
  request(init: RequestInit, path?: string): Promise<Answer>
}

type Options = ProtectOptions | ((verifier: Verifier, url: string) => ProtectOptions)

/** An API with one route for everything, behind a policy. */
async function start<Claims = AccessTokenClaims>(
  policy: RoutePolicy<Claims, Context> = {},
  options: Options = {},
): Promise<World> {
  await using cleanUp = new AsyncDisposableStack()
  const clock = createTurnableClock()
  const issuer = cleanUp.use(await startIssuer(clock, key))
  const verifier = cleanUp.use(createVerifier({ issuer: issuer.url, audience: API, clock }))
  const decisions: Decision[] = []
  const app = new Koa()
  const server = createServer((request, response) => void app.callback()(request, response))
  const url = await listen(server)
  cleanUp.defer(() => close(server))
  const chosen = typeof options === 'function' ? options(verifier, url) : options
  const protect = createProtect(verifier, {
    onDecision: (decision) => void decisions.push(decision),
    ...chosen,
  })
  // `Claims` is known to be what the policy's schema makes of them by whoever calls this alone.
  const guardWith = protect as (policy: RoutePolicy<Claims, Context>) => ReturnType<Protect>
  app
    .use(bodyParser({ enableTypes: ['json', 'form'] }))
    .use(guardWith(policy))
    .use((ctx) => {
      ctx.body = { subject: ctx.state.auth.subject, claims: ctx.state.auth.claims }
    })
  const request: World['request'] = async (init, path = '/') => {
    const response = await fetch(url + path, init)
    const body = (await response.json()) as Answer['body']
    return { status: response.status, headers: response.headers, body }
  }
  const running = cleanUp.move()
  return {
    clock,
    issuer,
    verifier,
    url,
    decisions,
    token: (change) => signToken(key, issuer.claims(change)),
    request,
    send: (token, path) => request({ headers: { authorization: `Bearer ${token}` } }, path),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

async function close(server: Server): Promise<void> {
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
}

const challengeOf = ({ headers }: Answer) => headers.get('www-authenticate')

describe('how a person signed in', () => {
  const now = 1_750_000_000

  test.each<[string, RoutePolicy, Record<string, unknown>, number]>([
    ['in the way that is wanted', { acr: 'urn:mfa' }, { acr: 'urn:mfa' }, 200],
    ['in one of the ways', { acr: ['urn:mfa', 'urn:pin'] }, { acr: 'urn:pin' }, 200],
    ['in another way', { acr: 'urn:mfa' }, { acr: 'urn:pwd' }, 401],
    ['in a way that is not said', { acr: 'urn:mfa' }, {}, 401],
    ['in a list of ways', { acr: 'urn:mfa' }, { acr: ['urn:mfa'] }, 401],
    ['lately', { maxAgeSeconds: 300 }, { auth_time: now - 300 }, 200],
    ['within the tolerance', { maxAgeSeconds: 300 }, { auth_time: now - 305 }, 200],
    ['too long ago', { maxAgeSeconds: 300 }, { auth_time: now - 306 }, 401],
    ['in a moment, within the tolerance', { maxAgeSeconds: 300 }, { auth_time: now + 5 }, 200],
    ['at a time to come', { maxAgeSeconds: 300 }, { auth_time: now + 6 }, 401],
    ['at a time in milliseconds', { maxAgeSeconds: 300 }, { auth_time: now * 1000 }, 401],
    ['at a time that is not said', { maxAgeSeconds: 300 }, {}, 401],
    ['at a time that is a text', { maxAgeSeconds: 300 }, { auth_time: String(now) }, 401],
  ])('counts: %s', async (_case, policy, change, status) => {
    await using world = await start(policy)
    expect((await world.send(world.token(change))).status).toBe(status)
  })

  test('is asked for again with all that is wanted', async () => {
    await using world = await start({ acr: ['urn:mfa', 'urn:pin'], maxAgeSeconds: 300 })
    const answer = await world.send(world.token({ acr: 'urn:mfa', auth_time: 1 }))
    expect(answer.body['error']).toBe('insufficient_user_authentication')
    expect(challengeOf(answer)).toBe(
      'Bearer error="insufficient_user_authentication", acr_values="urn:mfa urn:pin", max_age="300"',
    )
  })

  test('counts again as time goes on', async () => {
    await using world = await start({ maxAgeSeconds: 60 })
    const token = world.token({ auth_time: now })
    expect((await world.send(token)).status).toBe(200)
    await world.clock.advance(66_000)
    expect((await world.send(token)).status).toBe(401)
  })
})

describe('the rule of a route', () => {
  test('decides with who is asking and what for', async () => {
    const owns = ({ subject }: Auth, ctx: Context) => ctx.path === `/of/${subject}`
    await using world = await start({ owns })
    expect((await world.send(world.token(), '/of/acc_alice')).status).toBe(200)
    const answer = await world.send(world.token(), '/of/acc_bob')
    expect([answer.status, answer.body['error'], challengeOf(answer)]).toEqual([
      403,
      'access_denied',
      null,
    ])
    expect(world.decisions.at(-1)?.refusal).toEqual({ kind: 'not_owner' })
  })

  test.each<[string, () => unknown, number]>([
    ['a promise of true', async () => true, 200],
    ['a promise of false', async () => false, 403],
    ['nothing', () => undefined, 403],
    ['what is only truthy', () => 'yes', 403],
    ['a promise of what is only truthy', async () => 1, 403],
  ])('lets in for nothing but true: %s', async (_case, owns, status) => {
    await using world = await start({ owns: owns as () => boolean })
    expect((await world.send(world.token())).status).toBe(status)
  })

  test.each<[string, () => boolean | Promise<boolean>]>([
    [
      'throws',
      () => {
        throw new Error('the database is away')
      },
    ],
    [
      'rejects',
      async () => {
        throw new Error('the database is away')
      },
    ],
  ])('lets nobody in when it %s', async (_case, owns) => {
    await using verifier = createVerifier({ issuer: 'http://127.0.0.1:9', audience: API })
    const app = new Koa().on('error', () => {})
    const clock = createTurnableClock()
    await using issuer = await startIssuer(clock, key)
    await using real = createVerifier({ issuer: issuer.url, audience: API, clock })
    expect(verifier.issuers).not.toEqual(real.issuers)
    app.use(createProtect(real)({ owns })).use((ctx) => {
      ctx.body = 'in'
    })
    await using cleanUp = new AsyncDisposableStack()
    const server = createServer((request, response) => void app.callback()(request, response))
    cleanUp.defer(() => close(server))
    const headers = { authorization: `Bearer ${signToken(key, issuer.claims())}` }
    expect((await fetch(await listen(server), { headers })).status).toBe(500)
  })

  test('is not asked where the token is refused', async () => {
    let asked = 0
    const owns = () => (asked += 1) > 0
    await using world = await start({ owns, scope: 'notes:admin' })
    expect((await world.send(world.token())).status).toBe(403)
    expect((await world.send(world.token({ exp: 1 }))).status).toBe(401)
    expect(asked).toBe(0)
  })
})

interface Order {
  readonly tenant: string
  readonly limit: number
}

/** What libraries such as zod give: here by hand. */
function createSchema(isAsync: boolean): ClaimsSchema<Order> {
  const check = (
    value: unknown,
  ): Awaited<ReturnType<ClaimsSchema<Order>['~standard']['validate']>> => {
    const { tenant, limit } = value as Readonly<Record<string, unknown>>
    if (typeof tenant !== 'string')
      return { issues: [{ message: 'Expected text', path: ['tenant'] }] }
    if (typeof limit !== 'number')
      return { issues: [{ message: 'Expected number', path: [{ key: 'limit' }] }] }
    return { value: { tenant, limit } }
  }
  const validate = isAsync ? async (value: unknown) => check(value) : check
  return { '~standard': { version: 1, vendor: 'test', validate } }
}

describe.each([[false], [true]])('a schema of the claims (asynchronous: %s)', (isAsync) => {
  test('makes claims of its own type', async () => {
    await using world = await start({ claims: createSchema(isAsync) })
    const { status, body } = await world.send(world.token({ tenant: 't1', limit: 5 }))
    expect([status, body]).toEqual([
      200,
      { subject: 'acc_alice', claims: { tenant: 't1', limit: 5 } },
    ])
  })

  test('refuses a token that does not fit, and tells the operator why', async () => {
    await using world = await start({ claims: createSchema(isAsync) })
    const answer = await world.send(world.token({ tenant: 't1', limit: '5' }))
    expect([answer.status, challengeOf(answer)]).toEqual([401, 'Bearer error="invalid_token"'])
    expect(JSON.stringify(answer.body)).not.toContain('limit')
    const issues = ['limit: Expected number']
    expect(world.decisions.at(-1)?.refusal).toEqual({ kind: 'wrong_claims', issues })
  })
})

test.each([false, true, {}, 'good'])(
  'a schema that answers %j lets nobody through',
  async (odd) => {
    const validate = () => odd as { readonly value: Order }
    const claims: ClaimsSchema<Order> = { '~standard': { version: 1, vendor: 'test', validate } }
    await using world = await start({ claims })
    expect((await world.send(world.token({ tenant: 't1', limit: 5 }))).status).toBe(401)
    expect(world.decisions.at(-1)?.refusal).toEqual({ kind: 'wrong_claims', issues: [] })
  },
)

test('the claims of a schema have its type, in a handler and in the rule of a route', async () => {
  await using verifier = createVerifier({ issuer: 'https://as.example', audience: API })
  const protect = createProtect(verifier)
  const claims = createSchema(false)
  const policy = {
    claims,
    owns: (auth: Auth<Order>) => auth.claims.limit > 0,
  }
  new Koa().use(protect(policy)).use((ctx) => {
    expectTypeOf(ctx.state.auth).toEqualTypeOf<Auth<Order>>()
    expectTypeOf(ctx.state.auth.claims.tenant).toEqualTypeOf<string>()
  })
  new Router().get('/', protect({ claims }), (ctx) => {
    expectTypeOf(ctx.state.auth.claims).toEqualTypeOf<Order>()
  })
  new Router().get('/', protect({ scope: 'a' }), (ctx) => {
    expectTypeOf(ctx.state.auth.claims).toEqualTypeOf<AccessTokenClaims>()
  })
  protect({
    claims,
    owns(auth) {
      expectTypeOf(auth.claims).toEqualTypeOf<Order>()
      return true
    },
  })
  const guard = createGuard(verifier, { claims })
  expectTypeOf(guard.decide).returns.extract<Promise<unknown>>().not.toBeNever()
})

describe('a token comes from where the API says', () => {
  const json = (body: unknown): RequestInit => ({
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })

  test.each<[string, TokenExtractor, (token: string) => RequestInit]>([
    [
      'a header access_token',
      fromHeader('access_token'),
      (t) => ({ headers: { access_token: t } }),
    ],
    ['a header Token', fromHeader('Token'), (t) => ({ headers: { token: t } })],
    [
      'a header Token, beside what is no token',
      fromHeader('Token'),
      (t) => ({ headers: { token: t, authorization: 'Basic YTpi' } }),
    ],
    ['a member of a JSON body', fromBodyField('token'), (t) => json({ token: t })],
    [
      'a member of a form',
      fromBodyField('token'),
      (t) => ({ method: 'POST', body: new URLSearchParams({ token: t }) }),
    ],
    [
      'the one or the other',
      fromOneOf(fromAuthorization(), fromBodyField('token')),
      (t) => json({ token: t }),
    ],
    [
      'the other or the one',
      fromOneOf(fromAuthorization(), fromBodyField('token')),
      (t) => ({ headers: { authorization: `Bearer ${t}` } }),
    ],
  ])('%s', async (_case, token, make) => {
    await using world = await start({}, { token })
    for (let count = 0; count < 2; count += 1) {
      expect((await world.request(make(world.token()))).status).toBe(200)
    }
    expect((await world.request(make(world.token({ exp: 1 })))).status).toBe(401)
    expect((await world.request({})).status).toBe(401)
  })

  test('and from nowhere else', async () => {
    await using world = await start({}, { token: fromHeader('Token') })
    const good = world.token()
    expect((await world.send(good)).status).toBe(401)
    expect((await world.request({}, `/?Token=${good}&access_token=${good}`)).status).toBe(401)
    expect((await world.request(json({ token: good, Token: good }))).status).toBe(401)
    expect((await world.request({ headers: { token: good } })).status).toBe(200)
    // What stands in Authorization is not mixed up with it, on the same connection.
    expect((await world.request({ headers: { token: `Bearer ${good}` } })).status).toBe(400)
  })

  test.each<[string, (good: string) => unknown, number]>([
    ['a list', (good) => ({ token: [good] }), 400],
    ['a number', () => ({ token: 1 }), 400],
    ['a text with spaces', (good) => ({ token: `Bearer ${good}` }), 400],
    ['an empty text', () => ({ token: '' }), 401],
    ['nothing', () => ({}), 401],
    ['what all objects have', () => ({ __proto__: { token: 'x' } }), 401],
  ])('a body that holds %s holds none', async (_case, make, status) => {
    await using world = await start({}, { token: fromBodyField('token') })
    expect((await world.request(json(make(world.token())))).status).toBe(status)
  })

  test('a request that has one in two places is malformed', async () => {
    await using world = await start(
      {},
      { token: fromOneOf(fromAuthorization(), fromHeader('Token')) },
    )
    const token = world.token()
    const headers = { authorization: `Bearer ${token}`, token }
    const answer = await world.request({ headers })
    expect([answer.status, answer.body['error']]).toEqual([400, 'invalid_request'])
  })

  test.each<[string, TokenExtractor, (token: string) => RequestInit, string]>([
    [
      'in a header, and in Authorization',
      fromHeader('Token'),
      (t) => ({ headers: { token: t, authorization: `Bearer ${t}` } }),
      '/',
    ],
    [
      'in a header, and after DPoP',
      fromHeader('Token'),
      (t) => ({ headers: { token: t, authorization: 'dpop x' } }),
      '/',
    ],
    [
      'in a header, and in the query',
      fromHeader('Token'),
      (t) => ({ headers: { token: t } }),
      '/?a=b&access_token=x',
    ],
    ['twice in a header', fromHeader('Token'), (t) => ({ headers: { token: `${t},${t}` } }), '/'],
    [
      'in the body, and in Authorization',
      fromBodyField('token'),
      (t) => ({
        method: 'POST',
        body: new URLSearchParams({ token: t }),
        headers: { authorization: `Bearer ${t}` },
      }),
      '/',
    ],
    [
      'twice in Authorization',
      fromAuthorization(),
      (t) => ({ headers: { authorization: `Bearer ${t},${t}` } }),
      '/',
    ],
    [
      'twice in Authorization, each after its scheme',
      fromAuthorization(),
      (t) => ({ headers: { authorization: `Bearer ${t}, Bearer ${t}` } }),
      '/',
    ],
  ])('and from there alone: a request that has one %s is malformed', async (...row) => {
    const [, extractor, make, path] = row
    await using world = await start({}, { token: extractor })
    const { status, body } = await world.request(make(world.token()), path)
    expect([status, body['error']]).toEqual([400, 'invalid_request'])
  })

  test.each(['Authorization', 'cookie', 'DPoP', 'a b', '', 'a:'])('but not from "%s"', (name) => {
    expect(() => fromHeader(name)).toThrow(TypeError)
  })

  test('but not from nowhere', () => {
    expect(() => fromOneOf()).toThrow(TypeError)
    expect(() => fromBodyField('')).toThrow(TypeError)
  })
})

describe('a token that is bound to a DPoP key', () => {
  interface Bound {
    readonly world: World
    readonly client: ProofClient
    readonly token: string
    send(proofs: readonly string[], scheme?: string, token?: string): Promise<Answer>
    prove(change?: Record<string, unknown>): string
  }

  async function startBound(policy: RoutePolicy = {}): Promise<Bound & AsyncDisposable> {
    const world = await start(policy, ({ clock }, publicUrl) => ({
      sender: { dpop: createDpopVerifier({ clock }), publicUrl },
    }))
    const client = await createProofClient()
    const token = world.token({ cnf: { jkt: client.thumbprint } })
    const { url } = world
    return {
      world,
      client,
      token,
      prove: (claims = {}) =>
        makeProof(client, { method: 'GET', url: `${url}/`, accessToken: token }, world.clock, {
          claims,
        }),
      send(proofs, scheme = 'DPoP', sent = token) {
        const headers = new Headers({ authorization: `${scheme} ${sent}` })
        for (const proof of proofs) headers.append('dpop', proof)
        return world.request({ headers })
      },
      [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
    }
  }

  test('is accepted with a proof, each time with another', async () => {
    await using bound = await startBound()
    const proof = bound.prove()
    expect((await bound.send([proof])).status).toBe(200)
    expect((await bound.send([proof])).status).toBe(401)
    expect((await bound.send([bound.prove()])).status).toBe(200)
    const outcomes = bound.world.decisions.map(({ refusal, source }) => [refusal?.kind, source])
    expect(outcomes).toEqual([
      [undefined, 'verified'],
      ['invalid_dpop_proof', expect.any(String)],
      [undefined, expect.any(String)],
    ])
  })

  test('is refused without one, after another scheme, or with two', async () => {
    await using bound = await startBound()
    const attempts = [
      await bound.send([]),
      await bound.send([bound.prove()], 'Bearer'),
      await bound.send([bound.prove(), bound.prove()]),
      await bound.send([bound.prove({ htm: 'POST' })]),
      await bound.send([bound.prove({ htu: 'https://evil.example/' })]),
    ]
    expect(attempts.map(({ status }) => status)).toEqual([401, 401, 401, 401, 401])
    for (const attempt of attempts)
      expect(challengeOf(attempt)).toMatch(/error="invalid_(token|dpop_proof)"/)
  })

  test('is not what an unbound token can pass for', async () => {
    await using bound = await startBound()
    const unbound = bound.world.token()
    expect((await bound.send([bound.prove()], 'DPoP', unbound)).status).toBe(401)
    expect((await bound.send([], 'Bearer', unbound)).status).toBe(200)
  })

  test('is what a route may insist on', async () => {
    await using bound = await startBound({ sender: 'dpop' })
    expect((await bound.send([bound.prove()])).status).toBe(200)
    const answer = await bound.send([], 'Bearer', bound.world.token())
    expect(answer.status).toBe(401)
    expect(challengeOf(answer)).toMatch(/^DPoP error="invalid_token", algs="[\w ]*ES256[\w ]*"$/)
  })

  test.each<[string, (jkt: string) => unknown]>([
    ['a binding that is not known', (jkt) => ({ jkt, 'x5t#S512': 'x' })],
    ['a certificate as well', (jkt) => ({ jkt, 'x5t#S256': 'x' })],
    ['a binding in a list', (jkt) => [jkt]],
    ['a thumbprint that is a number', () => ({ jkt: 1 })],
    ['nothing in it', () => ({})],
    ['null', () => null],
  ])('is refused with %s in cnf, whatever is proven', async (_case, makeCnf) => {
    await using bound = await startBound()
    const token = bound.world.token({ cnf: makeCnf(bound.client.thumbprint) })
    const ath = createHash('sha256').update(token).digest('base64url')
    expect((await bound.send([bound.prove({ ath })], 'DPoP', token)).status).toBe(401)
    expect(bound.world.decisions.at(-1)?.refusal).toEqual({ kind: 'sender_constrained' })
  })

  test('needs to know where clients reach the API', async () => {
    await using verifier = createVerifier({ issuer: 'https://as.example', audience: API })
    const make = (sender: SenderOptions) => () => createProtect(verifier, { sender })
    expect(make({ dpop: createDpopVerifier() })).toThrow(
      /^sender\.publicUrl: is needed with sender\.dpop: /,
    )
    expect(make({ certificateHeader: { name: 'x', format: 'rfc9440' } })).toThrow(
      /trustedProxies: /,
    )
    expect(make({ proxies: [] } as SenderOptions)).toThrow(/no option proxies/)
  })

  test.each<[string, Record<string, unknown>, RegExp]>([
    ['an empty header', { certificateHeader: {} }, /^sender\.certificateHeader\.name: /],
    ['a name alone', { certificateHeader: { name: 'x' } }, /^sender\.certificateHeader\.format: /],
    ['a text', { certificateHeader: 'Client-Cert' }, /^sender\.certificateHeader: .*string/],
    ['null', { certificateHeader: null }, /^sender\.certificateHeader: .*null/],
    [
      'an unknown format',
      { certificateHeader: { name: 'Client-Cert', format: 'RFC9440' } },
      /^sender\.certificateHeader\.format: expected rfc9440 or escaped-pem, not "RFC9440"/,
    ],
    [
      'a name that is none',
      { certificateHeader: { name: 'Client Cert', format: 'rfc9440' } },
      /^sender\.certificateHeader\.name: /,
    ],
    [
      'the header of tokens',
      { certificateHeader: { name: 'Authorization', format: 'rfc9440' } },
      /^sender\.certificateHeader\.name: /,
    ],
    [
      'more than that',
      { certificateHeader: { name: 'x', format: 'rfc9440', trust: true } },
      /certificateHeader has no option trust/,
    ],
    ['one proxy that is no list', { trustedProxies: '10.0.0.0/8' }, /^trustedProxies: /],
    ['a verifier that was not made', { dpop: createDpopVerifier }, /^sender\.dpop: /],
    ['true for a verifier', { dpop: true }, /^sender\.dpop: /],
    ['null for a verifier', { dpop: null }, /^sender\.dpop: /],
  ])('is not proven with %s', async (_case, sender, message) => {
    await using verifier = createVerifier({ issuer: 'https://as.example', audience: API })
    const all = { publicUrl: 'https://api.example', trustedProxies: ['10.0.0.0/8'], ...sender }
    const make = () => createProtect(verifier, { sender: all })
    expect(make).toThrow(TypeError)
    expect(make).toThrow(message)
  })
})

describe('what was decided', () => {
  test('is told with every check in order, and never with the token', async () => {
    await using world = await start({ scope: 'notes:read', roles: 'editor', acr: '1' })
    const token = world.token({ roles: ['reader'] })
    await world.send(token)
    const [decision] = world.decisions
    expect(decision).toMatchObject({
      outcome: 'refused',
      refusal: { kind: 'insufficient_role', oneOf: ['editor'] },
      source: 'verified',
      issuer: world.issuer.url,
      subject: 'acc_alice',
      clientId: 'web',
    })
    expect(decision?.checks.map(({ check, passed }) => [check, passed])).toEqual([
      ['token', true],
      ['form', true],
      ['type', true],
      ['key', true],
      ['signature', true],
      ['payload', true],
      ['claims', true],
      ['issuer', true],
      ['times', true],
      ['audience', true],
      ['scope', true],
      ['roles', false],
    ])
    expect(decision?.checks.at(-1)).toEqual({
      check: 'roles',
      passed: false,
      expected: ['editor'],
      received: ['reader'],
    })
    expect(JSON.stringify(world.decisions)).not.toContain(token.slice(-40))
  })

  test('of a kept token is told with what was checked again', async () => {
    await using world = await start({ scope: 'notes:read' })
    const token = world.token()
    await world.send(token)
    await world.send(token)
    const checks = world.decisions[1]?.checks.map(({ check }) => check)
    expect(checks).toEqual(['token', 'kept', 'times', 'audience', 'scope'])
  })

  test('holds no claim that nobody has signed', async () => {
    await using world = await start()
    const token = world.token({ sub: 'somebody-secret' })
    await world.send(`${token.slice(0, -10)}AAAAAAAAAA`)
    const [decision] = world.decisions
    expect(decision?.checks.at(-1)).toMatchObject({ check: 'signature', passed: false })
    expect(JSON.stringify(decision)).not.toContain('somebody-secret')
    expect([decision?.subject, decision?.issuer]).toEqual([undefined, undefined])
  })

  test.each<[string, (world: World) => string, string]>([
    ['a good token', (w) => w.token(), 'allowed'],
    ['an expired one', (w) => w.token({ exp: 1 }), 'expired'],
    ['one for another API', (w) => w.token({ aud: 'x' }), 'wrong_audience'],
    ['one without the scope', (w) => w.token({ scope: 'x' }), 'insufficient_scope'],
    ['one that is bound', (w) => w.token({ cnf: { jkt: 'x' } }), 'sender_constrained'],
    ['no token', () => 'x', 'malformed'],
  ])('is the same for a token without a request: %s', async (_case, make, kind) => {
    await using world = await start({ scope: 'notes:read' })
    const guard = createGuard(world.verifier, { scope: 'notes:read' })
    const token = make(world)
    const explained = await guard.explain(token)
    expect(explained.refusal?.kind ?? explained.outcome).toBe(kind)
    await world.send(token)
    const [decided] = world.decisions
    expect(explained.refusal).toEqual(decided?.refusal)
    // The request has one check more: that there is a token in it.
    expect(decided?.checks.slice(1)).toEqual(explained.checks)
    expect(world.verifier.state).toMatchObject([
      { keptTokens: kind === 'malformed' || kind === 'expired' ? 0 : 1 },
    ])
  })

  test('about a token that is asked about alone is kept nowhere', async () => {
    await using world = await start()
    await world.verifier.explain(world.token())
    expect(world.verifier.state).toMatchObject([{ keptTokens: 0 }])
  })
})

describe('why a request was refused', () => {
  const DEVELOPMENT = { exposeReasons: true, environment: 'development' }

  test('is said in development', async () => {
    await using world = await start({}, DEVELOPMENT)
    const answer = await world.send(world.token({ aud: 'https://b.example/' }))
    const why = `wrong_audience: expected ["${API}"], actual ["https://b.example/"]`
    expect(answer.body).toEqual({ error: 'invalid_token', error_description: why })
    expect(challengeOf(answer)).toContain(`error_description="${why.replaceAll('"', "'")}"`)
  })

  test('cannot break out of its header, whatever a token says', async () => {
    await using world = await start({}, DEVELOPMENT)
    const nasty = 'a", scope="admin\r\nX-Evil: 1\u00e9'
    const answer = await world.send(world.token({ aud: nasty }))
    expect(answer.headers.get('x-evil')).toBeNull()
    expect(challengeOf(answer)).toMatch(
      /^Bearer error="invalid_token", error_description="[^"\\]*"$/,
    )
  })

  test('is not said otherwise', async () => {
    await using world = await start()
    const answer = await world.send(world.token({ aud: 'https://b.example/' }))
    expect(JSON.stringify(answer.body)).not.toContain('b.example')
  })

  test.each([
    'production',
    'Production',
    'PRODUCTION',
    'prod',
    'live',
    'staging',
    ' development',
    'Development',
    'dev',
    '',
    undefined,
    ['development'],
  ])('is never said where the environment is %j', async (environment) => {
    await using verifier = createVerifier({ issuer: 'https://as.example', audience: API })
    const options = { exposeReasons: true, environment: environment as string }
    expect(() => createProtect(verifier, options)).toThrow(TypeError)
    expect(() => createProtect(verifier, options)).toThrow(/^exposeReasons: /)
  })

  test('is said only by who was told so when it was made', async () => {
    const options = { exposeReasons: false, environment: 'production' }
    await using world = await start({}, options)
    options.exposeReasons = true
    const answer = await world.send(world.token({ aud: 'https://b.example/' }))
    expect(JSON.stringify(answer.body)).not.toContain('b.example')
  })
})

test('counters tell Prometheus what was decided, how, and in what time', async () => {
  let text = () => ''
  await using world = await start({ scope: 'notes:read' }, (verifier) => {
    const counters = createCounters(verifier)
    text = counters.text
    return { counters }
  })
  const token = world.token()
  for (const each of [token, token, token, world.token({ scope: 'x' }), world.token({ exp: 1 })]) {
    await world.send(each)
  }
  await world.request({})
  world.issuer.answers.set('*', fail(500))
  await world.clock.advance(5 * 60_000)
  const lines = text().split('\n')
  const value = (name: string) =>
    lines
      .find((line) => line.startsWith(`portreeve_resource_server_${name} `))
      ?.split(' ')
      .at(-1)
  expect(value('decisions_total{outcome="allowed"}')).toBe('3')
  expect(value('decisions_total{outcome="insufficient_scope"}')).toBe('1')
  expect(value('decisions_total{outcome="expired"}')).toBe('1')
  expect(value('decisions_total{outcome="no_token"}')).toBe('1')
  expect(value('verified_total{source="verified"}')).toBe('2')
  expect(value('decision_seconds_count')).toBe('6')
  expect(value('decision_seconds_bucket{le="+Inf"}')).toBe('6')
  const labels = `{issuer="${world.issuer.url}"}`
  expect(value(`kept_tokens${labels}`)).toBe('2')
  expect(value(`keys${labels}`)).toBe('1')
  expect(value(`keys_age_seconds${labels}`)).toBe('300')
  expect(value(`key_fetches_total${labels}`)).toBe('2')
  expect(value(`key_fetch_failures_total${labels}`)).toBe('1')
  expect(text()).not.toContain(token.slice(-20))
  // As a parser reads it: each line a comment or a sample, the last one ended, no name in two places.
  expect(lines.at(-1)).toBe('')
  const sample = /^[a-z_]+(\{[a-z]+="[^"]*"\})? (\d+(\.\d+)?(e-\d+)?)$/
  for (const line of lines.slice(0, -1))
    expect(line).toMatch(line.startsWith('#') ? /^# (HELP|TYPE) / : sample)
  const types = lines.filter((line) => line.startsWith('# TYPE')).map((line) => line.split(' ')[2])
  expect(new Set(types).size).toBe(types.length)
})

describe('a router', () => {
  const answer = (ctx: Context) => {
    ctx.body = 'ok'
  }

  async function makeProtect() {
    const verifier = createVerifier({ issuer: 'https://as.example', audience: API })
    await verifier[Symbol.asyncDispose]()
    return createProtect(verifier)
  }

  test('with what answers in front of the policy does not start', async () => {
    const protect = await makeProtect()
    const router = new Router()
      .get('/early', answer, protect(), answer)
      .get('/earlier', (_ctx, next) => next(), answer, protect(), answer)
      .get('/right', (_ctx, next) => next(), protect(), answer)
      .get('/public', answer, publicRoute(), answer)
    expect(() => assertProtected(router)).toThrow(TypeError)
    expect(() => assertProtected(router)).toThrow(/\/early; .*\/earlier\./)
    expect(() => assertProtected(router)).not.toThrow(/\/right|\/public/)
  })

  test.each([
    ['an app', { middleware: [] }],
    ['nothing', undefined],
  ])('is not %s', (_case, router) => {
    const message = /^assertProtected: expected a router of @koa\/router, not an app$/
    expect(() => assertProtected(router as never)).toThrow(TypeError)
    expect(() => assertProtected(router as never)).toThrow(message)
  })

  test('with what answers for all its routes, in front of them, does not', async () => {
    const protect = await makeProtect()
    const router = new Router().use('/in', answer).get('/in/x', protect(), answer)
    expect(() => assertProtected(router)).toThrow(/^no policy: use \/in\./)
    const inner = new Router().use(answer).get('/y', protect(), answer)
    const outer = new Router().use('/deep', inner.routes())
    expect(() => assertProtected(outer)).toThrow(/^no policy: use /)
    const wary = new Router().use(protect()).use(publicRoute(), (_ctx, next) => next())
    expect(() => assertProtected(wary.get('/x', protect(), answer))).not.toThrow()
  })

  test('with a look-up of parameters, which comes before every policy, does not', async () => {
    const protect = await makeProtect()
    const findNote = (_id: string, _ctx: unknown, next: () => Promise<unknown>) => next()
    const router = new Router().param('id', findNote).get('/notes/:id', protect(), answer)
    expect(() => assertProtected(router)).toThrow(/^no policy: HEAD,GET \/notes\/:id\./)
    const late = new Router().get('/notes/:id', protect(), answer).param('id', findNote)
    expect(() => assertProtected(late)).toThrow(/^no policy: /)
    const inner = new Router().get('/deep/:id', protect(), answer)
    const nested = new Router().param('id', findNote).use(inner.routes())
    expect(() => assertProtected(nested)).toThrow(/^no policy: /)
    const open = new Router().param('id', findNote).get('/notes/:id', publicRoute(), answer)
    expect(() => assertProtected(open)).not.toThrow()
    const other = new Router().param('id', findNote).get('/notes', protect(), answer)
    expect(() => assertProtected(other)).not.toThrow()
  })

  test('within a route needs a policy in front of it', async () => {
    const protect = await makeProtect()
    const inner = new Router().get('/x', answer)
    expect(() => assertProtected(new Router().all('/a', inner.routes()))).toThrow(/\/a\./)
    expect(() => assertProtected(new Router().all('/a', protect(), inner.routes()))).not.toThrow()
  })

  test('that redirects says that everybody may follow', async () => {
    const protect = await makeProtect()
    const router = new Router().redirect('/old', '/new').get('/new', protect(), answer)
    expect(() => assertProtected(router)).toThrow(/\/old\./)
  })

  test('with a policy in front of each route starts', async () => {
    await using verifier = createVerifier({ issuer: 'https://as.example', audience: API })
    const protect = createProtect(verifier)
    const inner = new Router().get('/deep', protect(), answer)
    const router = new Router({ prefix: '/v1' })
      .use((_ctx, next) => next())
      .get('/healthz', publicRoute(), answer)
      .get('/notes', protect({ scope: 'notes:read' }), answer)
      .post('/notes', (_ctx, next) => next(), protect(), answer)
      .use(inner.routes())
    expect(() => assertProtected(router)).not.toThrow()
  })

  test('with a route that has none does not, and says which', async () => {
    await using verifier = createVerifier({ issuer: 'https://as.example', audience: API })
    const protect = createProtect(verifier)
    const inner = new Router().delete('/deep', answer)
    const router = new Router({ prefix: '/v1' })
      .get('/notes', protect(), answer)
      .post('/notes', answer)
      .all(/^\/any/, answer)
      .use('/inner', inner.routes())
    expect(() => assertProtected(router)).toThrow(TypeError)
    expect(() => assertProtected(router)).toThrow(
      /POST \/v1\/notes; .*any.*; DELETE \/v1\/inner\/deep/,
    )
    expect(() => assertProtected(router)).not.toThrow(/GET \/v1\/notes/)
  })

  test('with the policy behind the handler does not', async () => {
    await using verifier = createVerifier({ issuer: 'https://as.example', audience: API })
    const router = new Router().get('/late', answer, createProtect(verifier)())
    expect(() => assertProtected(router)).toThrow(/GET \/late|HEAD,GET \/late/)
  })
})

describe('a guard is not made', () => {
  test.each<[string, Record<string, unknown>, RegExp]>([
    ['with an acr that would break the challenge', { acr: 'a"b' }, /^acr: /],
    ['with a negative age', { maxAgeSeconds: -1 }, /^maxAgeSeconds: /],
    ['with an age that is a text', { maxAgeSeconds: '60' }, /^maxAgeSeconds: /],
    ['with an unknown binding', { sender: 'tls' }, /^sender: /],
    ['with a schema that is none', { claims: {} }, /^claims: /],
    ['with a schema of another version', { claims: { '~standard': { version: 2 } } }, /^claims: /],
    ['with a rule that is no function', { owns: true }, /^owns: /],
  ])('%s', async (_case, policy, message) => {
    await using verifier = createVerifier({ issuer: 'https://as.example', audience: API })
    expect(() => createGuard(verifier, policy)).toThrow(TypeError)
    expect(() => createGuard(verifier, policy)).toThrow(message)
  })

  test.each<[string, Record<string, unknown>, RegExp]>([
    ['a place for tokens that is none', { token: 'access_token' }, /^token: /],
    ['a place that was not made', { token: fromAuthorization }, /^token: /],
    ['a log that is none', { onDecision: true }, /^onDecision: /],
    ['counters that are none', { counters: {} }, /^counters: /],
    ['metadata that are no URL', { resourceMetadata: {} }, /^resourceMetadata: /],
    ['a text that says whether', { exposeReasons: 'false' }, /^exposeReasons: /],
    ['a list of refusals', { onRefusal: [] }, /^onRefusal: /],
  ])('with %s', async (_case, options, message) => {
    await using verifier = createVerifier({ issuer: 'https://as.example', audience: API })
    expect(() => createProtect(verifier, options)).toThrow(TypeError)
    expect(() => createProtect(verifier, options)).toThrow(message)
  })

  test.each([undefined, null, {}, 'https://as.example', createVerifier])(
    'without a verifier: %j',
    (verifier) => {
      expect(() => createGuard(verifier as never)).toThrow(TypeError)
      expect(() => createGuard(verifier as never)).toThrow(/^verifier: /)
    },
  )
})

describe('what is no request, or no token, is refused and crashes nothing', () => {
  const NO_TOKENS: readonly unknown[] = [undefined, null, 5, {}, ['a.b.c'], Symbol('x'), new Map()]

  test.each<[string, (good: string) => unknown]>([
    ['nothing', () => undefined],
    ['null', () => null],
    ['a text', () => 'GET / HTTP/1.1'],
    ['no headers', () => ({})],
    ['no raw headers', () => ({ headers: {} })],
    ['headers of a browser', () => ({ rawHeaders: new Headers(), headers: new Headers() })],
    ['no headers beside raw ones', (good) => ({ rawHeaders: ['Authorization', good] })],
    ['null for headers', (good) => ({ rawHeaders: ['Authorization', good], headers: null })],
    [
      'a URL that is an object',
      (good) => ({
        rawHeaders: ['Authorization', good],
        headers: {},
        url: new URL('https://api.example/'),
      }),
    ],
  ])('%s in place of a request', async (_case, make) => {
    await using world = await start()
    const guard = createGuard(world.verifier)
    const decision = await guard.decide(make(`Bearer ${world.token()}`) as never, undefined)
    const expected = { ok: false, reason: { kind: 'malformed_request' }, answer: { status: 400 } }
    expect(decision).toMatchObject(expected)
  })

  test.each([undefined, null, 'socket', 7])(
    'but %j in place of a connection is none',
    async (socket) => {
      await using world = await start()
      const trustedProxies = ['0.0.0.0/0', '::/0']
      const certificateHeader = { name: 'Client-Cert', format: 'rfc9440' } as const
      const dpop = createDpopVerifier({ clock: world.clock })
      const publicUrl = ['https://api.example', 'https://b.example']
      const sender = { dpop, publicUrl, trustedProxies, certificateHeader }
      const guard = createGuard(world.verifier, {}, { sender })
      const ask = async (header: string, ...more: string[]) => {
        const rawHeaders = ['Authorization', header, ...more]
        const decision = await guard.decide({ rawHeaders, headers: {}, socket } as never, undefined)
        return decision.ok ? 'allowed' : decision.reason.kind
      }
      const good = `Bearer ${world.token()}`
      expect([await ask(good), await ask(good)]).toEqual(['allowed', 'allowed'])
      const bound = `Bearer ${world.token({ cnf: { 'x5t#S256': 'x' } })}`
      expect(await ask(bound)).toBe('sender_constrained')
      const client = await createProofClient()
      const token = world.token({ cnf: { jkt: client.thumbprint } })
      const asked = { method: '', url: 'https://api.example/', accessToken: token }
      const proof = makeProof(client, asked, world.clock)
      expect(await ask(`DPoP ${token}`, 'DPoP', proof)).toBe('allowed')
    },
  )

  test('and what is no token is none', async () => {
    await using world = await start()
    const guard = createGuard(world.verifier)
    for (const token of NO_TOKENS as string[]) {
      const expected = { kind: 'malformed', part: 'token', why: 'it is no text' }
      expect(await world.verifier.verify(token)).toEqual({ ok: false, reason: expected })
      expect((await world.verifier.explain(token)).refusal).toEqual(expected)
      expect(await world.verifier.authenticate(token)).toEqual({ ok: false, reason: expected })
      expect((await guard.explain(token)).refusal).toEqual(expected)
      const found = { place: 'x', read: () => ({ ok: true, value: { token, scheme: 'Bearer' } }) }
      const odd = createGuard(world.verifier, {}, { token: found as TokenExtractor })
      const decision = await odd.decide({ rawHeaders: [], headers: {} }, undefined)
      expect(decision).toMatchObject({ ok: false })
    }
  })
})

test('a guard needs nothing of a framework: facts in, an answer out', async () => {
  await using world = await start()
  const guard = createGuard(world.verifier, { scope: 'notes:admin' })
  const rawHeaders = ['AUTHORIZATION', `bearer ${world.token()}`]
  const decision = await guard.decide({ rawHeaders, headers: {}, socket: new Socket() }, undefined)
  expect(decision).toMatchObject({
    ok: false,
    reason: { kind: 'insufficient_scope' },
    answer: { status: 403, body: { error: 'insufficient_scope' } },
  })
})
