/** What a row of measurements comes to. */
export interface Summary {
  readonly median: number
  /** Half of the measurements lie between `low` and `high`. */
  readonly low: number
  readonly high: number
}

export function summarise(values: readonly number[]): Summary {
  const sorted = values.toSorted((one, two) => one - two)
  return {
    median: readQuantile(sorted, 0.5),
    low: readQuantile(sorted, 0.25),
    high: readQuantile(sorted, 0.75),
  }
}

function readQuantile(sorted: readonly number[], share: number): number {
  const place = (sorted.length - 1) * share
  const below = sorted[Math.floor(place)] ?? Number.NaN
  const above = sorted[Math.ceil(place)] ?? Number.NaN
  return below + (above - below) * (place - Math.floor(place))
}
