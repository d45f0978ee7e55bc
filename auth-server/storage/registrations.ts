import type { Selectable } from 'kysely'
import type { Admission, Invite, RegistrationStore } from '../clients/registration.ts'
import type { Clock } from '../clock.ts'
import { insertClient, removeClient, replaceClient } from './clients.ts'
import { prepareRead, refuseUnstorable, type Database } from './database.ts'
import type { Schema } from './schema.ts'

type Row = Selectable<Schema['registration_invite']>

/** One registration at a time: each counts those before it. */
const REGISTRATION = 'registration'

export function createRegistrationStore(database: Database, clock: Clock): RegistrationStore {
  const { kysely } = database
  const byHash = prepareRead(database, (db) =>
    db.selectFrom('registration_invite').selectAll().where('hash', '=', ''),
  )
  const byClient = prepareRead(database, (db) =>
    db
      .selectFrom('client_registration')
      .select(['token_hash', 'used_at'])
      .where('client_id', '=', ''),
  )
  return {
    async listInvites() {
      const rows = await kysely
        .selectFrom('registration_invite')
        .selectAll()
        .orderBy('created_at')
        .execute()
      return rows.map(toInvite)
    },
    async findInvite(hash) {
      const [row] = await byHash(hash)
      return row && toInvite(row)
    },
    async addInvite({ id, label, usesLeft, createdAt, expiresAt }, hash) {
      const times = { created_at: createdAt, expires_at: expiresAt }
      const row = { id, hash, label, uses_left: usesLeft, ...times }
      refuseUnstorable([row])
      await kysely.insertInto('registration_invite').values(row).execute()
    },
    async removeInvite(id) {
      refuseUnstorable([{ id }])
      const { numDeletedRows } = await kysely
        .deleteFrom('registration_invite')
        .where('id', '=', id)
        .executeTakeFirstOrThrow()
      return numDeletedRows === 1n
    },
    register: (client, tokenHash, admission) =>
      kysely.transaction().execute(async (transaction) => {
        await database.lock(transaction, async () => ({ exclusive: [REGISTRATION] }))
        const scope = { database, transaction }
        const { count } = await transaction
          .selectFrom('client')
          .select(({ fn }) => fn.countAll().as('count'))
          .where('owner', '=', 'dynamic')
          .executeTakeFirstOrThrow()
        if (Number(count) >= admission.most) return 'too_many'
        if (!(await takeUse(scope, admission))) return 'no_invite'
        await insertClient(scope, client)
        await transaction
          .insertInto('client_registration')
          .values({ client_id: client.id, token_hash: tokenHash, registered_at: admission.now })
          .execute()
        return 'registered'
      }),
    findTokenHash: async (clientId) => (await byClient(clientId))[0]?.token_hash,
    replace: (before, after) =>
      replaceClient({ database, transaction: kysely }, before.updatedAt, after),
    async recordUse(clientId, at, notSince) {
      const [row] = await byClient(clientId)
      if (!row || (row.used_at !== null && row.used_at > notSince)) return
      await kysely
        .updateTable('client_registration')
        .set({ used_at: at })
        .where('client_id', '=', clientId)
        .execute()
    },
    async removeUnused(before, limit) {
      const unused = await kysely
        .selectFrom('client_registration')
        .select('client_id')
        .where('used_at', 'is', null)
        .where('registered_at', '<', before)
        .orderBy('registered_at')
        .limit(limit)
        .execute()
      const removed: string[] = []
      for (const { client_id: id } of unused) {
        if (await removeIfUnused(database, clock, id)) removed.push(id)
      }
      return removed
    },
    async purgeInvites(before, limit) {
      const query = kysely.deleteFrom('registration_invite').where('id', 'in', (where) => {
        const expired = where
          .selectFrom('registration_invite')
          .select('id')
          .where('expires_at', '<', before)
          .orderBy('expires_at')
          .limit(limit)
        return database.skipsLocked ? expired.forUpdate().skipLocked() : expired
      })
      return database.runAside(query.compile())
    },
  }
}

async function takeUse(
  { transaction }: { readonly transaction: Database['kysely'] },
  { inviteHash, now }: Admission,
): Promise<boolean> {
  if (inviteHash === undefined) return true
  const { numUpdatedRows } = await transaction
    .updateTable('registration_invite')
    .set(({ eb }) => ({ uses_left: eb('uses_left', '-', 1) }))
    .where('hash', '=', inviteHash)
    .where('uses_left', '>', 0)
    .where('expires_at', '>', now)
    .executeTakeFirstOrThrow()
  return numUpdatedRows === 1n
}

/** One that gets its first token meanwhile stays. */
function removeIfUnused(database: Database, clock: Clock, id: string): Promise<boolean> {
  return database.kysely.transaction().execute(async (transaction) => {
    const { numDeletedRows } = await transaction
      .deleteFrom('client_registration')
      .where('client_id', '=', id)
      .where('used_at', 'is', null)
      .executeTakeFirstOrThrow()
    if (numDeletedRows !== 1n) return false
    return removeClient({ database, transaction, clock }, id)
  })
}

function toInvite(row: Row): Invite {
  return {
    id: row.id,
    label: row.label,
    usesLeft: row.uses_left,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
  }
}
