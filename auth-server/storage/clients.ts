import type { Kysely, Selectable } from 'kysely'
import type { Client, ClientStore } from '../clients/client.ts'
import type { Clock } from '../clock.ts'
import type { ClientOwner } from '../config/schema.ts'
import {
  defineStatement,
  pickColumns,
  prepareRead,
  refuseUnstorable,
  type Database,
  type Scope,
} from './database.ts'
import { endAccess } from './end-access.ts'
import type { Unit } from './models.ts'
import type { Schema } from './schema.ts'

export function createClientStore(database: Database, clock: Clock): ClientStore {
  const { kysely } = database
  const alone = { database, transaction: kysely }
  const byId = prepareRead(database, (db) =>
    db.selectFrom('client').selectAll().where('id', '=', ''),
  )
  return {
    async findById(id) {
      const [row] = await byId(id)
      return row && toClient(row)
    },
    async list() {
      const rows = await kysely.selectFrom('client').selectAll().execute()
      // Each database would order them by rules of its own.
      return rows.map(toClient).toSorted((one, two) => (one.id < two.id ? -1 : 1))
    },
    insert: (client) => insertClient(alone, client),
    async update(client, seenAt) {
      if (seenAt !== undefined) return replaceClient(alone, seenAt, client)
      const { numAffectedRows } = await updateRow(alone, toRow(client))
      return numAffectedRows === 1n
    },
    async updateAndEndAccess(client, seenAt) {
      const lost = new Error('the client is no longer as it was')
      try {
        await kysely.transaction().execute(async (transaction) => {
          const unit = { database, transaction, clock }
          await endAccess(unit, 'client', client.id, 'client_changed')
          if (!(await replaceClient(unit, seenAt, client))) throw lost
        })
        return true
      } catch (error) {
        if (error === lost) return false
        throw error
      }
    },
    remove: (id) =>
      kysely
        .transaction()
        .execute((transaction) => removeClient({ database, transaction, clock }, id)),
  }
}

export async function insertClient(scope: Scope, client: Client): Promise<boolean> {
  const { numAffectedRows } = await insertRow(scope, toRow(client))
  return numAffectedRows === 1n
}

/** Only while it is as it was at `updatedAt`. */
export async function replaceClient(
  { transaction }: Scope,
  updatedAt: number,
  client: Client,
): Promise<boolean> {
  const { numUpdatedRows } = await transaction
    .updateTable('client')
    .set(pickColumns(toRow(client), CHANGED))
    .where('id', '=', client.id)
    .where('updated_at', '=', updatedAt)
    .executeTakeFirstOrThrow()
  return numUpdatedRows === 1n
}

export async function removeClient(unit: Unit, id: string): Promise<boolean> {
  const { transaction } = unit
  await endAccess(unit, 'client', id, 'client_removed')
  await transaction.deleteFrom('client_registration').where('client_id', '=', id).execute()
  return deleteClient(unit, id)
}

export async function deleteClient({ transaction }: Scope, id: string): Promise<boolean> {
  const { numDeletedRows } = await transaction
    .deleteFrom('client')
    .where('id', '=', id)
    .executeTakeFirstOrThrow()
  return numDeletedRows === 1n
}

export async function findClient({ transaction }: Scope, id: string): Promise<Client | undefined> {
  refuseUnstorable([{ id }])
  const rows = await transaction.selectFrom('client').selectAll().where('id', '=', id).execute()
  return rows.map(toClient)[0]
}

const CHANGED = ['settings', 'disabled', 'owner', 'created_at', 'updated_at'] as const

const insertRow = defineStatement((db: Kysely<Schema>, row: Schema['client']) =>
  db
    .insertInto('client')
    .values(pickColumns(row, ['id', ...CHANGED]))
    .onConflict((conflict) => conflict.doNothing()),
)

const updateRow = defineStatement((db: Kysely<Schema>, row: Schema['client']) =>
  db.updateTable('client').set(pickColumns(row, CHANGED)).where('id', '=', row.id),
)

function toRow(client: Client): Schema['client'] {
  const { id, disabled, owner, createdAt, updatedAt, ...settings } = client
  const row = {
    id,
    settings: JSON.stringify(settings),
    disabled: disabled ? 1 : 0,
    owner,
    created_at: createdAt,
    updated_at: updatedAt,
  }
  refuseUnstorable([row])
  return row
}

type Settings = Omit<Client, 'id' | 'disabled' | 'owner' | 'createdAt' | 'updatedAt'>

/** What a client has that was written before there was such a setting. */
const ADDED_SINCE = {
  dpop: 'allowed',
  par: 'allowed',
  introspects: [],
  exchange: [],
  assertionIssuers: [],
} as const

function toClient(row: Selectable<Schema['client']>): Client {
  return {
    ...ADDED_SINCE,
    ...(JSON.parse(row.settings) as Settings),
    id: row.id,
    disabled: row.disabled === 1,
    owner: row.owner as ClientOwner,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  }
}
