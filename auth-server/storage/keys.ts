import { sql, type Selectable, type Transaction } from 'kysely'
import type { SigningAlgorithm } from '../config/schema.ts'
import type {
  KeyEnd,
  KeyState,
  KeyStore,
  PublicJwk,
  Resealing,
  Rotation,
  StoredKey,
} from '../keys/keyset.ts'
import { prepareRead, type Database } from './database.ts'
import { appendRevocations } from './revocations.ts'
import type { Schema } from './schema.ts'

/** In the place of a private half that is erased. */
const ERASED = ''
/** As much of a sealed private half as tells it from every other: its version and its nonce. */
const SEAL_MARK = sql<string>`substr(sealed_private_jwk, 1, 19)`

export function createKeyStore(database: Database): KeyStore {
  const { kysely } = database
  const all = prepareRead(database, (db) => db.selectFrom('signing_key').selectAll())
  const states = prepareRead(database, (db) =>
    db
      .selectFrom('signing_key')
      .select(['kid', 'algorithm', 'announced_at', 'active_at', 'retired_at', 'purged_at'])
      .select(SEAL_MARK.as('seal')),
  )
  /** Whoever changes keys has them to themselves. */
  const change = <T>(work: (transaction: Transaction<Schema>) => Promise<T>): Promise<T> =>
    kysely.transaction().execute(async (transaction) => {
      await database.lock(transaction, async () => ({ exclusive: ['keys'] }))
      return work(transaction)
    })
  return {
    list: async () => (await all()).map(toKey),
    listStates: async () => (await states()).map(toState),
    insertIfNone: (keys, seen = []) =>
      change(async (transaction) => {
        const present = await transaction
          .selectFrom('signing_key')
          .select(['kid', 'algorithm', 'retired_at', SEAL_MARK.as('seal')])
          .execute()
        const seals = new Map(present.map(({ kid, seal }) => [kid, seal]))
        if (!seen.every(({ kid, seal }) => seals.get(kid) === (seal ?? ERASED))) return []
        const goesOn = present.filter(({ retired_at: retiredAt }) => retiredAt === null)
        const known = new Set(goesOn.map(({ algorithm }) => algorithm))
        const missing = keys.filter(({ algorithm }) => !known.has(algorithm))
        await insert(transaction, missing)
        return missing.map(({ kid }) => kid)
      }),
    rotate: (rotation) =>
      allOrNothing(change, (transaction) => rotate(database, transaction, rotation)),
    reseal: (seals) => allOrNothing(change, (transaction) => reseal(transaction, seals)),
    erase: async (retiredBefore) => {
      const erased = await kysely
        .updateTable('signing_key')
        .set({ sealed_private_jwk: ERASED })
        .where('retired_at', '<', retiredBefore)
        .where('sealed_private_jwk', '<>', ERASED)
        .returning('kid')
        .execute()
      return erased.map(({ kid }) => kid)
    },
    remove: async (purgedBefore) => {
      const removed = await kysely
        .deleteFrom('signing_key')
        .where('purged_at', '<', purgedBefore)
        .returning('kid')
        .execute()
      return removed.map(({ kid }) => kid)
    },
  }
}

/** Rolls everything back where `work` answers `false`. */
async function allOrNothing(
  change: (work: (transaction: Transaction<Schema>) => Promise<void>) => Promise<void>,
  work: (transaction: Transaction<Schema>) => Promise<boolean>,
): Promise<boolean> {
  const lost = new Error('the keys are no longer as they were')
  try {
    await change(async (transaction) => {
      if (!(await work(transaction))) throw lost
    })
    return true
  } catch (error) {
    if (error === lost) return false
    throw error
  }
}

async function rotate(
  database: Database,
  transaction: Transaction<Schema>,
  { added, ended }: Rotation,
): Promise<boolean> {
  for (const end of ended) if (!(await endKey(transaction, end))) return false
  await insert(transaction, added)
  await appendRevocations(
    database,
    transaction,
    ended.flatMap(({ key, revokedUntil }) => {
      if (revokedUntil === undefined) return []
      const entry = { kind: 'key', subject: key.kid, reason: 'key_withdrawn' } as const
      return [{ ...entry, expiresAt: revokedUntil }]
    }),
  )
  return true
}

/** `false` where the key is no longer as it was: this is the compare of the compare-and-set. */
async function endKey(
  transaction: Transaction<Schema>,
  { key, retiredAt, purgedAt, revokedUntil }: KeyEnd,
): Promise<boolean> {
  const erased = revokedUntil === undefined ? {} : { sealed_private_jwk: ERASED }
  const { numUpdatedRows } = await transaction
    .updateTable('signing_key')
    .set({ retired_at: retiredAt, purged_at: purgedAt, ...erased })
    .where('kid', '=', key.kid)
    .where('retired_at', 'is not distinct from', key.retiredAt ?? null)
    .where('purged_at', 'is not distinct from', key.purgedAt ?? null)
    .where(SEAL_MARK, '=', key.seal ?? ERASED)
    .executeTakeFirstOrThrow()
  return numUpdatedRows === 1n
}

async function reseal(
  transaction: Transaction<Schema>,
  seals: readonly Resealing[],
): Promise<boolean> {
  for (const { kid, from, to } of seals) {
    const { numUpdatedRows } = await transaction
      .updateTable('signing_key')
      .set({ sealed_private_jwk: to })
      .where('kid', '=', kid)
      .where('sealed_private_jwk', '=', from)
      .executeTakeFirstOrThrow()
    if (numUpdatedRows !== 1n) return false
  }
  const { count } = await transaction
    .selectFrom('signing_key')
    .select(({ fn }) => fn.countAll().as('count'))
    .where('sealed_private_jwk', '<>', ERASED)
    .executeTakeFirstOrThrow()
  // A key that came meanwhile would stay behind under the old seal.
  return Number(count) === seals.length
}

async function insert(transaction: Transaction<Schema>, keys: readonly StoredKey[]): Promise<void> {
  if (keys.length === 0) return
  await transaction.insertInto('signing_key').values(keys.map(toRow)).execute()
}

function toRow(key: StoredKey): Schema['signing_key'] {
  return {
    kid: key.kid,
    algorithm: key.algorithm,
    public_jwk: JSON.stringify(key.publicJwk),
    sealed_private_jwk: key.sealedPrivateJwk ?? ERASED,
    announced_at: key.announcedAt,
    active_at: key.activeAt,
    retired_at: key.retiredAt ?? null,
    purged_at: key.purgedAt ?? null,
  }
}

function toKey(row: Selectable<Schema['signing_key']>): StoredKey {
  return {
    kid: row.kid,
    algorithm: row.algorithm as SigningAlgorithm,
    publicJwk: JSON.parse(row.public_jwk) as PublicJwk,
    sealedPrivateJwk: readSeal(row.sealed_private_jwk),
    announcedAt: row.announced_at,
    activeAt: row.active_at,
    retiredAt: row.retired_at ?? undefined,
    purgedAt: row.purged_at ?? undefined,
  }
}

type StateRow = Omit<Selectable<Schema['signing_key']>, 'public_jwk' | 'sealed_private_jwk'>

function toState(row: StateRow & { readonly seal: string }): KeyState {
  return {
    kid: row.kid,
    algorithm: row.algorithm as SigningAlgorithm,
    announcedAt: row.announced_at,
    activeAt: row.active_at,
    retiredAt: row.retired_at ?? undefined,
    purgedAt: row.purged_at ?? undefined,
    seal: readSeal(row.seal),
  }
}

function readSeal(seal: string): string | undefined {
  return seal === ERASED ? undefined : seal
}
