import { checkClaims, describeAuth, type Auth } from './claims.ts'
import { systemClock, type Clock } from './clock.ts'
import type { Result, TokenRefusal } from './errors.ts'
import { parseJsonObject } from './json.ts'
import { createKeySet, type KeyLookup, type KeySet } from './key-set.ts'
import { readNames, refuseUnknownOptions } from './options.ts'
import { isLoopback, isTrustworthy } from './metadata.ts'
import { isSignedWith, parseToken, type UnverifiedToken } from './signature.ts'

export interface VerifierOptions {
  /**
   * The issuer, exactly as its metadata and its tokens write it. https; plain http only on loopback.
   */
  readonly issuer: string
  /** The `aud` of tokens for this API. Of several, a token must be for one. */
  readonly audience: string | readonly string[]
  /**
   * The `typ` that the issuer writes into tokens for this API: `at+jwt` (RFC 9068), which is the
   * default, or `JWT`, where it is set so for this API.
   *
   * With `JWT`, `at+jwt` is accepted as well. **Warning:** `JWT` may be the `typ` of an ID token too.
   * Such a token is still refused: an access token must have `client_id`, `jti` and `scope`, its
   * audience must not be its client, and it must hold none of `nonce`, `at_hash`, `c_hash`, `s_hash`
   * and `events`. An issuer whose ID tokens pass all of that must not be used so.
   */
  readonly tokenType?: 'at+jwt' | 'JWT'
  /** How far the clocks of issuer and API may differ: 0 to 300 seconds, 5 by default. */
  readonly clockToleranceSeconds?: number
  /** For tests. The system's clock by default. */
  readonly clock?: Clock
}

export interface VerifyOptions {
  /** In place of the verifier's own audiences. */
  readonly audiences?: readonly string[]
}

/** Checks the access tokens of one issuer. Keeps its keys by a timer: dispose of it at the end. */
export interface Verifier extends AsyncDisposable {
  readonly issuer: string
  /**
   * Answers whom the token speaks for, or why it is refused; never throws for what a token holds.
   *
   * Checks form, type, key, signature and claims (RFC 9068 §4). Does not check scopes, nor whether the
   * token has been revoked before its expiry. The first call fetches the issuer's keys.
   */
  verify(token: string, options?: VerifyOptions): Promise<Result<Auth, TokenRefusal>>
}

const OPTIONS = ['issuer', 'audience', 'tokenType', 'clockToleranceSeconds', 'clock']
const MAX_CLOCK_TOLERANCE_SECONDS = 300

/**
 * Makes a verifier. Asks the issuer for nothing yet, so the issuer need not be up.
 *
 * Throws a `TypeError` that names the option for options that cannot be right.
 */
export function createVerifier(options: VerifierOptions): Verifier {
  refuseUnknownOptions('createVerifier', options, OPTIONS)
  const { issuer, tokenType = 'at+jwt', clock = systemClock } = options
  requireIssuer(issuer)
  const audiences = readNames('audience', options.audience)
  if (tokenType !== 'at+jwt' && tokenType !== 'JWT') {
    throw new TypeError(`tokenType: expected 'at+jwt' or 'JWT', not ${JSON.stringify(tokenType)}`)
  }
  const clockToleranceSeconds = readTolerance(options.clockToleranceSeconds)
  const keys = createKeySet(issuer, clock)
  const acceptedTypes = tokenType === 'JWT' ? ['at+jwt', 'JWT'] : ['at+jwt']
  return {
    issuer,
    async verify(token, { audiences: routeAudiences = audiences } = {}) {
      const signed = await checkSignature(token, keys, acceptedTypes)
      if (!signed.ok) return signed
      const payload = parseJsonObject(signed.value.payload)
      if (!payload.ok) return refuse({ kind: 'malformed', part: 'payload', why: payload.reason })
      const expected = {
        issuer,
        audiences: routeAudiences,
        clockToleranceSeconds,
        typeIsAmbiguous: readType(signed.value.type) === 'jwt',
      }
      const claims = checkClaims(payload.value, expected, clock.now() / 1000)
      return claims.ok ? { ok: true, value: describeAuth(claims.value) } : claims
    },
    [Symbol.asyncDispose]: () => keys[Symbol.asyncDispose](),
  }
}

/** Cheap checks first, then the key, then the signature: nothing unsigned is read further. */
async function checkSignature(
  text: string,
  keys: KeySet,
  acceptedTypes: readonly string[],
): Promise<Result<UnverifiedToken, TokenRefusal>> {
  const parsed = parseToken(text)
  if (!parsed.ok) return parsed
  const token = parsed.value
  const type = readType(token.type)
  if (!acceptedTypes.some((accepted) => accepted.toLowerCase() === type)) {
    return refuse({ kind: 'wrong_type', expected: acceptedTypes, actual: token.type })
  }
  const found = await keys.find(token.keyId, token.algorithm)
  if (found.kind !== 'found') return refuse(describeMiss(found, token))
  return isSignedWith(found.key, token)
    ? { ok: true, value: token }
    : refuse({ kind: 'bad_signature', keyId: token.keyId })
}

/** RFC 7515 §4.1.9: a media type, in any case, whose `application/` may be left out. */
function readType(type: unknown): string | undefined {
  return typeof type === 'string' ? type.toLowerCase().replace(/^application\//, '') : undefined
}

function describeMiss(
  miss: Exclude<KeyLookup, { readonly kind: 'found' }>,
  { keyId, algorithm }: UnverifiedToken,
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

function requireIssuer(issuer: unknown): asserts issuer is string {
  const isUrl = typeof issuer === 'string' && /^https?:[^\s?#]+$/.test(issuer)
  if (!isUrl || !URL.canParse(issuer)) {
    throw new TypeError(`issuer: expected a URL without query, not ${JSON.stringify(issuer)}`)
  }
  if (!isTrustworthy(issuer, isLoopback(issuer))) {
    throw new TypeError(
      `issuer: expected https without credentials (http only on loopback), not ${issuer}`,
    )
  }
}

function readTolerance(seconds: unknown = 5): number {
  if (typeof seconds !== 'number' || !(seconds >= 0 && seconds <= MAX_CLOCK_TOLERANCE_SECONDS)) {
    const range = `0 to ${MAX_CLOCK_TOLERANCE_SECONDS}`
    throw new TypeError(`clockToleranceSeconds: expected ${range}, not ${JSON.stringify(seconds)}`)
  }
  return seconds
}

function refuse(reason: TokenRefusal): { readonly ok: false; readonly reason: TokenRefusal } {
  return { ok: false, reason }
}
