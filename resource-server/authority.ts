import type { Auth } from './claims.ts'
import type { Trace } from './decision.ts'
import type { ClaimRefusal, Result } from './errors.ts'
import type { JsonObject } from './json.ts'
import type { KeySet } from './key-set.ts'
import type { FollowedRevocations, Pulse, Revocations } from './revocations.ts'
import type { TokenHeader } from './signature.ts'
import type { StaleView } from './staleness.ts'
import type { TokenCache } from './token-cache.ts'

/**
 * One issuer whose tokens are accepted, and all that is kept of it. Two issuers share nothing, so that
 * no token of one can be taken for another's.
 */
export interface Authority extends AsyncDisposable {
  readonly issuer: string
  /** A token must be for one of these where a route does not say otherwise. */
  readonly audiences: readonly string[]
  readonly acceptedTypes: readonly string[]
  isAcceptedType(type: unknown): boolean
  readonly keys: KeySet
  readonly cache: TokenCache | undefined
  readonly revocations: Revocations | undefined
  /** The same, where they may be stale; what is left to do then. */
  readonly followed: FollowedRevocations | undefined
  readonly pulse: Pulse | undefined
  readonly staleView: StaleView
  /** Checks the claims of a token that is signed with one of its keys. */
  readClaims(
    payload: JsonObject,
    header: TokenHeader,
    nowSeconds: number,
    trace: Trace,
  ): Result<Auth, ClaimRefusal>
}

/** RFC 7515 §4.1.9: a media type, in any case, whose `application/` may be left out. */
export function readType(type: unknown): string | undefined {
  return typeof type === 'string' ? type.toLowerCase().replace(/^application\//, '') : undefined
}
