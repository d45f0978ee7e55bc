import { createHmac } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import {
  createKey,
  encode,
  fail,
  hang,
  KEYS_PATH,
  OIDC_PATH,
  signToken,
  startIssuer,
  type IssuerKey,
  type TestIssuer,
} from '../support/issuer.ts'
import { startApi, type ProtectedApi } from '../support/protected-api.ts'
import { createTurnableClock, type TurnableClock } from '../support/turnable-clock.ts'

const MINUTE = 60_000
const rsa = await createKey('RS256')

interface World extends AsyncDisposable {
  readonly clock: TurnableClock
  readonly issuer: TestIssuer
  readonly api: ProtectedApi
  /** A good token, but for the changes; `undefined` takes a claim away. */
  token(change?: Record<string, unknown>, header?: Record<string, unknown>): string
}

/** An issuer and an API with nothing but the defaults. */
async function start(key: IssuerKey = rsa): Promise<World> {
  await using cleanUp = new AsyncDisposableStack()
  const clock = createTurnableClock()
  const issuer = cleanUp.use(await startIssuer(clock, key))
  const api = cleanUp.use(await startApi({ issuer: issuer.url, clock }))
  const running = cleanUp.move()
  return {
    clock,
    issuer,
    api,
    token: (change, header) => signToken(key, issuer.claims(change), header),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

const inAnHour = ({ clock }: World) => Math.floor(clock.now() / 1000) + 3600

/** The same bytes, written with other spare bits in the last character. */
function twinOf(token: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const last = alphabet.indexOf(token.at(-1) ?? '')
  const twin = token.slice(0, -1) + alphabet[last + 1]
  const bytes = (text: string) => Buffer.from(text.split('.')[2] ?? '', 'base64url')
  expect(bytes(twin)).toEqual(bytes(token))
  return twin
}

function withoutSignature({ issuer }: World): string {
  return `${encode({ alg: 'none', typ: 'at+jwt', kid: rsa.jwk.kid })}.${encode(issuer.claims())}.`
}

/** Signed with what everybody knows: the public key as a shared secret. */
function signedWithPublicKey({ issuer }: World): string {
  const secret = rsa.publicKey.export({ type: 'spki', format: 'pem' })
  const header = encode({ alg: 'HS256', typ: 'at+jwt', kid: rsa.jwk.kid })
  const input = `${header}.${encode(issuer.claims())}`
  return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`
}

type Row = readonly [string, (world: World) => string, string]

describe('a hostile token is refused as invalid', () => {
  test.each<Row>([
    ['not valid before an hour from now', (w) => w.token({ nbf: inAnHour(w) }), 'not_yet_valid'],
    ['issued an hour from now', (w) => w.token({ iat: inAnHour(w) }), 'not_yet_valid'],
    ['without aud', (w) => w.token({ aud: undefined }), 'missing_claim'],
    ['without exp', (w) => w.token({ exp: undefined }), 'missing_claim'],
    ['without iss', (w) => w.token({ iss: undefined }), 'missing_claim'],
    ['of typ JWT, as an ID token is', (w) => w.token({}, { typ: 'JWT' }), 'wrong_type'],
    [
      'with an unknown critical header',
      (w) => w.token({}, { crit: ['x'], x: 1 }),
      'critical_header',
    ],
    ['with alg none', withoutSignature, 'unsupported_algorithm'],
    ['with HS256 under the public key', signedWithPublicKey, 'unsupported_algorithm'],
    [
      'bound to a DPoP key and sent as Bearer',
      (w) => w.token({ cnf: { jkt: 'x' } }),
      'sender_constrained',
    ],
    [
      'bound to a certificate that is not shown',
      (w) => w.token({ cnf: { 'x5t#S256': 'x' } }),
      'sender_constrained',
    ],
    ['with a twin of its signature', (w) => twinOf(w.token()), 'malformed'],
    ['with a junk character after its signature', (w) => `${w.token()}!`, 'malformed'],
  ])('%s', async (_row, make, kind) => {
    await using world = await start()
    // The second time, a good token has been let in and is kept.
    for (let time = 1; time <= 2; time += 1) {
      const { status, headers } = await world.api.send(make(world))
      expect(status).toBe(401)
      expect(headers.get('www-authenticate')).toBe('Bearer error="invalid_token"')
      expect(await world.api.status(world.token())).toBe(200)
    }
    expect(world.api.refusals).toMatchObject([{ kind }, { kind }])
  })

  test('with a twin of the signature of a token that is kept', async () => {
    await using world = await start()
    const good = world.token()
    expect([await world.api.status(good), await world.api.status(good)]).toEqual([200, 200])
    for (const bad of [twinOf(good), `${good}!`, `${good}=`, good.toLowerCase()]) {
      expect(await world.api.status(bad)).toBe(401)
    }
  })

  test('sent in the query, where no token is looked for', async () => {
    await using world = await start()
    const { status, headers } = await world.api.get({}, `?access_token=${world.token()}`)
    expect([status, headers.get('www-authenticate')]).toEqual([401, 'Bearer'])
  })
})

describe('a good token is accepted', () => {
  test.each(['RS256', 'PS256', 'ES256', 'ES384', 'ES512', 'EdDSA'])(
    'signed with %s',
    async (alg) => {
      await using world = await start(await createKey(alg))
      expect(await world.api.status(world.token())).toBe(200)
    },
  )

  test.each(['bearer', 'BEARER', 'Bearer  '])('after the scheme %s', async (scheme) => {
    await using world = await start()
    const { status } = await world.api.get({ authorization: `${scheme} ${world.token()}` })
    expect(status).toBe(200)
  })
})

describe('the issuer', () => {
  test('is asked for its keys at most three more times by 100 random key ids', async () => {
    await using world = await start()
    expect(await world.api.status(world.token())).toBe(200)
    const before = world.issuer.asked.get(KEYS_PATH) ?? 0
    const tokens = Array.from({ length: 100 }, (_, n) => world.token({}, { kid: `random ${n}` }))
    for (const token of tokens.slice(0, 50)) expect(await world.api.status(token)).toBe(401)
    const together = await Promise.all(tokens.slice(50).map((token) => world.api.status(token)))
    expect(new Set(together)).toEqual(new Set([401]))
    expect((world.issuer.asked.get(KEYS_PATH) ?? 0) - before).toBe(3)
    expect(world.issuer.asked.get(OIDC_PATH)).toBe(1)
  })

  test('that answers 500 at a cold start makes 503 with Retry-After, and is asked once for ten requests', async () => {
    await using world = await start()
    world.issuer.answers.set('*', fail(500))
    for (let count = 0; count < 10; count += 1) {
      const { status, headers } = await world.api.send(world.token())
      expect([status, headers.get('retry-after')]).toEqual([503, '5'])
      expect(headers.get('www-authenticate')).toBeNull()
    }
    expect([...world.issuer.asked]).toEqual([[OIDC_PATH, 1]])
  })

  test('that cannot be reached at a cold start makes 503 with Retry-After', async () => {
    await using world = await start()
    await world.issuer[Symbol.asyncDispose]()
    const { status, headers } = await world.api.send(world.token())
    expect([status, headers.get('retry-after')]).toEqual([503, '5'])
  })

  test('that answers 500 when the keys are due does not stop good tokens', async () => {
    await using world = await start()
    expect(await world.api.status(world.token())).toBe(200)
    world.issuer.answers.set('*', fail(500))
    await world.clock.advance(5 * MINUTE)
    expect(world.issuer.asked.get(KEYS_PATH)).toBe(2)
    expect(await world.api.status(world.token())).toBe(200)
  })

  test('that hangs when the keys are due makes no request wait', async () => {
    await using world = await start()
    expect(await world.api.status(world.token())).toBe(200)
    world.issuer.answers.set('*', hang)
    const asked = world.issuer.nextRequest()
    const turned = world.clock.advance(5 * MINUTE)
    await asked
    expect(await world.api.status(world.token())).toBe(200)
    await world.clock.advance(5000)
    await turned
    expect(await world.api.status(world.token())).toBe(200)
  })

  test('that withdraws a key ends the tokens that it signed when the keys are next fetched', async () => {
    await using world = await start()
    expect(await world.api.status(world.token())).toBe(200)
    world.issuer.published.keys = [(await createKey('RS256')).jwk]
    await world.clock.advance(5 * MINUTE)
    expect(await world.api.status(world.token())).toBe(401)
    expect(world.api.refusals).toMatchObject([{ kind: 'unknown_key' }])
  })

  test('that withdraws a key ends a token that is kept, on a connection that is open', async () => {
    await using world = await start()
    const token = world.token()
    expect([await world.api.status(token), await world.api.status(token)]).toEqual([200, 200])
    world.issuer.published.keys = [(await createKey('RS256')).jwk]
    await world.clock.advance(5 * MINUTE)
    expect([await world.api.status(token), await world.api.status(token)]).toEqual([401, 401])
    expect(world.api.refusals).toMatchObject([{ kind: 'unknown_key' }, { kind: 'unknown_key' }])
  })

  test('that rotates its keys with notice stops no good token', async () => {
    await using world = await start()
    const next = await createKey('ES256')
    const exp = inAnHour(world)
    const old = world.token({ exp })
    expect(await world.api.status(old)).toBe(200)
    world.issuer.published.keys = [rsa.jwk, next.jwk]
    await world.clock.advance(5 * MINUTE)
    const young = signToken(next, world.issuer.claims({ exp }))
    expect([await world.api.status(old), await world.api.status(young)]).toEqual([200, 200])
    world.issuer.published.keys = [next.jwk]
    await world.clock.advance(5 * MINUTE)
    expect([await world.api.status(old), await world.api.status(young)]).toEqual([401, 200])
    // Three in their time, and one because the old token's key might have been a new one.
    expect(world.issuer.asked.get(KEYS_PATH)).toBe(4)
  })

  test('that rotates without notice is asked at once, by the first token of the new key', async () => {
    await using world = await start()
    const next = await createKey('ES256')
    expect(await world.api.status(world.token())).toBe(200)
    world.issuer.published.keys = [next.jwk]
    const tokens = Array.from({ length: 20 }, () => signToken(next, world.issuer.claims()))
    const statuses = await Promise.all(tokens.map((token) => world.api.status(token)))
    expect(new Set(statuses)).toEqual(new Set([200]))
    expect(world.issuer.asked.get(KEYS_PATH)).toBe(2)
  })

  test('that hangs at a cold start makes 503 after five seconds, for all who wait', async () => {
    await using world = await start()
    world.issuer.answers.set('*', hang)
    const asked = world.issuer.nextRequest()
    const waiting = [world.api.send(world.token()), world.api.send(world.token())]
    await asked
    await world.clock.advance(5000)
    const answers = await Promise.all(waiting)
    expect(answers.map(({ status }) => status)).toEqual([503, 503])
    expect(answers.map(({ headers }) => headers.get('retry-after'))).toEqual(['5', '5'])
    expect(await world.api.status(world.token())).toBe(503)
    expect(world.issuer.asked.get(OIDC_PATH)).toBe(1)
  })

  test('that is away for an hour ends all trust in its keys, until it is back', async () => {
    await using world = await start()
    const token = world.token({ exp: inAnHour(world) + 3600 })
    expect(await world.api.status(token)).toBe(200)
    world.issuer.answers.set('*', fail(500))
    await world.clock.advance(60 * MINUTE)
    const { status, headers } = await world.api.send(token)
    expect([status, headers.has('retry-after'), headers.has('www-authenticate')]).toEqual([
      503,
      true,
      false,
    ])
    world.issuer.answers.clear()
    await world.clock.advance(5000)
    expect(await world.api.status(token)).toBe(200)
  })
})

describe('a clock that is set', () => {
  test('forward ends a token, and back makes it good again', async () => {
    const turnable = createTurnableClock()
    let wrong = 0
    const clock = { ...turnable, now: () => turnable.now() + wrong }
    await using issuer = await startIssuer(turnable, rsa)
    await using api = await startApi({ issuer: issuer.url, clock })
    const token = signToken(rsa, issuer.claims())
    expect(await api.status(token)).toBe(200)
    for (const [milliseconds, status] of [
      [10 * MINUTE + 5000, 401],
      [0, 200],
      [-6000, 401],
      [-5000, 200],
      [-60 * MINUTE, 401],
      [0, 200],
    ] as const) {
      wrong = milliseconds
      expect(await api.status(token)).toBe(status)
    }
    // Not a fetch more: how old the keys are is not counted by the clock that is set.
    expect(issuer.asked.get(KEYS_PATH)).toBe(1)
  })
})
