import { stat } from 'node:fs/promises'
import type { AuditStore } from '../audit/audit.ts'
import type { LoadedConfig } from '../config/load.ts'
import { PortreeveError } from '../errors.ts'
import type { Logger } from '../log.ts'
import type { KeyStore } from './keyset.ts'
import { parseRootKey, readOrCreateRootKeyFile, readRootKeyFile } from './seal.ts'

const OTHERS_MAY_READ = 0o044

/**
 * The root key that the configuration points at; `undefined` where that is a file which does not exist
 * (see `createRootKey`). One that others may read is a warning in the log. Throws `misconfigured` where
 * there is no usable key.
 */
export async function readRootKey(
  { config, readSecret }: Pick<LoadedConfig, 'config' | 'readSecret'>,
  log: Logger,
): Promise<Buffer | undefined> {
  if ('file' in config.rootKey) {
    const { file } = config.rootKey
    const key = await readRootKeyFile(file)
    if (key) await warnOfReaders(file, log)
    return key
  }
  const text = await readSecret(config.rootKey, ['rootKey'])
  if (text.ok) return parseRootKey(text.value.trim())
  throw new PortreeveError('misconfigured', `rootKey: ${text.reason.message}`)
}

/** What a database holds that was made under a root key. */
export interface RootKeyUses {
  readonly keys: Pick<KeyStore, 'listStates'>
  readonly audit: Pick<AuditStore, 'list'>
}

/**
 * Makes the file of the root key, for a database that has not been used with one. Of servers that start
 * at once, all read the one that was there first. Throws `misconfigured` where the key of the database
 * is missing: another one in its place would open nothing, and seem to be the one that belongs there.
 */
export async function createRootKey(
  { config: { rootKey } }: Pick<LoadedConfig, 'config'>,
  uses: RootKeyUses,
): Promise<Buffer> {
  if (!('file' in rootKey)) throw new TypeError('only a file can be made')
  if (!(await isInUse(uses))) return readOrCreateRootKeyFile(rootKey.file)
  // Somebody who makes both makes the file first: it may have come since it was looked for.
  const key = await readRootKeyFile(rootKey.file)
  if (key) return key
  throw refuseMissing(rootKey.file)
}

async function isInUse({ keys, audit }: RootKeyUses): Promise<boolean> {
  return (await keys.listStates()).length > 0 || (await audit.list({}, 1)).length > 0
}

function refuseMissing(file: string): PortreeveError {
  const remedy =
    'Put that file back, or name the place where it is with rootKey. docs/backup.md says what to do where it is lost.'
  const message = `The root key is expected in ${file}, which does not exist, and the database was used with one: its signing keys and its audit log belong to that key. ${remedy}`
  return new PortreeveError('misconfigured', message)
}

/** Writes a warning if others than the owner may read a file with a key. */
export async function warnOfReaders(file: string, log: Logger): Promise<void> {
  const { mode } = await stat(file)
  if ((mode & OTHERS_MAY_READ) === 0) return
  const remedy = `Others than its owner may read this key. Keep them out: chmod 600 ${file}`
  log.warn({ event: 'root_key_readable', file, remedy })
}
