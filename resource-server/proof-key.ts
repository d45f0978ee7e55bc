import {
  constants,
  createPublicKey,
  hash as digest,
  verify,
  type JsonWebKey,
  type KeyObject,
  type VerifyKeyObjectInput,
} from 'node:crypto'
import { decodeCanonical } from './base64url.ts'
import type { DpopProofPart, Result } from './errors.ts'
import type { JsonObject } from './json.ts'
import { isFitExponent } from './jwk.ts'

/** What a proof may be signed with. `Ed25519` is the name that RFC 9864 gives to what EdDSA means here. */
export type ProofAlgorithm = 'ES256' | 'Ed25519' | 'EdDSA' | 'PS256' | 'RS256'

/** What of a proof is wrong. */
export interface ProofFault {
  readonly part: DpopProofPart
  readonly expected: unknown
  readonly actual: unknown
}

/** The public key of a proof, ready to check signatures with the one algorithm it came with. */
export interface ProofKey {
  /** RFC 7638, by SHA-256: what a token's `cnf.jkt` is compared with. */
  readonly thumbprint: string
  isSigner(signed: Buffer, signature: Buffer): boolean
}

interface Scheme {
  readonly keyType: 'EC' | 'OKP' | 'RSA'
  readonly curve: string | undefined
  readonly hash: string | null
  /** `undefined` where Node's defaults are right: naming them again doubles the time of a check. */
  readonly options: Omit<VerifyKeyObjectInput, 'key'> | undefined
  /** `undefined`: as long as the modulus. */
  readonly signatureBytes: number | undefined
}

const ED25519: Scheme = {
  keyType: 'OKP',
  curve: 'Ed25519',
  hash: null,
  options: undefined,
  signatureBytes: 64,
}
const RSA = { keyType: 'RSA', curve: undefined, hash: 'sha256', signatureBytes: undefined } as const
const SCHEMES: Readonly<Record<ProofAlgorithm, Scheme>> = {
  ES256: {
    keyType: 'EC',
    curve: 'P-256',
    hash: 'sha256',
    options: { dsaEncoding: 'ieee-p1363' },
    signatureBytes: 64,
  },
  Ed25519: ED25519,
  EdDSA: ED25519,
  PS256: {
    ...RSA,
    options: {
      padding: constants.RSA_PKCS1_PSS_PADDING,
      saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
    },
  },
  RS256: { ...RSA, options: undefined },
}
export const PROOF_ALGORITHMS = Object.keys(SCHEMES) as readonly ProofAlgorithm[]

/** What a thumbprint is made of, in its order (RFC 7638 §3.2, RFC 8037 §2). */
const PUBLIC_MEMBERS = {
  EC: ['crv', 'kty', 'x', 'y'],
  OKP: ['crv', 'kty', 'x'],
  RSA: ['e', 'kty', 'n'],
}
const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k', 'priv']
const COORDINATE_LENGTH = 43
const MIN_RSA_BITS = 2048
/** A longer key makes each request more expensive, and the client is who chooses it. */
const MAX_RSA_BITS = 4096

/**
 * Reads the key out of a proof's header. `typ`, `alg`, `crit` and `jwk` are checked; whatever else the
 * header says is never looked at.
 *
 * `node:crypto` imports the key and not jose, whose import is asynchronous: a proof is to be checked in
 * one go.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9449.html#section-4.2 RFC 9449 §4.2}
 */
export function readProofKey(
  header: JsonObject,
  algorithms: readonly ProofAlgorithm[],
): Result<ProofKey, ProofFault> {
  const { typ, alg, crit, jwk } = header
  if (typ !== 'dpop+jwt') return refuse('typ', 'dpop+jwt', typ)
  const algorithm = algorithms.find((accepted) => accepted === alg)
  if (algorithm === undefined) return refuse('alg', algorithms, alg)
  if (Object.hasOwn(header, 'crit')) return refuse('crit', undefined, crit)
  // RFC 7797 §7: who understands it reads another payload than who does not.
  if (Object.hasOwn(header, 'b64')) return refuse('form', 'no b64', header['b64'])
  if (typeof jwk !== 'object' || jwk === null || Array.isArray(jwk)) {
    return refuse('jwk', 'a public key', typeof jwk)
  }
  return importProofKey(jwk as JsonObject, algorithm)
}

