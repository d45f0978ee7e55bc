import { readType, type Authority } from './authority.ts'
import { checkClaims, describeAuth, REQUIRED_CLAIMS } from './claims.ts'
import { systemClock, type Clock } from './clock.ts'
import { createGrantPool } from './grants.ts'
import { ALGORITHMS } from './jwk.ts'
import { createKeySet } from './key-set.ts'
import { isLoopback, isTrustworthy } from './metadata.ts'
import { readNames, readNumber, refuseUnknownOptions } from './options.ts'
import { asFollowed, requireRevocations, type Revocations } from './revocations.ts'
import { createTokenParser } from './signature.ts'
import { createTokenCache } from './token-cache.ts'
import { createTokenVerifier, type Verifier } from './token-verifier.ts'

/** Whose tokens are accepted, and which. */
export interface IssuerOptions {
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
  /**
   * What the issuer has revoked, such as `createRevocationFeed` makes it. Without it, a token is good
   * until it expires.
   */
  readonly revocations?: Revocations
  /**
   * Who asks this issuer about tokens while the revocations are stale, on routes with
   * `whenStale: 'introspect'`: from `createIntrospectionVerifier`. It is disposed of by who made it.
   */
  readonly introspection?: Verifier
}

/** What all verifiers can be told. */
export interface CommonVerifierOptions {
  /** How far the clocks of issuer and API may differ: 0 to 300 seconds, 5 by default. */
  readonly clockToleranceSeconds?: number
  /**
   * How many tokens that were found good are kept for each issuer, so that their signature need not be
   * checked again, and for how long. `false`: none. Default: 10,000 for 5 minutes, which takes at most
   * 13 MB for usual tokens.
   */
  readonly cache?: false | CacheOptions
  /** For tests. The system's clock by default. */
  readonly clock?: Clock
}

export interface CacheOptions {
  /** 2 to 1,000,000; 10,000 by default. */
  readonly maxTokens?: number
  /** 1 to 3600; 300 by default. */
  readonly maxAgeSeconds?: number
}

export interface VerifierOptions extends IssuerOptions, CommonVerifierOptions {}

export interface SeveralIssuersOptions extends CommonVerifierOptions {
  /** Each with audiences of its own. A token of one is never accepted for another. */
  readonly issuers: readonly IssuerOptions[]
}

const ISSUER_OPTIONS = ['issuer', 'audience', 'tokenType', 'revocations', 'introspection']
export const COMMON_OPTIONS: readonly string[] = ['clockToleranceSeconds', 'cache', 'clock']
const MAX_CLOCK_TOLERANCE_SECONDS = 300

/**
 * Makes a verifier for one issuer, or for several. Asks none of them for anything yet, so they need not
 * be up.
 *
 * Throws a `TypeError` that names the option for options that cannot be right.
 */
export function createVerifier(options: VerifierOptions | SeveralIssuersOptions): Verifier {
  const issuers = readIssuers(options)
  const common = readCommonOptions(options)
  const [first, ...others] = issuers.map((issuer) => createAuthority(issuer, common))
  if (first === undefined) throw new TypeError('issuers: expected at least one')
  return createTokenVerifier([first, ...others], createTokenParser(ALGORITHMS), common)
}

function readIssuers(options: VerifierOptions | SeveralIssuersOptions): readonly IssuerOptions[] {
  if (typeof options !== 'object' || options === null || !('issuers' in options)) {
    const known = [...ISSUER_OPTIONS, 'issuers', ...COMMON_OPTIONS]
    refuseUnknownOptions('createVerifier', options, known)
    return [options]
  }
  if ('issuer' in options)
    throw new TypeError('issuer: expected either issuer or issuers, not both')
  refuseUnknownOptions('createVerifier with issuers', options, ['issuers', ...COMMON_OPTIONS])
  const { issuers } = options
  if (!Array.isArray(issuers)) throw new TypeError('issuers: expected a list')
  for (const each of issuers) refuseUnknownOptions('a member of issuers', each, ISSUER_OPTIONS)
  const names = issuers.map(({ issuer }: IssuerOptions) => issuer)
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined) throw new TypeError(`issuers: ${twice} is in it twice`)
  return issuers
}

