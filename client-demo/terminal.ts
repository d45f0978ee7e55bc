import { STATUS_CODES } from 'node:http'
import { chooseWidth, formatPairs, layNames, measure, pad, wrap } from './layout.ts'
import type {
  Check,
  EndReport,
  Exchange,
  Fact,
  Fields,
  FlowHeading,
  Reporter,
  StartReport,
  StepReport,
  SummaryReport,
  Table,
} from './report.ts'
import { createStyle, type Output, type Style } from './style.ts'
import { showValue, writeValue, type Json, type Leaf } from './value.ts'

/** What a person reads: a block for each step, and a table at the end. */
export function createTerminalReporter(output: Output, columns = output.columns): Reporter {
  const width = chooseWidth(columns)
  const style = createStyle(output)
  const steps: StepReport[] = []
  let flows: readonly FlowHeading[] = []
  let begun = 0
  const print = (lines: readonly string[]) => void output.write(`${lines.join('\n')}\n`)
  return {
    prepare(coming, programs) {
      flows = coming
      print(formatPreparation(flows, programs, width, style))
    },
    start(report) {
      steps.length = 0
      begun += 1
      if (begun === 1) print(formatPlaces(report, width, style))
      if (flows.length > 1) print(formatHeading(report, begun, flows.length, width, style))
    },
    step(report) {
      steps.push(report)
      print(formatStep(report, width, style))
    },
    end: (report) => print(formatEnd(report, steps, width, style)),
    summary(report) {
      if (flows.length > 1) print(formatSummary(report, width, style))
      print(formatNext(report, width, style))
    },
    // An address that is broken into lines is none.
    ask: (text, url) => print(['', ...wrap(text, width).map(style.title), url]),
  }
}

function formatPreparation(
  flows: readonly FlowHeading[],
  programs: readonly string[],
  width: number,
  style: Style,
): string[] {
  const [only] = flows
  const title =
    only && flows.length === 1
      ? `Portreeve, the flow “${only.name}”: ${only.summary}.`
      : `Portreeve, ${flows.length} flows: ${flows.map(({ name }) => name).join(', ')}.`
  const starting = `Starting on free ports: ${programs.join(', ')} …`
  return [...wrap(title, width).map(style.title), '', ...wrap(starting, width), '']
}

function formatPlaces({ processes }: StartReport, width: number, style: Style): string[] {
  const places = processes.map(({ name, url }) => [name, url] as const)
  return [
    ...formatPairs(places, '  ', width, style.quiet),
    '',
    ...wrap(
      'All of it is fresh. Tokens are shown by their first twelve characters, short secrets not at all.',
      width,
    ),
  ]
}

function formatHeading(
  { flow, summary }: StartReport,
  number: number,
  count: number,
  width: number,
  style: Style,
): string[] {
  const title = `Flow ${number} of ${count}, “${flow}”: ${summary}.`
  return ['', '', style.quiet('━'.repeat(width)), ...wrap(title, width).map(style.title)]
}

function formatStep(step: StepReport, width: number, style: Style): string[] {
  const { number, title, why, exchanges, facts, table, checks, failure } = step
  const indent = '    '
  const room = width - indent.length
  const heading = wrap(title, room).map((line, index) =>
    index === 0
      ? `${style.quiet(String(number).padStart(2))}  ${style.title(line)}`
      : `${indent}${style.title(line)}`,
  )
  return [
    '',
    style.quiet('─'.repeat(width)),
    ...heading,
    ...wrap(why, room).map((line) => `${indent}${line}`),
    ...exchanges.flatMap((exchange, index) =>
      formatExchange(exchange, exchanges[index - 1], width, style),
    ),
    ...(facts.length > 0 ? ['', ...formatFacts(facts, width, style)] : []),
    ...(table ? ['', ...formatTable(table, style)] : []),
    ...(checks.length > 0 ? ['', ...formatChecks(checks, width, style)] : []),
    ...(failure === undefined ? [] : ['', ...formatFailure(failure, width, style)]),
  ]
}

