import type { Cores } from './cores.ts'
import { findFault, startContender, type ContenderProcess } from './contender-process.ts'
import { makeKeyPair, startIssuer } from './issuer.ts'
import type { Loader } from './load.ts'
import { summarise, type Summary } from '../numbers.ts'
import type { Options } from './options.ts'
import type { Algorithm } from './setup.ts'

/** How many tokens are in rotation. */
export type Load = (typeof LOADS)[number]

export const LOADS = [1, 1000] as const
const WARM_UP_SECONDS = 3

/** One contender with tokens of one algorithm under one load. */
export type Result =
  | {
      readonly kind: 'measured'
      /** Microseconds of processor time a request. */
      readonly cost: Summary
      /** The cost of bare Koa in the same round over this one's. */
      readonly ratio: Summary
      /** The same by the cheapest round of each: what it would be if nothing else were done meanwhile. */
      readonly best: number
    }
  | { readonly kind: 'fails'; readonly why: string }

export interface Lap {
  readonly algorithm: Algorithm
  readonly load: Load
  readonly results: ReadonlyMap<string, Result>
}

/** What takes part, started and found able to. */
interface Runner {
  readonly name: string
  readonly process: ContenderProcess
  /** Of each round so far, microseconds a request. */
  readonly costs: number[]
  failure: string | undefined
}

/**
 * All contenders with tokens of one algorithm, first under one load and then under the other. Round by
 * round each has its turn, so that they share whatever else the machine does meanwhile.
 */
export async function runRace(
  algorithm: Algorithm,
  { contenders, rounds, seconds }: Options,
  loader: Loader,
  cores: Cores,
): Promise<readonly Lap[]> {
  await using issuer = await startIssuer(algorithm)
  const tokens = Array.from({ length: Math.max(...LOADS) }, () => issuer.sign())
  const probes = {
    good: tokens[0] ?? '',
    unscoped: issuer.sign({ scope: 'openid' }),
    forged: issuer.sign({ key: makeKeyPair(algorithm).privateKey }),
  }
  await using started = new AsyncDisposableStack()
  const runners: Runner[] = []
  const unfit = new Map<string, string>()
  for (const { name, isGuarded } of contenders) {
    try {
      const contender = started.use(await startContender(name, issuer.setup, cores))
      const fault = await findFault(contender.url, probes, isGuarded)
      if (fault === undefined) {
        runners.push({ name, process: contender, costs: [], failure: undefined })
      } else unfit.set(name, fault)
    } catch (error) {
      unfit.set(name, error instanceof Error ? error.message : String(error))
    }
  }
  const laps: Lap[] = []
  for (const load of LOADS) {
    const own = runners.map((runner): Runner => ({ ...runner, costs: [], failure: undefined }))
    const send = tokens.slice(0, load)
    for (const runner of own) await takeTurn(runner, loader, send, WARM_UP_SECONDS)
    for (const runner of own) runner.costs.length = 0
    for (let round = 0; round < rounds; round += 1) {
      // Whoever comes first in a round is not always the same.
      const order = round % 2 === 0 ? own : own.toReversed()
      for (const runner of order) await takeTurn(runner, loader, send, seconds)
    }
    laps.push({ algorithm, load, results: summariseLap(own, unfit) })
  }
  return laps
}

async function takeTurn(
  runner: Runner,
  loader: Loader,
  tokens: readonly string[],
  seconds: number,
): Promise<void> {
  const before = await runner.process.readCpuTime()
  const { requests, failures } = await loader.run(runner.process.url, tokens, seconds)
  const after = await runner.process.readCpuTime()
  if (failures > 0) runner.failure = `${failures} of ${requests} answers were not 200`
  if (requests === 0) runner.failure = 'no request was answered'
  runner.costs.push((after - before) / requests)
}

function summariseLap(
  runners: readonly Runner[],
  unfit: ReadonlyMap<string, string>,
): ReadonlyMap<string, Result> {
  const [bare] = runners
  const results = new Map<string, Result>()
  for (const [name, why] of unfit) results.set(name, { kind: 'fails', why })
  for (const { name, costs, failure } of runners) {
    results.set(
      name,
      failure === undefined
        ? {
            kind: 'measured',
            cost: summarise(costs),
            best: Math.min(...(bare?.costs ?? [])) / Math.min(...costs),
            ratio: summarise(costs.map((cost, round) => (bare?.costs[round] ?? 0) / cost)),
          }
        : { kind: 'fails', why: failure },
    )
  }
  return results
}
