/**
 * Until when what was heard of an issuer may be taken for all that there is: it keeps `freshUntil`. All in
 * milliseconds.
 */
export interface Freshness {
  /**
   * A connection was asked for at the monotonic time `askedAt`, and the issuer has answered it at its own
   * time `greetedAt`: the beats that follow were made after that.
   */
  connect(askedAt: number, greetedAt: number): void
  /**
   * Takes a beat that the issuer made at its time `madeAt`, at the monotonic time `now`. The view is fresh
   * from now on, unless `isComplete` is false. `'repeated'`: it was made when the last one was, and says
   * nothing new; `'earlier'`: before it, or before the connection. `'late'`: it was held up for so long
   * that it says nothing any more, and so will be those that follow it.
   */
  beat(madeAt: number, isComplete: boolean, now: number): 'new' | 'repeated' | 'earlier' | 'late'
  /** From now on it is not, until the next beat. */
  end(): void
  /** The issuer's time; `undefined` before the first beat. */
  issuerTime(now: number): number | undefined
  /** Since the last new beat; `undefined` before the first. */
  ageSeconds(now: number): number | undefined
}

interface Connection {
  readonly askedAt: number
  readonly greetedAt: number
  /** The issuer's time of its last beat. */
  newestMadeAt: number | undefined
}

/**
 * Keeps the time by the monotonic clock alone, so that the clocks of issuer and API may differ by
 * anything, and be set at any time. A beat counts from when it was made, at the earliest: as much later
 * than its connection was asked for as it was made later than the issuer's greeting there. So neither what
 * is held up on its way makes anything look fresh that is not, nor what was recorded before. Beats have to
 * advance.
 */
export function createFreshness(staleAfterMs: number, pulse: { freshUntil: number }): Freshness {
  let last: { readonly madeAt: number; readonly arrivedAt: number } | undefined
  let connection: Connection | undefined
  return {
    connect(askedAt, greetedAt) {
      connection = { askedAt, greetedAt, newestMadeAt: undefined }
    },
    beat(madeAt, isComplete, now) {
      if (connection === undefined || madeAt < connection.greetedAt) return 'earlier'
      const { askedAt, greetedAt, newestMadeAt = -Infinity } = connection
      if (madeAt <= newestMadeAt) return madeAt === newestMadeAt ? 'repeated' : 'earlier'
      connection.newestMadeAt = madeAt
      last = { madeAt, arrivedAt: now }
      const made = Math.min(askedAt + madeAt - greetedAt, now)
      if (made + staleAfterMs <= now) return 'late'
      if (isComplete) pulse.freshUntil = Math.max(pulse.freshUntil, made + staleAfterMs)
      return 'new'
    },
    end() {
      pulse.freshUntil = -Infinity
    },
    issuerTime: (now) => last && last.madeAt + now - last.arrivedAt,
    ageSeconds: (now) => last && (now - last.arrivedAt) / 1000,
  }
}
