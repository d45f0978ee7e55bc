import { performance } from 'node:perf_hooks'
import { setTimeout as wait } from 'node:timers/promises'
import type { StepNotes } from './flow.ts'
import { nameApi } from './programs.ts'
import type { World } from './world.ts'

/** When APIs begin to refuse a token that somebody has just taken away. */

/** Where a token is shown again and again. */
export interface Door {
  readonly name: string
  readonly url: string
  readonly token: string
}

export function findNotesDoor({ api }: World, token: string): Door {
  return { name: nameApi('notes'), url: `${api}/notes`, token }
}

/** Times as `performance.now()` has them. */
interface Seen {
  asked: number
  lastGoodAt: number
  /** `undefined` where it was never refused. */
  firstRefusedAt: number | undefined
  refusals: number
}

/** Within which an API has to have heard. */
const PROMISE_MS = 1000
/** Leaves the machine time for the servers that it measures. */
const BETWEEN_MS = 3
const ANSWER_MS = 5000
/** So often an API has to say no before it is believed. */
const CONFIRMATIONS = 10

/**
 * Shows a token at each door all the time while `act` takes it away, and notes when each refused it. These
 * requests are not shown: there are too many.
 *
 * @param act Begins when each door has answered well. Answers when it was answered, by `performance.now()`.
 */
export async function noteMoments(
  { check, table }: StepNotes,
  doors: readonly Door[],
  act: () => Promise<number>,
  stopped: AbortSignal,
): Promise<void> {
  const stop = new AbortController()
  const signal = AbortSignal.any([stop.signal, stopped])
  let until = Infinity
  const watches = doors.map((door) => watch(door, () => performance.now() < until, signal))
  const ended = Promise.all(watches.map((one) => one.ended))
  const actAndWait = async () => {
    const answeredAt = await act()
    until = answeredAt + PROMISE_MS
    return answeredAt
  }
  try {
    await Promise.race([Promise.all(watches.map((one) => one.isOpen)), ended])
    const [answeredAt, seen] = await Promise.all([actAndWait(), ended])
    const since = (at: number) => Math.round((at - answeredAt) * 10) / 10
    const rows = seen.map(({ asked, lastGoodAt, firstRefusedAt }, index) => [
      doors[index]?.name ?? '',
      since(lastGoodAt),
      firstRefusedAt === undefined ? 'never' : since(firstRefusedAt),
      asked,
    ])
    table(['API', 'last 200, ms', 'first 401, ms', 'times asked'], rows)
    for (const [index, { firstRefusedAt = Infinity }] of seen.entries()) {
      const isKept = since(firstRefusedAt) <= PROMISE_MS
      check(`the ${doors[index]?.name} refuses within a second, and from then on`, true, isKept)
    }
  } finally {
    stop.abort()
    await Promise.allSettled(watches.map((one) => one.ended))
  }
}

interface Watch {
  /** Resolves when the door has answered well. */
  readonly isOpen: Promise<void>
  /** Resolves when it has refused for a while, or nobody waits any longer. */
  readonly ended: Promise<Seen>
}

function watch(door: Door, isAwaited: () => boolean, signal: AbortSignal): Watch {
  const opened = Promise.withResolvers<void>()
  const run = async (): Promise<Seen> => {
    const seen: Seen = { asked: 0, lastGoodAt: 0, firstRefusedAt: undefined, refusals: 0 }
    while (seen.refusals === 0 ? isAwaited() : seen.refusals < CONFIRMATIONS) {
      noteAnswer(door, seen, await ask(door, signal))
      opened.resolve()
      await wait(BETWEEN_MS, undefined, { signal })
    }
    return seen
  }
  return { isOpen: opened.promise, ended: run() }
}

/** Answers the status. The request is not shown. */
export async function ask({ url, token }: Door, signal: AbortSignal): Promise<number> {
  const response = await fetch(url, {
    headers: { authorization: `Bearer ${token}` },
    signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]),
    redirect: 'error',
  })
  // Without it, the next one would need another connection.
  await response.arrayBuffer()
  return response.status
}

function noteAnswer({ name }: Door, seen: Seen, status: number): void {
  const at = performance.now()
  const isGood = status === 200
  if (!isGood && (status !== 401 || seen.asked === 0)) {
    throw new Error(`the ${name} answered ${status}`)
  }
  if (isGood && seen.refusals > 0) {
    throw new Error(`the ${name} took a token again that it had refused`)
  }
  seen.asked += 1
  if (isGood) {
    seen.lastGoodAt = at
  } else {
    seen.firstRefusedAt ??= at
    seen.refusals += 1
  }
}
