import type { Authority } from './authority.ts'
import { checkAudience, checkTimes, type Auth } from './claims.ts'
import type { Clock } from './clock.ts'
import { describeDecision, type Check, type Decision, type Source, type Trace } from './decision.ts'
import type { Result, TokenRefusal } from './errors.ts'
import type { FoundToken } from './extractors.ts'
import { parseJsonObject, weighJson } from './json.ts'
import type { KeyLookup, KeySetState } from './key-set.ts'
import {
  checkRevocation,
  isSettled,
  isStale,
  NEVER_COMPARED,
  type RevocationState,
} from './revocations.ts'
import type { TokenParser, UnverifiedToken } from './signature.ts'
import { checkFreshness, readStaleRule, type StaleRule, type StaleView } from './staleness.ts'
import type { KeptToken } from './token-cache.ts'

/** Where nothing has to be waited for, nothing is. */
export type MaybePromise<T> = T | Promise<T>

export interface VerifyOptions {
  /** Of the verifier's own audiences, those that are meant: an issuer's tokens must be for its own. */
  readonly audiences?: readonly string[]
  /** As that of a route: what is done while the revocations are stale. `young(60)` by default. */
  readonly whenStale?: StaleRule
}

/** A token whose form, signature, claims, times and revocation have been checked. */
export interface Authenticated {
  readonly auth: Auth
  /** Those of its issuer. Not checked yet: a token must be for one of these. */
  readonly audiences: readonly string[]
  readonly source: Source
  /** Where it is not known whether it was revoked just now. Not checked yet: see `whenStale`. */
  readonly stale?: StaleView | undefined
}

/** What a connection is remembered by: a client that sends the same token again is found at once. */
export interface ConnectionMemo {
  /** The header that the last token came in, and what was read out of it. */
  header: string | undefined
  found: FoundToken | undefined
  kept: KeptToken | undefined
}

export interface AuthenticateOptions {
  readonly memo?: ConnectionMemo | undefined
  readonly trace?: Trace
  /** Checks everything, whatever is kept, and keeps nothing. */
  readonly anew?: boolean
}

/** What a verifier has of one issuer, for the operator. */
export interface IssuerState extends KeySetState {
  readonly issuer: string
  readonly keptTokens: number
  /** Where they are followed. */
  readonly revocations?: RevocationState | undefined
}

/** Checks access tokens. Keeps its issuers' keys by a timer: dispose of it at the end. */
export interface Verifier extends AsyncDisposable {
  /** Whose tokens it accepts. */
  readonly issuers: readonly string[]
  /** What these may be for: those of all issuers. */
  readonly audiences: readonly string[]
  readonly clock: Clock
  readonly clockToleranceSeconds: number
  readonly state: readonly IssuerState[]
  /** Whether it follows what its issuers revoke; `canIntrospect`: and can ask all of those meanwhile. */
  readonly follows?: { readonly canIntrospect: boolean } | undefined
  /**
   * Answers whom the token speaks for, or why it is refused; never throws for what a token holds, or
   * for what is none.
   *
   * Checks form, type, key, signature and claims (RFC 9068 §4), and whether it has been revoked, where
   * the verifier knows of revocations. Does not check scopes. Refuses a token that is bound to its
   * sender (`cnf`): the proof is in the request, which a guard sees and this does not. The first call
   * fetches the issuer's keys.
   */
  verify(token: string, options?: VerifyOptions): Promise<Result<Auth, TokenRefusal>>
  /**
   * Answers every check that is made of a token, in order, with what was expected and what was there.
   * Nothing that was kept is used. The claims are in it only where the signature held, the token never.
   */
  explain(token: string, options?: VerifyOptions): Promise<Decision>
  /**
   * For guards: what does not depend on the request, and no more. **Warning:** neither the audience nor
   * the sender of a bound token is checked, and what is `stale` is for the guard to decide. Waits only where the issuer has to be asked for a key.
   */
  authenticate(
    token: string,
    options?: AuthenticateOptions,
  ): MaybePromise<Result<Authenticated, TokenRefusal>>
}

export interface TokenVerifierOptions {
  readonly clock: Clock
  readonly clockToleranceSeconds: number
  readonly maxKeptMs: number
}

