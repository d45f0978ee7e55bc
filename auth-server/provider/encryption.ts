import { errors } from 'oidc-provider'
import type { ClientEncryptionAlgorithm } from '../config/built-in.ts'
import {
  chooseEncryptionKey,
  describeEncryptionKey,
  type EncryptionKey,
} from '../config/encryption-key.ts'

type Jwk = Readonly<Record<string, unknown>>

/**
 * The key that something for a client is encrypted to. Where none fits the client is refused: what was
 * to be encrypted is given to nobody as it is.
 */
export function requireEncryptionKey(
  keys: readonly Jwk[],
  algorithm: ClientEncryptionAlgorithm,
): EncryptionKey {
  const key = chooseEncryptionKey(keys, algorithm)
  if (key) return key
  const expected = describeEncryptionKey(algorithm)
  throw new errors.InvalidClientMetadata(
    `the client has no key that this can be encrypted to: expected ${expected}`,
  )
}
