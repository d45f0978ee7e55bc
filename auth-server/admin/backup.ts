import path from 'node:path'
import { formatTime, type Clock } from '../clock.ts'
import { locateDatabase, type LoadedConfig } from '../config/load.ts'
import type { SecretSource } from '../config/schema.ts'
import { PortreeveError } from '../errors.ts'
import { readSealKey } from '../keys/seal-key.ts'
import { unseal } from '../keys/seal.ts'

/** What a whole, sound copy of a database holds. */
export interface CopyFacts {
  readonly pages: number
  readonly bytes: number
  readonly users: number
  readonly clients: number
  /** Those of the signing keys whose private half is not erased. */
  readonly keys: readonly { readonly kid: string; readonly sealedPrivateJwk: string }[]
}

export interface CopyOptions {
  /** Whether what stands in the place of the copy is replaced. Default: false. */
  readonly replaces?: boolean | undefined
  /** Leaves off, and everything as it was. Its reason is thrown. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Copies of a database that is one file. All paths are absolute. A copy appears whole or not at all,
 * and only after it has been read through and found sound.
 */
export interface DatabaseFiles {
  /**
   * Copies `database`, as it is at one moment, to `file`. Others may read and write it meanwhile.
   * Replaces nothing but an earlier copy. Throws `not_found`, `conflict` where `file` is taken,
   * `misconfigured` for a database of a newer version, `storage_failed`.
   */
  backUp(database: string, file: string, options?: CopyOptions): Promise<CopyFacts>
  /**
   * Puts a copy of `file` in the place of `database`, which is kept beside it under its name and
   * `suffix`. At every moment one of the two is there, whole. Throws `busy` while another program has
   * the database open, `not_found`, `conflict` where there is a database and it is not to be replaced,
   * `invalid_input`, `misconfigured` and `storage_failed` for a file that cannot be used.
   */
  restore(
    file: string,
    database: string,
    suffix: string,
    options?: CopyOptions,
  ): Promise<CopyFacts & { readonly kept: string | undefined }>
}

/** Whether the key of the configuration opens every signing key of a copy. */
export type KeyFit = 'opens' | 'other' | 'missing'

export interface Backup extends Omit<CopyFacts, 'keys'> {
  readonly file: string
  readonly database: string
  /** ISO 8601: what was committed by then is in it. */
  readonly takenAt: string
  readonly milliseconds: number
  readonly keySources: KeySources
}

/** The other half of a backup: without it the signing keys in the copy cannot be opened. */
export interface KeySources {
  readonly rootKey: SecretSource
  /** What seals the signing keys in its place. */
  readonly encryptionKey: SecretSource | undefined
}

export interface Restoration extends Omit<Backup, 'takenAt' | 'milliseconds'> {
  /** Where the database is that was there before. */
  readonly kept: string | undefined
  readonly keyFit: KeyFit
}

/** Copies the database of the configuration to `file`. */
export async function backUp(
  files: DatabaseFiles,
  clock: Clock,
  loaded: LoadedConfig,
  file: string,
  options: CopyOptions,
): Promise<Backup> {
  const database = findFile(loaded, 'is backed up with pg_dump')
  const target = path.resolve(file)
  const start = clock.now()
  const { keys: _keys, ...facts } = await files.backUp(database, target, options)
  const milliseconds = clock.now() - start
  const times = { takenAt: formatTime(start), milliseconds }
  return { ...facts, ...times, file: target, database, keySources: listKeySources(loaded) }
}

/** Puts a copy of `file` in the place of the database of the configuration. */
export async function restore(
  files: DatabaseFiles,
  clock: Clock,
  loaded: LoadedConfig,
  file: string,
  options: CopyOptions,
): Promise<Restoration> {
  const database = findFile(loaded, 'is restored with pg_restore')
  const source = path.resolve(file)
  const suffix = `.before-restore-${stampTime(clock)}`
  const { keys, ...facts } = await files.restore(source, database, suffix, options)
  return {
    ...facts,
    file: source,
    database,
    keySources: listKeySources(loaded),
    keyFit: await judgeKeys(keys, loaded),
  }
}

function findFile({ config }: LoadedConfig, otherwise: string): string {
  const place = locateDatabase(config)
  if (place.kind === 'file') return place.file
  if (place.kind === 'memory') {
    const message =
      'The database is in the memory of the server, where no other program reaches it.'
    throw new PortreeveError('misconfigured', message)
  }
  const message = `The database is PostgreSQL (${place.name}): it ${otherwise}, as docs/backup.md shows.`
  throw new PortreeveError('misconfigured', message)
}

/** `20251126T093000123Z`: for the name of a file, on any file system. */
function stampTime(clock: Clock): string {
  return formatTime(clock.now()).replaceAll(/[-:.]/g, '')
}

function listKeySources({ config }: LoadedConfig): KeySources {
  return { rootKey: config.rootKey, encryptionKey: config.keys.encryptionKey }
}

async function judgeKeys(keys: CopyFacts['keys'], loaded: LoadedConfig): Promise<KeyFit> {
  if (keys.length === 0) return 'opens'
  const sealKey = await readSealKey(loaded).catch(ignoreRefusal)
  if (!sealKey) return 'missing'
  try {
    for (const { kid, sealedPrivateJwk } of keys) unseal(sealKey, sealedPrivateJwk, kid)
    return 'opens'
  } catch (error) {
    ignoreRefusal(error)
    return 'other'
  }
}

function ignoreRefusal(error: unknown): undefined {
  if (!(error instanceof PortreeveError)) throw error
}
