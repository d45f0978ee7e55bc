import type { Transaction } from 'kysely'
import type { ModelWrite } from '../provider/model-store.ts'
import type { LockNames } from './database.ts'
import type { EngineModelTable, Schema } from './schema.ts'

/** All rows of the engine's models: changes share them, and whoever ends everything of somebody does not. */
const ALL = 'models'

/** Waits for every change that has begun, and lets none begin. */
export const lockModels: LockNames = { exclusive: [ALL] }

/**
 * What one change may touch beyond its own rows: whole grants and sessions. It has them to itself, so
 * that no two transactions ever wait for each other's rows.
 */
export async function listLocks(
  transaction: Transaction<Schema>,
  writes: readonly ModelWrite[],
): Promise<LockNames> {
  const rows = await readRows(transaction, writes)
  return {
    shared: [ALL],
    exclusive: [...writes.flatMap(nameFamilies), ...rows.flatMap(nameRowFamilies)],
  }
}

const nameGrant = (grantId: string) => `grant ${grantId}`
const nameSession = (uid: string) => `session ${uid}`
const nameRow = (key: string) => `row ${key}`

type FoundRow = Pick<EngineModelTable, 'key' | 'grant_id' | 'uid' | 'replaces'>

/** The rows of those writes that do not say themselves what they belong to. */
async function readRows(
  transaction: Transaction<Schema>,
  writes: readonly ModelWrite[],
): Promise<FoundRow[]> {
  const rows = writes.flatMap(describeRow)
  if (rows.length === 0) return []
  return transaction
    .selectFrom('engine_model')
    .select(['key', 'grant_id', 'uid', 'replaces'])
    .where(({ and, or }) => or(rows.map((row) => and(row))))
    .execute()
}

function describeRow(write: ModelWrite): Pick<EngineModelTable, 'model' | 'key'>[] {
  switch (write.kind) {
    case 'consume':
    case 'destroy':
      return [{ model: write.model, key: write.key }]
    case 'settle':
      return [{ model: 'Session', key: write.key }]
    case 'put':
      return write.replaces === undefined ? [] : [{ model: 'Session', key: write.replaces }]
    default:
      return []
  }
}

/** What a write says itself that it may touch. */
export function nameFamilies(write: ModelWrite): string[] {
  return [
    ...('grantId' in write && write.grantId !== undefined ? [nameGrant(write.grantId)] : []),
    ...('uid' in write && write.uid !== undefined ? [nameSession(write.uid)] : []),
    ...('key' in write ? [nameRow(write.key)] : []),
    ...('replaces' in write && write.replaces !== undefined ? [nameRow(write.replaces)] : []),
    ...(write.kind === 'destroy' && write.model === 'Grant' ? [nameGrant(write.key)] : []),
  ]
}

function nameRowFamilies(row: FoundRow): string[] {
  return [
    ...(row.grant_id === null ? [] : [nameGrant(row.grant_id)]),
    ...(row.uid === null ? [] : [nameSession(row.uid)]),
    ...(row.replaces === null ? [] : [nameRow(row.replaces)]),
  ]
}
