import { randomBytes } from 'node:crypto'
import { sql, type Kysely, type Selectable } from 'kysely'
import type { LogoutDelivery, LogoutQueue, Whose } from '../backchannel/logout-queue.ts'
import type { ClientSession } from '../provider/model-store.ts'
import { defineStatement, inParts, prepareRead, type Database, type Scope } from './database.ts'
import type { Schema } from './schema.ts'

type Row = Schema['logout_delivery']

export function createLogoutQueue(database: Database): LogoutQueue {
  const { kysely } = database
  const next = (whose: Whose) =>
    prepareRead(database, (db) =>
      db
        .selectFrom('logout_delivery')
        .select('client_id')
        .where('client_id', '>', '')
        .where(({ not, exists, selectFrom }) => {
          const isOperators = exists(
            selectFrom('client')
              .select('id')
              .whereRef('id', '=', 'logout_delivery.client_id')
              .where(sql<boolean>`owner in ('file', 'operator')`),
          )
          return whose === 'operator' ? isOperators : not(isOperators)
        })
        .orderBy('client_id')
        .limit(1),
    )
  const nextOf = { operator: next('operator'), stranger: next('stranger') }
  const due = prepareRead(database, (db) =>
    db
      .selectFrom('logout_delivery')
      .selectAll()
      .where('client_id', '=', '')
      .where('due_at', '<=', 0)
      .orderBy('due_at')
      .limit(1),
  )
  return {
    nextClient: async (whose, after) => (await nextOf[whose](after, 1))[0]?.client_id,
    listDue: async (clientId, now, limit) => (await due(clientId, now, limit)).map(toDelivery),
    async claim(delivery, leaseUntil) {
      const attempts = delivery.attempts + 1
      const { numUpdatedRows } = await kysely
        .updateTable('logout_delivery')
        .set({ attempts, due_at: leaseUntil })
        .where('id', '=', delivery.id)
        .where('attempts', '=', delivery.attempts)
        .executeTakeFirstOrThrow()
      return numUpdatedRows === 1n ? { ...delivery, attempts } : undefined
    },
    async postpone({ id, attempts }, dueAt) {
      await kysely
        .updateTable('logout_delivery')
        .set({ due_at: dueAt })
        .where('id', '=', id)
        .where('attempts', '=', attempts)
        .execute()
    },
    async remove(id) {
      await kysely.deleteFrom('logout_delivery').where('id', '=', id).execute()
    },
  }
}

/**
 * Puts the clients into the queue that want to be told, in the transaction that ends the sessions. One
 * that is disabled now may be enabled again.
 */
export async function queueLogouts(
  scope: Scope,
  sessions: readonly ClientSession[],
  now: number,
): Promise<void> {
  const byClient = Map.groupBy(sessions, ({ clientId }) => clientId)
  for (const [clientId, own] of byClient) {
    const { rows } = await selectClient(scope, { clientId })
    if (!wantsLogouts(rows[0])) continue
    const queued = own.flatMap(({ sid, accountId }) =>
      // Nobody was signed in.
      accountId === undefined ? [] : [describeRow(clientId, accountId, sid, now)],
    )
    for (const some of inParts(queued)) {
      await scope.transaction.insertInto('logout_delivery').values(some).execute()
    }
  }
}

function describeRow(clientId: string, accountId: string, sid: string, now: number): Row {
  return {
    id: randomBytes(16).toString('base64url'),
    client_id: clientId,
    account_id: accountId,
    sid,
    queued_at: now,
    due_at: now,
    attempts: 0,
  }
}

const selectClient = defineStatement(
  (db: Kysely<Schema>, { clientId }: { readonly clientId: string }) =>
    db.selectFrom('client').select('settings').where('id', '=', clientId),
)

function wantsLogouts(client: Pick<Schema['client'], 'settings'> | undefined) {
  if (!client) return false
  const settings = JSON.parse(client.settings) as { backchannelLogoutUri?: string }
  return settings.backchannelLogoutUri !== undefined
}

function toDelivery(row: Selectable<Row>): LogoutDelivery {
  return {
    id: row.id,
    clientId: row.client_id,
    accountId: row.account_id,
    sid: row.sid,
    queuedAt: row.queued_at,
    attempts: row.attempts,
  }
}
