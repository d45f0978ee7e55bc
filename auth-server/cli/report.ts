import { CommanderError } from 'commander'
import type { Finding } from '../config/rules.ts'
import { formatPath } from '../config/echo.ts'
import { PortreeveError } from '../errors.ts'
import { createStyle, harmless, tame, toJson, type Style } from './style.ts'
import { wantsColours, type World } from './world.ts'

/** What a command answers, for programs and for people. */
export interface Report {
  readonly json: Readonly<Record<string, unknown>>
  readonly text: (style: Style) => string
  /** What is allowed and worth a look. */
  readonly warnings?: readonly Warning[]
}

/** What breaks no rule was found by trying. */
export type Warning = Omit<Finding, 'rule'> & Partial<Pick<Finding, 'rule'>>

export const DONE = 0
const FAILED = 1
const WRONG_USAGE = 2
const NAMES_RULE = /\bPR\d{3}: /
const RULES_HINT = 'What each rule (PR…) is about: docs/configuration.md#rules'

/** Writes the answer to standard output, and warnings to standard error. */
export function printReport(world: World, report: Report, asJson: boolean): void {
  const { stdout, stderr, environment } = world
  const warnings = report.warnings ?? []
  if (asJson) {
    const document = { ...report.json, ...(warnings.length === 0 ? {} : { warnings }) }
    stdout.write(`${toJson(document)}\n`)
    return
  }
  stdout.write(`${report.text(createStyle(wantsColours(stdout, environment)))}\n`)
  const style = createStyle(wantsColours(stderr, environment))
  for (const warning of warnings) stderr.write(`${formatWarning(warning, style)}\n`)
}

function formatWarning({ rule, path, message }: Warning, style: Style): string {
  const name = rule === undefined ? '' : `${rule}: `
  return `${style.secret('warning:')} ${formatPath(path)}: ${name}${harmless(message)}`
}

/** Writes why a command failed to standard error, and answers the exit code. */
export function printFailure(world: World, error: unknown, asJson: boolean): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? DONE : WRONG_USAGE
  const { stderr, environment } = world
  const { code, message } = describeFailure(error)
  if (asJson) {
    const { mistakes } = (error instanceof Error ? (error.cause ?? {}) : {}) as {
      mistakes?: unknown
    }
    stderr.write(`${toJson({ error: { code, message, mistakes } })}\n`)
    return FAILED
  }
  const style = createStyle(wantsColours(stderr, environment))
  const more = NAMES_RULE.test(message) ? `\n${style.quiet(RULES_HINT)}` : ''
  stderr.write(`${style.alert('error:')} ${tame(message)}${more}\n`)
  return FAILED
}

function describeFailure(error: unknown): { readonly code: string; readonly message: string } {
  if (error instanceof PortreeveError) return { code: error.code, message: error.message }
  if (!(error instanceof Error)) return { code: 'failed', message: String(error) }
  // What the system or the database refused says enough; anything else is our mistake to find.
  const isKnown = 'code' in error && typeof error.code === 'string'
  const message = isKnown ? error.message : (error.stack ?? error.message)
  return { code: 'failed', message }
}
