import type { Clock } from '../clock.ts'
import type {
  ApplyResult,
  ModelPayload,
  ModelRow,
  ModelStore,
  ModelWrite,
  StoredModel,
} from '../provider/model-store.ts'
import type { Redis } from './redis.ts'

/** What Redis holds alone: it may expire, and nothing hangs on it. */
const EPHEMERAL: Readonly<Record<string, string>> = {
  Interaction: 'interaction_',
  ReplayDetection: 'replay_',
}
export const SESSION_PREFIX = 'session_'

type Put = Extract<ModelWrite, { kind: 'put' | 'insert' }>

/**
 * Keeps in Redis what may expire, and everything else where it was.
 *
 * A session is in both. SQL keeps what hangs on it (the account, what each client was authorised, which
 * key replaces which), with all the rules that it has there; Redis keeps the rest, under `session_<key>`.
 * It is alive while both have it: so deleting the key in Redis signs somebody out, and so does
 * everything that removes the row.
 */
export function keepInRedis(sql: ModelStore, redis: Redis, clock: Clock): ModelStore {
  const read = (name: string) => redis.run((client) => client.get(name))
  return {
    async find(model, key) {
      const prefix = EPHEMERAL[model]
      if (prefix !== undefined) return readEphemeral(key, await read(prefix + key))
      if (model !== 'Session') return sql.find(model, key)
      const [row, text] = await Promise.all([sql.find(model, key), read(SESSION_PREFIX + key)])
      return join(row, text)
    },
    async findByUid(model, uid) {
      const row = await sql.findByUid(model, uid)
      if (!row || model !== 'Session') return row
      return join(row, await read(SESSION_PREFIX + row.key))
    },
    findByUserCode: sql.findByUserCode,
    async apply(writes) {
      const ephemeral = writes.filter((write) => 'model' in write && write.model in EPHEMERAL)
      const lasting = writes.filter((write) => !ephemeral.includes(write))
      const result = await applySessions({ sql, redis, clock }, lasting)
      if (result.outcome === 'lost') return result
      for (const write of ephemeral) {
        if (await applyEphemeral(redis, clock, write)) continue
        return { outcome: 'lost', write, grantId: undefined }
      }
      return result
    },
    purge: sql.purge,
  }
}

function join(row: StoredModel | undefined, text: string | null): StoredModel | undefined {
  const rest = text === null ? undefined : parseObject(text)
  if (!row || !rest) return undefined
  const { authorizations } = row.payload
  return { ...row, payload: { ...rest, ...(authorizations ? { authorizations } : {}) } }
}

interface Sides {
  readonly sql: ModelStore
  readonly redis: Redis
  readonly clock: Clock
}

/**
 * First SQL, whose removal of a row is the mark that it was ours: then a key that vanishes in Redis is
 * nobody's doing by hand.
 */
async function applySessions(
  { sql, redis, clock }: Sides,
  writes: readonly ModelWrite[],
): Promise<ApplyResult> {
  const puts = writes.filter(isSessionPut)
  const known = new Set<string>()
  for (const { key } of puts) if (await sql.find('Session', key)) known.add(key)
  const removed = await listRemoved(sql, writes)
  const result = await sql.apply(
    writes.map((write) => (isSessionPut(write) ? { ...write, payload: whatHangs(write) } : write)),
  )
  if (result.outcome === 'lost') return result
  for (const put of puts) {
    const row = await sql.find('Session', put.key)
    // It was ended before: SQL has not written it either.
    if (!row) continue
    const name = SESSION_PREFIX + put.key
    const value = JSON.stringify(put.payload)
    // A key that somebody has deleted by hand must not rise again.
    const condition = known.has(put.key) ? ({ condition: 'XX' } as const) : {}
    await redis.run((client) => client.set(name, value, { ...lifetime(put, clock), ...condition }))
  }
  if (removed.length > 0) await redis.run((client) => client.del(removed))
  return result
}

function isSessionPut(write: ModelWrite): write is Put {
  return write.kind === 'put' && write.model === 'Session'
}

function whatHangs({ payload }: ModelRow): ModelPayload {
  const { accountId, uid, authorizations } = payload
  return { accountId, uid, authorizations }
}

/** The names of those keys of which it is known beforehand. Others have no row, and are swept away. */
async function listRemoved(sql: ModelStore, writes: readonly ModelWrite[]): Promise<string[]> {
  const names: string[] = []
  for (const write of writes) {
    if (write.kind === 'destroy' && write.model === 'Session') names.push(write.key)
    if (write.kind === 'settle') {
      const row = await sql.find('Session', write.key)
      if (row?.replaces !== undefined) names.push(row.replaces)
    }
    if (write.kind === 'end-session') {
      const row = await sql.findByUid('Session', write.uid)
      if (row) names.push(row.key, ...(row.replaces === undefined ? [] : [row.replaces]))
    }
  }
  return names.map((key) => SESSION_PREFIX + key)
}

/** Whether it could be done: what is written once is there already. */
async function applyEphemeral(redis: Redis, clock: Clock, write: ModelWrite): Promise<boolean> {
  if (!('model' in write)) return true
  const name = `${EPHEMERAL[write.model]}${write.key}`
  switch (write.kind) {
    case 'put':
    case 'insert': {
      const { expiresAt, payload } = write
      const value = JSON.stringify({ payload, expiresAt })
      const condition = write.kind === 'insert' ? ({ condition: 'NX' } as const) : {}
      const options = { ...lifetime(write, clock), ...condition }
      return (await redis.run((client) => client.set(name, value, options))) !== null
    }
    case 'destroy':
      await redis.run((client) => client.del(name))
      return true
    case 'consume':
      throw new TypeError(`${write.model} is not consumed`)
  }
}

/** Redis forgets it by itself a minute after its end, so that "expired" and "unknown" stay apart. */
const KEEP_EXPIRED_MS = 60_000

function lifetime({ expiresAt }: ModelRow, clock: Clock) {
  if (expiresAt === undefined) return {}
  const value = Math.max(1, expiresAt - clock.now() + KEEP_EXPIRED_MS)
  return { expiration: { type: 'PX', value } } as const
}

function readEphemeral(key: string, text: string | null): StoredModel | undefined {
  const kept = text === null ? undefined : parseObject(text)
  if (!kept) return undefined
  const { payload, expiresAt } = kept as { payload: ModelPayload; expiresAt?: number }
  return { key, payload: { ...payload }, expiresAt, consumedAt: undefined }
}

/** Somebody may have written something else there. */
function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? { ...value } : undefined
  } catch {
    return undefined
  }
}
