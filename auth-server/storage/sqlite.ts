import { closeSync, existsSync, openSync } from 'node:fs'
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { setTimeout as wait } from 'node:timers/promises'
import {
  CompiledQuery,
  Kysely,
  SqliteDialect,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  type QueryResult,
  type SqliteDatabase,
  type SqliteStatement,
} from 'kysely'
import { systemClock } from '../clock.ts'
import { PortreeveError } from '../errors.ts'
import type { LogMark } from '../revocation/revocation.ts'
import type { Database, DatabaseOptions } from './database.ts'
import type { Schema } from './schema.ts'
import { startAside, type Aside } from './sqlite-aside.ts'

/** How long a statement waits for the lock of another process before it fails. */
const LOCK_TIMEOUT_MS = 5000
const LONGEST_PAUSE_MS = 5
const MEMORY = ':memory:'
const SQLITE_BUSY = 5
/** SQLITE_IOERR, SQLITE_FULL. */
const DISK_FAILURES = new Set([10, 13])

/**
 * A SQLite file, or `:memory:`. WAL, and every commit on the disk before it is answered.
 *
 * Reads have a connection of their own: they neither see what a transaction of this process has not
 * committed yet, nor wait behind one that waits for the lock of another process.
 */
export function openSqlite(
  path: string,
  { timeoutMs: lockTimeoutMs = LOCK_TIMEOUT_MS, clock = systemClock }: DatabaseOptions = {},
): Database {
  const listeners = new Set<() => void>()
  const announced = { now: false }
  const end = (isCommitted: boolean) => {
    const wakes = isCommitted && announced.now ? [...listeners] : []
    announced.now = false
    for (const wake of wakes) wake()
  }
  const kysely = new Kysely<Schema>({ dialect: createDialect(path, lockTimeoutMs, end) })
  const readLock = createLock(lockTimeoutMs)
  let reader: SqliteDatabase | undefined
  let aside: Aside | undefined
  return {
    kysely,
    async read<R>(query: CompiledQuery<R>, parameters: readonly unknown[]) {
      if (path === MEMORY) return (await kysely.executeQuery<R>({ ...query, parameters })).rows
      // It meets a lock where another process opens the file, or is the last to close it.
      const rows = await whenFree(readLock, () => {
        reader ??= openReader(path)
        return reader.prepare(query.sql).all(parameters) as R[]
      })
      readLock.since = undefined
      return rows
    },
    async runAside(query) {
      if (path === MEMORY) return Number((await kysely.executeQuery(query)).numAffectedRows)
      const thread = (aside ??= startAside(path))
      try {
        return await thread.run(query.sql, query.parameters)
      } catch (error) {
        if (aside === thread) aside = undefined
        await thread[Symbol.asyncDispose]()
        throw describeFailure(error) ?? error
      }
    },
    // Every transaction takes the one write lock at its start.
    lock: async () => {},
    skipsLocked: false,
    async announce() {
      // There is one transaction at a time.
      announced.now = true
      return clock.now()
    },
    markRevocations: () =>
      // It begins when everybody else's has ended, and takes the disk no time because it writes nothing.
      kysely.transaction().execute(async (transaction) => ({
        now: clock.now(),
        place: (await transaction.executeQuery(PLACE)).rows[0]?.place ?? 0,
      })),
    listen(wake) {
      const listener = () => wake()
      listeners.add(listener)
      return {
        async [Symbol.asyncDispose]() {
          listeners.delete(listener)
        },
      }
    },
    async [Symbol.asyncDispose]() {
      await aside?.[Symbol.asyncDispose]()
      reader?.close()
      await kysely.destroy()
    },
  }
}

const PLACE = CompiledQuery.raw(
  'select coalesce(max(sequence), 0) as place from revocation',
) as CompiledQuery<Pick<LogMark, 'place'>>

/** Told of the end of each transaction. */
type OnEnd = (isCommitted: boolean) => void

function createDialect(path: string, lockTimeoutMs: number, onEnd: OnEnd): Dialect {
  // Two that make a file at once may find it locked, whatever SQLite was told to wait.
  const open = () => whenFree(createLock(lockTimeoutMs), () => openDatabase(path))
  const dialect = new SqliteDialect({ database: open })
  return {
    createAdapter: () => dialect.createAdapter(),
    createIntrospector: (database) => dialect.createIntrospector(database),
    createQueryCompiler: () => dialect.createQueryCompiler(),
    createDriver: () => waitForLocks(dialect.createDriver(), lockTimeoutMs, onEnd),
  }
}

function openDatabase(path: string): SqliteDatabase {
  if (path !== MEMORY) claimFile(path)
  const database = new DatabaseSync(path, { timeout: 0 })
  try {
    database.exec('pragma journal_mode = wal')
    database.exec('pragma synchronous = full')
    database.exec('pragma foreign_keys = on')
  } catch (error) {
    database.close()
    throw error
  }
  return keepStatements(database)
}

