import type { Json, Leaf } from './value.ts'

/**
 * What a run tells: the shape of `--json`, one JSON document a line. For each flow a `StartReport`, a
 * `StepReport` for each step and an `EndReport`; last of all a `SummaryReport`. The schema of a line is
 * docs/transcript.schema.json.
 *
 * Lines rather than one document: a program can follow a run while it lasts, `grep` and `jq` work on
 * any part of it, and what a run has said is whole even where the run was cut off.
 */
export type RunReport = StartReport | StepReport | EndReport | SummaryReport

export interface StartReport {
  readonly type: 'start'
  readonly flow: string
  readonly summary: string
  readonly issuer: string
  readonly api: string
  readonly processes: readonly ProcessReport[]
}

/** A program that the flow stands on. */
export interface ProcessReport {
  readonly name: string
  readonly pid: number
  readonly url: string
}

export interface StepReport {
  readonly type: 'step'
  readonly flow: string
  readonly number: number
  readonly title: string
  /** Why this step is there, and why it ends as it does. */
  readonly why: string
  readonly exchanges: readonly Exchange[]
  readonly facts: readonly Fact[]
  readonly table?: Table
  /** Ends with the one that failed, where one did. */
  readonly checks: readonly Check[]
  readonly ok: boolean
  /** What went wrong beside the checks: a server that ended, an answer that nobody expected. */
  readonly failure?: string
  readonly durationMs: number
}

/** A request and its answer. Secrets and tokens are shortened. */
export interface Exchange {
  readonly to: string
  /** What tells it from others that look the same. Absent where there are none. */
  readonly purpose?: string
  readonly method: string
  /** Without its query, which stands in `sent`. */
  readonly url: string
  readonly sent: Fields
  readonly status: number
  readonly received: Fields
}

export type Fields = Readonly<Record<string, Json>>

/** Something that is worth reading in an answer, such as a claim. */
export interface Fact {
  readonly name: string
  readonly value: Json
  /** Empty where the value says enough. */
  readonly meaning: string
}

/** What is compared side by side. */
export interface Table {
  readonly columns: readonly string[]
  /** Each has a cell for each column. */
  readonly rows: readonly (readonly Leaf[])[]
}

export interface Check {
  readonly what: string
  readonly expected: Json
  /** Absent where nothing came. */
  readonly actual: Json | undefined
  readonly ok: boolean
}

export interface EndReport {
  readonly type: 'end'
  readonly flow: string
  readonly ok: boolean
  readonly steps: number
  readonly checks: number
  /** The number and title of the step that failed. */
  readonly failed?: string
  readonly durationMs: number
}

/** What became of all flows. */
export interface SummaryReport {
  readonly type: 'summary'
  /** Every check of every flow held. */
  readonly ok: boolean
  readonly flows: readonly EndReport[]
  /** Flows that did not begin, because a program had ended before. */
  readonly notRun: readonly string[]
  readonly durationMs: number
}

export interface FlowHeading {
  readonly name: string
  readonly summary: string
}

/** Where a run tells what it does. */
export interface Reporter {
  /** Flows will start, once these programs have. */
  prepare(flows: readonly FlowHeading[], programs: readonly string[]): void
  start(report: StartReport): void
  step(report: StepReport): void
  end(report: EndReport): void
  summary(report: SummaryReport): void
  /** Something that the person has to do now. */
  ask(text: string, url: string): void
}
