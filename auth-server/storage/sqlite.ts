import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { SqliteDialect, type SqliteDatabase, type SqliteStatement } from 'kysely'

/**
 * Waiting for another process's lock stops this process's event loop, so the wait is short; every
 * write here takes far less.
 */
const BUSY_TIMEOUT_MS = 2000

/** A SQLite file (or `:memory:`) as a Kysely dialect: WAL, every commit on disk before it is answered. */
export function createSqliteDialect(path: string): SqliteDialect {
  return new SqliteDialect({ database: async () => openDatabase(path) })
}

function openDatabase(path: string): SqliteDatabase {
  const database = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS })
  database.exec('pragma journal_mode = wal')
  database.exec('pragma synchronous = full')
  database.exec('pragma foreign_keys = on')
  const statements = new Map<string, SqliteStatement>()
  return {
    close: () => database.close(),
    prepare(sql) {
      const known = statements.get(sql)
      if (known) return known
      const statement = wrapStatement(database.prepare(takeLockEarly(sql)))
      statements.set(sql, statement)
      return statement
    },
  }
}

/**
 * A deferred transaction that reads before it writes fails at once when another process wrote in
 * between (SQLITE_BUSY_SNAPSHOT), without waiting. Taking the write lock at the start waits instead.
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
