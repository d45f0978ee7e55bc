import { generateKeyPairSync } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { createVerifier, type IssuerError, type Verifier } from '../../resource-server/index.ts'
import {
  API,
  createKey,
  fail,
  hang,
  KEYS_PATH,
  OAUTH_PATH,
  OIDC_PATH,
  sendJson,
  signToken,
  startIssuer,
  type Answer,
  type IssuerKey,
  type TestIssuer,
} from '../support/issuer.ts'
import { createTurnableClock, type TurnableClock } from '../support/turnable-clock.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND
const first = await createKey('ES256')
const second = await createKey('ES256')

interface World extends AsyncDisposable {
  readonly clock: TurnableClock
  readonly issuer: TestIssuer
  readonly verifier: Verifier
  /** Verifies a fresh token of a key; answers `accepted` or the kind of the refusal. */
  readonly use: (key: IssuerKey, header?: Record<string, unknown>) => Promise<string>
  readonly keyFetches: () => number
}

async function start(keys: readonly IssuerKey[] = [first], path = ''): Promise<World> {
  await using cleanUp = new AsyncDisposableStack()
  const clock = createTurnableClock()
  const issuer = cleanUp.use(await startIssuer(clock, ...keys))
  const name = issuer.url + path
  issuer.published.metadata['issuer'] = name
  const verifier = cleanUp.use(createVerifier({ issuer: name, audience: API, clock }))
  const running = cleanUp.move()
  return {
    clock,
    issuer,
    verifier,
    async use(key, header) {
      const result = await verifier.verify(signToken(key, issuer.claims({ iss: name }), header))
      return result.ok ? 'accepted' : result.reason.kind
    },
    keyFetches: () => issuer.asked.get(KEYS_PATH) ?? 0,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

/** Why there are no keys, as the operator reads it. */
async function failureOf({ verifier, issuer }: World): Promise<IssuerError> {
  const result = await verifier.verify(signToken(first, issuer.claims()))
  if (result.ok || result.reason.kind !== 'keys_unavailable') throw new Error('keys were had')
  return result.reason.cause as IssuerError
}

describe('the keys', () => {
  test('are fetched when first needed, once for all who wait', async () => {
    await using world = await start()
    expect(world.issuer.asked.size).toBe(0)
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => world.use(first)))
    expect(new Set(outcomes)).toEqual(new Set(['accepted']))
    expect([...world.issuer.asked]).toEqual([
      [OIDC_PATH, 1],
      [KEYS_PATH, 1],
    ])
  })

  test('are fetched again within five minutes, without any traffic', async () => {
    await using world = await start()
    await world.use(first)
    await world.clock.advance(4 * MINUTE - 1)
    expect(world.keyFetches()).toBe(1)
    await world.clock.advance(MINUTE)
    expect(world.keyFetches()).toBe(2)
    await world.clock.advance(5 * MINUTE)
    expect(world.keyFetches()).toBe(3)
    expect(world.issuer.asked.get(OIDC_PATH)).toBe(1)
  })

  test('that are new are found at once, and a withdrawn one is refused from then on', async () => {
    await using world = await start()
    expect(await world.use(first)).toBe('accepted')
    world.issuer.published.keys = [second.jwk]
    expect(await world.use(first)).toBe('accepted')
    expect(await world.use(second)).toBe('accepted')
    expect(await world.use(first)).toBe('unknown_key')
  })

  test('may all be withdrawn', async () => {
    await using world = await start()
    expect(await world.use(first)).toBe('accepted')
    world.issuer.published.keys = []
    await world.clock.advance(5 * MINUTE)
    expect(await world.use(first)).toBe('unknown_key')
  })

  test('that are replaced under the same id are not used any more', async () => {
    await using world = await start()
    expect(await world.use(first)).toBe('accepted')
    world.issuer.published.keys = [{ ...second.jwk, kid: String(first.jwk.kid) }]
    await world.clock.advance(5 * MINUTE)
    expect(await world.use(first)).toBe('bad_signature')
  })

  test('that tokens ask for in vain cost three fetches at once, then one every 30 seconds', async () => {
    await using world = await start()
    await world.use(first)
    const ask = async () => {
      for (let count = 0; count < 5; count += 1) await world.use(first, { kid: `no ${count}` })
      return world.keyFetches() - 1
    }
    expect(await ask()).toBe(3)
    await world.clock.advance(29 * SECOND)
    expect(await ask()).toBe(3)
    await world.clock.advance(SECOND)
    expect(await ask()).toBe(4)
    await world.clock.advance(60 * SECOND)
    expect(await ask()).toBe(6)
    await world.clock.advance(10 * MINUTE)
    expect(world.keyFetches() - 1).toBe(7)
    expect(await ask()).toBe(10)
  })

  test('are not fetched any more once the verifier is disposed of', async () => {
    await using world = await start()
    await world.use(first)
    await world.verifier[Symbol.asyncDispose]()
    await world.clock.advance(10 * MINUTE)
    expect(world.keyFetches()).toBe(1)
  })

  test('stop being waited for when the verifier is disposed of', async () => {
    await using world = await start()
    world.issuer.answers.set('*', hang)
    const asked = world.issuer.nextRequest()
    const outcome = world.use(first)
    await asked
    await world.verifier[Symbol.asyncDispose]()
    expect(await outcome).toBe('keys_unavailable')
  })
})

