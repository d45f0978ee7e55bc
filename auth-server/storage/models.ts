import type { Kysely, Transaction } from 'kysely'
import type { Clock } from '../clock.ts'
import type {
  ApplyResult,
  ModelRow,
  ModelStore,
  ModelWrite,
  StoredModel,
} from '../provider/model-store.ts'
import type { EngineModelTable, Schema } from './schema.ts'

/**
 * A revoked grant is remembered at least this long after the last of its rows would have expired: no
 * access token lives longer (the bound of `accessTokenTtlSeconds`).
 */
const TOMBSTONE_MILLISECONDS = 2 * 86_400_000

type Put = Extract<ModelWrite, { kind: 'put' }>
type Consume = Extract<ModelWrite, { kind: 'consume' }>

export function createModelStore(database: Kysely<Schema>, clock: Clock): ModelStore {
  const select = () =>
    database
      .selectFrom('engine_model')
      .select(['key', 'payload', 'consumed_at', 'expires_at', 'replaces'])
  return {
    async find(model, key) {
      const row = await select()
        .where('model', '=', model)
        .where('key', '=', key)
        .executeTakeFirst()
      return row && toStored(row)
    },
    async findByUid(model, uid) {
      const row = await select()
        .where('model', '=', model)
        .where('uid', '=', uid)
        .orderBy('written_at', 'desc')
        .executeTakeFirst()
      return row && toStored(row)
    },
    async findByUserCode(model, userCode) {
      const row = await select()
        .where('model', '=', model)
        .where('user_code', '=', userCode)
        .orderBy('written_at', 'desc')
        .executeTakeFirst()
      return row && toStored(row)
    },
    async apply(writes) {
      if (writes.length === 0) return { outcome: 'applied' }
      return database.transaction().execute((transaction) => applyAll(transaction, clock, writes))
    },
    isEnded: (sid) => isBuried(database, 'sid', sid),
    purge: (before, limit) => purgeExpired(database, before, limit),
  }
}

/** Ends everything of an account or a client: its sessions, its grants and all that hangs on them. */
export async function revokeAllOf(
  transaction: Transaction<Schema>,
  clock: Clock,
  column: 'account_id' | 'client_id',
  id: string,
): Promise<void> {
  const rows = await transaction
    .selectFrom('engine_model')
    .select(['model', 'key', 'grant_id', 'uid'])
    .where(column, '=', id)
    .execute()
  const grants = new Set(rows.flatMap(({ grant_id }) => grant_id ?? []))
  for (const grantId of grants) await revokeGrant(transaction, clock, grantId)
  for (const row of rows) {
    if (row.model === 'Session' && row.uid !== null) await endSession(transaction, clock, row.uid)
    else await destroy(transaction, clock, row.model, row.key)
  }
}

/**
 * Consumes come first: a batch that lost changes nothing but the family it gives away, although what
 * hangs on the consumption may stand before it.
 */
async function applyAll(
  transaction: Transaction<Schema>,
  clock: Clock,
  writes: readonly ModelWrite[],
): Promise<ApplyResult> {
  for (const write of writes) {
    if (write.kind !== 'consume' || (await consume(transaction, clock, write))) continue
    const grantId = await grantOf(transaction, write.model, write.key)
    if (grantId !== undefined) await revokeGrant(transaction, clock, grantId)
    return { outcome: 'lost', write, grantId }
  }
  for (const write of writes) {
    if (await applyOne(transaction, clock, write)) continue
    // A batch may stand before this write: what it has put hangs on the same, revoked grant.
    const grantId = 'grantId' in write ? write.grantId : undefined
    if (grantId !== undefined) await revokeGrant(transaction, clock, grantId)
    return { outcome: 'lost', write, grantId }
  }
  return { outcome: 'applied' }
}

/** Whether the write could be made. */
async function applyOne(
  transaction: Transaction<Schema>,
  clock: Clock,
  write: ModelWrite,
): Promise<boolean> {
  switch (write.kind) {
    case 'consume':
      return true
    case 'put':
      return put(transaction, clock, write)
    case 'insert':
      return insertOnce(transaction, clock, write)
    case 'destroy':
      await destroy(transaction, clock, write.model, write.key)
      return true
    case 'settle':
      await settle(transaction, clock, write.key)
      return true
    case 'revoke-grant':
      await revokeGrant(transaction, clock, write.grantId)
      return true
    case 'end-session':
      await endSession(transaction, clock, write.uid, write.sids)
      return true
  }
}

