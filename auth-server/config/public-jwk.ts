import {
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  publicEncrypt,
  type KeyObject,
} from 'node:crypto'
import type { Finding } from './rules.ts'
import { judgeCallUri } from './uri-rules.ts'

const CURVES: ReadonlySet<unknown> = new Set(['P-256', 'P-384', 'P-521', 'Ed25519', 'X25519'])
const SHORTEST_RSA_BITS = 2048
const LONGEST_RSA_BITS = 8192
const { privateKey: ANY_X25519 } = generateKeyPairSync('x25519')

/** Where somebody's public keys are: in the configuration, or at an address. */
export interface PublicKeys {
  readonly jwks?: { readonly keys: readonly Readonly<Record<string, unknown>>[] } | undefined
  readonly jwksUri?: string | undefined
}

/** The rules of public keys, whoever's they are. Paths start at their owner. */
export function checkPublicKeys({ jwks, jwksUri }: PublicKeys): Finding[] {
  const fault = jwksUri === undefined ? undefined : judgeCallUri(jwksUri)
  const findings = (jwks?.keys ?? []).flatMap((key, index): Finding[] => {
    const message = judgePublicJwk(key)
    return message === undefined ? [] : [{ rule: 'PR339', path: ['jwks', 'keys', index], message }]
  })
  if (fault === undefined) return findings
  return [{ rule: 'PR338', path: ['jwksUri'], message: fault }, ...findings]
}

/**
 * What is wrong with a key that somebody signs to this server with or is encrypted to, or `undefined`.
 * Says nothing of the key itself: a private one may be in it.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc7517.html#section-4 RFC 7517 §4}
 */
export function judgePublicJwk(jwk: Readonly<Record<string, unknown>>): string | undefined {
  const { kty, crv } = jwk
  if (kty === 'oct') return 'expected a public key, got a secret (kty oct)'
  if (['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k', 'priv'].some((name) => name in jwk)) {
    return 'expected a public key, got a private one: take it out of use, it has been shown'
  }
  if (kty !== 'RSA' && !CURVES.has(crv)) {
    return 'expected kty RSA, or crv P-256, P-384, P-521, Ed25519 or X25519'
  }
  try {
    const key = createPublicKey({ key: jwk, format: 'jwk' })
    const fault = judgeSize(key)
    if (fault === undefined) tryKey(key)
    return fault
  } catch {
    return 'expected a key: what came cannot be read as one'
  }
}

function judgeSize({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): string | undefined {
  if (asymmetricKeyType !== 'rsa') return undefined
  const { modulusLength = 0, publicExponent = 0n } = asymmetricKeyDetails ?? {}
  const isGood =
    modulusLength >= SHORTEST_RSA_BITS && modulusLength <= LONGEST_RSA_BITS && publicExponent > 2n
  if (isGood) return undefined
  return `expected RSA with ${SHORTEST_RSA_BITS} to ${LONGEST_RSA_BITS} bits, got ${modulusLength}`
}

/**
 * Throws for what can be read as a key and is none: a modulus that is even, or a point that agrees on
 * zero with every key (RFC 7748 §6.1). Whatever is encrypted to it would be the server's failure.
 */
function tryKey(key: KeyObject): void {
  if (key.asymmetricKeyType === 'rsa') publicEncrypt(key, Buffer.alloc(1))
  if (key.asymmetricKeyType !== 'x25519') return
  diffieHellman({ privateKey: ANY_X25519, publicKey: key })
}
