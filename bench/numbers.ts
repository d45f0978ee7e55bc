/** What a row of measurements comes to. */
export interface Summary {
  readonly median: number
  /** Half of the measurements lie between `low` and `high`. */
  readonly low: number
  readonly high: number
  /** Between these two the median would be, in 19 of 20 runs like this one. */
  readonly surelyFrom: number
  readonly surelyTo: number
}

export function summarise(values: readonly number[]): Summary {
  const sorted = values.toSorted((one, two) => one - two)
  // How many of so many values are below their true median is a binomial number.
  const rank = Math.max(0, Math.floor(sorted.length / 2 - 0.98 * Math.sqrt(sorted.length)))
  return {
    median: readQuantile(sorted, 0.5),
    low: readQuantile(sorted, 0.25),
    high: readQuantile(sorted, 0.75),
    surelyFrom: sorted[rank] ?? Number.NaN,
    surelyTo: sorted[sorted.length - 1 - rank] ?? Number.NaN,
  }
}

/** `sorted`: from the least on. `share`: from 0 to 1. */
export function readQuantile(sorted: readonly number[], share: number): number {
  const place = (sorted.length - 1) * share
  const below = sorted[Math.floor(place)] ?? Number.NaN
  const above = sorted[Math.ceil(place)] ?? Number.NaN
  return below + (above - below) * (place - Math.floor(place))
}
