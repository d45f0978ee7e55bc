import type { Transaction } from 'kysely'
import type { Clock } from '../clock.ts'
import type {
  ApplyResult,
  ClientSession,
  ModelRow,
  ModelStore,
  ModelWrite,
  StoredModel,
} from '../provider/model-store.ts'
import type { RevocationReason } from '../revocation/revocation.ts'
import { inParts, prepareRead, refuseUnstorable, type Database, type Scope } from './database.ts'
import { lockForChange, nameTouched } from './locks.ts'
import { queueLogouts } from './logouts.ts'
import {
  deleteGrant,
  deleteRow,
  deleteSession,
  forgetReplaced,
  insertRow,
  insertTombstone,
  prolongGrant,
  putRow,
  rewriteRow,
  selectRow,
  selectSiblings,
  selectTombstone,
  useRow,
} from './model-statements.ts'
import { appendRevocations, isRevoked, listRevoked, TOMBSTONE_MILLISECONDS } from './revocations.ts'
import type { EngineModelTable, Schema } from './schema.ts'
import { createTurns } from './turns.ts'

/**
 * A browser has one key of its session, and tabs that resume at once a few more. Whenever one row is
 * written all of them are read: who makes hundreds means harm.
 */
const MOST_ROWS_OF_A_SESSION = 32

/** What became of the rows of sessions in one change, by their keys. */
export type SessionChanges = Map<string, 'written' | 'removed'>

/** What every step of one change needs. */
export interface Unit extends Scope {
  readonly transaction: Transaction<Schema>
  readonly clock: Clock
  /** For whoever keeps a part of sessions elsewhere. */
  readonly sessions?: SessionChanges
}

export interface SqlModelStore extends ModelStore {
  /** Does what `apply` does, and notes in `sessions` what became of them. */
  applyNoting(writes: readonly ModelWrite[], sessions: SessionChanges): Promise<ApplyResult>
}

type Put = Extract<ModelWrite, { kind: 'put' }>
type LastUseColumns = Pick<EngineModelTable, 'used_at' | 'used_from' | 'used_with'>
type Consume = Extract<ModelWrite, { kind: 'consume' }>

export function createModelStore(database: Database, clock: Clock): SqlModelStore {
  const columns = ['key', 'payload', 'consumed_at', 'expires_at', 'replaces'] as const
  const byKey = prepareRead(database, (db) =>
    db.selectFrom('engine_model').select(columns).where('model', '=', '').where('key', '=', ''),
  )
  const newest = (column: 'uid' | 'user_code') =>
    prepareRead(database, (db) =>
      db
        .selectFrom('engine_model')
        .select(columns)
        .where(column, '=', '')
        .where('model', '=', '')
        .orderBy('written_at', 'desc')
        .limit(1),
    )
  const byAccount = prepareRead(database, (db) =>
    db
      .selectFrom('engine_model')
      .select(columns)
      .where('account_id', '=', '')
      .where('model', '=', '')
      .where('consumed_at', 'is', null)
      .where('expires_at', '>', 0)
      .orderBy('written_at', 'desc')
      .limit(1),
  )
  const byUid = newest('uid')
  const byUserCode = newest('user_code')
  const takeTurn = createTurns()
  const apply: SqlModelStore['applyNoting'] = async (writes, sessions) => {
    if (writes.length === 0) return { outcome: 'applied' }
    refuseUnstorable(writes)
    return takeTurn(nameTurns(writes), () =>
      database.kysely.transaction().execute(async (transaction) => {
        await lockForChange(database, transaction, writes)
        return applyAll({ database, transaction, clock, sessions }, writes)
      }),
    )
  }
  return {
    find: async (model, key) => toFirst(await byKey(model, key)),
    findByUid: async (model, uid) => toFirst(await byUid(uid, model, 1)),
    findByUserCode: async (model, userCode) => toFirst(await byUserCode(userCode, model, 1)),
    async listByAccount(model, accountId, limit) {
      return (await byAccount(accountId, model, clock.now(), limit)).map(toStored)
    },
    apply: (writes) => apply(writes, new Map()),
    applyNoting: apply,
    purge: (before, limit) => purgeExpired(database, before, limit),
  }
}

const ENDS: ReadonlySet<ModelWrite['kind']> = new Set([
  'end-session',
  'leave-session',
  'revoke-grant',
])

/**
 * What takes access away does not stand behind a crowd that wants to use it: it has turns of its own, and
 * waits for one of the crowd at most.
 */
function nameTurns(writes: readonly ModelWrite[]): string[] {
  const names = writes.flatMap(nameTouched)
  const isEnd = writes.some(({ kind }) => ENDS.has(kind))
  return isEnd ? names.map((name) => `end of ${name}`) : names
}

