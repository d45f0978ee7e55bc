import type { KeyState } from './keyset.ts'
import { planUpkeep } from './rotate.ts'
import { rotateKeys, type KeyCollaborators } from './rotation.ts'

export interface UpkeepOptions {
  /** How long a key signs before its successor is announced; 0 for ever. */
  readonly rotateEveryDays: number
}

/**
 * Does what is due: rotates, erases private halves that nobody needs any more, and forgets old keys. Any
 * number of instances may do so at once.
 */
export async function tendKeys(
  collaborators: KeyCollaborators,
  states: readonly KeyState[],
  options: UpkeepOptions,
): Promise<void> {
  const { keys, clock, events } = collaborators
  const { eraseBefore, removeBefore, due } = planUpkeep(states, options, clock.now())
  const algorithms = new Map(states.map(({ kid, algorithm }) => [kid, algorithm]))
  const tell = (action: string) => (id: string) =>
    events.objectChanged({ kind: 'key', action, id, algorithm: algorithms.get(id), by: 'server' })
  if (eraseBefore !== undefined) (await keys.erase(eraseBefore)).forEach(tell('retired'))
  if (removeBefore !== undefined) (await keys.remove(removeBefore)).forEach(tell('removed'))
  if (due.length > 0) await rotateKeys(collaborators, due, { how: 'announce', by: 'server' })
}
