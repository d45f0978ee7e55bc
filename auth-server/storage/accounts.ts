import type { Kysely, Selectable } from 'kysely'
import type { Account, AccountChanges, AccountStore, Profile } from '../accounts/account.ts'
import type { Clock } from '../clock.ts'
import type { Owner } from '../config/schema.ts'
import {
  defineStatement,
  lockRevocations,
  pickColumns,
  prepareRead,
  refuseUnstorable,
  type Database,
  type Scope,
} from './database.ts'
import { endAccess } from './end-access.ts'
import type { Unit } from './models.ts'
import { appendRevocations } from './revocations.ts'
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
    update: (changes) =>
      changes.roles === undefined
        ? update(alone, changes)
        : kysely
            .transaction()
            .execute((transaction) => updateRoles({ database, transaction, clock }, changes)),
    updateAndEndAccess: ({ accessEndedAt: _before, ...changes }) =>
      kysely.transaction().execute(async (transaction) => {
        const unit = { database, transaction, clock }
        await endAccess(unit, 'user', changes.id, 'user_changed')
        return update(unit, changes)
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

const COLUMNS = {
  id: 'id',
  username: 'username',
  passwordHash: 'password_hash',
  roles: 'roles',
  groups: 'groups',
  profile: 'profile',
  disabled: 'disabled',
  accessEndedAt: 'access_ended_at',
  owner: 'owner',
  createdAt: 'created_at',
  updatedAt: 'updated_at',
} as const satisfies Record<keyof Account, keyof Schema['account']>

const insertRow = defineStatement((db: Kysely<Schema>, row: Schema['account']) =>
  db
    .insertInto('account')
    .values(pickColumns(row, Object.values(COLUMNS)))
    .onConflict((conflict) => conflict.doNothing()),
)

async function update({ transaction }: Scope, changes: AccountChanges): Promise<boolean> {
  const members = Object.keys(changes) as (keyof Account)[]
  // Of the members that are not there no column is taken.
  const row = toRow(changes as Account)
  const changed = pickColumns(
    row,
    members.map((member) => COLUMNS[member]),
  )
  const { numUpdatedRows } = await transaction
    .updateTable('account')
    .set(changed)
    .where('id', '=', changes.id)
    .executeTakeFirstOrThrow()
  return numUpdatedRows === 1n
}

/**
 * Whoever loses a role has tokens that say more than they may: these end, and what they are got with goes
 * on. Whoever only gets one loses nothing.
 */
export async function updateRoles(unit: Unit, changes: AccountChanges): Promise<boolean> {
  const { database, transaction } = unit
  // As whoever ends access does it: first the log, then the rows.
  await lockRevocations(database, transaction)
  const { id, roles = [] } = changes
  const before = await transaction
    .selectFrom('account')
    .select('roles')
    .where('id', '=', id)
    .executeTakeFirst()
  if (!(await update(unit, changes))) return false
  const had = JSON.parse(before?.roles ?? '[]') as string[]
  if (had.every((role) => roles.includes(role))) return true
  const entry = { kind: 'user', subject: id, reason: 'user_changed' } as const
  await appendRevocations(database, transaction, [entry])
  return true
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
