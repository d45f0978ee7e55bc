import type { Clock } from '../clock.ts'
import type { Logger } from '../log.ts'
import type { Revocation, RevocationStore } from '../revocation/revocation.ts'

/** Whoever appends says so; this is for what was not heard. */
const LOOK_EVERY_MS = 100
const AT_ONCE = 500
/** How many of the newest entries are given one by one. Who is further behind reads pages. */
const MOST_KEPT = 5000

/** Where the log stands. */
export interface LogPlaces {
  /** Names the log: see `RevocationStore`. */
  readonly feed: string
  /** The place of the newest entry that was read. */
  readonly head: number
  /** The place of the first entry that is kept. */
  readonly oldest: number
}

/** What a look at the log has found. */
export interface Reading extends LogPlaces {
  /** Milliseconds since the epoch: when it began, so that whatever was committed before is in it. */
  readonly at: number
}

/** The log, as far as this process has read it. */
export interface LogFollower extends LogPlaces, AsyncDisposable {
  /** The entry after the place, which has to be one from `oldest - 1` to `head - 1`. */
  next(place: number): Revocation | undefined
  /**
   * Looks at the log, not before it is called. All who call meanwhile share the next look. Rejects where
   * the database does not answer: nobody knows then what has been revoked.
   */
  look(): Promise<Reading>
  /** Calls `listener` after each reading that found something, until the answered function is called. */
  subscribe(listener: () => void): () => void
}

export interface FollowerCollaborators {
  readonly revocations: Pick<RevocationStore, 'head' | 'list' | 'listen' | 'feedId' | 'renameFeed'>
  readonly clock: Clock
  readonly log: Logger
}

/**
 * Reads the log as it grows, whichever process appends, until disposed of. Entries have the places 1, 2,
 * 3 … in the order of their commits, so one place after the other is all there is to it.
 *
 * A log that does not have any more what was read of it (a database that was restored, a replica that
 * took over before it had everything) gets another name, and is read anew: whoever has seen more of it
 * would take its new entries for those that they know. What is kept then begins with the newest entries.
 *
 * A database that does not answer is logged once and asked again; whoever listens is told nothing
 * meanwhile.
 */
export async function followLog({
  revocations,
  clock,
  log,
}: FollowerCollaborators): Promise<LogFollower> {
  const listeners = new Set<() => void>()
  const stop = new AbortController()
  let { feed, head, kept } = await readNewest(revocations)
  let asking: PromiseWithResolvers<Reading>[] = []
  let failure: string | undefined
  const alarm = createAlarm()
  const notices = revocations.listen(alarm.ring)

  const readAnew = async () => {
    const before = { feed, head }
    await revocations.renameFeed(feed)
    ;({ feed, head, kept } = await readNewest(revocations))
    log.error({ event: 'revocations_lost', before, now: { feed, head } })
  }
  const read = async () => {
    // The newest one that is known is read once more, to see whether it is still the same log.
    const last = kept.at(-1)
    const [name, found] = await Promise.all([
      revocations.feedId(),
      revocations.list(Math.max(0, head - 1), AT_ONCE),
    ])
    const isSame = name === feed && (last === undefined || isEqual(last, found[0]))
    if (!isSame) await readAnew()
    const added = isSame ? found.slice(last === undefined ? 0 : 1) : []
    for (const entry of added) {
      // What was purged before it was read has expired: nobody has to be told, but places stay in order.
      if (entry.sequence !== head + 1) kept.length = 0
      kept.push(entry)
      head = entry.sequence
    }
    if (kept.length > MOST_KEPT) kept.splice(0, kept.length - MOST_KEPT)
    if (!isSame || added.length > 0) for (const listener of listeners) listener()
    // Else it has come to the end, as that was when this began: somebody may be appending all the time.
    return found.length === AT_ONCE
  }
  const lookNow = async () => {
    const asked = asking
    asking = []
    try {
      const at = clock.now()
      while (await read());
      if (failure !== undefined) log.info({ event: 'revocations_not_followed_over' })
      failure = undefined
      const reading = { feed, head, oldest: follower.oldest, at }
      for (const { resolve } of asked) resolve(reading)
    } catch (error) {
      if (failure !== String(error)) log.error({ event: 'revocations_not_followed', err: error })
      failure = String(error)
      for (const { reject } of asked) reject(error)
    }
  }
  const follow = async () => {
    while (!stop.signal.aborted) {
      await lookNow()
      await alarm.wait(LOOK_EVERY_MS)
    }
    for (const { reject } of asking) reject(new Error('the log is followed no longer'))
  }
  const follower: LogFollower = {
    get feed() {
      return feed
    },
    get head() {
      return head
    },
    get oldest() {
      return kept[0]?.sequence ?? head + 1
    },
    next: (place) => kept[place + 1 - (kept[0]?.sequence ?? 0)],
    look() {
      const asked = Promise.withResolvers<Reading>()
      if (stop.signal.aborted) asked.reject(new Error('the log is followed no longer'))
      else asking.push(asked)
      alarm.ring()
      return asked.promise
    },
    subscribe(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    async [Symbol.asyncDispose]() {
      stop.abort()
      alarm.ring()
      await ended
      await notices[Symbol.asyncDispose]()
    },
  }
  const ended = follow()
  return follower
}

/** The newest entries up to the first gap, so that who comes back after a restart goes on where it was. */
async function readNewest(revocations: FollowerCollaborators['revocations']) {
  const feed = await revocations.feedId()
  const newest = await revocations.head()
  const found = [...(await revocations.list(Math.max(0, newest - MOST_KEPT), MOST_KEPT))]
  const head = found.at(-1)?.sequence ?? newest
  const gap = found.findLastIndex(
    ({ sequence }, index) => sequence !== head - found.length + 1 + index,
  )
  return { feed, head, kept: found.slice(gap + 1) }
}

function isEqual(one: Revocation, other: Revocation | undefined): boolean {
  return (
    one.sequence === other?.sequence &&
    one.kind === other.kind &&
    one.subject === other.subject &&
    one.revokedAt === other.revokedAt
  )
}

/** A wait that a ring ends, one that came since the last wait as well. */
function createAlarm() {
  let isRung = false
  let end: (() => void) | undefined
  return {
    ring() {
      isRung = true
      end?.()
    },
    async wait(milliseconds: number): Promise<void> {
      if (!isRung) {
        const { promise, resolve } = Promise.withResolvers<void>()
        const timer = setTimeout(resolve, milliseconds)
        timer.unref()
        end = resolve
        await promise
        clearTimeout(timer)
        end = undefined
      }
      isRung = false
    },
  }
}
