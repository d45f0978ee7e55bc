import { setTimeout as wait } from 'node:timers/promises'
import type { Clock } from '../clock.ts'
import type { Logger } from '../log.ts'

const EVERY_MS = 60_000
/** Rows are kept a little longer than they live, so that "expired" and "unknown" stay apart. */
const KEEP_EXPIRED_MS = 60_000
/** On SQLite nobody else writes while a batch is removed. */
const BATCH_MS = 10
/** Three quarters of the time belong to requests. */
const REST_AS_LONG = 3
/** Whoever waits to write to SQLite looks more often than this, and so gets in between two batches. */
const SHORTEST_REST_MS = 10
const FIRST_BATCH = 50
const SMALLEST_BATCH = 25
const LARGEST_BATCH = 1000

export interface Purgeable {
  /** Removes at most `limit` of what expired before `before` (ms); answers how many. */
  purge(before: number, limit: number): Promise<number>
}

export interface PurgeOptions {
  /** Default: a minute. */
  readonly everyMilliseconds?: number | undefined
}

/**
 * Removes what has expired every minute, until nothing is left. Disposing of it waits for the batch that
 * is being removed.
 */
export function startPurge(
  stores: readonly Purgeable[],
  clock: Clock,
  log: Logger,
  { everyMilliseconds = EVERY_MS }: PurgeOptions = {},
): AsyncDisposable {
  const stop = new AbortController()
  const work = async () => {
    for (;;) {
      await pause(everyMilliseconds, stop.signal)
      if (stop.signal.aborted) return
      for (const store of stores) {
        await purgeExpired(store, clock.now() - KEEP_EXPIRED_MS, stop.signal).catch(
          (error: unknown) => log.error({ event: 'purge_failed', err: error }),
        )
      }
    }
  }
  const ended = work()
  return {
    async [Symbol.asyncDispose]() {
      stop.abort()
      await ended
    },
  }
}

/**
 * Removes what expired before `before` (ms) in batches that each take a few milliseconds, whatever the
 * disk and the number of rows, and leaves more time to requests after each. Answers how many it were.
 */
export async function purgeExpired(
  store: Purgeable,
  before: number,
  signal: AbortSignal,
): Promise<number> {
  let limit = FIRST_BATCH
  let total = 0
  while (!signal.aborted) {
    const start = performance.now()
    const count = await store.purge(before, limit)
    const milliseconds = performance.now() - start
    total += count
    if (count < limit) break
    await pause(Math.max(milliseconds * REST_AS_LONG, SHORTEST_REST_MS), signal)
    limit = adaptBatch(limit, milliseconds)
  }
  return total
}

/** Twice as many at most: one batch says little of the next. */
function adaptBatch(limit: number, milliseconds: number): number {
  const fitting = Math.min((limit * BATCH_MS) / milliseconds, limit * 2)
  return Math.round(Math.min(Math.max(fitting, SMALLEST_BATCH), LARGEST_BATCH))
}

async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await wait(milliseconds, undefined, { signal, ref: false }).catch((error: unknown) => {
    if (!signal.aborted) throw error
  })
}
