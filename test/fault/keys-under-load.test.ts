import { expect, test, vi } from 'vitest'
import {
  LONGEST_TOKEN_SECONDS,
  type ConfigInput,
  type SigningAlgorithm,
} from '../../auth-server/config/schema.ts'
import { systemClock } from '../../resource-server/clock.ts'
import { createVerifier } from '../../resource-server/index.ts'
import { decodeJwt, obtainTokens, refresh } from '../support/flow.ts'
import {
  askForServiceToken,
  createKeyWorld,
  createRunningClock,
  fetchKeyIds,
  requestServiceToken,
  RESOURCES,
} from '../support/keys.ts'
import { createTurnableClock } from '../support/turnable-clock.ts'

const ROTATIONS = 10
const ANNOUNCED = 11 * 60_000
/** When a resource server asks for the key set again. */
const JWKS_LIFETIME = 5 * 60_000
const ALGORITHMS = Object.keys(RESOURCES) as SigningAlgorithm[]
const PATIENCE = { timeout: 30_000, interval: 10 }

/** Tokens live for as long as tokens may: all that is signed here is alive to the end. */
function withLongLives(config: ConfigInput): ConfigInput {
  const live = { accessTokenTtlSeconds: LONGEST_TOKEN_SECONDS }
  return { ...config, resources: config.resources?.map((resource) => ({ ...resource, ...live })) }
}

test('ten rotations under load fail no request and no validation', async () => {
  await using world = await createKeyWorld(withLongLives, { clock: createRunningClock() })
  const server = await world.start()
  const { monotonic, schedule, advance } = createTurnableClock()
  // Tokens have the time of the system; how old its keys are, the resource server reads from the other.
  const clock = { now: systemClock.now, monotonic, schedule }
  const audience = Object.values(RESOURCES)
  await using verifier = createVerifier({ issuer: server.issuer, audience, clock })

  const failures: unknown[] = []
  const kids = new Set<string>()
  const latest = new Map<number, string>()
  /** Of every worker and every key. */
  const signed = new Set<string>()
  const counts = { issued: 0, validated: 0, userinfo: 0 }
  const over = new AbortController()

  const validate = async (token: string) => {
    const verdict = await verifier.verify(token)
    counts.validated += 1
    if (!verdict.ok) failures.push(verdict.reason)
  }
  const take = async (worker: number, token: string) => {
    counts.issued += 1
    kids.add(String(decodeJwt(token).header['kid']))
    await validate(token)
    latest.set(worker, token)
  }
  const work = async (worker: number, once: () => Promise<string>) => {
    while (!over.signal.aborted) {
      try {
        await take(worker, await once())
      } catch (error) {
        failures.push(error)
      }
    }
  }
  const signIn = async () => {
    let { refresh_token: refreshToken } = await obtainTokens(server.issuer)
    return async () => {
      const { status, body } = await refresh(server.issuer, refreshToken)
      if (status !== 200) throw new Error(`token endpoint: ${status} ${JSON.stringify(body)}`)
      refreshToken = body.refresh_token
      kids.add(String(decodeJwt(body.id_token).header['kid']))
      const headers = { authorization: `Bearer ${body.access_token}` }
      const userinfo = await fetch(`${server.issuer}/userinfo`, { headers })
      counts.userinfo += 1
      if (userinfo.status !== 200) throw new Error(`userinfo: ${userinfo.status}`)
      return body.access_token
    }
  }
  const people = [await signIn(), await signIn()]
  const services = ALGORITHMS.map((algorithm) => () => requestServiceToken(server, algorithm))
  const workers = [...people, ...services].map((once, worker) => work(worker, once))
  try {
    await vi.waitFor(() => expect(latest.size).toBe(workers.length), PATIENCE)
    for (let count = 0; count < ROTATIONS; count += 1) {
      for (const token of latest.values()) signed.add(token)
      const rotations = await world.operator.rotate({ algorithm: undefined, withdraws: false })
      const next = rotations.map(({ next: { kid } }) => kid)
      expect(rotations.every(({ isNew }) => isNew)).toBe(true)
      await vi.waitFor(async () => {
        expect(await fetchKeyIds(server)).toEqual(expect.arrayContaining(next))
      }, PATIENCE)
      await advance(JWKS_LIFETIME)
      expect(next.filter((kid) => kids.has(kid))).toEqual([])
      world.clock.advance(ANNOUNCED)
      await vi.waitFor(() => expect([...kids]).toEqual(expect.arrayContaining(next)), PATIENCE)
      // What was signed before is as good as it was.
      for (const token of signed) await validate(token)
    }
  } finally {
    over.abort()
    await Promise.all(workers)
  }
  console.log(`${ROTATIONS} rotations of ${ALGORITHMS.length} keys:`, counts)
  expect(failures).toEqual([])
  expect(kids.size).toBe(ALGORITHMS.length * (ROTATIONS + 1))
  expect(Math.min(...Object.values(counts))).toBeGreaterThan(ROTATIONS)
})