async function consume(
  transaction: Transaction<Schema>,
  clock: Clock,
  { model, key, retry }: Consume,
): Promise<boolean> {
  const now = clock.now()
  const { numUpdatedRows } = await transaction
    .updateTable('engine_model')
    .set({ consumed_at: now })
    .where('model', '=', model)
    .where('key', '=', key)
    .where('consumed_at', 'is', null)
    .executeTakeFirstOrThrow()
  if (numUpdatedRows === 1n) return true
  if (!retry) return false
  const used = await transaction
    .selectFrom('engine_model')
    .select('consumed_at')
    .where('model', '=', model)
    .where('key', '=', key)
    .executeTakeFirst()
  if (!used?.consumed_at || now - used.consumed_at >= retry.windowMilliseconds) return false
  const successor = await transaction
    .selectFrom('engine_model')
    .select('consumed_at')
    .where('model', '=', model)
    .where('key', '=', retry.successorKey)
    .executeTakeFirst()
  return successor !== undefined && successor.consumed_at === null
}

async function put(transaction: Transaction<Schema>, clock: Clock, row: Put): Promise<boolean> {
  if (row.grantId !== undefined && (await isBuried(transaction, 'Grant', row.grantId))) return false
  if (row.model === 'Session') return putSession(transaction, clock, row)
  const values = toRow(row, clock.now())
  const { model: _model, key: _key, consumed_at: _consumed, ...changes } = values
  await transaction
    .insertInto('engine_model')
    .values(values)
    .onConflict((conflict) =>
      row.model === 'RefreshToken'
        ? conflict.columns(['model', 'key']).doNothing()
        : conflict.columns(['model', 'key']).doUpdateSet(changes),
    )
    .execute()
  if (row.grantId !== undefined) await keepGrantFor(transaction, row.grantId, values.expires_at)
  return true
}

/** A refresh token that is used again and again outlives the day when its grant was given. */
async function keepGrantFor(
  transaction: Transaction<Schema>,
  grantId: string,
  expiresAt: number | null,
): Promise<void> {
  await transaction
    .updateTable('engine_model')
    .set({ expires_at: expiresAt })
    .where('model', '=', 'Grant')
    .where('key', '=', grantId)
    .where('expires_at', '<', expiresAt)
    .execute()
}

/**
 * Two tabs that resume at once write one session twice, each knowing only its own client: the
 * authorizations of every row of the session are merged. A session that was ended is not written:
 * a request that still held it must not raise it.
 */
async function putSession(
  transaction: Transaction<Schema>,
  clock: Clock,
  row: Put,
): Promise<boolean> {
  const ended =
    (await isBuried(transaction, 'Session', row.key)) ||
    (row.uid !== undefined && (await isBuried(transaction, 'Session uid', row.uid)))
  if (ended) return true
  const siblings = await transaction
    .selectFrom('engine_model')
    .select('payload')
    .where('model', '=', 'Session')
    .where((where) => where.or([where('uid', '=', row.uid ?? ''), where('key', '=', row.key)]))
    .orderBy('written_at')
    .execute()
  const authorizations = Object.assign(
    {},
    ...siblings.map(({ payload }) => readAuthorizations(JSON.parse(payload), row)),
    readAuthorizations(row.payload, row),
  ) as Record<string, unknown>
  const payload =
    Object.keys(authorizations).length > 0 ? { ...row.payload, authorizations } : row.payload
  const values = toRow({ ...row, payload }, clock.now())
  const { model: _model, key: _key, ...changes } = values
  await transaction
    .insertInto('engine_model')
    .values(values)
    .onConflict((conflict) => conflict.columns(['model', 'key']).doUpdateSet(changes))
    .execute()
  if (row.replaces !== undefined) await replaceSession(transaction, clock, row, row.replaces)
  return true
}

/** An anonymous session was promised to nobody, and one of another person must not be left behind. */
async function replaceSession(
  transaction: Transaction<Schema>,
  clock: Clock,
  { accountId }: Put,
  replaced: string,
): Promise<void> {
  const old = await transaction
    .selectFrom('engine_model')
    .select('account_id')
    .where('model', '=', 'Session')
    .where('key', '=', replaced)
    .executeTakeFirst()
  if (accountId !== undefined && old?.account_id === accountId) return
  await destroy(transaction, clock, 'Session', replaced)
}

async function settle(transaction: Transaction<Schema>, clock: Clock, key: string): Promise<void> {
  const row = await transaction
    .selectFrom('engine_model')
    .select('replaces')
    .where('model', '=', 'Session')
    .where('key', '=', key)
    .executeTakeFirst()
  if (!row?.replaces) return
  await destroy(transaction, clock, 'Session', row.replaces)
  await transaction
    .updateTable('engine_model')
    .set({ replaces: null })
    .where('model', '=', 'Session')
    .where('key', '=', key)
    .execute()
}

/** What another person authorised in this browser before is none of the new person's. */
function readAuthorizations(payload: Record<string, unknown>, row: Put): unknown {
  return payload['accountId'] === row.payload['accountId'] ? payload['authorizations'] : undefined
}

async function insertOnce(
  transaction: Transaction<Schema>,
  clock: Clock,
  row: ModelRow,
): Promise<boolean> {
  const { numInsertedOrUpdatedRows } = await transaction
    .insertInto('engine_model')
    .values(toRow(row, clock.now()))
    .onConflict((conflict) => conflict.columns(['model', 'key']).doNothing())
    .executeTakeFirstOrThrow()
  return numInsertedOrUpdatedRows === 1n
}