/**
 * Consumes come first: a batch that lost changes nothing but the family it gives away, although what
 * hangs on the consumption may stand before it.
 */
async function applyAll(unit: Unit, writes: readonly ModelWrite[]): Promise<ApplyResult> {
  for (const write of writes) {
    if (write.kind !== 'consume' || (await consume(unit, write))) continue
    const row = await readRow(unit, write.model, write.key)
    const grantId = row?.grant_id ?? undefined
    if (grantId !== undefined) await endGrant(unit, grantId, 'credential_reused')
    return { outcome: 'lost', write, grantId }
  }
  for (const write of writes) {
    if (await applyOne(unit, write)) continue
    // A batch may stand before this write: what it has put hangs on the same, revoked grant.
    const grantId = 'grantId' in write ? write.grantId : undefined
    if (grantId !== undefined) await endGrant(unit, grantId, 'grant_revoked')
    return { outcome: 'lost', write, grantId }
  }
  return { outcome: 'applied' }
}

/** Whether the write could be made. */
async function applyOne(unit: Unit, write: ModelWrite): Promise<boolean> {
  switch (write.kind) {
    case 'consume':
      return true
    case 'put':
      return put(unit, write)
    case 'insert':
      return insertOnce(unit, write)
    case 'destroy':
      await destroy(unit, write.model, write.key)
      return true
    case 'settle':
      await settle(unit, write.key)
      return true
    case 'revoke-grant':
      await endGrant(unit, write.grantId, 'grant_revoked')
      return true
    case 'end-session':
      await endSession(unit, write.uid, write.clients ?? [], write.reason ?? 'signed_out')
      return true
    case 'leave-session':
      await leaveSession(unit, write)
      return true
  }
}

async function consume(unit: Unit, { model, key, retry }: Consume): Promise<boolean> {
  const now = unit.clock.now()
  const { numAffectedRows } = await useRow(unit, { model, key, now })
  if (numAffectedRows === 1n) return true
  if (!retry) return false
  const used = await readRow(unit, model, key)
  if (!used?.consumed_at || now - used.consumed_at >= retry.windowMilliseconds) return false
  const successor = await readRow(unit, model, retry.successorKey)
  return successor !== undefined && successor.consumed_at === null
}

async function readRow(unit: Unit, model: string, key: string) {
  const { rows } = await selectRow(unit, { model, key })
  return rows[0]
}

async function put(unit: Unit, row: Put): Promise<boolean> {
  if (await isOfRevokedGrant(unit, row)) return false
  if (row.model === 'Session') return putSession(unit, row)
  const values = toRow(row, unit.clock.now())
  if (row.model === 'RefreshToken') await insertRow(unit, values)
  else await putRow(unit, values)
  // A refresh token that is used again and again outlives the day when its grant was given.
  const { grantId } = row
  if (grantId !== undefined) await prolongGrant(unit, { grantId, expiresAt: values.expires_at })
  return true
}

/**
 * Two tabs that resume at once write one session twice, each knowing only its own client: the
 * authorizations of every row of the session are merged. A session that was ended is not written:
 * a request that still held it must not raise it.
 */
async function putSession(unit: Unit, row: Put): Promise<boolean> {
  if (row.uid !== undefined && (await isBuried(unit, 'Session uid', row.uid))) {
    // What this request has just given a client ends with the session, which did not know of it.
    const late = readClients(JSON.stringify(row.payload))
    await endForClients(unit, late, 'signed_out')
    return true
  }
  if (await isBuried(unit, 'Session', row.key)) return true
  const { rows: siblings } = await selectSiblings(unit, { uid: row.uid ?? '', key: row.key })
  const authorizations = Object.assign(
    {},
    ...siblings.map(({ payload }) => readAuthorizations(JSON.parse(payload), row)),
    await readOwnAuthorizations(unit, row, siblings),
  ) as Record<string, unknown>
  const { authorizations: _own, ...rest } = row.payload
  const payload = Object.keys(authorizations).length > 0 ? { ...rest, authorizations } : rest
  // The newest row knows most, and it is the one to be found: whatever the clock of its writer says.
  const last = siblings.at(-1)?.written_at ?? 0
  const values = toRow({ ...row, payload }, Math.max(unit.clock.now(), last + 1))
  await putRow(unit, { ...values, ...findLastUse(siblings) })
  unit.sessions?.set(row.key, 'written')
  const known = new Set(readClients(JSON.stringify(payload)).map(({ sid }) => sid))
  for (const sibling of siblings.slice(0, -MOST_ROWS_OF_A_SESSION)) {
    if (sibling.key === row.key || sibling.key === row.replaces) continue
    await destroy(unit, 'Session', sibling.key)
    // What nobody would know of when the person signs out is signed out of now.
    const forgotten = readClients(sibling.payload).filter(({ sid }) => !known.has(sid))
    await endForClients(unit, forgotten, 'signed_out')
  }
  if (row.replaces !== undefined) await replaceSession(unit, row, row.replaces)
  return true
}

