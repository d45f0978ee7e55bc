/** Runs benchmarks by their names, all of them without one: `npm run bench -- storage`. */
import { benchStorage } from './storage.ts'

const BENCHMARKS: Readonly<Record<string, () => Promise<boolean>>> = { storage: benchStorage }

const names = process.argv.slice(2)
const unknown = names.filter((name) => !(name in BENCHMARKS))
if (unknown.length > 0) {
  console.error(
    `No benchmark ${unknown.join(', ')}. There are: ${Object.keys(BENCHMARKS).join(', ')}`,
  )
  process.exitCode = 2
} else {
  for (const name of names.length > 0 ? names : Object.keys(BENCHMARKS)) {
    const isWithinBounds = await BENCHMARKS[name]?.()
    if (!isWithinBounds) process.exitCode = 1
  }
}
