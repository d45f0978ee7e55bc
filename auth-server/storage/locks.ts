import type { Transaction } from 'kysely'
import type { ModelWrite } from '../provider/model-store.ts'
import type { LockNames } from './database.ts'
import type { EngineModelTable, Schema } from './schema.ts'

/**
 * What one change may touch beyond its own rows: whole grants and sessions, which it has to itself.
 * The accounts and clients that they belong to it shares with other changes, but not with whoever ends
 * everything of one of them.
 */
export async function listLocks(
  transaction: Transaction<Schema>,
  writes: readonly ModelWrite[],
): Promise<LockNames> {
  const conditions = writes.flatMap(describeRows)
  const rows =
    conditions.length === 0
      ? []
      : await transaction
          .selectFrom('engine_model')
          .select(['grant_id', 'uid', 'account_id', 'client_id'])
          .where(({ and, or }) => or(conditions.map((condition) => and(condition))))
          .execute()
  return {
    shared: [...writes.flatMap(nameOwners), ...rows.flatMap(nameRowOwners)],
    exclusive: [...writes.flatMap(nameFamilies), ...rows.flatMap(nameRowFamilies)],
  }
}

export const nameAccount = (id: string) => `account ${id}`
export const nameClient = (id: string) => `client ${id}`
export const nameSession = (uid: string) => `session ${uid}`
const nameGrant = (grantId: string) => `grant ${grantId}`
const nameRow = (key: string) => `row ${key}`

type Condition = Partial<Pick<EngineModelTable, 'model' | 'key' | 'grant_id'>>

/** The rows of a write that does not say itself what they belong to. */
function describeRows(write: ModelWrite): Condition[] {
  switch (write.kind) {
    case 'consume':
    case 'destroy':
      return [{ model: write.model, key: write.key }]
    case 'settle':
      return [{ model: 'Session', key: write.key }]
    case 'revoke-grant':
      return [{ grant_id: write.grantId }]
    default:
      return []
  }
}

function nameOwners(write: ModelWrite): string[] {
  if (write.kind !== 'put' && write.kind !== 'insert') return []
  return [
    ...(write.accountId === undefined ? [] : [nameAccount(write.accountId)]),
    ...(write.clientId === undefined ? [] : [nameClient(write.clientId)]),
  ]
}

function nameRowOwners(row: Pick<EngineModelTable, 'account_id' | 'client_id'>): string[] {
  return [
    ...(row.account_id === null ? [] : [nameAccount(row.account_id)]),
    ...(row.client_id === null ? [] : [nameClient(row.client_id)]),
  ]
}

function nameFamilies(write: ModelWrite): string[] {
  return [
    ...('grantId' in write && write.grantId !== undefined ? [nameGrant(write.grantId)] : []),
    ...('uid' in write && write.uid !== undefined ? [nameSession(write.uid)] : []),
    ...('key' in write ? [nameRow(write.key)] : []),
    ...(write.kind === 'destroy' && write.model === 'Grant' ? [nameGrant(write.key)] : []),
  ]
}

function nameRowFamilies(row: Pick<EngineModelTable, 'grant_id' | 'uid'>): string[] {
  return [
    ...(row.grant_id === null ? [] : [nameGrant(row.grant_id)]),
    ...(row.uid === null ? [] : [nameSession(row.uid)]),
  ]
}
