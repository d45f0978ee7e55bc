import type { Trace } from './decision.ts'
import type { ClaimRefusal, Result } from './errors.ts'
import type { GrantPool } from './grants.ts'
import { deepFreeze, type JsonObject } from './json.ts'

/** The claims of an access token (RFC 9068 §2.2), frozen all the way down. Times are in seconds. */
export interface AccessTokenClaims {
  readonly iss: string
  readonly sub: string
  readonly aud: string | readonly string[]
  readonly exp: number
  readonly iat: number
  readonly nbf?: number
  readonly jti: string
  readonly client_id: string
  readonly scope?: string
  readonly roles?: readonly string[]
  readonly [claim: string]: unknown
}

/**
 * Whom a request comes from and what they may do: what a handler finds in `ctx.state.auth`.
 * `Claims` is what the route's schema makes of the claims, where it has one.
 */
export interface Auth<Claims = AccessTokenClaims> {
  /** A person who has signed in, or a service that acts for itself (client credentials). */
  readonly kind: 'person' | 'service'
  /** Who says so: a subject is unique at its issuer only. */
  readonly issuer: string
  /** The person's account id at the issuer; for a service, its client id. */
  readonly subject: string
  /** The application that holds the token. */
  readonly clientId: string
  readonly scopes: ReadonlySet<string>
  /** Empty where the issuer puts no `roles` into tokens for this API. */
  readonly roles: ReadonlySet<string>
  readonly claims: Claims
}

/** What a token of an issuer must say, whichever API it is for. */
export interface ClaimExpectations {
  readonly issuer: string
  readonly clockToleranceSeconds: number
  /**
   * Whether `typ` left open what kind of token it is, because it was `JWT`. ID tokens, logout tokens
   * and security events may be that as well, so their marks are looked for.
   */
  readonly typeIsAmbiguous: boolean
  /** What must be there. Of the rest, the form is checked where it is there. */
  readonly required: readonly string[]
}

const TEXTS = ['iss', 'sub', 'client_id', 'jti']
const TIMES = ['exp', 'iat', 'nbf']
/** RFC 9068 §2.2. */
export const REQUIRED_CLAIMS: readonly string[] = [
  'iss',
  'sub',
  'client_id',
  'jti',
  'exp',
  'iat',
  'aud',
]
/** Claims of other tokens that an issuer signs: OpenID Connect Core §2, §3.3.2.11, RFC 8417 §2.2. */
const FOREIGN_CLAIMS = ['nonce', 'at_hash', 'c_hash', 's_hash', 'events']

/**
 * Checks the claims of a token whose signature has been checked, as far as they mean the same for
 * every request. Does not check what depends on it: the audience of a route, whether the sender of a
 * token that is bound to a key or a certificate (`cnf`) holds it.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9068.html#section-4 RFC 9068 §4}
 */
export function checkClaims(
  payload: JsonObject,
  expected: ClaimExpectations,
  nowSeconds: number,
  trace?: Trace,
): Result<AccessTokenClaims, ClaimRefusal> {
  const claims = payload as AccessTokenClaims
  const { required } = expected
  const broken = findMalformedClaim(payload, required) ?? findForeignClaim(claims, expected)
  const received = Object.keys(payload)
  trace?.push({ check: 'claims', passed: !broken, expected: required, received })
  if (broken) return { ok: false, reason: broken }
  const isOurs = claims.iss === expected.issuer
  trace?.push({ check: 'issuer', passed: isOurs, expected: expected.issuer, received: claims.iss })
  if (!isOurs) {
    const reason = { kind: 'wrong_issuer', expected: expected.issuer, actual: claims.iss } as const
    return { ok: false, reason }
  }
  const wrongTime = checkTimes(claims, expected.clockToleranceSeconds, nowSeconds, trace)
  return wrongTime ? { ok: false, reason: wrongTime } : { ok: true, value: claims }
}

/** Checks that the token is good now: again for every use, because time goes on and clocks are set. */
export function checkTimes(
  { exp, iat, nbf }: Pick<AccessTokenClaims, 'exp' | 'nbf'> & { readonly iat?: number },
  toleranceSeconds: number,
  now: number,
  trace?: Trace,
): ClaimRefusal | undefined {
  const wrong = findWrongTime(exp, iat, nbf, toleranceSeconds, now)
  trace?.push({
    check: 'times',
    passed: !wrong,
    expected: { now, toleranceSeconds },
    received: { iat, nbf, exp },
  })
  return wrong
}

