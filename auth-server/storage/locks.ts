import type { Transaction } from 'kysely'
import type { ModelWrite } from '../provider/model-store.ts'
import type { Database, LockNames } from './database.ts'
import type { EngineModelTable, Schema } from './schema.ts'

/** All rows of the engine's models: changes share them, and whoever ends everything of somebody does not. */
const ALL = 'models'

/** Waits for every change that has begun, and lets none begin. */
export const lockModels: LockNames = { exclusive: [ALL] }

/** Keeps whoever ends everything of somebody waiting. */
export const shareModels: LockNames = { shared: [ALL], exclusive: [] }

/**
 * Waits until one change has to itself what it may touch: its own rows, and the whole grants and sessions
 * that they belong to. So no two transactions ever wait for each other's rows.
 */
export async function lockForChange(
  database: Database,
  transaction: Transaction<Schema>,
  writes: readonly ModelWrite[],
): Promise<void> {
  const shared = [ALL]
  const rows = writes.flatMap(nameRows)
  const families = writes.flatMap(nameFamilies)
  const unknown = writes.flatMap(describeRow)
  if (unknown.length === 0) {
    await database.lock(transaction, async () => ({ shared, exclusive: [...rows, ...families] }))
    return
  }
  // What a row belongs to is certain only once nobody else can write it.
  await database.lock(transaction, async () => ({ shared, exclusive: rows }))
  await database.lock(transaction, async () => {
    const found = await readFamilies(transaction, unknown)
    return { exclusive: [...families, ...found] }
  })
}

/** Rows come before families in the alphabet: they are waited for first. */
const nameRow = (key: string) => `entry ${key}`
export const nameGrant = (grantId: string) => `grant ${grantId}`
export const nameSession = (uid: string) => `session ${uid}`

type RowName = Pick<EngineModelTable, 'model' | 'key'>

/** Of each row, and of the row that it replaces. */
async function readFamilies(
  transaction: Transaction<Schema>,
  names: readonly RowName[],
): Promise<string[]> {
  const rows = await transaction
    .selectFrom('engine_model as row')
    .leftJoin('engine_model as old', (join) =>
      join.onRef('old.model', '=', 'row.model').onRef('old.key', '=', 'row.replaces'),
    )
    .select(['row.grant_id', 'row.uid', 'old.uid as replaced_uid'])
    .where(({ and, or }) =>
      or(names.map(({ model, key }) => and({ 'row.model': model, 'row.key': key }))),
    )
    .execute()
  return rows.flatMap(({ grant_id: grantId, uid, replaced_uid: replacedUid }) => [
    ...(grantId === null ? [] : [nameGrant(grantId)]),
    ...(uid === null ? [] : [nameSession(uid)]),
    ...(replacedUid === null ? [] : [nameSession(replacedUid)]),
  ])
}

/** The row whose family a write does not say itself. */
function describeRow(write: ModelWrite): RowName[] {
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
export function nameTouched(write: ModelWrite): string[] {
  return [...nameRows(write), ...nameFamilies(write)]
}

function nameRows(write: ModelWrite): string[] {
  return [
    ...('key' in write ? [nameRow(write.key)] : []),
    ...('replaces' in write && write.replaces !== undefined ? [nameRow(write.replaces)] : []),
  ]
}

function nameFamilies(write: ModelWrite): string[] {
  return [
    ...('grantId' in write && write.grantId !== undefined ? [nameGrant(write.grantId)] : []),
    ...('uid' in write && write.uid !== undefined ? [nameSession(write.uid)] : []),
    ...(write.kind === 'destroy' && write.model === 'Grant' ? [nameGrant(write.key)] : []),
  ]
}
