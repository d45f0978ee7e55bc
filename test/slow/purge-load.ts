import { setTimeout as wait } from 'node:timers/promises'
import { expect } from 'vitest'
import { obtainTokens, refresh } from '../support/flow.ts'
import { makeFolder } from '../support/folder.ts'
import { writeConfig } from '../support/process.ts'
import { startProgram, type Program } from '../support/program.ts'
import { ENVIRONMENT } from '../support/server.ts'

export const ROWS = 1_000_000
const CLIENTS = 4
/** The server is to be busy, not overloaded: there, all that is measured is how long the queue is. */
const REST_MS = 20
const PURGE_WINDOW_MS = 1000
const CONTROL_WINDOW_MS = 1000
/** How much later one in a hundred requests may be answered while rows are purged. */
const MOST_P99_MS = 50
const LOOK_MS = 5
/** On a slow machine the rest is left. */
const MOST_MS = 240_000

export interface PurgeRun {
  readonly removed: number
  /** Those of the windows in which it purged. */
  readonly requests: number
  /** How many milliseconds later one in a hundred requests is answered while rows are purged. */
  readonly p99Difference: number
  /** Of a machine that is so busy that it does not keep to the bound by itself, no more can be told. */
  readonly p99Bound: number
}

/** A request counts where it had its whole life in a window of one kind. */
interface Window {
  readonly isPurge: boolean
  readonly latencies: number[]
}

/**
 * Lets clients refresh in a loop on a server that in turn purges and does not, until as many rows are
 * gone as there were, or four minutes have passed. `before`: what they expire before (ms).
 */
export async function purgeUnderLoad(databaseUrl: string, before: number): Promise<PurgeRun> {
  using folder = makeFolder()
  const config = writeConfig(folder.path)
  const environment = { ...ENVIRONMENT, DATABASE_URL: databaseUrl }
  const args = [config, databaseUrl, String(before)]
  await using program = startProgram('test/slow/purging-server.ts', args, { environment })
  const issuer = await program.firstLine
  if (issuer === undefined) throw new Error(`the server did not start: ${program.logged()}`)
  const windows: Window[] = [{ isPurge: false, latencies: [] }]
  const stop = new AbortController()
  // A code would be purged with the rest, before it is exchanged.
  const tokens = []
  for (let count = 0; count < CLIENTS; count += 1) tokens.push(await obtainTokens(issuer))
  const loads = Promise.all(
    tokens.map(({ refresh_token }) => refreshOn(issuer, refresh_token, windows, stop.signal)),
  )
  const working = purgeInTurns(program, windows).finally(() => stop.abort())
  const [milliseconds] = await Promise.all([working, loads])
  const [purging, control] = [true, false].map((isPurge) =>
    windows.filter((one) => one.isPurge === isPurge).flatMap(({ latencies }) => latencies),
  )
  const table = { 'while it purges': summarize(purging), control: summarize(control) }
  console.table(table)
  const removed = countRemoved(program)
  console.log(`${removed} rows in ${Math.round(milliseconds / 1000)} s of purging`)
  return {
    removed,
    requests: table['while it purges'].requests,
    p99Difference: table['while it purges'].p99 - table.control.p99,
    p99Bound: Math.max(MOST_P99_MS, table.control.p99),
  }
}

/** Answers the milliseconds in which it purged. */
async function purgeInTurns(program: Program, windows: Window[]): Promise<number> {
  let milliseconds = 0
  const end = performance.now() + MOST_MS
  while (countRemoved(program) < ROWS && performance.now() < end) {
    await wait(CONTROL_WINDOW_MS)
    const lines = countLines(program)
    const start = performance.now()
    windows.push({ isPurge: true, latencies: [] })
    program.signal('SIGUSR2')
    await wait(PURGE_WINDOW_MS)
    // It may have come to its end.
    if (countLines(program) === lines) program.signal('SIGUSR2')
    while (countLines(program) === lines) await wait(LOOK_MS)
    milliseconds += performance.now() - start
    windows.push({ isPurge: false, latencies: [] })
  }
  return milliseconds
}

async function refreshOn(
  issuer: string,
  first: string,
  windows: readonly Window[],
  signal: AbortSignal,
): Promise<void> {
  let token = first
  while (!signal.aborted) {
    const window = windows.at(-1)
    const start = performance.now()
    const { status, body } = await refresh(issuer, token)
    expect([status, body.error]).toEqual([200, undefined])
    token = body.refresh_token
    if (window === windows.at(-1)) window?.latencies.push(performance.now() - start)
    await wait(REST_MS)
  }
}

function countLines(program: Program): number {
  return program.printed().trimEnd().split('\n').length
}

/** The first line is the issuer. */
function countRemoved(program: Program): number {
  const [, ...counts] = program.printed().trimEnd().split('\n')
  return counts.reduce((sum, count) => sum + Number(count), 0)
}

function summarize(latencies: readonly number[] = []) {
  const sorted = latencies.toSorted((one, two) => one - two)
  const at = (share: number) =>
    Math.round((sorted[Math.floor((sorted.length - 1) * share)] ?? Number.NaN) * 10) / 10
  return { requests: sorted.length, p50: at(0.5), p90: at(0.9), p99: at(0.99), worst: at(1) }
}
