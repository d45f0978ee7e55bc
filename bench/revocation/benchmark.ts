import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { findEngine } from '../../test/support/engines/find.ts'
import { startPostgres, type Postgres } from '../../test/support/engines/postgres.ts'
import { publish, readLoad, showTable, tabulateVerdicts, warnIfBusy } from '../page.ts'
import { judge, type Measurements } from './bars.ts'
import { drawChart } from './chart.ts'
import { measureColdStart } from './cold-start.ts'
import { measureCuts } from './cuts.ts'
import { readOptions, type Options, type Part } from './options.ts'
import { measureOutage } from './outage.ts'
import { measurePropagation } from './propagation.ts'
import { tabulateAll, writePage } from './report.ts'
import type { ViewCosts } from './view.ts'
import { createIssuer } from './world.ts'

const NAME = 'revocation'
const INSTANCES = 2
const APIS = 5
const VIEW = path.join(import.meta.dirname, 'view.ts')
/** They share one deployment. */
const LIVE: readonly Part[] = ['propagation', 'cuts', 'outage']

/**
 * How soon what is revoked is refused everywhere, whatever breaks, and what knowing it costs. Answers
 * whether every bar is met. A whole run is published under `docs/benchmarks/`, whatever it shows.
 */
export async function benchRevocation(args: readonly string[]): Promise<boolean> {
  const options = readOptions(args)
  if (typeof options === 'string') {
    console.error(options)
    return false
  }
  const engine = findEngine('postgres')
  if (typeof engine === 'string') {
    console.error(`Two instances need a database that they share: ${engine}`)
    return false
  }
  const loadAtStart = readLoad()
  warnIfBusy(loadAtStart)
  const measurements = await measure(options)
  const verdicts = judge(measurements)
  for (const table of tabulateAll(measurements)) showTable(table)
  showTable(tabulateVerdicts(verdicts))
  if (options.isWhole && isWhole(measurements)) {
    const circumstances = {
      instances: INSTANCES,
      apis: APIS,
      postgres: engine.version,
      loadAtStart,
    }
    const page = writePage(measurements, verdicts, circumstances, `${NAME}.svg`)
    publish(NAME, page, drawChart(measurements))
  }
  return verdicts.every(({ isMet }) => isMet)
}

async function measure(options: Options): Promise<Measurements> {
  const { parts, view, coldStart } = options
  await using postgres = await startPostgres()
  return {
    ...(LIVE.some((part) => parts.includes(part)) ? await measureLive(postgres, options) : {}),
    ...(parts.includes('cold-start')
      ? { coldStart: await measureColdStart(await postgres.createDatabase(), coldStart) }
      : {}),
    ...(parts.includes('view') ? { view: runView(view.entries, view.rounds) } : {}),
  }
}

async function measureLive(
  postgres: Postgres,
  { parts, propagation, cuts, outage }: Options,
): Promise<Measurements> {
  await using issuer = await createIssuer(postgres.url)
  await issuer.startInstances(INSTANCES)
  const [old = ''] = await issuer.issueTokens(1)
  const apis = await issuer.startApis(APIS, { follows: true, ...outage })
  await Promise.all(apis.map((api) => api.follow(old)))
  console.log(`${INSTANCES} instances and ${APIS} APIs are there.`)
  const measured: { -readonly [Name in keyof Measurements]: Measurements[Name] } = {}
  if (parts.includes('propagation')) {
    measured.propagation = await measurePropagation(issuer, apis, propagation)
    console.log('Revocations are measured.')
  }
  if (parts.includes('cuts')) {
    measured.cuts = [
      await measureCuts(issuer, apis, 'broken', cuts),
      await measureCuts(issuer, apis, 'silent', cuts),
    ]
    console.log('Cuts are measured.')
  }
  if (parts.includes('outage')) {
    measured.outage = await measureOutage(issuer, apis, { old, instances: INSTANCES }, outage)
    console.log('A dead issuer is measured.')
  }
  return measured
}

function runView(entries: number, rounds: number): ViewCosts {
  const args = [VIEW, String(entries), String(rounds)]
  return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })) as ViewCosts
}

function isWhole(measurements: Measurements): measurements is Required<Measurements> {
  const { propagation, cuts, outage, view, coldStart } = measurements
  return [propagation, cuts, outage, view, coldStart].every((part) => part !== undefined)
}
