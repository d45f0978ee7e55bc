import {
  createHmac,
  createPublicKey,
  createSecretKey,
  timingSafeEqual,
  X509Certificate,
} from 'node:crypto'
import { readType, type Authority } from './authority.ts'
import {
  checkClaims,
  freezeClaims,
  isText,
  malformedClaim,
  type AccessTokenClaims,
  type Auth,
} from './claims.ts'
import { createGrantPool, type GrantPool } from './grants.ts'
import type { VerificationKey } from './jwk.ts'
import type { KeySet } from './key-set.ts'
import { readNames, refuseUnknownOptions } from './options.ts'
import { asFollowed, requireRevocations, type Revocations } from './revocations.ts'
import { createTokenParser } from './signature.ts'
import { createTokenCache } from './token-cache.ts'
import { createTokenVerifier, type Verifier } from './token-verifier.ts'
import { COMMON_OPTIONS, readCommonOptions, type CommonVerifierOptions } from './verifier.ts'

export interface SharedSecretOptions extends CommonVerifierOptions {
  /** The `iss` of the tokens: a name that issuer and API have agreed on, which need be no URL. */
  readonly issuer: string
  readonly algorithm: 'HS256' | 'HS512'
  /**
   * Random bytes, or a text of them in UTF-8: at least 32 for HS256, 64 for HS512 (RFC 7518 §3.2). From
   * the environment or a file, never from the source.
   */
  readonly secret: string | Uint8Array
  /** The `aud` of tokens for this API. Of several, a token must be for one. */
  readonly audience: string | readonly string[]
  /** Claims that must be there beside `iss`, `aud` and `exp`. None by default. */
  readonly requiredClaims?: readonly string[]
  /** Which claim says who is asking, and what they are. Default: a person in `sub`. */
  readonly subject?: { readonly claim: string; readonly kind: Auth['kind'] }
  readonly revocations?: Revocations
}

const OPTIONS = [
  'issuer',
  'algorithm',
  'secret',
  'audience',
  'requiredClaims',
  'subject',
  'revocations',
]
const SCHEMES = {
  HS256: { hash: 'sha256', minBytes: 32 },
  HS512: { hash: 'sha512', minBytes: 64 },
} as const
const ALWAYS_REQUIRED = ['iss', 'aud', 'exp']
const ACCEPTED_TYPES = ['at+jwt', 'JWT']

/**
 * Makes a verifier of tokens that are signed with a secret which the API shares with their issuer.
 *
 * It is a verifier of its own, for one issuer with one secret and one algorithm: it asks for no keys,
 * takes none that is public, and `createVerifier` takes no secret, so that nobody can sign a token with
 * what everybody knows. It asks less of a token than RFC 9068 does: which claims there must be, you say.
 *
 * **Warning:** each API that holds the secret can make tokens for all the others. Prefer keys.
 *
 * Throws a `TypeError` that names the option, and never quotes the secret.
 */
export function createSharedSecretVerifier(options: SharedSecretOptions): Verifier {
  refuseUnknownOptions('createSharedSecretVerifier', options, [...OPTIONS, ...COMMON_OPTIONS])
  const { issuer, algorithm, revocations } = options
  if (!Object.hasOwn(SCHEMES, algorithm)) {
    throw new TypeError(`algorithm: expected HS256 or HS512, not ${JSON.stringify(algorithm)}`)
  }
  const [name = ''] = readNames('issuer', issuer)
  if (typeof issuer !== 'string') throw new TypeError('issuer: expected one name')
  const common = readCommonOptions(options)
  requireRevocations(revocations, name, common.clock)
  const followed = asFollowed(revocations)
  const { clockToleranceSeconds } = common
  const subject = readSubject(options.subject)
  const { requiredClaims = [] } = options
  const named = requiredClaims.length === 0 ? [] : readNames('requiredClaims', requiredClaims)
  const required = [...new Set([...ALWAYS_REQUIRED, subject.claim, ...named])]
  const key = createKey(algorithm, readSecret(options.secret, algorithm))
  const pool = createGrantPool()
  const authority: Authority = {
    issuer: name,
    audiences: readNames('audience', options.audience),
    acceptedTypes: ACCEPTED_TYPES,
    // Such issuers often write none.
    isAcceptedType: (type) =>
      type === undefined || ['at+jwt', 'jwt'].includes(readType(type) ?? ''),
    keys: createFixedKeySet(key),
    cache: common.maxTokens === 0 ? undefined : createTokenCache(common.maxTokens),
    revocations,
    followed,
    pulse: followed?.pulse,
    staleView: { introspection: undefined },
    readClaims(payload, _header, nowSeconds, trace) {
      const expected = {
        issuer: name,
        clockToleranceSeconds,
        // Who holds the secret makes no other tokens with it, or is free to make any.
        typeIsAmbiguous: false,
        required,
      }
      const claims = checkClaims(payload, expected, nowSeconds, trace)
      if (!claims.ok) return claims
      const who = claims.value[subject.claim]
      return isText(who)
        ? { ok: true, value: describeHolder(claims.value, who, subject.kind, pool) }
        : { ok: false, reason: malformedClaim(subject.claim, 'a text that is not empty') }
    },
    async [Symbol.asyncDispose]() {},
  }
  return createTokenVerifier([authority], createTokenParser([algorithm]), common)
}

