import type { Kysely, Selectable } from 'kysely'
import type { Account, AccountStore, Profile } from '../accounts/account.ts'
import type { Clock } from '../clock.ts'
import type { Owner } from '../config/schema.ts'
import {
  defineStatement,
  pickColumns,
  prepareRead,
  refuseUnstorable,
  type Database,
  type Scope,
} from './database.ts'
import { endAccess } from './end-access.ts'
import type { Schema } from './schema.ts'

export function createAccountStore(database: Database, clock: Clock): AccountStore {
  const { kysely } = database
  const alone = { database, transaction: kysely }
  const find = (column: 'id' | 'username') =>
    prepareRead(database, (db) => db.selectFrom('account').selectAll().where(column, '=', ''))
  const byId = find('id')
  const byUsername = find('username')
  return {
    findById: async (id) => toFirst(await byId(id)),
    findByUsername: async (username) => toFirst(await byUsername(username)),
    async list() {
      const rows = await kysely.selectFrom('account').selectAll().execute()
      // Each database would order them by rules of its own.
      return rows.map(toAccount).toSorted((one, two) => (one.username < two.username ? -1 : 1))
    },
    async insert(account) {
      const { numAffectedRows } = await insertRow(alone, toRow(account))
      return numAffectedRows === 1n
    },
    update: (account) => update(alone, account),
    updateAndEndAccess: (account) =>
      kysely.transaction().execute(async (transaction) => {
        const unit = { database, transaction, clock }
        await endAccess(unit, 'user', account.id, 'user_changed')
        return update(unit, { ...account, accessEndedAt: clock.now() })
      }),
    async remove(id) {
      return kysely.transaction().execute(async (transaction) => {
        await endAccess({ database, transaction, clock }, 'user', id, 'user_removed')
        await transaction.deleteFrom('api_key').where('account_id', '=', id).execute()
        const { numDeletedRows } = await transaction
          .deleteFrom('account')
          .where('id', '=', id)
          .executeTakeFirstOrThrow()
        return numDeletedRows === 1n
      })
    },
  }
}

const CHANGED = [
  'username',
  'password_hash',
  'roles',
  'groups',
  'profile',
  'disabled',
  'access_ended_at',
  'owner',
  'created_at',
  'updated_at',
] as const

const insertRow = defineStatement((db: Kysely<Schema>, row: Schema['account']) =>
  db
    .insertInto('account')
    .values(pickColumns(row, ['id', ...CHANGED]))
    .onConflict((conflict) => conflict.doNothing()),
)

const updateRow = defineStatement((db: Kysely<Schema>, row: Schema['account']) =>
  db.updateTable('account').set(pickColumns(row, CHANGED)).where('id', '=', row.id),
)

async function update(scope: Scope, account: Account): Promise<boolean> {
  const { numAffectedRows } = await updateRow(scope, toRow(account))
  return numAffectedRows === 1n
}

function toRow(account: Account): Schema['account'] {
  const row = {
    id: account.id,
    username: account.username,
    password_hash: account.passwordHash ?? null,
    roles: JSON.stringify(account.roles),
    groups: JSON.stringify(account.groups),
    profile: JSON.stringify(account.profile),
    disabled: account.disabled ? 1 : 0,
    access_ended_at: account.accessEndedAt ?? null,
    owner: account.owner,
    created_at: account.createdAt,
    updated_at: account.updatedAt,
  }
  refuseUnstorable([row])
  return row
}

function toFirst([row]: Selectable<Schema['account']>[]): Account | undefined {
  return row && toAccount(row)
}

function toAccount(row: Selectable<Schema['account']>): Account {
  return {
    id: row.id,
    username: row.username,
    passwordHash: row.password_hash ?? undefined,
    roles: JSON.parse(row.roles) as string[],
    groups: JSON.parse(row.groups) as string[],
    profile: JSON.parse(row.profile) as Profile,
    disabled: row.disabled === 1,
    accessEndedAt: row.access_ended_at ?? undefined,
    owner: row.owner as Owner,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  }
}
