import { randomBytes } from 'node:crypto'
import { constants, existsSync } from 'node:fs'
import { chown, link, lstat, open, realpath, rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { backup, DatabaseSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import type { CopyFacts, DatabaseFiles } from '../admin/backup.ts'
import { PortreeveError, type ErrorCode } from '../errors.ts'
import { checkSteps } from './migrate.ts'

/** 4 MiB: between two steps the program may be told to stop. */
const PAGES_AT_ONCE = 1024
/** Another command may just be ending its work. */
const LOCK_TIMEOUT_MS = 1000
const HEADER = 'SQLite format 3\0'
/** The log, its index and the journal of a database, which SQLite finds by their names. */
const BESIDE = ['-wal', '-shm', '-journal']
const SQLITE_BUSY = 5
/** SQLITE_CORRUPT, SQLITE_NOTADB. */
const DAMAGES = new Set([11, 26])
/** SQLITE_IOERR, SQLITE_FULL. */
const DISK_FAILURES = new Set([10, 13])
/** File systems without hard links, such as those of memory sticks. */
const CANNOT_LINK = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'])
/** Not every system can open a folder, or flush it. */
const CANNOT_SYNC = new Set(['EPERM', 'EISDIR', 'EINVAL', 'ENOTSUP'])

/** For databases that are SQLite files. */
export const sqliteFiles: DatabaseFiles = {
  async backUp(database, file, { replaces = false, signal } = {}) {
    if (!existsSync(database)) {
      throw new PortreeveError('not_found', `There is no database at ${database} yet.`)
    }
    await refuseTarget(database, file, replaces)
    await using partial = await makePartial(file)
    const facts = await copy(() => openToRead(database), database, partial.file, signal)
    await put(partial.file, file, replaces)
    return facts
  },
  async restore(file, named, suffix, { replaces = false, signal } = {}) {
    const database = existsSync(named) ? await realpath(named) : named
    await refuseSource(file, database, replaces)
    await using partial = await makePartial(database)
    const facts = await copy(() => openCopy(file), file, partial.file, signal)
    forgetFeed(partial.file)
    const kept = existsSync(database)
      ? await replaceDatabase(partial.file, database, `${database}${suffix}`)
      : await putDatabase(partial.file, database, `${database}${suffix}`)
    return { ...facts, kept }
  },
}

/** `--force` is for an earlier copy: nothing else is ever replaced. */
async function refuseTarget(database: string, file: string, replaces: boolean): Promise<void> {
  const found = await lstat(file).catch(ignoreMissing)
  if (!found) return
  for (const own of ['', ...BESIDE].map((suffix) => `${database}${suffix}`)) {
    if (await isSameFile(file, own))
      throw refuse('conflict', file, 'belongs to the database itself')
  }
  if (!found.isFile()) throw refuse('conflict', file, 'is there already, and is no file')
  if (!replaces) {
    const remedy = 'choose another name, or add --force to replace it'
    throw refuse('conflict', file, `is there already: ${remedy}`)
  }
  if (found.size > 0 && (await readHeader(file)) !== HEADER) {
    throw refuse('conflict', file, 'is no earlier backup: it is not replaced')
  }
}

async function refuseSource(file: string, database: string, replaces: boolean): Promise<void> {
  const found = await stat(file).catch(ignoreMissing)
  if (!found) throw new PortreeveError('not_found', `There is no file ${file}.`)
  if (!found.isFile()) throw refuse('invalid_input', file, 'is not a file')
  if (await isSameFile(file, database))
    throw refuse('invalid_input', file, 'is the database itself')
  if (replaces || !existsSync(database)) return
  const remedy = 'Add --force to put the backup in its place: it is kept beside it'
  throw new PortreeveError('conflict', `There is a database at ${database}. ${remedy}.`)
}

async function isSameFile(one: string, two: string): Promise<boolean> {
  const [first, second] = await Promise.all(
    [one, two].map((name) => stat(name).catch(ignoreMissing)),
  )
  return first !== undefined && first.ino === second?.ino && first.dev === second.dev
}

async function readHeader(file: string): Promise<string> {
  await using handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK)
  const { buffer, bytesRead } = await handle.read({ buffer: Buffer.alloc(HEADER.length) })
  return buffer.toString('latin1', 0, bytesRead)
}

/** A file beside the one that it will become, for its owner alone. */
async function makePartial(file: string) {
  const partial = `${file}.partial-${randomBytes(6).toString('hex')}`
  const handle = await open(partial, 'wx', 0o600).catch((cause: unknown) => {
    if (codeOf(cause) !== 'ENOENT') throw cause
    const message = `There is no folder ${path.dirname(file)}.`
    throw new PortreeveError('not_found', message, { cause })
  })
  await handle.close()
  return {
    file: partial,
    async [Symbol.asyncDispose]() {
      for (const suffix of ['', ...BESIDE]) await rm(`${partial}${suffix}`, { force: true })
    },
  }
}

/** Writes a sound copy to `target`, on the disk. `name` is what is copied, for refusals. */
async function copy(
  openSource: () => DatabaseSync,
  name: string,
  target: string,
  signal: AbortSignal | undefined,
): Promise<CopyFacts> {
  try {
    using source = openSource()
    // What is read stays as it is at this moment. Otherwise the copy would begin anew whenever another
    // program writes, and never end beside a busy server (https://www.sqlite.org/backup.html).
    source.exec('begin')
    checkMade(source, name)
    const progress = () => signal?.throwIfAborted()
    progress()
    await backup(source, target, { rate: PAGES_AT_ONCE, progress })
    source.exec('commit')
    const facts = examine(target, name)
    progress()
    await using handle = await open(target, 'r+')
    await handle.sync()
    return { ...facts, bytes: (await handle.stat()).size }
  } catch (error) {
    throw describeFailure(error, name)
  }
}

/** Read only, and yet it tidies up the log beside the database as whoever closes it last has to. */
function openToRead(database: string): DatabaseSync {
  const source = new DatabaseSync(database, { timeout: LOCK_TIMEOUT_MS })
  source.exec('pragma query_only = on')
  return source
}

/** A copy that stands alone is read as it is: its folder may be read-only, and is left as it was. */
function openCopy(file: string): DatabaseSync {
  if (BESIDE.some((suffix) => existsSync(`${file}${suffix}`))) {
    return new DatabaseSync(file, { readOnly: true, timeout: LOCK_TIMEOUT_MS })
  }
  return new DatabaseSync(new URL('?immutable=1', pathToFileURL(file)), { readOnly: true })
}

/** Throws for what this version did not make, or cannot read. */
function checkMade(database: DatabaseSync, name: string): void {
  const tables = ['schema_migration', 'account', 'client', 'signing_key']
  const found = database
    .prepare(`select name from sqlite_schema where type = 'table' and name in (?, ?, ?, ?)`)
    .all(...tables)
  if (found.length < tables.length)
    throw refuse('invalid_input', name, 'is no database of Portreeve')
  const steps = database.prepare('select name, checksum from schema_migration').all()
  checkSteps(steps as { name: string; checksum: string }[], name)
}

/** Makes one file of a copy, reads all of it, and answers what it holds. */
function examine(target: string, name: string): Omit<CopyFacts, 'bytes'> {
  using copied = new DatabaseSync(target)
  copied.exec('pragma journal_mode = delete')
  const [fault] = copied.prepare('pragma integrity_check(1)').all()
  if (fault?.['integrity_check'] !== 'ok') {
    throw refuse('storage_failed', name, `is damaged: ${String(fault?.['integrity_check'])}`)
  }
  const count = (table: string) =>
    Number(copied.prepare(`select count(*) as count from ${table}`).get()?.['count'])
  const keys = copied
    .prepare("select kid, sealed_private_jwk from signing_key where sealed_private_jwk <> ''")
    .all()
  return {
    pages: Number(copied.prepare('pragma page_count').get()?.['page_count']),
    users: count('account'),
    clients: count('client'),
    keys: keys.map(({ kid, sealed_private_jwk }) => ({
      kid: String(kid),
      sealedPrivateJwk: String(sealed_private_jwk),
    })),
  }
}

/** APIs that have seen more of the log of revocations would take its new entries for ones that they know. */
function forgetFeed(copied: string): void {
  using database = new DatabaseSync(copied)
  const isThere = database.prepare(
    `select name from sqlite_schema where type = 'table' and name = 'revocation_feed'`,
  )
  if (isThere.get()) database.exec('delete from revocation_feed')
}

/**
 * Both names lead to the old database until the new one takes the first: whatever kills the process,
 * there is one. A server that starts in this moment waits for the lock, and is then refused by SQLite,
 * because its file has been moved away (SQLITE_READONLY_DBMOVED).
 */
async function replaceDatabase(partial: string, database: string, keepAt: string): Promise<string> {
  using lock = lockAlone(database)
  const { uid, gid } = await stat(database)
  // Root may restore what is another user's.
  if (uid !== process.getuid?.()) await chown(partial, uid, gid)
  await link(database, keepAt).catch(async (cause: unknown) => {
    if (!CANNOT_LINK.has(codeOf(cause))) throw cause
    await rename(database, keepAt)
  })
  await rename(partial, database)
  await syncFolder(database)
  lock.exec('rollback')
  return keepAt
}

/**
 * Folds the log into the database, so that it is one file, and keeps everybody out until disposed of.
 * Must not be met by any other opening and closing of the file in this process: that would give up
 * the lock (https://www.sqlite.org/howtocorrupt.html, 2.2).
 */
function lockAlone(database: string): DatabaseSync {
  const lock = new DatabaseSync(database, { timeout: LOCK_TIMEOUT_MS })
  try {
    // Whoever has it open in the mode of the log holds a lock, idle or not.
    lock.exec('pragma journal_mode = delete')
    lock.exec('begin exclusive')
    // Somebody came between the two.
    if (lock.prepare('pragma journal_mode').get()?.['journal_mode'] !== 'delete')
      throw inUse(database)
    return lock
  } catch (error) {
    lock.close()
    if (errcodeOf(error) === SQLITE_BUSY) throw inUse(database, error)
    if (!DAMAGES.has(errcodeOf(error))) throw describeFailure(error, database)
    const remedy = `Stop the server, move ${database} away (with ${database}-wal and ${database}-shm, if they are there), and restore again.`
    const message = `The database at ${database} is damaged, so that nobody can tell whether it is in use. ${remedy}`
    throw new PortreeveError('storage_failed', message, { cause: error })
  }
}

function inUse(database: string, cause?: unknown): PortreeveError {
  const message = `The database at ${database} is in use. Stop the server, and whatever else has it open, first.`
  return new PortreeveError('busy', message, { cause })
}

/** A log that was left without its database would be played into the new one. */
async function putDatabase(
  partial: string,
  database: string,
  keepAt: string,
): Promise<string | undefined> {
  const leftOver = BESIDE.filter((suffix) => existsSync(`${database}${suffix}`))
  for (const suffix of leftOver) await rename(`${database}${suffix}`, `${keepAt}${suffix}`)
  await put(partial, database, false)
  return leftOver.length > 0 ? keepAt : undefined
}

/** The file appears whole or not at all, whatever kills the process meanwhile. */
async function put(partial: string, file: string, replaces: boolean): Promise<void> {
  if (replaces) await rename(partial, file)
  else {
    await link(partial, file).catch(async (cause: unknown) => {
      const isTaken = codeOf(cause) === 'EEXIST' || existsSync(file)
      if (isTaken) throw refuse('conflict', file, 'is there already')
      if (!CANNOT_LINK.has(codeOf(cause))) throw cause
      await rename(partial, file)
    })
    await rm(partial, { force: true })
  }
  await syncFolder(file)
}

async function syncFolder(file: string): Promise<void> {
  try {
    await using folder = await open(path.dirname(file))
    await folder.sync()
  } catch (error) {
    if (!CANNOT_SYNC.has(codeOf(error))) throw error
  }
}

/** What SQLite says, with what it is about. */
function describeFailure(cause: unknown, name: string): unknown {
  const errcode = errcodeOf(cause)
  if (errcode === 0) return cause
  const reason = cause instanceof Error ? cause.message : String(cause)
  if (errcode === SQLITE_BUSY)
    return new PortreeveError('busy', `${name} is locked by another program.`, { cause })
  if (DAMAGES.has(errcode)) {
    return refuse('invalid_input', name, `is no database, or damaged: ${reason}`, cause)
  }
  if (DISK_FAILURES.has(errcode)) {
    const message = `The copy of ${name} cannot be written: is the disk full?`
    return new PortreeveError('storage_failed', message, { cause })
  }
  return refuse('storage_failed', name, `cannot be read: ${reason}`, cause)
}

function refuse(code: ErrorCode, file: string, reason: string, cause?: unknown): PortreeveError {
  return new PortreeveError(code, `${file} ${reason}.`, { cause })
}

function ignoreMissing(error: unknown): undefined {
  if (codeOf(error) !== 'ENOENT') throw error
}

function codeOf(error: unknown): string {
  return String((error as NodeJS.ErrnoException).code)
}

/** Extended result codes carry the primary one in their lowest byte; 0 for what SQLite did not say. */
function errcodeOf(error: unknown): number {
  return error instanceof Error && 'errcode' in error ? Number(error.errcode) & 0xff : 0
}
