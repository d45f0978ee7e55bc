import { text } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import {
  createCounters,
  createGuard,
  createIntrospectionVerifier,
  createSharedSecretVerifier,
  createVerifier,
  young,
  type Decision,
  type RoutePolicy,
} from '../../resource-server/index.ts'
import { API, OIDC_PATH, sendJson } from '../support/issuer.ts'
import { CREDENTIALS } from '../support/feed-issuer.ts'
import { startFeedWorld, type FeedWorld } from '../support/feed-world.ts'
import { startApi } from '../support/protected-api.ts'

const SECOND = 1000

/** A world whose issuer says nothing. */
async function startStale(): Promise<FeedWorld> {
  const world = await startFeedWorld({}, (issuer) => void (issuer.isMute = true), false)
  await world.issuer.nextStream()
  return world
}

function protect(world: FeedWorld, policy: RoutePolicy = {}, options = {}) {
  const { clock, feed: revocations, issuer } = world
  return startApi({ issuer: issuer.url, clock, revocations, ...options }, policy)
}

/** Lets the issuer answer about tokens; those of `sid` s1 are not active there. */
function answerQuestions({ issuer, clock }: FeedWorld) {
  issuer.published.metadata['introspection_endpoint'] = `${issuer.url}/introspect`
  let questions = 0
  issuer.answers.set('/introspect', async (request, response) => {
    questions += 1
    const token = new URLSearchParams(await text(request)).get('token') ?? ''
    const payload = Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()
    const claims = JSON.parse(payload) as Record<string, unknown>
    const active = claims['sid'] !== 's1'
    sendJson(response, active ? { active, token_type: 'Bearer', ...claims } : { active })
  })
  const how = { issuer: issuer.url, audience: API, ...CREDENTIALS, clock, cache: false } as const
  return { make: () => createIntrospectionVerifier(how), questions: () => questions }
}

describe('while it is not known what is revoked', () => {
  test('young(60), which is the default, takes tokens of the last minute, and 401 leads to one', async () => {
    await using world = await startStale()
    await using api = await protect(world)
    const token = world.token()
    await world.clock.advance(60 * SECOND)
    expect(await api.status(token)).toBe(200)
    await world.clock.advance(SECOND)
    const refused = await api.send(token)
    expect(refused.status).toBe(401)
    expect(refused.headers.get('www-authenticate')).toBe('Bearer error="invalid_token"')
    expect(api.refusals).toMatchObject([{ kind: 'not_young', maxAgeSeconds: 60 }])
    expect(await api.status(world.token())).toBe(200)
    expect(await api.status(token)).toBe(401)
  })

  test('young(seconds) does so by another age', async () => {
    await using world = await startStale()
    await using api = await protect(world, { whenStale: young(5) })
    const token = world.token()
    await world.clock.advance(5 * SECOND)
    expect(await api.status(token)).toBe(200)
    await world.clock.advance(SECOND)
    expect(await api.status(token)).toBe(401)
  })

  test('young is no bound for who has a key, so nobody is young by keys that are old', async () => {
    await using world = await startStale()
    await using api = await protect(world)
    await using open = await protect(world, { whenStale: 'open' })
    expect([await api.status(world.token()), await open.status(world.token())]).toEqual([200, 200])
    for (let minutes = 0; minutes < 12; minutes += 1) await world.clock.advance(60 * SECOND)
    expect(await api.status(world.token())).toBe(200)
    // Cut off: the key may have been withdrawn, and whoever has it makes tokens of now.
    for (const path of ['/keys', OIDC_PATH]) {
      world.issuer.answers.set(path, (_request, response) => void response.destroy())
    }
    for (let minutes = 0; minutes < 11; minutes += 1) await world.clock.advance(60 * SECOND)
    expect(await api.status(world.token())).toBe(503)
    expect(api.refusals).toMatchObject([{ kind: 'revocations_unavailable' }])
    expect(await open.status(world.token())).toBe(200)
  })

  test('closed is 503 for everybody, with a time to come back', async () => {
    await using world = await startStale()
    await using api = await protect(world, { whenStale: 'closed' })
    const { status, headers, body } = await api.send(world.token())
    expect([status, headers.get('retry-after')]).toEqual([503, '5'])
    expect(body['error']).toBe('temporarily_unavailable')
  })

  test('open takes every token that is good otherwise', async () => {
    await using world = await startStale()
    await using api = await protect(world, { whenStale: 'open' })
    const token = world.token()
    await world.clock.advance(300 * SECOND)
    expect(await api.status(token)).toBe(200)
    expect(await api.status(world.token({ exp: 1 }))).toBe(401)
  })

  test('open refuses what was known to be revoked', async () => {
    await using world = await startFeedWorld()
    await using api = await protect(world, { whenStale: 'open' })
    await world.learns(() => world.issuer.revoke('session', 's1'))
    await world.clock.advance(60 * SECOND)
    expect(world.feed.state.isFresh).toBe(false)
    expect(await api.status(world.token({ sid: 's1' }))).toBe(401)
    expect(await api.status(world.token({ sid: 's2' }))).toBe(200)
  })

  test('introspect takes what the issuer says is good, of those who could come in anyway', async () => {
    await using world = await startStale()
    const { make, questions } = answerQuestions(world)
    await using introspection = make()
    const policy = { whenStale: 'introspect', scope: 'notes:read' } as const
    await using api = await protect(world, policy, { introspection })
    const scope = 'notes:read'
    expect(await api.status(world.token({ scope, sid: 's2' }))).toBe(200)
    expect(await api.status(world.token({ scope, sid: 's1' }))).toBe(401)
    expect(api.refusals.map(({ kind }) => kind)).toEqual(['inactive'])
    expect(questions()).toBe(2)
    expect(await api.status(world.token())).toBe(403)
    expect(await api.status(`${world.token({ scope })}x`)).toBe(401)
    expect(questions()).toBe(2)
    world.issuer.answers.set('/introspect', (_request, response) => void response.destroy())
    expect(await api.status(world.token({ scope, sid: 's2' }))).toBe(503)
  })

  test('nothing of this is done once it is known again', async () => {
    await using world = await startFeedWorld()
    const { make, questions } = answerQuestions(world)
    await using introspection = make()
    await using api = await protect(world, { whenStale: 'introspect' }, { introspection })
    await using closed = await protect(world, { whenStale: 'closed' })
    expect([await api.status(world.token()), await closed.status(world.token())]).toEqual([
      200, 200,
    ])
    expect(questions()).toBe(0)
  })
})

