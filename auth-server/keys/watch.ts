import { setTimeout as wait } from 'node:timers/promises'
import type { Clock } from '../clock.ts'
import type { Logger } from '../log.ts'
import type { KeyState, KeyStore } from './keyset.ts'
import { nextPhaseAt } from './rotate.ts'

const LOOK_EVERY_MS = 500
/** However soon a phase begins. */
const LOOK_SOONEST_MS = 20
/** What cannot be done is not tried at every look: making a key takes long. */
const REST_AFTER_FAILURE = 60

export interface KeyWatchCollaborators {
  readonly keys: Pick<KeyStore, 'listStates'>
  /** Whether these keys are in force, each in its phase of now. */
  readonly isCurrent: (states: readonly KeyState[]) => boolean
  /** Puts in force what is in the store now. */
  readonly apply: () => Promise<void>
  /** Does what is due by itself. */
  readonly tend: (states: readonly KeyState[]) => Promise<void>
  readonly clock: Clock
  readonly log: Logger
}

/**
 * Looks after the keys twice a second and whenever a phase begins, so that what another process has
 * changed is in force here within a second. One look at a time: a database that hangs is waited for.
 *
 * Whatever fails is logged when it begins, and tried again; what was in force stays so.
 */
export function startKeyWatch(collaborators: KeyWatchCollaborators): AsyncDisposable {
  const { keys, isCurrent, apply, tend, clock, log } = collaborators
  const stop = new AbortController()
  const looking = createReporter(log, 'keys_not_watched')
  const tending = createReporter(log, 'keys_not_tended')
  let phaseAt: number | undefined
  let rest = 0

  const look = async () => {
    const states = await keys.listStates()
    phaseAt = nextPhaseAt(states, clock.now())
    if (!isCurrent(states)) await apply()
    if (rest > 0) rest -= 1
    else if (!(await tending(() => tend(states)))) rest = REST_AFTER_FAILURE
  }
  const untilNextLook = () => {
    const milliseconds = (phaseAt ?? 0) - clock.now()
    // A phase that has begun and could not be looked at waits like everything else.
    if (milliseconds <= 0) return LOOK_EVERY_MS
    return Math.min(LOOK_EVERY_MS, Math.max(LOOK_SOONEST_MS, milliseconds))
  }
  const watch = async () => {
    for (;;) {
      await pause(untilNextLook(), stop.signal)
      if (stop.signal.aborted) return
      await looking(look)
    }
  }
  const ended = watch()
  return {
    async [Symbol.asyncDispose]() {
      stop.abort()
      await ended
    },
  }
}

async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await wait(milliseconds, undefined, { signal, ref: false }).catch((error: unknown) => {
    if (!signal.aborted) throw error
  })
}

/** Answers whether the work was done. Writes a failure once, until it is over or becomes another. */
function createReporter(log: Logger, event: string) {
  let failure: string | undefined
  return async (work: () => Promise<void>): Promise<boolean> => {
    try {
      await work()
      if (failure !== undefined) log.info({ event: `${event}_over` })
      failure = undefined
      return true
    } catch (error) {
      if (failure !== String(error)) log.error({ event, err: error })
      failure = String(error)
      return false
    }
  }
}