/** The verifier of tokens of these authorities. */
export function createTokenVerifier(
  authorities: readonly [Authority, ...Authority[]],
  parser: TokenParser,
  { clock, clockToleranceSeconds, maxKeptMs }: TokenVerifierOptions,
): Verifier {
  const issuers = authorities.map(({ issuer }) => issuer)

  /** `undefined` where the token has to be verified anew. */
  function useKept(
    kept: KeptToken,
    source: Source,
    trace: Trace,
  ): Result<Authenticated, TokenRefusal> | undefined {
    const { auth, authority } = kept
    const now = clock.monotonic()
    if (now >= kept.until || !authority.keys.isCurrent(kept.key, now)) return undefined
    trace?.push({
      check: 'kept',
      passed: true,
      expected: 'a key that is current',
      received: source,
    })
    const wrongTime = checkTimes(auth.claims, clockToleranceSeconds, clock.now() / 1000, trace)
    if (wrongTime !== undefined) return refuse(wrongTime)
    const { audiences, pulse } = authority
    if (trace === undefined && pulse !== undefined && isSettled(kept, pulse, now)) {
      return { ok: true, value: { auth, audiences, source, stale: undefined } }
    }
    const reason = checkRevocation(kept, authority.revocations, trace)
    if (reason !== undefined) return refuse(reason)
    return { ok: true, value: { auth, audiences, source, stale: findStaleView(authority, now) } }
  }

  function describeAuthenticated(
    verified: Result<KeptToken, TokenRefusal>,
  ): Result<Authenticated, TokenRefusal> {
    if (!verified.ok) return verified
    const { auth, authority } = verified.value
    const stale = findStaleView(authority, clock.monotonic())
    return { ok: true, value: { auth, audiences: authority.audiences, source: 'verified', stale } }
  }

  function findKept(token: string): KeptToken | undefined {
    for (const { cache } of authorities) {
      const kept = cache?.find(token)
      if (kept !== undefined) return kept
    }
    return undefined
  }

  /** Cheap checks first, then the key, then the signature: nothing unsigned is believed. */
  function verifyAnew(token: string, trace: Trace): MaybePromise<Result<KeptToken, TokenRefusal>> {
    const parsed = parser.parse(token)
    trace?.push({
      check: 'form',
      passed: parsed.ok,
      expected: 'a signed JWT in its one form',
      received: parsed.ok ? parsed.value.header : parsed.reason,
    })
    if (!parsed.ok) return parsed
    const unverified = parsed.value
    const chosen = chooseAuthority(authorities, unverified, trace)
    if (!chosen.ok) return chosen
    const authority = chosen.value
    const { type, keyId, algorithm } = unverified.header
    const { acceptedTypes } = authority
    const passed = authority.isAcceptedType(type)
    trace?.push({ check: 'type', passed, expected: acceptedTypes, received: type })
    if (!passed) return refuse({ kind: 'wrong_type', expected: acceptedTypes, actual: type })
    const found = authority.keys.find(keyId, algorithm)
    return chain(found, (lookup) => verifyWith(lookup, authority, token, unverified, trace))
  }

  function verifyWith(
    lookup: KeyLookup,
    authority: Authority,
    token: string,
    unverified: UnverifiedToken,
    trace: Trace,
  ): Result<KeptToken, TokenRefusal> {
    const { header } = unverified
    trace?.push({
      check: 'key',
      passed: lookup.kind === 'found',
      expected: `a key of ${authority.issuer}`,
      received: { keyId: header.keyId, algorithm: header.algorithm, found: lookup.kind },
    })
    if (lookup.kind !== 'found') return refuse(describeMiss(lookup, unverified))
    const isSigned = lookup.key.isSigner(unverified.signed, unverified.signature)
    trace?.push({ check: 'signature', passed: isSigned })
    if (!isSigned) return refuse({ kind: 'bad_signature', keyId: header.keyId })
    parser.remember(unverified)
    const payload = parseJsonObject(unverified.payload)
    trace?.push({ check: 'payload', passed: payload.ok, expected: 'a JSON object' })
    if (!payload.ok) return refuse({ kind: 'malformed', part: 'payload', why: payload.reason })
    const read = authority.readClaims(payload.value, header, clock.now() / 1000, trace)
    if (!read.ok) return read
    const kept: KeptToken = {
      // A copy: a part of a header would keep the whole of it in memory.
      token: authority.cache ? Buffer.from(token, 'latin1').toString('latin1') : token,
      auth: read.value,
      authority,
      key: lookup.key,
      size: token.length + weighJson(unverified.payload),
      until: Math.ceil(clock.monotonic() + maxKeptMs),
      epoch: NEVER_COMPARED,
    }
    const revoked = checkRevocation(kept, authority.revocations, trace)
    return revoked ? refuse(revoked) : { ok: true, value: kept }
  }

  function authenticate(
    token: string,
    { memo, trace, anew = false }: AuthenticateOptions = {},
  ): MaybePromise<Result<Authenticated, TokenRefusal>> {
    if (typeof token !== 'string') return refuse(NO_TEXT)
    if (anew) return chain(verifyAnew(token, trace), describeAuthenticated)
    const held = memo?.kept
    const isHeld = held?.token === token && authorities.includes(held.authority)
    const kept = isHeld ? held : findKept(token)
    const used = kept && useKept(kept, isHeld ? 'connection' : 'cache', trace)
    if (used !== undefined) {
      if (memo !== undefined) memo.kept = kept
      return used
    }
    return chain(verifyAnew(token, trace), (verified) => {
      if (verified.ok) keep(verified.value, memo)
      return describeAuthenticated(verified)
    })
  }

  return {
    issuers,
    audiences: [...new Set(authorities.flatMap(({ audiences }) => audiences))],
    clock,
    clockToleranceSeconds,
    authenticate,
    follows: describeFollowing(authorities),
    get state() {
      return authorities.map(({ issuer, keys, cache, followed }) => ({
        issuer,
        keptTokens: cache?.size ?? 0,
        ...keys.state,
        revocations: followed?.state,
      }))
    },
    ...decideWithoutRequest(authenticate, clock),
    async [Symbol.asyncDispose]() {
      await Promise.all(authorities.map((authority) => authority[Symbol.asyncDispose]()))
    },
  }
}

