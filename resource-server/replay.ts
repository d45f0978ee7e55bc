import { systemClock, type Clock } from './clock.ts'
import { readNumber, refuseUnknownOptions } from './options.ts'

/** Remembers which proofs have been used. */
export interface ReplayStore {
  /**
   * Takes a proof's key and answers whether nobody has taken it before. Of any number of calls with
   * one key, at the same time or not, one alone is answered `true`, until `expiresAt` (milliseconds
   * since the epoch) has passed. Throws, or rejects, where it cannot say. `holder` says whom the
   * issuer gave the token to, which its sender cannot choose: a store may use it to keep one from
   * filling it.
   */
  take(key: string, expiresAt: number, holder: string): boolean | Promise<boolean>
}

export interface MemoryReplayStoreOptions {
  /**
   * How many used proofs are kept at most, 200000 by default, which takes about 25 MB, or 60 where each
   * is of another client. While there are as many, no proof is accepted: to forget one would let it be
   * used again. Each is kept for as long as it is fresh and a minute more, so this many are enough for
   * 1600 requests a second.
   */
  readonly maxEntries?: number
  /**
   * How many of these one subject of an issuer may have used, a tenth of them by default, by whatever
   * keys and clients. Who has used as many is not let in until some are forgotten; all others are.
   */
  readonly maxEntriesPerHolder?: number
  /** For tests. The system's clock by default. */
  readonly clock?: Clock
}

/**
 * How much longer than it is fresh a proof is remembered. The clock of another process may be behind,
 * and this one's may be set back: what is forgotten by then is not fresh again.
 */
const CLOCK_MARGIN_MS = 60_000

/** Whom tokens were given to, and how much is still kept of what they have used. */
interface Holder {
  readonly name: string
  kept: number
}

/**
 * Remembers used proofs in this process: for an API that runs as one process. How long it does is
 * counted by the clock that nobody sets: setting the machine's clock forward forgets nothing, and
 * setting it back by up to a minute makes nothing fresh again that is forgotten.
 *
 * Throws a `TypeError` that names the option for options that cannot be right.
 */
export function createMemoryReplayStore(options: MemoryReplayStoreOptions = {}): ReplayStore {
  refuseUnknownOptions('createMemoryReplayStore', options, MEMORY_OPTIONS)
  const { clock = systemClock } = options
  const maxEntries = readCount('maxEntries', options.maxEntries ?? 200_000)
  const maxEntriesPerHolder = readCount(
    'maxEntriesPerHolder',
    options.maxEntriesPerHolder ?? Math.ceil(maxEntries / 10),
  )
  const used = new Map<string, Holder>()
  const holders = new Map<string, Holder>()
  const due = createDueList<string>()

  function forget(key: string): void {
    const holder = used.get(key)
    if (holder === undefined) return
    used.delete(key)
    holder.kept -= 1
    if (holder.kept === 0) holders.delete(holder.name)
  }

  return {
    take(key, expiresAt, name) {
      if (!Number.isFinite(expiresAt)) throw new TypeError('expiresAt: expected milliseconds')
      const now = clock.monotonic()
      for (const old of due.takeUntil(now)) forget(old)
      if (used.has(key)) return false
      const holder = holders.get(name) ?? { name, kept: 0 }
      if (used.size >= maxEntries) throw new Error(`${maxEntries} used proofs are kept already`)
      if (holder.kept >= maxEntriesPerHolder) {
        throw new Error(`${maxEntriesPerHolder} used proofs of one subject are kept already`)
      }
      holder.kept += 1
      holders.set(name, holder)
      used.set(key, holder)
      due.add(key, now + Math.max(0, expiresAt - clock.now()) + CLOCK_MARGIN_MS)
      return true
    },
  }
}

const MEMORY_OPTIONS = ['maxEntries', 'maxEntriesPerHolder', 'clock']

function readCount(option: string, count: number): number {
  if (Number.isSafeInteger(count) && count >= 1) return count
  throw new TypeError(`${option}: expected a whole number from 1, not ${String(count)}`)
}

