import type { Kysely, Selectable } from 'kysely'
import type { Client, ClientStore } from '../clients/client.ts'
import type { Clock } from '../clock.ts'
import type { Owner } from '../config/schema.ts'
import { revokeAllOf } from './models.ts'
import type { Schema } from './schema.ts'

export function createClientStore(database: Kysely<Schema>, clock: Clock): ClientStore {
  const select = () => database.selectFrom('client').selectAll()
  return {
    async findById(id) {
      const row = await select().where('id', '=', id).executeTakeFirst()
      return row && toClient(row)
    },
    async list() {
      return (await select().orderBy('id').execute()).map(toClient)
    },
    async insert(client) {
      const { numInsertedOrUpdatedRows } = await database
        .insertInto('client')
        .values(toRow(client))
        .onConflict((conflict) => conflict.doNothing())
        .executeTakeFirstOrThrow()
      return numInsertedOrUpdatedRows === 1n
    },
    async update(client) {
      const { id, ...rest } = toRow(client)
      const { numUpdatedRows } = await database
        .updateTable('client')
        .set(rest)
        .where('id', '=', id)
        .executeTakeFirstOrThrow()
      return numUpdatedRows === 1n
    },
    async remove(id) {
      return database.transaction().execute(async (transaction) => {
        await revokeAllOf(transaction, clock, 'client_id', id)
        const { numDeletedRows } = await transaction
          .deleteFrom('client')
          .where('id', '=', id)
          .executeTakeFirstOrThrow()
        return numDeletedRows === 1n
      })
    },
  }
}

function toRow(client: Client): Schema['client'] {
  const { id, disabled, owner, createdAt, updatedAt, ...settings } = client
  return {
    id,
    settings: JSON.stringify(settings),
    disabled: disabled ? 1 : 0,
    owner,
    created_at: createdAt,
    updated_at: updatedAt,
  }
}

type Settings = Omit<Client, 'id' | 'disabled' | 'owner' | 'createdAt' | 'updatedAt'>

function toClient(row: Selectable<Schema['client']>): Client {
  return {
    ...(JSON.parse(row.settings) as Settings),
    id: row.id,
    disabled: row.disabled === 1,
    owner: row.owner as Owner,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  }
}