describe('an issuer that fails', () => {
  test('is asked again after five seconds, by the clock and not by requests', async () => {
    await using world = await start()
    world.issuer.answers.set('*', fail(503))
    expect(await world.use(first)).toBe('keys_unavailable')
    await world.clock.advance(4 * SECOND)
    expect(await world.use(first)).toBe('keys_unavailable')
    expect(world.issuer.asked.get(OIDC_PATH)).toBe(1)
    world.issuer.answers.clear()
    await world.clock.advance(SECOND)
    expect(world.issuer.asked.get(OIDC_PATH)).toBe(2)
    expect(await world.use(first)).toBe('accepted')
  })

  test('says when to come back', async () => {
    await using world = await start()
    world.issuer.answers.set('*', fail(503))
    await world.use(first)
    await world.clock.advance(2 * SECOND)
    const result = await world.verifier.verify(signToken(first, world.issuer.claims()))
    expect(result).toMatchObject({ reason: { kind: 'keys_unavailable', retryAfterSeconds: 3 } })
  })

  test('for an hour is trusted for an hour, and not longer', async () => {
    await using world = await start()
    await world.use(first)
    world.issuer.answers.set('*', fail(500))
    await world.clock.advance(60 * MINUTE - 1)
    expect(await world.use(first)).toBe('accepted')
    await world.clock.advance(1)
    expect(await world.use(first)).toBe('keys_unavailable')
    world.issuer.answers.clear()
    await world.clock.advance(5 * SECOND)
    expect(await world.use(first)).toBe('accepted')
  })

  test('makes an unknown key neither valid nor invalid, and costs no fetch for it', async () => {
    await using world = await start()
    await world.use(first)
    world.issuer.answers.set('*', fail(500))
    expect(await world.use(second)).toBe('keys_unavailable')
    const fetches = world.keyFetches()
    for (let count = 0; count < 5; count += 1) {
      expect(await world.use(second)).toBe('keys_unavailable')
    }
    expect(world.keyFetches()).toBe(fetches)
    expect(await world.use(first)).toBe('accepted')
    world.issuer.answers.clear()
    await world.clock.advance(5 * SECOND)
    expect(await world.use(second)).toBe('unknown_key')
    world.issuer.published.keys.push(second.jwk)
    expect(await world.use(second)).toBe('accepted')
  })

  test('by hanging is left after five seconds for the whole answer', async () => {
    await using world = await start()
    world.issuer.answers.set(KEYS_PATH, hang)
    const discovered = world.issuer.nextRequest()
    const failure = failureOf(world)
    await discovered
    const asked = world.issuer.nextRequest()
    await asked
    await world.clock.advance(5 * SECOND)
    expect(await failure).toMatchObject({ name: 'IssuerError', code: 'timed_out' })
  })

  test.each<[string, string, Answer, string]>([
    ['with a redirect of its metadata', OIDC_PATH, redirect, 'bad_answer'],
    ['with a redirect of its keys', KEYS_PATH, redirect, 'bad_answer'],
    ['with keys that are no JSON', KEYS_PATH, (response) => response.end('<html>'), 'bad_answer'],
    ['with keys that are no list', KEYS_PATH, (r) => sendJson(r, { keys: {} }), 'bad_answer'],
    ['with null as keys', KEYS_PATH, (r) => sendJson(r, null), 'bad_answer'],
    ['with null as metadata', OIDC_PATH, (r) => sendJson(r, null), 'issuer_mismatch'],
    [
      'with bytes that are not UTF-8',
      KEYS_PATH,
      (r) => r.end(Buffer.from('{"keys":[],"x":"\u00FF"}', 'latin1')),
      'bad_answer',
    ],
    [
      'with more than 256 KiB',
      KEYS_PATH,
      (r) => sendJson(r, { keys: [], x: 'x'.repeat(262_144) }),
      'bad_answer',
    ],
    [
      'with a little that unpacks to a lot',
      KEYS_PATH,
      (r) => r.setHeader('content-encoding', 'gzip').end(BOMB),
      'bad_answer',
    ],
    [
      'with what is packed thirty times',
      KEYS_PATH,
      (r) => r.setHeader('content-encoding', Array(30).fill('gzip').join(', ')).end(BOMB),
      'unreachable',
    ],
    [
      'with what is not packed as it says',
      KEYS_PATH,
      (r) => r.setHeader('content-encoding', 'gzip').end('{"keys":[]}'),
      'unreachable',
    ],
    [
      'with a part of an answer',
      KEYS_PATH,
      (r) => r.writeHead(206).end('{"keys":[]}'),
      'bad_answer',
    ],
    ['by hanging up', KEYS_PATH, (response) => response.destroy(), 'unreachable'],
  ])('%s has no keys', async (_case, path, answer, code) => {
    await using world = await start()
    world.issuer.answers.set(path, answer)
    expect(await failureOf(world)).toMatchObject({ code })
  })

  test('after its keys have moved is asked where they are now', async () => {
    await using world = await start()
    await world.use(first)
    world.issuer.answers.set(KEYS_PATH, fail(410))
    world.issuer.answers.set('/elsewhere', (r) => sendJson(r, { keys: [second.jwk] }))
    world.issuer.published.metadata['jwks_uri'] = `${world.issuer.url}/elsewhere`
    await world.clock.advance(5 * MINUTE)
    await world.clock.advance(5 * SECOND)
    expect(await world.use(second)).toBe('accepted')
  })
})

