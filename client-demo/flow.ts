import { addAbortListener } from 'node:events'
import { performance } from 'node:perf_hooks'
import { setTimeout as wait } from 'node:timers/promises'
import { concealText, concealTexts } from './conceal.ts'
import type { ApiName } from './programs.ts'
import type { Check, EndReport, Fact, Reporter, StepReport, Table } from './report.ts'
import { writeValue, type Json, type Leaf } from './value.ts'
import type { Wire } from './wire.ts'
import type { World } from './world.ts'

/** A flow is a list of steps, each of which does real requests and compares what comes back. */
export interface Flow<Stage> {
  readonly name: string
  /** One sentence, without its full stop. */
  readonly summary: string
  /** The APIs that it calls; an authorization server it always has. */
  readonly needs: readonly ApiName[]
  /** Whether it shows more where sessions are in a Redis. */
  readonly likesRedis?: boolean
  /** Whether it lets a person sign in with a browser of their own. */
  readonly takesBrowser?: boolean
  readonly createStage: (
    world: World,
    stopped: AbortSignal,
    openBrowser: OpenBrowser | undefined,
  ) => Stage
  /** Its steps, in their order. */
  readonly listSteps: (stage: Stage) => readonly Step<Stage>[]
}

/** Opens a URL in the person's own browser, and says what to do there. */
export type OpenBrowser = (url: string, todo: string) => Promise<void>

export interface Step<Stage> {
  readonly title: string
  readonly why: string
  readonly run: (stage: Stage, notes: StepNotes) => Promise<void>
}

/** What a step finds out. */
export interface StepNotes {
  /** Compares; a difference ends the step, and the run. */
  check(what: string, expected: unknown, actual: unknown): void
  /** Something worth reading. */
  fact(name: string, value: Json, meaning: string): void
  /** What is best compared side by side; a step has one at most. */
  table(columns: readonly string[], rows: readonly (readonly Leaf[])[]): void
}

/** What a run needs beside its stage. */
export interface RunCollaborators {
  readonly flow: string
  readonly wire: Wire
  readonly reporter: Reporter
  /** Resolve if a process that the flow stands on ends. */
  readonly deaths: readonly Promise<Error>[]
  readonly stopped: AbortSignal
}

/** How long the end of a process may take to be noticed after a request to it failed. */
const DEATH_NOTICE_MS = 500

/** Runs the steps one after the other, and stops at the first that fails. */
export async function runSteps<Stage>(
  stage: Stage,
  steps: readonly Step<Stage>[],
  collaborators: RunCollaborators,
): Promise<EndReport> {
  const start = performance.now()
  const reports: StepReport[] = []
  for (const [index, step] of steps.entries()) {
    const report = await runStep(stage, step, index + 1, collaborators)
    collaborators.stopped.throwIfAborted()
    collaborators.reporter.step(report)
    reports.push(report)
    if (!report.ok) break
  }
  const failed = reports.find(({ ok }) => !ok)
  return {
    type: 'end',
    flow: collaborators.flow,
    ok: failed === undefined,
    steps: reports.length,
    checks: reports.flatMap(({ checks }) => checks).length,
    ...(failed ? { failed: `${failed.number} ${failed.title}` } : {}),
    durationMs: elapsedSince(start),
  }
}

async function runStep<Stage>(
  stage: Stage,
  { title, why, run }: Step<Stage>,
  number: number,
  { flow, wire, deaths, stopped }: RunCollaborators,
): Promise<StepReport> {
  const start = performance.now()
  const facts: Fact[] = []
  const checks: Check[] = []
  let table: Table | undefined
  const notes: StepNotes = {
    check(what, expected, actual) {
      const check = compare(what, expected, actual, wire)
      checks.push(check)
      if (!check.ok) throw new Difference(check)
    },
    fact(name, value, meaning) {
      const fact = wire.hideSecrets({ name, value, meaning })
      facts.push({ ...fact, value: concealTexts(fact.value) })
    },
    table(columns, rows) {
      table = wire.hideSecrets({ columns, rows })
    },
  }
  const ended = Promise.race(deaths)
  const failure = await Promise.race([
    run(stage, notes).then(
      () => undefined,
      (error: unknown) => explainFailure(error, ended, stopped),
    ),
    ended.then(({ message }) => message),
    aborted(stopped),
  ])
  const exchanges = wire.take()
  const ok = failure === undefined
  const durationMs = elapsedSince(start)
  const end = ok
    ? { ok, durationMs }
    : { ok, failure: concealText(wire.hideSecrets(failure)), durationMs }
  const seen = { exchanges, facts, ...(table ? { table } : {}), checks }
  return { type: 'step', flow, number, title, why, ...seen, ...end }
}

class Difference extends Error {
  override readonly name = 'Difference'

  constructor({ what, expected, actual }: Check) {
    super(`${what}: expected ${writeValue(expected)}, got ${writeValue(actual)}`, {
      cause: { expected, actual },
    })
  }
}

function compare(what: string, expected: unknown, actual: unknown, wire: Wire): Check {
  const shown = wire.hideSecrets({ what, expected, actual })
  return {
    what: shown.what,
    expected: concealTexts(shown.expected),
    actual: actual === undefined ? undefined : concealTexts(shown.actual),
    ok: writeValue(expected) === writeValue(actual),
  }
}

/** A request fails because of the process that ended, which is the better explanation. */
async function explainFailure(
  thrown: unknown,
  ended: Promise<Error>,
  stopped: AbortSignal,
): Promise<string> {
  if (thrown instanceof Difference) return thrown.message
  const soon = wait(DEATH_NOTICE_MS, undefined, { signal: stopped }).catch(() => undefined)
  const death = await Promise.race([ended, soon])
  return (death ? [death] : listCauses(thrown)).map(({ message }) => message).join(': ')
}

function listCauses(error: unknown): { readonly message: string }[] {
  if (!(error instanceof Error)) return error === undefined ? [] : [{ message: writeValue(error) }]
  return [error, ...listCauses(error.cause)]
}

function aborted(signal: AbortSignal): Promise<string> {
  return new Promise((resolve) => {
    addAbortListener(signal, () => resolve('stopped'))
  })
}

function elapsedSince(start: number): number {
  return Math.round(performance.now() - start)
}
