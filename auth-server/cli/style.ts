import { styleText } from 'node:util'
import { escapeCharacter } from '../config/echo.ts'

/** How a text is set off on a terminal; without colours each answers the text as it is. */
export interface Style {
  readonly title: (text: string) => string
  readonly quiet: (text: string) => string
  readonly good: (text: string) => string
  readonly alert: (text: string) => string
  readonly secret: (text: string) => string
}

export function createStyle(hasColours: boolean): Style {
  const paint = (format: Parameters<typeof styleText>[0]) => (text: string) =>
    hasColours ? styleText(format, text, { validateStream: false }) : text
  return {
    title: paint('bold'),
    quiet: paint('dim'),
    good: paint('green'),
    alert: paint(['bold', 'red']),
    secret: paint(['bold', 'yellow']),
  }
}

/** What a terminal would obey is made visible. */
export function harmless(text: string): string {
  return text.replaceAll(/\p{C}/gu, escapeCharacter)
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

/** Columns under their titles, two spaces apart. */
export function formatTable(
  titles: readonly string[],
  rows: readonly (readonly string[])[],
  style: Style,
): string {
  const cells = rows.map((row) => row.map(harmless))
  const widths = titles.map((title, column) =>
    Math.max(measure(title), ...cells.map((row) => measure(row[column] ?? ''))),
  )
  const formatRow = (row: readonly string[]) =>
    row
      .map((cell, column) => cell + ' '.repeat((widths[column] ?? 0) - measure(cell)))
      .join('  ')
      .trimEnd()
  return [style.title(formatRow(titles)), ...cells.map(formatRow)].join('\n')
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
