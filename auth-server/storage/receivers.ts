import type { Selectable } from 'kysely'
import type { Receiver, ReceiverStore, UnusablePlaces } from '../revocation/receiver.ts'
import { defineStatement, prepareRead, refuseUnstorable, type Database } from './database.ts'
import type { Schema } from './schema.ts'

export function createReceiverStore(database: Database): ReceiverStore {
  const { kysely } = database
  const byName = prepareRead(database, (db) =>
    db
      .selectFrom('revocation_receiver')
      .selectAll()
      .where('client_id', '=', '')
      .where('receiver', '=', ''),
  )
  const seen = prepareRead(database, (db) =>
    db
      .selectFrom('revocation_receiver')
      .selectAll()
      .where('seen_at', '>=', 0)
      .orderBy('client_id')
      .orderBy('receiver')
      .limit(1),
  )
  const forgetBeyond = async (clientId: string, most: number) => {
    const ofClient = kysely.selectFrom('revocation_receiver').where('client_id', '=', clientId)
    const newest = ofClient
      .select('seen_at')
      .orderBy('seen_at', 'desc')
      .offset(most - 1)
      .limit(1)
    const beyond = ofClient.select('receiver').where('seen_at', '<', newest)
    await kysely
      .deleteFrom('revocation_receiver')
      .where('client_id', '=', clientId)
      // Another instance may be writing down right now that it is there.
      .where('receiver', 'in', database.skipsLocked ? beyond.forUpdate().skipLocked() : beyond)
      .execute()
  }
  return {
    async record(reports, mostOfOne) {
      if (reports.length === 0) return
      refuseUnstorable(reports)
      // In one order everywhere, or two instances could wait for each other.
      const sorted = reports.toSorted((one, other) => compare(nameOf(one), nameOf(other)))
      await kysely.transaction().execute(async (transaction) => {
        for (const { clientId, receiver, seenAt, place, unusable = [] } of sorted) {
          const values = { client_id: clientId, receiver, seen_at: seenAt }
          const scope = { database, transaction }
          if (place === undefined) await insertOrSee(scope, values)
          else await insertOrReport(scope, { ...values, place, unusable: JSON.stringify(unusable) })
        }
      })
      const clientIds = new Set(sorted.map(({ clientId }) => clientId))
      for (const clientId of clientIds) await forgetBeyond(clientId, mostOfOne)
    },
    async find(clientId, receiver) {
      const [row] = await byName(clientId, receiver)
      return row && toReceiver(row)
    },
    listSeen: async (since, limit) => (await seen(since, limit)).map(toReceiver),
    purge(before, limit) {
      const query = kysely.deleteFrom('revocation_receiver').where('seen_at', '<', before)
      const some = query.where(({ eb, refTuple, selectFrom }) =>
        eb(
          refTuple('client_id', 'receiver'),
          'in',
          selectFrom('revocation_receiver')
            .select(['client_id', 'receiver'])
            .where('seen_at', '<', before)
            .limit(limit)
            .$asTuple('client_id', 'receiver'),
        ),
      )
      return database.runAside(some.compile())
    },
  }
}

interface Seen {
  readonly client_id: string
  readonly receiver: string
  readonly seen_at: number
}

const insertOrSee = defineStatement<Seen>((db, values) =>
  db
    .insertInto('revocation_receiver')
    .values({
      client_id: values.client_id,
      receiver: values.receiver,
      place: 0,
      reported_at: values.seen_at,
      seen_at: values.seen_at,
      unusable: '[]',
    })
    .onConflict((conflict) =>
      conflict
        .columns(['client_id', 'receiver'])
        .doUpdateSet(({ ref }) => ({ seen_at: ref('excluded.seen_at') })),
    ),
)

interface Reported extends Seen {
  readonly place: number
  readonly unusable: string
}

const insertOrReport = defineStatement<Reported>((db, values) =>
  db
    .insertInto('revocation_receiver')
    .values({
      client_id: values.client_id,
      receiver: values.receiver,
      place: values.place,
      reported_at: values.seen_at,
      seen_at: values.seen_at,
      unusable: values.unusable,
    })
    .onConflict((conflict) =>
      conflict.columns(['client_id', 'receiver']).doUpdateSet(({ ref }) => ({
        place: ref('excluded.place'),
        reported_at: ref('excluded.reported_at'),
        seen_at: ref('excluded.seen_at'),
        unusable: ref('excluded.unusable'),
      })),
    ),
)

function nameOf({ clientId, receiver }: { clientId: string; receiver: string }): string {
  return `${clientId} ${receiver}`
}

function compare(one: string, other: string): number {
  return one < other ? -1 : 1
}

function toReceiver(row: Selectable<Schema['revocation_receiver']>): Receiver {
  return {
    clientId: row.client_id,
    receiver: row.receiver,
    place: row.place,
    unusable: JSON.parse(row.unusable) as UnusablePlaces[],
    reportedAt: row.reported_at,
    seenAt: row.seen_at,
  }
}