interface DueList<T> {
  add(item: T, at: number): void
  /** Takes out what has fallen due for at least a second. */
  takeUntil(now: number): readonly T[]
}

/** By the second in which each falls due, so that one which is far off keeps no other from its turn. */
function createDueList<T>(): DueList<T> {
  const seconds = new Map<number, T[]>()
  let next = -Infinity
  return {
    add(item, at) {
      const second = Math.floor(at / 1000)
      const others = seconds.get(second)
      if (others === undefined) seconds.set(second, [item])
      else others.push(item)
    },
    takeUntil(now) {
      const current = Math.floor(now / 1000)
      if (current <= next) return NOTHING
      next = current
      const past = [...seconds.keys()].filter((second) => second < current)
      const items = past.flatMap((second) => seconds.get(second) ?? [])
      for (const second of past) seconds.delete(second)
      return items
    },
  }
}

const NOTHING: readonly never[] = []

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
  /** How long a request waits for Redis at most: 1 to 60000 milliseconds, 1000 by default. */
  readonly timeoutMilliseconds?: number
  /** For tests. The system's clock by default. */
  readonly clock?: Clock
}

/**
 * Calls that Redis has not answered yet. While it is away, a client keeps what it is told to send and
 * tries for as long as the process lives: beyond this many, nothing more is given to it.
 */
const MAX_WAITING = 1000

/**
 * Remembers used proofs in Redis, for an API that runs as several processes. While Redis does not
 * answer, no proof is accepted: a request waits for `timeoutMilliseconds` and is 503 then, and where a
 * thousand wait already, it is 503 at once. The client is the caller's: to connect it, to listen to its
 * errors, and to close it.
 *
 * Give it a client of its own, made with `disableOfflineQueue: true`: while there is no connection, it
 * answers at once then, in place of keeping commands that come too late. Where it must be shared, let
 * `commandsQueueMaxLength` bound what it keeps.
 *
 * **Warning:** a Redis that evicts keys or loses writes forgets used proofs: let it have memory enough
 * and `maxmemory-policy noeviction`.
 *
 * Whose proofs they are is not counted, as `createMemoryReplayStore` does: each proof has an end of its
 * own, so a count that is right at any time needs a list for each holder and a script that prunes it in
 * the same step, which a client that only has to have `set` cannot run. One subject may fill the memory:
 * bound it by what all clients may send, by a limit for each sender in front of the API.
 *
 * Throws a `TypeError` that names the option for options that cannot be right.
 */
export function createRedisReplayStore(
  client: RedisClient,
  options: RedisReplayStoreOptions = {},
): ReplayStore {
  refuseUnknownOptions('createRedisReplayStore', options, REDIS_OPTIONS)
  if (typeof client?.set !== 'function') throw new TypeError('client: expected one of Redis')
  const { prefix = 'dpop_', timeoutMilliseconds = 1000, clock = systemClock } = options
  if (typeof prefix !== 'string') throw new TypeError('prefix: expected a text')
  readNumber('timeoutMilliseconds', timeoutMilliseconds, [1, 60_000])
  let waiting = 0
  return {
    async take(key, expiresAt) {
      if (waiting >= MAX_WAITING) throw new Error(`Redis owes ${MAX_WAITING} answers already`)
      const PX = Math.max(0, Math.ceil(expiresAt - clock.now())) + CLOCK_MARGIN_MS
      waiting += 1
      const asked = (async () => client.set(prefix + key, '1', { NX: true, PX }))().finally(() => {
        waiting -= 1
      })
      const answer = await withTimeout(asked, timeoutMilliseconds, clock)
      if (answer !== 'OK' && answer !== null) {
        throw new Error(`Redis answered ${typeof answer} to SET with NX, not OK or null`)
      }
      return answer === 'OK'
    },
  }
}

const REDIS_OPTIONS = ['prefix', 'timeoutMilliseconds', 'clock']

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
