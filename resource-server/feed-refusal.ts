import { IssuerError, type IssuerErrorCode } from './errors.ts'
import type { Refused } from './fetch-json.ts'

/** These are about who asks, and how often. */
const NOT_SERVED = [401, 403, 429]
/** By the `error` of RFC 6749 §5.2 and RFC 6750 §3.1: what to look at, for whoever reads the log. */
const HINTS: ReadonlyMap<string, string> = new Map([
  ['invalid_client', 'is the client known there, and its secret or key right?'],
  ['invalid_scope', 'register the client with the scope revocations:read'],
  ['insufficient_scope', 'register the client with the scope revocations:read'],
  ['unauthorized_client', 'register the client with the grant client_credentials'],
])
/** How long `Retry-After` is believed in: a wrong one must not keep the feed away for good. */
const MOST_SECONDS: ReadonlyMap<number, number> = new Map([
  [429, 15 * 60],
  [503, 30],
])
const FIRST_BACK_OFF_MS = 5000
const MOST_BACK_OFF_MS = 60_000

/** What an operator has to know of an answer that is none; of its body, its error code at most. */
export function describeRefusal(
  url: string,
  { status, error }: Refused,
  code: IssuerErrorCode = NOT_SERVED.includes(status) ? 'turned_away' : 'bad_answer',
): IssuerError {
  const hint = HINTS.get(error ?? '')
  const said = error === undefined ? `${status}` : `${status} ${error}`
  return new IssuerError(code, `${url} answered ${said}${hint === undefined ? '' : `: ${hint}`}`, {
    cause: { expected: 200, actual: status },
  })
}

/** For how long the issuer wants to be left alone (`Retry-After`), within bounds. */
export function readWaitMs({ status, retryAfterSeconds = 0 }: Refused): number {
  return Math.min(retryAfterSeconds, MOST_SECONDS.get(status) ?? 0) * 1000
}

/** Before a client that was turned away so often asks for a token again: each time is a guess, at the issuer. */
export function backOffMs(refusals: number): number {
  return Math.min(MOST_BACK_OFF_MS, FIRST_BACK_OFF_MS * 2 ** (refusals - 1))
}
