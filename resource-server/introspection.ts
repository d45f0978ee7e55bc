import { hash } from 'node:crypto'
import { readAuthorize } from './authorization.ts'
import { checkTimes, describeAuth, type Auth } from './claims.ts'
import type { Clock } from './clock.ts'
import type { Check, Source, Trace } from './decision.ts'
import type { Result, TokenRefusal } from './errors.ts'
import { createGrantPool } from './grants.ts'
import { readAnswer, type LackingMember } from './introspection-answer.ts'
import { createIntrospectionEndpoint, type EndpointSettings } from './introspection-endpoint.ts'
import { createSignedAnswers, type SignedAnswers } from './introspection-signed.ts'
import { ALGORITHMS } from './jwk.ts'
import { isTrustworthy } from './metadata.ts'
import { readNames, refuseUnknownOptions } from './options.ts'
import {
  asFollowed,
  checkRevocation,
  isStale,
  NEVER_COMPARED,
  requireRevocations,
  type FollowedRevocations,
  type Revocations,
} from './revocations.ts'
import { createTokenParser } from './signature.ts'
import {
  decideWithoutRequest,
  NO_TEXT,
  type Authenticated,
  type AuthenticateOptions,
  type MaybePromise,
  type Verifier,
} from './token-verifier.ts'
import {
  COMMON_OPTIONS,
  readCommonOptions,
  requireIssuer,
  type CacheOptions,
  type CommonVerifierOptions,
} from './verifier.ts'

export interface IntrospectionOptions extends Omit<CommonVerifierOptions, 'cache'> {
  /** The issuer, exactly as its metadata write it, and its answers where they name one. */
  readonly issuer: string
  /**
   * Where it is asked: https, or http on loopback. By default the `introspection_endpoint` of the
   * issuer's metadata.
   */
  readonly endpoint?: string
  /** The `aud` of tokens for this API. Of several, a token must be for one. */
  readonly audience: string | readonly string[]
  /** As which client of the issuer this API asks (HTTP Basic). */
  readonly clientId?: string
  /** From the environment or a file, never from the source. */
  readonly clientSecret?: string
  /**
   * In place of `clientId` and `clientSecret`: answers the header `Authorization` of a question, such as
   * `Bearer` and a token of this API. It and the question together may take 5 seconds.
   */
  readonly authorization?: () => string | PromiseLike<string>
  /**
   * Takes answers only where the issuer has signed them for `clientId` (RFC 9701), so that whoever stands
   * between can say nothing of a token, and what was said can be proven later. Default: `false`.
   */
  readonly signedAnswers?: boolean
  /**
   * What this issuer is known to leave out of its answers. A token without it is refused otherwise.
   *
   * - `sub`: a token without it is a service's own, and its client is the subject. **Warning:** not for
   *   an issuer that leaves it out of people's tokens.
   * - `token_type`: **warning:** many issuers answer about refresh tokens as well, and this member tells
   *   them apart. Only for an issuer that never puts the `aud` of an API into these.
   */
  readonly mayLack?: readonly LackingMember[]
  /**
   * Compared at every use, so that what has been revoked is refused although it is still kept. While a
   * feed is stale, nothing that is kept is used; nor is, after each piece of its news, what is kept of an
   * opaque token: nobody can tell what that hangs on.
   */
  readonly revocations?: Revocations
  /**
   * How many tokens that were found good are kept, and for how long: so long a token may go on that the
   * issuer has ended. Never beyond its `exp`. `false`: the issuer is asked for each request. Default:
   * 10,000 for 60 seconds, and at most 20 MB.
   */
  readonly cache?: false | CacheOptions
}