/** What a verifier can say of a token alone. */
export function decideWithoutRequest(
  authenticate: Verifier['authenticate'],
  clock: Clock,
): Pick<Verifier, 'verify' | 'explain'> {
  return {
    async verify(token, options = {}) {
      const outcome = await authenticate(token)
      if (!outcome.ok) return outcome
      const reason = await checkAlone(token, outcome.value, options, clock, undefined)
      return reason ? refuse(reason) : { ok: true, value: outcome.value.auth }
    },
    async explain(token, options = {}) {
      const startedAt = clock.monotonic()
      const trace: Check[] = []
      const verified = await authenticate(token, { anew: true, trace })
      const authenticated = verified.ok ? verified.value : undefined
      const refusal = verified.ok
        ? await checkAlone(token, verified.value, options, clock, trace)
        : verified.reason
      const microseconds = (clock.monotonic() - startedAt) * 1000
      return describeDecision(refusal, trace, microseconds, authenticated)
    },
  }
}

/** Another issuer's audience would let its tokens in as this one's: so it can only be fewer. */
export function narrowAudiences(
  own: readonly string[],
  wanted: readonly string[] | undefined,
): readonly string[] {
  return wanted === undefined ? own : own.filter((audience) => wanted.includes(audience))
}

/** What calls a verifier need not be TypeScript. */
export const NO_TEXT: TokenRefusal = { kind: 'malformed', part: 'token', why: 'it is no text' }

/** Goes on at once where there is nothing to wait for. */
export function chain<T, Next>(
  value: MaybePromise<T>,
  goOn: (value: T) => MaybePromise<Next>,
): MaybePromise<Next> {
  return value instanceof Promise ? value.then(goOn) : goOn(value)
}

function keep(kept: KeptToken, memo: ConnectionMemo | undefined): void {
  const { cache } = kept.authority
  if (cache === undefined) return
  cache.keep(kept)
  if (memo !== undefined) memo.kept = kept
}

function findStaleView({ followed, staleView }: Authority, now: number): StaleView | undefined {
  return followed !== undefined && isStale(followed, now) ? staleView : undefined
}

/** Of several issuers, the token says whose it is; whether that is true, only their keys can say. */
function chooseAuthority(
  authorities: readonly [Authority, ...Authority[]],
  { payload }: UnverifiedToken,
  trace: Trace,
): Result<Authority, TokenRefusal> {
  const [first, ...others] = authorities
  if (others.length === 0) return { ok: true, value: first }
  const expected = authorities.map(({ issuer }) => issuer)
  const parsed = parseJsonObject(payload)
  const chosen = parsed.ok
    ? authorities.find(({ issuer }) => issuer === parsed.value['iss'])
    : undefined
  // Which one it names is not quoted: it is a claim, and nobody has signed it.
  trace?.push({ check: 'issuer', passed: chosen !== undefined, expected })
  return chosen ? { ok: true, value: chosen } : refuse({ kind: 'unknown_issuer', expected })
}

/** What is left to check of a token that comes without a request. */
function checkAlone(
  token: string,
  authenticated: Authenticated,
  { audiences, whenStale }: VerifyOptions,
  clock: Clock,
  trace: Trace,
): MaybePromise<TokenRefusal | undefined> {
  const { auth, audiences: own, stale } = authenticated
  const reason = checkWithoutRequest(auth, narrowAudiences(own, audiences), trace)
  if (reason !== undefined || stale === undefined) return reason
  return checkFreshness({ token, auth, stale }, readStaleRule(whenStale), clock, trace)
}

function checkWithoutRequest(
  { claims }: Auth,
  audiences: readonly string[],
  trace: Trace,
): TokenRefusal | undefined {
  const reason = checkAudience(claims, audiences, trace)
  if (reason !== undefined || !Object.hasOwn(claims, 'cnf')) return reason
  const expected = 'a proof that comes with the request'
  trace?.push({ check: 'sender', passed: false, expected })
  return { kind: 'sender_constrained' }
}

function describeFollowing(authorities: readonly Authority[]): Verifier['follows'] {
  const following = authorities.filter(({ followed }) => followed !== undefined)
  const canIntrospect = following.every(({ staleView }) => staleView.introspection !== undefined)
  return following.length === 0 ? undefined : { canIntrospect }
}

function describeMiss(
  miss: Exclude<KeyLookup, { readonly kind: 'found' }>,
  { header: { keyId, algorithm } }: UnverifiedToken,
): TokenRefusal {
  switch (miss.kind) {
    case 'unknown_key':
    case 'ambiguous_key':
      return { kind: miss.kind, keyId }
    case 'wrong_algorithm':
      return { kind: 'wrong_algorithm', expected: miss.expected, actual: algorithm }
    case 'keys_unavailable':
      return miss
  }
}

function refuse<Reason>(reason: Reason): { readonly ok: false; readonly reason: Reason } {
  return { ok: false, reason }
}
