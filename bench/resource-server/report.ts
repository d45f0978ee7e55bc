import {
  countMissed,
  describeMachine,
  tabulateVerdicts,
  writeTable,
  type Table,
  type Verdict,
} from '../page.ts'
import { describeLoad, findNoise, formatMegabytes, type Measurements } from './bars.ts'
import { CONTENDERS, type Contender } from './contenders.ts'
import { readVersion } from './dependencies.ts'
import { CONNECTIONS } from './load.ts'
import type { LoopName } from './loops.ts'
import { LOADS, type Lap, type Load, type Result } from './race.ts'
import { ALGORITHMS, type Algorithm } from './setup.ts'

/** How a run was made, for those who compare it with another. */
export interface Circumstances {
  readonly rounds: number
  readonly seconds: number
  readonly loader: string
  readonly cores: string
  /** Processes that wanted a core on average, at the start: how much else there was to do. */
  readonly loadAtStart: number
}

/** The table of all contenders under one load, with the reasons of those that fail. */
export function tabulate(laps: readonly Lap[], load: Load): Table {
  const notes: string[] = []
  const lines = CONTENDERS.filter(({ name }) => laps.some(({ results }) => results.has(name))).map(
    (contender) => [
      contender.label,
      ...ALGORITHMS.flatMap((algorithm) => {
        const result = findResult(laps, algorithm, load, contender)
        return describeResult(result, (why) => {
          if (!notes.includes(why)) notes.push(why)
          return notes.indexOf(why) + 1
        })
      }),
    ],
  )
  const head = ALGORITHMS.flatMap((algorithm) => [algorithm, 'best', 'µs'])
  return { head: [describeLoad(load), ...head], lines, notes }
}

export function findResult(
  laps: readonly Lap[],
  algorithm: Algorithm,
  load: Load,
  { name }: Contender,
): Result | undefined {
  return laps.find((lap) => lap.algorithm === algorithm && lap.load === load)?.results.get(name)
}

function describeResult(result: Result | undefined, note: (why: string) => number): string[] {
  if (result === undefined) return ['', '', '']
  if (result.kind === 'fails') return [`fails (${note(result.why)})`, '', '']
  const { ratio, best, cost } = result
  const spread = `${ratio.low.toFixed(2)}–${ratio.high.toFixed(2)}`
  return [`${ratio.median.toFixed(2)} (${spread})`, best.toFixed(2), cost.median.toFixed(0)]
}

const LOOP_LABELS: Readonly<Record<LoopName, string>> = {
  raw: 'node:crypto, the signature alone',
  jose: 'jose, jwtVerify with a remote key set',
  cold: 'a token that is not in the cache',
  warm: 'a token that is in the cache',
  'warm, 1000 tokens': '1000 tokens that are in the cache, in turn',
  dpop: 'a DPoP proof, with the record of its use',
}

export function tabulateLoops({ loops }: Measurements): Table {
  const lines = loops.results.map(({ algorithm, name, cost, ofRaw }) => [
    algorithm,
    LOOP_LABELS[name],
    cost.median.toFixed(2),
    `${cost.low.toFixed(2)}–${cost.high.toFixed(2)}`,
    ofRaw.toFixed(2),
  ])
  return {
    head: ['in a loop, without HTTP', '', 'µs', 'half of the rounds', 'of the raw signature check'],
    lines,
    notes: loops.hasCache ? [] : ['The verifier of this run has no cache: all is cold.'],
  }
}

export function describeMemory({ memory, soak }: Measurements): readonly string[] {
  const { tokens, bytesPerToken, growth } = memory
  const each =
    bytesPerToken === undefined
      ? 'The verifier keeps no tokens.'
      : `A cached token takes ${bytesPerToken.toFixed(0)} bytes (${tokens} distinct ES256 tokens, after a garbage collection).`
  const steps = growth.map(formatMegabytes).join(', ')
  return [
    each,
    `A verifier as it comes, shown ${tokens} new tokens at a time, holds ${steps}.`,
    ...(soak ? describeSoak(soak) : ['No soak in this run (`--soak 10`).']),
  ]
}

function describeSoak({
  minutes,
  requests,
  statuses,
  heap,
}: NonNullable<Measurements['soak']>): readonly string[] {
  const answers = Object.entries(statuses).map(([status, count]) => `${count} × ${status}`)
  return [
    `${minutes} minutes of random bad tokens: ${requests} requests, answered ${answers.join(', ')}.`,
    `The heap after each minute, after a garbage collection: ${heap.map(formatMegabytes).join(', ')}.`,
  ]
}

/** The page under `docs/benchmarks/`. */
export function writePage(
  measurements: Measurements,
  verdicts: readonly Verdict[],
  circumstances: Circumstances,
  chart: string,
): string {
  return `# The resource server's speed

Written by \`npm run bench -- resource-server\`, which replaces this file; do not edit it.

![Each contender's speed beside that of bare Koa](${chart})

${countMissed(verdicts)}

${writeTable(tabulateVerdicts(verdicts))}

## What a request costs

Processor time of the server process a request, as a ratio to bare Koa without any check in the same round: 1.00 is as fast as no check. The median of ${circumstances.rounds} rounds, and the range that half of them lie in; "best" compares the cheapest round of each, which other work on the machine disturbs least; µs is the processor time itself.

${LOADS.map((load) => writeTable(tabulate(measurements.laps, load))).join('\n\n')}

${describeNoise(measurements.laps)}

## What a check costs

${writeTable(tabulateLoops(measurements))}

## What it holds

${describeMemory(measurements).join('\n\n')}

## How it is measured

- Each contender is a process of its own; ${circumstances.cores}. ${circumstances.loader} sends requests over ${CONNECTIONS} connections kept alive, as fast as answers come. ${describeMachine()}; load of the machine at the start ${circumstances.loadAtStart.toFixed(1)}.
- The contenders take turns of ${circumstances.seconds} s, round by round and in changing order, after a warm-up of 3 s. What counts is the time that all threads of the process were on a core, so what else the machine does disturbs less than it would a count of requests.
- The issuer publishes a key set with two keys and its metadata over HTTP on loopback. Each contender is set up as its README advises, with issuer, audience and algorithm, and checks a scope in its handler; all give the same JSON; the token is sent to every one, bare Koa too. Before it is measured, each must let a good token through and refuse a forged one and one without the scope.
- With 1000 tokens in rotation no connection sees a token twice in a row.
- The loops run in one process, ${circumstances.cores.startsWith('not') ? 'unpinned' : 'on core 0'}, side by side in 31 rounds.
- Not measured: TLS, HTTP/2, bodies, several processes.

${listVersions()}
`
}

function describeNoise(laps: readonly Lap[]): string {
  const all = laps.map(
    (lap) => `${lap.algorithm}, ${describeLoad(lap.load)} ±${findNoise(lap).toFixed(2)}`,
  )
  return `The noise of this run is how far the median of a middleware that does nothing may be from 1.00 (19 times of 20): ${all.join('; ')}.`
}

function listVersions(): string {
  const names = [...new Set(CONTENDERS.flatMap(({ packages }) => packages))]
  return `Versions: ${names.map((name) => `${name} ${readVersion(name) ?? 'missing'}`).join(', ')}.`
}