/** A session that goes on under another key was used before. */
function findLastUse(siblings: readonly LastUseColumns[]): LastUseColumns {
  const { used_at = null, used_from = null, used_with = null } = siblings.at(-1) ?? {}
  return { used_at, used_from, used_with }
}

/** An anonymous session was promised to nobody, and one of another person must not be left behind. */
async function replaceSession(unit: Unit, { accountId }: Put, replaced: string): Promise<void> {
  const old = await readRow(unit, 'Session', replaced)
  if (accountId !== undefined && old?.account_id === accountId) return
  await destroy(unit, 'Session', replaced)
}

async function settle(unit: Unit, key: string): Promise<void> {
  const row = await readRow(unit, 'Session', key)
  if (!row?.replaces) return
  await destroy(unit, 'Session', row.replaces)
  await forgetReplaced(unit, { key })
}

/** What another person authorised in this browser before is none of the new person's. */
function readAuthorizations(payload: Record<string, unknown>, row: Put): unknown {
  return payload['accountId'] === row.payload['accountId'] ? payload['authorizations'] : undefined
}

/** Without a client that was left meanwhile: the row was read before, and the others have it no more. */
async function readOwnAuthorizations(
  unit: Unit,
  row: Put,
  siblings: readonly { readonly payload: string }[],
): Promise<Record<string, unknown>> {
  const own = { ...(row.payload['authorizations'] as Record<string, unknown> | undefined) }
  const known = new Set(
    siblings.flatMap(({ payload }) => readClients(payload)).map(({ sid }) => sid),
  )
  for (const { clientId, sid } of readClients(JSON.stringify(row.payload))) {
    if (!known.has(sid) && (await isRevoked(unit, 'session', sid))) delete own[clientId]
  }
  return own
}

async function insertOnce(unit: Unit, row: ModelRow): Promise<boolean> {
  if (await isOfRevokedGrant(unit, row)) return false
  const { numAffectedRows } = await insertRow(unit, toRow(row, unit.clock.now()))
  return numAffectedRows === 1n
}

async function isOfRevokedGrant(unit: Unit, { grantId }: ModelRow): Promise<boolean> {
  return grantId !== undefined && isRevoked(unit, 'grant', grantId)
}

export async function destroy(unit: Unit, model: string, key: string): Promise<void> {
  const { rows } = await deleteRow(unit, { model, key })
  if (model === 'Grant') await endGrant(unit, key, 'grant_revoked')
  if (model !== 'Session') return
  await bury(unit, 'Session', key, rows[0]?.expires_at ?? 0)
  unit.sessions?.set(key, 'removed')
}

async function endSession(
  unit: Unit,
  uid: string,
  known: readonly ClientSession[],
  reason: RevocationReason,
): Promise<void> {
  const { rows } = await deleteSession(unit, { uid })
  for (const { key } of rows) unit.sessions?.set(key, 'removed')
  const last = Math.max(0, ...rows.map(({ expires_at }) => expires_at ?? 0))
  await bury(unit, 'Session uid', uid, last)
  // Two tabs may have given one client two of them, each in the row of its tab.
  const ended = [...known, ...rows.flatMap(({ payload }) => readClients(payload))]
  await endForClients(unit, ended, reason)
}

/** The same with very many, without a statement for each. */
export async function endSessions(
  unit: Unit,
  uids: readonly string[],
  reason: RevocationReason,
): Promise<void> {
  for (const some of inParts(uids)) {
    const rows = await unit.transaction
      .deleteFrom('engine_model')
      .where('model', '=', 'Session')
      .where('uid', 'in', some)
      .returning(['key', 'expires_at', 'payload'])
      .execute()
    for (const { key } of rows) unit.sessions?.set(key, 'removed')
    const last = rows.reduce((latest, row) => Math.max(latest, row.expires_at ?? 0), 0)
    const until = Math.max(last, unit.clock.now()) + TOMBSTONE_MILLISECONDS
    const tombstones = some.map((key) => ({ kind: 'Session uid', key, expires_at: until }))
    await buryAll(unit, tombstones)
    const ended = rows.flatMap(({ payload }) => readClients(payload))
    await endForClients(unit, ended, reason)
  }
}

export async function buryAll(
  { transaction }: Unit,
  tombstones: readonly Schema['tombstone'][],
): Promise<void> {
  for (const some of inParts(tombstones)) {
    await transaction
      .insertInto('tombstone')
      .values(some)
      .onConflict((conflict) => conflict.columns(['kind', 'key']).doNothing())
      .execute()
  }
}

type Leave = Extract<ModelWrite, { kind: 'leave-session' }>

