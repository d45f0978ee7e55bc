import type { Kysely, Selectable, Transaction } from 'kysely'
import type { ApiKey, ApiKeyStore, InsertOutcome, StoredApiKey } from '../api-keys/api-key.ts'
import {
  defineStatement,
  lockRevocations,
  pickColumns,
  prepareRead,
  refuseUnstorable,
  type Database,
  type Scope,
} from './database.ts'
import { shareModels } from './locks.ts'
import { appendRevocations } from './revocations.ts'
import type { Schema } from './schema.ts'

type Row = Schema['api_key']

/** So long a key that ended is told from one that never was. */
const KEPT_MILLISECONDS = 30 * 86_400_000
/** Of one account: whoever makes keys and revokes them again and again fills nothing. */
const MOST_ENDED = 100

export function createApiKeyStore(database: Database): ApiKeyStore {
  const { kysely } = database
  const find = (column: 'id' | 'hash' | 'account_id') =>
    prepareRead(database, (db) => db.selectFrom('api_key').selectAll().where(column, '=', ''))
  const byId = find('id')
  const byHash = find('hash')
  const byAccount = find('account_id')
  return {
    findById: async (id) => toFirst(await byId(id)),
    findByHash: async (hash) => toFirst(await byHash(hash)),
    listByAccount: async (accountId) => sortKeys((await byAccount(accountId)).map(toKey)),
    async list() {
      const rows = await kysely.selectFrom('api_key').selectAll().execute()
      return sortKeys(rows.map((row) => ({ ...toKey(row), hash: row.hash })))
    },
    insert: (key, most) =>
      kysely.transaction().execute(async (transaction) => {
        const exclusive = [`api keys of ${key.accountId}`]
        await database.lock(transaction, async () => ({ ...shareModels, exclusive }))
        const outcome = await judgeInsert(transaction, key, most)
        if (outcome !== 'added') return outcome
        await forgetEnded(transaction, key)
        return (await insertApiKey({ database, transaction }, key)) ? 'added' : 'taken'
      }),
    revoke: (id) =>
      kysely.transaction().execute(async (transaction) => {
        // As whoever ends access does it: first the log, then the rows.
        const now = await lockRevocations(database, transaction)
        if (!(await endApiKey(transaction, id, now))) return false
        const entry = { kind: 'grant', subject: id, reason: 'api_key_revoked' } as const
        await appendRevocations(database, transaction, [entry])
        return true
      }),
    async recordUse(id, { at, from }, notSince) {
      await kysely
        .updateTable('api_key')
        .set({ last_used_at: at, last_used_from: from })
        .where('id', '=', id)
        .where('revoked_at', 'is', null)
        .where(({ eb, or }) =>
          or([eb('last_used_at', 'is', null), eb('last_used_at', '<=', notSince)]),
        )
        .execute()
    },
    purge(before, limit) {
      const ended = before - KEPT_MILLISECONDS
      const query = kysely.deleteFrom('api_key').where('id', 'in', (where) => {
        const over = where
          .selectFrom('api_key')
          .select('id')
          .where(({ eb, or }) => or([eb('expires_at', '<', ended), eb('revoked_at', '<', ended)]))
          .limit(limit)
        return database.skipsLocked ? over.forUpdate().skipLocked() : over
      })
      return database.runAside(query.compile())
    },
  }
}

/** Whether the account may have one more key, in a transaction in which no access ends. */
async function judgeInsert(
  transaction: Transaction<Schema>,
  { accountId, createdAt }: StoredApiKey,
  most: number,
): Promise<InsertOutcome> {
  const account = await transaction
    .selectFrom('account')
    .select(['disabled', 'access_ended_at'])
    .where('id', '=', accountId)
    .executeTakeFirst()
  const endedAt = account?.access_ended_at ?? -Infinity
  if (!account || account.disabled === 1 || endedAt >= createdAt) return 'no_owner'
  const { count } = await transaction
    .selectFrom('api_key')
    .select(({ fn }) => fn.countAll().as('count'))
    .where('account_id', '=', accountId)
    .where('revoked_at', 'is', null)
    .where(({ eb, or }) => or([eb('expires_at', 'is', null), eb('expires_at', '>', createdAt)]))
    .executeTakeFirstOrThrow()
  return Number(count) < most ? 'added' : 'too_many'
}

