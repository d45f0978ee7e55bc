import { setTimeout as sleep } from 'node:timers/promises'
import { PortreeveError } from '../errors.ts'

/** More than this many wait for one name only where somebody means harm. */
const MOST_WAITING = 100
/** Beside it come the wait for a connection, as long, and that of the statement. */
const LONGEST_WAIT_MS = 2000

/** Runs `work` when everything that came before and names one of the same things is done. */
export type TakeTurn = <T>(names: readonly string[], work: () => Promise<T>) => Promise<T>

interface Queue {
  readonly waiting: number
  /** Never rejects. */
  readonly last: Promise<unknown>
}

/**
 * Lets what would wait for one lock wait here, where it costs no connection: hundreds of requests with
 * one cookie shall not keep everybody else from the database.
 *
 * Throws `busy` where too many wait, at once, and for who has waited too long.
 */
export function createTurns(): TakeTurn {
  const queues = new Map<string, Queue>()
  return async (names, work) => {
    const mine = new Set(names)
    const earlier = [...mine].flatMap((name) => queues.get(name) ?? [])
    if (earlier.some(({ waiting }) => waiting > MOST_WAITING)) throw describeCrowd()
    // Whoever came earlier is earlier in every queue: nobody waits for somebody who waits for them.
    const begun = Promise.all(earlier.map(({ last }) => last))
    const { promise: ended, resolve: end } = Promise.withResolvers<void>()
    const last = Promise.all([begun, ended])
    for (const name of mine) queues.set(name, { waiting: count(queues, name) + 1, last })
    try {
      if (earlier.length > 0) await waitFor(begun)
      return await work()
    } finally {
      end()
      for (const name of mine) leave(queues, name)
    }
  }
}

const count = (queues: ReadonlyMap<string, Queue>, name: string) => queues.get(name)?.waiting ?? 0

function leave(queues: Map<string, Queue>, name: string): void {
  const queue = queues.get(name)
  if (!queue || queue.waiting <= 1) queues.delete(name)
  else queues.set(name, { ...queue, waiting: queue.waiting - 1 })
}

async function waitFor(turn: Promise<unknown>): Promise<void> {
  using timer = createTimer()
  if ((await Promise.race([turn, timer.ended])) === LATE) throw describeCrowd()
}

const LATE: unique symbol = Symbol('late')

function createTimer() {
  const stopping = new AbortController()
  const { signal } = stopping
  const ended = sleep(LONGEST_WAIT_MS, LATE, { signal, ref: false }).catch(() => {})
  return { ended, [Symbol.dispose]: () => stopping.abort() }
}

function describeCrowd(): PortreeveError {
  return new PortreeveError('busy', 'Too many requests want the same.')
}
