import { stripVTControlCharacters } from 'node:util'

/** Text in columns, for terminals of any width. */

const NARROWEST = 60
const WIDEST = 100

export function chooseWidth(columns: number | undefined): number {
  return Math.min(Math.max(columns ?? WIDEST, NARROWEST), WIDEST)
}

/** Breaks a text at spaces, and within a word where it is longer than a line. */
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

/** Lines of a name and a text beside it. */
export function formatPairs(
  pairs: readonly (readonly [name: string, text: string])[],
  indent: string,
  width: number,
  paintName: (name: string) => string,
): string[] {
  const column = Math.max(...pairs.map(([name]) => measure(name))) + 2
  const room = width - indent.length - column
  return pairs.flatMap(([name, text]) =>
    wrap(text, room).map((line, index) => {
      const label = index === 0 ? paintName(name) : ''
      return `${indent}${pad(label, column)}${line}`
    }),
  )
}

export function pad(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - measure(text)))
}

export function measure(text: string): number {
  return Array.from(stripVTControlCharacters(text)).length
}

function cut(word: string, width: number): string[] {
  const characters = Array.from(word)
  if (characters.length <= width) return [word]
  return [characters.slice(0, width).join(''), ...cut(characters.slice(width).join(''), width)]
}
