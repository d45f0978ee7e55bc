import { ENCRYPTED_KINDS } from './built-in.ts'
import { chooseEncryptionKey, describeEncryptionKey } from './encryption-key.ts'
import type { Finding } from './rules.ts'
import type { ClientConfig } from './schema.ts'

/** The rules of what is encrypted for a client. Paths start at it. What is at a `jwksUri` is not known. */
export function checkEncryption({
  encryption = {},
  jwks,
  jwksUri,
  authMethod,
  grants,
}: Pick<ClientConfig, 'encryption' | 'jwks' | 'jwksUri' | 'authMethod' | 'grants'>): Finding[] {
  return ENCRYPTED_KINDS.flatMap((kind): Finding[] => {
    const wanted = encryption[kind]
    if (!wanted) return []
    const path = ['encryption', kind]
    if (kind === 'response' && !grants.includes('authorization_code')) {
      const message = 'it gets no authorization responses without the grant authorization_code'
      return [{ rule: 'PR355', path, message }]
    }
    if (kind === 'introspection' && authMethod === 'none') {
      return [{ rule: 'PR355', path, message: 'a public client is told nothing about tokens' }]
    }
    if (jwksUri !== undefined) return []
    if (!jwks) {
      const message = 'it needs keys to be encrypted to: expected jwks or jwksUri'
      return [{ rule: 'PR353', path, message }]
    }
    if (chooseEncryptionKey(jwks.keys, wanted.algorithm)) return []
    const message = `expected in jwks ${describeEncryptionKey(wanted.algorithm)}`
    return [{ rule: 'PR354', path, message }]
  })
}
