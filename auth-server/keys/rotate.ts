import { LONGEST_TOKEN_SECONDS, type SigningAlgorithm } from '../config/schema.ts'
import { keyPhase, type KeyEnd, type KeyState, type KeyTimes } from './keyset.ts'

/** How long a verifier may go on with the key set that it has: the `max-age` of `/jwks`. */
export const JWKS_LIFETIME_SECONDS = 300

const SECOND_MS = 1000
const DAY_MS = 86_400 * SECOND_MS
/**
 * How far the clocks of two instances may differ, with the moment that they take to notice a change.
 * One that is late signs with a key a little longer than the others.
 */
const CLOCK_SKEW_MS = 60 * SECOND_MS
/**
 * Two lifetimes, because a cache on the way may hand out a set that is one lifetime old, which a
 * verifier then keeps for another.
 */
const ANNOUNCED_MS = 2 * JWKS_LIFETIME_SECONDS * SECOND_MS + CLOCK_SKEW_MS
/**
 * The longest life that any configuration can give a token, and not the one of today: what was signed
 * before a shorter life was configured is still alive.
 */
const RETIRED_MS = LONGEST_TOKEN_SECONDS * SECOND_MS + CLOCK_SKEW_MS
/** Twice the longest token, as long as everything else that is revoked is remembered. */
const REVOKED_MS = 2 * DAY_MS
/**
 * Sessions outlive ID tokens, and apps send an old one as `id_token_hint` to sign somebody out. For
 * that alone the public half is kept here when nobody else has to know it any longer.
 */
const FORMER_MS = 30 * DAY_MS

/** What becomes of the keys of one algorithm. */
export type RotationPlan =
  | { readonly kind: 'rotate'; readonly times: KeyTimes; readonly ended: readonly KeyEnd[] }
  /** Nothing has to be done: this key comes next, or has just come. */
  | { readonly kind: 'done'; readonly next: KeyState }
  /** The algorithm has no key yet. */
  | { readonly kind: 'none' }

/**
 * Announces a successor, which signs when every verifier knows it. Until then the key that signs goes
 * on, and it is published until the last token that it has signed is dead.
 *
 * `keys`: all of one algorithm.
 */
export function planRotation(keys: readonly KeyState[], now: number): RotationPlan {
  const newest = findNewest(keys)
  if (!newest) return { kind: 'none' }
  if (keyPhase(newest, now) === 'announced') return { kind: 'done', next: newest }
  const activeAt = now + ANNOUNCED_MS
  const end = { retiredAt: activeAt, purgedAt: activeAt + RETIRED_MS, revokedUntil: undefined }
  return {
    kind: 'rotate',
    times: { announcedAt: now, activeAt, retiredAt: undefined, purgedAt: undefined },
    ended: [{ key: newest, ...end }],
  }
}

/**
 * Withdraws keys at once, for a successor that signs at once. All that are published go: whoever has
 * stolen one may have the others.
 *
 * `keys`: all of one algorithm. `suspects`: the ids of those that were there when somebody decided to
 * withdraw them. Where none of them is published any more, somebody else has done it meanwhile.
 */
export function planWithdrawal(
  keys: readonly KeyState[],
  suspects: ReadonlySet<string>,
  now: number,
): RotationPlan {
  const newest = findNewest(keys)
  if (!newest) return { kind: 'none' }
  const published = keys.filter((key) => keyPhase(key, now) !== 'purged')
  if (!published.some(({ kid }) => suspects.has(kid))) return { kind: 'done', next: newest }
  const end = { retiredAt: now, purgedAt: now, revokedUntil: now + REVOKED_MS }
  return {
    kind: 'rotate',
    times: { announcedAt: now, activeAt: now, retiredAt: undefined, purgedAt: undefined },
    ended: published.map((key) => ({ key, ...end })),
  }
}

function findNewest(keys: readonly KeyState[]): KeyState | undefined {
  return keys.find(({ retiredAt }) => retiredAt === undefined)
}

/** What is to be done about the keys without anybody asking for it. */
export interface Upkeep {
  /** Private halves of keys that retired before this (ms) are erased. */
  readonly eraseBefore: number | undefined
  /** Keys that were purged before this (ms) are forgotten. */
  readonly removeBefore: number | undefined
  /** Whose keys have signed for long enough. */
  readonly due: readonly SigningAlgorithm[]
}

/** `rotateEveryDays`: 0 for never. */
export function planUpkeep(
  keys: readonly KeyState[],
  { rotateEveryDays }: { readonly rotateEveryDays: number },
  now: number,
): Upkeep {
  const eraseBefore = now - CLOCK_SKEW_MS
  const removeBefore = now - FORMER_MS
  const erases = keys.some(
    ({ seal, retiredAt }) => seal !== undefined && isBefore(retiredAt, eraseBefore),
  )
  const removes = keys.some(({ purgedAt }) => isBefore(purgedAt, removeBefore))
  const due = keys.filter(
    ({ retiredAt, activeAt }) =>
      rotateEveryDays > 0 && retiredAt === undefined && activeAt + rotateEveryDays * DAY_MS <= now,
  )
  return {
    eraseBefore: erases ? eraseBefore : undefined,
    removeBefore: removes ? removeBefore : undefined,
    due: due.map(({ algorithm }) => algorithm),
  }
}

function isBefore(time: number | undefined, before: number): boolean {
  return time !== undefined && time < before
}

/** When the next key changes its phase by itself, in milliseconds since the epoch. */
export function nextPhaseAt(keys: readonly KeyTimes[], now: number): number | undefined {
  const times = keys.flatMap(({ activeAt, retiredAt, purgedAt }) => [activeAt, retiredAt, purgedAt])
  const coming = times.filter((time) => time !== undefined && time > now) as number[]
  return coming.length === 0 ? undefined : Math.min(...coming)
}
