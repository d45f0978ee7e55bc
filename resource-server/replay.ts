import { systemClock, type Clock } from './clock.ts'

/** Remembers which proofs have been used. */
export interface ReplayStore {
  /**
   * Takes a proof's key and answers whether nobody has taken it before. Of any number of calls with
   * one key, at the same time or not, one alone is answered `true`, until `expiresAt` (milliseconds
   * since the epoch) has passed. Throws, or rejects, where it cannot say.
   */
  take(key: string, expiresAt: number): boolean | Promise<boolean>
}

export interface MemoryReplayStoreOptions {
  /**
   * How many used proofs are kept at most, 200000 by default. While there are as many that have not
   * expired, no proof is accepted: to forget one would let it be used again.
   */
  readonly maxEntries?: number
  /** For tests. The system's clock by default. */
  readonly clock?: Clock
}

/** Remembers used proofs in this process: for an API that runs as one process. */
export function createMemoryReplayStore({
  maxEntries = 200_000,
  clock = systemClock,
}: MemoryReplayStoreOptions = {}): ReplayStore {
  if (!Number.isSafeInteger(maxEntries) || maxEntries < 1) {
    throw new TypeError(`maxEntries: expected a whole number from 1, not ${String(maxEntries)}`)
  }
  const used = new Map<string, number>()
  return {
    take(key, expiresAt) {
      const now = clock.now()
      // In the order in which they were used, which is nearly that in which they expire.
      for (const [oldest, expiry] of used) {
        if (expiry >= now) break
        used.delete(oldest)
      }
      if (used.has(key)) return false
      if (used.size >= maxEntries) throw new Error(`${maxEntries} used proofs have not expired yet`)
      used.set(key, expiresAt)
      return true
    },
  }
}

/** The part of a Redis client that is needed: `createClient()` of the package `redis` has it. */
export interface RedisClient {
  /** Answers `'OK'`, or `null` where the key exists and was left alone. */
  set(
    key: string,
    value: string,
    options: { readonly NX: true; readonly PX: number },
  ): Promise<unknown>
}

export interface RedisReplayStoreOptions {
  /** Stands before each key, `dpop_` by default. APIs that share a Redis may share it. */
  readonly prefix?: string
  /** How long a request waits for Redis at most, 1000 milliseconds by default. */
  readonly timeoutMilliseconds?: number
  /** For tests. The system's clock by default. */
  readonly clock?: Clock
}

/** Two processes whose clocks differ by less than this refuse each other's used proofs. */
const CLOCK_MARGIN_MS = 60_000

/**
 * Remembers used proofs in Redis, for an API that runs as several processes. While Redis does not
 * answer, no proof is accepted. The client is the caller's: to connect it, to listen to its errors, and
 * to close it.
 *
 * **Warning:** a Redis that evicts keys or loses writes forgets used proofs: let it have memory enough
 * and `maxmemory-policy noeviction`.
 */
export function createRedisReplayStore(
  client: RedisClient,
  {
    prefix = 'dpop_',
    timeoutMilliseconds = 1000,
    clock = systemClock,
  }: RedisReplayStoreOptions = {},
): ReplayStore {
  if (!Number.isFinite(timeoutMilliseconds) || timeoutMilliseconds <= 0) {
    throw new TypeError(
      `timeoutMilliseconds: expected a number above 0, not ${String(timeoutMilliseconds)}`,
    )
  }
  return {
    async take(key, expiresAt) {
      const PX = Math.max(0, Math.ceil(expiresAt - clock.now())) + CLOCK_MARGIN_MS
      const asked = client.set(prefix + key, '1', { NX: true, PX })
      const answer = await withTimeout(asked, timeoutMilliseconds, clock)
      if (answer !== 'OK' && answer !== null) {
        throw new Error(`Redis answered ${typeof answer} to SET with NX, not OK or null`)
      }
      return answer === 'OK'
    },
  }
}

/** What has timed out may still happen: then the proof is used up, though nobody was let in. */
async function withTimeout<T>(work: Promise<T>, milliseconds: number, clock: Clock): Promise<T> {
  const timer: { cancel?: () => void } = {}
  const late = new Promise<never>((_resolve, reject) => {
    timer.cancel = clock.schedule(milliseconds, async () =>
      reject(new Error(`Redis did not answer within ${milliseconds} ms`)),
    )
  })
  try {
    return await Promise.race([work, late])
  } finally {
    timer.cancel?.()
  }
}
