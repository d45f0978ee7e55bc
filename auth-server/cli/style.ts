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
/** Of what a message must have to be read. */
const LEAST_WIDTH = 12

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
      const lines = wrapWords(words, Math.max(width - further.length, LEAST_WIDTH))
      return lines.map((text, index) => (index === 0 ? indent : further) + text)
    })
    .join('\n')
}

/** In lines of so many columns; a word that is longer stays whole. */
export function wrapWords(text: string, width: number): string[] {
  const lines: string[] = []
  let line: string | undefined
  for (const word of text.split(' ')) {
    if (line !== undefined && measure(line) + 1 + measure(word) <= width) {
      line = `${line} ${word}`
      continue
    }
    if (line !== undefined) lines.push(line)
    line = word
  }
  return [...lines, line ?? '']
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

/** How many columns it takes. */
export function measure(text: string): number {
  return Array.from(text).length
}
