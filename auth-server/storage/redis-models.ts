import { ErrorReply } from 'redis'
import type { Clock } from '../clock.ts'
import type { Events } from '../events.ts'
import type {
  ApplyResult,
  ModelRow,
  ModelStore,
  ModelWrite,
  StoredModel,
} from '../provider/model-store.ts'
import { refuseUnstorable } from './database.ts'
import type { SessionChanges, SqlModelStore } from './models.ts'
import type { Redis } from './redis.ts'

/** What Redis holds alone: it may expire, and nothing hangs on it. */
const EPHEMERAL: Readonly<Record<string, string>> = {
  Interaction: 'interaction_',
  ReplayDetection: 'replay_',
}
export const SESSION_PREFIX = 'session_'
/**
 * Stands in the rows of sessions whose rest is in Redis: the engine of a server that has no Redis takes
 * them for nothing.
 */
const KIND = 'Session in Redis'

type Put = Extract<ModelWrite, { kind: 'put' | 'insert' }>

export interface RedisModelCollaborators {
  readonly sql: SqlModelStore
  readonly redis: Redis
  readonly clock: Clock
  /** Marks the keys of this database's sessions: see `redis-watch.ts`. */
  readonly installation: string
  readonly events: Pick<Events, 'sessionDeleted'>
}

/**
 * Keeps in Redis what may expire, and everything else where it was.
 *
 * A session is in both. SQL keeps what hangs on it (the account, what each client was authorised, which
 * key replaces which), with all the rules that it has there; Redis keeps the rest, under `session_<key>`.
 * It is alive while both have it: so deleting the key in Redis signs somebody out, and so does
 * everything that removes the row.
 */
export function keepInRedis(collaborators: RedisModelCollaborators): SqlModelStore {
  const { sql, redis } = collaborators
  const read = (name: string) => readText(redis, name)
  const complete = async (row: StoredModel | undefined) =>
    row && join(redis, row, await read(SESSION_PREFIX + row.key))
  return {
    async find(model, key) {
      const prefix = EPHEMERAL[model]
      if (prefix !== undefined) return readEphemeral(key, await read(prefix + key))
      if (model !== 'Session') return sql.find(model, key)
      const [row, text] = await Promise.all([sql.find(model, key), read(SESSION_PREFIX + key)])
      return row && join(redis, row, text)
    },
    async findByUid(model, uid) {
      const row = await sql.findByUid(model, uid)
      return model === 'Session' ? complete(row) : row
    },
    async findByUserCode(model, userCode) {
      const row = await sql.findByUserCode(model, userCode)
      return model === 'Session' ? complete(row) : row
    },
    listByAccount: (model, accountId, limit) => sql.listByAccount(model, accountId, limit),
    apply: (writes) => apply(collaborators, writes),
    applyNoting: (writes, sessions) => apply(collaborators, writes, sessions),
    purge: sql.purge,
  }
}

/** Whether a session is one whose rest is in Redis. */
export function isInRedis({ payload }: StoredModel): boolean {
  return payload['kind'] === KIND
}

/** Of which database's sessions a key is. */
export function readInstallation(text: string | null): unknown {
  return parseObject(text ?? '')?.['installation']
}

/** Answers '' for what is no text: somebody has written something else there. */
async function readText(redis: Redis, name: string): Promise<string | null> {
  try {
    return await redis.run((client) => client.get(name))
  } catch (error) {
    if (error instanceof ErrorReply && error.message.startsWith('WRONGTYPE')) return ''
    throw error
  }
}

async function join(
  redis: Redis,
  row: StoredModel,
  text: string | null,
): Promise<StoredModel | undefined> {
  if (text === null || !isInRedis(row)) return undefined
  const value = parseObject(text)
  // Whoever overwrites a session means to end it: what is heard of that is heard of this.
  if (!value) await redis.run((client) => client.del(SESSION_PREFIX + row.key))
  if (!value) return undefined
  const { installation: _installation, ...rest } = value
  const { kind: _kind, ...owned } = row.payload
  return { ...row, payload: { ...omitOwned(rest), ...owned } }
}

