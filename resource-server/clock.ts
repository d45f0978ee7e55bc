/** The time, as a collaborator, so that tests can turn it. */
export interface Clock {
  /** Milliseconds since the epoch: what the times in a token are compared with. */
  now(): number
  /** Milliseconds since some moment in the past; setting the machine's clock does not move it. */
  monotonic(): number
  /** Runs `work` once after a delay, unless the returned function is called before. */
  schedule(milliseconds: number, work: () => Promise<void>): () => void
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  schedule(milliseconds, work) {
    const timer = setTimeout(() => void work(), milliseconds)
    // A program that has nothing else to do may end.
    timer.unref()
    return () => clearTimeout(timer)
  },
}

/** ISO 8601 in UTC. */
export function formatTime(milliseconds: number): string {
  return new Date(milliseconds).toISOString()
}