const OPTIONS = [
  'issuer',
  'endpoint',
  'audience',
  'clientId',
  'clientSecret',
  'authorization',
  'mayLack',
  'revocations',
  'signedAnswers',
]
const DEFAULT_MAX_AGE_SECONDS = 60
const MAY_LACK: readonly unknown[] = ['sub', 'token_type']
const MAX_TOKEN_LENGTH = 8192
/** RFC 6750 §2.1. */
const TOKEN = /^[A-Za-z0-9\-._~+/]+=*$/
/** Of an answer, on the average: where they are longer, fewer are kept. */
const MAX_ANSWER_BYTES = 2048
/** How many tokens are remembered about which nothing could be learned just now. */
const MAX_RESTING = 1000

/** A token that was found good. */
interface KnownToken {
  readonly auth: Auth
  /** On the monotonic clock. */
  readonly until: number
  /** About how much memory it takes, in bytes. */
  readonly size: number
  /** How far the revocations had come when it was last compared with them. */
  epoch: number
  /** The same when the issuer was asked about it. */
  readonly askedEpoch: number | undefined
  /** What it is signed with, where everything is known that can end it: of a JWT that is named. */
  readonly key?: { readonly id: string }
}

/** A question that is under way, and the one for those who have come since. */
interface Asking {
  readonly answer: Promise<Inquiry>
  next: Promise<Inquiry> | undefined
}

/** What came of a question, and each check that was made. */
interface Inquiry {
  readonly result: Result<KnownToken, TokenRefusal>
  readonly checks: readonly Check[]
}

/**
 * Makes a verifier of opaque tokens: it asks their issuer about them (RFC 7662). Guards take it as they
 * take a verifier of JWTs, and check the same for every request: audience, sender, scopes, roles.
 *
 * Requests that come with one token at the same time cause one question. What was found good is kept by
 * a hash of the token; what was not is asked about anew each time. While the issuer cannot be asked, the
 * answer is 503 and never 401: whether a token is good is not known then. An answer must name `aud`,
 * `exp`, `client_id`, `sub` and `token_type`; `claims` are typed as those of a JWT, but of the others
 * only those are there that it named.
 *
 * Does not decrypt answers. Does not limit who may cause questions, of which 50 are under
 * way at most: a limit for each sender belongs in front.
 *
 * Throws a `TypeError` that names the option, and never quotes the secret.
 */