function createKey(algorithm: keyof typeof SCHEMES, secret: Buffer): VerificationKey {
  const { hash } = SCHEMES[algorithm]
  const secretKey = createSecretKey(secret)
  return {
    id: undefined,
    algorithm,
    material: algorithm,
    fingerprint: algorithm,
    isSigner(signed, signature) {
      const expected = createHmac(hash, secretKey).update(signed).digest()
      return signature.length === expected.length && timingSafeEqual(signature, expected)
    },
  }
}

/** The one key, whatever a token calls it. */
function createFixedKeySet(key: VerificationKey): KeySet {
  return {
    find: () => ({ kind: 'found', key }),
    isCurrent: () => true,
    follow: async () => {},
    state: { keys: 1, ageSeconds: undefined, fetches: 0, failedFetches: 0 },
    async [Symbol.asyncDispose]() {},
  }
}

/** The claims are typed as RFC 9068 has them; of these there are only those that are required here. */
function describeHolder(
  claims: AccessTokenClaims,
  subject: string,
  kind: Auth['kind'],
  pool: GrantPool,
): Auth {
  const {
    iss,
    client_id: clientId = subject,
    scope = '',
    roles = [],
  } = claims as Readonly<Partial<AccessTokenClaims>>
  return Object.freeze({
    kind,
    issuer: iss ?? '',
    subject,
    clientId,
    scopes: pool.readScopes(scope),
    roles: pool.readRoles(roles),
    claims: freezeClaims(claims, pool),
  })
}

function readSubject(
  { claim, kind }: NonNullable<SharedSecretOptions['subject']> = { claim: 'sub', kind: 'person' },
): {
  readonly claim: string
  readonly kind: Auth['kind']
} {
  if (typeof claim !== 'string' || claim === '' || (kind !== 'person' && kind !== 'service')) {
    throw new TypeError('subject: expected the name of a claim, and person or service')
  }
  return { claim, kind }
}

/** A copy: what the caller does with theirs later changes nothing. No message quotes any of it. */
function readSecret(secret: unknown, algorithm: keyof typeof SCHEMES): Buffer {
  const isBytes = secret instanceof Uint8Array
  if (typeof secret !== 'string' && !isBytes) {
    throw new TypeError('secret: createSharedSecretVerifier expected a text or bytes')
  }
  const bytes = isBytes ? Buffer.from(secret) : Buffer.from(secret, 'utf8')
  const { minBytes } = SCHEMES[algorithm]
  if (bytes.length === 0) {
    throw new TypeError(
      `secret: createSharedSecretVerifier expected at least ${minBytes} bytes for ${algorithm}, not none; is its variable set?`,
    )
  }
  if (bytes.length < minBytes) {
    throw new TypeError(
      `secret: createSharedSecretVerifier expected at least ${minBytes} bytes for ${algorithm}`,
    )
  }
  if (isPublishedKey(bytes)) {
    throw new TypeError('secret: expected a secret, not a key or a certificate that others know')
  }
  return bytes
}

/** In whatever form keys are written: PEM, a JWK or a set of them, DER or its base64. */
function isPublishedKey(bytes: Buffer): boolean {
  const text = bytes.toString('utf8').trim()
  if (text.includes('-----BEGIN') || isJson(text)) return true
  return [bytes, Buffer.from(text, 'base64')].some(isPublicDer)
}

function isJson(text: string): boolean {
  return succeeds(() => typeof JSON.parse(text) === 'object')
}

function isPublicDer(der: Buffer): boolean {
  return (
    succeeds(() => createPublicKey({ key: der, format: 'der', type: 'spki' })) ||
    succeeds(() => createPublicKey({ key: der, format: 'der', type: 'pkcs1' })) ||
    succeeds(() => new X509Certificate(der))
  )
}

function succeeds(attempt: () => unknown): boolean {
  try {
    return attempt() !== false
  } catch {
    return false
  }
}
