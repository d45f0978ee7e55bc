import type { Selectable } from 'kysely'
import type { Client, ClientStore } from '../clients/client.ts'
import type { Clock } from '../clock.ts'
import type { Owner } from '../config/schema.ts'
import { prepareRead, type Database } from './database.ts'
import { revokeAllOf, revokeIssued } from './models.ts'
import type { Schema } from './schema.ts'

export function createClientStore(database: Database, clock: Clock): ClientStore {
  const { kysely } = database
  const byId = prepareRead(database, (db) =>
    db.selectFrom('client').selectAll().where('id', '=', ''),
  )
  return {
    async findById(id) {
      const [row] = await byId(id)
      return row && toClient(row)
    },
    async list() {
      const rows = await kysely.selectFrom('client').selectAll().orderBy('id').execute()
      return rows.map(toClient)
    },
    async insert(client) {
      const { numInsertedOrUpdatedRows } = await kysely
        .insertInto('client')
        .values(toRow(client))
        .onConflict((conflict) => conflict.doNothing())
        .executeTakeFirstOrThrow()
      return numInsertedOrUpdatedRows === 1n
    },
    async update(client) {
      const { id, ...rest } = toRow(client)
      const { numUpdatedRows } = await kysely
        .updateTable('client')
        .set(rest)
        .where('id', '=', id)
        .executeTakeFirstOrThrow()
      return numUpdatedRows === 1n
    },
    async remove(id) {
      return kysely.transaction().execute(async (transaction) => {
        const unit = { database, transaction, clock }
        await revokeAllOf(unit, 'client_id', id, 'client_removed')
        await revokeIssued(unit, 'client', id, 'client_removed')
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
