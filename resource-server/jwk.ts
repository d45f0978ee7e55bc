import { constants, KeyObject, verify, type VerifyKeyObjectInput } from 'node:crypto'
import { importJWK } from 'jose'

/** What signs access tokens here. Everything symmetric, and `none`, is missing on purpose. */
export type Algorithm = 'ES256' | 'ES384' | 'ES512' | 'RS256' | 'PS256' | 'EdDSA'

/** One key of an issuer, ready for use. */
export interface VerificationKey {
  readonly id: string | undefined
  /** A property of the key, not of the token: a token's `alg` is only compared with it. */
  readonly algorithm: string
  /** The key itself, however it was written. */
  readonly material: string
  /** Two keys that are published with the same one are the same key for the same use. */
  readonly fingerprint: string
  /** Whether the key's owner signed these bytes. */
  isSigner(signed: Buffer, signature: Buffer): boolean
}

interface Scheme {
  readonly hash: string | null
  /** `undefined` where Node's defaults are right: naming them again doubles the time of a check. */
  readonly options: Omit<VerifyKeyObjectInput, 'key'> | undefined
  /** `undefined`: as long as the modulus. */
  readonly signatureBytes: number | undefined
}

const MIN_RSA_BITS = 2048
const MAX_RSA_BITS = 8192
const MAX_RSA_EXPONENT = 2n ** 32n

const ECDSA = { dsaEncoding: 'ieee-p1363' } as const
const SCHEMES: Readonly<Record<Algorithm, Scheme>> = {
  ES256: { hash: 'sha256', options: ECDSA, signatureBytes: 64 },
  ES384: { hash: 'sha384', options: ECDSA, signatureBytes: 96 },
  ES512: { hash: 'sha512', options: ECDSA, signatureBytes: 132 },
  RS256: { hash: 'sha256', options: undefined, signatureBytes: undefined },
  PS256: {
    hash: 'sha256',
    options: {
      padding: constants.RSA_PKCS1_PSS_PADDING,
      saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
    },
    signatureBytes: undefined,
  },
  EdDSA: { hash: null, options: undefined, signatureBytes: 64 },
}
const ALGORITHM_OF_CURVE: Readonly<Record<string, Algorithm>> = {
  'EC P-256': 'ES256',
  'EC P-384': 'ES384',
  'EC P-521': 'ES512',
  'OKP Ed25519': 'EdDSA',
}

/** What is `EdDSA` in RFC 8037 is `Ed25519` in RFC 9864, where the key is one: no other is taken here. */
const NAMES_OF_ED25519 = ['EdDSA', 'Ed25519']

/** What `alg` of a token may be. */
export const ALGORITHMS: readonly string[] = [...Object.keys(SCHEMES), ...NAMES_OF_ED25519]

/** Of the names of one algorithm, the one that keys have here. */
export function nameAlgorithm(algorithm: unknown): unknown {
  return algorithm === 'Ed25519' ? 'EdDSA' : algorithm
}

/** With an exponent of 1, everybody signs; with an even one, nobody does; a large one costs time. */
export function isFitExponent(exponent: bigint): boolean {
  return exponent > 2n && exponent % 2n === 1n && exponent < MAX_RSA_EXPONENT
}

/**
 * Makes a verification key of a member of a key set, or `undefined` where it is not one that signs
 * access tokens: symmetric, for encryption, of another algorithm, too short, broken. A set may hold
 * such keys (RFC 7517 §5).
 */
export async function importVerificationKey(jwk: unknown): Promise<VerificationKey | undefined> {
  if (typeof jwk !== 'object' || jwk === null) return undefined
  const members = jwk as Readonly<Record<string, unknown>>
  const algorithm = chooseAlgorithm(members)
  const id = members['kid']
  if (algorithm === undefined || !isForVerifying(members)) return undefined
  if (id !== undefined && (typeof id !== 'string' || id === '')) return undefined
  const key = await importPublicKey(members, algorithm)
  if (key === undefined) return undefined
  const { modulusLength: bits, publicExponent = 3n } = key.asymmetricKeyDetails ?? {}
  if (bits !== undefined && (bits < MIN_RSA_BITS || bits > MAX_RSA_BITS)) return undefined
  if (!isFitExponent(publicExponent)) return undefined
  const { hash, options, signatureBytes = Math.ceil((bits ?? 0) / 8) } = SCHEMES[algorithm]
  const input = options ? { key, ...options } : key
  const material = key.export({ type: 'spki', format: 'der' }).toString('base64')
  return {
    id,
    algorithm,
    material,
    fingerprint: JSON.stringify([id, algorithm, material]),
    isSigner: (signed, signature) =>
      signature.length === signatureBytes && verify(hash, signed, input, signature),
  }
}

/** The curve says it, or `alg`; an RSA key that says nothing is for RS256 and for that alone. */
function chooseAlgorithm({ kty, crv, alg }: Record<string, unknown>): Algorithm | undefined {
  const own =
    kty === 'RSA'
      ? alg === 'PS256'
        ? 'PS256'
        : 'RS256'
      : ALGORITHM_OF_CURVE[`${String(kty)} ${String(crv)}`]
  return alg === undefined || nameAlgorithm(alg) === own ? own : undefined
}

function isForVerifying({ use, key_ops: operations }: Record<string, unknown>): boolean {
  if (use !== undefined && use !== 'sig') return false
  return operations === undefined || (Array.isArray(operations) && operations.includes('verify'))
}

/** Takes the public members only: a private key that was published by mistake stays unread. */
async function importPublicKey(
  members: Record<string, unknown>,
  algorithm: Algorithm,
): Promise<KeyObject | undefined> {
  try {
    const key = await importJWK(pickPublicMembers(members), algorithm)
    return key instanceof Uint8Array ? undefined : KeyObject.from(key)
  } catch {
    return undefined
  }
}

function pickPublicMembers({ kty, crv, x, y, n, e }: Record<string, unknown>): { kty: string } {
  const members = Object.entries({ kty, crv, x, y, n, e })
  return Object.fromEntries(members.filter(([, value]) => typeof value === 'string')) as {
    kty: string
  }
}
