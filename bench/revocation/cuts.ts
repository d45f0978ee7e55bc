import { setTimeout as wait } from 'node:timers/promises'
import type { Cut } from './gate.ts'
import { startLoad } from './load.ts'
import { findWarmUpMs, MISSED_AFTER_MS, revoke } from './propagation.ts'
import { createWatch, watched, type Faults, type Watched } from './watch.ts'
import type { Api, Issuer } from './world.ts'

/** What becomes of revocations while the APIs are cut off from the issuer. */
export interface CutResult {
  readonly how: Cut
  readonly seconds: number
  readonly revocations: number
  /** Milliseconds from the return of the connection to the last refusal, of each cut. */
  readonly after: readonly number[]
  readonly missed: number
  readonly faults: Faults
}

export interface CutOptions {
  readonly cuts: number
  readonly seconds: number
  readonly perSecond: number
}

const TOKENS = 10
const GOOD_TOKENS = 100
/** So that one cut does not begin in what the one before has left. */
const REST_MS = 2000

export async function measureCuts(
  issuer: Issuer,
  apis: readonly Api[],
  how: Cut,
  { cuts, seconds, perSecond }: CutOptions,
): Promise<CutResult> {
  const good = await issuer.issueTokens(GOOD_TOKENS)
  const tokens = await issuer.issueTokens(cuts * TOKENS)
  const coming = tokens.map((token) => watched(token, apis.length))
  const watch = createWatch(good, coming)
  const urls = apis.map(({ url }) => url)
  await using running = new AsyncDisposableStack()
  running.use(startLoad({ urls, perSecond, choose: watch.choose, onHit: watch.note }))
  await wait(findWarmUpMs(good.length + tokens.length, apis.length, perSecond))
  const after: number[] = []
  let missed = 0
  for (let cut = 0; cut < cuts; cut += 1) {
    await wait(REST_MS)
    const own = coming.slice(cut * TOKENS, (cut + 1) * TOKENS)
    await issuer.gate.cut(how)
    const beganAt = performance.now()
    for (const [place, one] of own.entries()) {
      await wait(Math.max(0, beganAt + (place * seconds * 1000) / TOKENS - performance.now()))
      watch.follow(one)
      await revoke(issuer, one, place)
    }
    await wait(Math.max(0, beganAt + seconds * 1000 - performance.now()))
    requireCut(own)
    const restoredAt = performance.now()
    await issuer.gate.restore()
    const outcomes = await Promise.all(own.map((one) => watch.isRefused(one, MISSED_AFTER_MS)))
    missed += outcomes.filter((isRefused) => !isRefused).length
    after.push(
      Math.max(...own.flatMap(({ refusedAt }) => refusedAt.map((at = 0) => at))) - restoredAt,
    )
  }
  return { how, seconds, revocations: tokens.length, after, missed, faults: watch.faults }
}

/** A cut that lets something through would be no measurement. */
function requireCut(own: readonly Watched[]): void {
  const heard = own.filter(({ refusedAt }) => refusedAt.some((at) => at !== undefined))
  if (heard.length > 0)
    throw new Error(`${heard.length} revocations came through a connection that is cut`)
  const unused = own.filter(({ letIn }) => letIn.includes(0))
  // The last one was revoked just before.
  if (unused.length > 1) throw new Error(`${unused.length} tokens were not used during the cut`)
}
