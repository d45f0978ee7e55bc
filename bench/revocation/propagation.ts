import { setTimeout as wait } from 'node:timers/promises'
import { startLoad } from './load.ts'
import { createWatch, watched, type Faults, type Watched } from './watch.ts'
import type { Api, Issuer } from './world.ts'

/** How soon a revocation is in force everywhere. */
export interface Propagation {
  /** Milliseconds from its answer to the first refusal by the last API, one for each revocation. */
  readonly last: readonly number[]
  /** The same by each API for itself. */
  readonly each: readonly number[]
  /** Revocations that an API had not heard of after ten seconds. */
  readonly missed: number
  readonly faults: Faults
  /** Milliseconds from when a request was due to its answer: so much later is a refusal seen. */
  readonly latencies: readonly number[]
  readonly wantedPerSecond: number
  /** Requests a second that came about. */
  readonly perSecond: number
  readonly leftOut: number
  /** Milliseconds that the revocation itself took. */
  readonly calls: readonly number[]
}

export interface PropagationOptions {
  readonly revocations: number
  readonly perSecond: number
}

const EVERY_MS = 50
const LEAST_WARM_UP_MS = 5000
const GOOD_TOKENS = 100
export const MISSED_AFTER_MS = 10_000

export async function measurePropagation(
  issuer: Issuer,
  apis: readonly Api[],
  { revocations, perSecond }: PropagationOptions,
): Promise<Propagation> {
  const good = await issuer.issueTokens(GOOD_TOKENS)
  const tokens = await issuer.issueTokens(revocations)
  const coming = tokens.map((token) => watched(token, apis.length))
  const watch = createWatch(good, coming)
  const calls: number[] = []
  const urls = apis.map(({ url }) => url)
  await using load = startLoad({ urls, perSecond, choose: watch.choose, onHit: watch.note })
  await wait(findWarmUpMs(good.length + tokens.length, apis.length, perSecond))
  watch.begin()
  const sentBefore = load.sent
  const beganAt = performance.now()
  const results: Promise<boolean>[] = []
  for (const [place, one] of coming.entries()) {
    const dueAt = beganAt + place * EVERY_MS
    await wait(Math.max(0, dueAt - performance.now()))
    const call = revoke(issuer, one, place).then((milliseconds) => {
      calls.push(milliseconds)
      return watch.isRefused(one, MISSED_AFTER_MS)
    })
    watch.follow(one)
    results.push(call)
  }
  const outcomes = await Promise.all(results)
  const seconds = (performance.now() - beganAt) / 1000
  const { sent, leftOut } = load
  const delays = coming.map(listDelays)
  return {
    last: delays.flatMap((own) => (own.length === apis.length ? [Math.max(...own)] : [])),
    each: delays.flat(),
    missed: outcomes.filter((isRefused) => !isRefused).length,
    faults: watch.faults,
    latencies: watch.latencies,
    wantedPerSecond: perSecond,
    perSecond: (sent - sentBefore) / seconds,
    leftOut,
    calls,
  }
}

/** Until each API has had each token once, and has compiled what it does most. */
export function findWarmUpMs(tokens: number, apis: number, perSecond: number): number {
  return Math.max(LEAST_WARM_UP_MS, (tokens * apis * 1000) / perSecond)
}

/** Answers how long the call took. */
export async function revoke(issuer: Issuer, one: Watched, instance: number): Promise<number> {
  const calledAt = performance.now()
  one.calledAt = calledAt
  one.answeredAt = await issuer.revoke(one.token, instance)
  return one.answeredAt - calledAt
}

/** An API may have heard of it before who revoked it has the answer: that is no time at all. */
function listDelays({ answeredAt = Number.NaN, refusedAt }: Watched): number[] {
  return refusedAt.flatMap((at) => (at === undefined ? [] : [Math.max(0, at - answeredAt)]))
}
