import type { Selectable } from 'kysely'
import type { KeyStore, PublicJwk, StoredKey } from '../keys/keyset.ts'
import type { SigningAlgorithm } from '../config/schema.ts'
import type { Database } from './database.ts'
import type { Schema } from './schema.ts'

export function createKeyStore(database: Database): KeyStore {
  const { kysely } = database
  return {
    async list() {
      const rows = await kysely
        .selectFrom('signing_key')
        .selectAll()
        .orderBy('active_at', 'desc')
        .orderBy('kid')
        .execute()
      return rows.map(toKey)
    },
    async insertIfNone(keys) {
      await kysely.transaction().execute(async (transaction) => {
        await database.lock(transaction, async () => ({ exclusive: ['keys'] }))
        const present = await transaction.selectFrom('signing_key').select('algorithm').execute()
        const known = new Set(present.map(({ algorithm }) => algorithm))
        const missing = keys.filter(({ algorithm }) => !known.has(algorithm))
        if (missing.length > 0) {
          await transaction.insertInto('signing_key').values(missing.map(toRow)).execute()
        }
      })
    },
  }
}

function toRow(key: StoredKey): Schema['signing_key'] {
  return {
    kid: key.kid,
    algorithm: key.algorithm,
    public_jwk: JSON.stringify(key.publicJwk),
    sealed_private_jwk: key.sealedPrivateJwk,
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
    sealedPrivateJwk: row.sealed_private_jwk,
    announcedAt: row.announced_at,
    activeAt: row.active_at,
    retiredAt: row.retired_at ?? undefined,
    purgedAt: row.purged_at ?? undefined,
  }
}
