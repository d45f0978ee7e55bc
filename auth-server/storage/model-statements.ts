import type { Kysely } from 'kysely'
import { defineStatement, pickColumns } from './database.ts'
import type { EngineModelTable, Schema } from './schema.ts'

interface RowName {
  readonly model: string
  readonly key: string
}

const COLUMNS = [
  'model',
  'key',
  'payload',
  'grant_id',
  'uid',
  'user_code',
  'account_id',
  'client_id',
  'replaces',
  'consumed_at',
  'expires_at',
  'written_at',
  'used_at',
  'used_from',
  'used_with',
] as const

/** That a row was used outlives what it is written with. */
const KEPT: ReadonlySet<string> = new Set([
  'model',
  'key',
  'consumed_at',
  'used_at',
  'used_from',
  'used_with',
])
const CHANGED = COLUMNS.filter((column) => !KEPT.has(column))

function insert(db: Kysely<Schema>, values: EngineModelTable) {
  return db.insertInto('engine_model').values(pickColumns(values, COLUMNS))
}

/** Leaves a row that is there as it is, and then changes none. */
export const insertRow = defineStatement<EngineModelTable>((db, values) =>
  insert(db, values).onConflict((conflict) => conflict.columns(['model', 'key']).doNothing()),
)

export const putRow = defineStatement<EngineModelTable>((db, values) =>
  insert(db, values).onConflict((conflict) =>
    conflict
      .columns(['model', 'key'])
      .doUpdateSet(({ ref }) =>
        Object.fromEntries(CHANGED.map((column) => [column, ref(`excluded.${column}`)])),
      ),
  ),
)

export const rewriteRow = defineStatement<RowName & { readonly payload: string }>((db, values) =>
  db
    .updateTable('engine_model')
    .set({ payload: values.payload })
    .where('model', '=', values.model)
    .where('key', '=', values.key),
)

/** Changes nothing where the row is gone or used. */
export const useRow = defineStatement<RowName & { readonly now: number }>((db, values) =>
  db
    .updateTable('engine_model')
    .set({ consumed_at: values.now })
    .where('model', '=', values.model)
    .where('key', '=', values.key)
    .where('consumed_at', 'is', null),
)

export const selectRow = defineStatement((db: Kysely<Schema>, { model, key }: RowName) =>
  db
    .selectFrom('engine_model')
    .select(['grant_id', 'account_id', 'replaces', 'consumed_at'])
    .where('model', '=', model)
    .where('key', '=', key),
)

/** A grant's name is the key of its row. */
export const prolongGrant = defineStatement<{
  readonly grantId: string
  readonly expiresAt: number | null
}>((db, values) =>
  db
    .updateTable('engine_model')
    .set({ expires_at: values.expiresAt })
    .where('model', '=', 'Grant')
    .where('key', '=', values.grantId)
    .where('expires_at', '<', values.expiresAt),
)

/** The rows of a session, the newest last. For an `or` SQLite would read all sessions that there are. */
export const selectSiblings = defineStatement(
  (db: Kysely<Schema>, values: { readonly uid: string; readonly key: string }) => {
    const sessions = db
      .selectFrom('engine_model')
      .select(['key', 'payload', 'written_at', 'used_at', 'used_from', 'used_with'])
      .where('model', '=', 'Session')
    return sessions
      .where('uid', '=', values.uid)
      .union(sessions.where('key', '=', values.key))
      .orderBy('written_at')
  },
)

export const forgetReplaced = defineStatement<{ readonly key: string }>((db, values) =>
  db
    .updateTable('engine_model')
    .set({ replaces: null })
    .where('model', '=', 'Session')
    .where('key', '=', values.key),
)

export const deleteRow = defineStatement((db: Kysely<Schema>, { model, key }: RowName) =>
  db
    .deleteFrom('engine_model')
    .where('model', '=', model)
    .where('key', '=', key)
    .returning(['expires_at']),
)

export const deleteSession = defineStatement(
  (db: Kysely<Schema>, { uid }: { readonly uid: string }) =>
    db
      .deleteFrom('engine_model')
      .where('model', '=', 'Session')
      .where('uid', '=', uid)
      .returning(['key', 'expires_at', 'payload']),
)

export const deleteGrant = defineStatement(
  (db: Kysely<Schema>, { grantId }: { readonly grantId: string }) =>
    db.deleteFrom('engine_model').where('grant_id', '=', grantId).returning('expires_at'),
)

interface TombstoneName {
  readonly kind: 'Session' | 'Session uid'
  readonly key: string
}

export const insertTombstone = defineStatement<TombstoneName & { readonly expiresAt: number }>(
  (db, values) =>
    db
      .insertInto('tombstone')
      .values({ kind: values.kind, key: values.key, expires_at: values.expiresAt })
      .onConflict((conflict) => conflict.columns(['kind', 'key']).doNothing()),
)

export const selectTombstone = defineStatement<TombstoneName>((db, values) =>
  db
    .selectFrom('tombstone')
    .select('key')
    .where('kind', '=', values.kind)
    .where('key', '=', values.key),
)
