/** What came of one attempt. */
export type Attempt =
  | { readonly kind: 'answered'; readonly status: number }
  | {
      readonly kind: 'unreachable'
      readonly reason: 'timeout' | 'network' | 'keys' | 'disabled'
    }

/** `keys`: no token can be made for it, such as one that is encrypted with a key that it has not. */
export type FailureReason = 'refused' | 'status' | 'timeout' | 'network' | 'keys' | 'disabled'

/** What becomes of an entry of the queue. */
export type Verdict =
  | { readonly kind: 'delivered' }
  | { readonly kind: 'retry'; readonly reason: FailureReason; readonly dueAt: number }
  | { readonly kind: 'given_up'; readonly reason: FailureReason }

const FIRST_PAUSE_MS = 10_000
const LONGEST_PAUSE_MS = 3_600_000
/** By then whoever was signed in there has been signed in for a day longer than they wanted. */
const GIVE_UP_AFTER_MS = 86_400_000

/**
 * Judges an attempt. `attempts` counts it; `chance` (0 to 1) spreads the next ones, so that a client
 * that comes back is not met by all of them at once.
 *
 * A client answers 400 where it has understood and will not: the same request would be refused again.
 *
 * @see {@link https://openid.net/specs/openid-connect-backchannel-1_0.html#BCResponse OpenID Connect Back-Channel Logout 1.0 §2.8}
 */
export function judgeAttempt(
  attempt: Attempt,
  { attempts, queuedAt }: { readonly attempts: number; readonly queuedAt: number },
  now: number,
  chance: number,
): Verdict {
  if (attempt.kind === 'answered') {
    const { status } = attempt
    if (status === 200 || status === 204) return { kind: 'delivered' }
    if (status === 400) return { kind: 'given_up', reason: 'refused' }
  }
  const reason = attempt.kind === 'answered' ? 'status' : attempt.reason
  const longest = Math.min(FIRST_PAUSE_MS * 2 ** (attempts - 1), LONGEST_PAUSE_MS)
  const dueAt = now + Math.round(longest * (0.5 + chance / 2))
  if (dueAt > queuedAt + GIVE_UP_AFTER_MS) return { kind: 'given_up', reason }
  return { kind: 'retry', reason, dueAt }
}
