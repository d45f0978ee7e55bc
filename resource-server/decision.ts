import type { Auth } from './claims.ts'
import type { Refusal } from './errors.ts'
import type { StaleRuleName } from './staleness.ts'

/** What is checked, in this order; a check that failed is the last one. */
export type CheckName =
  /** Whether the request holds one token, where one is looked for. */
  | 'token'
  /** Whether the token is a signed JWT in the one form that is accepted. */
  | 'form'
  /** Whose token it says that it is: of several issuers, which one's keys are tried. */
  | 'issuer'
  | 'type'
  | 'key'
  | 'signature'
  /** Whether the result of an earlier check of the same token still stands. */
  | 'kept'
  | 'payload'
  /** Whether the issuer, where it is asked about tokens, says that this one is good. */
  | 'introspection'
  | 'claims'
  | 'times'
  | 'revocation'
  | 'audience'
  /** Whether the request proves what the token is bound to (`cnf`). */
  | 'sender'
  | 'scope'
  | 'roles'
  | 'acr'
  | 'max_age'
  /** What the route says for when it is not known what was revoked just now. */
  | 'freshness'
  /** Whether the claims fit the route's schema. */
  | 'schema'
  /** What the route's own rule says. */
  | 'owner'

/** One check that was made. What was received is no secret, but it may quote a stranger. */
export interface Check {
  readonly check: CheckName
  readonly passed: boolean
  readonly expected?: unknown
  readonly received?: unknown
}

/** Where the checks that were made are written down; `undefined` where nobody reads them. */
export type Trace = Check[] | undefined

/** Where the result of checking a token came from. */
export type Source = 'connection' | 'cache' | 'verified'

/** What was decided about a request, and on what grounds. Holds no token. */
export interface Decision {
  readonly outcome: 'allowed' | 'refused'
  /** Why it was refused. */
  readonly refusal: Refusal | undefined
  /** All checks that were made, in order. */
  readonly checks: readonly Check[]
  readonly microseconds: number
  /** `undefined` where no token was verified. */
  readonly source: Source | undefined
  /** Of a token whose signature held: who asked. */
  readonly issuer: string | undefined
  readonly subject: string | undefined
  readonly clientId: string | undefined
  /** The view of revocations was stale: what the route says for then. `undefined`: it was not. */
  readonly staleRule: StaleRuleName | undefined
}

export function describeDecision(
  refusal: Refusal | undefined,
  checks: readonly Check[],
  microseconds: number,
  verified: { readonly auth: Auth<unknown>; readonly source: Source } | undefined,
  staleRule?: StaleRuleName,
): Decision {
  return {
    outcome: refusal === undefined ? 'allowed' : 'refused',
    refusal,
    checks,
    microseconds,
    source: verified?.source,
    issuer: verified?.auth.issuer,
    subject: verified?.auth.subject,
    clientId: verified?.auth.clientId,
    staleRule,
  }
}

const MAX_EXPLANATION_LENGTH = 500

/**
 * Why a request was refused, in one line, for a developer. It quotes what came from outside.
 *
 * **Warning:** not for production: it tells a stranger what to try next.
 */
export function explainRefusal({ kind, ...facts }: Refusal): string {
  // Errors say more than their kind: where the issuer is, what it answered.
  const told = Object.entries(facts).filter(([, fact]) => !(fact instanceof Error))
  const text = told.map(([name, fact]) => ` ${name} ${JSON.stringify(fact)}`).join(',')
  return `${kind}:${text}`.replace(/:$/, '').slice(0, MAX_EXPLANATION_LENGTH)
}
