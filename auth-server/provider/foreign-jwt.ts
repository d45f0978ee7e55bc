import {
  compactVerify,
  createLocalJWKSet,
  createRemoteJWKSet,
  customFetch,
  decodeJwt,
  decodeProtectedHeader,
  errors as joseErrors,
  type CompactVerifyGetKey,
  type JWTPayload,
  type ProtectedHeaderParameters,
} from 'jose'
import type { PublicKeys } from '../config/public-jwk.ts'
import { PortreeveError } from '../errors.ts'
import type { OutboundFetch } from '../outbound.ts'

/** JWTs that another server has signed, which this one takes the word of. */

/** What is signed with a key that both sides would have is not among them, nor is `none`. */
const ALGORITHMS = ['ES256', 'ES384', 'ES512', 'PS256', 'RS256', 'EdDSA', 'Ed25519']
const LONGEST = 8192
/** What clocks may be apart. */
export const TOLERANCE_SECONDS = 15
const KEYS_TIMEOUT_MS = 2500
const KEYS_MAX_AGE_MS = 600_000

/**
 * The keys of another server. Those at an address are fetched when they are first needed, and again after
 * ten minutes or for a key that is not known.
 */
export function openIssuerKeys(
  { jwks, jwksUri }: PublicKeys,
  fetchOutbound: OutboundFetch,
): CompactVerifyGetKey {
  if (jwksUri === undefined) return createLocalJWKSet({ keys: [...(jwks?.keys ?? [])] as never })
  return createRemoteJWKSet(new URL(jwksUri), {
    timeoutDuration: KEYS_TIMEOUT_MS,
    cacheMaxAge: KEYS_MAX_AGE_MS,
    [customFetch]: (url, { method, headers, signal }) =>
      fetchOutbound(url, { method, headers, signal }),
  })
}

export interface ShownJwt {
  readonly header: ProtectedHeaderParameters
  readonly payload: JWTPayload
}

/** What a JWT says, before anybody has looked whether it is signed. `undefined` where it is none. */
export function peekJwt(jwt: string): ShownJwt | undefined {
  if (jwt.length > LONGEST) return undefined
  try {
    return { header: decodeProtectedHeader(jwt), payload: decodeJwt(jwt) }
  } catch {
    return undefined
  }
}

/** Whether `typ` is `type`, in the ways that it may be written (RFC 7515 §4.1.9). */
export function isOfType(typ: unknown, type: string): boolean {
  if (typeof typ !== 'string') return false
  return typ.toLowerCase().replace(/^application\//, '') === type.toLowerCase()
}

/** Throws `misconfigured` where the keys of the issuer cannot be had. */
export async function isSignedBy(
  jwt: string,
  keys: CompactVerifyGetKey,
  issuer: string,
): Promise<boolean> {
  try {
    await compactVerify(jwt, keys, { algorithms: ALGORITHMS })
    return true
  } catch (error) {
    if (error instanceof joseErrors.JOSEError && !isAway(error)) return false
    const message = `The keys of the trusted issuer ${issuer} cannot be had.`
    throw new PortreeveError('misconfigured', message, { cause: error })
  }
}

/** The issuer has not given its keys: that is no fault of what it has signed. */
function isAway(error: Error): boolean {
  return error instanceof joseErrors.JWKSTimeout || error.constructor === joseErrors.JOSEError
}

interface Times {
  readonly iat?: unknown
  readonly exp?: unknown
  readonly nbf?: unknown
}

/** What is wrong with the times that it says, each where it is there. `now`: seconds since the epoch. */
export function judgeTimes({ iat = 0, exp = Infinity, nbf = 0 }: Times, now: number) {
  if (!isTime(nbf) || nbf > now + TOLERANCE_SECONDS) return 'it is for later (nbf)'
  if (!isTime(iat) || iat > now + TOLERANCE_SECONDS) return 'it was made in the future (iat)'
  const isOver = exp !== Infinity && (!isTime(exp) || exp <= now - TOLERANCE_SECONDS)
  return isOver ? 'it has expired' : undefined
}

export function isTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0
}
