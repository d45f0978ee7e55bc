import { systemClock } from '../../auth-server/clock.ts'

/** A clock that stands still until it is turned. */
export function createTestClock(start = 1_750_000_000_000): {
  now(): number
  advance(milliseconds: number): void
} {
  let now = start
  return {
    now: () => now,
    advance(milliseconds) {
      now += milliseconds
    },
  }
}

/** Resolves when another second has begun: what was revoked in one covers it to its end. */
export async function nextSecond(): Promise<void> {
  const now = second()
  while (second() === now) await new Promise(setImmediate)
}

function second(): number {
  return Math.floor(systemClock.now() / 1000)
}
