import {
  compactVerify,
  createLocalJWKSet,
  createRemoteJWKSet,
  customFetch,
  decodeProtectedHeader,
  decodeJwt,
  errors as joseErrors,
  type CompactVerifyGetKey,
  type JWTPayload,
} from 'jose'
import type { Clock } from '../clock.ts'
import type { Config } from '../config/schema.ts'
import { PortreeveError, type Result } from '../errors.ts'
import type { OutboundFetch } from '../outbound.ts'

export type TrustedIssuer = Config['trustedIssuers'][number]

/** An assertion of a trusted issuer that is for this server, now. Nobody has looked for a first use. */
export interface VerifiedAssertion {
  readonly issuer: TrustedIssuer
  readonly claims: AssertionClaims
}

export interface AssertionClaims extends JWTPayload {
  readonly iss: string
  readonly sub: string
  readonly jti: string
  /** Seconds since the epoch, as is `exp`. */
  readonly iat: number
  readonly exp: number
}

export interface AssertionReader {
  /** The reason is for operators: a client learns that it is not good. */
  read(assertion: string, accepted: AcceptedAssertion): Promise<Result<VerifiedAssertion, string>>
}

export interface AcceptedAssertion {
  /** Whose may be shown here. */
  readonly issuers: readonly string[]
  /** The client that shows it. */
  readonly clientId: string
}

export interface AssertionOptions {
  readonly issuer: string
  readonly trustedIssuers: readonly TrustedIssuer[]
}

/** What is signed with a key that both sides would have is not among them, nor is `none`. */
const ALGORITHMS = ['ES256', 'ES384', 'ES512', 'PS256', 'RS256', 'EdDSA', 'Ed25519']
const LONGEST = 8192
const LONGEST_ID = 256
/** What clocks may be apart. */
const TOLERANCE_SECONDS = 15
const KEYS_TIMEOUT_MS = 2500
const KEYS_MAX_AGE_MS = 600_000
const TYPES = { 'id-jag': 'oauth-id-jag+jwt', plain: 'JWT' } as const

/**
 * Reads what other servers say about people (RFC 7523 §3). Their keys are fetched when they are first
 * needed, and again after ten minutes or for a key that is not known.
 *
 * Not checked: whether it was used before, whether the person exists, and whether `scope` and `resource`
 * are anything here.
 *
 * Throws `misconfigured` where the keys of an issuer cannot be had.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc7523.html#section-3 RFC 7523 §3}
 * @see {@link https://datatracker.ietf.org/doc/draft-ietf-oauth-identity-assertion-authz-grant/ Identity Assertion JWT Authorization Grant}
 */
export function createAssertionReader(
  { fetchOutbound, clock }: { readonly fetchOutbound: OutboundFetch; readonly clock: Clock },
  { issuer: own, trustedIssuers }: AssertionOptions,
): AssertionReader {
  const trusted = new Map(
    trustedIssuers.map((one) => [one.issuer, { ...one, keys: openKeys(one, fetchOutbound) }]),
  )
  return {
    async read(assertion, { issuers, clientId }) {
      const shown = peek(assertion)
      if (!shown) return refuse('it is no JWT')
      const { header, payload } = shown
      const issuer = issuers.includes(String(payload.iss))
        ? trusted.get(String(payload.iss))
        : undefined
      if (!issuer) return refuse('the client may show none of its issuer')
      if (!isOfType(header.typ, issuer.profile)) return refuse('it is of another type')
      if (!(await isSigned(assertion, issuer.keys, issuer.issuer))) {
        return refuse('it is signed by no key of its issuer')
      }
      const fault = findFault(payload, { own, clientId, issuer, now: clock.now() / 1000 })
      if (fault !== undefined) return refuse(fault)
      return { ok: true, value: { issuer, claims: payload as AssertionClaims } }
    },
  }
}

function refuse(reason: string): Result<never, string> {
  return { ok: false, reason }
}

function openKeys({ jwks, jwksUri }: TrustedIssuer, fetchOutbound: OutboundFetch) {
  if (jwksUri === undefined) return createLocalJWKSet({ keys: [...(jwks?.keys ?? [])] as never })
  return createRemoteJWKSet(new URL(jwksUri), {
    timeoutDuration: KEYS_TIMEOUT_MS,
    cacheMaxAge: KEYS_MAX_AGE_MS,
    [customFetch]: (url, { method, headers, signal }) =>
      fetchOutbound(url, { method, headers, signal }),
  })
}

function peek(assertion: string) {
  if (assertion.length > LONGEST) return undefined
  try {
    return { header: decodeProtectedHeader(assertion), payload: decodeJwt(assertion) }
  } catch {
    return undefined
  }
}

/** Most issuers leave the type of plain ones out. One of another kind of JWT is never taken for it. */
function isOfType(typ: unknown, profile: TrustedIssuer['profile']): boolean {
  if (typ === undefined) return profile === 'plain'
  if (typeof typ !== 'string') return false
  const name = typ.toLowerCase().replace(/^application\//, '')
  return name === TYPES[profile].toLowerCase()
}

async function isSigned(
  assertion: string,
  keys: CompactVerifyGetKey,
  issuer: string,
): Promise<boolean> {
  try {
    await compactVerify(assertion, keys, { algorithms: ALGORITHMS })
    return true
  } catch (error) {
    if (error instanceof joseErrors.JOSEError && !isAway(error)) return false
    const message = `The keys of the trusted issuer ${issuer} cannot be had.`
    throw new PortreeveError('misconfigured', message, { cause: error })
  }
}

/** The issuer has not given its keys: that is no fault of the assertion. */
function isAway(error: Error): boolean {
  return error instanceof joseErrors.JWKSTimeout || error.constructor === joseErrors.JOSEError
}

interface Expected {
  readonly own: string
  readonly clientId: string
  readonly issuer: TrustedIssuer
  /** Seconds since the epoch. */
  readonly now: number
}

function findFault(
  { sub, jti, aud, iat, exp, nbf, client_id: holder, cnf, authorization_details }: JWTPayload,
  { own, clientId, issuer, now }: Expected,
): string | undefined {
  if (!isText(sub) || !isText(jti)) return 'it has no sub or no jti'
  const audiences = [aud ?? []].flat()
  const isForUs =
    issuer.profile === 'id-jag'
      ? audiences.length === 1 && audiences[0] === own
      : audiences.includes(own) || audiences.includes(`${own}/token`)
  if (!isForUs) return 'it is for another server'
  if (holder === undefined ? issuer.profile === 'id-jag' : holder !== clientId) {
    return 'it was made for another client'
  }
  // Who passes over what they do not check gives more than was meant.
  if (cnf !== undefined) return 'it is bound to a key (cnf), which is not checked here'
  if (authorization_details !== undefined) return 'it has authorization_details'
  if (!isTime(iat) || !isTime(exp)) return 'it has no iat or no exp'
  if (nbf !== undefined && (!isTime(nbf) || nbf > now + TOLERANCE_SECONDS)) {
    return 'it is for later (nbf)'
  }
  if (iat > now + TOLERANCE_SECONDS) return 'it was made in the future (iat)'
  if (exp <= now - TOLERANCE_SECONDS) return 'it has expired'
  if (exp - iat > issuer.longestSeconds) return 'it lives longer than longestSeconds'
  return undefined
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= LONGEST_ID
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0
}
