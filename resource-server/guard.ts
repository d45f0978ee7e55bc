import {
  describeRefusal,
  type ChallengeContext,
  type RefusalAnswer,
  type Scheme,
} from './challenge.ts'
import { checkAudience, type AccessTokenClaims, type Auth } from './claims.ts'
import type { Counters } from './counters.ts'
import {
  describeDecision,
  explainRefusal,
  type Check,
  type Decision,
  type Trace,
} from './decision.ts'
import type { Refusal, Result } from './errors.ts'
import {
  fromAuthorization,
  isTokenText,
  type FoundToken,
  type RequestFacts,
  type TokenExtractor,
} from './extractors.ts'
import { refuseUnknownOptions } from './options.ts'
import { readPolicy, type Requirements, type RoutePolicy } from './policy.ts'
import { describeIssue, type ClaimsSchema } from './schema.ts'
import { createSenderCheck, type Binding, type SenderCheck, type SenderOptions } from './sender.ts'
import { checkFreshness, nameStaleRule, requireFollowing } from './staleness.ts'
import {
  chain,
  narrowAudiences,
  type Authenticated,
  type ConnectionMemo,
  type MaybePromise,
  type Verifier,
} from './token-verifier.ts'

export interface GuardOptions<Context = unknown> {
  /** Where the token is looked for. The header `Authorization` by default. */
  readonly token?: TokenExtractor
  /** How the sender of a token that is bound to a key or a certificate proves that it is theirs. */
  readonly sender?: SenderOptions
  /** Where the metadata of this API are (RFC 9728): each challenge names it. */
  readonly resourceMetadata?: string
  /**
   * Told of every decision, with each check that was made, for the operator's log. It holds no token,
   * and claims only of one whose signature held. What it throws ends the request with an error.
   */
  readonly onDecision?: (decision: Decision, context: Context) => void
  /** Counts the decisions. */
  readonly counters?: Counters
  /**
   * Says in `error_description` why a request was refused. For development: **warning:** it tells a
   * stranger what to try next. Refused where `environment` is not `development` or `test`.
   */
  readonly exposeReasons?: boolean
  /** Where this runs, with `exposeReasons`: the value of `NODE_ENV`, exactly `development` or `test`. */
  readonly environment?: string | undefined
}

/** Whether a request is let through; if not, why, and what it is to be answered. */
export type GuardDecision<Claims> =
  | {
      readonly ok: true
      readonly value: Auth<Claims>
      /** To be sent with the answer. */
      readonly headers: Readonly<Record<string, string>> | undefined
    }
  | { readonly ok: false; readonly reason: Refusal; readonly answer: RefusalAnswer }

/** Decides about requests to one route. Knows no framework. */
export interface Guard<Claims = AccessTokenClaims, Context = unknown> {
  /**
   * Decides about a request. Never throws for what the request holds. Answers a promise only where
   * something has to be waited for: the issuer's keys, a store of used proofs, a schema, `owns`.
   */
  decide(facts: RequestFacts, context: Context): MaybePromise<GuardDecision<Claims>>
  /**
   * Every check that this route makes of a token, as if it were sent as a bearer token: all but its
   * sender's proof and `owns`, which need a request. Nothing that was kept is used.
   */
  explain(token: string): Promise<Decision>
}

export const GUARD_OPTIONS: readonly string[] = [
  'token',
  'sender',
  'resourceMetadata',
  'onDecision',
  'counters',
  'exposeReasons',
  'environment',
]

/** What a route wants, with a schema that gives the claims their type. */
export type PolicyWithSchema<Claims, Context> = RoutePolicy<Claims, Context> & {
  readonly claims: ClaimsSchema<Claims>
}

/**
 * Makes a guard out of a verifier and what a route wants. What it wants is checked for every request:
 * only what a token is by itself is kept from one request to the next. The claims have another type
 * than RFC 9068's only where a schema has looked at them.
 *
 * Throws a `TypeError` that names the option for options that cannot be right.
 */
export function createGuard<Claims, Context = unknown>(
  verifier: Verifier,
  policy: PolicyWithSchema<Claims, Context>,
  options?: GuardOptions<Context>,
): Guard<Claims, Context>
export function createGuard<Context = unknown>(
  verifier: Verifier,
  policy?: RoutePolicy<AccessTokenClaims, Context>,
  options?: GuardOptions<Context>,
): Guard<AccessTokenClaims, Context>
export function createGuard<Claims, Context>(
  verifier: Verifier,
  policy: RoutePolicy<Claims, Context> = {},
  options: GuardOptions<Context> = {},
): Guard<Claims, Context> {
  return createGuardMaker(verifier, options)(policy)
}

