import { stat } from 'node:fs/promises'
import type { LoadedConfig } from '../config/load.ts'
import { PortreeveError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { parseRootKey, readOrCreateRootKeyFile } from './seal.ts'

const OTHERS_MAY_READ = 0o044

/**
 * The root key that the configuration points at. A file that does not exist is made; one that others
 * may read is a warning in the log. Throws `misconfigured` where there is no usable key.
 */
export async function readRootKey(
  { config, readSecret }: LoadedConfig,
  log: Logger,
): Promise<Buffer> {
  if ('file' in config.rootKey) {
    const { file } = config.rootKey
    const key = await readOrCreateRootKeyFile(file)
    await warnOfReaders(file, log)
    return key
  }
  const text = await readSecret(config.rootKey, ['rootKey'])
  if (text.ok) return parseRootKey(text.value)
  throw new PortreeveError('misconfigured', `rootKey: ${text.reason.message}`)
}

/** Writes a warning if others than the owner may read a file with a key. */
export async function warnOfReaders(file: string, log: Logger): Promise<void> {
  const { mode } = await stat(file)
  if ((mode & OTHERS_MAY_READ) === 0) return
  const remedy = `Others than its owner may read this key. Keep them out: chmod 600 ${file}`
  log.warn({ event: 'root_key_readable', file, remedy })
}
