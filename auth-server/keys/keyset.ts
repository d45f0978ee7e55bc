import { calculateJwkThumbprint, exportJWK, generateKeyPair } from 'jose'
import type { Clock } from '../clock.ts'
import { seal, unseal } from './seal.ts'
import type { SigningAlgorithm } from '../config/schema.ts'

/** A public JSON Web Key (RFC 7517) of the key set. */
export interface PublicJwk {
  readonly kty: string
  readonly kid: string
  readonly alg: SigningAlgorithm
  readonly use: 'sig'
  readonly [member: string]: string
}

/** A signing key at rest. Its private half is sealed: see `seal.ts`. */
export interface StoredKey {
  readonly kid: string
  readonly algorithm: SigningAlgorithm
  readonly publicJwk: PublicJwk
  readonly sealedPrivateJwk: string
  /** Milliseconds since the epoch: published, used for signing, no longer used, no longer published. */
  readonly announcedAt: number
  readonly activeAt: number
  readonly retiredAt: number | undefined
  readonly purgedAt: number | undefined
}

export type KeyPhase = 'announced' | 'active' | 'retired' | 'purged'

/** Where signing keys are kept. */
export interface KeyStore {
  list(): Promise<readonly StoredKey[]>
  /**
   * Adds keys only for those algorithms that have none yet, in one transaction, so that two servers
   * starting at once on one database end with one set.
   */
  insertIfNone(keys: readonly StoredKey[]): Promise<void>
}

/** The phase follows from the timestamps alone, so every instance computes the same one. */
export function keyPhase(key: StoredKey, now: number): KeyPhase {
  if (key.purgedAt !== undefined && now >= key.purgedAt) return 'purged'
  if (key.retiredAt !== undefined && now >= key.retiredAt) return 'retired'
  return now >= key.activeAt ? 'active' : 'announced'
}

export type PrivateJwk = PublicJwk

export async function createSigningKeys(
  algorithms: readonly SigningAlgorithm[],
  sealKey: Buffer,
  clock: Clock,
): Promise<readonly StoredKey[]> {
  return Promise.all(
    algorithms.map(async (alg) => {
      const { privateKey } = await generateKeyPair(alg, { extractable: true })
      const jwk = await exportJWK(privateKey)
      const kid = await calculateJwkThumbprint(jwk)
      const { d: _d, p: _p, q: _q, dp: _dp, dq: _dq, qi: _qi, ...rest } = jwk
      const publicJwk = { ...rest, kid, alg, use: 'sig' } as unknown as PublicJwk
      const sealedPrivateJwk = seal(sealKey, JSON.stringify({ ...jwk, kid, alg, use: 'sig' }), kid)
      const now = clock.now()
      return {
        kid,
        algorithm: alg,
        publicJwk,
        sealedPrivateJwk,
        announcedAt: now,
        activeAt: now,
        retiredAt: undefined,
        purgedAt: undefined,
      }
    }),
  )
}

export function openSigningKeys(
  stored: readonly StoredKey[],
  sealKey: Buffer,
  _now: number,
): readonly PrivateJwk[] {
  return stored.map(
    ({ sealedPrivateJwk, kid }) => JSON.parse(unseal(sealKey, sealedPrivateJwk, kid)) as PrivateJwk,
  )
}

export function listPublicKeys(stored: readonly StoredKey[], now: number): readonly PublicJwk[] {
  return stored.filter((key) => keyPhase(key, now) !== 'purged').map(({ publicJwk }) => publicJwk)
}