const BOMB = gzipSync(Buffer.alloc(20_000_000, ' '))

const redirect: Answer = (response) => {
  response.writeHead(302, { location: 'https://evil.example/' }).end()
}

describe('the metadata', () => {
  test.each(['', '/tenant', '/tenant/'])(
    'is found for an issuer with the path "%s"',
    async (path) => {
      await using world = await start([first], path)
      const at = `${path.replace(/\/$/, '')}${OIDC_PATH}`
      world.issuer.answers.set(at, (r) => sendJson(r, world.issuer.published.metadata))
      expect(await world.use(first)).toBe('accepted')
      expect(world.issuer.asked.get(at)).toBe(1)
    },
  )

  test.each(['', '/tenant'])('may be that of RFC 8414 alone, with the path "%s"', async (path) => {
    await using world = await start([first], path)
    world.issuer.answers.set(OIDC_PATH, fail(404))
    world.issuer.answers.set(OAUTH_PATH + path, (r) => sendJson(r, world.issuer.published.metadata))
    expect(await world.use(first)).toBe('accepted')
  })

  test('of RFC 8414 is not looked for where the first place is sick', async () => {
    await using world = await start()
    world.issuer.answers.set(OIDC_PATH, fail(500))
    expect(await failureOf(world)).toMatchObject({ code: 'bad_answer' })
    expect(world.issuer.asked.get(OAUTH_PATH)).toBeUndefined()
  })

  test.each<[string, Record<string, unknown>, string]>([
    ['of another issuer', { issuer: 'https://evil.example' }, 'issuer_mismatch'],
    ['of an issuer that is almost the same', { issuer: undefined }, 'issuer_mismatch'],
    ['without jwks_uri', { jwks_uri: undefined }, 'bad_answer'],
    ['with a jwks_uri that is no URL', { jwks_uri: '/keys' }, 'bad_answer'],
    ['with keys over plain http', { jwks_uri: 'http://keys.example/' }, 'insecure_url'],
    ['with keys in a file', { jwks_uri: 'file:///etc/passwd' }, 'insecure_url'],
    ['with a password in jwks_uri', { jwks_uri: 'https://a:b@keys.example/' }, 'insecure_url'],
  ])('%s is refused', async (_case, change, code) => {
    await using world = await start()
    Object.assign(world.issuer.published.metadata, change)
    expect(await failureOf(world)).toMatchObject({ code })
    expect(world.keyFetches()).toBe(0)
  })

  test('that differs by a slash is of another issuer', async () => {
    await using world = await start()
    const { url } = world.issuer
    world.issuer.published.metadata['issuer'] = `${url}/`
    const failure = await failureOf(world)
    expect(failure.cause).toEqual({ expected: url, actual: `${url}/` })
  })
})

