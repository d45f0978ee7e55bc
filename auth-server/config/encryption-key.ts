import type { ClientEncryptionAlgorithm } from './built-in.ts'
import { judgePublicJwk } from './public-jwk.ts'

type Jwk = Readonly<Record<string, unknown>>

/** What is needed to encrypt to a key, and nothing that others say of it. */
export interface EncryptionKey {
  readonly kty: string
  readonly kid?: string
  readonly [member: string]: unknown
}

/** Each that is looked at takes time, and who publishes them may be a stranger. */
const MOST_KEYS = 100
const MEMBERS = ['kty', 'kid', 'crv', 'x', 'y', 'n', 'e']

/**
 * The key of a client that something is encrypted to, of those that it declares or publishes; `undefined`
 * where none fits. Of several the first is taken that says most of what it is for.
 *
 * @see {@link https://openid.net/specs/openid-connect-core-1_0.html#Encryption OpenID Connect Core §10.2}
 */
export function chooseEncryptionKey(
  keys: readonly Jwk[],
  algorithm: ClientEncryptionAlgorithm,
): EncryptionKey | undefined {
  const chosen = keys
    .slice(0, MOST_KEYS)
    .filter((key) => fits(key, algorithm))
    .toSorted((one, other) => countMarks(other) - countMarks(one))
    .find((key) => judgePublicJwk(key) === undefined)
  if (!chosen) return undefined
  const needed = Object.entries(chosen).filter(([name]) => MEMBERS.includes(name))
  return Object.fromEntries(needed) as unknown as EncryptionKey
}

function fits(jwk: Jwk, algorithm: ClientEncryptionAlgorithm): boolean {
  const { kid, use, alg, key_ops: operations } = jwk
  if (use !== undefined && use !== 'enc') return false
  if (alg !== undefined && alg !== algorithm) return false
  if (Array.isArray(operations) && operations.includes('verify')) return false
  if (kid !== undefined && typeof kid !== 'string') return false
  return isOfKind(jwk, algorithm)
}

/** RFC 7518 §4.3, §4.6; X25519 is of RFC 8037 §3.2. */
function isOfKind({ kty, crv }: Jwk, algorithm: ClientEncryptionAlgorithm): boolean {
  if (algorithm.startsWith('RSA')) return kty === 'RSA'
  return kty === 'EC' || (kty === 'OKP' && crv === 'X25519')
}

function countMarks({ use, alg }: Jwk): number {
  return [use, alg].filter((mark) => mark !== undefined).length
}

/** The same for who has to mend it. */
export function describeEncryptionKey(algorithm: ClientEncryptionAlgorithm): string {
  const kind = algorithm.startsWith('RSA')
    ? 'of RSA with 2048 bits at least'
    : 'of P-256, P-384, P-521 or X25519'
  return `a public key ${kind}, with use "enc" or none, and alg "${algorithm}" or none`
}
