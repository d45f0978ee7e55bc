import type { Clock } from '../clock.ts'
import type { Logger } from '../log.ts'
import {
  compareKeys,
  isWithdrawn,
  keyPhase,
  listPublicKeys,
  toState,
  type KeyState,
  type KeyStore,
  type PrivateJwk,
  type PublicJwk,
  type StoredKey,
} from './keyset.ts'
import { unseal } from './seal.ts'

/** The keys at one moment, by what each is good for. */
export interface KeyRing {
  /** What signs: one key for each algorithm. */
  readonly signing: readonly PrivateJwk[]
  /** What the key set publishes: everything that a token may be signed with, or soon will be. */
  readonly published: readonly PublicJwk[]
  /** What was published once. An ID token that one of them signed may still say who is to be signed out. */
  readonly former: readonly PublicJwk[]
}

/** The keys of the store, as this server sees them. */
export interface KeyRingSource {
  /**
   * Gives the keys of now to `use`, and answers what it answers. The first time it throws for a key that
   * does not open. Later it goes on with those that do, and logs: what others sign has to be known.
   */
  load<T>(use: (ring: KeyRing) => T): Promise<T>
  /** Whether the keys that were put to use last are these, each in its phase of now. */
  isCurrent(states: readonly KeyState[]): boolean
}

export interface KeyRingCollaborators {
  readonly clock: Clock
  readonly log: Logger
}

/**
 * Opens the keys of the store with `sealKey`. What it has opened it remembers as long as it signs or is
 * about to: a server goes on with its keys when they are sealed under another key meanwhile.
 */
export function createKeyRingSource(
  keys: Pick<KeyStore, 'list'>,
  sealKey: Buffer,
  { clock, log }: KeyRingCollaborators,
): KeyRingSource {
  let used: Opening | undefined
  let description = ''
  return {
    async load(use) {
      const stored = await keys.list()
      const now = clock.now()
      const opening = openKeys(
        stored,
        now,
        (key) => used?.opened.get(key.kid) ?? openKey(key, sealKey),
      )
      for (const { kid, error } of opening.unopened) {
        if (!used) throw error
        log.error({ event: 'key_unopened', kid, err: error })
      }
      const result = use(opening.ring)
      used = opening
      description = describeKeys(stored.map(toState), now)
      return result
    },
    isCurrent: (states) => describeKeys(states, clock.now()) === description,
  }
}

/** Equal for what makes no difference: other times matter only when a phase changes. */
function describeKeys(states: readonly KeyState[], now: number): string {
  const keys = states.map((key) => [key.kid, keyPhase(key, now), key.seal].join(' '))
  return keys.toSorted().join('\n')
}

/** `undefined` for a key whose private half is erased. */
function openKey({ kid, sealedPrivateJwk }: StoredKey, sealKey: Buffer): PrivateJwk | undefined {
  if (sealedPrivateJwk === undefined) return undefined
  return JSON.parse(unseal(sealKey, sealedPrivateJwk, kid)) as PrivateJwk
}

interface Opening {
  readonly ring: KeyRing
  readonly opened: ReadonlyMap<string, PrivateJwk>
  /** Keys that should open, and do not: they were sealed under another key. */
  readonly unopened: readonly { readonly kid: string; readonly error: unknown }[]
}

function openKeys(
  stored: readonly StoredKey[],
  now: number,
  open: (key: StoredKey) => PrivateJwk | undefined,
): Opening {
  const inPhase = Map.groupBy(stored, (key) => keyPhase(key, now))
  const { announced = [], active = [], retired = [], purged = [] } = Object.fromEntries(inPhase)
  const signing = new Map<string, PrivateJwk>()
  const coming: PrivateJwk[] = []
  const unopened: Opening['unopened'][number][] = []
  const tryToOpen = (key: StoredKey): PrivateJwk | undefined => {
    try {
      return open(key)
    } catch (error) {
      unopened.push({ kid: key.kid, error })
      return undefined
    }
  }
  for (const key of orderForSigning(active, retired, announced)) {
    const isNeeded = !signing.has(key.algorithm)
    // What comes next is opened early: whoever cannot open it shall know in time.
    if (!isNeeded && keyPhase(key, now) !== 'announced') continue
    const privateJwk = tryToOpen(key)
    if (privateJwk && isNeeded) signing.set(key.algorithm, privateJwk)
    else if (privateJwk) coming.push(privateJwk)
  }
  return {
    ring: {
      signing: [...signing.values()],
      published: listPublicKeys(stored, now),
      former: purged.filter((key) => !isWithdrawn(key)).map(({ publicJwk }) => publicJwk),
    },
    opened: new Map([...signing.values(), ...coming].map((key) => [key.kid, key])),
    unopened,
  }
}

/**
 * The newest active key signs. What comes after it is for a server that cannot open it, or whose clock
 * was turned back: a retired key, which verifiers know, before one that they may not know yet.
 */
function orderForSigning(
  active: readonly StoredKey[],
  retired: readonly StoredKey[],
  announced: readonly StoredKey[],
): readonly StoredKey[] {
  return [
    ...active.toSorted(compareKeys),
    ...retired.toSorted(compareKeys),
    ...announced.toSorted(compareKeys).toReversed(),
  ]
}
