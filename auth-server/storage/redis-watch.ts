import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import type { Clock } from '../clock.ts'
import type { Logger } from '../log.ts'
import type { ModelStore } from '../provider/model-store.ts'
import type { Database } from './database.ts'
import { SESSION_PREFIX } from './redis-models.ts'
import type { Redis, RedisClient } from './redis.ts'

/** Notices about keys (E) when they are deleted or renamed (g), expire (x) or are evicted (e). */
const WANTED_NOTICES = ['E', 'g', 'x', 'e']
const REMEDY = `redis-cli CONFIG SET notify-keyspace-events ${WANTED_NOTICES.join('')}`
const BY_HAND = ['del', 'rename_from']
const BY_REDIS = ['expired', 'evicted']
const LOOK_EVERY_MS = 1000
const RECONCILE_EVERY_MS = 30_000
/** A session that was just written to SQL may still be on its way to Redis. */
const GRACE_MS = 10_000
const BATCH = 500
/** While it is there, Redis has not been emptied. */
const SENTINEL = 'portreeve_watch'

export interface SessionWatchCollaborators {
  readonly database: Database
  readonly sql: ModelStore
  /** The same with Redis: see `redis-models.ts`. */
  readonly models: ModelStore
  readonly redis: Redis
  readonly clock: Clock
  readonly log: Logger
}

/**
 * Signs out where somebody deletes the key of a session in Redis: the session is ended in SQL, with what
 * its clients know it by.
 *
 * Redis tells of deletions, but to nobody who is not connected, and not of an emptied database. So both
 * sides are compared after each connection, when the sentinel is gone (looked for every second), and
 * every 30 s. What is missing then counts as deleted by hand, although it may have been evicted while
 * nobody listened: a session too many that is ended does less harm than one that is not.
 *
 * Each instance watches; whoever comes second finds nothing left to do.
 */
export async function watchSessions(
  collaborators: SessionWatchCollaborators,
): Promise<AsyncDisposable> {
  const { redis, log } = collaborators
  const stop = new AbortController()
  await requestNotices(redis, log)
  await redis.run((client) => plantSentinel(client))
  const reconcile = createReconciliation(collaborators)
  const listener = redis.duplicate()
  listener.on('ready', () => void reconcile())
  const channels = [...BY_HAND, ...BY_REDIS].map(
    (event) => `__keyevent@${redis.database}__:${event}`,
  )
  await listener.connect()
  await listener.subscribe(channels, (name, channel) => {
    if (!name.startsWith(SESSION_PREFIX)) return
    const isByHand = BY_HAND.some((event) => channel.endsWith(`:${event}`))
    const how = isByHand ? 'deleted' : 'expired'
    endMissing(collaborators, name.slice(SESSION_PREFIX.length), how).catch((error: unknown) =>
      log.error({ event: 'session_not_ended', err: error }),
    )
  })
  // What was deleted before anybody listened.
  void reconcile()
  const looking = lookAfter(collaborators, reconcile, stop.signal)
  return {
    async [Symbol.asyncDispose]() {
      stop.abort()
      listener.destroy()
      await looking
    },
  }
}

/** Adds what is needed to what an operator has set. Where it may not, it says which command does. */
async function requestNotices(redis: Redis, log: Logger): Promise<void> {
  const name = 'notify-keyspace-events'
  try {
    const answer = await redis.run((client) => client.configGet(name))
    const set = answer[name] ?? ''
    const missing = WANTED_NOTICES.filter(
      (letter) => !set.includes(letter) && !(letter !== 'E' && set.includes('A')),
    )
    if (missing.length === 0) return
    await redis.run((client) => client.configSet(name, set + missing.join('')))
  } catch (error) {
    log.warn({
      event: 'redis_notices_off',
      err: error,
      remedy: `Until Redis tells of deleted keys, a deleted session is noticed up to 30 s late. If they are not on yet: ${REMEDY}`,
    })
  }
}

async function plantSentinel(client: RedisClient): Promise<void> {
  await client.set(SENTINEL, randomUUID(), { condition: 'NX' })
}

