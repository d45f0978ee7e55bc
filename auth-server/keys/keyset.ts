import { calculateJwkThumbprint, exportJWK, generateKeyPair } from 'jose'
import type { Clock } from '../clock.ts'
import type { SigningAlgorithm } from '../config/schema.ts'
import { seal, unseal } from './seal.ts'

/** A public JSON Web Key (RFC 7517) of the key set. */
export interface PublicJwk {
  readonly kty: string
  readonly kid: string
  readonly alg: SigningAlgorithm
  readonly use: 'sig'
  readonly [member: string]: string
}

/** A signing key with its private half, as it is never kept. */
export type PrivateJwk = PublicJwk

/** A signing key at rest. Its private half is sealed: see `seal.ts`. */
export interface StoredKey {
  /** The thumbprint of the key (RFC 7638). */
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
  /** In no order that means anything: see `orderForSigning`. */
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

/** Makes one key for each algorithm, in use at once. */
export async function createSigningKeys(
  algorithms: readonly SigningAlgorithm[],
  sealKey: Buffer,
  clock: Clock,
): Promise<readonly StoredKey[]> {
  return Promise.all(algorithms.map((algorithm) => createSigningKey(algorithm, sealKey, clock)))
}

async function createSigningKey(
  algorithm: SigningAlgorithm,
  sealKey: Buffer,
  clock: Clock,
): Promise<StoredKey> {
  const { publicKey, privateKey } = await generateKeyPair(algorithm, { extractable: true })
  const common = { alg: algorithm, use: 'sig' } as const
  const jwk = await exportJWK(publicKey)
  const kid = await calculateJwkThumbprint(jwk)
  const privateJwk = { ...(await exportJWK(privateKey)), ...common, kid }
  const now = clock.now()
  return {
    kid,
    algorithm,
    publicJwk: { ...jwk, ...common, kid } as PublicJwk,
    sealedPrivateJwk: seal(sealKey, JSON.stringify(privateJwk), kid),
    announcedAt: now,
    activeAt: now,
    retiredAt: undefined,
    purgedAt: undefined,
  }
}

/**
 * The keys that may sign, in order of preference: of one algorithm, the first signs. An announced key
 * comes last, because verifiers may not know it yet.
 *
 * Throws `misconfigured` for a key that was sealed under another root key.
 */
export function openSigningKeys(
  stored: readonly StoredKey[],
  sealKey: Buffer,
  now: number,
): readonly PrivateJwk[] {
  return orderForSigning(stored, now).map(
    ({ sealedPrivateJwk, kid }) => JSON.parse(unseal(sealKey, sealedPrivateJwk, kid)) as PrivateJwk,
  )
}

/** The newest active key first, then what is announced. */
function orderForSigning(stored: readonly StoredKey[], now: number): readonly StoredKey[] {
  const inPhase = (phase: KeyPhase) => stored.filter((key) => keyPhase(key, now) === phase)
  const newestFirst = inPhase('active').toSorted(
    (one, two) => two.activeAt - one.activeAt || one.kid.localeCompare(two.kid),
  )
  return [...newestFirst, ...inPhase('announced')]
}

/** What the key set publishes: everything that a token may be signed with, or soon will be. */
export function listPublicKeys(stored: readonly StoredKey[], now: number): readonly PublicJwk[] {
  return stored.filter((key) => keyPhase(key, now) !== 'purged').map(({ publicJwk }) => publicJwk)
}
