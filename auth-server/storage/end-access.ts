import { sql, type RawBuilder, type SqlBool } from 'kysely'
import type { EndedAccess } from '../revocation/access.ts'
import type { RevocationReason } from '../revocation/revocation.ts'
import { endApiKeys } from './api-keys.ts'
import { lockRevocations, refuseUnstorable } from './database.ts'
import { lockModels } from './locks.ts'
import { destroy, endSessions, leaveRows, readClients, type Unit } from './models.ts'
import { appendRevocations, readNewestPlace, TOMBSTONE_MILLISECONDS } from './revocations.ts'

/** How much of it went. */
export type EndedThings = Pick<EndedAccess, 'sessions' | 'grants' | 'apiKeys'>

/** A statement that ended more at once could take longer than it may. */
const GRANTS_AT_ONCE = 5000

/**
 * Ends the grants of a person or a client, and all that hangs on them. Whatever they are given afterwards
 * is good, also in the same second.
 */
export async function endGrants(
  unit: Unit,
  kind: 'user' | 'client',
  id: string,
  reason: RevocationReason,
): Promise<void> {
  const { transaction } = unit
  const now = await lockForEnd(unit)
  const column = COLUMNS[kind]
  await revokeGrantsOf(unit, now, sql`${sql.ref(column)} = ${id}`, reason)
  await transaction.deleteFrom('engine_model').where(column, '=', id).execute()
}

/**
 * Ends what a person has given to a client: its grants, the offline ones too, and all that hangs on them,
 * what waits to be redeemed or answered, and the client's part in the person's sessions, which it is told
 * of if it wants to be.
 */
export async function endConsent(unit: Unit, accountId: string, clientId: string): Promise<void> {
  const { transaction } = unit
  const now = await lockForEnd(unit)
  const isOfBoth = givenBy(accountId, clientId)
  await revokeGrantsOf(unit, now, isOfBoth, 'consent_withdrawn')
  const sessions = await transaction
    .selectFrom('engine_model')
    .select(['key', 'payload'])
    .where('account_id', '=', accountId)
    .where('model', '=', 'Session')
    .execute()
  const joined = sessions.filter(({ payload }) =>
    readClients(payload).some((session) => session.clientId === clientId),
  )
  // At once: there may be very many of them, and everybody else waits.
  await leaveRows(unit, joined, clientId, 'consent_withdrawn')
  await transaction.deleteFrom('engine_model').where(isOfBoth).execute()
}

/**
 * What an account has given to a client, found by the account: SQLite would go through all that the client
 * has from anybody.
 */
export function givenBy(accountId: string, clientId: string): RawBuilder<SqlBool> {
  return sql<SqlBool>`account_id = ${accountId} and coalesce(client_id, '') = ${clientId}`
}

/** Ends every session of a person but one. Answers how many it were. */
export async function endOtherSessions(
  unit: Unit,
  accountId: string,
  keptUid: string,
): Promise<number> {
  await lockForEnd(unit)
  return endSessionsOf(unit, 'account_id', accountId, 'signed_out', keptUid)
}

const COLUMNS = { user: 'account_id', client: 'client_id' } as const

/** Answers the time (ms) of the end. */
export async function lockForEnd({
  database,
  transaction,
}: Pick<Unit, 'database' | 'transaction'>): Promise<number> {
  await database.lock(transaction, async () => lockModels)
  return lockRevocations(database, transaction)
}

/**
 * Ends everything that a person or a client was issued until now, wherever it hangs: its sessions, its
 * grants and all that hangs on them, its API keys, and what nobody looks up. An account says from then on
 * when that was.
 */
export async function endAccess(
  unit: Unit,
  kind: 'user' | 'client',
  id: string,
  reason: RevocationReason,
): Promise<EndedThings> {
  refuseUnstorable([{ id }])
  const { database, transaction } = unit
  const column = COLUMNS[kind]
  const now = await lockForEnd(unit)
  const grants = await revokeGrantsOf(unit, now, sql`${sql.ref(column)} = ${id}`, reason)
  const sessions = await endSessionsOf(unit, column, id, reason)
  await transaction.deleteFrom('engine_model').where(column, '=', id).execute()
  const keys = kind === 'user' ? await endApiKeys(transaction, id, now) : []
  // A key that was being redeemed meanwhile may come to a token that is younger than the end.
  const ended = [
    ...keys.map((key) => ({ kind: 'grant', subject: key }) as const),
    { kind, subject: id },
  ]
  const entries = ended.map((one) => ({ ...one, reason }))
  await appendRevocations(database, transaction, entries)
  if (kind === 'user') await dateEnds(unit, now).where('id', '=', id).execute()
  return { sessions, grants, apiKeys: keys.length }
}

/**
 * Whoever has signed in until now has to do so again. Sign-ins know whole seconds, and one after an end is
 * dated in the next: the end that follows says no earlier one, or it would spare that.
 */
export function dateEnds({ transaction }: Pick<Unit, 'transaction'>, now: number) {
  const second = now - (now % 1000)
  return transaction.updateTable('account').set({
    access_ended_at: sql<number>`case
      when access_ended_at >= ${second} then (access_ended_at / 1000 + 1) * 1000
      else cast(${now} as bigint)
    end`,
  })
}

async function endSessionsOf(
  unit: Unit,
  column: 'account_id' | 'client_id',
  id: string,
  reason: RevocationReason,
  keptUid?: string,
): Promise<number> {
  const sessions = await unit.transaction
    .selectFrom('engine_model')
    .select(['key', 'uid'])
    .where(column, '=', id)
    .where('model', '=', 'Session')
    .execute()
  const uids = new Set(sessions.flatMap(({ uid }) => uid ?? []))
  if (keptUid !== undefined) uids.delete(keptUid)
  await endSessions(unit, [...uids], reason)
  const unnamed = sessions.filter(({ uid }) => uid === null)
  for (const { key } of unnamed) await destroy(unit, 'Session', key)
  return uids.size + unnamed.length
}

/** There may be very many of them: a statement for each would hold up everybody else. */
async function revokeGrantsOf(
  unit: Unit,
  now: number,
  isMeant: RawBuilder<unknown>,
  reason: RevocationReason,
): Promise<number> {
  const { transaction } = unit
  let ended = 0
  for (let count = GRANTS_AT_ONCE; count === GRANTS_AT_ONCE;) {
    const place = await readNewestPlace(unit)
    const { numAffectedRows } = await sql`
      insert into revocation (sequence, kind, subject, reason, revoked_at, expires_at)
      select
        cast(${place} as bigint) + row_number() over (order by grant_id),
        'grant',
        grant_id,
        cast(${reason} as text),
        cast(${now} as bigint),
        cast(${now + TOMBSTONE_MILLISECONDS} as bigint)
      from (
        select distinct grant_id
        from engine_model
        where grant_id in (select grant_id from engine_model where ${isMeant})
          and not exists (select 1 from revocation where kind = 'grant' and subject = grant_id)
        order by grant_id
        limit ${GRANTS_AT_ONCE}
      ) as granted`.execute(transaction)
    await transaction
      .deleteFrom('engine_model')
      .where('grant_id', 'in', (where) =>
        where
          .selectFrom('revocation')
          .select('subject')
          .where('kind', '=', 'grant')
          .where('sequence', '>', place),
      )
      .execute()
    count = Number(numAffectedRows)
    ended += count
  }
  return ended
}
