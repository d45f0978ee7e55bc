import { createPublicKey, type KeyObject } from 'node:crypto'
import { ExternalSigningKey, type JWKS } from 'oidc-provider'
import { PortreeveError } from '../errors.ts'
import type { KeyRing } from '../keys/keyring.ts'
import type { PublicJwk } from '../keys/keyset.ts'

/**
 * Every key that the engine is to know. It signs with the first one of an algorithm, so those that sign
 * come first; the others it has without their private halves.
 */
export function listEngineKeys({ signing, published, former }: KeyRing): JWKS['keys'] {
  const signs = new Set(signing.map(({ kid }) => kid))
  const verifies = [...published, ...former].filter(({ kid }) => !signs.has(kid))
  return [...signing.map((key) => ({ ...key })), ...verifies.map(createVerificationKey)]
}

/**
 * A key that verifies and cannot sign. The engine takes no public key as it is, but one that somebody
 * else signs with, which here is nobody.
 */
class VerificationKey extends ExternalSigningKey {
  readonly #publicKey: KeyObject

  constructor(publicKey: KeyObject) {
    super()
    this.#publicKey = publicKey
  }

  override keyObject(): KeyObject {
    return this.#publicKey
  }

  override sign(): never {
    const message = `No key of ${this.alg} can be opened: the server has to be started with the key that sealed them.`
    throw new PortreeveError('misconfigured', message)
  }
}

function createVerificationKey(jwk: PublicJwk): ExternalSigningKey {
  const key = new VerificationKey(createPublicKey({ key: jwk, format: 'jwk' }))
  // Typed as read-only, and yet set by whoever makes the key.
  return Object.assign(key, { kid: jwk.kid, alg: jwk.alg })
}