export function createIntrospectionVerifier(options: IntrospectionOptions): Verifier {
  refuseUnknownOptions('createIntrospectionVerifier', options, [...OPTIONS, ...COMMON_OPTIONS])
  const { cache, revocations } = options
  const common = readCommonOptions({
    ...options,
    cache: cache === false ? false : { maxAgeSeconds: DEFAULT_MAX_AGE_SECONDS, ...cache },
  })
  const { clock, clockToleranceSeconds, maxTokens, maxKeptMs } = common
  const { issuer, ...settings } = readEndpoint(options)
  requireRevocations(revocations, issuer, clock)
  const followed = asFollowed(revocations)
  const signed = readSigned(options, clockToleranceSeconds, clock, followed)
  const expected = { issuer, clockToleranceSeconds, mayLack: readMayLack(options.mayLack) }
  const audiences = readNames('audience', options.audience)
  const endpoint = createIntrospectionEndpoint({ issuer, ...settings, signed }, clock)
  const known = createKnownTokens(maxTokens)
  const parser = createTokenParser(ALGORITHMS)
  const asking = new Map<string, Asking>()
  const resting = new Map<string, { readonly until: number; readonly inquiry: Inquiry }>()
  const pool = createGrantPool()

  async function inquire(token: string): Promise<Inquiry> {
    // Kept from before the question, because the token may be ended while the answer travels.
    const askedAt = clock.monotonic()
    const askedEpoch = followed?.epoch
    const answer = await endpoint.ask(token)
    const checks: Check[] = []
    if (!answer.ok) {
      const { cause } = answer.reason
      checks.push({ check: 'introspection', passed: false, received: cause?.message })
      return { result: answer, checks }
    }
    const now = clock.now()
    const claims = readAnswer(answer.value.members, expected, now / 1000, checks)
    if (!claims.ok) return { result: claims, checks }
    const { exp } = claims.value
    const value = {
      auth: describeAuth(claims.value, pool),
      until: Math.min(askedAt + maxKeptMs, clock.monotonic() + exp * 1000 - now),
      size: answer.value.size,
      epoch: NEVER_COMPARED,
      askedEpoch,
      ...(typeof claims.value.jti === 'string' && nameKey(token)),
    }
    return { result: { ok: true, value }, checks }
  }

  function nameKey(token: string): Pick<KnownToken, 'key'> | undefined {
    const parsed = parser.parse(token)
    const id = parsed.ok ? parsed.value.header.keyId : undefined
    return id === undefined ? undefined : { key: { id } }
  }

  /** Whether an answer is as good for who comes after the question as for who has asked it. */
  function mayWait(token: string): boolean {
    if (maxTokens === 0) return false
    if (followed === undefined) return true
    return !isStale(followed, clock.monotonic()) && nameKey(token) !== undefined
  }

  /**
   * One question for all who come with the same token, and none again while it could not be answered.
   * Where the answer has to be of now, who comes while one is under way shares the next.
   */
  function inquireTogether(token: string, digest: string): MaybePromise<Inquiry> {
    const rest = resting.get(digest)
    if (rest !== undefined && clock.monotonic() < rest.until) return rest.inquiry
    const underWay = asking.get(digest)
    if (underWay !== undefined) {
      if (mayWait(token)) return underWay.answer
      underWay.next ??= underWay.answer.then(() => inquireTogether(token, digest))
      return underWay.next
    }
    const answer = inquire(token)
      .then((inquiry) => {
        note(digest, inquiry)
        return inquiry
      })
      .finally(() => asking.delete(digest))
    asking.set(digest, { answer, next: undefined })
    return answer
  }

  /** While it is not known what was revoked meanwhile, or what the token hangs on, the issuer knows. */
  function findKept(digest: string, now: number): KnownToken | undefined {
    const kept = known.find(digest, now)
    if (kept === undefined || followed === undefined) return kept
    if (isStale(followed, now)) return undefined
    return kept.key !== undefined || kept.askedEpoch === followed.epoch ? kept : undefined
  }

  function note(digest: string, inquiry: Inquiry): void {
    resting.delete(digest)
    const { result } = inquiry
    if (result.ok) known.keep(digest, result.value, clock.monotonic())
    else if (result.reason.kind === 'introspection_unavailable') {
      if (resting.size >= MAX_RESTING) resting.clear()
      const until = clock.monotonic() + result.reason.retryAfterSeconds * 1000
      resting.set(digest, { until, inquiry })
    }
  }

  function use(
    token: KnownToken,
    source: Source,
    trace: Trace,
  ): Result<Authenticated, TokenRefusal> {
    const reason = checkRevocation(token, revocations, trace)
    return reason ? refuse(reason) : { ok: true, value: { auth: token.auth, audiences, source } }
  }

  function useInquiry(
    { result, checks }: Inquiry,
    trace: Trace,
  ): Result<Authenticated, TokenRefusal> {
    trace?.push(...checks)
    return result.ok ? use(result.value, 'verified', trace) : result
  }

  function authenticate(
    token: string,
    { trace, anew = false }: AuthenticateOptions = {},
  ): MaybePromise<Result<Authenticated, TokenRefusal>> {
    if (typeof token !== 'string') return refuse(NO_TEXT)
    const passed = token.length <= MAX_TOKEN_LENGTH && TOKEN.test(token)
    trace?.push({ check: 'form', passed, expected: 'an opaque token (RFC 6750 §2.1)' })
    if (!passed)
      return refuse({ kind: 'malformed', part: 'token', why: 'its length or characters' })
    if (anew) return inquire(token).then((inquiry) => useInquiry(inquiry, trace))
    const digest = hash('sha256', token, 'base64url')
    const now = clock.monotonic()
    const kept = findKept(digest, now)
    if (kept === undefined) {
      const inquiry = inquireTogether(token, digest)
      return inquiry instanceof Promise
        ? inquiry.then((ended) => useInquiry(ended, trace))
        : useInquiry(inquiry, trace)
    }
    trace?.push({ check: 'kept', passed: true, received: 'cache' })
    const wrongTime = checkTimes(kept.auth.claims, clockToleranceSeconds, clock.now() / 1000, trace)
    return wrongTime ? refuse(wrongTime) : use(kept, 'cache', trace)
  }

  return {
    issuers: [issuer],
    audiences,
    clock,
    clockToleranceSeconds,
    authenticate,
    get state() {
      return [{ issuer, keys: 0, keptTokens: known.size, ...endpoint.state }]
    },
    ...decideWithoutRequest(authenticate, clock),
    [Symbol.asyncDispose]: () => endpoint[Symbol.asyncDispose](),
  }
}

