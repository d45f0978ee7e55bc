import { CompactEncrypt, importJWK } from 'jose'
import type { ClientEncryptionAlgorithm, ContentEncryption } from '../config/built-in.ts'
import type { EncryptionKey } from '../config/encryption-key.ts'

export interface EncryptedFor {
  readonly algorithm: ClientEncryptionAlgorithm
  readonly content: ContentEncryption
  readonly issuer: string
  readonly clientId: string
}

/**
 * Encrypts a signed JWT (RFC 7519 §5.2, nested). Who it is from and for stands outside as well, where
 * it is not to be believed (§5.3). Nothing is compressed: how short it gets tells what is in it.
 */
export async function encryptToken(
  token: string,
  key: EncryptionKey,
  { algorithm, content, issuer, clientId }: EncryptedFor,
): Promise<string> {
  const { kid } = key
  return new CompactEncrypt(Buffer.from(token))
    .setProtectedHeader({
      alg: algorithm,
      enc: content,
      cty: 'JWT',
      ...(kid === undefined ? {} : { kid }),
      iss: issuer,
      aud: clientId,
    })
    .encrypt(await importJWK(key, algorithm))
}
