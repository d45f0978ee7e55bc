import { styleText } from 'node:util'
import { escapeCharacter } from '../config/echo.ts'

/** How a text is set off on a terminal; without colours each answers the text as it is. */
export interface Style {
  readonly title: (text: string) => string
  readonly quiet: (text: string) => string
  readonly good: (text: string) => string
  readonly alert: (text: string) => string
  readonly secret: (text: string) => string
  /** Columns of the terminal; `undefined` where there is none, and nothing has to be short. */
  readonly width: number | undefined
}

export function createStyle(hasColours: boolean, width?: number): Style {
  const paint = (format: Parameters<typeof styleText>[0]) => (text: string) =>
    hasColours ? styleText(format, text, { validateStream: false }) : text
  return {
    title: paint('bold'),
    quiet: paint('dim'),
    good: paint('green'),
    alert: paint(['bold', 'red']),
    secret: paint(['bold', 'yellow']),
    width,
  }
}

/** What a terminal would obey is made visible. */
export function harmless(text: string): string {
  return text.replaceAll(/\p{C}/gu, escapeCharacter)
}

/** Of ISO 8601 what a table has room for: `2026-11-25T10:11:12Z`. */
export function shortenTime(time: string): string {
  return time.replace(/\.\d+Z$/, 'Z')
}

const LONGEST_LINE = 1000

/** The same for a message of several lines, none of which may fill the screen. */
export function tame(message: string): string {
  return message
    .split('\n')
    .map((line) => (line.length > LONGEST_LINE ? `${line.slice(0, LONGEST_LINE)}…` : line))
    .map(harmless)
    .join('\n')
}

/**
 * JSON that a terminal shows as it is: everything that it might obey is escaped. With `indent`, on
 * lines of its own.
 */
export function toJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, null, indent).replaceAll(/(?!\n)\p{C}/gu, (character) =>
    Array.from(
      { length: character.length },
      (_, index) => `\\u${character.charCodeAt(index).toString(16).padStart(4, '0')}`,
    ).join(''),
  )
}

/** What gives way where a terminal is too narrow: it is cut, and --json has it whole, or goes on below. */
export interface GivingColumn {
  readonly title: string
  readonly gives: 'cut' | 'wrap'
}

const GAP = '  '
/** Of what a column must have to say anything. */
const LEAST_COLUMN = 12

/** Columns under their titles, no wider than the terminal as far as those that give way allow it. */
export function formatTable(
  columns: readonly (string | GivingColumn)[],
  rows: readonly (readonly string[])[],
  style: Style,
): string {
  const titles = columns.map((column) => (typeof column === 'string' ? column : column.title))
  const cells = rows.map((row) => row.map(harmless))
  const natural = titles.map((title, column) =>
    Math.max(measure(title), ...cells.map((row) => measure(row[column] ?? ''))),
  )
  const giving = [...columns.keys()].filter((column) => typeof columns[column] !== 'string')
  const widths = fitWidths(natural, giving, style.width)
  const formatLine = (line: readonly string[]) =>
    line
      .map((cell, column) => cell + ' '.repeat((widths[column] ?? 0) - measure(cell)))
      .join(GAP)
      .trimEnd()
  const formatRow = (row: readonly string[]) => {
    const parts = row.map((cell, index) => fitCell(cell, columns[index], widths[index] ?? 0))
    const height = Math.max(...parts.map(({ length }) => length))
    return Array.from({ length: height }, (_, line) =>
      formatLine(parts.map((part) => part[line] ?? '')),
    ).join('\n')
  }
  return [style.title(formatLine(titles)), ...cells.map(formatRow)].join('\n')
}

/** Of those that give way, the widest goes first. */
function fitWidths(
  natural: readonly number[],
  giving: readonly number[],
  width: number | undefined,
): readonly number[] {
  if (width === undefined) return natural
  const widths = natural.map((one, column) =>
    giving.includes(column) ? Math.min(one, width) : one,
  )
  const measureAll = () => widths.reduce((sum, one) => sum + one + GAP.length, -GAP.length)
  while (measureAll() > width) {
    const [widest] = giving.toSorted((one, two) => (widths[two] ?? 0) - (widths[one] ?? 0))
    const current = widest === undefined ? 0 : (widths[widest] ?? 0)
    if (widest === undefined || current <= LEAST_COLUMN) break
    widths[widest] = current - 1
  }
  return widths
}

function fitCell(
  cell: string,
  column: string | GivingColumn | undefined,
  width: number,
): readonly string[] {
  if (measure(cell) <= width || column === undefined || typeof column === 'string') return [cell]
  if (column.gives === 'wrap') return wrapWords(cell, width, { breaksWords: true })
  return [
    `${Array.from(cell)
      .slice(0, width - 1)
      .join('')}…`,
  ]
}

/**
 * A message in lines no longer than the terminal is wide. What goes on stands under what it goes on
 * from. A word that is longer, such as a path, stays whole.
 */
export function wrapMessage(message: string, width: number | undefined): string {
  if (width === undefined) return message
  return message
    .split('\n')
    .flatMap((line) => {
      const [indent = ''] = /^ */.exec(line) ?? []
      const further = indent === '' ? '' : `${indent}  `
      const words = line.slice(indent.length)
      const lines = wrapWords(words, Math.max(width - further.length, LEAST_COLUMN))
      return lines.map((text, index) => (index === 0 ? indent : further) + text)
    })
    .join('\n')
}

function wrapWords(
  text: string,
  width: number,
  { breaksWords = false }: { readonly breaksWords?: boolean } = {},
): string[] {
  const lines: string[] = []
  let line: string | undefined
  for (const word of text.split(' ')) {
    if (line !== undefined && measure(line) + 1 + measure(word) <= width) {
      line = `${line} ${word}`
      continue
    }
    if (line !== undefined) lines.push(line)
    const pieces = breaksWords ? breakWord(word, width) : [word]
    lines.push(...pieces.slice(0, -1))
    line = pieces.at(-1) ?? ''
  }
  return [...lines, line ?? '']
}

function breakWord(word: string, width: number): string[] {
  const characters = Array.from(word)
  const count = Math.max(1, Math.ceil(characters.length / width))
  return Array.from({ length: count }, (_, index) =>
    characters.slice(index * width, (index + 1) * width).join(''),
  )
}

/** Lines of a name and its value; a list has a line for each entry. */
export function formatFields(
  fields: readonly (readonly [name: string, value: string | readonly string[]])[],
  style: Style,
): string {
  const width = Math.max(...fields.map(([name]) => measure(name)))
  return fields
    .flatMap(([name, value]) => {
      const lines = typeof value === 'string' ? [value] : value
      const shown = lines.length === 0 ? ['none'] : lines
      return shown.map((line, index) => {
        const label = (index === 0 ? name : '').padEnd(width)
        return `  ${style.quiet(label)}  ${harmless(line)}`
      })
    })
    .join('\n')
}

function measure(text: string): number {
  return Array.from(text).length
}
