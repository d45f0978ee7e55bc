import { readQuantile } from '../numbers.ts'
import type { Verdict } from '../page.ts'
import type { ColdStart } from './cold-start.ts'
import type { CutResult } from './cuts.ts'
import type { Outage, PolicyResult } from './outage.ts'
import type { Propagation } from './propagation.ts'
import type { ViewCosts } from './view.ts'
import type { Faults } from './watch.ts'

/** What a run has measured: with `--only`, some of it. */
export interface Measurements {
  readonly propagation?: Propagation
  readonly cuts?: readonly CutResult[]
  readonly outage?: Outage
  readonly view?: ViewCosts
  readonly coldStart?: ColdStart
}

const P50_BAR_MS = 20
const P99_BAR_MS = 1000
const RETURN_BAR_MS = 1000
const WARM_BAR = 0.97
/** A loop that is noisier than this can tell nothing: its bar is missed, whatever it shows. */
const MAX_NOISE = 0.05
const MEMORY_BAR_MB = 32
const SNAPSHOT_BAR_SECONDS = 10
const LATENCY_BAR_MS = 20
/** Of the rate that is wanted: with less, it is another measurement. */
const LEAST_RATE = 0.98

export function judge(measurements: Measurements): readonly Verdict[] {
  const { propagation, cuts = [], outage, view, coldStart } = measurements
  return [
    ...(propagation ? judgePropagation(propagation) : []),
    ...cuts.map(judgeCut),
    ...(outage ? outage.policies.map((policy) => judgePolicy(policy, outage)) : []),
    ...(view ? [judgeWarm(view)] : []),
    ...(coldStart ? judgeColdStart(coldStart) : []),
  ]
}

export function percentile(values: readonly number[], share: number): number {
  return readQuantile(
    values.toSorted((one, two) => one - two),
    share,
  )
}

function judgePropagation(measured: Propagation): readonly Verdict[] {
  const { last, missed, faults, wantedPerSecond, perSecond, leftOut } = measured
  const isAtRate = perSecond >= wantedPerSecond * LEAST_RATE && leftOut === 0
  const rate = isAtRate ? '' : `; only ${perSecond.toFixed(0)} requests a second`
  const judgeQuantile = (name: string, share: number, barMs: number): Verdict => {
    const value = percentile(last, share)
    return {
      bar: `Revoked, until the last of five APIs refuses, ${name}: under ${formatMs(barMs)}`,
      measured: `${formatMs(value)}${rate}`,
      isMet: isAtRate && value < barMs,
    }
  }
  return [
    judgeQuantile('p50', 0.5, P50_BAR_MS),
    judgeQuantile('p99', 0.99, P99_BAR_MS),
    {
      bar: `Nothing missed, of ${last.length + missed} revocations`,
      measured: `${missed} missed; ${describeFaults(faults)}`,
      isMet: missed === 0 && countFaults(faults) === 0,
    },
  ]
}

function judgeCut({ how, seconds, after, missed, revocations, faults }: CutResult): Verdict {
  const worst = Math.max(...after)
  const what = how === 'broken' ? 'broken connections' : 'silence'
  return {
    bar: `${seconds} seconds of ${what}: refused ${formatMs(RETURN_BAR_MS)} after the return, nothing missed`,
    measured: `${formatMs(worst)} at most; ${missed} of ${revocations} missed; ${describeFaults(faults)}`,
    isMet: worst < RETURN_BAR_MS && missed === 0 && countFaults(faults) === 0,
  }
}

const OLD = 'young, old token'
const YOUNG = 'young, new token'

function judgePolicy(policy: PolicyResult, outage: Outage): Verdict {
  const { name, lastLetIn, ageAtLastLetIn, refusals, letInAgain } = policy
  const { staleAfterSeconds, youngSeconds, seconds } = outage
  const wrong = letInAgain === 0 && outage.failed === 0 ? '' : '; something went wrong, see below'
  const seen = refusals.length === 0 ? 'never refused' : `then ${refusals.join(', ')}`
  if (name === 'open') {
    return {
      bar: 'Issuer dead, open: all tokens that are good otherwise',
      measured: `${seen}, in ${seconds.toFixed(0)} s${wrong}`,
      isMet: refusals.length === 0 && wrong === '',
    }
  }
  if (name === YOUNG) {
    return {
      bar: `Issuer dead, young(${youngSeconds}): a token until it is ${youngSeconds} s old`,
      measured: `until ${ageAtLastLetIn.toFixed(1)} s old, ${seen}${wrong}`,
      isMet:
        refusals.length > 0 &&
        // Its `iat` is a whole second.
        ageAtLastLetIn <= youngSeconds + 1 &&
        ageAtLastLetIn >= youngSeconds - 1 &&
        wrong === '',
    }
  }
  const rule = name === OLD ? `young(${youngSeconds}), an older token` : name
  return {
    bar: `Issuer dead, ${rule}: refused after ${staleAfterSeconds} s`,
    measured: `the last let in after ${lastLetIn.toFixed(1)} s, ${seen}${wrong}`,
    isMet: refusals.length > 0 && lastLetIn <= staleAfterSeconds && wrong === '',
  }
}

