import { randomBytes } from 'node:crypto'
import type { Selectable, Transaction } from 'kysely'
import type {
  NewRevocation,
  Revocation,
  RevocationReason,
  RevocationStore,
  RevokedKind,
} from '../revocation/revocation.ts'
import {
  defineStatement,
  inParts,
  lockRevocations,
  prepareRead,
  refuseUnstorable,
  type Database,
  type Scope,
} from './database.ts'
import type { Schema } from './schema.ts'

/**
 * What has ended is remembered for so long. No access token lives longer than half of it
 * (`LONGEST_TOKEN_SECONDS`), nor does any request that might still write something for it. Beyond that
 * every API that follows the log would keep what concerns nothing any more.
 */
export const TOMBSTONE_MILLISECONDS = 2 * 86_400_000

/** Where it does not say when it concerns nothing any more, it is kept for as long as tombstones are. */
export type Entry = Omit<NewRevocation, 'expiresAt'> & Partial<Pick<NewRevocation, 'expiresAt'>>

export function createRevocationStore(database: Database): RevocationStore {
  const { kysely } = database
  const bySubject = prepareRead(database, (db) =>
    db
      .selectFrom('revocation')
      .select('sequence')
      .where('kind', '=', '')
      .where('subject', '=', '')
      .where('revoked_at', '>=', 0)
      .limit(1),
  )
  const after = prepareRead(database, (db) =>
    db.selectFrom('revocation').selectAll().where('sequence', '>', 0).orderBy('sequence').limit(1),
  )
  const newest = prepareRead(database, (db) =>
    db.selectFrom('revocation').select('sequence').orderBy('sequence', 'desc').limit(1),
  )
  // Grouped, because a newest one that is looked for backwards is looked for in all of the log.
  const ends = prepareRead(database, (db) =>
    db
      .selectFrom('revocation')
      .select(({ fn }) => ['kind', fn.max('sequence').as('sequence')])
      .where(({ or, and }) => or(NO_SUBJECTS.map(([kind, subject]) => and({ kind, subject }))))
      .where(({ eb, or }) =>
        or([eb('kind', 'not in', REPEATABLE), eb('revoked_at', '>=', 0), eb('sequence', '>', 0)]),
      )
      .groupBy('kind'),
  )
  const name = prepareRead(database, (db) => db.selectFrom('revocation_feed').select('id'))
  return {
    append: (entries) =>
      kysely
        .transaction()
        .execute((transaction) => appendRevocations(database, transaction, entries)),
    list: async (place, limit) => (await after(place, limit)).map(toRevocation),
    isRevoked: async (kind, subject, issuedAt = 0) =>
      (await bySubject(kind, subject, issuedAt, 1)).length > 0,
    mark: () => database.markRevocations(),
    async findEnd(subjects, { issuedAt, since = Number.MAX_SAFE_INTEGER }) {
      if (subjects.length > NO_SUBJECTS.length) throw new TypeError('too many subjects at once')
      const named = [...subjects, ...NO_SUBJECTS.slice(subjects.length)].flat()
      const found = await ends(...named, ...REPEATABLE, issuedAt, since)
      const [last] = found.toSorted((one, two) => two.sequence - one.sequence)
      return last && { sequence: last.sequence, kind: last.kind as RevokedKind }
    },
    head: async () => (await newest(1))[0]?.sequence ?? 0,
    feedId: async () => (await name())[0]?.id ?? (await nameFeed(database)),
    renameFeed: (known) =>
      kysely.transaction().execute(async (transaction) => {
        const renaming = transaction.updateTable('revocation_feed').where('id', '=', known)
        const { numUpdatedRows } = await renaming.set({ id: makeFeedId() }).executeTakeFirst()
        // Places that are of the log before mean nothing in this one.
        if (numUpdatedRows > 0n) {
          const nowhere = { place: 0, unusable: '[]' }
          await transaction.updateTable('revocation_receiver').set(nowhere).execute()
        }
      }),
    listen: (wake) => database.listen(wake),
    async purge(until, limit) {
      // What an instance takes for long ago may be to come: its clock may be days ahead.
      const { now } = await database.markRevocations()
      const before = Math.min(until, now)
      const query = kysely.deleteFrom('revocation').where('sequence', 'in', (where) => {
        const expired = where
          .selectFrom('revocation')
          .select('sequence')
          .where('expires_at', '<', before)
          // The newest says which place comes next.
          .where(
            'sequence',
            '<',
            where.selectFrom('revocation').select(({ fn }) => fn.max('sequence').as('newest')),
          )
          .orderBy('expires_at')
          .limit(limit)
        return database.skipsLocked ? expired.forUpdate().skipLocked() : expired
      })
      return database.runAside(query.compile())
    },
  }
}

/**
 * Writes entries at the end of the log. What ends once (a token, a grant, a session, a key) is written
 * once.
 */
