import { createHash } from 'node:crypto'
import { sql } from 'kysely'
import type { Clock } from '../clock.ts'
import { PortreeveError } from '../errors.ts'
import { initial } from './migrations/0001-initial.ts'
import { sessionHandover } from './migrations/0002-session-handover.ts'
import { revocation } from './migrations/0003-revocation.ts'
import { audit } from './migrations/0004-audit.ts'
import { apiKeys } from './migrations/0005-api-keys.ts'
import { logoutDelivery } from './migrations/0006-logout-delivery.ts'
import { registration } from './migrations/0007-registration.ts'
import { revocationFeed } from './migrations/0008-revocation-feed.ts'
import { lastUse } from './migrations/0009-last-use.ts'
import { unusableRevocations } from './migrations/0010-unusable-revocations.ts'
import type { Migration } from './migrations/migration.ts'
import { prepareRead, type Database } from './database.ts'
import type { Schema } from './schema.ts'

export const MIGRATIONS: readonly Migration[] = [
  initial,
  sessionHandover,
  revocation,
  audit,
  apiKeys,
  logoutDelivery,
  registration,
  revocationFeed,
  lastUse,
  unusableRevocations,
]

type AppliedStep = Pick<Schema['schema_migration'], 'name' | 'checksum'>

/**
 * Brings the database forward in one transaction that holds the write lock from its start, so that of
 * servers starting at once one does it, and the others wait. A database that is up to date is read and
 * no more.
 *
 * `steps`: those of another version, for tests. Throws `misconfigured` if the database was made by a
 * newer version, or by a step that differs.
 */
export async function migrate(database: Database, clock: Clock, steps = MIGRATIONS): Promise<void> {
  if (await isCurrent(database, steps)) return
  await database.kysely.transaction().execute(async (transaction) => {
    await database.lock(transaction, async () => ({ exclusive: ['migration'] }))
    await sql`create table if not exists schema_migration (
      name text primary key, checksum text not null, applied_at bigint not null
    )`.execute(transaction)
    const applied = await transaction.selectFrom('schema_migration').selectAll().execute()
    checkSteps(applied, 'The database', steps)
    for (const migration of listMissing(applied, steps)) {
      for (const statement of migration.statements) await sql.raw(statement).execute(transaction)
      await transaction
        .insertInto('schema_migration')
        .values({
          name: migration.name,
          checksum: checksum(migration),
          applied_at: clock.now(),
        })
        .execute()
    }
  })
}

async function isCurrent(database: Database, steps: readonly Migration[]): Promise<boolean> {
  const read = prepareRead(database, (db) =>
    db.selectFrom('schema_migration').select(['name', 'checksum']),
  )
  // A new database has no such table; whatever else is the matter, the transaction meets it, too.
  const applied = await read().catch((): AppliedStep[] => [])
  checkSteps(applied, 'The database', steps)
  return listMissing(applied, steps).length === 0
}

function listMissing(applied: readonly AppliedStep[], steps: readonly Migration[]): Migration[] {
  return steps.filter((step) => applied.every(({ name }) => name !== step.name))
}

/**
 * Throws `misconfigured` unless this version knows every step that was `applied`, as it was applied.
 * `what` is what they were applied to.
 */
export function checkSteps(
  applied: readonly AppliedStep[],
  what: string,
  steps: readonly Migration[] = MIGRATIONS,
): void {
  const unknown = applied.filter(({ name }) => steps.every((step) => step.name !== name))
  if (unknown.length > 0) throw refuseNewer(unknown, what)
  for (const step of steps) {
    const known = applied.find(({ name }) => name === step.name)
    if (known) refuseChanged(step.name, known.checksum, checksum(step), what)
  }
}

function checksum({ statements }: Migration): string {
  const canonical = statements.map((statement) => statement.replaceAll(/\s+/g, ' ')).join(';')
  return createHash('sha256').update(canonical).digest('base64url')
}

function refuseNewer(unknown: readonly AppliedStep[], what: string): PortreeveError {
  const names = unknown.map(({ name }) => name).join(', ')
  return new PortreeveError(
    'misconfigured',
    `${what} was made by a newer version of Portreeve (it has ${names}). Run that version, or point at another database.`,
  )
}

function refuseChanged(name: string, expected: string, actual: string, what: string): void {
  if (expected === actual) return
  throw new PortreeveError(
    'misconfigured',
    `${what} was made by another version of Portreeve: its step ${name} differs. Run the version that made it.`,
    { cause: { expected, actual } },
  )
}
