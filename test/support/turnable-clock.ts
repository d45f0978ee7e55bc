import type { Clock } from '../../resource-server/clock.ts'

/** A clock that stands still until it is turned; whatever falls due meanwhile is done then. */
export interface TurnableClock extends Clock {
  /** Resolves when the work that fell due has ended. */
  advance(milliseconds: number): Promise<void>
}

export function createTurnableClock(): TurnableClock {
  let now = 1_750_000_000_000
  const due = new Set<{ readonly at: number; readonly work: () => Promise<void> }>()
  return {
    now: () => now,
    monotonic: () => now,
    schedule(milliseconds, work) {
      const entry = { at: now + milliseconds, work }
      due.add(entry)
      return () => void due.delete(entry)
    },
    async advance(milliseconds) {
      now += milliseconds
      const ready = [...due].filter(({ at }) => at <= now)
      for (const entry of ready) due.delete(entry)
      await Promise.all(ready.map(({ work }) => work()))
    },
  }
}
