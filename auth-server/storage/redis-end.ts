import { PortreeveError } from '../errors.ts'
import type { Events } from '../events.ts'
import type { ModelStore, StoredModel } from '../provider/model-store.ts'
import type { SessionChanges, SqlModelStore } from './models.ts'
import { isInRedis } from './redis-models.ts'

export interface EndCollaborators {
  readonly sql: ModelStore
  /** The same with Redis: see `redis-models.ts`. */
  readonly models: SqlModelStore
  readonly events: Pick<Events, 'sessionDeleted'>
}

/**
 * Ends those sessions that SQL has still, although their keys are gone from Redis: we remove rows before
 * keys, so that was somebody else. With a key ends all of its session. Every instance hears of a
 * deletion: only the one that has ended the session tells of it.
 */
export async function endDeleted(
  collaborators: EndCollaborators,
  keys: readonly string[],
): Promise<void> {
  try {
    await endTogether(collaborators, keys)
  } catch (error) {
    if (!isBusy(error) || keys.length < 2) throw error
    await endOneByOne(collaborators, keys)
  }
}

/** One that many want to write at this moment must not hold up the end of the others. */
async function endOneByOne(
  collaborators: EndCollaborators,
  keys: readonly string[],
): Promise<void> {
  let failure: unknown
  for (const key of keys) {
    try {
      await endTogether(collaborators, [key])
    } catch (error) {
      if (!isBusy(error)) throw error
      failure = error
    }
  }
  if (failure !== undefined) throw failure
}

function isBusy(error: unknown): boolean {
  return error instanceof PortreeveError && error.code === 'busy'
}

async function endTogether(
  { sql, models, events }: EndCollaborators,
  keys: readonly string[],
): Promise<void> {
  const rows = await findRows(sql, keys)
  const sessions = new Map(rows.map((row) => [String(row.payload['uid']), row]))
  const changes: SessionChanges = new Map()
  await models.applyNoting(
    [...sessions.keys()].map((uid) => ({ kind: 'end-session', uid, reason: 'session_deleted' })),
    changes,
  )
  for (const { key, payload } of sessions.values()) {
    if (changes.get(key) !== 'removed') continue
    const { accountId } = payload
    events.sessionDeleted({ accountId: typeof accountId === 'string' ? accountId : undefined })
  }
}

/** What Redis itself has dropped is signed out of, and no more. */
export async function endSilently(
  { sql }: EndCollaborators,
  keys: readonly string[],
): Promise<void> {
  const rows = await findRows(sql, keys)
  await sql.apply(rows.map(({ key }) => ({ kind: 'destroy', model: 'Session', key })))
}

async function findRows(sql: ModelStore, keys: readonly string[]): Promise<StoredModel[]> {
  const rows = await Promise.all(keys.map((key) => sql.find('Session', key)))
  return rows.flatMap((row) => (row && isInRedis(row) ? [row] : []))
}
