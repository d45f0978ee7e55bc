import { setTimeout as wait } from 'node:timers/promises'
import { ErrorReply } from 'redis'
import type { Clock } from '../clock.ts'
import type { Events } from '../events.ts'
import type { Logger } from '../log.ts'
import type { ModelStore } from '../provider/model-store.ts'
import type { Database } from './database.ts'
import type { SqlModelStore } from './models.ts'
import { createComparison } from './redis-compare.ts'
import { endDeleted, endSilently } from './redis-end.ts'
import { SESSION_PREFIX } from './redis-models.ts'
import { createNotices, type Notices } from './redis-notices.ts'
import type { Redis, RedisClient } from './redis.ts'

const BY_HAND = ['del', 'rename_from', 'move_from']
const BY_REDIS = ['expired', 'evicted']
/** What is heard and waits to be done. What is more is found by comparing. */
const MOST_HEARD = 10_000
const AT_ONCE = 50
const LOOK_EVERY_MS = 500
/** Half a minute. */
const LOOKS_PER_COMPARISON = 60
/** While it is there, Redis has not been emptied. */
const SENTINEL = 'portreeve_watch'

export interface SessionWatchCollaborators {
  readonly database: Database
  readonly sql: ModelStore
  /** The same with Redis: see `redis-models.ts`. */
  readonly models: SqlModelStore
  readonly redis: Redis
  /** Marks the keys of this database's sessions: Redis may hold those of another one. */
  readonly installation: string
  readonly clock: Clock
  readonly log: Logger
  readonly events: Pick<Events, 'sessionDeleted'>
}

export interface SessionWatch extends AsyncDisposable {
  /** What an operator should know, with the command that mends it. */
  readonly warnings: readonly string[]
}

/**
 * Signs out where somebody deletes the key of a session in Redis: the session is ended in SQL, with what
 * its clients know it by.
 *
 * Redis tells of deletions, but to nobody who is not connected, and not of an emptied database. So both
 * sides are compared after each connection, when the sentinel is gone or another Redis answers (looked
 * for twice a second), and every 30 s. What is missing then counts as deleted by hand, although it may
 * have been evicted while nobody listened: a session too many that is ended does less harm than one that
 * is not.
 *
 * Each instance watches; whoever comes second finds nothing left to do.
 */
export async function watchSessions(
  collaborators: SessionWatchCollaborators,
): Promise<SessionWatch> {
  const { redis, log } = collaborators
  await using cleanUp = new AsyncDisposableStack()
  const listener = await redis.connect()
  cleanUp.defer(() => listener.destroy())
  let refusal: ErrorReply | undefined
  const notices = createNotices(redis, log, () => refusal)
  const look = createLook(collaborators, notices)
  const looking = createRounds(look.now, log)
  const askAgain = () => {
    look.ask()
    looking.hurry()
  }
  // What Redis has told of meanwhile was told to nobody.
  listener.on('ready', askAgain)
  reportSilence(listener, log)
  const heard = createHeard(collaborators, askAgain)
  refusal = await listen(listener, redis.database, (event, name) => {
    if (name.startsWith(SESSION_PREFIX)) heard.add(name.slice(SESSION_PREFIX.length), event)
    else notices.heard(name)
  })
  await notices.request()
  const warning = await notices.check()
  looking.start()
  cleanUp.use(looking)
  const owned = cleanUp.move()
  return {
    warnings: warning === undefined ? [] : [warning],
    async [Symbol.asyncDispose]() {
      await owned.disposeAsync()
      await heard.finish()
    },
  }
}

/** Writes once that nothing is heard, and that it is over. */
function reportSilence(listener: RedisClient, log: Logger): void {
  let isSilent = false
  listener.on('error', (error) => {
    if (!isSilent) log.warn({ event: 'redis_not_heard', err: error })
    isSilent = true
  })
  listener.on('ready', () => {
    if (isSilent) log.info({ event: 'redis_heard' })
    isSilent = false
  })
}

/** Answers what Redis said if this user may not listen. */
async function listen(
  listener: RedisClient,
  database: number,
  hear: (event: string, name: string) => void,
): Promise<ErrorReply | undefined> {
  const prefix = `__keyevent@${database}__:`
  const channels = [...BY_HAND, ...BY_REDIS].map((event) => prefix + event)
  try {
    await listener.subscribe(channels, (name, channel) => hear(channel.slice(prefix.length), name))
    return undefined
  } catch (error) {
    if (error instanceof ErrorReply) return error
    throw error
  }
}