export interface CommonSettings {
  readonly clock: Clock
  readonly clockToleranceSeconds: number
  /** 0: nothing is kept. */
  readonly maxTokens: number
  readonly maxKeptMs: number
}

export function readCommonOptions(options: CommonVerifierOptions): CommonSettings {
  const { clock = systemClock, clockToleranceSeconds = 5, cache = {} } = options
  if (cache !== false) refuseUnknownOptions('cache', cache, ['maxTokens', 'maxAgeSeconds'])
  const { maxTokens = 10_000, maxAgeSeconds = 300 } = cache === false ? {} : cache
  const tolerance = [0, MAX_CLOCK_TOLERANCE_SECONDS] as const
  return {
    clock,
    clockToleranceSeconds: readNumber('clockToleranceSeconds', clockToleranceSeconds, tolerance),
    maxTokens: cache === false ? 0 : readNumber('cache.maxTokens', maxTokens, [2, 1_000_000]),
    maxKeptMs: readNumber('cache.maxAgeSeconds', maxAgeSeconds, [1, 3600]) * 1000,
  }
}

function createAuthority(
  { issuer, audience, tokenType = 'at+jwt', revocations, introspection }: IssuerOptions,
  { clock, clockToleranceSeconds, maxTokens }: CommonSettings,
): Authority {
  requireIssuer(issuer)
  const audiences = readNames('audience', audience)
  if (tokenType !== 'at+jwt' && tokenType !== 'JWT') {
    throw new TypeError(`tokenType: expected 'at+jwt' or 'JWT', not ${JSON.stringify(tokenType)}`)
  }
  requireRevocations(revocations, issuer, clock)
  const followed = asFollowed(revocations)
  requireIntrospection(introspection, issuer, followed !== undefined)
  const acceptedTypes = tokenType === 'JWT' ? ['at+jwt', 'JWT'] : ['at+jwt']
  const comparedTypes = acceptedTypes.map(readType)
  const keys = createKeySet(issuer, clock)
  const unwatch = followed?.watchKeys(keys)
  const pool = createGrantPool()
  return {
    issuer,
    audiences,
    acceptedTypes,
    isAcceptedType: (type) => {
      const read = readType(type)
      return read !== undefined && comparedTypes.includes(read)
    },
    keys,
    cache: maxTokens === 0 ? undefined : createTokenCache(maxTokens),
    revocations,
    followed,
    pulse: followed?.pulse,
    staleView: { introspection, keysAgeSeconds: () => keys.state.ageSeconds },
    readClaims(payload, { type }, nowSeconds, trace) {
      const typeIsAmbiguous = readType(type) === 'jwt'
      const expected = {
        issuer,
        clockToleranceSeconds,
        typeIsAmbiguous,
        required: REQUIRED_CLAIMS,
      }
      const claims = checkClaims(payload, expected, nowSeconds, trace)
      return claims.ok ? { ok: true, value: describeAuth(claims.value, pool) } : claims
    },
    [Symbol.asyncDispose]() {
      unwatch?.()
      return keys[Symbol.asyncDispose]()
    },
  }
}

function requireIntrospection(
  introspection: Verifier | undefined,
  issuer: string,
  isFollowing: boolean,
): void {
  if (introspection === undefined) return
  if (
    typeof introspection?.authenticate !== 'function' ||
    !introspection.issuers.includes(issuer)
  ) {
    throw new TypeError(
      `introspection: expected what createIntrospectionVerifier makes for ${issuer}`,
    )
  }
  if (!isFollowing) {
    throw new TypeError('introspection: expected revocations beside it, from createRevocationFeed')
  }
}

export function requireIssuer(issuer: unknown): asserts issuer is string {
  if (issuer === undefined)
    throw new TypeError('issuer: expected the URL of the issuer, not undefined')
  const isUrl = typeof issuer === 'string' && /^https?:[^\s?#]+$/.test(issuer)
  if (!isUrl || !URL.canParse(issuer)) {
    throw new TypeError(
      `issuer: expected a URL that begins with https://, without query, not ${JSON.stringify(issuer)}`,
    )
  }
  if (!isTrustworthy(issuer, isLoopback(issuer))) {
    throw new TypeError(
      `issuer: expected https without credentials (http only on loopback), not ${issuer}`,
    )
  }
}