function importProofKey(jwk: JsonObject, algorithm: ProofAlgorithm): Result<ProofKey, ProofFault> {
  const scheme = SCHEMES[algorithm]
  const secret = PRIVATE_MEMBERS.filter((member) => Object.hasOwn(jwk, member))
  // The names alone: what they hold belongs in no log.
  if (secret.length > 0) return refuse('jwk', 'a public key', `has ${secret.join(' ')}`)
  const { kty, crv, alg, use, key_ops: operations } = jwk
  if (kty !== scheme.keyType || (scheme.curve !== undefined && crv !== scheme.curve)) {
    const expected = [scheme.keyType, scheme.curve].filter(Boolean).join(' ')
    return refuse('alg', `${expected} for ${algorithm}`, [kty, crv])
  }
  if (alg !== undefined && alg !== algorithm) return refuse('alg', alg, algorithm)
  if (use !== undefined && use !== 'sig') return refuse('jwk', 'use sig', use)
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify'))) {
    return refuse('jwk', 'key_ops with verify', operations)
  }
  const members = pickMembers(jwk, scheme.keyType)
  const key = members && createKey(members)
  if (!members || !key) return refuse('jwk', `a key of ${algorithm}`, 'one that cannot be read')
  const { modulusLength: bits, publicExponent } = key.asymmetricKeyDetails ?? {}
  if (bits !== undefined && !isFitRsaKey(bits, publicExponent)) {
    const expected = `${MIN_RSA_BITS} to ${MAX_RSA_BITS} bits, an odd exponent below 2^32`
    return refuse('jwk', expected, `${bits} bits, exponent ${publicExponent}`)
  }
  const { hash, options, signatureBytes = Math.ceil((bits ?? 0) / 8) } = scheme
  const input = options ? { key, ...options } : key
  const value: ProofKey = {
    thumbprint: digest('sha256', JSON.stringify(members), 'base64url'),
    isSigner: (signed, signature) =>
      signature.length === signatureBytes && verify(hash, signed, input, signature),
  }
  return { ok: true, value }
}

/**
 * The public members in the order of a thumbprint, or `undefined` where one is missing or written in
 * more than one way: two texts of one key would have two thumbprints.
 */
function pickMembers(jwk: JsonObject, keyType: Scheme['keyType']): JsonWebKey | undefined {
  const members = PUBLIC_MEMBERS[keyType].map((member) => [member, jwk[member]] as const)
  const areWritten = members.every(([member, value]) => {
    if (member === 'crv' || member === 'kty') return true
    if (typeof value !== 'string' || value === '' || !decodeCanonical(value)) return false
    // A number has no leading zeros (RFC 7518 §6.3.1), a coordinate has them all (§6.2.1.2).
    return keyType === 'RSA'
      ? decodeCanonical(value)?.[0] !== 0
      : value.length === COORDINATE_LENGTH
  })
  return areWritten ? Object.fromEntries(members) : undefined
}

/** `undefined` for what is no key: OpenSSL refuses a point that is not on the curve. */
function createKey(jwk: JsonWebKey): KeyObject | undefined {
  try {
    return createPublicKey({ key: jwk, format: 'jwk' })
  } catch {
    return undefined
  }
}

function isFitRsaKey(bits: number, exponent: bigint = 0n): boolean {
  return bits >= MIN_RSA_BITS && bits <= MAX_RSA_BITS && isFitExponent(exponent)
}

function refuse(
  part: DpopProofPart,
  expected: unknown,
  actual: unknown,
): { readonly ok: false; readonly reason: ProofFault } {
  return { ok: false, reason: { part, expected, actual } }
}
