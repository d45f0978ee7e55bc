import type { Compilable, CompiledQuery, Kysely, QueryResult, Transaction } from 'kysely'
import type { Clock } from '../clock.ts'
import { PortreeveError } from '../errors.ts'
import type { LogMark } from '../revocation/revocation.ts'
import type { Schema } from './schema.ts'

/** One SQL database. What the stores need of it beyond Kysely, each engine does in its own way. */
export interface Database extends AsyncDisposable {
  readonly kysely: Kysely<Schema>
  /** Runs a read outside of any transaction. It sees what is committed. */
  read<R>(query: CompiledQuery<R>, parameters: readonly unknown[]): Promise<R[]>
  /**
   * Runs a statement that no request waits for, beside the event loop. Answers how many rows it changed.
   */
  runAside(query: CompiledQuery): Promise<number>
  /**
   * Lets no other transaction that names one of the same things go on until this one ends, unless both
   * only share it. Not even asked for names where a transaction has the database for itself.
   */
  lock(transaction: Transaction<Schema>, listNames: () => Promise<LockNames>): Promise<void>
  /** Whether rows that other transactions hold have to be passed over by a purge. */
  readonly skipsLocked: boolean
  /**
   * Wakes whoever listens to revocations, in every process that can be reached, once it is committed.
   * Answers what time it is (ms), by the one clock that every process of this database has.
   */
  announce(transaction: Transaction<Schema>): Promise<number>
  /**
   * Waits for whoever has the log of revocations to themselves, and answers where it stands and what time it
   * is by the same clock. What they have written is to be seen from then on.
   */
  markRevocations(): Promise<LogMark>
  /**
   * Calls `wake` after a transaction that has announced something was committed: soon, but a call may be
   * lost, or say nothing new. Where the database tells nobody, only this process is heard.
   */
  listen(wake: () => void): AsyncDisposable
}

export interface DatabaseOptions {
  /** How long one statement may take, or wait for a lock. */
  readonly timeoutMs?: number | undefined
  /** Takes the place of the database's own, for tests. A SQLite database has none but the process's. */
  readonly clock?: Clock | undefined
}

/** Those that are shared are waited for first, each kind in the order of the alphabet. */
export interface LockNames {
  readonly shared?: readonly string[]
  readonly exclusive: readonly string[]
}

export type PreparedRead<R> = (...parameters: readonly unknown[]) => Promise<R[]>

/**
 * Compiles a read once: building a query costs more than running it. Of the values that `build` gives,
 * only the places count.
 */
export function prepareRead<R>(
  database: Database,
  build: (kysely: Kysely<Schema>) => Compilable<R>,
): PreparedRead<R> {
  const query = build(database.kysely).compile()
  return async (...parameters) =>
    parameters.every(isStorable) ? database.read(query, parameters) : []
}

/** What a statement runs in. */
export interface Scope {
  readonly database: Database
  /** A transaction, or the database itself for a statement that is one. */
  readonly transaction: Kysely<Schema>
}

/**
 * A statement that is compiled once for each database. `build` gets the names of the values in their
 * place, and may only pass them on.
 */
export function defineStatement<Values extends object, Row = unknown>(
  build: (kysely: Kysely<Schema>, values: Values) => Compilable<Row>,
): (scope: Scope, values: Values) => Promise<QueryResult<Row>> {
  const known = new WeakMap<Database, CompiledQuery<Row>>()
  return ({ database, transaction }, values) => {
    const query = known.get(database) ?? build(database.kysely, NAMES as Values).compile()
    known.set(database, query)
    const parameters = query.parameters.map((parameter) =>
      parameter instanceof ValueName ? values[parameter.name as keyof Values] : parameter,
    )
    return transaction.executeQuery<Row>({ ...query, parameters })
  }
}

/** Stands for a value in a statement that is compiled before there is one. */
class ValueName {
  readonly name: string

  constructor(name: string) {
    this.name = name
  }
}

const NAMES: object = new Proxy({}, { get: (_target, name) => new ValueName(String(name)) })

/** For statements about many things: each takes only so many values, and a statement for each too long. */
export function inParts<T>(all: readonly T[]): T[][] {
  const count = Math.ceil(all.length / MOST_IN_A_PART)
  return Array.from({ length: count }, (_, index) =>
    all.slice(index * MOST_IN_A_PART, (index + 1) * MOST_IN_A_PART),
  )
}

const MOST_IN_A_PART = 500

/** The named members alone: what `build` is given cannot be asked for all of its own. */
export function pickColumns<Values extends object, Column extends keyof Values>(
  values: Values,
  columns: readonly Column[],
): Pick<Values, Column> {
  return Object.fromEntries(columns.map((column) => [column, values[column]])) as Pick<
    Values,
    Column
  >
}

/**
 * PostgreSQL keeps no U+0000, and neither engine keeps half a surrogate pair: it would come back as
 * another letter.
 */
function isStorable(value: unknown): boolean {
  return typeof value !== 'string' || (value.isWellFormed() && !value.includes('\0'))
}

/** Throws `invalid_input` where a member of one of these could not be kept as it is. */
export function refuseUnstorable(rows: readonly object[]): void {
  if (rows.every((row) => Object.values(row).every(isStorable))) return
  throw new PortreeveError('invalid_input', 'A text holds a character that cannot be kept.')
}

/** What whoever appends to the log of revocations has to themselves. */
export const REVOCATION_LOG = 'log revocation'

/**
 * Entries get their places one after the other, whichever process appends. Answers the time (ms) that they
 * say: whoever is issued something later has waited until they are to be seen.
 */
export async function lockRevocations(
  database: Database,
  transaction: Transaction<Schema>,
): Promise<number> {
  await database.lock(transaction, async () => ({ exclusive: [REVOCATION_LOG] }))
  return database.announce(transaction)
}