/** For several guards that share their options. */
export function createGuardMaker<Context>(
  verifier: Verifier,
  options: GuardOptions<Context>,
): <Claims>(policy: RoutePolicy<Claims, Context>) => Guard<Claims, Context> {
  refuseUnknownOptions('createGuard', options, GUARD_OPTIONS)
  requireParts(verifier, options)
  requireDevelopment(options)
  const { token: extractor = fromAuthorization(), onDecision, counters, resourceMetadata } = options
  const { exposeReasons = false } = options
  const sender = createSenderCheck(options.sender)
  const memos = memosOf(verifier)
  const { clock } = verifier
  const isTimed = onDecision !== undefined || counters !== undefined

  function findToken(
    facts: RequestFacts,
    memo: ConnectionMemo,
    trace: Trace,
  ): Result<FoundToken, Refusal> {
    const read = isReadable(facts) ? extractor.read(facts, memo) : refuse(UNREADABLE)
    // A scheme that is not taken here is no credential.
    const isForUs = !read.ok || read.value.scheme === 'Bearer' || sender.dpop !== undefined
    const found: typeof read = isForUs ? read : refuse({ kind: 'no_token' })
    const received = found.ok ? found.value.scheme : found.reason
    trace?.push({ check: 'token', passed: found.ok, expected: extractor.place, received })
    return found
  }

  return <Claims>(policy: RoutePolicy<Claims, Context>) => {
    const wanted = readPolicy(policy)
    requireSender(wanted, sender)
    requireFollowing(policy.whenStale, verifier)
    const narrow = createNarrowing(wanted.audiences, verifier)
    const challenge: ChallengeContext = {
      accepted: listSchemes(wanted.sender, sender.dpop !== undefined),
      dpopAlgorithms: sender.dpop?.algorithms,
      resourceMetadata,
    }

    /** What depends on the route or on the request. In this order, every time. */
    function checkRoute(
      { auth, audiences, stale }: Authenticated,
      found: FoundToken,
      facts: RequestFacts,
      trace: Trace,
    ): MaybePromise<Result<Auth<Claims>, Refusal>> {
      const wrongAudience = checkAudience(auth.claims, narrow(audiences), trace)
      if (wrongAudience !== undefined) return refuse(wrongAudience)
      return chain(sender.check(auth, found, facts, wanted.sender, trace), (unproven) => {
        const lacking =
          unproven ??
          checkScopes(auth, wanted.scopes, trace) ??
          checkRoles(auth, wanted.roles, trace) ??
          checkAuthentication(auth, wanted, verifier, trace)
        // The issuer may have to be asked: not for who could not come in anyway.
        const reason =
          lacking === undefined && stale !== undefined
            ? checkFreshness({ token: found.token, auth, stale }, wanted.whenStale, clock, trace)
            : lacking
        return chain(reason, (refusal) =>
          refusal === undefined ? applySchema(auth, wanted.schema, trace) : refuse(refusal),
        )
      })
    }

    function checkOwner(
      auth: Auth<Claims>,
      context: Context,
      trace: Trace,
    ): MaybePromise<Result<Auth<Claims>, Refusal>> {
      if (wanted.owns === undefined) return { ok: true, value: auth }
      return chain(settle<unknown>(wanted.owns(auth, context)), (owns) => {
        // A rule that answers something else by mistake lets nobody through.
        const passed = owns === true
        trace?.push({ check: 'owner', passed })
        return passed ? { ok: true, value: auth } : refuse({ kind: 'not_owner' })
      })
    }

    return {
      decide(facts, context) {
        const startedAt = isTimed ? clock.monotonic() : 0
        const trace: Trace = onDecision === undefined ? undefined : []
        const memo = recallConnection(memos, facts?.socket)
        const found = findToken(facts, memo, trace)
        let verified: Authenticated | undefined
        const conclude = (result: Result<Auth<Claims>, Refusal>): GuardDecision<Claims> => {
          const reason = result.ok ? undefined : result.reason
          if (isTimed) {
            const microseconds = (clock.monotonic() - startedAt) * 1000
            const staleRule = verified?.stale && nameStaleRule(wanted.whenStale)
            counters?.count(reason?.kind ?? 'allowed', verified?.source, microseconds, staleRule)
            onDecision?.(
              describeDecision(reason, trace ?? [], microseconds, verified, staleRule),
              context,
            )
          }
          const scheme = found.ok ? found.value.scheme : undefined
          if (result.ok)
            return { ok: true, value: result.value, headers: giveNonce(sender, scheme) }
          const explanation = exposeReasons ? explainRefusal(result.reason) : undefined
          const answer = describeRefusal(result.reason, { ...challenge, scheme, explanation })
          return { ok: false, reason: result.reason, answer }
        }
        if (!found.ok) return conclude(found)
        const decided = chain(
          verifier.authenticate(found.value.token, { memo, trace }),
          (outcome): MaybePromise<Result<Auth<Claims>, Refusal>> => {
            if (!outcome.ok) return refuseToken(outcome.reason, found.value)
            verified = outcome.value
            return chain(checkRoute(outcome.value, found.value, facts, trace), (allowed) =>
              allowed.ok ? checkOwner(allowed.value, context, trace) : allowed,
            )
          },
        )
        return chain(decided, conclude)
      },
      async explain(token) {
        const startedAt = clock.monotonic()
        const trace: Check[] = []
        const verified = await verifier.authenticate(token, { trace, anew: true })
        const decided = verified.ok
          ? await checkRoute(verified.value, { token, scheme: 'Bearer' }, NO_REQUEST, trace)
          : verified
        const microseconds = (clock.monotonic() - startedAt) * 1000
        const refusal = decided.ok ? undefined : decided.reason
        const known = verified.ok ? verified.value : undefined
        const staleRule = known?.stale && nameStaleRule(wanted.whenStale)
        return describeDecision(refusal, trace, microseconds, known, staleRule)
      },
    }
  }
}

