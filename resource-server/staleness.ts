import type { Auth } from './claims.ts'
import type { Clock } from './clock.ts'
import type { Trace } from './decision.ts'
import type { TokenRefusal } from './errors.ts'
import { readNumber } from './options.ts'
import { refuseUnknown } from './revocations.ts'
import type { MaybePromise, Verifier } from './token-verifier.ts'

/** What is done about a token while it is not known what its issuer has revoked. */
export type StaleRule = Young | 'closed' | 'introspect' | 'open'

/** Tokens that were issued no longer ago than that are taken: what `young` makes. */
export interface Young {
  readonly rule: 'young'
  readonly seconds: number
}

export type StaleRuleName = 'young' | 'closed' | 'introspect' | 'open'

/** What is left to do about an issuer's token then. */
export interface StaleView {
  /** Who asks the issuer. */
  readonly introspection: Verifier | undefined
  /** How old its keys are; absent where they are none that it could withdraw. */
  readonly keysAgeSeconds?: () => number | undefined
}

const NAMES: readonly unknown[] = ['closed', 'introspect', 'open']
const MOST_SECONDS = 3600
/**
 * Who has a key that was withdrawn makes tokens that are young at any time. Twice as long as it takes to
 * fetch the keys again: where that fails as well, nobody knows whether there is such a key.
 */
const MOST_KEYS_AGE_SECONDS = 600

/**
 * For `whenStale`: takes tokens that were issued at most so many seconds ago (1 to 3600), and answers 401
 * to others, so that their clients get new ones from the issuer, which knows what it has revoked. Where
 * the issuer's keys could not be had for ten minutes either, it is 503 for everybody.
 */
export function young(seconds: number): Young {
  return Object.freeze({ rule: 'young', seconds: readNumber('young', seconds, [1, MOST_SECONDS]) })
}

const DEFAULT_RULE = young(60)

/** Throws a `TypeError` for what is no rule. */
export function readStaleRule(rule: StaleRule = DEFAULT_RULE): StaleRule {
  if (NAMES.includes(rule)) return rule
  if (typeof rule === 'object' && rule?.rule === 'young') return young(rule.seconds)
  throw new TypeError(
    `whenStale: expected young(60), 'closed', 'introspect' or 'open', not ${JSON.stringify(rule)}`,
  )
}

export function nameStaleRule(rule: StaleRule): StaleRuleName {
  return typeof rule === 'string' ? rule : rule.rule
}

/** A rule for what never happens, or one that cannot be kept, would be believed in all the same. */
export function requireFollowing(
  whenStale: StaleRule | undefined,
  { follows }: Pick<Verifier, 'follows'>,
): void {
  if (whenStale === undefined) return
  if (follows === undefined) {
    throw new TypeError(
      'whenStale: needs a verifier with revocations from createRevocationFeed, or it says nothing',
    )
  }
  if (whenStale === 'introspect' && !follows.canIntrospect) {
    throw new TypeError(
      "whenStale: 'introspect' needs the verifier's option introspection, for each issuer with a feed",
    )
  }
}

export interface StaleToken {
  readonly token: string
  readonly auth: Auth
  readonly stale: StaleView
}

/** Whether a token may be used that may have been revoked just now. */
export function checkFreshness(
  { token, auth, stale }: StaleToken,
  rule: StaleRule,
  clock: Clock,
  trace: Trace,
): MaybePromise<TokenRefusal | undefined> {
  const note = (refusal: TokenRefusal | undefined, received?: unknown) => {
    trace?.push({ check: 'freshness', passed: refusal === undefined, expected: rule, received })
    return refusal
  }
  switch (rule) {
    case 'open':
      return note(undefined)
    case 'closed':
      return note(refuseUnknown('they are stale, and the route is closed then'))
    case 'introspect':
      return introspect(token, stale, note)
    default: {
      const keysAge = stale.keysAgeSeconds?.() ?? 0
      if (keysAge > MOST_KEYS_AGE_SECONDS) return note(refuseUnknown(OLD_KEYS), { keysAge })
      return note(checkYouth(auth, rule.seconds, clock.now() / 1000), { iat: auth.claims.iat })
    }
  }
}

const OLD_KEYS = `they are stale, and so are the keys, which are more than ${MOST_KEYS_AGE_SECONDS} seconds old`

async function introspect(
  token: string,
  { introspection }: StaleView,
  note: (refusal: TokenRefusal | undefined, received?: unknown) => TokenRefusal | undefined,
): Promise<TokenRefusal | undefined> {
  if (introspection === undefined) return note(refuseUnknown('they are stale, and nobody can ask'))
  const answer = await introspection.authenticate(token)
  return answer.ok ? note(undefined, 'active') : note(answer.reason, answer.reason.kind)
}

/** A token that does not say when it was issued is not young. */
function checkYouth(
  { claims }: Auth,
  maxAgeSeconds: number,
  now: number,
): TokenRefusal | undefined {
  const iat: number | undefined = claims.iat
  const isYoung = typeof iat === 'number' && now - iat <= maxAgeSeconds
  return isYoung ? undefined : { kind: 'not_young', maxAgeSeconds, iat, now }
}
