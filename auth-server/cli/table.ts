import { harmless, measure, wrapWords, type Style } from './style.ts'

/**
 * What gives way where a terminal is too narrow. `whole`: names and ids, which somebody copies: they are
 * never broken. `wrap`: goes on below, between words.
 */
export interface GivingColumn {
  readonly title: string
  readonly gives: 'whole' | 'wrap'
}

export type Column = string | GivingColumn

const GAP = 2
/** Of what a column must have that goes on below. */
const LEAST_COLUMN = 12
/** Of what would not end before the terminal does, and stands below instead. */
const INDENT = 4

/** Whoever names something with others than the plain one makes no line that looks like a row. */
const SPACE = /\p{Zs}/gu

/**
 * Columns under their titles, no wider than the terminal as far as those that give way allow it. A cell that
 * is wider than its column stays whole, and the row goes on in the next line:
 *
 *     ID         NAME        TYPE
 *     notes-web  The notes   web
 *     https://app.example/oauth/client.json
 *                An app      native
 */
export function formatTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  style: Style,
): string {
  const titles = columns.map((column) => (typeof column === 'string' ? column : column.title))
  const cells = rows.map((row) =>
    row
      .map((cell, index) => (wraps(columns[index]) ? cell.replaceAll(SPACE, ' ') : cell))
      .map(harmless),
  )
  const widths = fitWidths(columns, [titles, ...cells], style.width)
  const [line = ''] = formatRow(columns, titles, widths)
  const lines = cells.flatMap((row) => formatRow(columns, row, widths, style.width))
  return [style.title(line), ...lines].join('\n')
}

/** What stands in a row under one title. */
interface Cell {
  readonly offset: number
  readonly lines: readonly string[]
  readonly isWider: boolean
}

function formatRow(
  columns: readonly Column[],
  row: readonly string[],
  widths: readonly number[],
  terminal = Infinity,
): readonly string[] {
  const written: string[] = []
  let beside: Cell[] = []
  const write = () => {
    written.push(...joinCells(beside))
    beside = []
  }
  let offset = 0
  for (const [index, column] of columns.entries()) {
    const width = widths[index] ?? 0
    const cell = layCell(column, row[index] ?? '', { offset, width, terminal })
    if (cell.isWider && cell.offset < offset) write()
    beside.push(cell)
    if (cell.isWider) write()
    offset += width + GAP
  }
  write()
  return written
}

interface Room {
  readonly offset: number
  readonly width: number
  readonly terminal: number
}

function layCell(column: Column, text: string, { offset, width, terminal }: Room): Cell {
  const needed = wraps(column) ? longestWord(text) : measure(text)
  const isWider = needed > width
  // Nothing stands to the right of it then.
  const isAside = isWider && offset + needed > terminal
  const place = isAside ? Math.min(offset, INDENT) : offset
  const room = isWider ? terminal - place : width
  return { offset: place, isWider, lines: wraps(column) ? wrapWords(text, room) : [text] }
}

function joinCells(cells: readonly Cell[]): readonly string[] {
  if (cells.every(({ lines }) => lines.every((line) => line === ''))) return []
  const height = findMost(cells.map(({ lines }) => lines.length))
  return Array.from({ length: height }, (_, index) =>
    cells
      .reduce((line, cell) => padTo(line, cell.offset) + (cell.lines[index] ?? ''), '')
      .trimEnd(),
  )
}

function padTo(line: string, width: number): string {
  return line + ' '.repeat(Math.max(0, width - measure(line)))
}

interface Measured {
  readonly gives: GivingColumn['gives'] | undefined
  /** Of what stands under the title, and of the title itself. */
  readonly sizes: readonly number[]
  readonly title: number
  readonly natural: number
  readonly longestWord: number
  width: number
}

/**
 * As wide as what is in them, where there is room. Else those that wrap are narrower; where that is not
 * enough, those that are whole have no room for their widest cells, the widest column first.
 */
function fitWidths(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  terminal = Infinity,
): readonly number[] {
  const all = columns.map((column, index) =>
    measureColumn(
      givesOf(column),
      rows.map((row) => row[index] ?? ''),
    ),
  )
  const whole = all.filter(({ gives }) => gives === 'whole')
  const wrapping = all.filter(({ gives }) => gives === 'wrap')
  const isTooWide = () => all.reduce((sum, { width }) => sum + width + GAP, -GAP) > terminal
  for (const one of wrapping) one.width = narrowest(one)
  while (isTooWide() && narrowOne(whole, findNextSize));
  for (const one of wrapping) one.width = one.natural
  while (isTooWide() && narrowOne(wrapping, (one) => oneLess(one, narrowest(one))));
  // Then words are wider than their columns.
  while (isTooWide() && narrowOne(wrapping, (one) => oneLess(one, LEAST_COLUMN)));
  return all.map(({ width }) => width)
}

function measureColumn(gives: Measured['gives'], cells: readonly string[]): Measured {
  const sizes = cells.map(measure)
  const natural = findMost(sizes)
  const longest = findMost(cells.map(longestWord))
  return { gives, sizes, title: sizes[0] ?? 0, natural, longestWord: longest, width: natural }
}

function narrowest({ natural, longestWord: longest }: Measured): number {
  return Math.min(natural, Math.max(LEAST_COLUMN, longest))
}

function oneLess({ width }: Measured, least: number): number | undefined {
  return width > least ? width - 1 : undefined
}

function findNextSize({ sizes, title, width }: Measured): number | undefined {
  const narrower = sizes.filter((size) => size >= title && size < width)
  return narrower.length === 0 ? undefined : findMost(narrower)
}

/** The widest of those that can be narrower. Answers whether there was one. */
function narrowOne(
  columns: readonly Measured[],
  findWidth: (column: Measured) => number | undefined,
): boolean {
  const able = columns.filter((column) => findWidth(column) !== undefined)
  const [widest] = able.toSorted((one, two) => two.width - one.width)
  if (!widest) return false
  widest.width = findWidth(widest) ?? widest.width
  return true
}

function givesOf(column: Column | undefined): Measured['gives'] {
  return typeof column === 'object' ? column.gives : undefined
}

function wraps(column: Column | undefined): boolean {
  return givesOf(column) === 'wrap'
}

function longestWord(text: string): number {
  return findMost(text.split(' ').map(measure))
}

/** Of numbers from 0 on, as many as there may be: too many for arguments. */
function findMost(numbers: readonly number[]): number {
  return numbers.reduce((most, one) => Math.max(most, one), 0)
}