export async function appendRevocations(
  database: Database,
  transaction: Transaction<Schema>,
  entries: readonly Entry[],
): Promise<void> {
  if (entries.length === 0) return
  refuseUnstorable(entries)
  const revokedAt = await lockRevocations(database, transaction)
  const scope = { database, transaction }
  const newest = await readNewestPlace(scope)
  const rows = (await omitKnown(scope, entries)).map((entry, index) => ({
    sequence: newest + 1 + index,
    kind: entry.kind,
    subject: entry.subject,
    reason: entry.reason,
    revoked_at: revokedAt,
    // By the clock of the database: that of an instance may be days behind.
    expires_at: entry.expiresAt ?? revokedAt + TOMBSTONE_MILLISECONDS,
  }))
  const [only, ...others] = rows
  if (only && others.length === 0) await insertEntry(scope, only)
  else {
    for (const some of inParts(rows)) {
      await transaction.insertInto('revocation').values(some).execute()
    }
  }
}

/** Without what ends once and has ended, or is in it a second time. */
async function omitKnown(scope: Scope, entries: readonly Entry[]): Promise<readonly Entry[]> {
  const once = entries.filter(({ kind }) => !REPEATABLE.includes(kind))
  const byKind = Map.groupBy(once, ({ kind }) => kind)
  const known = new Set<string>()
  for (const [kind, some] of byKind) {
    const subjects = some.map(({ subject }) => subject)
    for (const subject of await listRevoked(scope, kind, subjects)) known.add(`${kind} ${subject}`)
  }
  return entries.filter(({ kind, subject }) => {
    const name = `${kind} ${subject}`
    if (REPEATABLE.includes(kind)) return true
    if (known.has(name)) return false
    known.add(name)
    return true
  })
}

/** Later tokens of these may be good, so access can be taken away from them again and again. */
const REPEATABLE: readonly RevokedKind[] = ['user', 'client', 'all']

/** What takes the place of subjects that a token has not. */
const NO_SUBJECTS: readonly (readonly [kind: string, subject: string])[] = Array.from(
  { length: 8 },
  () => ['', ''],
)

const insertEntry = defineStatement<Schema['revocation']>((db, values) =>
  db.insertInto('revocation').values({
    sequence: values.sequence,
    kind: values.kind,
    subject: values.subject,
    reason: values.reason,
    revoked_at: values.revoked_at,
    expires_at: values.expires_at,
  }),
)

const selectNewest = defineStatement((db) =>
  db.selectFrom('revocation').select(({ fn }) => fn.max('sequence').as('newest')),
)

/** Inside of a transaction that has locked the log. */
export async function readNewestPlace(scope: Scope): Promise<number> {
  const { rows } = await selectNewest(scope, {})
  return rows[0]?.newest ?? 0
}

const selectRevoked = defineStatement<{ kind: RevokedKind; subject: string }>((db, values) =>
  db
    .selectFrom('revocation')
    .select('sequence')
    .where('kind', '=', values.kind)
    .where('subject', '=', values.subject)
    .limit(1),
)

/** Inside of a transaction, which may have written the entry itself. */
export async function isRevoked(
  scope: Scope,
  kind: RevokedKind,
  subject: string,
): Promise<boolean> {
  const { rows } = await selectRevoked(scope, { kind, subject })
  return rows.length > 0
}

/** Which of them are revoked. Inside of a transaction, which may have written the entries itself. */
export async function listRevoked(
  scope: Scope,
  kind: RevokedKind,
  subjects: readonly string[],
): Promise<ReadonlySet<string>> {
  const [first, ...others] = subjects
  if (first === undefined) return new Set()
  if (others.length === 0) return new Set((await isRevoked(scope, kind, first)) ? [first] : [])
  const found = new Set<string>()
  for (const some of inParts(subjects)) {
    const query = scope.transaction.selectFrom('revocation').select('subject')
    const rows = await query.where('kind', '=', kind).where('subject', 'in', some).execute()
    for (const { subject } of rows) found.add(subject)
  }
  return found
}

const FEED_ID_BYTES = 16

function makeFeedId(): string {
  return randomBytes(FEED_ID_BYTES).toString('base64url')
}

/** Of several who do so at once, one gives the name. */
async function nameFeed({ kysely }: Database): Promise<string> {
  await kysely
    .insertInto('revocation_feed')
    .values({ single: 1, id: makeFeedId() })
    .onConflict((conflict) => conflict.doNothing())
    .execute()
  const { id } = await kysely.selectFrom('revocation_feed').select('id').executeTakeFirstOrThrow()
  return id
}

function toRevocation(row: Selectable<Schema['revocation']>): Revocation {
  return {
    sequence: row.sequence,
    kind: row.kind as RevokedKind,
    subject: row.subject,
    reason: row.reason as RevocationReason,
    revokedAt: row.revoked_at,
    expiresAt: row.expires_at,
  }
}
