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
