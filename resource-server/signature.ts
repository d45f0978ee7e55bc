import { verify } from 'node:crypto'
import type { Result, TokenRefusal } from './errors.ts'
import { parseJsonObject, type JsonObject } from './json.ts'
import { isAlgorithm, type Algorithm, type VerificationKey } from './jwk.ts'

const MAX_TOKEN_LENGTH = 8192
const MAX_HEADER_LENGTH = 1024

/** What a token says of itself: nothing of it is to be believed before its signature is checked. */
export interface UnverifiedToken {
  readonly type: unknown
  readonly algorithm: Algorithm
  readonly keyId: string | undefined
  readonly payload: Buffer
  readonly signature: Buffer
  /** What is signed. */
  readonly signingInput: string
}

/**
 * Takes a JWS in compact form apart (RFC 7515 §7.1): three parts in canonical base64url, a header of
 * at most 1024 characters, a supported algorithm, no critical extensions (none are understood).
 * Does not check the signature, nor read the payload. What the header says about keys (`jwk`, `jku`,
 * `x5c`, `x5u`) is never looked at.
 */
export function parseToken(token: string): Result<UnverifiedToken, TokenRefusal> {
  if (token.length > MAX_TOKEN_LENGTH) {
    return malformed('token', `more than ${MAX_TOKEN_LENGTH} characters`)
  }
  const parts = token.split('.')
  const [header = '', payload = '', signature = ''] = parts
  if (parts.length !== 3) return malformed('token', `${parts.length} parts in place of 3`)
  if (header.length > MAX_HEADER_LENGTH) {
    return malformed('header', `more than ${MAX_HEADER_LENGTH} characters`)
  }
  const headerBytes = decodeCanonical(header)
  if (headerBytes === undefined) return malformed('header', NOT_CANONICAL)
  const payloadBytes = decodeCanonical(payload)
  if (payloadBytes === undefined) return malformed('payload', NOT_CANONICAL)
  const signatureBytes = decodeCanonical(signature)
  if (signatureBytes === undefined) return malformed('signature', NOT_CANONICAL)
  const parsed = parseJsonObject(headerBytes)
  if (!parsed.ok) return malformed('header', parsed.reason)
  const read = readHeader(parsed.value)
  if (!read.ok) return read
  const signingInput = `${header}.${payload}`
  const value = { ...read.value, payload: payloadBytes, signature: signatureBytes, signingInput }
  return { ok: true, value }
}

function readHeader(
  header: JsonObject,
): Result<Pick<UnverifiedToken, 'type' | 'algorithm' | 'keyId'>, TokenRefusal> {
  const { alg, kid, typ, crit } = header
  if (Object.hasOwn(header, 'crit')) {
    return { ok: false, reason: { kind: 'critical_header', actual: crit } }
  }
  if (!isAlgorithm(alg)) {
    return { ok: false, reason: { kind: 'unsupported_algorithm', actual: alg } }
  }
  if (kid !== undefined && typeof kid !== 'string') return malformed('header', 'kid is no string')
  return { ok: true, value: { type: typ, algorithm: alg, keyId: kid } }
}

/** Whether the key's owner signed the token. */
export function isSignedWith(key: VerificationKey, token: UnverifiedToken): boolean {
  if (token.algorithm !== key.algorithm) return false
  if (token.signature.length !== key.signatureBytes) return false
  return verify(key.hash, Buffer.from(token.signingInput, 'latin1'), key.input, token.signature)
}

const NOT_CANONICAL = 'not base64url as RFC 7515 writes it'

/**
 * Node's decoder skips what it does not know and ignores spare bits, so that many texts give the same
 * bytes. Only the one that the bytes give back is taken. A token still is not the only one of its
 * claims: whoever has an ECDSA signature (r, s) can make a second from it, (r, n - s). So a token's text
 * must never be the key of a revocation: take its `jti`.
 */
function decodeCanonical(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64url')
  return bytes.toString('base64url') === text ? bytes : undefined
}

function malformed(
  part: 'token' | 'header' | 'payload' | 'signature',
  why: string,
): { readonly ok: false; readonly reason: TokenRefusal } {
  return { ok: false, reason: { kind: 'malformed', part, why } }
}
