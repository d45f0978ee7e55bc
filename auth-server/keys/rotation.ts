import type { Clock } from '../clock.ts'
import type { SigningAlgorithm } from '../config/schema.ts'
import { PortreeveError } from '../errors.ts'
import type { Events } from '../events.ts'
import {
  createSigningKeys,
  toState,
  type KeyState,
  type KeyStore,
  type Resealing,
  type Rotation,
  type StoredKey,
} from './keyset.ts'
import { planRotation, planWithdrawal, type RotationPlan } from './rotate.ts'
import { seal, unseal } from './seal.ts'

/** Of so many at once each loses at most to every other. */
const MOST_ATTEMPTS = 20

export interface KeyCollaborators {
  readonly keys: KeyStore
  readonly sealKey: Buffer
  readonly clock: Clock
  readonly events: Events
}

/**
 * Makes a key for each of these algorithms that has none, in use at once. Throws `misconfigured` where
 * `sealKey` does not open the keys that are there.
 */
export async function createMissingKeys(
  { keys, sealKey, clock, events }: KeyCollaborators,
  algorithms: readonly SigningAlgorithm[],
): Promise<void> {
  const stored = await keys.list()
  refuseOtherSeal(stored, sealKey)
  const goesOn = stored.filter(({ retiredAt }) => retiredAt === undefined)
  const known = new Set(goesOn.map(({ algorithm }) => algorithm))
  const now = clock.now()
  const missing = await createSigningKeys(
    algorithms.filter((algorithm) => !known.has(algorithm)),
    sealKey,
    { announcedAt: now, activeAt: now, retiredAt: undefined, purgedAt: undefined },
  )
  if (missing.length === 0) return
  const added = new Set(await keys.insertIfNone(missing, stored.map(toState)))
  for (const key of missing) if (added.has(key.kid)) tell(events, 'added', key, 'server')
}

export interface RotationOptions {
  /**
   * `announce` lets the key that signs go on until every verifier knows its successor; `withdraw` is for
   * a key that somebody has stolen.
   */
  readonly how: 'announce' | 'withdraw'
  readonly by: 'operator' | 'server'
}

/** What has become of the keys of one algorithm. */
export interface KeyRotation {
  readonly algorithm: SigningAlgorithm
  /** The key that signs next, or already. */
  readonly next: KeyState
  /** Whether it was made now, and not by somebody who came before. */
  readonly isNew: boolean
  /** The ids of the keys that were withdrawn now. */
  readonly withdrawn: readonly string[]
}

/**
 * Gives each of these algorithms a new key, all of them or none. Whoever does the same at the same time,
 * in whatever process, ends with the same new keys.
 *
 * Throws `misconfigured` where `sealKey` does not open the keys that are there: the servers could not
 * open the new one.
 */
export async function rotateKeys(
  collaborators: KeyCollaborators,
  algorithms: readonly SigningAlgorithm[],
  options: RotationOptions,
): Promise<readonly KeyRotation[]> {
  const { keys, sealKey, clock } = collaborators
  const suspects = new Set((await keys.list()).map(({ kid }) => kid))
  const made = new Map<SigningAlgorithm, StoredKey>()
  for (let attempt = 0; attempt < MOST_ATTEMPTS; attempt += 1) {
    const stored = await keys.list()
    refuseOtherSeal(stored, sealKey)
    const now = clock.now()
    const plans = algorithms.map((algorithm) => {
      const own = stored.filter((key) => key.algorithm === algorithm).map(toState)
      const plan =
        options.how === 'withdraw' ? planWithdrawal(own, suspects, now) : planRotation(own, now)
      return { algorithm, plan }
    })
    const rotation = await carryOut(plans, made, sealKey)
    if (rotation.added.length > 0 && !(await keys.rotate(rotation))) continue
    announce(collaborators.events, rotation, options.by)
    return plans.flatMap(({ algorithm, plan }) => report(algorithm, plan, rotation))
  }
  throw new PortreeveError('busy', 'Somebody else keeps changing the signing keys. Try again.')
}

function refuseOtherSeal(stored: readonly StoredKey[], sealKey: Buffer): void {
  for (const { kid, sealedPrivateJwk } of stored) {
    if (sealedPrivateJwk !== undefined) unseal(sealKey, sealedPrivateJwk, kid)
  }
}