export function findNoise({ controlRatio: { surelyFrom, surelyTo } }: ViewCosts): number {
  return Math.max(Math.abs(surelyFrom - 1), Math.abs(surelyTo - 1))
}

function judgeWarm(view: ViewCosts): Verdict {
  const noise = findNoise(view)
  const { median } = view.warmRatio
  const isMet = noise <= MAX_NOISE && median >= WARM_BAR - noise
  const measured = [
    `${median.toFixed(3)}; noise ±${noise.toFixed(3)}${noise > MAX_NOISE ? ', too much to tell' : ''}`,
    ...(isMet && median < WARM_BAR ? ['within the noise'] : []),
  ]
  return {
    bar: `A warm check with the view, beside one without: at least ${WARM_BAR}`,
    measured: measured.join('; '),
    isMet,
  }
}

function judgeColdStart(coldStart: ColdStart): readonly Verdict[] {
  const { entries, starts } = coldStart
  const perMillion = (Math.max(...starts.map(countBytes)) / entries) * 1e6
  const slowest = Math.max(...starts.map(({ seconds }) => seconds))
  const { own, controls, noise } = comparePauses(coldStart)
  const failed = starts.reduce((sum, start) => sum + start.failed, 0)
  const above = own - controls
  const limitSeconds = (SNAPSHOT_BAR_SECONDS * entries) / 1e6
  return [
    {
      bar: `${formatCount(entries)} entries: at most ${MEMORY_BAR_MB} MB a million`,
      measured: `${(perMillion / 1e6).toFixed(1)} MB`,
      isMet: perMillion <= MEMORY_BAR_MB * 1e6,
    },
    {
      bar: `${formatCount(entries)} entries: known in under ${limitSeconds} s`,
      measured: `${slowest.toFixed(1)} s, the slowest of ${starts.length}`,
      isMet: slowest < limitSeconds,
    },
    {
      bar: `Meanwhile, p99 of an answer: at most ${LATENCY_BAR_MS} ms above a control`,
      measured: `${above.toFixed(1)} ms; noise ±${noise.toFixed(1)} ms${failed === 0 ? '' : `; ${failed} failed`}`,
      isMet: above <= LATENCY_BAR_MS && failed === 0,
    },
  ]
}

/** Objects that have gone meanwhile are no gain of the view. */
export function countBytes({ memory }: ColdStart['starts'][number]): number {
  return memory.external + Math.max(0, memory.objects)
}

/** The 99th percentiles over all starts, in milliseconds. Two controls differ by nothing but noise. */
export function comparePauses({ starts }: ColdStart) {
  const [own = Number.NaN, one = Number.NaN, other = Number.NaN] = [0, 1, 2].map((place) =>
    percentile(
      starts.flatMap(({ latencies }) => latencies[place] ?? []),
      0.99,
    ),
  )
  return { own, controls: (one + other) / 2, noise: Math.abs(one - other) }
}

function countFaults({ letInAgain, refusedWrongly, failed }: Faults): number {
  return letInAgain + refusedWrongly + failed
}

export function describeFaults(faults: Faults): string {
  const { letInAgain, refusedWrongly, failed } = faults
  if (countFaults(faults) === 0) return 'no answer that was wrong'
  return `${letInAgain} let in again, ${refusedWrongly} refused wrongly, ${failed} failed`
}

export function formatMs(milliseconds: number): string {
  if (milliseconds >= 1000) return `${(milliseconds / 1000).toFixed(milliseconds % 1000 ? 2 : 0)} s`
  return `${milliseconds.toFixed(milliseconds < 100 && milliseconds % 1 ? 1 : 0)} ms`
}

export function formatCount(count: number): string {
  return count >= 1e6 ? `${count / 1e6} million` : count.toLocaleString('en')
}