describe('a token by itself', () => {
  test('is judged by young(60) as well, or by what is said', async () => {
    await using world = await startStale()
    const token = world.token()
    const judge = (whenStale?: 'open' | 'closed') => world.judge(token, whenStale && { whenStale })
    const byDefault = async () => {
      const result = await world.verifier.verify(token)
      return result.ok ? 'allowed' : result.reason.kind
    }
    expect(await byDefault()).toBe('allowed')
    await world.clock.advance(61 * SECOND)
    expect(await byDefault()).toBe('not_young')
    expect(await judge('open')).toBe('allowed')
    expect(await judge('closed')).toBe('revocations_unavailable')
    const { refusal, checks } = await world.verifier.explain(token)
    expect(refusal).toMatchObject({ kind: 'not_young' })
    expect(checks.at(-1)).toMatchObject({ check: 'freshness', passed: false })
    const nonsense = { whenStale: 'sometimes' as 'open' }
    await expect(world.verifier.verify(token, nonsense)).rejects.toThrow(/^whenStale: /)
  })

  test('that does not say when it was issued is not young', async () => {
    await using world = await startStale()
    const secret = 'x'.repeat(32)
    const { SignJWT } = await import('jose')
    const options = { issuer: world.issuer.url, algorithm: 'HS256', secret, audience: API } as const
    await using verifier = createSharedSecretVerifier({
      ...options,
      clock: world.clock,
      revocations: world.feed,
    })
    const claims = { iss: world.issuer.url, aud: API, sub: 'alice', exp: 1_750_000_600 }
    const sign = (change: object) =>
      new SignJWT({ ...claims, ...change })
        .setProtectedHeader({ alg: 'HS256' })
        .sign(Buffer.from(secret))
    expect(await verifier.verify(await sign({ iat: 1_750_000_000 }))).toMatchObject({ ok: true })
    expect(await verifier.verify(await sign({}))).toMatchObject({ reason: { kind: 'not_young' } })
  })
})

test('opaque tokens that are kept are asked about again while the feed is stale', async () => {
  await using world = await startFeedWorld()
  answerQuestions(world)
  await using verifier = createIntrospectionVerifier({
    issuer: world.issuer.url,
    audience: API,
    ...CREDENTIALS,
    clock: world.clock,
    revocations: world.feed,
  })
  const asked = () => world.issuer.asked.filter((path) => path === '/introspect').length
  const token = world.token({ scope: '' })
  for (let count = 0; count < 3; count += 1) {
    expect(await verifier.verify(token)).toMatchObject({ ok: true })
  }
  expect(asked()).toBe(1)
  await world.clock.advance(16 * SECOND)
  for (let count = 0; count < 3; count += 1) {
    expect(await verifier.verify(token)).toMatchObject({ ok: true })
  }
  expect(asked()).toBe(4)
})

