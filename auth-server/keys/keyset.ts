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
