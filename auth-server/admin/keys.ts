import { formatTime } from '../clock.ts'
import type { LoadedConfig } from '../config/load.ts'
import type { SecretSource, SigningAlgorithm } from '../config/schema.ts'
import { PortreeveError } from '../errors.ts'
import { compareKeys, isWithdrawn, keyPhase, type KeyPhase, type KeyState } from '../keys/keyset.ts'
import { resealKeys, rotateKeys, type KeyCollaborators } from '../keys/rotation.ts'
import { readKey, readSealKey, toSealKey } from '../keys/seal-key.ts'
import { readOrCreateRootKeyFile } from '../keys/seal.ts'

/** A signing key as it is shown: nothing of its private half. */
export interface KeyView {
  readonly kid: string
  readonly algorithm: SigningAlgorithm
  readonly phase: KeyPhase | 'withdrawn'
  /** ISO 8601. */
  readonly announcedAt: string
  /** `undefined` for a key that was withdrawn before it came to sign. */
  readonly activeAt: string | undefined
  readonly retiredAt: string | undefined
  readonly purgedAt: string | undefined
}

/** What has become of the keys of one algorithm. */
export interface RotationView {
  readonly algorithm: SigningAlgorithm
  /** The key that signs next, or already. */
  readonly next: KeyView
  /** Whether it was made now, and not by somebody who came before. */
  readonly isNew: boolean
  /** The ids of the keys that were withdrawn now. */
  readonly withdrawn: readonly string[]
}

export interface ResealView {
  /** The ids of the keys that were sealed anew; the others had that seal already. */
  readonly resealed: readonly string[]
  /** What the configuration has to point at from now on. */
  readonly encryptionKey: SecretSource
}

export interface KeyOperations {
  /** By algorithm, the newest first. */
  list(): Promise<readonly KeyView[]>
  /**
   * Gives an algorithm, or each, a new key. `withdraws`: for stolen keys, those that are published end
   * at once, with everything that they have signed. Throws `not_found` where there is no key to come
   * after, `misconfigured` where the configuration has not the key that the servers open keys with.
   */
  rotate(options: {
    readonly algorithm: SigningAlgorithm | undefined
    readonly withdraws: boolean
  }): Promise<readonly RotationView[]>
  /**
   * Seals every key with that of another source. A file that does not exist is made. Throws `not_found`
   * where there is no key, `misconfigured` where either key cannot be had, or does not open them.
   */
  reseal(source: SecretSource): Promise<ResealView>
}

export type KeyAdminCollaborators = Omit<KeyCollaborators, 'sealKey'>

export function createKeyOperations(
  collaborators: KeyAdminCollaborators,
  loaded: Pick<LoadedConfig, 'config' | 'readSecret'>,
): KeyOperations {
  const { keys, clock } = collaborators
  const view = (key: KeyState) => viewKey(key, clock.now())
  const listAlgorithms = async () => {
    const states = await keys.listStates()
    const algorithms = new Set(states.map(({ algorithm }) => algorithm))
    if (algorithms.size > 0) return [...algorithms].toSorted()
    throw new PortreeveError(
      'not_found',
      'There are no signing keys yet: the server makes them when it starts.',
    )
  }
  return {
    list: async () => (await keys.listStates()).toSorted(compareKeys).map(view),
    async rotate({ algorithm, withdraws }) {
      const known = await listAlgorithms()
      if (algorithm !== undefined && !known.includes(algorithm)) {
        const message = `There is no ${algorithm} key: the server makes one when it starts with a resource whose tokens are signed so. There are keys for ${known.join(', ')}.`
        throw new PortreeveError('not_found', message)
      }
      const sealKey = await readSealKey(loaded)
      const rotations = await rotateKeys(
        { ...collaborators, sealKey },
        algorithm === undefined ? known : [algorithm],
        { how: withdraws ? 'withdraw' : 'announce', by: 'operator' },
      )
      return rotations.map(({ next, ...rotation }) => ({ ...rotation, next: view(next) }))
    },
    async reseal(source) {
      await listAlgorithms()
      const sealKey = await readSealKey(loaded)
      const newSealKey = await readNewKey(source, loaded)
      const resealed = await resealKeys({ ...collaborators, sealKey }, newSealKey)
      return { resealed, encryptionKey: source }
    },
  }
}

async function readNewKey(
  source: SecretSource,
  { readSecret }: Pick<LoadedConfig, 'readSecret'>,
): Promise<Buffer> {
  const name = 'The new key'
  if ('env' in source) return readKey(source, name, readSecret)
  return toSealKey(await readOrCreateRootKeyFile(source.file, name))
}

function viewKey(key: KeyState, now: number): KeyView {
  const { kid, algorithm, announcedAt, activeAt, retiredAt, purgedAt } = key
  const isOver = isWithdrawn(key)
  const hasNeverSigned = isOver && retiredAt !== undefined && activeAt > retiredAt
  return {
    kid,
    algorithm,
    phase: isOver ? 'withdrawn' : keyPhase(key, now),
    announcedAt: formatTime(announcedAt),
    activeAt: hasNeverSigned ? undefined : formatTime(activeAt),
    retiredAt: retiredAt === undefined ? undefined : formatTime(retiredAt),
    purgedAt: purgedAt === undefined ? undefined : formatTime(purgedAt),
  }
}
