/** One of the sides of a comparison. */
export interface Side {
  readonly name: string
  /** Does the operation `count` times in each of `workers` at once, and answers the time it took (ms). */
  run(workers: number, count: number): Promise<number>
}

export interface Measured {
  readonly name: string
  /** Of all workers together; the median of the rounds. */
  readonly perSecond: number
  /** Milliseconds an operation, in each round. */
  readonly times: readonly number[]
}

const ROUNDS = 31
const TRIAL_COUNT = 5

/**
 * Runs the sides in turn, round by round, so that they share whatever else the machine does meanwhile.
 * Each side has about `milliseconds` a round.
 */
export async function compareSides(
  sides: readonly Side[],
  workers: number,
  milliseconds: number,
): Promise<readonly Measured[]> {
  const counts: number[] = []
  for (const side of sides) counts.push(await calibrate(side, workers, milliseconds))
  const times: number[][] = sides.map(() => [])
  for (let round = 0; round < ROUNDS; round += 1) {
    // Whoever comes first in a round is not always the same.
    const order = [...sides.keys()]
    if (round % 2 === 1) order.reverse()
    for (const place of order) {
      const count = counts[place] ?? 1
      const time = (await sides[place]?.run(workers, count)) ?? 0
      times[place]?.push(time / (count * workers))
    }
  }
  return sides.map(({ name }, place) => {
    const own = times[place] ?? []
    return { name, perSecond: 1000 / median(own), times: own }
  })
}

/** How many times as long as `other` it took, round by round; the median. */
export function compareTimes(one: Measured, other: Measured): number {
  return median(one.times.map((time, round) => time / (other.times[round] ?? Number.NaN)))
}

/** How often it has to be done to take so long. The first times, code is still being compiled. */
async function calibrate(side: Side, workers: number, milliseconds: number): Promise<number> {
  let count = TRIAL_COUNT
  for (;;) {
    const time = await side.run(workers, count)
    if (time > milliseconds / 4) return Math.max(1, Math.round((count * milliseconds) / time))
    count *= 4
  }
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((one, two) => one - two)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}
