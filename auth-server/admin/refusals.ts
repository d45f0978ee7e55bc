import { formatPath } from '../config/echo.ts'
import { isRefusal, type Finding, type Path } from '../config/rules.ts'
import { describeIssues } from '../config/validate.ts'
import type { z } from 'zod'
import { PortreeveError, type ErrorCode } from '../errors.ts'

/** Where the configuration says the same things: `['clients', 0]`. */
type Place = readonly ['clients' | 'users', 0]

/** Parses what somebody asks for by the same schema as the configuration, or throws `invalid_input`. */
export function parseInput<Schema extends z.ZodType>(
  schema: Schema,
  input: unknown,
  place: Place,
): z.output<Schema> {
  const parsed = schema.safeParse(input, { reportInput: true })
  if (parsed.success) return parsed.data
  throw refuseInput(
    describeIssues(parsed.error.issues, place).map(({ path, message }) => ({
      path: path.slice(place.length),
      message,
    })),
  )
}

/** Throws `invalid_input` if a finding is a refusal; answers the warnings. */
export function refuseFindings(findings: readonly Finding[]): readonly Finding[] {
  const refusals = findings.filter(isRefusal)
  if (refusals.length > 0) {
    throw refuseInput(
      refusals.map(({ rule, path, message }) => ({ path, message: `${rule}: ${message}` })),
    )
  }
  return findings
}

const MOST_MISTAKES = 10

/** One refusal that lists everything that is wrong, up to what somebody may want to read. */
export function refuseInput(
  mistakes: readonly { readonly path: Path; readonly message: string }[],
  code: ErrorCode = 'invalid_input',
): PortreeveError {
  const shown = mistakes.slice(0, MOST_MISTAKES).map(({ path, message }) => ({ path, message }))
  const lines = shown.map(({ path, message }) => `${formatPath(path)}: ${message}`)
  const left = mistakes.length - shown.length
  const more = left > 0 ? [`… and ${left} more`] : []
  const text =
    lines.length === 1
      ? lines.join('')
      : [`${mistakes.length} mistakes:`, ...lines, ...more].join('\n  ')
  return new PortreeveError(code, text, { cause: { mistakes: shown } })
}

/** What belongs to the configuration file is changed there. */
export function refuseReadOnly(what: string, file: string | undefined): PortreeveError {
  const where = file === undefined ? 'a configuration file' : file
  return new PortreeveError('read_only', `${what} is declared in ${where}: change it there.`)
}
