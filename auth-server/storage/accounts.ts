import type { Kysely, Selectable } from 'kysely'
import type { Account, AccountStore, Profile } from '../accounts/account.ts'
import type { Clock } from '../clock.ts'
import type { Owner } from '../config/schema.ts'
import { revokeAllOf } from './models.ts'
import type { Schema } from './schema.ts'

export function createAccountStore(database: Kysely<Schema>, clock: Clock): AccountStore {
  const select = () => database.selectFrom('account').selectAll()
  return {
    async findById(id) {
      const row = await select().where('id', '=', id).executeTakeFirst()
      return row && toAccount(row)
    },
    async findByUsername(username) {
      const row = await select().where('username', '=', username).executeTakeFirst()
      return row && toAccount(row)
    },
    async list() {
      return (await select().orderBy('username').execute()).map(toAccount)
    },
    async insert(account) {
      const { numInsertedOrUpdatedRows } = await database
        .insertInto('account')
        .values(toRow(account))
        .onConflict((conflict) => conflict.doNothing())
        .executeTakeFirstOrThrow()
      return numInsertedOrUpdatedRows === 1n
    },
    update: (account) => update(database, account),
    updateAndEndAccess: (account) =>
      database.transaction().execute(async (transaction) => {
        await revokeAllOf(transaction, clock, 'account_id', account.id)
        return update(transaction, { ...account, accessEndedAt: clock.now() })
      }),
    async remove(id) {
      return database.transaction().execute(async (transaction) => {
        await revokeAllOf(transaction, clock, 'account_id', id)
        const { numDeletedRows } = await transaction
          .deleteFrom('account')
          .where('id', '=', id)
          .executeTakeFirstOrThrow()
        return numDeletedRows === 1n
      })
    },
  }
}

async function update(database: Kysely<Schema>, account: Account): Promise<boolean> {
  const { id, ...rest } = toRow(account)
  const { numUpdatedRows } = await database
    .updateTable('account')
    .set(rest)
    .where('id', '=', id)
    .executeTakeFirstOrThrow()
  return numUpdatedRows === 1n
}

function toRow(account: Account): Schema['account'] {
  return {
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
