import type { AccessTokenClaims, Auth } from './claims.ts'
import type { Clock } from './clock.ts'
import type { Trace } from './decision.ts'
import type { TokenRefusal } from './errors.ts'

/** What has been revoked before its expiry. Asked for every use of a token. */
export interface Revocations {
  /**
   * A whole number from 0, and larger whenever something was added: while it is the same, nothing is
   * looked up. While it is anything else, no token is accepted.
   */
  readonly epoch: number
  /**
   * Only `false` lets a token through. Where it cannot say, let it throw: the answer is 503 then.
   * `keyId`: of the key that the token is signed with, where there is such.
   */
  isRevoked(claims: AccessTokenClaims, keyId?: string): boolean
}

/**
 * Revocations that are heard from the issuer when they happen. What was heard last may be too long ago:
 * then each route's `whenStale` says what becomes of its requests.
 */
export interface FollowedRevocations extends Revocations {
  /** Whose they are: a verifier of another issuer's tokens refuses them. */
  readonly issuer: string
  /** By which `pulse` reckons: the verifier must have the same one. */
  readonly clock: Clock
  /** Always the same object. */
  readonly pulse: Pulse
  /** Tells these keys which ones the issuer publishes, until the function that it answers is called. */
  watchKeys(keys: WatchedKeys): () => void
  readonly state: RevocationState
}

/**
 * What each use of a token is compared with. It changes in place: two numbers are read where two calls
 * would take a tenth of the time of a whole check.
 */
export interface Pulse {
  /** As `epoch` of the revocations. */
  readonly epoch: number
  /** Until this monotonic time, all that has been revoked is known. */
  readonly freshUntil: number
}

/** Keys of an issuer that are to be fetched again as soon as it has others. */
export interface WatchedKeys {
  /** `digest`: of the ids of those that it has now. Does not throw. */
  follow(digest: string): Promise<void>
}

/** What is known of an issuer's revocations, for the operator. */
export interface RevocationState {
  readonly isFresh: boolean
  /** Since the issuer last said where its log stands; `undefined`: never. */
  readonly ageSeconds: number | undefined
  /** The place in the log up to which everything is known; `undefined`: none. */
  readonly applied: number | undefined
  /** How many are kept. */
  readonly entries: number
  /** Connections that were opened, and failures of all kinds, since the start. */
  readonly connections: number
  readonly faults: number
  /** What failed last. It may quote the issuer's answers, and holds no secret. */
  readonly lastFault: Error | undefined
}

/** A token that was found good otherwise. */
export interface RevocableToken {
  readonly auth: Auth
  /** What it is signed with; `undefined` where nobody knows. */
  readonly key?: { readonly id: string | undefined }
  /** How far the revocations had come when it was last compared with them. */
  epoch: number
}

/** The epoch of a token that has not been compared yet. */
export const NEVER_COMPARED = -1
const RETRY_AFTER_SECONDS = 5

/** Throws a `TypeError` for what cannot say what has been revoked, or says it of another issuer. */
export function requireRevocations(
  revocations: Revocations | undefined,
  issuer: string,
  clock: Clock,
): void {
  if (revocations === undefined) return
  if (typeof revocations?.isRevoked !== 'function' || !isEpoch(revocations.epoch)) {
    throw new TypeError(
      'revocations: expected isRevoked, and an epoch that is a whole number from 0',
    )
  }
  const followed = asFollowed(revocations)
  if (followed === undefined) return
  if (followed.issuer !== issuer) {
    throw new TypeError(`revocations: expected those of ${issuer}, not of ${followed.issuer}`)
  }
  if (followed.clock !== clock) {
    throw new TypeError('revocations: expected the same clock as the verifier has')
  }
}

export function asFollowed(revocations: Revocations | undefined): FollowedRevocations | undefined {
  return revocations !== undefined && 'pulse' in revocations
    ? (revocations as FollowedRevocations)
    : undefined
}

/** Whether neither has anything been revoked since the token was compared, nor could it be unknown. */
export function isSettled(token: RevocableToken, pulse: Pulse, now: number): boolean {
  try {
    return token.epoch === pulse.epoch && now < pulse.freshUntil && token.epoch !== NEVER_COMPARED
  } catch {
    return false
  }
}

/** What cannot say that it is fresh is not. */
export function isStale(followed: FollowedRevocations, now: number): boolean {
  try {
    return !(now < followed.pulse.freshUntil)
  } catch {
    return true
  }
}

/** Looked up again only when something has been revoked since the last time. */
export function checkRevocation(
  token: RevocableToken,
  revocations: Revocations | undefined,
  trace: Trace,
): TokenRefusal | undefined {
  if (revocations === undefined) return undefined
  const refusal = findRevocation(token, revocations)
  trace?.push({ check: 'revocation', passed: !refusal })
  return refusal
}

function findRevocation(token: RevocableToken, revocations: Revocations): TokenRefusal | undefined {
  try {
    const { epoch } = revocations
    if (epoch === token.epoch && epoch !== NEVER_COMPARED) return undefined
    if (!isEpoch(epoch)) return refuseUnknown(`the epoch is ${String(epoch)}`)
    const isRevoked: unknown = revocations.isRevoked(token.auth.claims, token.key?.id)
    if (isRevoked === true) return { kind: 'revoked' }
    // A promise, or nothing, by mistake.
    if (isRevoked !== false) return refuseUnknown(`isRevoked answered ${typeof isRevoked}`)
    token.epoch = epoch
    return undefined
  } catch (error) {
    return refuseUnknown('they threw', error)
  }
}

function isEpoch(epoch: unknown): boolean {
  return Number.isSafeInteger(epoch) && (epoch as number) >= 0
}

/** Whether the token has been revoked cannot be said. */
export function refuseUnknown(why: string, cause?: unknown): TokenRefusal {
  return {
    kind: 'revocations_unavailable',
    retryAfterSeconds: RETRY_AFTER_SECONDS,
    cause: new Error(`revocations: ${why}`, { cause }),
  }
}