/**
 * SQL goes first wherever it can, and its removal of a row is the mark that it was ours: a key that
 * vanishes in Redis while its row is there was deleted by hand. The other way round a row must never be
 * there before its key, or this process might die in between: a new key comes before its row.
 */
async function apply(
  collaborators: RedisModelCollaborators,
  writes: readonly ModelWrite[],
  changes: SessionChanges = new Map(),
): Promise<ApplyResult> {
  const { sql } = collaborators
  refuseUnstorable(writes)
  const replay = await findReplay(collaborators, writes)
  if (replay) return { outcome: 'lost', write: replay, grantId: undefined }
  const puts = new Map(writes.filter(isSessionPut).map((put) => [put.key, put]))
  const known = await listKnown(sql, [...puts.keys()])
  for (const put of puts.values()) if (!known.has(put.key)) await setSession(collaborators, put)
  const settled = await listSettled(sql, writes)
  const result = await sql.applyNoting(writes.filter(isLasting).map(keepWhatHangs), changes)
  for (const put of puts.values()) {
    if (!known.has(put.key) || changes.get(put.key) !== 'written') continue
    // A key that somebody has deleted by hand must not rise again.
    await setSession(collaborators, put, { condition: 'XX' })
  }
  const unwritten = [...puts.keys()].filter((key) => !known.has(key) && !changes.has(key))
  const replaced = new Set(settled.map((one) => one.replaced))
  const removed = [...changes.keys()].filter(
    (key) => changes.get(key) === 'removed' && !replaced.has(key),
  )
  await removeKeys(collaborators, [...unwritten, ...removed])
  for (const one of settled) {
    if (changes.get(one.replaced) === 'removed') await endIfDeleted(collaborators, one)
  }
  if (result.outcome === 'applied') await applyEphemeral(collaborators, writes)
  return result
}

interface Settled {
  readonly uid: string
  readonly accountId: string | undefined
  /** The key that the session had before. */
  readonly replaced: string
  readonly expiresAt: number
}

async function listSettled(sql: ModelStore, writes: readonly ModelWrite[]): Promise<Settled[]> {
  const settled = writes.flatMap((write) => (write.kind === 'settle' ? [write.key] : []))
  const rows = await Promise.all(
    settled.map(async (key) => {
      const { replaces = '', payload } = (await sql.find('Session', key)) ?? {}
      const replaced = await sql.find('Session', replaces)
      if (!replaced || !isInRedis(replaced)) return []
      const { expiresAt = Number.POSITIVE_INFINITY } = replaced
      const { uid, accountId } = payload ?? {}
      return [
        {
          uid: String(uid),
          accountId: typeof accountId === 'string' ? accountId : undefined,
          replaced: replaces,
          expiresAt,
        },
      ]
    }),
  )
  return rows.flat()
}

/**
 * Removing the row was the mark that the key is ours to remove. If that was gone before, somebody has
 * deleted it by hand, and it was the same session.
 */
async function endIfDeleted(
  collaborators: RedisModelCollaborators,
  { uid, accountId, replaced, expiresAt }: Settled,
): Promise<void> {
  const { redis, clock, events } = collaborators
  const removed = await redis.run((client) => client.unlink(SESSION_PREFIX + replaced))
  if (removed === 1 || expiresAt <= clock.now()) return
  await apply(collaborators, [{ kind: 'end-session', uid, reason: 'session_deleted' }])
  events.sessionDeleted({ accountId })
}

function isSessionPut(write: ModelWrite): write is Put {
  return write.kind === 'put' && write.model === 'Session'
}

function isLasting(write: ModelWrite): boolean {
  return !('model' in write && Object.hasOwn(EPHEMERAL, write.model))
}

