import type { Json } from './value.ts'

/**
 * What a run tells: the shape of `--json`, one JSON document a line. First a `StartReport`, then a
 * `StepReport` for each step, last an `EndReport`.
 */
export type RunReport = StartReport | StepReport | EndReport

export interface StartReport {
  readonly type: 'start'
  readonly flow: string
  readonly summary: string
  readonly issuer: string
  readonly api: string
  readonly processes: readonly { readonly name: string; readonly pid: number }[]
}

export interface StepReport {
  readonly type: 'step'
  readonly number: number
  readonly title: string
  /** Why this step is there, and why it ends as it does. */
  readonly why: string
  readonly exchanges: readonly Exchange[]
  readonly facts: readonly Fact[]
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

export interface Check {
  readonly what: string
  readonly expected: Json
  /** Absent where nothing came. */
  readonly actual: Json | undefined
  readonly ok: boolean
}

export interface EndReport {
  readonly type: 'end'
  readonly ok: boolean
  readonly steps: number
  readonly checks: number
  /** The number and title of the step that failed. */
  readonly failed?: string
  readonly durationMs: number
}

/** Where a run tells what it does. */
export interface Reporter {
  /** A flow will start, once its servers have. */
  prepare(flow: { readonly name: string; readonly summary: string }): void
  start(report: StartReport): void
  step(report: StepReport): void
  end(report: EndReport): void
  /** Something that the person has to do now. */
  ask(text: string, url: string): void
}
