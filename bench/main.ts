/**
 * Runs benchmarks by their names, all of them without one: `npm run bench -- storage`. What follows the
 * names goes to each: `npm run bench -- resource-server --rounds 2`.
 */
import { benchResourceServer } from './resource-server/benchmark.ts'
import { benchRevocation } from './revocation/benchmark.ts'
import { benchStorage } from './storage.ts'

const BENCHMARKS: Readonly<Record<string, (options: readonly string[]) => Promise<boolean>>> = {
  storage: benchStorage,
  'resource-server': benchResourceServer,
  revocation: benchRevocation,
}

const args = process.argv.slice(2)
const firstOption = args.findIndex((arg) => arg.startsWith('-'))
const names = firstOption === -1 ? args : args.slice(0, firstOption)
const options = args.slice(names.length)
const unknown = names.filter((name) => !(name in BENCHMARKS))
if (unknown.length > 0) {
  console.error(
    `No benchmark ${unknown.join(', ')}. There are: ${Object.keys(BENCHMARKS).join(', ')}`,
  )
  process.exitCode = 2
} else {
  for (const name of names.length > 0 ? names : Object.keys(BENCHMARKS)) {
    const isWithinBounds = await BENCHMARKS[name]?.(options)
    if (!isWithinBounds) process.exitCode = 1
  }
}
