import type { Compilable, CompiledQuery, Kysely, Transaction } from 'kysely'
import type { Schema } from './schema.ts'

/** One SQL database. What the stores need of it beyond Kysely, each engine does in its own way. */
export interface Database extends AsyncDisposable {
  readonly kysely: Kysely<Schema>
  /** Runs a read outside of any transaction. It sees what is committed. */
  read<R>(query: CompiledQuery<R>, parameters: readonly unknown[]): Promise<R[]>
  /**
   * Lets no other transaction that names one of the same things go on until this one ends. Not even
   * asked for names where a transaction has the database for itself.
   */
  lock(transaction: Transaction<Schema>, listNames: () => Promise<readonly string[]>): Promise<void>
  /** Whether rows that other transactions hold have to be passed over by a purge. */
  readonly skipsLocked: boolean
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
  return (...parameters) => database.read(query, parameters)
}

/** Entries of a log get their places one after the other, whichever process appends. */
export async function lockLog(
  database: Database,
  transaction: Transaction<Schema>,
  log: 'revocation' | 'audit_entry',
): Promise<void> {
  await database.lock(transaction, async () => [`log ${log}`])
}
