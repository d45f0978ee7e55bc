import { Socket } from 'node:net'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { createGuard, createVerifier, type RequestFacts } from '../../resource-server/index.ts'
import { API, createKey, encode, KEYS_PATH, signToken, startIssuer } from '../support/issuer.ts'
import { createTurnableClock } from '../support/turnable-clock.ts'
import { tryOut } from './seed.ts'

const key = await createKey('ES256')

/** Something of a token is cut out, and something else put in its place. */
const cut = fc.record({
  at: fc.nat({ max: 1000 }),
  length: fc.nat({ max: 12 }),
  put: fc.oneof(
    fc.string({ maxLength: 8 }),
    fc.stringMatching(/^[\w.-]{1,8}$/),
    fc.constantFrom('.', '..', '=', '!', ' ', '\t', '\u0000', 'é'),
  ),
})

/** Something of the header or of the claims is another; it is signed by nobody. */
const change = fc.record({
  part: fc.constantFrom(0, 1),
  member: fc.constantFrom(
    'alg',
    'typ',
    'kid',
    'crit',
    'iss',
    'aud',
    'exp',
    'iat',
    'scope',
    'cnf',
    'x',
  ),
  value: fc.oneof(
    fc.jsonValue(),
    fc.constantFrom('none', 'HS256', 'RS256', 'JWT', 'dpop+jwt', 2 ** 40, -1, API),
  ),
})

type Mutation = (token: string) => string

const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  cut.map(({ at, length, put }): Mutation => (token) => {
    const place = at % (token.length + 1)
    return token.slice(0, place) + put + token.slice(place + length)
  }),
  change.map(({ part, member, value }): Mutation => (token) => {
    const parts = token.split('.')
    return parts.with(part, changeMember(parts[part] ?? '', member, value)).join('.')
  }),
  fc.constantFrom<Mutation>(
    (token) => token.toLowerCase(),
    (token) => token.split('.').toReversed().join('.'),
    (token) => token + token,
    (token) => token.repeat(20),
    (token) => token.replace(/[^.]*$/, ''),
  ),
)

/** What an earlier mutation broke stays broken. */
function changeMember(part: string, member: string, value: unknown): string {
  try {
    const members = JSON.parse(Buffer.from(part, 'base64url').toString()) as object
    return encode({ ...members, [member]: value })
  } catch {
    return part
  }
}

test('ten thousand mutated tokens: never a crash, a 200 or a 500, and the good one stays good', async () => {
  const clock = createTurnableClock()
  await using issuer = await startIssuer(clock, key)
  await using verifier = createVerifier({ issuer: issuer.url, audience: API, clock })
  const guard = createGuard(verifier, { scope: 'notes:read' })
  const good = signToken(key, issuer.claims())
  const connection = new Socket()
  const ask = async (token: string) => {
    const rawHeaders = ['Host', 'api.example', 'Authorization', `Bearer ${token}`]
    const facts: RequestFacts = {
      method: 'GET',
      url: '/',
      headers: {},
      rawHeaders,
      socket: connection,
    }
    const decision = await guard.decide(facts, undefined)
    return decision.ok ? 200 : decision.answer.status
  }
  expect(await ask(good)).toBe(200)
  const statuses = new Map<number, number>()
  const property = fc.asyncProperty(
    fc.array(mutation, { minLength: 1, maxLength: 3 }),
    async (mutations) => {
      const mutated = mutations.reduce((token, mutate) => mutate(token), good)
      // More spaces after `Bearer` change nothing.
      fc.pre(mutated.trimStart() !== good)
      const status = await ask(mutated)
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
      expect([400, 401]).toContain(status)
      expect(await ask(good)).toBe(200)
    },
  )
  await tryOut(property, 10_000)
  expect(new Set(statuses.keys())).toEqual(new Set([400, 401]))
  expect([...statuses.values()].reduce((sum, count) => sum + count, 0)).toBe(10_000)
  // Nothing of them is kept, and their key ids have cost no more fetches than the bucket holds.
  expect(verifier.state).toMatchObject([{ keptTokens: 1 }])
  expect(issuer.asked.get(KEYS_PATH)).toBeLessThanOrEqual(4)
})
