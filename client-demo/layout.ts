import { stripVTControlCharacters } from 'node:util'

/** Text in columns, for terminals of any width. */

const NARROWEST = 60
const WIDEST = 100

export function chooseWidth(columns: number | undefined): number {
  return Math.min(Math.max(columns ?? WIDEST, NARROWEST), WIDEST)
}

/** Breaks a text at spaces, and a word that is longer than a line at marks in it if there are any. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ').flatMap((whole) => cut(whole, width))) {
    const longer = line === '' ? word : `${line} ${word}`
    if (measure(longer) <= width) line = longer
    else {
      lines.push(line)
      line = word
    }
  }
  return [...lines, line]
}

/** A column of names takes no more of a line than this. A longer name has a line of its own. */
const MOST_OF_A_LINE = 0.4

const BELOW = ' '.repeat(4)

export interface NameColumn {
  readonly width: number
  holds(name: string): boolean
}

/** As wide as the names that fit into it, with the space after them. */
export function layNames(names: readonly string[], room: number): NameColumn {
  const holds = (name: string) => measure(name) <= Math.floor(room * MOST_OF_A_LINE)
  return { width: Math.max(...names.filter(holds).map(measure), 2) + 2, holds }
}

/** Lines of a name and a text beside it, or below it where the name is long. */
export function formatPairs(
  pairs: readonly (readonly [name: string, text: string])[],
  indent: string,
  width: number,
  paintName: (name: string) => string,
): string[] {
  const room = width - indent.length
  const column = layNames(
    pairs.map(([name]) => name),
    room,
  )
  return pairs.flatMap(([name, text]) => {
    if (!column.holds(name)) {
      const lines = wrap(name, room).map(paintName)
      const below = wrap(text, room - BELOW.length).map((line) => BELOW + line)
      return [...lines, ...below].map((line) => indent + line)
    }
    return wrap(text, room - column.width).map((line, index) => {
      const label = index === 0 ? paintName(name) : ''
      return `${indent}${pad(label, column.width)}${line}`
    })
  })
}

export function pad(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - measure(text)))
}

export function measure(text: string): number {
  return Array.from(stripVTControlCharacters(text)).length
}

/** After these, URNs, URLs and JSON are broken sooner than within a word of theirs. */
const MARKS = new Set([':', '/', ',', '?', '&', '-', '_'])

function cut(word: string, width: number): string[] {
  const characters = Array.from(word)
  if (characters.length <= width) return [word]
  const mark = characters.slice(0, width).findLastIndex((character) => MARKS.has(character)) + 1
  const end = mark > width / 2 ? mark : width
  return [characters.slice(0, end).join(''), ...cut(characters.slice(end).join(''), width)]
}
