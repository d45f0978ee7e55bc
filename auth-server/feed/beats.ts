/** How often each receiver is told where the log stands. A third of when it gives the feed up. */
export const BEAT_SECONDS = 5
/** Receivers are told in turns, so that ten thousand of them are not told at once. */
const TURNS = 50
const TURN_MS = (BEAT_SECONDS * 1000) / TURNS

/** Somebody who has to hear regularly. */
export interface BeatTaker {
  /** `turn`: how many times it was called before. */
  take(beat: SignedBeat, turn: number): void
}

export interface SignedBeat {
  readonly text: string
  readonly head: number
}

export interface Beats extends AsyncDisposable {
  /** From now on it is called every five seconds; at once the first time. */
  add(taker: BeatTaker): Promise<void>
  remove(taker: BeatTaker): void
  /** Calls everybody, once for each. */
  tell(tell: (taker: BeatTaker, beat: SignedBeat) => void): Promise<void>
}

/** Signs one beat for all whose turn it is. A beat that cannot be signed is left out, and reported. */
export function startBeats(
  sign: () => Promise<SignedBeat>,
  report: (error: unknown) => void,
): Beats {
  const turns = Array.from({ length: TURNS }, () => new Map<BeatTaker, number>())
  let now = 0
  let count = 0
  const beat = async (takers: Map<BeatTaker, number>) => {
    if (takers.size === 0) return
    const signed = await sign()
    for (const [taker, turn] of takers) {
      takers.set(taker, turn + 1)
      taker.take(signed, turn)
    }
  }
  const timer = setInterval(() => {
    now = (now + 1) % TURNS
    beat(turns[now] ?? new Map()).catch(report)
  }, TURN_MS)
  timer.unref()
  return {
    async add(taker) {
      const turn = turns[count % TURNS]
      count += 1
      turn?.set(taker, 0)
      const signed = await sign()
      // Meanwhile it may have gone, or have heard in its turn.
      if (turn?.get(taker) !== 0) return
      turn.set(taker, 1)
      taker.take(signed, 0)
    },
    remove(taker) {
      for (const takers of turns) takers.delete(taker)
    },
    async tell(tell) {
      if (turns.every(({ size }) => size === 0)) return
      const signed = await sign()
      for (const takers of turns) for (const taker of takers.keys()) tell(taker, signed)
    },
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
    },
  }
}
