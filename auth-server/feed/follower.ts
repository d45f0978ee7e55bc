import type { Logger } from '../log.ts'
import type { Revocation, RevocationStore } from '../revocation/revocation.ts'

/** Whoever appends says so; this is for what was not heard. */
const LOOK_EVERY_MS = 100
const AT_ONCE = 500
/** How many of the newest entries are given one by one. Who is further behind reads pages. */
const MOST_KEPT = 5000

/** The log, as far as this process has read it. */
export interface LogFollower extends AsyncDisposable {
  /** The place of the newest entry that was read. */
  readonly head: number
  /** The place of the first entry that is kept. */
  readonly oldest: number
  /** The entry after the place, which has to be one from `oldest - 1` to `head - 1`. */
  next(place: number): Revocation | undefined
  /** Calls `listener` after each reading that found something, until the answered function is called. */
  subscribe(listener: () => void): () => void
}

export interface FollowerCollaborators {
  readonly revocations: Pick<RevocationStore, 'head' | 'list' | 'listen'>
  readonly log: Logger
}

/**
 * Reads the log as it grows, whichever process appends, until disposed of. Entries have the places 1, 2,
 * 3 … in the order of their commits, so one place after the other is all there is to it.
 *
 * A database that does not answer is logged once and asked again; whoever listens is told nothing
 * meanwhile.
 */
export async function followLog({ revocations, log }: FollowerCollaborators): Promise<LogFollower> {
  const kept: Revocation[] = []
  const listeners = new Set<() => void>()
  const stop = new AbortController()
  let head = await revocations.head()
  let failure: string | undefined
  const alarm = createAlarm()
  const notices = revocations.listen(alarm.ring)

  const read = async () => {
    const found = await revocations.list(head, AT_ONCE)
    if (found.length === 0) return false
    for (const entry of found) {
      // What was purged before it was read has expired: nobody has to be told, but places stay in order.
      if (entry.sequence !== head + 1) kept.length = 0
      kept.push(entry)
      head = entry.sequence
    }
    if (kept.length > MOST_KEPT) kept.splice(0, kept.length - MOST_KEPT)
    for (const listener of listeners) listener()
    return true
  }
  const look = async () => {
    try {
      while (await read());
      if (failure !== undefined) log.info({ event: 'revocations_not_followed_over' })
      failure = undefined
    } catch (error) {
      if (failure !== String(error)) log.error({ event: 'revocations_not_followed', err: error })
      failure = String(error)
    }
  }
  const follow = async () => {
    while (!stop.signal.aborted) {
      await look()
      await alarm.wait(LOOK_EVERY_MS)
    }
  }
  const ended = follow()
  return {
    get head() {
      return head
    },
    get oldest() {
      return kept[0]?.sequence ?? head + 1
    },
    next: (place) => kept[place + 1 - (kept[0]?.sequence ?? 0)],
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
