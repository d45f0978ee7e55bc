import { decodeCanonical } from './base64url.ts'
import type { Result, TokenRefusal } from './errors.ts'
import { parseJsonObject, type JsonObject } from './json.ts'

const MAX_TOKEN_LENGTH = 8192
const MAX_HEADER_LENGTH = 1024
/** An issuer has a few keys, and each of them one or two headers. */
const MAX_KNOWN_HEADERS = 64

/** What a token's header says. */
export interface TokenHeader {
  readonly type: unknown
  readonly algorithm: string
  readonly keyId: string | undefined
}

/** What a token says of itself: nothing of it is to be believed before its signature is checked. */
export interface UnverifiedToken {
  readonly header: TokenHeader
  readonly payload: Buffer
  readonly signature: Buffer
  /** What is signed. */
  readonly signed: Buffer
  /** As it was sent: what `remember` wants. */
  readonly headerText: string
}

/** Takes tokens apart. */
export interface TokenParser {
  /**
   * Takes a JWS in compact form apart (RFC 7515 §7.1): at most `maxLength` characters, three parts in canonical base64url, a header of
   * at most 1024 characters, one of the algorithms, no critical extensions (none are understood).
   * Does not check the signature, nor read the payload. What the header says about keys (`jwk`, `jku`,
   * `x5c`, `x5u`) is never looked at.
   */
  parse(token: string): Result<UnverifiedToken, TokenRefusal>
  /** Saves reading the header of the next token like this one. Only for one whose signature held. */
  remember(token: UnverifiedToken): void
}

const SCHEME_IN_FRONT = 'a scheme is in front of it: give the token alone'

/** Who explains a token has mostly copied the whole header. */
function hasScheme(token: string): boolean {
  return /^(bearer|dpop) /i.test(token)
}

export function createTokenParser(
  algorithms: readonly string[],
  maxLength = MAX_TOKEN_LENGTH,
): TokenParser {
  const known = new Map<string, TokenHeader>()
  return {
    parse(token) {
      if (token.length > maxLength) {
        return malformed('token', `more than ${maxLength} characters`)
      }
      if (token === '') return malformed('token', 'it is empty')
      const parts = token.split('.')
      const [headerText = '', payloadText = '', signatureText = ''] = parts
      if (parts.length !== 3) return malformed('token', `${parts.length} parts in place of 3`)
      const remembered = known.get(headerText)
      const header = remembered ? { ok: true as const, value: remembered } : readHeader(headerText)
      if (!header.ok) return hasScheme(token) ? malformed('token', SCHEME_IN_FRONT) : header
      if (!algorithms.includes(header.value.algorithm)) {
        return unsupported(header.value.algorithm)
      }
      const payload = decodeCanonical(payloadText)
      if (payload === undefined) return malformed('payload', NOT_CANONICAL)
      const signature = decodeCanonical(signatureText)
      if (signature === undefined) return malformed('signature', NOT_CANONICAL)
      const signed = Buffer.from(
        token.slice(0, headerText.length + 1 + payloadText.length),
        'latin1',
      )
      return { ok: true, value: { header: header.value, payload, signature, signed, headerText } }
    },
    remember({ header, headerText }) {
      if (known.size < MAX_KNOWN_HEADERS) known.set(headerText, header)
    },
  }
}

function readHeader(text: string): Result<TokenHeader, TokenRefusal> {
  if (text.length > MAX_HEADER_LENGTH) {
    return malformed('header', `more than ${MAX_HEADER_LENGTH} characters`)
  }
  const bytes = decodeCanonical(text)
  if (bytes === undefined) return malformed('header', NOT_CANONICAL)
  const parsed = parseJsonObject(bytes)
  return parsed.ok ? readMembers(parsed.value) : malformed('header', parsed.reason)
}

function readMembers(header: JsonObject): Result<TokenHeader, TokenRefusal> {
  const { alg, kid, typ, crit } = header
  if (Object.hasOwn(header, 'crit')) {
    return { ok: false, reason: { kind: 'critical_header', actual: crit } }
  }
  // RFC 7797 §7: no JWT has it. Who understands it reads another payload than who does not.
  if (Object.hasOwn(header, 'b64')) return malformed('header', 'b64 is in it')
  if (typeof alg !== 'string') return unsupported(alg)
  if (kid !== undefined && typeof kid !== 'string') return malformed('header', 'kid is no string')
  return { ok: true, value: { type: typ, algorithm: alg, keyId: kid } }
}

/**
 * A token still is not the only one of its claims: whoever has an ECDSA signature (r, s) can make a
 * second from it, (r, n - s). So a token's text must never be the key of a revocation: take its `jti`.
 */
const NOT_CANONICAL = 'not base64url as RFC 7515 writes it'

function unsupported(actual: unknown): { readonly ok: false; readonly reason: TokenRefusal } {
  return { ok: false, reason: { kind: 'unsupported_algorithm', actual } }
}

function malformed(
  part: 'token' | 'header' | 'payload' | 'signature',
  why: string,
): { readonly ok: false; readonly reason: TokenRefusal } {
  return { ok: false, reason: { kind: 'malformed', part, why } }
}