/** What cannot be a token is a mistake in the request (RFC 6750 §3.1), not a token that is not valid. */
function refuseToken(
  reason: Refusal,
  { token, scheme }: FoundToken,
): { readonly ok: false; readonly reason: Refusal } {
  const isNone = reason.kind === 'malformed' && !isTokenText(token)
  const why = `Send one access token after ${scheme}.`
  return refuse(isNone ? { kind: 'malformed_request', why } : reason)
}

const NO_REQUEST: RequestFacts = { rawHeaders: [], headers: {} }
const UNREADABLE: Refusal = { kind: 'malformed_request', why: 'The request cannot be read.' }

/** What calls a guard need not be TypeScript, and what it was given is not what it sends on. */
function isReadable(facts: RequestFacts | null | undefined): boolean {
  if (typeof facts !== 'object' || facts === null) return false
  const { url, originalUrl = url, rawHeaders, headers } = facts
  return (
    Array.isArray(rawHeaders) &&
    typeof headers === 'object' &&
    headers !== null &&
    (typeof originalUrl === 'string' || originalUrl === undefined)
  )
}

/** Throws a `TypeError` for what would throw at each request otherwise, or never be called. */
function requireParts(verifier: Verifier, options: GuardOptions<never>): void {
  const { token, onDecision, counters, resourceMetadata, exposeReasons = false } = options
  if (typeof verifier?.authenticate !== 'function') {
    throw new TypeError('verifier: expected what createVerifier makes')
  }
  if (token !== undefined && typeof token?.read !== 'function') {
    throw new TypeError('token: expected what fromAuthorization or fromHeader makes')
  }
  if (onDecision !== undefined && typeof onDecision !== 'function') {
    throw new TypeError('onDecision: expected a function')
  }
  if (counters !== undefined && typeof counters?.count !== 'function') {
    throw new TypeError('counters: expected what createCounters makes')
  }
  if (resourceMetadata !== undefined && typeof resourceMetadata !== 'string') {
    throw new TypeError('resourceMetadata: expected a URL')
  }
  if (typeof exposeReasons !== 'boolean') {
    throw new TypeError('exposeReasons: expected true or false')
  }
}

/** A token that is bound to a key could never be proven, so nobody would ever be let in. */
function requireSender(
  { sender: needed }: Pick<Requirements<never, never>, 'sender'>,
  { dpop }: SenderCheck,
): void {
  if (needed?.includes('dpop') && dpop === undefined) {
    throw new TypeError('sender: dpop needs the option sender.dpop, with createDpopVerifier()')
  }
}

/** Which of an issuer's audiences a route takes. Made once for each issuer. */
function createNarrowing(
  wanted: readonly string[] | undefined,
  { audiences: all }: Verifier,
): (own: readonly string[]) => readonly string[] {
  const foreign = wanted?.find((audience) => !all.includes(audience))
  if (foreign !== undefined) {
    throw new TypeError(
      `audience: expected some of the verifier's, ${all.join(', ')}, not ${foreign}`,
    )
  }
  if (wanted === undefined) return (own) => own
  const narrowed = new WeakMap<readonly string[], readonly string[]>()
  return (own) => {
    const known = narrowed.get(own)
    if (known !== undefined) return known
    const made = narrowAudiences(own, wanted)
    narrowed.set(own, made)
    return made
  }
}

const DEVELOPMENT: readonly unknown[] = ['development', 'test']

/** What is not known for development is production: it has many names. */
function requireDevelopment({ exposeReasons = false, environment }: GuardOptions<never>): void {
  if (!exposeReasons || DEVELOPMENT.includes(environment)) return
  throw new TypeError(
    `exposeReasons: expected the environment ${DEVELOPMENT.join(' or ')}, not ${JSON.stringify(environment)}`,
  )
}

