import type { KeyObject } from 'node:crypto'
import { CompactSign, importJWK, type JWTPayload } from 'jose'
import type { SecretAlgorithm } from '../config/schema.ts'
import type { PrivateJwk } from './keyset.ts'

/** What a token is signed with: a key of the server, or a secret that an API shares. */
export type Signer =
  | { readonly kind: 'key'; readonly key: PrivateJwk }
  | { readonly kind: 'secret'; readonly algorithm: SecretAlgorithm; readonly key: KeyObject }

/**
 * A JWT in compact form (RFC 7519). The claims are taken as they are, and not copied before: those of a
 * page of the feed are many.
 */
export async function signToken(signer: Signer, type: string, claims: JWTPayload): Promise<string> {
  const token = new CompactSign(Buffer.from(JSON.stringify(claims)))
  if (signer.kind === 'secret') {
    return token.setProtectedHeader({ alg: signer.algorithm, typ: type }).sign(signer.key)
  }
  const { alg, kid } = signer.key
  return token
    .setProtectedHeader({ alg, kid, typ: type })
    .sign(await importJWK({ ...signer.key }, alg))
}