/** A browser that follows a redirect within a server sends nothing worth a line of its own. */
function formatExchange(
  exchange: Exchange,
  before: Exchange | undefined,
  width: number,
  style: Style,
): string[] {
  const isHop = before !== undefined && isRedirect(before) && before.to === exchange.to
  const { to, purpose, method, url, sent } = exchange
  const target = style.quiet(`to the ${to}`)
  const head = `${style.sent('→')} ${style.title(method)} ${url}`
  const gap = width - 4 - measure(head) - measure(target)
  const request =
    gap < 2
      ? [...indentWrapped(head, width), `${INDENT}${target}`]
      : [`    ${head}${' '.repeat(gap)}${target}`]
  const heading = purpose === undefined ? [] : wrap(`${purpose}:`, width - 4)
  const above = heading.map((line) => `    ${style.quiet(line)}`)
  return [
    ...(isHop ? [] : ['', ...above, ...request, ...formatFields(sent, width, style)]),
    ...formatAnswer(exchange, width, style),
  ]
}

function formatAnswer(exchange: Exchange, width: number, style: Style): string[] {
  const { status, received } = exchange
  const line = `${style.received('←')} ${style.title(String(status))} ${STATUS_CODES[status] ?? ''}`
  // The query stands at the request that follows.
  if (isRedirect(exchange)) {
    return indentWrapped(
      `${line}, to ${showValue(received['location'] ?? '').split('?')[0]}`,
      width,
    )
  }
  return [`    ${line.trimEnd()}`, ...formatFields(received, width, style)]
}

/** What does not fit goes below, further in. */
function indentWrapped(text: string, width: number): string[] {
  return wrap(text, width - INDENT.length).map((line, index) =>
    index === 0 ? `    ${line}` : `${INDENT}${line}`,
  )
}

function isRedirect({ status, received }: Exchange): boolean {
  return status >= 300 && status < 400 && received['location'] !== undefined
}

const INDENT = ' '.repeat(8)

function formatFields(fields: Fields, width: number, style: Style): string[] {
  const pairs = Object.entries(fields).map(([name, value]) => [name, showValue(value)] as const)
  return pairs.length === 0 ? [] : formatPairs(pairs, INDENT, width, style.quiet)
}

const VALUE_COLUMN = 22

/** Name, value and meaning beside one another; the meaning below a value that takes its room. */
function formatFacts(facts: readonly Fact[], width: number, style: Style): string[] {
  const column = layNames(
    facts.map(({ name }) => name),
    width - 4,
  )
  const indent = ' '.repeat(4 + column.width)
  const room = width - indent.length
  return facts.flatMap(({ name, value: json, meaning }) => {
    const value = showValue(json)
    const isBeside = column.holds(name)
    const above = isBeside ? [] : wrap(name, width - 4).map((line) => `    ${style.title(line)}`)
    const start = `    ${pad(isBeside ? style.title(name) : '', column.width)}`
    const meanings = meaning === '' ? [] : wrap(meaning, room - VALUE_COLUMN).map(style.quiet)
    const below = `${indent}${' '.repeat(VALUE_COLUMN)}`
    if (measure(value) <= VALUE_COLUMN - 2) {
      const [first = '', ...rest] = meanings
      const beside = `${start}${first === '' ? value : pad(value, VALUE_COLUMN)}${first}`
      return [...above, beside, ...rest.map((line) => below + line)]
    }
    const [first = '', ...rest] = wrap(value, room)
    return [
      ...above,
      start + first,
      ...rest.map((line) => indent + line),
      ...meanings.map((line) => below + line),
    ]
  })
}

/** The first column says what a row is about; the others end at one edge. */
function formatTable({ columns, rows }: Table, style: Style): string[] {
  const written = columns.map((name, at) => [name, ...showColumn(rows.map((row) => row[at] ?? ''))])
  const padded = written.map((cells, at) => {
    const width = Math.max(...cells.map(measure))
    return cells.map((cell) => (at === 0 ? pad(cell, width) : cell.padStart(width)))
  })
  const lines = [-1, ...rows.keys()].map((row) => padded.map((cells) => cells[row + 1]).join('   '))
  return lines.map((line, index) => `    ${index === 0 ? style.quiet(line) : line}`)
}

/** Numbers of one column with as many decimals. */
function showColumn(cells: readonly Leaf[]): string[] {
  const isExact = cells.some((cell) => typeof cell === 'number' && !Number.isInteger(cell))
  return cells.map((cell) =>
    isExact && typeof cell === 'number' ? cell.toFixed(1) : showValue(cell),
  )
}

