import {
  countMissed,
  describeMachine,
  tabulateVerdicts,
  writeTable,
  type Table,
  type Verdict,
} from '../page.ts'
import {
  comparePauses,
  countBytes,
  describeFaults,
  findNoise,
  formatCount,
  formatMs,
  percentile,
  type Measurements,
} from './bars.ts'
import type { ColdStart } from './cold-start.ts'
import type { CutResult } from './cuts.ts'
import type { Outage } from './outage.ts'
import type { Propagation } from './propagation.ts'
import type { ViewCosts } from './view.ts'

/** How a run was made, for those who compare it with another. */
export interface Circumstances {
  readonly instances: number
  readonly apis: number
  readonly postgres: string
  readonly loadAtStart: number
}

const SHARES = [0.5, 0.9, 0.99, 1]

function tabulatePropagation(measured: Propagation): Table {
  return {
    head: ['from the answer to a revocation', 'p50', 'p90', 'p99', 'at most'],
    lines: [
      describeTimes('to the refusal by the last API', measured.last),
      describeTimes('to the refusal by an API', measured.each),
      describeTimes('control: to the answer to a request', measured.latencies),
      describeTimes('the revocation itself', measured.calls),
    ],
    notes: [],
  }
}

function describeTimes(name: string, values: readonly number[]): readonly string[] {
  return [name, ...SHARES.map((share) => formatMs(percentile(values, share)))]
}

function tabulateCuts(cuts: readonly CutResult[]): Table {
  return {
    head: [
      'the way to the issuer',
      'cuts',
      'revoked meanwhile',
      'last refusal after the return',
      'missed',
      'answers',
    ],
    lines: cuts.map(({ how, seconds, after, revocations, missed, faults }) => [
      how === 'broken' ? `connections break, ${seconds} s` : `nothing gets through, ${seconds} s`,
      String(after.length),
      String(revocations),
      after.map(formatMs).join(', '),
      String(missed),
      describeFaults(faults),
    ]),
    notes: [],
  }
}

function tabulateOutage({ policies, youngSeconds }: Outage): Table {
  return {
    head: [
      'while the issuer is dead',
      'last let in',
      'first refused',
      'with',
      'let in again',
      'back',
    ],
    lines: policies.map(({ name, lastLetIn, firstRefusal, refusals, letInAgain, back }) => [
      name.replace('young', `young(${youngSeconds})`),
      formatSeconds(lastLetIn),
      firstRefusal === undefined ? 'never' : formatSeconds(firstRefusal),
      refusals.join(', '),
      String(letInAgain),
      formatSeconds(back),
    ]),
    notes: [],
  }
}

function formatSeconds(seconds: number): string {
  return Number.isFinite(seconds) ? `${seconds.toFixed(1)} s` : 'not yet'
}

function tabulateView(view: ViewCosts): Table {
  return {
    head: ['in a loop, without HTTP', ''],
    lines: [
      ['a warm check without the view', `${view.warmMicroseconds.toFixed(2)} µs`],
      ['with it, as a part of the speed without', formatRange(view.warmRatio)],
      ['control: a second one without', formatRange(view.controlRatio)],
      ['a check after news, each time', `${view.newsMicroseconds.toFixed(2)} µs`],
      [`an entry, of ${formatCount(view.entries)}`, `${view.bytesPerEntry.toFixed(1)} bytes`],
      ['adding one', `${view.addMicroseconds.toFixed(2)} µs`],
      ['looking one up', `${view.lookUpMicroseconds.toFixed(2)} µs`],
    ],
    notes: [],
  }
}

function formatRange({ median, low, high }: ViewCosts['warmRatio']): string {
  return `${median.toFixed(3)} (${low.toFixed(3)}–${high.toFixed(3)})`
}

function tabulateColdStart(coldStart: ColdStart): Table {
  const lines = coldStart.starts.map((start, place) => {
    const { own, controls } = comparePauses({ ...coldStart, starts: [start] })
    const { resident } = start.memory
    return [
      String(place + 1),
      `${start.seconds.toFixed(1)} s`,
      `${(countBytes(start) / 1e6).toFixed(1)} MB`,
      `${(resident / 1e6).toFixed(0)} MB`,
      formatMs(own),
      formatMs(controls),
    ]
  })
  return {
    head: [
      'start',
      'all known after',
      'holds',
      'of the system',
      'p99 meanwhile',
      'p99 of the controls',
    ],
    lines,
    notes: [],
  }
}

