import type { ClientDocumentStore } from '../clients/document.ts'
import type { Clock } from '../clock.ts'
import { deleteClient, findClient, insertClient } from './clients.ts'
import { refuseUnstorable, type Database } from './database.ts'
import { endGrants } from './end-access.ts'
import type { Unit } from './models.ts'

/** One change of documents at a time: of two that differ, the later one knows of the other. */
const DOCUMENTS = 'client documents'

export function createClientDocumentStore(database: Database, clock: Clock): ClientDocumentStore {
  const { kysely } = database
  const change = <T>(work: (unit: Unit) => Promise<T>): Promise<T> =>
    kysely.transaction().execute(async (transaction) => {
      await database.lock(transaction, async () => ({ exclusive: [DOCUMENTS] }))
      return work({ database, transaction, clock })
    })
  return {
    keep: (client) =>
      change(async (unit) => {
        const known = await findClient(unit, client.id)
        if (known?.disabled || known?.document?.hash === client.document.hash) return 'known'
        if (known) await endDocument(unit, client.id)
        await insertClient(unit, client)
        return known ? 'replaced' : 'kept'
      }),
    end: (id, hash) =>
      change(async (unit) => {
        const known = await findClient(unit, id)
        if (known?.document?.hash !== hash || known.disabled) return false
        await endDocument(unit, id)
        return true
      }),
    removeUnused: (before, limit) =>
      change(async ({ transaction }) => {
        refuseUnstorable([{ before, limit }])
        const removed = await transaction
          .deleteFrom('client')
          .where('id', 'in', (where) =>
            where
              .selectFrom('client as unused')
              .select('id')
              .where('owner', '=', 'document')
              // The next who agrees would bring back what is to be kept out.
              .where('disabled', '=', 0)
              .where('created_at', '<', before)
              .where(({ not, exists, selectFrom }) =>
                not(
                  exists(
                    selectFrom('engine_model')
                      .select('key')
                      .whereRef('engine_model.client_id', '=', 'unused.id'),
                  ),
                ),
              )
              .orderBy('created_at')
              .limit(limit),
          )
          .returning('id')
          .execute()
        return removed.map(({ id }) => id)
      }),
  }
}

async function endDocument(unit: Unit, id: string): Promise<void> {
  await endGrants(unit, 'client', id, 'client_changed')
  await deleteClient(unit, id)
}
