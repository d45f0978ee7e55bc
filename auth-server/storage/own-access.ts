import type { Transaction } from 'kysely'
import type { Clock } from '../clock.ts'
import type { OwnAccessStore, LastUse, Used } from '../provider/own-access-store.ts'
import { defineStatement, prepareRead, refuseUnstorable, type Database } from './database.ts'
import { endConsent, endOtherSessions, givenBy } from './end-access.ts'
import { nameGrant, nameSession, shareModels } from './locks.ts'
import type { EngineModelTable, Schema } from './schema.ts'

export function createOwnAccessStore(database: Database, clock: Clock): OwnAccessStore {
  const { kysely } = database
  const sessions = prepareRead(database, (db) =>
    db
      .selectFrom('engine_model')
      .select(['key', 'uid', 'used_at', 'used_from', 'used_with'])
      .where('account_id', '=', '')
      .where('model', '=', 'Session')
      .where('expires_at', '>', 0)
      .orderBy('written_at', 'desc')
      .limit(1),
  )
  const grants = prepareRead(database, (db) =>
    db
      .selectFrom('engine_model')
      .select(['key', 'client_id', 'payload', 'used_at', 'used_from', 'used_with'])
      .where('account_id', '=', '')
      .where('model', '=', 'Grant')
      .where('expires_at', '>', 0)
      .where('client_id', '<>', '')
      .orderBy('written_at', 'desc')
      .limit(1),
  )
  const anyOfClient = prepareRead(database, (db) =>
    db.selectFrom('engine_model').select('key').where(givenBy('', '')).limit(1),
  )
  const anyOther = prepareRead(database, (db) =>
    db
      .selectFrom('engine_model')
      .select('key')
      .where('account_id', '=', '')
      .where('model', '=', 'Session')
      .where('uid', '<>', '')
      .limit(1),
  )
  const change = <T>(work: (transaction: Transaction<Schema>) => Promise<T>) =>
    kysely.transaction().execute(work)
  return {
    async listSessions(accountId, limit) {
      const rows = await sessions(accountId, 'Session', clock.now(), limit)
      const newest = Map.groupBy(rows, ({ uid }) => uid ?? '')
      const listed = [...newest].flatMap(([uid, [row]]) =>
        row === undefined || uid === '' ? [] : [{ uid, key: row.key, lastUse: toLastUse(row) }],
      )
      return { sessions: listed, more: rows.length === limit }
    },
    async listGrants(accountId, limit, exceptClientId) {
      const rows = await grants(accountId, 'Grant', clock.now(), exceptClientId, limit)
      return rows.map((row) => ({
        id: row.key,
        clientId: row.client_id ?? '',
        payload: JSON.parse(row.payload) as Record<string, unknown>,
        lastUse: toLastUse(row),
      }))
    },
    async recordUse(used, use, notSince) {
      refuseUnstorable([used, use])
      await change(async (transaction) => {
        // A session may have several rows, and whoever ends one locks them in another order.
        await database.lock(transaction, async () => ({ ...shareModels, exclusive: [name(used)] }))
        const values = {
          id: used.id,
          at: use.at,
          from: use.from,
          agent: use.with ?? null,
          notSince,
        }
        await record[used.kind]({ database, transaction }, values)
      })
    },
    // Whoever ends much keeps everybody else waiting: for nothing, nobody waits.
    async endOtherSessions(accountId, keptUid) {
      if ((await anyOther(accountId, 'Session', keptUid, 1)).length === 0) return 0
      return change((transaction) =>
        endOtherSessions({ database, transaction, clock }, accountId, keptUid),
      )
    },
    async withdrawConsent(accountId, clientId) {
      if ((await anyOfClient(accountId, clientId, 1)).length === 0) return false
      await change((transaction) =>
        endConsent({ database, transaction, clock }, accountId, clientId),
      )
      return true
    },
  }
}

function name({ kind, id }: Used): string {
  return kind === 'session' ? nameSession(id) : nameGrant(id)
}

interface UseValues {
  readonly id: string
  readonly at: number
  readonly from: string
  readonly agent: string | null
  readonly notSince: number
}

function defineRecord(model: 'Session' | 'Grant', column: 'uid' | 'key') {
  return defineStatement<UseValues>((db, values) =>
    db
      .updateTable('engine_model')
      .set({ used_at: values.at, used_from: values.from, used_with: values.agent })
      .where('model', '=', model)
      .where(column, '=', values.id)
      .where(({ eb, or }) => or([eb('used_at', 'is', null), eb('used_at', '<=', values.notSince)])),
  )
}

const record = { session: defineRecord('Session', 'uid'), grant: defineRecord('Grant', 'key') }

function toLastUse(
  row: Pick<EngineModelTable, 'used_at' | 'used_from' | 'used_with'>,
): LastUse | undefined {
  if (row.used_at === null) return undefined
  return { at: row.used_at, from: row.used_from ?? '', with: row.used_with ?? undefined }
}
