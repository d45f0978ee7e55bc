import { createHash } from 'node:crypto'
import { CompiledQuery, Kysely, PostgresDialect, sql, type PostgresPoolClient } from 'kysely'
import { DatabaseError, Pool, types, type PoolClient } from 'pg'
import { PortreeveError } from '../errors.ts'
import type { LogMark } from '../revocation/revocation.ts'
import { createBreaker, type Breaker } from './breaker.ts'
import { REVOCATION_LOG, type Database, type DatabaseOptions } from './database.ts'
import { announceIn, DATABASE_TIME, listenTo } from './postgres-notices.ts'
import type { Schema } from './schema.ts'

const MAX_CONNECTIONS = 20
/** With both, a request is refused within five seconds of an outage, whatever kind of it. */
const CONNECT_TIMEOUT_MS = 2000
const QUERY_TIMEOUT_MS = 4000
/** It ends that much sooner, so that a lock which is not had is not taken for a database that is gone. */
const STATEMENT_MARGIN_MS = 500
const IDLE_TRANSACTION_TIMEOUT_MS = 10_000
/** Queries of varying length, such as lists of keys, would fill a connection with statements. */
const MAX_STATEMENTS = 500

/**
 * A PostgreSQL database (15 or later), by its URL. Pooled; every statement is prepared once on each
 * connection. Transactions are READ COMMITTED: what must not be done twice at once takes `lock`.
 */
export function openPostgres(
  url: string,
  { timeoutMs: queryTimeoutMs = QUERY_TIMEOUT_MS, clock }: DatabaseOptions = {},
): Database {
  const pool = new Pool({
    connectionString: url,
    max: MAX_CONNECTIONS,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    query_timeout: queryTimeoutMs,
    statement_timeout: queryTimeoutMs - STATEMENT_MARGIN_MS,
    idle_in_transaction_session_timeout: IDLE_TRANSACTION_TIMEOUT_MS,
    keepAlive: true,
    // A database that hangs closes no connection: those that are done with must not keep the process.
    allowExitOnIdle: true,
    application_name: 'portreeve',
    types: { getTypeParser: getTypeParser as typeof types.getTypeParser },
  })
  // A connection that is lost while nobody uses it: the pool has dropped it, and makes another.
  pool.on('error', () => {})
  // One that is lost between two statements of a transaction: the next statement fails.
  pool.on('connect', (client) => client.on('error', () => {}))
  const breaker = createBreaker(describeOutage)
  const name = createStatementNames()
  const connect = () =>
    breaker.run(async () => wrapClient(await orBusy(pool.connect()), breaker, name))
  const kysely = new Kysely<Schema>({
    // It would not end a pool that nothing but reads has used.
    dialect: new PostgresDialect({ pool: { connect, end: async () => {}, options: {} } }),
  })
  const read = async <R>(query: CompiledQuery<R>, parameters: readonly unknown[]): Promise<R[]> => {
    try {
      const { rows } = await breaker.run(() => orBusy(pool.query(name(query.sql, parameters))))
      return rows as R[]
    } catch (error) {
      throw describeCollision(error) ?? error
    }
  }
  return {
    kysely,
    read,
    async runAside(query) {
      return Number((await kysely.executeQuery(query)).numAffectedRows)
    },
    async lock(transaction, listNames) {
      const names = await listNames()
      const shared = sortNames(names.shared ?? [])
      const exclusive = sortNames(names.exclusive)
      if (shared.length + exclusive.length === 0) return
      // In one order everywhere, or two transactions could wait for each other.
      await sql`select pg_advisory_xact_lock_shared(hashtextextended(name, 0))
        from unnest(${shared}::text[]) as name
        union all select pg_advisory_xact_lock(hashtextextended(name, 0))
        from unnest(${exclusive}::text[]) as name`.execute(transaction)
    },
    skipsLocked: true,
    async announce(transaction) {
      const now = await announceIn(transaction)
      return clock?.now() ?? now
    },
    async markRevocations() {
      // Before it waits: nobody who comes later says an earlier time.
      const now = clock?.now()
      const [mark] = await read(MARK, [REVOCATION_LOG])
      if (!mark) throw new TypeError('the database says nothing')
      return { ...mark, now: now ?? mark.now }
    },
    listen: (wake) => listenTo(url, wake),
    async [Symbol.asyncDispose]() {
      await kysely.destroy()
      await pool.end()
    },
  }
}