function keepWhatHangs(write: ModelWrite): ModelWrite {
  if (!isSessionPut(write)) return write
  const { accountId, uid, authorizations } = write.payload
  return { ...write, payload: { kind: KIND, accountId, uid, authorizations } }
}

/** Without what SQL alone says: whose the session is, and what was authorised in it. */
function omitOwned({
  accountId: _accountId,
  uid: _uid,
  authorizations: _authorizations,
  ...rest
}: Record<string, unknown>): Record<string, unknown> {
  return rest
}

async function listKnown(sql: ModelStore, keys: readonly string[]): Promise<ReadonlySet<string>> {
  const rows = await Promise.all(keys.map((key) => sql.find('Session', key)))
  return new Set(rows.flatMap((row) => row?.key ?? []))
}

async function setSession(
  { redis, clock, installation }: RedisModelCollaborators,
  put: Put,
  condition: { readonly condition?: 'XX' } = {},
): Promise<void> {
  const { authorizations: _authorizations, ...payload } = put.payload
  const value = JSON.stringify({ installation, ...payload })
  const options = { ...lifetime(put, clock), ...condition }
  await redis.run((client) => client.set(SESSION_PREFIX + put.key, value, options))
}

/** Those that stay because Redis does not answer mean nothing without a row, and are swept away later. */
async function removeKeys({ redis }: RedisModelCollaborators, keys: readonly string[]) {
  const names = keys.map((key) => SESSION_PREFIX + key)
  if (names.length > 0) await redis.run((client) => client.unlink(names)).catch(ignoreOutage)
}

function ignoreOutage(error: unknown): void {
  if (!(error instanceof Error && 'code' in error && error.code === 'busy')) throw error
}

/** Before anything else is done: a batch with a proof that was used changes nothing. */
async function findReplay(
  { redis, clock }: RedisModelCollaborators,
  writes: readonly ModelWrite[],
): Promise<ModelWrite | undefined> {
  for (const write of writes) {
    if (write.kind !== 'insert' || isLasting(write)) continue
    const options = { ...lifetime(write, clock), condition: 'NX' } as const
    const [name, value] = describeEphemeral(write)
    if ((await redis.run((client) => client.set(name, value, options))) === null) return write
  }
  return undefined
}

async function applyEphemeral(
  { redis, clock }: RedisModelCollaborators,
  writes: readonly ModelWrite[],
): Promise<void> {
  for (const write of writes) {
    if (isLasting(write)) continue
    if (write.kind === 'put') {
      const [name, value] = describeEphemeral(write)
      await redis.run((client) => client.set(name, value, lifetime(write, clock)))
    } else if (write.kind === 'destroy') {
      const name = `${EPHEMERAL[write.model]}${write.key}`
      await redis.run((client) => client.unlink(name))
    } else if (write.kind === 'consume') throw new TypeError(`${write.model} is not consumed`)
  }
}

function describeEphemeral({ model, key, payload, expiresAt }: ModelRow) {
  return [`${EPHEMERAL[model]}${key}`, JSON.stringify({ payload, expiresAt })] as const
}

/** Redis forgets it by itself a minute after its end, so that "expired" and "unknown" stay apart. */
const KEEP_EXPIRED_MS = 60_000

function lifetime({ expiresAt }: ModelRow, clock: Clock) {
  if (expiresAt === undefined) return {}
  const value = Math.max(1, Math.ceil(expiresAt - clock.now()) + KEEP_EXPIRED_MS)
  return { expiration: { type: 'PX', value } } as const
}

function readEphemeral(key: string, text: string | null): StoredModel | undefined {
  const { payload, expiresAt } = parseObject(text ?? '') ?? {}
  if (typeof payload !== 'object' || payload === null) return undefined
  return {
    key,
    payload: payload as Record<string, unknown>,
    expiresAt: typeof expiresAt === 'number' ? expiresAt : undefined,
    consumedAt: undefined,
  }
}

/** Somebody may have written something else there. */
function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
    return isObject ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}
