import { sql } from 'kysely'
import type { Clock } from '../clock.ts'
import type { AccessStore, EndedAccess, EndedKind, SessionPart } from '../revocation/access.ts'
import { endApiKey, endEveryApiKey } from './api-keys.ts'
import { refuseUnstorable, type Database } from './database.ts'
import { dateEnds, endAccess, lockForEnd, type EndedThings } from './end-access.ts'
import { buryAll, endGrant, leaveSession, readClients, type Unit } from './models.ts'
import { queueLogouts } from './logouts.ts'
import { appendRevocations, readNewestPlace, TOMBSTONE_MILLISECONDS } from './revocations.ts'

type Counts = EndedThings & Pick<EndedAccess, 'parts'>

const NOTHING: Counts = { sessions: 0, grants: 0, apiKeys: 0 }
/** A statement that took more at once could take longer than it may. */
const ROWS_AT_ONCE = 5000
/** They give nobody access, and what was used once stays used. */
const KEPT_MODELS = ['Interaction', 'PushedAuthorizationRequest', 'ReplayDetection']

export function createAccessStore(database: Database, clock: Clock): AccessStore {
  return {
    async end(kind, subject) {
      refuseUnstorable([{ subject }])
      // Before anybody has to wait: whoever names a session of one client has it from a token.
      const sessions = kind === 'session' ? await findSessions(database, subject) : []
      return database.kysely.transaction().execute(async (transaction) => {
        const unit = { database, transaction, clock }
        await lockForEnd(unit)
        const before = await readNewestPlace(unit)
        const ended = await endOne(unit, kind, subject, sessions)
        const entry = await readEntry(unit, kind, subject)
        // What ends once may have ended before.
        return { ...ended, ...entry, firstPlace: Math.min(before + 1, entry.place) }
      })
    },
    async findGrant(keys) {
      const query = database.kysely.selectFrom('engine_model').select('grant_id')
      const found = query.where('key', 'in', keys).where('grant_id', 'is not', null).limit(1)
      return (await found.executeTakeFirst())?.grant_id ?? undefined
    },
  }
}

async function endOne(
  unit: Unit,
  kind: EndedKind,
  subject: string,
  sessions: readonly NamedSession[],
): Promise<Counts> {
  switch (kind) {
    case 'token':
      await append(unit, kind, subject)
      return NOTHING
    case 'grant': {
      const isApiKey = await endApiKey(unit.transaction, subject, unit.clock.now())
      const rows = await endGrant(unit, subject, 'operator')
      return { ...NOTHING, grants: rows > 0 ? 1 : 0, apiKeys: isApiKey ? 1 : 0 }
    }
    case 'session':
      for (const { uid, clientId } of sessions) {
        await leaveSession(unit, { kind: 'leave-session', uid, clientId, reason: 'operator' })
      }
      await append(unit, kind, subject)
      return {
        ...NOTHING,
        sessions: sessions.length,
        parts: sessions.map(({ clientId, accountId }) => ({ clientId, accountId })),
      }
    case 'user':
    case 'client':
      return endAccess(unit, kind, subject, 'operator')
    case 'all':
      return endEverything(unit)
  }
}

/** The newest about it. */
async function readEntry(
  { transaction }: Unit,
  kind: EndedKind,
  subject: string,
): Promise<Pick<EndedAccess, 'place' | 'revokedAt'>> {
  const { sequence, revoked_at } = await transaction
    .selectFrom('revocation')
    .select(['sequence', 'revoked_at'])
    .where('kind', '=', kind)
    .where('subject', '=', subject)
    .orderBy('sequence', 'desc')
    .limit(1)
    .executeTakeFirstOrThrow()
  return { place: sequence, revokedAt: revoked_at }
}

async function append(unit: Unit, kind: EndedKind, subject: string): Promise<void> {
  const { database, transaction } = unit
  const entry = { kind, subject, reason: 'operator' } as const
  await appendRevocations(database, transaction, [entry])
}

interface NamedSession extends SessionPart {
  readonly uid: string
}

/** There is no index of them: this reads every session, for an operator who has only a token. */
async function findSessions({ kysely }: Database, sid: string): Promise<readonly NamedSession[]> {
  const rows = await kysely
    .selectFrom('engine_model')
    .select(['uid', 'payload'])
    .where('model', '=', 'Session')
    .where('payload', 'like', `%${JSON.stringify(sid)}%`)
    .limit(ROWS_AT_ONCE)
    .execute()
  const found = rows.flatMap(({ uid, payload }) =>
    readClients(payload)
      .filter((session) => session.sid === sid)
      .map(({ clientId, accountId }) => ({ uid: uid ?? '', clientId, accountId })),
  )
  return [...new Map(found.map((one) => [`${one.uid} ${one.clientId}`, one])).values()]
}

/**
 * One entry is enough for all that nobody looks up. What is looked up is removed, and what a request that
 * has begun would still write about a session is lost with it: a million entries would keep every API
 * busy just when it matters.
 */
async function endEverything(unit: Unit): Promise<Counts> {
  const { transaction } = unit
  const at = await lockForEnd(unit)
  const sessions = await endEverySession(unit)
  const grants = await countGrants(unit)
  for (let count = ROWS_AT_ONCE; count === ROWS_AT_ONCE;) {
    const { numAffectedRows = 0n } = await sql`
      delete from engine_model where (model, key) in (
        select model, key from engine_model
        where model not in (${sql.join(KEPT_MODELS)})
        limit ${ROWS_AT_ONCE}
      )`.execute(transaction)
    count = Number(numAffectedRows)
  }
  const apiKeys = await endEveryApiKey(transaction, at)
  await dateEnds(unit, at).execute()
  await append(unit, 'all', '')
  return { sessions, grants, apiKeys }
}

async function countGrants({ transaction }: Unit): Promise<number> {
  const { count } = await transaction
    .selectFrom('engine_model')
    .select(({ fn }) => fn.countAll().as('count'))
    .where('model', '=', 'Grant')
    .executeTakeFirstOrThrow()
  return Number(count)
}

/** Buries them, and tells the clients that want to know. Answers how many there were. */
async function endEverySession(unit: Unit): Promise<number> {
  const { transaction, clock } = unit
  const ended = new Set<string>()
  for (let count = ROWS_AT_ONCE; count === ROWS_AT_ONCE;) {
    const rows = await transaction
      .deleteFrom('engine_model')
      .where('model', '=', 'Session')
      .where('key', 'in', (where) =>
        where
          .selectFrom('engine_model')
          .select('key')
          .where('model', '=', 'Session')
          .limit(ROWS_AT_ONCE),
      )
      .returning(['key', 'uid', 'expires_at', 'payload', 'account_id'])
      .execute()
    count = rows.length
    const now = clock.now()
    await buryAll(
      unit,
      rows.flatMap((row) => describeTombstones(row, now)),
    )
    const told = rows.flatMap(({ payload }) => readClients(payload))
    const sessions = new Map(told.map((session) => [session.sid, session]))
    await queueLogouts(unit, [...sessions.values()], now)
    for (const { uid, key, account_id: accountId } of rows) {
      if (accountId !== null) ended.add(uid ?? key)
    }
  }
  return ended.size
}

interface Buried {
  readonly key: string
  readonly uid: string | null
  readonly expires_at: number | null
}

function describeTombstones({ key, uid, expires_at }: Buried, now: number) {
  const until = Math.max(expires_at ?? 0, now) + TOMBSTONE_MILLISECONDS
  const own = { kind: 'Session', key, expires_at: until }
  return uid === null ? [own] : [own, { kind: 'Session uid', key: uid, expires_at: until }]
}