/** The token must be for one of these. */
export function checkAudience(
  { aud }: Pick<AccessTokenClaims, 'aud'>,
  expected: readonly string[],
  trace?: Trace,
): ClaimRefusal | undefined {
  const passed =
    typeof aud === 'string'
      ? expected.includes(aud)
      : aud.some((audience) => expected.includes(audience))
  trace?.push({ check: 'audience', passed, expected, received: aud })
  return passed ? undefined : { kind: 'wrong_audience', expected, actual: listAudiences(aud) }
}

function findMalformedClaim(
  payload: JsonObject,
  required: readonly string[],
): ClaimRefusal | undefined {
  const missing = required.find((claim) => !Object.hasOwn(payload, claim))
  if (missing !== undefined) return { kind: 'missing_claim', claim: missing }
  const isWrong = (isRight: (value: unknown) => boolean) => (claim: string) =>
    Object.hasOwn(payload, claim) && !isRight(payload[claim])
  const text = TEXTS.find(isWrong(isText))
  if (text !== undefined) return malformedClaim(text, 'a text that is not empty')
  const time = TIMES.find(isWrong(isTime))
  if (time !== undefined) return malformedClaim(time, 'seconds since the epoch')
  const { aud, scope, roles } = payload
  if (!isText(aud) && !(isListOfTexts(aud) && aud.length > 0)) {
    return malformedClaim('aud', 'a text or a list of texts')
  }
  if (scope !== undefined && typeof scope !== 'string') return malformedClaim('scope', 'a text')
  if (roles !== undefined && !isListOfTexts(roles))
    return malformedClaim('roles', 'a list of texts')
  return undefined
}

function findForeignClaim(
  claims: AccessTokenClaims,
  { typeIsAmbiguous }: ClaimExpectations,
): ClaimRefusal | undefined {
  if (!typeIsAmbiguous) return undefined
  const foreign = FOREIGN_CLAIMS.find((claim) => Object.hasOwn(claims, claim))
  if (foreign !== undefined) return { kind: 'not_an_access_token', claim: foreign }
  // An ID token is for the client that it was issued to, an access token for an API.
  if (listAudiences(claims.aud).includes(claims.client_id)) {
    return { kind: 'not_an_access_token', claim: 'aud' }
  }
  return claims.scope === undefined ? { kind: 'missing_claim', claim: 'scope' } : undefined
}

function findWrongTime(
  exp: number,
  iat: number | undefined,
  nbf: number | undefined,
  tolerance: number,
  now: number,
): ClaimRefusal | undefined {
  if (now >= exp + tolerance) return { kind: 'expired', exp, now }
  if (iat !== undefined && iat > now + tolerance) {
    return { kind: 'not_yet_valid', claim: 'iat', value: iat, now }
  }
  if (nbf !== undefined && nbf > now + tolerance) {
    return { kind: 'not_yet_valid', claim: 'nbf', value: nbf, now }
  }
  return undefined
}

/** What the claims mean, once they are checked. Freezes them. */
export function describeAuth(claims: AccessTokenClaims, pool: GrantPool): Auth {
  return Object.freeze({
    // RFC 9068 §2.2: without a resource owner, the subject is the client.
    kind: isService(claims) ? 'service' : 'person',
    issuer: claims.iss,
    subject: claims.sub,
    clientId: claims.client_id,
    scopes: pool.readScopes(claims.scope ?? ''),
    roles: pool.readRoles(claims.roles ?? []),
    claims: freezeClaims(claims, pool),
  })
}

/**
 * A token that was exchanged (RFC 8693) may be about another service than the one that holds it: the
 * issuer then says so.
 */
function isService({ sub, client_id: clientId, sub_kind: kind }: AccessTokenClaims): boolean {
  return sub === clientId || kind === 'service'
}

/** What many tokens say alike, and whose form has been checked. */
const SHARED = ['iss', 'aud', 'client_id', 'scope', 'roles']

/** Replaces what many tokens say alike by what the first of them said, and closes the rest. */
export function freezeClaims(claims: AccessTokenClaims, pool: GrantPool): AccessTokenClaims {
  const open = claims as { [claim: string]: unknown }
  for (const claim of SHARED) {
    const value = open[claim]
    if (typeof value === 'string') open[claim] = pool.shareText(value)
    else if (isListOfTexts(value)) open[claim] = pool.shareList(value)
  }
  return deepFreeze(claims)
}

function listAudiences(aud: string | readonly string[]): readonly string[] {
  return typeof aud === 'string' ? [aud] : aud
}

/** Half a surrogate pair has no UTF-8: stored, two such texts become the same one. */
export function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.isWellFormed()
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && value >= 0
}

function isListOfTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every(isText)
}

export function malformedClaim(claim: string, expected: string): ClaimRefusal {
  return { kind: 'malformed_claim', claim, expected }
}