interface KnownTokens {
  find(digest: string, now: number): KnownToken | undefined
  keep(digest: string, token: KnownToken, now: number): void
  readonly size: number
}

/**
 * By SHA-256 of the token, so that no other one can be met, and none is in memory. The oldest go first:
 * none is kept long, so which of them was used last makes no difference.
 */
function createKnownTokens(maxTokens: number): KnownTokens {
  const tokens = new Map<string, KnownToken>()
  let bytes = 0
  const forget = (digest: string, { size }: KnownToken) => {
    tokens.delete(digest)
    bytes -= size
  }
  return {
    find(digest, now) {
      const token = tokens.get(digest)
      if (token === undefined || now < token.until) return token
      forget(digest, token)
      return undefined
    },
    keep(digest, token, now) {
      if (maxTokens === 0 || now >= token.until) return
      const before = tokens.get(digest)
      if (before !== undefined) forget(digest, before)
      tokens.set(digest, token)
      bytes += token.size
      for (const [oldest, old] of tokens) {
        if (tokens.size <= maxTokens && bytes <= maxTokens * MAX_ANSWER_BYTES) break
        forget(oldest, old)
      }
    },
    get size() {
      return tokens.size
    },
  }
}

function readEndpoint(options: IntrospectionOptions): Omit<EndpointSettings, 'signed'> {
  const { issuer, endpoint: url } = options
  requireIssuer(issuer)
  const isUrl = typeof url === 'string' && URL.canParse(url) && !/[\s#]/.test(url)
  if (url !== undefined && (!isUrl || !isTrustworthy(url, true))) {
    throw new TypeError(
      'endpoint: expected a URL of https without credentials or fragment (http only on loopback)',
    )
  }
  return { issuer, url, authorize: readAuthorize('createIntrospectionVerifier', options) }
}

function readSigned(
  { issuer, clientId, signedAnswers = false }: IntrospectionOptions,
  clockToleranceSeconds: number,
  clock: Clock,
  followed: FollowedRevocations | undefined,
): SignedAnswers | undefined {
  if (typeof signedAnswers !== 'boolean') {
    throw new TypeError('signedAnswers: expected true or false')
  }
  if (!signedAnswers) return undefined
  if (clientId === undefined) {
    throw new TypeError('signedAnswers: expected clientId beside it, whom answers are signed for')
  }
  return createSignedAnswers({ issuer, clientId, clockToleranceSeconds }, clock, followed)
}

function readMayLack(members: IntrospectionOptions['mayLack'] = []): readonly LackingMember[] {
  if (!Array.isArray(members) || !members.every((member) => MAY_LACK.includes(member))) {
    throw new TypeError(`mayLack: expected a list of ${MAY_LACK.join(' and ')}`)
  }
  return [...members]
}

function refuse(reason: TokenRefusal): { readonly ok: false; readonly reason: TokenRefusal } {
  return { ok: false, reason }
}
