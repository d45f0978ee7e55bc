/**
 * Until when what was heard of an issuer may be taken for all that there is: it keeps `freshUntil`. All in
 * milliseconds.
 */
export interface Freshness {
  /** A connection was asked for at that monotonic time: the beats that follow were made after it. */
  connect(askedAt: number): void
  /**
   * Takes a beat that the issuer made at its time `madeAt`. The view is fresh from now on, unless
   * `isComplete` is false. `'repeated'`: it was made when the last one was, and says nothing new;
   * `'earlier'`: before it. `'late'`: it is of before, and so will be those that follow it.
   */
  beat(
    madeAt: number,
    isComplete: boolean,
    now: FreshnessNow,
  ): 'new' | 'repeated' | 'earlier' | 'late'
  /** From now on it is not, until the next beat. */
  end(): void
  /** The issuer's time; `undefined` before the first beat. */
  issuerTime(now: number): number | undefined
  /** Since the last new beat; `undefined` before the first. */
  ageSeconds(now: number): number | undefined
}

export interface FreshnessNow {
  readonly monotonic: number
  /** By this machine's own clock. */
  readonly wall: number
}

interface Connection {
  readonly askedAt: number
  /** The issuer's time of its first beat. */
  firstMadeAt: number | undefined
}

/**
 * Keeps the time by the monotonic clock alone, so that the clocks of issuer and API may differ by
 * anything. A beat counts from when it was made, at the earliest: the first one of a connection after the
 * connection was asked for, the others by how much later than the first they were made. So what is held
 * up on its way makes nothing look fresh that is not.
 *
 * Beats have to advance. On a new connection, one may be behind the last by no more than `staleAfterMs`,
 * or it is taken for a copy out of a cache; unless it agrees with this machine's clock, because issuers'
 * clocks are set right, too.
 */
export function createFreshness(staleAfterMs: number, pulse: { freshUntil: number }): Freshness {
  let last: { readonly madeAt: number; readonly arrivedAt: number } | undefined
  let connection: Connection = { askedAt: -Infinity, firstMadeAt: undefined }
  const issuerTime = (now: number) => last && last.madeAt + now - last.arrivedAt

  function isTimely(madeAt: number, { monotonic, wall }: FreshnessNow): boolean {
    return madeAt >= Math.min(issuerTime(monotonic) ?? madeAt, wall) - staleAfterMs
  }

  return {
    connect(askedAt) {
      connection = { askedAt, firstMadeAt: undefined }
    },
    beat(madeAt, isComplete, now) {
      if (connection.firstMadeAt === undefined) {
        if (last !== undefined && !isTimely(madeAt, now)) return 'late'
      } else if (last !== undefined && madeAt <= last.madeAt) {
        return madeAt === last.madeAt ? 'repeated' : 'earlier'
      }
      connection.firstMadeAt ??= madeAt
      last = { madeAt, arrivedAt: now.monotonic }
      const made = Math.min(connection.askedAt + madeAt - connection.firstMadeAt, now.monotonic)
      if (made + staleAfterMs <= now.monotonic) return 'late'
      if (isComplete) pulse.freshUntil = Math.max(pulse.freshUntil, made + staleAfterMs)
      return 'new'
    },
    end() {
      pulse.freshUntil = -Infinity
    },
    issuerTime,
    ageSeconds: (now) => last && (now - last.arrivedAt) / 1000,
  }
}
