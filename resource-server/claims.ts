import type { ClaimRefusal, Result } from './errors.ts'
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

/** Whom a request comes from and what they may do: what a handler finds in `ctx.state.auth`. */
export interface Auth {
  /** A person who has signed in, or a service that acts for itself (client credentials). */
  readonly kind: 'person' | 'service'
  /** The person's account id at the issuer; for a service, its client id. */
  readonly subject: string
  /** The application that holds the token. */
  readonly clientId: string
  readonly scopes: ReadonlySet<string>
  /** Empty where the issuer puts no `roles` into tokens for this API. */
  readonly roles: ReadonlySet<string>
  readonly claims: AccessTokenClaims
}

/** What a token must say. */
export interface ClaimExpectations {
  readonly issuer: string
  /** The token must be for one of these. */
  readonly audiences: readonly string[]
  readonly clockToleranceSeconds: number
  /**
   * Whether `typ` left open what kind of token it is, because it was `JWT`. ID tokens, logout tokens
   * and security events may be that as well, so their marks are looked for.
   */
  readonly typeIsAmbiguous: boolean
}

const REQUIRED_TEXTS = ['iss', 'sub', 'client_id', 'jti'] as const
const REQUIRED_TIMES = ['exp', 'iat'] as const
/** Claims of other tokens that an issuer signs: OpenID Connect Core §2, §3.3.2.11, RFC 8417 §2.2. */
const FOREIGN_CLAIMS = ['nonce', 'at_hash', 'c_hash', 's_hash', 'events']

/**
 * Checks the claims of a token whose signature has been checked.
 *
 * A token that is bound to a key or a certificate (`cnf`, of whatever kind) is refused: a proof of
 * possession is not looked at here, and without one it would be good in a thief's hands.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9068.html#section-4 RFC 9068 §4}
 */
export function checkClaims(
  payload: JsonObject,
  expected: ClaimExpectations,
  nowSeconds: number,
): Result<AccessTokenClaims, ClaimRefusal> {
  const reason =
    findMalformedClaim(payload) ??
    findForeignClaim(payload as AccessTokenClaims, expected) ??
    findMismatch(payload as AccessTokenClaims, expected) ??
    findWrongTime(payload as AccessTokenClaims, expected.clockToleranceSeconds, nowSeconds)
  return reason === undefined
    ? { ok: true, value: deepFreeze(payload as AccessTokenClaims) }
    : { ok: false, reason }
}

function findMalformedClaim(payload: JsonObject): ClaimRefusal | undefined {
  for (const claim of [...REQUIRED_TEXTS, ...REQUIRED_TIMES, 'aud']) {
    if (!Object.hasOwn(payload, claim)) return { kind: 'missing_claim', claim }
  }
  const { aud, nbf, scope, roles } = payload
  const text = REQUIRED_TEXTS.find((claim) => !isText(payload[claim]))
  if (text !== undefined) return malformed(text, 'a text that is not empty')
  const time = REQUIRED_TIMES.find((claim) => !isTime(payload[claim]))
  if (time !== undefined) return malformed(time, 'seconds since the epoch')
  if (nbf !== undefined && !isTime(nbf)) return malformed('nbf', 'seconds since the epoch')
  if (!isText(aud) && !(isListOfTexts(aud) && aud.length > 0)) {
    return malformed('aud', 'a text or a list of texts')
  }
  if (scope !== undefined && typeof scope !== 'string') return malformed('scope', 'a text')
  if (roles !== undefined && !isListOfTexts(roles)) return malformed('roles', 'a list of texts')
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
  if (listAudiences(claims).includes(claims.client_id)) {
    return { kind: 'not_an_access_token', claim: 'aud' }
  }
  return claims.scope === undefined ? { kind: 'missing_claim', claim: 'scope' } : undefined
}

function findMismatch(
  claims: AccessTokenClaims,
  { issuer, audiences }: ClaimExpectations,
): ClaimRefusal | undefined {
  if (claims.iss !== issuer) return { kind: 'wrong_issuer', expected: issuer, actual: claims.iss }
  const actual = listAudiences(claims)
  if (!actual.some((audience) => audiences.includes(audience))) {
    return { kind: 'wrong_audience', expected: audiences, actual }
  }
  return Object.hasOwn(claims, 'cnf') ? { kind: 'sender_constrained' } : undefined
}

function findWrongTime(
  { exp, iat, nbf }: AccessTokenClaims,
  tolerance: number,
  now: number,
): ClaimRefusal | undefined {
  if (now >= exp + tolerance) return { kind: 'expired', exp, now }
  if (iat > now + tolerance) return { kind: 'not_yet_valid', claim: 'iat', value: iat, now }
  if (nbf !== undefined && nbf > now + tolerance) {
    return { kind: 'not_yet_valid', claim: 'nbf', value: nbf, now }
  }
  return undefined
}

/** What the claims mean, once they are checked. */
export function describeAuth(claims: AccessTokenClaims): Auth {
  return Object.freeze({
    // RFC 9068 §2.2: without a resource owner, the subject is the client.
    kind: claims.sub === claims.client_id ? 'service' : 'person',
    subject: claims.sub,
    clientId: claims.client_id,
    scopes: freezeSet((claims.scope ?? '').split(' ').filter(Boolean)),
    roles: freezeSet(claims.roles ?? []),
    claims,
  })
}

function listAudiences({ aud }: AccessTokenClaims): readonly string[] {
  return typeof aud === 'string' ? [aud] : aud
}

/** Half a surrogate pair has no UTF-8: stored, two such texts become the same one. */
function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.isWellFormed()
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && value >= 0
}

function isListOfTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every(isText)
}

/** `Object.freeze` does not keep a Set from changing. */
function freezeSet(values: readonly string[]): ReadonlySet<string> {
  const closed = { add: refuseChange, delete: refuseChange, clear: refuseChange }
  return Object.freeze(Object.assign(new Set(values), closed))
}

function refuseChange(): never {
  throw new TypeError('what a token grants cannot be changed')
}

function malformed(claim: string, expected: string): ClaimRefusal {
  return { kind: 'malformed_claim', claim, expected }
}
