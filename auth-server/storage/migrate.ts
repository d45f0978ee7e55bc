import { createHash } from 'node:crypto'
import { sql } from 'kysely'
import type { Clock } from '../clock.ts'
import { PortreeveError } from '../errors.ts'
import { initial } from './migrations/0001-initial.ts'
import { sessionHandover } from './migrations/0002-session-handover.ts'
import { revocation } from './migrations/0003-revocation.ts'
import { audit } from './migrations/0004-audit.ts'
import type { Migration } from './migrations/migration.ts'
import type { Database } from './database.ts'

const MIGRATIONS: readonly Migration[] = [initial, sessionHandover, revocation, audit]

/**
 * Brings the database forward in one transaction that holds the write lock from its start, so that
 * two servers starting at once do it once.
 *
 * Throws `misconfigured` if the database was made by a newer version, or by a step that differs.
 */
export async function migrate(database: Database, clock: Clock): Promise<void> {
  await database.kysely.transaction().execute(async (transaction) => {
    await database.lock(transaction, async () => ({ exclusive: ['migration'] }))
    await sql`create table if not exists schema_migration (
      name text primary key, checksum text not null, applied_at bigint not null
    )`.execute(transaction)
    const applied = await transaction.selectFrom('schema_migration').selectAll().execute()
    refuseUnknown(applied.map(({ name }) => name))
    for (const migration of MIGRATIONS) {
      const sum = checksum(migration)
      const known = applied.find(({ name }) => name === migration.name)
      if (known) {
        refuseChanged(migration.name, known.checksum, sum)
        continue
      }
      for (const statement of migration.statements) await sql.raw(statement).execute(transaction)
      await transaction
        .insertInto('schema_migration')
        .values({ name: migration.name, checksum: sum, applied_at: clock.now() })
        .execute()
    }
  })
}

function checksum({ statements }: Migration): string {
  const canonical = statements.map((statement) => statement.replaceAll(/\s+/g, ' ')).join(';')
  return createHash('sha256').update(canonical).digest('base64url')
}

function refuseUnknown(applied: readonly string[]): void {
  const unknown = applied.filter((name) => MIGRATIONS.every((step) => step.name !== name))
  if (unknown.length === 0) return
  throw new PortreeveError(
    'misconfigured',
    `The database was made by a newer version of Portreeve (it has ${unknown.join(', ')}). Run that version, or point at another database.`,
  )
}

function refuseChanged(name: string, expected: string, actual: string): void {
  if (expected === actual) return
  throw new PortreeveError(
    'misconfigured',
    `The database step ${name} differs from the one this database was made with. Run the version that made it.`,
    { cause: { expected, actual } },
  )
}
