import { createHmac, generateKeyPairSync, randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import {
  createSharedSecretVerifier,
  createVerifier,
  type SharedSecretOptions,
  type Verifier,
  type VerifierOptions,
} from '../../resource-server/index.ts'
import { API, createKey, encode, signToken, startIssuer } from '../support/issuer.ts'
import { createTurnableClock, type TurnableClock } from '../support/turnable-clock.ts'

const ISSUER = 'jwtgo.io'
const AUDIENCE = 'billing.jwtgo.io'
const secret = randomBytes(64).toString('base64')

interface World extends AsyncDisposable {
  readonly clock: TurnableClock
  readonly verifier: Verifier
  /** Good claims of the kind that the seed systems have, but for the changes. */
  claims(change?: Record<string, unknown>): Record<string, unknown>
  kindOf(token: string): Promise<string>
}

function start(options: Partial<SharedSecretOptions> = {}): World {
  const clock = createTurnableClock()
  const verifier = createSharedSecretVerifier({
    issuer: ISSUER,
    algorithm: 'HS256',
    secret,
    audience: AUDIENCE,
    requiredClaims: ['authorized'],
    subject: { claim: 'client', kind: 'service' },
    clock,
    ...options,
  })
  return {
    clock,
    verifier,
    claims: (change) => ({
      iss: ISSUER,
      aud: AUDIENCE,
      exp: Math.floor(clock.now() / 1000) + 60,
      client: 'Krissanawat',
      authorized: true,
      ...change,
    }),
    async kindOf(token) {
      const result = await verifier.verify(token)
      return result.ok ? 'accepted' : result.reason.kind
    },
    [Symbol.asyncDispose]: () => verifier[Symbol.asyncDispose](),
  }
}

function sign(
  claims: Record<string, unknown>,
  header: Record<string, unknown> = {},
  key: string | Uint8Array = secret,
): string {
  const input = `${encode({ alg: 'HS256', typ: 'JWT', ...header })}.${encode(claims)}`
  const hash = header['alg'] === 'HS512' ? 'sha512' : 'sha256'
  return `${input}.${createHmac(hash, key).update(input).digest('base64url')}`
}

describe('a token under a shared secret', () => {
  test('is accepted, the second time from what is kept', async () => {
    await using world = start()
    const token = sign(world.claims({ role: 'admin', roles: ['billing'] }))
    for (let count = 0; count < 2; count += 1) {
      const result = await world.verifier.verify(token)
      expect(result).toMatchObject({
        ok: true,
        value: {
          kind: 'service',
          issuer: ISSUER,
          subject: 'Krissanawat',
          clientId: 'Krissanawat',
          claims: { authorized: true, role: 'admin' },
        },
      })
    }
    expect(world.verifier.state).toMatchObject([{ issuer: ISSUER, keptTokens: 1 }])
  })

  test.each([undefined, 'JWT', 'at+jwt'])('may have the type %s', async (typ) => {
    await using world = start()
    expect(await world.kindOf(sign(world.claims(), { typ }))).toBe('accepted')
  })

  test('may be of HS512, and then of nothing else', async () => {
    await using world = start({ algorithm: 'HS512' })
    expect(await world.kindOf(sign(world.claims(), { alg: 'HS512' }))).toBe('accepted')
    expect(await world.kindOf(sign(world.claims()))).toBe('unsupported_algorithm')
  })

  test.each<[string, (world: World) => string, string]>([
    ['another secret', (w) => sign(w.claims(), {}, randomBytes(64)), 'bad_signature'],
    [
      'HS512 where HS256 is agreed on',
      (w) => sign(w.claims(), { alg: 'HS512' }),
      'unsupported_algorithm',
    ],
    ['the algorithm none', (w) => sign(w.claims(), { alg: 'none' }), 'unsupported_algorithm'],
    ['RS256', (w) => sign(w.claims(), { alg: 'RS256' }), 'unsupported_algorithm'],
    ['half of its signature', (w) => sign(w.claims()).slice(0, -23), 'bad_signature'],
    ['no signature', (w) => sign(w.claims()).replace(/[^.]*$/, ''), 'bad_signature'],
    ['padding', (w) => `${sign(w.claims())}=`, 'malformed'],
    [
      'a critical header',
      (w) => sign(w.claims(), { crit: ['b64'], b64: false }),
      'critical_header',
    ],
    ['the type of a proof', (w) => sign(w.claims(), { typ: 'dpop+jwt' }), 'wrong_type'],
    ['another issuer', (w) => sign(w.claims({ iss: 'jwtgo.iox' })), 'wrong_issuer'],
    ['another audience', (w) => sign(w.claims({ aud: 'orders.jwtgo.io' })), 'wrong_audience'],
    ['no expiry', (w) => sign(w.claims({ exp: undefined })), 'missing_claim'],
    ['no issuer', (w) => sign(w.claims({ iss: undefined })), 'missing_claim'],
    ['no audience', (w) => sign(w.claims({ aud: undefined })), 'missing_claim'],
    ['no claim that says who', (w) => sign(w.claims({ client: undefined })), 'missing_claim'],
    ['a number that says who', (w) => sign(w.claims({ client: 7 })), 'malformed_claim'],
    [
      'no claim that the API wants',
      (w) => sign(w.claims({ authorized: undefined })),
      'missing_claim',
    ],
    ['an expiry that has passed', (w) => sign(w.claims({ exp: 1 })), 'expired'],
    ['a birth to come', (w) => sign(w.claims({ iat: 1_750_000_100 })), 'not_yet_valid'],
    ['a binding', (w) => sign(w.claims({ cnf: { jkt: 'x' } })), 'sender_constrained'],
  ])('is refused with %s', async (_case, make, kind) => {
    await using world = start()
    expect(await world.kindOf(make(world))).toBe(kind)
  })

  test('expires though it is kept', async () => {
    await using world = start()
    const token = sign(world.claims())
    expect(await world.kindOf(token)).toBe('accepted')
    await world.clock.advance(64_999)
    expect(await world.kindOf(token)).toBe('accepted')
    await world.clock.advance(1)
    expect(await world.kindOf(token)).toBe('expired')
  })
})

test('a person in sub is who asks where nothing else is said', async () => {
  const clock = createTurnableClock()
  await using verifier = createSharedSecretVerifier({
    issuer: 'login',
    algorithm: 'HS256',
    secret,
    audience: 'api',
    clock,
  })
  const exp = clock.now() / 1000 + 60
  const token = sign({
    iss: 'login',
    aud: 'api',
    exp,
    sub: 'naren',
    client_id: 'shop',
    scope: 'a b',
  })
  const result = await verifier.verify(token)
  if (!result.ok) throw new Error(result.reason.kind)
  expect(result.value).toMatchObject({ kind: 'person', subject: 'naren', clientId: 'shop' })
  expect([...result.value.scopes]).toEqual(['a', 'b'])
})

describe('what everybody knows is no secret', () => {
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey
  const der = publicKey.export({ type: 'spki', format: 'der' })
  const jwk = publicKey.export({ format: 'jwk' })

  test.each<[string, string | Uint8Array]>([
    ['a PEM', String(publicKey.export({ type: 'spki', format: 'pem' }))],
    ['a PEM of PKCS#1', String(publicKey.export({ type: 'pkcs1', format: 'pem' }))],
    ['a PEM in bytes', Buffer.from(String(ec.export({ type: 'spki', format: 'pem' })))],
    ['a PEM behind a space', ` \n${String(ec.export({ type: 'spki', format: 'pem' }))}`],
    ['DER', der],
    ['DER of PKCS#1', publicKey.export({ type: 'pkcs1', format: 'der' })],
    ['DER of a curve', ec.export({ type: 'spki', format: 'der' })],
    ['DER in base64', der.toString('base64')],
    ['DER in base64url', der.toString('base64url')],
    ['a JWK', JSON.stringify(jwk)],
    ['a set of JWKs', JSON.stringify({ keys: [jwk] })],
    ['a list of JWKs', ` ${JSON.stringify([jwk])} `],
  ])('%s', (_case, notSecret) => {
    const make = () => start({ secret: notSecret })
    expect(make).toThrow(/^secret: expected a secret, not a key or a certificate that others know$/)
  })

  test.each<[string, Record<string, unknown>, RegExp]>([
    [
      '31 bytes',
      { secret: 'x'.repeat(31) },
      /^secret: .*Verifier expected at least 32 bytes for HS256$/,
    ],
    ['an empty text', { secret: '' }, /^secret: .* not none; is its variable set/],
    [
      '63 bytes for HS512',
      { secret: randomBytes(63), algorithm: 'HS512' },
      /^secret: .*Verifier expected at least 64 bytes for HS512$/,
    ],
    ['no text', { secret: undefined }, /^secret: /],
    ['a key object', { secret: publicKey }, /^secret: /],
    ['another algorithm', { algorithm: 'RS256' }, /^algorithm: /],
    ['the algorithm none', { algorithm: 'none' }, /^algorithm: /],
    ['no issuer', { issuer: undefined }, /^issuer: /],
    ['two issuers', { issuer: ['a', 'b'] }, /^issuer: /],
    ['no audience', { audience: [] }, /^audience: /],
    ['a subject without a kind', { subject: { claim: 'sub' } }, /^subject: /],
    ['an empty claim', { requiredClaims: [''] }, /^requiredClaims: /],
    ['a key set', { jwks: 'https://as.example/jwks' }, /no option jwks;/],
  ])('nor is a verifier made with %s', (_case, change, message) => {
    const make = () => start(change)
    expect(make).toThrow(TypeError)
    expect(make).toThrow(message)
  })

  test('a secret that only looks a little like a key is one', async () => {
    await using world = start({ secret: `{not json ${secret}` })
    const token = sign(world.claims(), {}, `{not json ${secret}`)
    expect(await world.kindOf(token)).toBe('accepted')
  })
})

test('neither verifier takes what the other one takes', async () => {
  const clock = createTurnableClock()
  const key = await createKey('RS256')
  await using issuer = await startIssuer(clock, key)
  await using byKeys = createVerifier({ issuer: issuer.url, audience: API, clock })
  await using bySecret = createSharedSecretVerifier({
    issuer: issuer.url,
    algorithm: 'HS256',
    secret,
    audience: API,
    clock,
  })
  const claims = issuer.claims()
  const [withKey, withSecret] = [signToken(key, claims), sign(claims, { typ: 'at+jwt' })]
  expect((await byKeys.verify(withKey)).ok).toBe(true)
  expect((await bySecret.verify(withSecret)).ok).toBe(true)
  const refusal = { ok: false, reason: { kind: 'unsupported_algorithm' } }
  expect(await byKeys.verify(withSecret)).toMatchObject(refusal)
  expect(await bySecret.verify(withKey)).toMatchObject(refusal)
  expect(() =>
    createVerifier({ issuer: issuer.url, audience: API, secret } as VerifierOptions),
  ).toThrow(/no option secret/)
})

test('a set of keys with a shared secret in it lets nobody in', async () => {
  const clock = createTurnableClock()
  const key = await createKey('ES256')
  await using issuer = await startIssuer(clock, key)
  const k = Buffer.from(secret).toString('base64url')
  issuer.published.keys.push({ kty: 'oct', k, alg: 'HS256', kid: 'shared', use: 'sig' })
  await using verifier = createVerifier({ issuer: issuer.url, audience: API, clock })
  expect((await verifier.verify(signToken(key, issuer.claims()))).ok).toBe(true)
  const token = sign(issuer.claims(), { typ: 'at+jwt', kid: 'shared' })
  expect(await verifier.verify(token)).toMatchObject({ reason: { kind: 'unsupported_algorithm' } })
  const lying = sign(issuer.claims(), { typ: 'at+jwt', kid: 'shared', alg: 'ES256' })
  expect(await verifier.verify(lying)).toMatchObject({ reason: { kind: 'unknown_key' } })
})
