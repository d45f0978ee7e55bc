import { calculateJwkThumbprint, exportJWK, generateKeyPair } from 'jose'
import type { SigningAlgorithm } from '../config/schema.ts'
import { seal } from './seal.ts'

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

/** Milliseconds since the epoch: published, used for signing, no longer used, no longer published. */
export interface KeyTimes {
  readonly announcedAt: number
  readonly activeAt: number
  /** `undefined` for the newest key of an algorithm alone: there is always one. */
  readonly retiredAt: number | undefined
  readonly purgedAt: number | undefined
}

/** A signing key at rest. Its private half is sealed: see `seal.ts`. */
export interface StoredKey extends KeyTimes {
  /** The thumbprint of the key (RFC 7638). */
  readonly kid: string
  readonly algorithm: SigningAlgorithm
  readonly publicJwk: PublicJwk
  /** `undefined` once it is erased. */
  readonly sealedPrivateJwk: string | undefined
}

/** What there is to know of a key without reading the key itself. */
export interface KeyState extends KeyTimes {
  readonly kid: string
  readonly algorithm: SigningAlgorithm
  /** The first 19 characters of the sealed private half; `undefined` once it is erased. */
  readonly seal: string | undefined
}

export type KeyPhase = 'announced' | 'active' | 'retired' | 'purged'

/** New times of a key that ends. */
export interface KeyEnd {
  /** As it was when this was decided. */
  readonly key: KeyState
  readonly retiredAt: number
  readonly purgedAt: number
  /**
   * Set where the key is withdrawn: its private half is erased at once, and what it has signed is
   * revoked, until (ms) nothing of it can be alive.
   */
  readonly revokedUntil: number | undefined
}

/** New keys, and what becomes of those that they come after. */
export interface Rotation {
  readonly added: readonly StoredKey[]
  readonly ended: readonly KeyEnd[]
}

/** The private half of a key, sealed anew. */
export interface Resealing {
  readonly kid: string
  readonly from: string
  readonly to: string
}

/** Where signing keys are kept. */
export interface KeyStore {
  /** In no order that means anything. */
  list(): Promise<readonly StoredKey[]>
  /** The same in small: every instance asks for it twice a second. */
  listStates(): Promise<readonly KeyState[]>
  /**
   * Adds keys only for those algorithms that have none that goes on, in one transaction, so that two
   * servers starting at once on one database end with one set. Answers the ids of those it added.
   *
   * `seen`: the keys that were there before. Where one has another seal by now, nothing is added: what is
   * new was sealed with the old key.
   */
  insertIfNone(keys: readonly StoredKey[], seen?: readonly KeyState[]): Promise<readonly string[]>
  /**
   * Does all of it in one transaction, or nothing: `false` where one of the keys that end no longer has
   * the same times and the same seal. So of two rotations of one key at once, in whatever processes, one
   * wins, and none brings back a seal that was changed meanwhile.
   */
  rotate(rotation: Rotation): Promise<boolean>
  /**
   * Replaces every sealed private half in one transaction, or none: `false` where the seals in the
   * store are others than those that it is given.
   */
  reseal(seals: readonly Resealing[]): Promise<boolean>
  /** Erases the private halves of keys that retired before (ms). Answers their ids. */
  erase(retiredBefore: number): Promise<readonly string[]>
  /** Forgets keys that were purged before (ms). Answers their ids. */
  remove(purgedBefore: number): Promise<readonly string[]>
}

/** A withdrawn key retires and is purged in one moment: nothing that it signed is good for anything. */
export function isWithdrawn({ retiredAt, purgedAt }: KeyTimes): boolean {
  return purgedAt !== undefined && purgedAt === retiredAt
}

/**
 * The phase follows from the timestamps alone, so every instance computes the same one. A withdrawal is
 * a fact and no appointment: it holds where the clock is behind as well.
 */
export function keyPhase(key: KeyTimes, now: number): KeyPhase {
  if (isWithdrawn(key)) return 'purged'
  if (key.purgedAt !== undefined && now >= key.purgedAt) return 'purged'
  if (key.retiredAt !== undefined && now >= key.retiredAt) return 'retired'
  return now >= key.activeAt ? 'active' : 'announced'
}

/**
 * What the key set publishes: everything that a token may be signed with, or soon will be. In one order
 * everywhere, so that no cache takes the answers of two instances for two versions.
 */
export function listPublicKeys(stored: readonly StoredKey[], now: number): readonly PublicJwk[] {
  return stored
    .filter((key) => keyPhase(key, now) !== 'purged')
    .toSorted(compareKeys)
    .map(({ publicJwk }) => publicJwk)
}

type Comparable = Pick<StoredKey, 'algorithm' | 'activeAt' | 'kid'>

/** By algorithm, the newest first. */
export function compareKeys(one: Comparable, two: Comparable): number {
  return (
    compareTexts(one.algorithm, two.algorithm) ||
    two.activeAt - one.activeAt ||
    compareTexts(one.kid, two.kid)
  )
}

function compareTexts(one: string, two: string): number {
  return one < two ? -1 : Number(one > two)
}

/** Makes a key for each algorithm. */
export async function createSigningKeys(
  algorithms: readonly SigningAlgorithm[],
  sealKey: Buffer,
  times: KeyTimes,
): Promise<readonly StoredKey[]> {
  return Promise.all(algorithms.map((algorithm) => createSigningKey(algorithm, sealKey, times)))
}

async function createSigningKey(
  algorithm: SigningAlgorithm,
  sealKey: Buffer,
  times: KeyTimes,
): Promise<StoredKey> {
  const { publicKey, privateKey } = await generateKeyPair(algorithm, { extractable: true })
  const common = { alg: algorithm, use: 'sig' } as const
  const jwk = await exportJWK(publicKey)
  const kid = await calculateJwkThumbprint(jwk)
  const privateJwk = { ...(await exportJWK(privateKey)), ...common, kid }
  return {
    ...times,
    kid,
    algorithm,
    publicJwk: { ...jwk, ...common, kid } as PublicJwk,
    sealedPrivateJwk: seal(sealKey, JSON.stringify(privateJwk), kid),
  }
}

const SEAL_MARK_LENGTH = 19

export function toState(key: StoredKey): KeyState {
  const { kid, algorithm, announcedAt, activeAt, retiredAt, purgedAt } = key
  // Its version and its nonce: no two sealings share them.
  const mark = key.sealedPrivateJwk?.slice(0, SEAL_MARK_LENGTH)
  return { kid, algorithm, announcedAt, activeAt, retiredAt, purgedAt, seal: mark }
}