/** Sessions that Redis has told of, until they are ended. */
function createHeard(collaborators: SessionWatchCollaborators, compare: () => void) {
  const waiting = new Map<string, string>()
  let work: Promise<void> | undefined
  const take = () => {
    const batch = takeFirst(waiting, AT_ONCE)
    const keysOf = (events: readonly string[]) =>
      batch.flatMap(([key, event]) => (events.includes(event) ? [key] : []))
    return { deleted: keysOf(BY_HAND), gone: keysOf(BY_REDIS) }
  }
  const endAll = async () => {
    const failures: unknown[] = []
    const note = (error: unknown) => void failures.push(error)
    while (waiting.size > 0) {
      const { deleted, gone } = take()
      await endSilently(collaborators, gone).catch(note)
      await endDeleted(collaborators, deleted).catch(note)
    }
    if (failures.length === 0) return
    compare()
    collaborators.log.error({ event: 'session_not_ended', err: failures[0] })
  }
  return {
    add(key: string, event: string) {
      if (waiting.size >= MOST_HEARD) compare()
      else waiting.set(key, event)
      work ??= endAll().finally(() => {
        work = undefined
      })
    },
    finish: async () => work,
  }
}

function takeFirst<Key, Value>(map: Map<Key, Value>, count: number): [Key, Value][] {
  const taken: [Key, Value][] = []
  for (const entry of map) {
    if (taken.length === count) break
    taken.push(entry)
    map.delete(entry[0])
  }
  return taken
}

/** Looks whether both sides have to be compared, and does it. */
function createLook(collaborators: SessionWatchCollaborators, notices: Notices) {
  const { redis } = collaborators
  const compare = createComparison(collaborators)
  let isAsked = true
  let knownRun: string | undefined
  let looks = 0
  return {
    ask() {
      isAsked = true
    },
    async now() {
      const [run, isThere] = await redis.run((client) =>
        Promise.all([readRun(client), client.exists(SENTINEL)]),
      )
      looks += 1
      const isDue = isAsked || isThere === 0 || run !== knownRun || looks >= LOOKS_PER_COMPARISON
      if (!isDue) return
      isAsked = false
      try {
        // A Redis that has started again knows no more than its file of settings.
        await notices.request()
        // Before the comparison: if it is gone after it, Redis was emptied meanwhile.
        await redis.run((client) => client.set(SENTINEL, '1', { condition: 'NX' }))
        await compare()
        await notices.check()
      } catch (error) {
        isAsked = true
        throw error
      }
      knownRun = run
      looks = 0
    },
  }
}

/** Which start of which Redis answers: behind one address it may become another one. */
async function readRun(client: RedisClient): Promise<string | undefined> {
  try {
    return /^run_id:(\w+)/m.exec(await client.info('server'))?.[1]
  } catch (error) {
    // Not everybody may ask, and a look without it is better than none.
    if (error instanceof ErrorReply) return undefined
    throw error
  }
}

/** Does `work` again and again, one at a time, with a pause that can be cut short. */
function createRounds(work: () => Promise<void>, log: Logger) {
  const stop = new AbortController()
  let pause = new AbortController()
  let failure: string | undefined
  let rounds: Promise<void> | undefined
  const round = async () => {
    try {
      await work()
      if (failure !== undefined) log.info({ event: 'sessions_not_watched_over' })
      failure = undefined
    } catch (error) {
      if (failure !== String(error)) log.error({ event: 'sessions_not_watched', err: error })
      failure = String(error)
    }
  }
  const run = async () => {
    for (;;) {
      await round()
      if (stop.signal.aborted) return
      pause = new AbortController()
      await rest(LOOK_EVERY_MS, pause.signal)
      if (stop.signal.aborted) return
    }
  }
  return {
    start() {
      rounds = run()
    },
    hurry() {
      pause.abort()
    },
    async [Symbol.asyncDispose]() {
      stop.abort()
      pause.abort()
      await rounds
    },
  }
}

async function rest(milliseconds: number, signal: AbortSignal): Promise<void> {
  await wait(milliseconds, undefined, { signal, ref: false }).catch((error: unknown) => {
    if (!signal.aborted) throw error
  })
}
