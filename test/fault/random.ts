/** Numbers that come again with the same seed (mulberry32). Nothing here has to be unguessable. */
export function createRandom(seed: number): {
  /** A whole number from 0 up to, but not, `bound`. */
  below(bound: number): number
  pick<T>(choices: readonly T[]): T
} {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d_2b_79_f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (bound: number) => Math.floor(next() * bound)
  return {
    below,
    pick(choices) {
      const choice = choices[below(choices.length)]
      if (choice === undefined) throw new RangeError('nothing to choose from')
      return choice
    },
  }
}

export type Random = ReturnType<typeof createRandom>