async function destroy(
  transaction: Transaction<Schema>,
  clock: Clock,
  model: string,
  key: string,
): Promise<void> {
  const row = await transaction
    .deleteFrom('engine_model')
    .where('model', '=', model)
    .where('key', '=', key)
    .returning(['expires_at'])
    .executeTakeFirst()
  if (model === 'Grant') await revokeGrant(transaction, clock, key)
  if (model === 'Session') await bury(transaction, clock, 'Session', key, row?.expires_at ?? 0)
}

async function endSession(
  transaction: Transaction<Schema>,
  clock: Clock,
  uid: string,
  knownSids: readonly string[] = [],
) {
  const rows = await transaction
    .deleteFrom('engine_model')
    .where('model', '=', 'Session')
    .where('uid', '=', uid)
    .returning(['expires_at', 'payload'])
    .execute()
  const last = Math.max(0, ...rows.map(({ expires_at }) => expires_at ?? 0))
  await bury(transaction, clock, 'Session uid', uid, last)
  // Two tabs may have given one client two of them, each in the row of its tab.
  const sids = new Set([...knownSids, ...rows.flatMap(({ payload }) => readSids(payload))])
  for (const sid of sids) await bury(transaction, clock, 'sid', sid, last)
}

function readSids(payload: string): string[] {
  const { authorizations = {} } = JSON.parse(payload) as {
    authorizations?: Record<string, { sid?: string }>
  }
  return Object.values(authorizations).flatMap(({ sid }) => sid ?? [])
}

async function revokeGrant(transaction: Transaction<Schema>, clock: Clock, grantId: string) {
  const rows = await transaction
    .deleteFrom('engine_model')
    .where('grant_id', '=', grantId)
    .returning('expires_at')
    .execute()
  const last = Math.max(0, ...rows.map(({ expires_at }) => expires_at ?? 0))
  await bury(transaction, clock, 'Grant', grantId, last)
}

async function bury(
  transaction: Transaction<Schema>,
  clock: Clock,
  kind: string,
  key: string,
  lastExpiry: number,
): Promise<void> {
  const expiresAt = Math.max(lastExpiry, clock.now()) + TOMBSTONE_MILLISECONDS
  await transaction
    .insertInto('tombstone')
    .values({ kind, key, expires_at: expiresAt })
    .onConflict((conflict) => conflict.columns(['kind', 'key']).doNothing())
    .execute()
}

async function isBuried(database: Kysely<Schema>, kind: string, key: string) {
  const row = await database
    .selectFrom('tombstone')
    .select('key')
    .where('kind', '=', kind)
    .where('key', '=', key)
    .executeTakeFirst()
  return row !== undefined
}

async function grantOf(transaction: Transaction<Schema>, model: string, key: string) {
  const row = await transaction
    .selectFrom('engine_model')
    .select('grant_id')
    .where('model', '=', model)
    .where('key', '=', key)
    .executeTakeFirst()
  return row?.grant_id ?? undefined
}

async function purgeExpired(database: Kysely<Schema>, before: number, limit: number) {
  const rows = await database
    .deleteFrom('engine_model')
    .where((where) =>
      where(
        where.refTuple('model', 'key'),
        'in',
        where
          .selectFrom('engine_model')
          .select(['model', 'key'])
          .where('expires_at', '<', before)
          .orderBy('expires_at')
          .limit(limit)
          .$asTuple('model', 'key'),
      ),
    )
    .executeTakeFirstOrThrow()
  const tombstones = await database
    .deleteFrom('tombstone')
    .where((where) =>
      where(
        where.refTuple('kind', 'key'),
        'in',
        where
          .selectFrom('tombstone')
          .select(['kind', 'key'])
          .where('expires_at', '<', before)
          .orderBy('expires_at')
          .limit(limit)
          .$asTuple('kind', 'key'),
      ),
    )
    .executeTakeFirstOrThrow()
  return Number(rows.numDeletedRows + tombstones.numDeletedRows)
}

function toRow(row: ModelRow, now: number): EngineModelTable {
  return {
    model: row.model,
    key: row.key,
    payload: JSON.stringify(row.payload),
    grant_id: row.grantId ?? null,
    uid: row.uid ?? null,
    user_code: row.userCode ?? null,
    account_id: row.accountId ?? null,
    client_id: row.clientId ?? null,
    replaces: row.replaces ?? null,
    consumed_at: null,
    expires_at: row.expiresAt ?? null,
    written_at: now,
  }
}

function toStored(
  row: Pick<EngineModelTable, 'key' | 'payload' | 'consumed_at' | 'expires_at' | 'replaces'>,
): StoredModel {
  return {
    key: row.key,
    payload: JSON.parse(row.payload) as Record<string, unknown>,
    consumedAt: row.consumed_at ?? undefined,
    expiresAt: row.expires_at ?? undefined,
    replaces: row.replaces ?? undefined,
  }
}