function formatChecks(checks: readonly Check[], width: number, style: Style): string[] {
  return checks.flatMap(({ what, expected, actual, ok }) => {
    const mark = ok ? style.good('✓') : style.bad('✗')
    const text = ok
      ? describeCheck(what, expected)
      : `${what}: expected ${writeValue(expected)}, got ${writeValue(actual)}`
    return wrap(text, width - 6).map((line, index) => `    ${index === 0 ? mark : ' '} ${line}`)
  })
}

function describeCheck(what: string, expected: Json): string {
  if (expected === true) return what
  return expected === false ? `no ${what}` : `${what}: ${writeValue(expected)}`
}

function formatFailure(failure: string, width: number, style: Style): string[] {
  return failure
    .split('\n')
    .flatMap((line) => wrap(line, width - 4))
    .map((line) => `    ${style.bad(line)}`)
}

function formatEnd(
  end: EndReport,
  steps: readonly StepReport[],
  width: number,
  style: Style,
): string[] {
  const room = width - 18
  const rows = steps.flatMap(({ number, title, ok, durationMs }) => {
    const mark = ok ? style.good('✓') : style.bad('✗')
    const time = style.quiet(`${durationMs} ms`.padStart(9))
    const [first = '', ...rest] = wrap(title, room)
    return [
      `  ${mark} ${String(number).padStart(2)}  ${pad(first, room)} ${time}`,
      ...rest.map((line) => `${' '.repeat(8)}${line}`),
    ]
  })
  const total = formatSeconds(end.durationMs)
  const verdict =
    end.failed === undefined
      ? style.good(
          `Everything is as it should be: ${end.steps} steps, ${end.checks} checks, ${total}.`,
        )
      : wrap(`Failed at step ${end.failed}`, width).map(style.bad).join('\n')
  return ['', style.quiet('─'.repeat(width)), ...rows, '', verdict]
}

/** A row for each flow; those that did not begin as well. */
function formatSummary(
  { ok, flows, notRun, durationMs }: SummaryReport,
  width: number,
  style: Style,
): string[] {
  const names = Math.max(...[...flows.map(({ flow }) => flow), ...notRun].map(measure)) + 2
  const row = (mark: string, name: string, text: string) => {
    const indent = ' '.repeat(4 + names)
    const [first = '', ...rest] = wrap(text, width - indent.length)
    return [`  ${mark} ${pad(name, names)}${first}`, ...rest.map((line) => indent + line)]
  }
  const rows = flows.flatMap((end) => {
    const counts = `${end.steps} steps, ${end.checks} checks, ${formatSeconds(end.durationMs)}`
    const mark = end.ok ? style.good('✓') : style.bad('✗')
    return row(mark, end.flow, end.failed === undefined ? counts : `failed at step ${end.failed}`)
  })
  const steps = sum(flows.map((end) => end.steps))
  const checks = sum(flows.map((end) => end.checks))
  const total = `${flows.length} flows, ${steps} steps, ${checks} checks, ${formatSeconds(durationMs)}`
  const failed = flows.filter((end) => !end.ok).length
  return [
    '',
    '',
    style.quiet('━'.repeat(width)),
    style.title('All flows'),
    '',
    ...rows,
    ...notRun.flatMap((name) => row(style.bad('-'), name, 'not run: a program had ended')),
    '',
    ok
      ? style.good(`Everything is as it should be: ${total}.`)
      : style.bad(
          `${failed} failed, ${notRun.length} not run, of ${flows.length + notRun.length}.`,
        ),
  ]
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}

function formatSeconds(durationMs: number): string {
  return `${(durationMs / 1000).toFixed(1)} s`
}

const NEXT = [
  ['npm start', 'the same servers with a web client, until you stop them'],
  ['npm run demo -- --list', 'the other flows; all runs every one of them'],
  ['npm run demo -- --browser', 'the main flow, with the sign-in in your own browser'],
  ['examples/', 'your own client and your own API, each in under 30 lines'],
  ['docs/configuration.md', 'every setting of the server'],
] as const

function formatNext({ ok }: SummaryReport, width: number, style: Style): string[] {
  if (!ok) return wrap('What was expected and what came stands above; --json has all of it.', width)
  return ['', 'What to do next:', ...formatPairs(NEXT, '  ', width, style.title)]
}
