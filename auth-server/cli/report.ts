import { CommanderError } from 'commander'
import type { Finding } from '../config/rules.ts'
import { formatPath } from '../config/echo.ts'
import { PortreeveError } from '../errors.ts'
import { harmless, tame, toJson, wrapMessage, type Style } from './style.ts'
import { styleFor, type World } from './world.ts'

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
/** The messages of commander that say what is wrong, and not what would be right. */
const SAYS_NO_MORE = new Set([
  'commander.excessArguments',
  'commander.missingArgument',
  'commander.optionMissingArgument',
  'commander.unknownCommand',
  'commander.unknownOption',
])
const USAGE_HINT = 'Add --help to see how it is used.'
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
  stdout.write(`${report.text(styleFor(stdout, environment))}\n`)
  const style = styleFor(stderr, environment)
  for (const warning of warnings) stderr.write(`${formatWarning(warning, style)}\n`)
}

function formatWarning({ rule, path, message }: Warning, style: Style): string {
  const name = rule === undefined ? '' : `${rule}: `
  return setOff('warning:', `${formatPath(path)}: ${name}${harmless(message)}`, style, 'secret')
}

/** Writes why a command failed to standard error, and answers the exit code. */
export function printFailure(world: World, error: unknown, asJson: boolean): number {
  const { stderr, environment } = world
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return DONE
    if (!asJson && SAYS_NO_MORE.has(error.code)) stderr.write(`${USAGE_HINT}\n`)
    return WRONG_USAGE
  }
  const { code, message } = describeFailure(error)
  if (asJson) {
    const { mistakes } = (error instanceof Error ? (error.cause ?? {}) : {}) as {
      mistakes?: unknown
    }
    stderr.write(`${toJson({ error: { code, message, mistakes } })}\n`)
    return FAILED
  }
  const style = styleFor(stderr, environment)
  const more = NAMES_RULE.test(message) ? `\n${style.quiet(RULES_HINT)}` : ''
  stderr.write(`${formatError(message, style)}${more}\n`)
  return FAILED
}

/** As it is shown to a person on standard error. */
export function formatError(message: string, style: Style): string {
  return setOff('error:', tame(message), style, 'alert')
}

function setOff(label: string, message: string, style: Style, how: 'alert' | 'secret'): string {
  const text = wrapMessage(`${label} ${message}`, style.width)
  return style[how](label) + text.slice(label.length)
}

function describeFailure(error: unknown): { readonly code: string; readonly message: string } {
  if (error instanceof PortreeveError) return { code: error.code, message: error.message }
  if (!(error instanceof Error)) return { code: 'failed', message: String(error) }
  // What the system or the database refused says enough; anything else is our mistake to find.
  const isKnown = 'code' in error && typeof error.code === 'string'
  const message = isKnown ? error.message : (error.stack ?? error.message)
  return { code: 'failed', message }
}