function openReader(path: string): SqliteDatabase {
  return keepStatements(new DatabaseSync(path, { readOnly: true, timeout: 0 }))
}

function keepStatements(database: DatabaseSync): SqliteDatabase {
  const statements = new Map<string, SqliteStatement>()
  return {
    close: () => database.close(),
    prepare(sql) {
      const known = statements.get(sql)
      if (known) return known
      const wrapped = wrapStatement(database.prepare(takeLockEarly(sql)))
      const statement = sql === 'rollback' ? unlessOver(wrapped, database) : wrapped
      statements.set(sql, statement)
      return statement
    },
  }
}

/**
 * A new file is for its owner alone; SQLite gives those beside it (the log) the same mode. One that is
 * there is not touched: closing it would give up every lock that this process has on it
 * (https://www.sqlite.org/howtocorrupt.html, 2.2).
 */
function claimFile(path: string): void {
  if (!existsSync(path)) closeSync(openSync(path, 'a', 0o600))
}

/**
 * A deferred transaction that reads before it writes fails at once when another process wrote in
 * between (SQLITE_BUSY_SNAPSHOT). Taking the write lock at the start makes it wait instead.
 *
 * @see {@link https://www.sqlite.org/isolation.html}
 */
function takeLockEarly(sql: string): string {
  return sql === 'begin' ? 'begin immediate' : sql
}

function wrapStatement(statement: StatementSync): SqliteStatement {
  return {
    reader: statement.columns().length > 0,
    all: (parameters) => statement.all(...(parameters as SQLInputValue[])),
    run: (parameters) => statement.run(...(parameters as SQLInputValue[])),
    iterate: (parameters) => statement.iterate(...(parameters as SQLInputValue[])),
  }
}

/** A commit that finds the disk full has rolled back, and its reason would be lost in a second failure. */
function unlessOver(rollback: SqliteStatement, database: DatabaseSync): SqliteStatement {
  const run: SqliteStatement['run'] = (parameters) =>
    database.isTransaction ? rollback.run(parameters) : { changes: 0, lastInsertRowid: 0 }
  return { ...rollback, run }
}

/**
 * SQLite's own waiting stops the event loop, and with it whoever holds the lock in this process. So a
 * statement that meets a lock is tried again after a pause that lets everybody else go on. Only what
 * stands outside a transaction, or begins one, can meet a lock: nothing is ever done twice.
 *
 * Whoever comes after somebody who waited in vain fails at once, until a lock is had again: they stand
 * in one queue, and would otherwise wait one time-out after the other.
 */
function waitForLocks(driver: Driver, timeoutMilliseconds: number, onEnd: OnEnd): Driver {
  const lock = createLock(timeoutMilliseconds)
  return {
    init: () => driver.init(),
    acquireConnection: async () => waitOnConnection(await driver.acquireConnection(), lock),
    beginTransaction: (connection, settings) => driver.beginTransaction(connection, settings),
    async commitTransaction(connection) {
      await driver.commitTransaction(connection)
      onEnd(true)
    },
    async rollbackTransaction(connection) {
      onEnd(false)
      await driver.rollbackTransaction(connection)
    },
    releaseConnection: (connection) => driver.releaseConnection(connection),
    destroy: () => driver.destroy(),
  }
}

interface Lock {
  readonly timeoutMilliseconds: number
  /** Since when it is waited for; `undefined` while it can be had. On the monotonic clock. */
  since: number | undefined
}

function createLock(timeoutMilliseconds: number): Lock {
  return { timeoutMilliseconds, since: undefined }
}

function waitOnConnection(connection: DatabaseConnection, lock: Lock): DatabaseConnection {
  return {
    streamQuery: (query, chunkSize) => connection.streamQuery(query, chunkSize),
    async executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
      const result = await whenFree(lock, () => connection.executeQuery<R>(query))
      // Reading takes no lock: that it went well says nothing.
      if (!query.sql.startsWith('select')) lock.since = undefined
      return result
    },
  }
}

async function whenFree<T>(lock: Lock, attempt: () => T | Promise<T>): Promise<T> {
  for (let pause = 1; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
    try {
      return await attempt()
    } catch (error) {
      if (primaryCode(error) !== SQLITE_BUSY) throw describeFailure(error) ?? error
      const now = performance.now()
      lock.since ??= now
      if (now - lock.since >= lock.timeoutMilliseconds) throw describeFailure(error)
    }
    await wait(pause)
  }
}

/** What is no fault of the statement, and may be over by the next request. */
function describeFailure(cause: unknown): PortreeveError | undefined {
  const code = primaryCode(cause)
  if (code === SQLITE_BUSY) {
    return new PortreeveError('busy', 'The database is locked by another program.', { cause })
  }
  if (!DISK_FAILURES.has(code)) return undefined
  return new PortreeveError('busy', 'The database cannot be written: is the disk full?', { cause })
}

/** Extended result codes carry the primary one in their lowest byte. */
function primaryCode(error: unknown): number {
  return error instanceof Error && 'errcode' in error ? Number(error.errcode) & 0xff : 0
}
