import type { JWTPayload } from 'jose'
import type { Clock } from '../clock.ts'
import type { Config } from '../config/schema.ts'
import type { Result } from '../errors.ts'
import type { OutboundFetch } from '../outbound.ts'
import { isOfType, isSignedBy, isTime, judgeTimes, openIssuerKeys, peekJwt } from './foreign-jwt.ts'

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

const LONGEST_ID = 256
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
    trustedIssuers.map((one) => [one.issuer, { ...one, keys: openIssuerKeys(one, fetchOutbound) }]),
  )
  return {
    async read(assertion, { issuers, clientId }) {
      const shown = peekJwt(assertion)
      if (!shown) return refuse('it is no JWT')
      const { header, payload } = shown
      const issuer = issuers.includes(String(payload.iss))
        ? trusted.get(String(payload.iss))
        : undefined
      if (!issuer) return refuse('the client may show none of its issuer')
      if (!isOfProfile(header.typ, issuer.profile)) return refuse('it is of another type')
      if (!(await isSignedBy(assertion, issuer.keys, issuer.issuer))) {
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

/** Most issuers leave the type of plain ones out. One of another kind of JWT is never taken for it. */
function isOfProfile(typ: unknown, profile: TrustedIssuer['profile']): boolean {
  return typ === undefined ? profile === 'plain' : isOfType(typ, TYPES[profile])
}

interface Expected {
  readonly own: string
  readonly clientId: string
  readonly issuer: TrustedIssuer
  /** Seconds since the epoch. */
  readonly now: number
}

function findFault(
  {
    sub,
    jti,
    aud,
    iat,
    exp,
    nbf,
    client_id: holder,
    cnf,
    authorization_details,
    software_id,
  }: JWTPayload,
  { own, clientId, issuer, now }: Expected,
): string | undefined {
  // What is said about an app is nobody's word about a person, by the same issuer or not.
  if (software_id !== undefined) return 'it is a software statement'
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
  if (exp - iat > issuer.longestSeconds) return 'it lives longer than longestSeconds'
  return judgeTimes({ iat, exp, nbf }, now)
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= LONGEST_ID
}