/** Reads after it has waited: who had the lock before has committed, and who gets it later is later. */
const MARK = CompiledQuery.raw(
  `select
    (select coalesce(max(sequence), 0) from revocation) as place,
    ${DATABASE_TIME} as now
  from pg_advisory_xact_lock_shared(hashtextextended($1, 0))`,
) as CompiledQuery<LogMark>

function sortNames(names: readonly string[]): string[] {
  return [...new Set(names)].toSorted()
}

const INT8: number = types.builtins.INT8

/** Times and counts are bigint; those of ours are safe integers. */
function getTypeParser(type: number, format: 'text') {
  return type === INT8 ? Number : types.getTypeParser(type, format)
}

type NamedQuery = { text: string; values: unknown[]; name?: string }

function createStatementNames() {
  const names = new Map<string, string>()
  return (text: string, parameters: readonly unknown[]): NamedQuery => {
    const query = { text, values: [...parameters] }
    const known = names.get(text)
    if (known !== undefined) return { ...query, name: known }
    if (names.size >= MAX_STATEMENTS) return query
    const name = createHash('sha256').update(text).digest('base64url')
    names.set(text, name)
    return { ...query, name }
  }
}

function wrapClient(
  client: PoolClient,
  breaker: Breaker,
  name: ReturnType<typeof createStatementNames>,
): PostgresPoolClient {
  let lost: PortreeveError | undefined
  const query = async (text: string, parameters: readonly unknown[]) => {
    // Nothing is left to roll back, and waiting for it would double the time of the refusal.
    if (lost) throw lost
    try {
      const result = await breaker.run(() => client.query(name(text, parameters)))
      return { command: result.command, rowCount: result.rowCount ?? 0, rows: result.rows }
    } catch (error) {
      // An answer may still be on its way: whoever had the connection next would take it for theirs.
      if (error instanceof PortreeveError) lost = error
      throw describeCollision(error) ?? error
    }
  }
  return { query, release: () => client.release(lost !== undefined) } as PostgresPoolClient
}

/**
 * Every connection was in use for too long. That says nothing of the database: whoever asks for the next
 * one shall not be kept out.
 */
async function orBusy<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (cause) {
    if (!(cause instanceof Error) || cause.message !== POOL_TIMEOUT) throw cause
    throw new PortreeveError('busy', 'Every connection to the database is in use.', { cause })
  }
}

const POOL_TIMEOUT = 'timeout exceeded when trying to connect'

/** SQLSTATE: connection exceptions, insufficient resources, the server shuts down or starts. */
const OUTAGES = /^(?:08|53|57P)/
/** Serialization failure, deadlock, lock not available, the statement took too long. */
const COLLISIONS = new Set(['40001', '40P01', '55P03', '57014'])
const NETWORK_FAILURES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOENT',
])
/** pg has no codes for these. */
const DRIVER_FAILURES = /timeout|Connection terminated|not queryable|client was closed/i

function describeOutage(cause: unknown): PortreeveError | undefined {
  if (!(cause instanceof Error)) return undefined
  const code = 'code' in cause ? String(cause.code) : ''
  const isOutage =
    OUTAGES.test(code) ||
    NETWORK_FAILURES.has(code) ||
    (code === '' && DRIVER_FAILURES.test(cause.message))
  if (!isOutage) return undefined
  return new PortreeveError('busy', 'The database does not answer.', { cause })
}

/** The transaction was not done, and may be tried again. */
function describeCollision(cause: unknown): PortreeveError | undefined {
  if (!(cause instanceof DatabaseError) || !COLLISIONS.has(cause.code ?? '')) return undefined
  return new PortreeveError('busy', 'Another request was in the way.', { cause })
}
