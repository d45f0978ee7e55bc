import { addAbortListener } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import { sql, type Transaction } from 'kysely'
import { Client } from 'pg'
import type { Schema } from './schema.ts'

const CHANNEL = 'portreeve_revocation'
const CONNECT_TIMEOUT_MS = 2000
const RECONNECT_AFTER_MS = 500

/** Of this moment, not of the beginning of the transaction; in whole milliseconds, the lower ones. */
export const DATABASE_TIME = 'floor(extract(epoch from clock_timestamp()) * 1000)::bigint'

/**
 * PostgreSQL tells it when the transaction is committed, and not at all when it is not. Answers the time by
 * the clock of the database.
 */
export async function announceIn(transaction: Transaction<Schema>): Promise<number> {
  const time = sql.raw(DATABASE_TIME)
  const notify = sql<{ now: number }>`select ${time} as now from pg_notify(${CHANNEL}, '')`
  const { rows } = await notify.execute(transaction)
  const [answer] = rows
  if (!answer) throw new TypeError('the database says nothing')
  return answer.now
}

/**
 * Listens on a connection of its own, until disposed of, and connects again whenever it is lost. What
 * happened meanwhile was told to nobody, so each connection begins with a call.
 */
export function listenTo(url: string, wake: () => void): AsyncDisposable {
  const stop = new AbortController()
  const listen = async () => {
    while (!stop.signal.aborted) {
      await listenOnce(url, wake, stop.signal)
      await wait(RECONNECT_AFTER_MS, undefined, { signal: stop.signal, ref: false }).catch(() => {})
    }
  }
  const ended = listen()
  return {
    async [Symbol.asyncDispose]() {
      stop.abort()
      await ended
    },
  }
}

/** Until the connection is lost. Why is known from the queries that fail meanwhile. */
async function listenOnce(url: string, wake: () => void, stop: AbortSignal): Promise<void> {
  const client = new Client({
    connectionString: url,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    query_timeout: CONNECT_TIMEOUT_MS,
    keepAlive: true,
    application_name: 'portreeve notices',
  })
  const { promise: lost, resolve: lose } = Promise.withResolvers<void>()
  client.on('error', () => lose())
  client.on('end', () => lose())
  client.on('notification', () => wake())
  const listening = addAbortListener(stop, () => lose())
  try {
    await client.connect()
    await client.query(`listen ${CHANNEL}`)
    wake()
    await lost
  } catch {
    // As above.
  } finally {
    listening[Symbol.dispose]()
    // A database that hangs answers no farewell, and whoever stops waits for nothing of this.
    client.connection?.stream.destroy()
  }
}
