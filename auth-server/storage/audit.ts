import type { Selectable } from 'kysely'
import type { Actor, AuditEntry, AuditStore } from '../audit/audit.ts'
import { prepareRead, type Database } from './database.ts'
import type { Schema } from './schema.ts'

type Row = Schema['audit_entry']

/** Entries get their places one after the other, whichever process appends. */
const AUDIT_LOG = 'log audit_entry'

export function createAuditStore(database: Database): AuditStore {
  const { kysely } = database
  const inOrder = (db: typeof kysely) =>
    db.selectFrom('audit_entry').selectAll().orderBy('sequence')
  const all = prepareRead(database, (db) => inOrder(db).limit(1))
  const after = prepareRead(database, (db) => inOrder(db).where('sequence', '>', 0).limit(1))
  return {
    append: (extend) =>
      kysely.transaction().execute(async (transaction) => {
        await database.lock(transaction, async () => ({ exclusive: [AUDIT_LOG] }))
        const select = transaction.selectFrom('audit_entry').selectAll()
        const head = await select.orderBy('sequence', 'desc').limit(1).executeTakeFirst()
        const find = async (sequence: number) => {
          const row = await select.where('sequence', '=', sequence).executeTakeFirst()
          return row && toEntry(row)
        }
        const entries = await extend(head && toEntry(head), find)
        if (entries.length === 0) return
        await transaction.insertInto('audit_entry').values(entries.map(toRow)).execute()
      }),
    async list({ accountId, clientId, since }, limit) {
      const query = kysely
        .selectFrom('audit_entry')
        .selectAll()
        .$if(accountId !== undefined, (some) => some.where('account_id', '=', accountId ?? ''))
        .$if(clientId !== undefined, (some) => some.where('client_id', '=', clientId ?? ''))
        .$if(since !== undefined, (some) => some.where('happened_at', '>=', since ?? 0))
        .orderBy('sequence', 'desc')
        .limit(limit)
        .compile()
      return (await database.read(query, query.parameters)).map(toEntry)
    },
    async page(place, limit) {
      const rows = place === undefined ? await all(limit) : await after(place, limit)
      return rows.map(toEntry)
    },
  }
}

function toRow(entry: AuditEntry): Row {
  return {
    sequence: entry.sequence,
    happened_at: entry.at,
    event: entry.event,
    actor: entry.by,
    account_id: entry.accountId ?? null,
    client_id: entry.clientId ?? null,
    request_id: entry.requestId ?? null,
    facts: entry.facts,
    previous: entry.previous,
    hash: entry.hash,
  }
}

function toEntry(row: Selectable<Row>): AuditEntry {
  return {
    sequence: row.sequence,
    at: row.happened_at,
    event: row.event,
    by: row.actor as Actor,
    accountId: row.account_id ?? undefined,
    clientId: row.client_id ?? undefined,
    requestId: row.request_id ?? undefined,
    facts: row.facts,
    previous: row.previous,
    hash: row.hash,
  }
}