test('no token of a key is given any more when it is withdrawn, and those of the next one are good', async () => {
  await using world = await createKeyWorld()
  const server = await world.start()
  const { monotonic, schedule } = createTurnableClock()
  const clock = { now: systemClock.now, monotonic, schedule }
  await using verifier = createVerifier({
    issuer: server.issuer,
    audience: RESOURCES.ES256,
    clock,
  })
  const failures: unknown[] = []
  const given: { readonly kid: string; readonly askedAt: number; readonly isGood: boolean }[] = []
  /** When those were asked who were told to ask again in a second. */
  const postponed: number[] = []
  const over = new AbortController()
  const askOnce = async () => {
    const askedAt = performance.now()
    const { status, headers, body } = await askForServiceToken(server, 'ES256')
    if (status === 503 && headers.get('retry-after') === '1') return postponed.push(askedAt)
    if (status !== 200) throw new Error(`token endpoint: ${status} ${JSON.stringify(body)}`)
    const { ok } = await verifier.verify(body.access_token)
    const { kid } = decodeJwt(body.access_token).header
    return given.push({ kid: String(kid), askedAt, isGood: ok })
  }
  const work = async () => {
    while (!over.signal.aborted) {
      try {
        await askOnce()
      } catch (error) {
        failures.push(error)
      }
    }
  }
  const old = await requestServiceToken(server, 'ES256')
  expect((await verifier.verify(old)).ok).toBe(true)
  const workers = [work(), work(), work(), work()]
  let withdrawn: readonly string[] = []
  let next = ''
  let withdrawnAt = 0
  try {
    const [rotation] = await world.operator.rotate({ algorithm: 'ES256', withdraws: true })
    withdrawnAt = performance.now()
    withdrawn = rotation?.withdrawn ?? []
    next = String(rotation?.next.kid)
    await vi.waitFor(() => expect(given.at(-1)?.kid).toBe(next), PATIENCE)
    // Its first token made the resource server ask, which so learned that the old one is gone.
    await vi.waitFor(async () => expect((await verifier.verify(old)).ok).toBe(false), PATIENCE)
    const token = await requestServiceToken(server, 'ES256')
    expect(decodeJwt(token).header['kid']).toBe(next)
    expect((await verifier.verify(token)).ok).toBe(true)
  } finally {
    over.abort()
    await Promise.all(workers)
  }
  const later = given.filter(({ askedAt }) => askedAt > withdrawnAt)
  console.log('a withdrawal:', {
    before: given.length - later.length,
    postponed: postponed.length,
    postponedFor: Math.round(Math.max(...postponed) - Math.min(...postponed)),
    after: later.length,
  })
  expect(failures).toEqual([])
  expect(later.filter(({ kid }) => kid !== next)).toEqual([])
  expect(given.filter(({ kid, isGood }) => !isGood && !withdrawn.includes(kid))).toEqual([])
  // The servers look after their keys twice a second.
  expect(postponed.every((askedAt) => askedAt < withdrawnAt + 5000)).toBe(true)
  expect(later.length).toBeGreaterThan(10)
})
