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
