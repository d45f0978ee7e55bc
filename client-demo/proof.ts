import { createHash, randomUUID } from 'node:crypto'
import { exportJWK, SignJWT, type CryptoKey } from 'jose'

/** Proofs of a key, made by hand: a library makes only good ones. */

export interface KeyPair {
  readonly privateKey: CryptoKey
  readonly publicKey: CryptoKey
}

export interface ProofClaims {
  readonly htm: string
  readonly htu: string
  readonly nonce?: string | undefined
}

/** @see {@link https://www.rfc-editor.org/rfc/rfc9449.html#section-4.2 RFC 9449 §4.2} */
export async function makeProof(
  { privateKey, publicKey }: KeyPair,
  accessToken: string,
  { htm, htu, nonce }: ProofClaims,
): Promise<string> {
  const ath = createHash('sha256').update(accessToken).digest('base64url')
  return new SignJWT({ htm, htu, ath, ...(nonce === undefined ? {} : { nonce }) })
    .setProtectedHeader({ typ: 'dpop+jwt', alg: 'ES256', jwk: await exportJWK(publicKey) })
    .setJti(randomUUID())
    .setIssuedAt()
    .sign(privateKey)
}
