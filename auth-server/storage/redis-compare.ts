import type { Clock } from '../clock.ts'
import { prepareRead, type Database } from './database.ts'
import { endDeleted, type EndCollaborators } from './redis-end.ts'
import { readInstallation, SESSION_PREFIX } from './redis-models.ts'
import type { Redis } from './redis.ts'

const BATCH = 500
/** Ended in one transaction, which has a SQLite database for itself. */
const AT_ONCE = 50
/** Looked up in one statement. */
const NAMES_AT_ONCE = 100
/** A key comes before its row, which may wait for a lock. */
const ON_ITS_WAY_MS = 10_000
const MOST_SUSPECTS = 10_000

export interface ComparisonCollaborators extends EndCollaborators {
  readonly database: Database
  readonly redis: Redis
  readonly installation: string
  readonly clock: Clock
}

/**
 * Ends every session of SQL whose key is not in Redis, and removes every key whose session is not in
 * SQL. One at a time.
 */
export function createComparison(collaborators: ComparisonCollaborators): () => Promise<void> {
  const endMissing = createEndOfMissing(collaborators)
  const sweep = createSweep(collaborators)
  return async () => {
    await endMissing()
    await sweep()
  }
}

function createEndOfMissing(collaborators: ComparisonCollaborators): () => Promise<void> {
  const { database, redis, clock } = collaborators
  const list = prepareRead(database, (db) =>
    db
      .selectFrom('engine_model')
      .select('key')
      .where('model', '=', '')
      .where('key', '>', '')
      .where('expires_at', '>', 0)
      .orderBy('key')
      .limit(1),
  )
  return async () => {
    const failures: unknown[] = []
    for (let after = ''; ;) {
      const rows = await list('Session', after, clock.now(), BATCH)
      const keys = rows.map(({ key }) => key)
      const missing = await listMissing(redis, keys)
      for (const batch of inBatches(missing, AT_ONCE)) {
        await endDeleted(collaborators, batch).catch((error: unknown) => failures.push(error))
      }
      const last = keys.at(-1)
      if (last === undefined) break
      after = last
    }
    // The others are ended all the same.
    if (failures.length > 0) throw failures[0]
  }
}

async function listMissing(redis: Redis, keys: readonly string[]): Promise<readonly string[]> {
  if (keys.length === 0) return []
  const names = keys.map((key) => SESSION_PREFIX + key)
  if ((await redis.run((client) => client.exists(names))) === keys.length) return []
  const counts = await redis.run((client) => Promise.all(names.map((name) => client.exists(name))))
  return keys.filter((_key, index) => counts[index] === 0)
}

/** What is left over where Redis could not be told, or was not: by the command line. */
function createSweep(collaborators: ComparisonCollaborators): () => Promise<void> {
  const { database, redis, installation } = collaborators
  const find = prepareRead(database, (db) =>
    db
      .selectFrom('engine_model')
      .select('key')
      .where('model', '=', '')
      .where('key', 'in', Array<string>(NAMES_AT_ONCE).fill('')),
  )
  /** Since when each has been without a row. */
  let suspects: ReadonlyMap<string, number> = new Map()

  const listOrphans = async (keys: readonly string[]) => {
    const empty = Array<string>(NAMES_AT_ONCE - keys.length).fill('')
    const rows = await find('Session', ...keys, ...empty)
    const known = new Set(rows.map(({ key }) => key))
    return keys.filter((key) => !known.has(key)).map((key) => SESSION_PREFIX + key)
  }
  const remove = async (names: readonly string[]) => {
    if (names.length === 0) return
    const texts = await redis.run((client) => client.mGet([...names]))
    const ours = names.filter((_name, index) => {
      const text = texts[index] ?? null
      return readInstallation(text) === installation
    })
    if (ours.length > 0) await redis.run((client) => client.unlink(ours))
  }

  return async () => {
    const now = performance.now()
    const found = new Map<string, number>()
    let cursor = '0'
    do {
      const page = await redis.run((client) =>
        client.scan(cursor, { MATCH: `${SESSION_PREFIX}*`, COUNT: BATCH }),
      )
      ;({ cursor } = page)
      const keys = page.keys.map((name) => name.slice(SESSION_PREFIX.length))
      for (const batch of inBatches(keys, NAMES_AT_ONCE)) {
        const orphans = await listOrphans(batch)
        const since = (name: string) => suspects.get(name) ?? now
        await remove(orphans.filter((name) => now - since(name) >= ON_ITS_WAY_MS))
        for (const name of orphans) if (found.size < MOST_SUSPECTS) found.set(name, since(name))
      }
    } while (cursor !== '0')
    suspects = found
  }
}

function inBatches<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, index) =>
    items.slice(index * size, (index + 1) * size),
  )
}
