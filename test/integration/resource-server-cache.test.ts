import { Socket } from 'node:net'
import { describe, expect, test } from 'vitest'
import {
  createDpopVerifier,
  createGuard,
  createVerifier,
  type AccessTokenClaims,
  type Decision,
  type Guard,
  type RequestFacts,
  type Revocations,
  type RoutePolicy,
  type Verifier,
  type VerifierOptions,
} from '../../resource-server/index.ts'
import {
  API,
  createKey,
  encode,
  fail,
  KEYS_PATH,
  signToken,
  startIssuer,
  type IssuerKey,
  type TestIssuer,
} from '../support/issuer.ts'
import { createTurnableClock, type TurnableClock } from '../support/turnable-clock.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND
const key = await createKey('ES256')

interface World extends AsyncDisposable {
  readonly clock: TurnableClock
  readonly issuer: TestIssuer
  readonly verifier: Verifier
  token(change?: Record<string, unknown>): string
  /** Asks a route: `allowed`, or the kind of the refusal, and where the answer came from. */
  ask(token: string, connection?: Socket, policy?: RoutePolicy): Promise<readonly unknown[]>
}

/** A clock of which the time of day can be set, and which goes on all the same. */
function createSettableClock(): TurnableClock & { set(milliseconds: number): void } {
  const clock = createTurnableClock()
  let wrong = 0
  return {
    ...clock,
    now: () => clock.now() + wrong,
    set(milliseconds) {
      wrong += milliseconds
    },
  }
}