/** `made` keeps the keys over attempts: making one takes long. */
async function carryOut(
  plans: readonly { readonly algorithm: SigningAlgorithm; readonly plan: RotationPlan }[],
  made: Map<SigningAlgorithm, StoredKey>,
  sealKey: Buffer,
): Promise<Rotation> {
  const parts = plans.map(async ({ algorithm, plan }) => {
    if (plan.kind !== 'rotate') return { added: [], ended: [] }
    const key = made.get(algorithm) ?? (await createSigningKey(algorithm, sealKey, plan))
    made.set(algorithm, key)
    return { added: [{ ...key, ...plan.times }], ended: plan.ended }
  })
  const rotations = await Promise.all(parts)
  return {
    added: rotations.flatMap(({ added }) => added),
    ended: rotations.flatMap(({ ended }) => ended),
  }
}

async function createSigningKey(
  algorithm: SigningAlgorithm,
  sealKey: Buffer,
  { times }: Extract<RotationPlan, { kind: 'rotate' }>,
): Promise<StoredKey> {
  const [key] = await createSigningKeys([algorithm], sealKey, times)
  if (!key) throw new TypeError(`no key was made for ${algorithm}`)
  return key
}

function announce(events: Events, { added, ended }: Rotation, by: RotationOptions['by']): void {
  for (const { key, revokedUntil } of ended) {
    if (revokedUntil === undefined) continue
    tell(events, 'withdrawn', key, by)
  }
  for (const key of added) {
    tell(events, key.activeAt > key.announcedAt ? 'announced' : 'added', key, by)
  }
}

function tell(
  events: Events,
  action: string,
  { kid: id, algorithm }: Pick<KeyState, 'kid' | 'algorithm'>,
  by: RotationOptions['by'],
): void {
  events.objectChanged({ kind: 'key', action, id, algorithm, by })
}

function report(
  algorithm: SigningAlgorithm,
  plan: RotationPlan,
  { added, ended }: Rotation,
): KeyRotation[] {
  if (plan.kind === 'none') return []
  const isOurs = (key: { algorithm: SigningAlgorithm }) => key.algorithm === algorithm
  const key = added.find(isOurs)
  const next = key ? toState(key) : plan.kind === 'done' ? plan.next : undefined
  if (!next) throw new TypeError(`no key of ${algorithm} comes next`)
  const withdrawn = ended.filter((end) => isOurs(end.key) && end.revokedUntil !== undefined)
  const isNew = key !== undefined
  return [{ algorithm, next, isNew, withdrawn: withdrawn.map((end) => end.key.kid) }]
}

/**
 * Seals every private half with another key, all of them or none. Answers the ids of those that were
 * not sealed with it already. Throws `misconfigured` for a key that neither of the two opens.
 */
export async function resealKeys(
  { keys, sealKey, events }: Omit<KeyCollaborators, 'clock'>,
  newSealKey: Buffer,
): Promise<readonly string[]> {
  for (let attempt = 0; attempt < MOST_ATTEMPTS; attempt += 1) {
    const stored = await keys.list()
    const seals = stored.flatMap((key) => resealKey(key, sealKey, newSealKey))
    if (!(await keys.reseal(seals))) continue
    const changed = new Set(seals.flatMap(({ kid, from, to }) => (from === to ? [] : [kid])))
    for (const key of stored) if (changed.has(key.kid)) tell(events, 'resealed', key, 'operator')
    return [...changed]
  }
  throw new PortreeveError('busy', 'Somebody else keeps changing the signing keys. Try again.')
}

function resealKey(
  { kid, sealedPrivateJwk: from }: StoredKey,
  sealKey: Buffer,
  newSealKey: Buffer,
): Resealing[] {
  if (from === undefined) return []
  if (opens(newSealKey, from, kid)) return [{ kid, from, to: from }]
  return [{ kid, from, to: seal(newSealKey, unseal(sealKey, from, kid), kid) }]
}

function opens(key: Buffer, sealed: string, kid: string): boolean {
  try {
    unseal(key, sealed, kid)
    return true
  } catch (error) {
    if (error instanceof PortreeveError) return false
    throw error
  }
}
