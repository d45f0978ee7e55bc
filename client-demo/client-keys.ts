import { randomUUID } from 'node:crypto'
import { exportJWK, generateKeyPair, type CryptoKey, type JWK } from 'jose'

/** What a client signs with: the server knows the public half by its id. */
export interface ClientKey {
  readonly kid: string
  /** For the library: it takes the id along. */
  readonly signing: { readonly key: CryptoKey; readonly kid: string }
  /** As it is published. */
  readonly jwk: JWK
}

export async function makeClientKey(alg: 'ES256' | 'RS256' = 'ES256'): Promise<ClientKey> {
  const { privateKey, publicKey } = await generateKeyPair(alg)
  const kid = randomUUID()
  const jwk = { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' }
  return { kid, signing: { key: privateKey, kid }, jwk }
}