/** One at a time: who asks meanwhile gets another one after it. */
function createReconciliation(collaborators: SessionWatchCollaborators): () => Promise<void> {
  let running: Promise<void> | undefined
  let again = false
  const run = async () => {
    do {
      again = false
      await reconcileOnce(collaborators)
    } while (again)
  }
  return () => {
    again = true
    running ??= run()
      .catch((error: unknown) =>
        collaborators.log.error({ event: 'sessions_not_reconciled', err: error }),
      )
      .finally(() => {
        running = undefined
      })
    return running
  }
}

async function lookAfter(
  { redis, clock, log }: SessionWatchCollaborators,
  reconcile: () => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  let reconciledAt = clock.now()
  while (!signal.aborted) {
    await wait(LOOK_EVERY_MS, undefined, { signal, ref: false }).catch(() => {})
    if (signal.aborted) return
    try {
      const isThere = (await redis.run((client) => client.exists(SENTINEL))) === 1
      if (isThere && clock.now() - reconciledAt < RECONCILE_EVERY_MS) continue
      await reconcile()
      await redis.run((client) => plantSentinel(client))
      reconciledAt = clock.now()
    } catch (error) {
      // The connection reports its outages itself, and the next look is in a second.
      log.debug({ event: 'sessions_not_watched', err: error })
    }
  }
}

async function reconcileOnce(collaborators: SessionWatchCollaborators): Promise<void> {
  await endDeleted(collaborators)
  await sweepOrphans(collaborators)
}

/** Sessions of SQL whose keys are not in Redis. */
async function endDeleted(collaborators: SessionWatchCollaborators): Promise<void> {
  const { database, redis, clock } = collaborators
  for (let after = ''; ;) {
    const rows = await database.kysely
      .selectFrom('engine_model')
      .select(['key', 'expires_at', 'written_at'])
      .where('model', '=', 'Session')
      .where('key', '>', after)
      .orderBy('key')
      .limit(BATCH)
      .execute()
    const now = clock.now()
    const settled = rows.filter(
      (row) => (row.expires_at ?? Infinity) > now && row.written_at < now - GRACE_MS,
    )
    const counts = await redis.run((client) =>
      Promise.all(settled.map(({ key }) => client.exists(SESSION_PREFIX + key))),
    )
    for (const [index, { key }] of settled.entries()) {
      if (counts[index] === 0) await endMissing(collaborators, key, 'missing')
    }
    const last = rows.at(-1)
    if (!last) return
    after = last.key
  }
}

/** Keys of Redis that have no session in SQL: it was ended, and this was left over. */
async function sweepOrphans({ database, redis }: SessionWatchCollaborators): Promise<void> {
  let cursor = '0'
  do {
    const page = await redis.run((client) =>
      client.scan(cursor, { MATCH: `${SESSION_PREFIX}*`, COUNT: BATCH }),
    )
    ;({ cursor } = page)
    const keys = page.keys.map((name) => name.slice(SESSION_PREFIX.length))
    if (keys.length === 0) continue
    const rows = await database.kysely
      .selectFrom('engine_model')
      .select('key')
      .where('model', '=', 'Session')
      .where('key', 'in', keys)
      .execute()
    const known = new Set(rows.map(({ key }) => key))
    const orphans = keys.filter((key) => !known.has(key)).map((key) => SESSION_PREFIX + key)
    if (orphans.length > 0) await redis.run((client) => client.del(orphans))
  } while (cursor !== '0')
}

/**
 * Ends a session whose key is not in Redis, if SQL has it still. What has expired, or was evicted, is
 * signed out of and no more. So is one that replaces another and is only found missing: it may never
 * have come to Redis, nor to the browser, which has the other one.
 */
async function endMissing(
  { sql, models, redis, log }: SessionWatchCollaborators,
  key: string,
  how: 'deleted' | 'expired' | 'missing',
): Promise<void> {
  const row = await sql.find('Session', key)
  if (!row) return
  if ((await redis.run((client) => client.exists(SESSION_PREFIX + key))) === 1) return
  const uid = row.payload['uid']
  const isOver = how === 'expired' || (how === 'missing' && row.replaces !== undefined)
  if (isOver || typeof uid !== 'string') {
    await sql.apply([{ kind: 'destroy', model: 'Session', key }])
    return
  }
  await models.apply([{ kind: 'end-session', uid, reason: 'session_deleted' }])
  log.info({ event: 'session_deleted', accountId: row.payload['accountId'] })
}
