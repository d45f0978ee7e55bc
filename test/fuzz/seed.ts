import { randomInt } from 'node:crypto'
import * as fc from 'fast-check'
import { readEnvironment } from '../../auth-server/config/load.ts'

/** Set `FUZZ_SEED` to have the same values again. */
const SEED = Number(readEnvironment()['FUZZ_SEED'] ?? randomInt(2 ** 31))
console.log(`FUZZ_SEED=${SEED}`)

/** Tries a property on that many values, all of which follow from the seed that is printed. */
export async function tryOut(property: fc.IRawProperty<unknown>, numRuns: number): Promise<void> {
  await fc.assert(property, { seed: SEED, numRuns })
}