describe('a key set', () => {
  test.each<[string, Record<string, unknown>]>([
    ['for encryption', { use: 'enc' }],
    ['for other operations', { key_ops: ['sign'] }],
    ['of another algorithm', { alg: 'ES384' }],
    ['that is symmetric', { kty: 'oct', k: 'AAAA' }],
    ['whose point is not on its curve', { x: first.jwk.y }],
    ['whose id is a number', { kid: 1 }],
  ])('may hold a key %s, which is not used', async (_case, change) => {
    await using world = await start()
    world.issuer.published.keys = [{ ...first.jwk, ...change }, second.jwk]
    expect(await world.use(first)).toBe('unknown_key')
    expect(await world.use(second)).toBe('accepted')
    expect(await world.use(second, { kid: undefined })).toBe('accepted')
  })

  test('may hold what is no key at all', async () => {
    await using world = await start()
    const { keys } = world.issuer.published
    keys.push(null as never, 'key' as never, [] as never, {})
    expect(await world.use(first)).toBe('accepted')
  })

  test('may hold an RSA key of 1024 bits, which is not used', async () => {
    const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 1024 })
    const jwk = { ...publicKey.export({ format: 'jwk' }), kid: 'short' }
    const short: IssuerKey = { publicKey, privateKey, alg: 'RS256', jwk }
    await using world = await start([short])
    expect(await world.use(short)).toBe('unknown_key')
  })

  test('may hold an RSA key that names no algorithm: it is for RS256', async () => {
    const rsa = await createKey('RS256', { alg: undefined })
    await using world = await start([rsa])
    expect(await world.use(rsa)).toBe('accepted')
    const asPs256 = signToken(rsa, world.issuer.claims(), { alg: 'PS256' }, 'PS256')
    expect(await world.verifier.verify(asPs256)).toMatchObject({
      reason: { kind: 'wrong_algorithm' },
    })
  })

  test('may by mistake hold private keys, which still verify', async () => {
    const { d } = first.privateKey.export({ format: 'jwk' })
    await using world = await start()
    world.issuer.published.keys = [{ ...first.jwk, d: String(d) }]
    expect(await world.use(first)).toBe('accepted')
  })

  test('serves a token that names no key only where one key can be meant', async () => {
    const rsa = await createKey('RS256')
    await using world = await start([first, rsa])
    expect(await world.use(first, { kid: undefined })).toBe('accepted')
    world.issuer.published.keys.push(second.jwk)
    await world.clock.advance(5 * MINUTE)
    expect(await world.use(first, { kid: undefined })).toBe('ambiguous_key')
    expect(await world.use(rsa, { kid: undefined })).toBe('accepted')
  })

  test('may hold one key twice, which is one key', async () => {
    await using world = await start()
    const { alg: _alg, ...unsaid } = first.jwk
    world.issuer.published.keys = [first.jwk, { ...first.jwk }, unsaid]
    expect(await world.use(first)).toBe('accepted')
    expect(await world.use(first, { kid: undefined })).toBe('accepted')
    expect(world.verifier.state).toMatchObject([{ keys: 1 }])
    const token = signToken(first, world.issuer.claims())
    expect(await world.verifier.authenticate(token)).toMatchObject({ ok: true })
    await world.clock.advance(5 * MINUTE - 1)
    expect(world.keyFetches()).toBe(2)
    const again = await world.verifier.authenticate(token)
    expect(again).toMatchObject({ ok: true, value: { source: 'cache' } })
  })

  test('may hold one key under two ids, either of which is withdrawn by itself', async () => {
    await using world = await start()
    world.issuer.published.keys = [first.jwk, { ...first.jwk, kid: 'other' }]
    for (const kid of [first.jwk.kid, 'other', undefined]) {
      expect(await world.use(first, { kid })).toBe('accepted')
    }
    world.issuer.published.keys = [first.jwk]
    await world.clock.advance(5 * MINUTE)
    expect(await world.use(first, { kid: 'other' })).toBe('unknown_key')
    expect(await world.use(first)).toBe('accepted')
  })

  test.each([
    ['1, with which everybody signs', 'AQ'],
    ['an even number', 'AQAA'],
    ['more than 32 bits', 'AQAAAAE'],
  ])('may hold an RSA key with the exponent %s, which is not used', async (_case, e) => {
    const rsa = await createKey('RS256')
    await using world = await start([first, rsa])
    world.issuer.published.keys = [first.jwk, { ...rsa.jwk, e }]
    expect(await world.use(rsa)).toBe('unknown_key')
    expect(await world.use(first)).toBe('accepted')
  })

  test('with two keys of one id and one algorithm serves neither', async () => {
    await using world = await start()
    world.issuer.published.keys = [first.jwk, { ...second.jwk, kid: String(first.jwk.kid) }]
    expect(await world.use(first)).toBe('ambiguous_key')
  })
})