async function start(
  options: Partial<VerifierOptions> = {},
  clock: TurnableClock = createTurnableClock(),
): Promise<World> {
  await using cleanUp = new AsyncDisposableStack()
  const issuer = cleanUp.use(await startIssuer(clock, key))
  const settings = { issuer: issuer.url, audience: API, clock, ...options }
  const verifier = cleanUp.use(createVerifier(settings))
  const running = cleanUp.move()
  return {
    clock,
    issuer,
    verifier,
    token: (change) => signToken(key, issuer.claims(change)),
    async ask(token, connection = new Socket(), policy = {}) {
      const seen: Decision[] = []
      const dpop = createDpopVerifier({ clock })
      const guard = createGuard(verifier, policy, {
        sender: { dpop, publicUrl: 'https://api.example' },
        onDecision: (decision) => void seen.push(decision),
      })
      await guard.decide(sendOn(connection, token), undefined)
      const [{ refusal, source } = {} as Decision] = seen
      return [refusal?.kind ?? 'allowed', source]
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

function sendOn(socket: Socket, token: string): RequestFacts {
  const rawHeaders = ['Host', 'api.example', 'Authorization', `Bearer ${token}`]
  return { method: 'GET', url: '/', headers: {}, rawHeaders, socket }
}

describe('a token that was found good', () => {
  test('is known again, by its connection or by its text', async () => {
    await using world = await start()
    const [token, other] = [world.token(), world.token()]
    const connection = new Socket()
    expect(await world.ask(token, connection)).toEqual(['allowed', 'verified'])
    expect(await world.ask(token, connection)).toEqual(['allowed', 'connection'])
    expect(await world.ask(token)).toEqual(['allowed', 'cache'])
    expect(await world.ask(other, connection)).toEqual(['allowed', 'verified'])
    expect(await world.ask(token, connection)).toEqual(['allowed', 'cache'])
    expect(world.verifier.state).toMatchObject([{ keptTokens: 2, keys: 1 }])
  })

  test('is decided about without waiting', async () => {
    await using world = await start()
    const guard: Guard<AccessTokenClaims, undefined> = createGuard(world.verifier)
    const facts = sendOn(new Socket(), world.token())
    expect(guard.decide(facts, undefined)).toBeInstanceOf(Promise)
    await guard.decide(facts, undefined)
    expect(guard.decide(facts, undefined)).toMatchObject({ ok: true })
    // Nor is one that is new, once the keys are there.
    expect(guard.decide(sendOn(new Socket(), world.token()), undefined)).toMatchObject({ ok: true })
  })

  test('is not taken for one that shares its signature', async () => {
    await using world = await start()
    const connection = new Socket()
    const good = world.token()
    expect(await world.ask(good, connection)).toEqual(['allowed', 'verified'])
    const claims = encode(world.issuer.claims({ sub: 'acc_admin' }))
    const forged = good.split('.').with(1, claims).join('.')
    expect(forged.slice(-86)).toBe(good.slice(-86))
    expect(await world.ask(forged, connection)).toEqual(['bad_signature', undefined])
    expect(await world.ask(good, connection)).toEqual(['allowed', 'connection'])
  })

  test('is not mixed up with others on a connection that many share at once', async () => {
    await using world = await start()
    const guard = createGuard(world.verifier)
    const connection = new Socket()
    const [a, b] = [world.token({ sub: 'a' }), world.token({ sub: 'b' })]
    const forged = a
      .split('.')
      .with(1, encode(world.issuer.claims({ sub: 'root' })))
      .join('.')
    const subjects = await Promise.all(
      Array.from({ length: 90 }, async (_, count) => {
        const facts = sendOn(connection, [a, b, forged][count % 3] ?? '')
        const decision = await guard.decide(facts, undefined)
        return decision.ok ? decision.value.subject : decision.reason.kind
      }),
    )
    expect(subjects).toEqual(
      Array.from({ length: 90 }, (_, count) => ['a', 'b', 'bad_signature'][count % 3]),
    )
  })

  test('is not kept longer than is said', async () => {
    await using world = await start({ cache: { maxAgeSeconds: 60 } })
    const token = world.token()
    const connection = new Socket()
    await world.ask(token, connection)
    await world.clock.advance(59 * SECOND)
    expect(await world.ask(token, connection)).toEqual(['allowed', 'connection'])
    await world.clock.advance(SECOND)
    expect(await world.ask(token, connection)).toEqual(['allowed', 'verified'])
  })

  test('is not kept where that is turned off', async () => {
    await using world = await start({ cache: false })
    const token = world.token()
    const connection = new Socket()
    await world.ask(token, connection)
    expect(await world.ask(token, connection)).toEqual(['allowed', 'verified'])
    expect(world.verifier.state).toMatchObject([{ keptTokens: 0 }])
  })

  test('makes room for others: no more are kept than is said', async () => {
    await using world = await start({ cache: { maxTokens: 100 } })
    const often = world.token()
    for (let count = 0; count < 500; count += 1) {
      await world.ask(world.token())
      await world.ask(often)
    }
    const keptTokens = world.verifier.state[0]?.keptTokens
    expect(keptTokens).toBeGreaterThan(50)
    expect(keptTokens).toBeLessThanOrEqual(100)
    expect(await world.ask(often)).toEqual(['allowed', 'cache'])
  })

  test('takes the room of several where it is long', async () => {
    await using world = await start({ cache: { maxTokens: 100 } })
    for (let count = 0; count < 100; count += 1) {
      await world.ask(world.token({ note: 'x'.repeat(4000) }))
    }
    const keptTokens = world.verifier.state[0]?.keptTokens
    expect(keptTokens).toBeGreaterThan(5)
    expect(keptTokens).toBeLessThan(30)
  })

  test('takes the room of several where it says much in few letters', async () => {
    await using world = await start({ cache: { maxTokens: 100 } })
    const lists = Array.from({ length: 1000 }, () => [])
    for (let count = 0; count < 20; count += 1) await world.ask(world.token({ lists }))
    expect(world.verifier.state[0]?.keptTokens).toBeLessThan(5)
    const scope = Array.from({ length: 1000 }, (_, count) => count).join(' ')
    for (let count = 0; count < 20; count += 1) await world.ask(world.token({ scope }))
    expect(world.verifier.state[0]?.keptTokens).toBeLessThan(5)
    for (let count = 0; count < 100; count += 1) await world.ask(world.token())
    expect(world.verifier.state[0]?.keptTokens).toBeGreaterThan(50)
  })

  test('cannot be changed by a handler for others', async () => {
    await using world = await start()
    const token = world.token({ act: { sub: 'x' }, roles: ['editor'] })
    const first = await world.verifier.verify(token)
    const second = await world.verifier.verify(token)
    if (!first.ok || !second.ok) throw new Error('refused')
    expect(second.value).toBe(first.value)
    const { claims } = first.value
    for (const part of [claims, claims['act'], claims.roles]) {
      expect(Object.isFrozen(part)).toBe(true)
    }
  })
})

describe('a token that was refused', () => {
  test.each<[string, (world: World) => string]>([
    ['its signature', (w) => `${w.token().slice(0, -20)}${'A'.repeat(20)}`],
    ['its claims', (w) => w.token({ exp: 1 })],
    ['its form', (w) => `${w.token()}.`],
  ])('for %s is not remembered', async (_case, make) => {
    await using world = await start()
    await world.ask(world.token())
    for (let count = 0; count < 20; count += 1) await world.ask(make(world))
    expect(world.verifier.state).toMatchObject([{ keptTokens: 1 }])
  })
})

describe('what may change is looked at for each use of a kept token', () => {
  test.each<[string, number, string]>([
    ['until it expires', 604_999, 'allowed'],
    ['but not when it has expired', 605_000, 'expired'],
  ])('the time, %s', async (_case, later, outcome) => {
    await using world = await start({ cache: { maxAgeSeconds: 3600 } })
    const token = world.token()
    const connection = new Socket()
    await world.ask(token, connection)
    await world.clock.advance(later)
    expect((await world.ask(token, connection))[0]).toBe(outcome)
    expect((await world.ask(token))[0]).toBe(outcome)
  })

  test('the time of day, when it is set back or forward', async () => {
    const clock = createSettableClock()
    await using world = await start({}, clock)
    const token = world.token()
    await world.ask(token)
    clock.set(-MINUTE)
    expect(await world.ask(token)).toEqual(['not_yet_valid', undefined])
    clock.set(MINUTE)
    expect(await world.ask(token)).toEqual(['allowed', 'cache'])
    clock.set(11 * MINUTE)
    expect(await world.ask(token)).toEqual(['expired', undefined])
    clock.set(-11 * MINUTE)
    expect(await world.ask(token)).toEqual(['allowed', 'cache'])
    // The age of what is kept is counted by the clock that nobody sets.
    await clock.advance(5 * MINUTE)
    clock.set(-5 * MINUTE)
    expect(await world.ask(token)).toEqual(['allowed', 'verified'])
  })

  test('the key, which ends its tokens as soon as a set without it has come', async () => {
    await using world = await start()
    const second = await createKey('ES256')
    const connection = new Socket()
    const token = world.token()
    await world.ask(token, connection)
    world.issuer.published.keys = [second.jwk]
    expect(await world.ask(token, connection)).toEqual(['allowed', 'connection'])
    // A token of the new key brings the new set.
    expect(await world.ask(signToken(second, world.issuer.claims()))).toEqual([
      'allowed',
      'verified',
    ])
    expect(await world.ask(token, connection)).toEqual(['unknown_key', undefined])
    expect(await world.ask(token)).toEqual(['unknown_key', undefined])
  })

  test.each<[string, (other: IssuerKey) => Record<string, unknown>]>([
    ['another key under its id', (other) => ({ ...other.jwk, kid: key.jwk.kid })],
    ['a key that is for encryption now', () => ({ ...key.jwk, use: 'enc' })],
    ['its key under another id', () => ({ ...key.jwk, kid: 'renamed' })],
  ])('the key, in the place of which comes %s', async (_case, replace) => {
    await using world = await start()
    const token = world.token()
    await world.ask(token)
    world.issuer.published.keys = [replace(await createKey('ES256'))]
    await world.clock.advance(5 * MINUTE)
    expect((await world.ask(token))[0]).toMatch(/^(bad_signature|unknown_key)$/)
  })

  test('the key, which stays what it was when it is published again', async () => {
    await using world = await start({ cache: { maxAgeSeconds: 3600 } })
    const token = world.token()
    await world.ask(token)
    world.issuer.published.keys = [{ ...key.jwk }, (await createKey('RS256')).jwk]
    await world.clock.advance(5 * MINUTE)
    expect(world.issuer.asked.get(KEYS_PATH)).toBe(2)
    expect(await world.ask(token)).toEqual(['allowed', 'cache'])
  })

  test('the age of the keys, which are believed for an hour without the issuer', async () => {
    await using world = await start({ cache: { maxAgeSeconds: 3600 } })
    const token = world.token({ exp: Math.floor(world.clock.now() / 1000) + 7200 })
    const connection = new Socket()
    await world.ask(token, connection)
    world.issuer.answers.set('*', fail(500))
    await world.clock.advance(59 * MINUTE)
    expect((await world.ask(token, connection))[0]).toBe('allowed')
    await world.clock.advance(MINUTE)
    expect(await world.ask(token, connection)).toEqual(['keys_unavailable', undefined])
    world.issuer.answers.clear()
    await world.clock.advance(5 * SECOND)
    expect((await world.ask(token, connection))[0]).toBe('allowed')
  })

  test('what has been revoked, which is looked up when there is news and not before', async () => {
    const revoked = new Set<unknown>()
    let lookUps = 0
    let epoch = 0
    const revocations: Revocations = {
      get epoch() {
        return epoch
      },
      isRevoked({ jti }) {
        lookUps += 1
        return revoked.has(jti)
      },
    }
    await using world = await start({ revocations })
    const [token, other] = [world.token({ jti: 'a' }), world.token({ jti: 'b' })]
    const connection = new Socket()
    for (let count = 0; count < 10; count += 1) {
      expect((await world.ask(token, connection))[0]).toBe('allowed')
    }
    expect(lookUps).toBe(1)
    revoked.add('a')
    epoch += 1
    expect(await world.ask(token, connection)).toEqual(['revoked', undefined])
    expect(await world.ask(token)).toEqual(['revoked', undefined])
    expect((await world.ask(other))[0]).toBe('allowed')
    expect(await world.verifier.verify(token)).toEqual({ ok: false, reason: { kind: 'revoked' } })
    expect(await world.verifier.explain(token)).toMatchObject({ refusal: { kind: 'revoked' } })
  })
})

describe('revocations that cannot say', () => {
  const EPOCHS: readonly unknown[] = [-1, undefined, null, 1.5, Number.NaN, Infinity, '0', 2 ** 53]
  const GONE: [string, () => unknown][] = [
    ['an answer that is none', () => undefined],
    ['a promise', async () => false],
    ['a number', () => 0],
    [
      'an error',
      () => {
        throw new Error('redis://user:password@host')
      },
    ],
  ]

  test.each(EPOCHS)('with the epoch %s are refused when a verifier is made', (epoch) => {
    const revocations = { epoch, isRevoked: () => false } as Revocations
    const make = () => createVerifier({ issuer: 'https://as.example', audience: API, revocations })
    expect(make).toThrow(TypeError)
    expect(make).toThrow(/^revocations: /)
  })

  test.each([null, {}, { epoch: 0 }, { isRevoked: () => false }, 'none'])(
    'as %j are none',
    (revocations) => {
      const options = { issuer: 'https://as.example', audience: API, revocations }
      expect(() => createVerifier(options as VerifierOptions)).toThrow(/^revocations: /)
    },
  )

  test.each(EPOCHS)('later on, with the epoch %s, let nobody in', async (epoch) => {
    const source = { epoch: 0, isRevoked: () => false }
    await using world = await start({ revocations: source })
    const token = world.token()
    const connection = new Socket()
    expect((await world.ask(token, connection))[0]).toBe('allowed')
    source.epoch = epoch as number
    for (let count = 0; count < 2; count += 1) {
      expect((await world.ask(token, connection))[0]).toBe('revocations_unavailable')
      expect((await world.ask(token))[0]).toBe('revocations_unavailable')
      expect((await world.ask(world.token()))[0]).toBe('revocations_unavailable')
    }
    source.epoch = 1
    expect((await world.ask(token, connection))[0]).toBe('allowed')
  })

  test.each(GONE)('by %s let nobody in, and it is 503', async (_case, isRevoked) => {
    const source = { epoch: 0, isRevoked: (): unknown => false }
    await using world = await start({ revocations: source as Revocations })
    const token = world.token()
    expect((await world.ask(token))[0]).toBe('allowed')
    source.isRevoked = isRevoked
    source.epoch = 1
    for (let count = 0; count < 2; count += 1) {
      expect((await world.ask(token))[0]).toBe('revocations_unavailable')
    }
    const guard = createGuard(world.verifier)
    const decision = await guard.decide(sendOn(new Socket(), token), undefined)
    if (decision.ok) throw new Error('allowed')
    expect(decision.answer.status).toBe(503)
    expect(decision.answer.headers).toEqual({ 'Retry-After': '5', 'Cache-Control': 'no-store' })
    expect(JSON.stringify(decision.answer)).not.toContain('password')
  })

  test('by an epoch that cannot be read let nobody in', async () => {
    let isAway = false
    const revocations: Revocations = {
      get epoch() {
        if (isAway) throw new Error('away')
        return 0
      },
      isRevoked: () => false,
    }
    await using world = await start({ revocations })
    const token = world.token()
    expect((await world.ask(token))[0]).toBe('allowed')
    isAway = true
    expect((await world.ask(token))[0]).toBe('revocations_unavailable')
  })
})

test('what a route wants is never kept: a token that one let in is refused by others', async () => {
  await using world = await start({ audience: [API, 'https://b.example/'] })
  const connection = new Socket()
  const token = world.token({ scope: 'notes:read', roles: ['reader'], acr: '1', auth_time: 1 })
  const policies: readonly (readonly [RoutePolicy, string])[] = [
    [{ scope: 'notes:read' }, 'allowed'],
    [{ scope: 'notes:write' }, 'insufficient_scope'],
    [{ roles: 'admin' }, 'insufficient_role'],
    [{ audience: 'https://b.example/' }, 'wrong_audience'],
    [{ acr: '2' }, 'insufficient_user_authentication'],
    [{ maxAgeSeconds: 60 }, 'insufficient_user_authentication'],
    [{ sender: 'dpop' }, 'not_sender_constrained'],
    [{ owns: () => false }, 'not_owner'],
    [{ scope: 'notes:read', roles: 'reader', acr: '1' }, 'allowed'],
  ]
  for (const [policy, outcome] of [...policies, ...policies.toReversed()]) {
    expect((await world.ask(token, connection, policy))[0]).toBe(outcome)
  }
})

test('a token that is bound to its sender is refused as often as it comes without a proof', async () => {
  await using world = await start()
  const token = world.token({ cnf: { jkt: 'x' } })
  const connection = new Socket()
  for (let count = 0; count < 3; count += 1) {
    expect((await world.ask(token, connection))[0]).toBe('sender_constrained')
    expect((await world.verifier.verify(token)).ok).toBe(false)
  }
})

describe('several issuers', () => {
  async function startTwo() {
    await using cleanUp = new AsyncDisposableStack()
    const clock = createTurnableClock()
    const kid = 'the same'
    const [keyA, keyB] = [await createKey('ES256', { kid }), await createKey('ES256', { kid })]
    const a = cleanUp.use(await startIssuer(clock, keyA))
    const b = cleanUp.use(await startIssuer(clock, keyB))
    const forB = 'https://api.example/for-b'
    const verifier = cleanUp.use(
      createVerifier({
        issuers: [
          { issuer: a.url, audience: API },
          { issuer: b.url, audience: forB },
        ],
        clock,
      }),
    )
    const outcomeOf = async (token: string) => {
      const result = await verifier.verify(token)
      return result.ok ? result.value.issuer : result.reason.kind
    }
    const running = cleanUp.move()
    const dispose = () => running.disposeAsync()
    return { clock, a, b, keyA, keyB, forB, verifier, outcomeOf, [Symbol.asyncDispose]: dispose }
  }

  test('each have their tokens accepted, and none for another', async () => {
    await using world = await startTwo()
    const { a, b, keyA, keyB, forB, outcomeOf } = world
    const [tokenA, tokenB] = [signToken(keyA, a.claims()), signToken(keyB, b.claims({ aud: forB }))]
    for (let count = 0; count < 2; count += 1) {
      expect(await outcomeOf(tokenA)).toBe(a.url)
      expect(await outcomeOf(tokenB)).toBe(b.url)
    }
    expect(await outcomeOf(signToken(keyA, b.claims({ aud: forB })))).toBe('bad_signature')
    expect(await outcomeOf(signToken(keyB, a.claims()))).toBe('bad_signature')
    expect(await outcomeOf(signToken(keyA, a.claims({ aud: forB })))).toBe('wrong_audience')
    expect(await outcomeOf(signToken(keyB, b.claims({ aud: API })))).toBe('wrong_audience')
    expect(await outcomeOf(signToken(keyA, a.claims({ iss: `${a.url}/` })))).toBe('unknown_issuer')
    expect(await outcomeOf(signToken(keyA, a.claims({ iss: undefined })))).toBe('unknown_issuer')
    expect(await outcomeOf(signToken(keyA, '[]'))).toBe('unknown_issuer')
    expect(world.verifier.state).toMatchObject([{ keptTokens: 2 }, { keptTokens: 2 }])
  })

  test('do not take each other down, nor is one asked for the keys of another', async () => {
    await using world = await startTwo()
    const { a, b, keyA, keyB, forB, outcomeOf } = world
    a.answers.set('*', fail(500))
    expect(await outcomeOf(signToken(keyA, a.claims()))).toBe('keys_unavailable')
    expect(b.asked.size).toBe(0)
    expect(await outcomeOf(signToken(keyB, b.claims({ aud: forB })))).toBe(b.url)
  })

  test('lose their own kept tokens only when a key is withdrawn', async () => {
    await using world = await startTwo()
    const { a, b, keyA, keyB, forB, outcomeOf, clock } = world
    const [tokenA, tokenB] = [signToken(keyA, a.claims()), signToken(keyB, b.claims({ aud: forB }))]
    expect([await outcomeOf(tokenA), await outcomeOf(tokenB)]).toEqual([a.url, b.url])
    a.published.keys = []
    await clock.advance(5 * MINUTE)
    expect([await outcomeOf(tokenA), await outcomeOf(tokenB)]).toEqual(['unknown_key', b.url])
  })

  test.each<[string, unknown, RegExp]>([
    ['none', { issuers: [] }, /^issuers: /],
    ['no list', { issuers: 'https://as.example' }, /^issuers: /],
    [
      'one twice',
      { issuers: [1, 2].map(() => ({ issuer: 'https://a.example', audience: 'x' })) },
      /twice/,
    ],
    ['one without an audience', { issuers: [{ issuer: 'https://a.example' }] }, /^audience: /],
    ['one beside them', { issuers: [], issuer: 'https://a.example' }, /^issuer: .*either/],
    ['nothing', undefined, /^createVerifier: expected an object/],
    ['no issuer', { audience: API }, /^issuer: expected the URL .* undefined$/],
    ['a host alone', { issuer: 'a.example', audience: API }, /^issuer: .*https:\/\/.*"a\.example"/],
    ['an option that is misspelt', { issuerz: [] }, /it has issuer,.* issuers,/],
    ['a clock in one of them', { issuers: [{ clock: null }] }, /no option clock;/],
  ])('are not configured with %s', (_case, options, message) => {
    expect(() => createVerifier(options as VerifierOptions)).toThrow(TypeError)
    expect(() => createVerifier(options as VerifierOptions)).toThrow(message)
  })
})

test.each<[Record<string, unknown>, RegExp]>([
  [{ cache: { maxTokens: 1 } }, /^cache\.maxTokens: /],
  [{ cache: { maxTokens: 1e9 } }, /^cache\.maxTokens: /],
  [{ cache: { maxAgeSeconds: 0 } }, /^cache\.maxAgeSeconds: /],
  [{ cache: { size: 1 } }, /cache has no option size/],
])('a cache is not made with %o', (options, message) => {
  const all = { issuer: 'https://as.example', audience: API, ...options }
  expect(() => createVerifier(all)).toThrow(TypeError)
  expect(() => createVerifier(all)).toThrow(message)
})

test.each([
  ['', 'it is empty'],
  ['Bearer a.b.c', 'a scheme is in front of it: give the token alone'],
  ['dpop a.b.c', 'a scheme is in front of it: give the token alone'],
])('%j is explained as what it is', async (token, why) => {
  await using verifier = createVerifier({ issuer: 'https://as.example', audience: API })
  const { refusal } = await verifier.explain(token)
  expect(refusal).toEqual({ kind: 'malformed', part: 'token', why })
})
