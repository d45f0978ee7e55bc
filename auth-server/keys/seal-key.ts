import type { LoadedConfig } from '../config/load.ts'
import type { SecretSource } from '../config/schema.ts'
import { PortreeveError } from '../errors.ts'
import { deriveKey, parseRootKey } from './seal.ts'

/**
 * The key that seals the signing keys: the one that the configuration points at, or else one that is
 * derived from the root key. Only reads: what is missing was not what sealed them.
 *
 * Throws `misconfigured` where it cannot be had.
 */
export async function readSealKey({
  config,
  readSecret,
}: Pick<LoadedConfig, 'config' | 'readSecret'>): Promise<Buffer> {
  const { encryptionKey } = config.keys
  const [source, setting] = encryptionKey
    ? [encryptionKey, 'keys.encryptionKey']
    : [config.rootKey, 'rootKey']
  return readKey(source, setting, readSecret)
}

/** The sealing key of a source. `name`: what it is called in a refusal. */
export async function readKey(
  source: SecretSource,
  name: string,
  readSecret: LoadedConfig['readSecret'],
): Promise<Buffer> {
  const text = await readSecret(source, [name])
  if (!text.ok) throw new PortreeveError('misconfigured', `${name}: ${text.reason.message}`)
  return toSealKey(parseRootKey(text.value.trim(), name))
}

/**
 * A key of its own for this purpose, whatever else a key is for: so the root key may be named as what
 * seals, which is what it does where nothing is named.
 */
export function toSealKey(key: Buffer): Buffer {
  return deriveKey(key, 'seal')
}