describe('operators', () => {
  test('are told that the view was stale, and what was done, in decisions and in numbers', async () => {
    await using world = await startStale()
    const counters = createCounters(world.verifier)
    const decisions: Decision[] = []
    const onDecision = (decision: Decision) => void decisions.push(decision)
    const guard = createGuard(world.verifier, { whenStale: 'closed' }, { counters, onDecision })
    const open = createGuard(world.verifier, { whenStale: 'open' }, { counters, onDecision })
    const headers = { authorization: `Bearer ${world.token()}` }
    const facts = { headers, rawHeaders: ['Authorization', headers.authorization] }
    await guard.decide(facts, undefined)
    await open.decide(facts, undefined)
    expect(decisions.map(({ outcome, staleRule }) => [outcome, staleRule])).toEqual([
      ['refused', 'closed'],
      ['allowed', 'open'],
    ])
    expect(decisions[0]?.checks.at(-1)).toMatchObject({ check: 'freshness', expected: 'closed' })
    expect(await guard.explain(world.token())).toMatchObject({ staleRule: 'closed' })
    const prefix = 'portreeve_resource_server'
    const labels = 'rule="closed",outcome="revocations_unavailable"'
    expect(counters.text()).toContain(`${prefix}_stale_decisions_total{${labels}} 1\n`)
    expect(counters.text()).toContain(
      `${prefix}_revocations_fresh{issuer="${world.issuer.url}"} 0\n`,
    )
    world.issuer.beat()
    await world.issuer.nextRequest('/revocations/pages')
    await world.feed.whenFresh()
    await guard.decide(facts, undefined)
    expect(decisions.at(-1)).toMatchObject({ outcome: 'allowed', staleRule: undefined })
    expect(counters.text()).toContain(
      `${prefix}_revocations_fresh{issuer="${world.issuer.url}"} 1\n`,
    )
    expect(world.verifier.state[0]?.revocations).toMatchObject({ isFresh: true, entries: 0 })
  })
})

describe('policies for a stale view', () => {
  const options = { issuer: 'https://as.example', audience: API }

  test.each([0, 3601, Number.NaN, '60'])('young(%j) is none', (seconds) => {
    expect(() => young(seconds as number)).toThrow(/^young: /)
  })

  test.each(['sometimes', null, 60, {}, { rule: 'young' }, { rule: 'young', seconds: 0 }])(
    'whenStale: %j is none',
    async (whenStale) => {
      await using world = await startStale()
      expect(() => createGuard(world.verifier, { whenStale } as RoutePolicy)).toThrow(TypeError)
    },
  )

  test('need a verifier that follows, and introspection where they ask', async () => {
    await using plain = createVerifier(options)
    expect(() => createGuard(plain, { whenStale: 'closed' })).toThrow(/^whenStale: needs/)
    await using world = await startStale()
    const make = () => createGuard(world.verifier, { whenStale: 'introspect' })
    expect(make).toThrow(/^whenStale: 'introspect' needs/)
  })

  test('ask the issuer of the verifier, which has to follow it', async () => {
    await using introspection = createIntrospectionVerifier({ ...options, ...CREDENTIALS })
    expect(() => createVerifier({ ...options, introspection })).toThrow(
      /^introspection: expected rev/,
    )
    await using world = await startStale()
    const { clock, feed: revocations, issuer } = world
    const ours = { issuer: issuer.url, audience: API, clock, revocations }
    const expected = /^introspection: expected what createIntrospectionVerifier makes/
    expect(() => createVerifier({ ...ours, introspection })).toThrow(expected)
    expect(() => createVerifier({ ...ours, introspection: {} as never })).toThrow(expected)
  })

  test('of several issuers ask each of those that are followed', async () => {
    await using world = await startStale()
    const { clock, feed: revocations, issuer } = world
    await using introspection = answerQuestions(world).make()
    const followed = { issuer: issuer.url, audience: API, revocations, introspection }
    const issuers = [followed, { issuer: 'https://other.example', audience: 'x' }]
    await using verifier = createVerifier({ issuers, clock })
    const guard = createGuard(verifier, { whenStale: 'introspect' })
    const headers = { authorization: `Bearer ${world.token({ scope: '' })}` }
    const facts = { headers, rawHeaders: ['Authorization', headers.authorization] }
    expect(await guard.decide(facts, undefined)).toMatchObject({ ok: true })
  })

  test.each<[string, () => unknown]>([
    [
      'throws',
      () => {
        throw new Error('away')
      },
    ],
    ['says nothing', () => undefined],
    ['says what is no number', () => Number.NaN],
  ])('are what is done where a source of revocations %s of itself', async (_what, freshUntil) => {
    await using world = await startFeedWorld()
    const { clock, issuer } = world
    const pulse = { epoch: 0, freshUntil: clock.now() + 1e6 }
    const ours = { issuer: issuer.url, clock, epoch: 0, pulse, state: world.feed.state }
    const revocations = { ...ours, isRevoked: () => false, watchKeys: () => () => {} }
    await using verifier = createVerifier({ issuer: issuer.url, audience: API, clock, revocations })
    const token = world.token()
    const judge = () => verifier.verify(token, { whenStale: 'closed' })
    expect(await judge()).toMatchObject({ ok: true })
    Object.defineProperty(pulse, 'freshUntil', { get: freshUntil })
    expect(await judge()).toMatchObject({ reason: { kind: 'revocations_unavailable' } })
  })
})

test('a feed that is disposed of is stale in the end, and a verifier stops to listen to it', async () => {
  await using world = await startFeedWorld()
  await world.feed[Symbol.asyncDispose]()
  await world.clock.advance(14 * SECOND)
  expect(await world.judge(world.token())).toBe('allowed')
  await world.clock.advance(SECOND)
  expect(await world.judge(world.token())).toBe('revocations_unavailable')
})