function listSchemes(needed: readonly Binding[] | undefined, hasDpop: boolean): readonly Scheme[] {
  if (!hasDpop) return ['Bearer']
  return needed?.every((binding) => binding === 'dpop') ? ['DPoP'] : ['Bearer', 'DPoP']
}

function checkScopes(auth: Auth, needed: readonly string[], trace: Trace): Refusal | undefined {
  if (needed.length === 0) return undefined
  const passed = needed.every((scope) => auth.scopes.has(scope))
  trace?.push({ check: 'scope', passed, expected: needed, received: [...auth.scopes] })
  if (passed) return undefined
  const missing = needed.filter((scope) => !auth.scopes.has(scope))
  return { kind: 'insufficient_scope', needed, missing }
}

function checkRoles(
  auth: Auth,
  oneOf: readonly string[] | undefined,
  trace: Trace,
): Refusal | undefined {
  if (oneOf === undefined) return undefined
  const passed = oneOf.some((role) => auth.roles.has(role))
  trace?.push({ check: 'roles', passed, expected: oneOf, received: [...auth.roles] })
  return passed ? undefined : { kind: 'insufficient_role', oneOf }
}

/** @see {@link https://www.rfc-editor.org/rfc/rfc9470.html#section-5 RFC 9470 §5} */
function checkAuthentication(
  { claims }: Auth,
  { acrValues, maxAgeSeconds }: Pick<Requirements<never, never>, 'acrValues' | 'maxAgeSeconds'>,
  { clock, clockToleranceSeconds }: Verifier,
  trace: Trace,
): Refusal | undefined {
  const { acr, auth_time: authTime } = claims
  const reason = { kind: 'insufficient_user_authentication', acrValues, maxAgeSeconds } as const
  if (acrValues.length > 0) {
    const passed = acrValues.some((value) => value === acr)
    trace?.push({ check: 'acr', passed, expected: acrValues, received: acr })
    if (!passed) return reason
  }
  if (maxAgeSeconds === undefined) return undefined
  const now = clock.now() / 1000
  const earliest = now - maxAgeSeconds - clockToleranceSeconds
  // One that is yet to come would be recent for as long as the token lives.
  const latest = now + clockToleranceSeconds
  const passed = typeof authTime === 'number' && authTime >= earliest && authTime <= latest
  trace?.push({ check: 'max_age', passed, expected: { earliest, latest }, received: authTime })
  return passed ? undefined : reason
}

/** Without a schema, the claims are what they are. */
function applySchema<Claims>(
  auth: Auth,
  schema: ClaimsSchema<Claims> | undefined,
  trace: Trace,
): MaybePromise<Result<Auth<Claims>, Refusal>> {
  // `Claims` is `AccessTokenClaims` where no schema says otherwise.
  if (schema === undefined) return { ok: true, value: auth as Auth<unknown> as Auth<Claims> }
  return chain(settle(schema['~standard'].validate(auth.claims)), (result) => {
    const issues = result.issues?.map(describeIssue)
    // A schema that answers something else by mistake lets nobody through.
    const passed = issues === undefined && Object.hasOwn(Object(result), 'value')
    trace?.push({ check: 'schema', passed, received: issues })
    return passed && result.issues === undefined
      ? { ok: true, value: Object.freeze({ ...auth, claims: result.value }) }
      : refuse({ kind: 'wrong_claims', issues: issues ?? [] })
  })
}

/** With an answer to a request with DPoP, so that the next proof has the nonce already. */
function giveNonce(
  { dpop }: SenderCheck,
  scheme: Scheme | undefined,
): Readonly<Record<string, string>> | undefined {
  const nonce = scheme === 'DPoP' ? dpop?.currentNonce() : undefined
  return nonce === undefined ? undefined : { 'DPoP-Nonce': nonce }
}

type Memos = WeakMap<object, ConnectionMemo>

/** All guards of a verifier share what its connections are remembered by; no two verifiers do. */
const MEMOS = new WeakMap<Verifier, Memos>()

function memosOf(verifier: Verifier): Memos {
  const memos = MEMOS.get(verifier) ?? new WeakMap()
  MEMOS.set(verifier, memos)
  return memos
}

function recallConnection(memos: Memos, socket: object | null | undefined): ConnectionMemo {
  const known = socket ? memos.get(socket) : undefined
  if (known !== undefined) return known
  const memo = { header: undefined, found: undefined, kept: undefined }
  if (typeof socket === 'object' && socket !== null) memos.set(socket, memo)
  return memo
}

/** What users' functions answer may be any promise. */
function settle<T>(value: T | PromiseLike<T>): MaybePromise<T> {
  const isPromise = typeof (value as { then?: unknown } | null)?.then === 'function'
  return isPromise ? Promise.resolve(value) : (value as T)
}

function refuse(reason: Refusal): { readonly ok: false; readonly reason: Refusal } {
  return { ok: false, reason }
}