export async function leaveSession(
  unit: Unit,
  { uid, clientId, reason = 'signed_out' }: Leave,
): Promise<void> {
  const { rows } = await selectSiblings(unit, { uid, key: '' })
  await leaveRows(unit, rows, clientId, reason)
}

/** The same in rows of any sessions. */
export async function leaveRows(
  unit: Unit,
  rows: readonly { readonly key: string; readonly payload: string }[],
  clientId: string,
  reason: RevocationReason,
): Promise<void> {
  const left = rows.flatMap(({ payload }) =>
    readClients(payload).filter((session) => session.clientId === clientId),
  )
  for (const { key, payload } of rows) {
    const { authorizations, ...rest } = JSON.parse(payload) as Record<string, object>
    const others = Object.entries(authorizations ?? {}).filter(([id]) => id !== clientId)
    const kept = { ...rest, authorizations: Object.fromEntries(others) }
    await rewriteRow(unit, { model: 'Session', key, payload: JSON.stringify(kept) })
  }
  await endForClients(unit, left, reason)
}

/** Each client is told once, however many requests end the session. */
async function endForClients(
  unit: Unit,
  ended: readonly ClientSession[],
  reason: RevocationReason,
): Promise<void> {
  const sessions = new Map(ended.map((session) => [session.sid, session]))
  const over = await listRevoked(unit, 'session', [...sessions.keys()])
  const told = [...sessions.values()].filter(({ sid }) => !over.has(sid))
  await queueLogouts(unit, told, unit.clock.now())
  await revoke(unit, 'session', [...sessions.keys()], reason)
}

/** The clients that the payload of a session says were authorised in it. */
export function readClients(text: string): ClientSession[] {
  const { accountId, authorizations = {} } = JSON.parse(text) as {
    accountId?: string
    authorizations?: Record<string, { sid?: string }>
  }
  return Object.entries(authorizations).flatMap(([clientId, { sid }]) =>
    sid === undefined ? [] : [{ clientId, sid, accountId }],
  )
}

/** Answers how many rows it had. */
export async function endGrant(
  unit: Unit,
  grantId: string,
  reason: RevocationReason,
): Promise<number> {
  const { rows } = await deleteGrant(unit, { grantId })
  await revoke(unit, 'grant', [grantId], reason)
  return rows.length
}

async function revoke(
  { database, transaction }: Unit,
  kind: 'grant' | 'session',
  subjects: readonly string[],
  reason: RevocationReason,
): Promise<void> {
  const entries = subjects.map((subject) => ({ kind, subject, reason }))
  await appendRevocations(database, transaction, entries)
}

async function bury(
  unit: Unit,
  kind: 'Session' | 'Session uid',
  key: string,
  lastExpiry: number,
): Promise<void> {
  const expiresAt = Math.max(lastExpiry, unit.clock.now()) + TOMBSTONE_MILLISECONDS
  await insertTombstone(unit, { kind, key, expiresAt })
}

async function isBuried(unit: Unit, kind: 'Session' | 'Session uid', key: string) {
  const { rows } = await selectTombstone(unit, { kind, key })
  return rows.length > 0
}

/** Tombstones count as rows. */
async function purgeExpired(database: Database, before: number, limit: number): Promise<number> {
  const rows = await purgeRows(database, before, limit)
  return rows + (await purgeTombstones(database, before, limit - rows))
}

function purgeRows(database: Database, before: number, limit: number): Promise<number> {
  const { kysely, skipsLocked } = database
  const query = kysely.deleteFrom('engine_model').where((where) =>
    where(
      where.refTuple('model', 'key'),
      'in',
      where
        .selectFrom('engine_model')
        .select(['model', 'key'])
        .where('expires_at', '<', before)
        .orderBy('expires_at')
        .limit(limit)
        .$if(skipsLocked, (expired) => expired.forUpdate().skipLocked())
        .$asTuple('model', 'key'),
    ),
  )
  return database.runAside(query.compile())
}

async function purgeTombstones(database: Database, before: number, limit: number): Promise<number> {
  if (limit <= 0) return 0
  const { kysely, skipsLocked } = database
  const query = kysely.deleteFrom('tombstone').where((where) =>
    where(
      where.refTuple('kind', 'key'),
      'in',
      where
        .selectFrom('tombstone')
        .select(['kind', 'key'])
        .where('expires_at', '<', before)
        .orderBy('expires_at')
        .limit(limit)
        .$if(skipsLocked, (expired) => expired.forUpdate().skipLocked())
        .$asTuple('kind', 'key'),
    ),
  )
  return database.runAside(query.compile())
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
    used_at: null,
    used_from: null,
    used_with: null,
  }
}

function toFirst([row]: Parameters<typeof toStored>[0][]): StoredModel | undefined {
  return row && toStored(row)
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
