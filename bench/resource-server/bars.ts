import type { Verdict } from '../page.ts'
import { BY_HAND, NO_OP, OURS, UNCACHED } from './contenders.ts'
import type { LoopResult, Loops } from './loops.ts'
import type { Memory } from './memory.ts'
import type { Lap, Load } from './race.ts'
import type { Soak } from './soak.ts'

/** All that a run has measured. */
export interface Measurements {
  readonly laps: readonly Lap[]
  readonly loops: Loops
  readonly memory: Memory
  readonly soak: Soak | undefined
}

const RATIO_BARS: Readonly<Record<Load, number>> = { 1: 0.95, 1000: 0.88 }
const UNCACHED_BAR = 1.2
const DPOP_BAR = 1.3
const WARM_BAR_MICROSECONDS = 1.5
const TOKEN_BAR_BYTES = 1300
/** A run that is noisier than this can tell nothing: its bars are missed, whatever it shows. */
const MAX_NOISE = 0.1
/** A garbage collection does not leave the very same bytes behind each time. */
const HEAP_TOLERANCE_BYTES = 1_000_000

/** Only bars for which something was measured: a run with `--only` has fewer. */
export function judge({ laps, loops, memory, soak }: Measurements): readonly Verdict[] {
  return [
    ...laps.flatMap(judgeRatio),
    ...laps.flatMap(judgeUncached),
    ...loops.results.flatMap(judgeLoop),
    judgeToken(memory),
    judgeBound(memory),
    ...(soak ? [judgeSoak(soak)] : []),
  ]
}

/**
 * The run shows by itself how far off it can be: as far as the median of a middleware that does nothing
 * may be from 1. Without one, nobody can say.
 */
export function findNoise({ results }: Lap): number {
  const noOp = results.get(NO_OP)
  if (noOp?.kind !== 'measured') return Number.POSITIVE_INFINITY
  const { surelyFrom, surelyTo } = noOp.ratio
  return Math.max(Math.abs(surelyFrom - 1), Math.abs(surelyTo - 1))
}

function judgeRatio(lap: Lap): readonly Verdict[] {
  const { algorithm, load, results } = lap
  const ours = results.get(OURS)
  if (ours === undefined) return []
  const noise = findNoise(lap)
  const needed = RATIO_BARS[load]
  const bar = `${algorithm}, ${describeLoad(load)}: at least ${needed} of bare Koa`
  if (ours.kind === 'fails') return [{ bar, measured: `fails: ${ours.why}`, isMet: false }]
  const { ratio, best } = ours
  const isMet = noise <= MAX_NOISE && ratio.median >= needed - noise
  const measured = [
    `${ratio.median.toFixed(2)}, by the best rounds ${best.toFixed(2)}`,
    describeNoise(noise),
    ...(isMet && ratio.median < needed ? ['within the noise'] : []),
  ]
  return [{ bar, measured: measured.join('; '), isMet }]
}

function describeNoise(noise: number): string {
  return `noise ±${noise.toFixed(2)}${noise > MAX_NOISE ? ', too much to tell' : ''}`
}

function judgeUncached(lap: Lap): readonly Verdict[] {
  const { algorithm, load, results } = lap
  const ours = results.get(UNCACHED)
  const jose = results.get(BY_HAND)
  if (ours?.kind !== 'measured' || jose?.kind !== 'measured') return []
  const noise = findNoise(lap)
  const times = ours.ratio.median / jose.ratio.median
  const best = (ours.best / jose.best).toFixed(2)
  return [
    {
      bar: `${algorithm}, ${describeLoad(load)}, cache off: at least ${UNCACHED_BAR} times jose by hand`,
      measured: `${times.toFixed(2)}, by the best rounds ${best}; ${describeNoise(noise)}`,
      isMet: noise <= MAX_NOISE && times >= UNCACHED_BAR - noise,
    },
  ]
}

function judgeLoop({ algorithm, name, cost, ofRaw }: LoopResult): readonly Verdict[] {
  if (name === 'dpop') {
    const bar = `DPoP proof: at most ${DPOP_BAR} raw ES256 verifications`
    return [{ bar, measured: ofRaw.toFixed(2), isMet: ofRaw <= DPOP_BAR }]
  }
  if (name !== 'warm') return []
  return [
    {
      bar: `${algorithm}, warm check in a loop: at most ${WARM_BAR_MICROSECONDS} µs`,
      measured: `${cost.median.toFixed(2)} µs`,
      isMet: cost.median <= WARM_BAR_MICROSECONDS,
    },
  ]
}

function judgeToken({ bytesPerToken }: Memory): Verdict {
  return {
    bar: `A cached token: at most ${TOKEN_BAR_BYTES} bytes`,
    measured:
      bytesPerToken === undefined ? 'no token is kept' : `${bytesPerToken.toFixed(0)} bytes`,
    isMet: bytesPerToken !== undefined && bytesPerToken <= TOKEN_BAR_BYTES,
  }
}

function judgeBound({ tokens, growth }: Memory): Verdict {
  const [first = 0] = growth
  const last = growth.at(-1) ?? Number.NaN
  return {
    bar: `The cache is bounded: ${tokens * growth.length} tokens take no more than the first ${tokens}`,
    measured: `${formatMegabytes(last)} and ${formatMegabytes(first)}`,
    isMet: last - first <= HEAP_TOLERANCE_BYTES,
  }
}

function judgeSoak({ minutes, heap, isSound }: Soak): Verdict {
  const [before = Number.NaN] = heap
  const after = heap.at(-1) ?? Number.NaN
  const doors = isSound ? '' : '; a bad token was let through, or a good one was not'
  return {
    bar: `${minutes} minutes of random bad tokens: the heap is where it was`,
    measured: `${formatMegabytes(before)} before, ${formatMegabytes(after)} after${doors}`,
    isMet: isSound && after - before <= HEAP_TOLERANCE_BYTES,
  }
}

export function describeLoad(load: Load): string {
  return load === 1 ? 'one token' : `${load} tokens in rotation`
}

export function formatMegabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(2)} MB`
}