/** More than a few come together only where the bound was another one before. */
async function forgetEnded(
  transaction: Transaction<Schema>,
  { accountId, createdAt }: StoredApiKey,
): Promise<void> {
  const ended = await transaction
    .selectFrom('api_key')
    .select('id')
    .where('account_id', '=', accountId)
    .where(({ eb, or }) =>
      or([eb('revoked_at', 'is not', null), eb('expires_at', '<=', createdAt)]),
    )
    .orderBy('created_at', 'desc')
    .orderBy('id')
    .limit(1000)
    .offset(MOST_ENDED)
    .execute()
  const ids = ended.map(({ id }) => id)
  if (ids.length > 0) await transaction.deleteFrom('api_key').where('id', 'in', ids).execute()
}

const COLUMNS = [
  'id',
  'account_id',
  'name',
  'hash',
  'resource',
  'scopes',
  'created_at',
  'expires_at',
  'last_used_at',
  'last_used_from',
  'revoked_at',
] as const

const insertRow = defineStatement((db: Kysely<Schema>, row: Row) =>
  db
    .insertInto('api_key')
    .values(pickColumns(row, COLUMNS))
    .onConflict((conflict) => conflict.doNothing()),
)

/** `false` where its id or its hash is taken. */
export async function insertApiKey(scope: Scope, key: StoredApiKey): Promise<boolean> {
  const { numAffectedRows } = await insertRow(scope, toRow(key))
  return numAffectedRows === 1n
}

/** Inside of whatever ends access. Answers the ids of those that it ended. */
export async function endApiKeys(
  transaction: Transaction<Schema>,
  accountId: string,
  now: number,
): Promise<readonly string[]> {
  const active = transaction
    .selectFrom('api_key')
    .select('id')
    .where('account_id', '=', accountId)
    .where('revoked_at', 'is', null)
  const rows = await active.execute()
  const ids = rows.map(({ id }) => id)
  if (ids.length > 0) {
    const update = transaction.updateTable('api_key').set({ revoked_at: now, last_used_from: null })
    await update.where('id', 'in', ids).execute()
  }
  return ids
}

/** Inside of whatever ends access. `false` where it has ended already, or there is none. */
export async function endApiKey(
  transaction: Transaction<Schema>,
  id: string,
  now: number,
): Promise<boolean> {
  const { numUpdatedRows } = await endActive(transaction, now)
    .where('id', '=', id)
    .executeTakeFirstOrThrow()
  return numUpdatedRows === 1n
}

/** Answers how many. */
export async function endEveryApiKey(
  transaction: Transaction<Schema>,
  now: number,
): Promise<number> {
  const { numUpdatedRows } = await endActive(transaction, now).executeTakeFirstOrThrow()
  return Number(numUpdatedRows)
}

function endActive(transaction: Transaction<Schema>, now: number) {
  const update = transaction.updateTable('api_key').set({ revoked_at: now, last_used_from: null })
  return update.where('revoked_at', 'is', null)
}

/** Each database would order them by rules of its own. */
function sortKeys<Key extends ApiKey>(keys: readonly Key[]): readonly Key[] {
  return keys.toSorted((one, two) =>
    one.createdAt === two.createdAt ? (one.id < two.id ? -1 : 1) : one.createdAt - two.createdAt,
  )
}

function toRow(key: StoredApiKey): Row {
  const row = {
    id: key.id,
    account_id: key.accountId,
    name: key.name,
    hash: key.hash,
    resource: key.resource,
    scopes: JSON.stringify(key.scopes),
    created_at: key.createdAt,
    expires_at: key.expiresAt ?? null,
    last_used_at: key.lastUsedAt ?? null,
    last_used_from: key.lastUsedFrom ?? null,
    revoked_at: key.revokedAt ?? null,
  }
  refuseUnstorable([row])
  return row
}

function toFirst([row]: Selectable<Row>[]): ApiKey | undefined {
  return row && toKey(row)
}

function toKey(row: Selectable<Row>): ApiKey {
  return {
    id: row.id,
    accountId: row.account_id,
    name: row.name,
    resource: row.resource,
    scopes: JSON.parse(row.scopes) as string[],
    createdAt: row.created_at,
    expiresAt: row.expires_at ?? undefined,
    lastUsedAt: row.last_used_at ?? undefined,
    lastUsedFrom: row.last_used_from ?? undefined,
    revokedAt: row.revoked_at ?? undefined,
  }
}
