import type { AccessTokenClaims, Auth } from './claims.ts'
import type { Trace } from './decision.ts'
import type { TokenRefusal } from './errors.ts'

/** What has been revoked before its expiry. Asked for every use of a token. */
export interface Revocations {
  /**
   * A whole number from 0, and larger whenever something was added: while it is the same, nothing is
   * looked up. While it is anything else, no token is accepted.
   */
  readonly epoch: number
  /** Only `false` lets a token through. Where it cannot say, let it throw: the answer is 503 then. */
  isRevoked(claims: AccessTokenClaims): boolean
}

/** A token that was found good otherwise. */
export interface RevocableToken {
  readonly auth: Auth
  /** How far the revocations had come when it was last compared with them. */
  epoch: number
}

/** The epoch of a token that has not been compared yet. */
export const NEVER_COMPARED = -1
const RETRY_AFTER_SECONDS = 5

/** Throws a `TypeError` for what cannot say what has been revoked. */
export function requireRevocations(revocations: Revocations | undefined): void {
  if (revocations === undefined) return
  if (typeof revocations?.isRevoked !== 'function' || !isEpoch(revocations.epoch)) {
    throw new TypeError(
      'revocations: expected isRevoked, and an epoch that is a whole number from 0',
    )
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
    if (!isEpoch(epoch)) return unavailable(`the epoch is ${String(epoch)}`)
    const isRevoked: unknown = revocations.isRevoked(token.auth.claims)
    if (isRevoked === true) return { kind: 'revoked' }
    // A promise, or nothing, by mistake.
    if (isRevoked !== false) return unavailable(`isRevoked answered ${typeof isRevoked}`)
    token.epoch = epoch
    return undefined
  } catch (error) {
    return unavailable('they threw', error)
  }
}

function isEpoch(epoch: unknown): boolean {
  return Number.isSafeInteger(epoch) && (epoch as number) >= 0
}

function unavailable(why: string, cause?: unknown): TokenRefusal {
  return {
    kind: 'revocations_unavailable',
    retryAfterSeconds: RETRY_AFTER_SECONDS,
    cause: new Error(`revocations: ${why}`, { cause }),
  }
}