/** For the terminal, of whatever was measured. */
export function tabulateAll(measurements: Measurements): readonly Table[] {
  const { propagation, cuts, outage, view, coldStart } = measurements
  return [
    ...(propagation ? [tabulatePropagation(propagation)] : []),
    ...(cuts ? [tabulateCuts(cuts)] : []),
    ...(outage ? [tabulateOutage(outage)] : []),
    ...(view ? [tabulateView(view)] : []),
    ...(coldStart ? [tabulateColdStart(coldStart)] : []),
  ]
}

/** The page under `docs/benchmarks/`. */
export function writePage(
  { propagation, cuts, outage, view, coldStart }: Required<Measurements>,
  verdicts: readonly Verdict[],
  { instances, apis, postgres, loadAtStart }: Circumstances,
  chart: string,
): string {
  const { last, wantedPerSecond, perSecond, missed, faults } = propagation
  const { noise } = comparePauses(coldStart)
  return `# How soon revoked is refused

Written by \`npm run bench -- revocation\`, which replaces this file; do not edit it. What is promised, and why it comes out so: [docs/revocation.md](../revocation.md).

![Share of revocations in force by time, and answers while the issuer is dead](${chart})

${countMissed(verdicts)}

${writeTable(tabulateVerdicts(verdicts))}

## A revocation, until it is refused everywhere

${last.length + missed} access tokens are given back (\`/revoke\`) at ${instances} instances in turn, 20 a second, while ${apis} APIs have ${wantedPerSecond} requests a second in all. ${missed} were missed; ${describeFaults(faults)}.

${writeTable(tabulatePropagation(propagation))}

The requests are the clock: most come with the token that is being revoked, so that each API sees it every 3 ms, and a refusal counts from when its answer has arrived. The control is what any request took in the same run, ${perSecond.toFixed(0)} of them a second: no refusal can be seen sooner than that. What an API refuses before whoever revoked has the answer counts as 0 ms.

## While the issuer is cut off

${writeTable(tabulateCuts(cuts))}

## While the issuer is dead

All instances are ended by SIGKILL at the same moment, and started again ${outage.seconds.toFixed(0)} s later. Times count from their death; "back" from when the issuer could be reached again to when the last API let the token in. No view is stale later than ${outage.staleAfterSeconds} s after the last sign of life; then each route does what its \`whenStale\` says.

${writeTable(tabulateOutage(outage))}

## What a check costs

${writeTable(tabulateView(view))}

The ratios are those of ${view.rounds} rounds, with the range that half of them lie in. The noise is how far the median of two verifiers that differ by nothing may be from 1 (19 times of 20): ±${findNoise(view).toFixed(3)}.

## ${formatCount(coldStart.entries)} live entries

An API begins to follow while it has ${Math.round(coldStart.perSecond / 3)} requests a second, as have two others beside it that follow nothing.

${writeTable(tabulateColdStart(coldStart))}

"Holds" is what buffers and objects take beyond before, after a garbage collection; "of the system" is what the process was given beyond before, garbage included. The two controls differ by ${formatMs(noise)} in their p99 over all starts: that is the noise.

## How it is measured

- Each instance of the auth server (\`serve\`) and each API (the toolkit with \`createRevocationFeed\`, on Koa) is a process of its own. Instances share PostgreSQL ${postgres}, which waits for the disk at each commit, and stand behind one address, a balancer of TCP connections. ${describeMachine()}, which all of them and the load share; load of the machine at the start ${loadAtStart.toFixed(1)}.
- Requests are sent when they are due, however many are still under way, over connections kept alive; times count from when they were due. All APIs judge by the route \`open\`, which refuses only what is known to be revoked. One request in ten comes with a token that stays good, one with one that was refused before: neither may be answered differently.
- Each part begins with every token in the cache of every API, where a check is cheapest and a revocation easiest to overlook.
- A cut that lets anything through, or in which a revoked token is not used at every API, ends the run with an error.
- The million entries are written into the database by a statement, then read through the server's pages endpoint.
- Not measured: TLS, a network, more than one machine.

Again: \`npm run bench -- revocation\`, six minutes on a machine with two cores and PostgreSQL 15 or later; \`--short\` takes a minute, and publishes nothing.
`
}
