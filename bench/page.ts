import { mkdirSync, writeFileSync } from 'node:fs'
import { availableParallelism, loadavg } from 'node:os'
import path from 'node:path'
import { printTable } from './table.ts'

const DOCS = path.join(import.meta.dirname, '../docs/benchmarks')

/** What was promised, what came, and whether that keeps the promise. */
export interface Verdict {
  readonly bar: string
  readonly measured: string
  readonly isMet: boolean
}

/** `notes`: what the numbers in brackets in its cells stand for. */
export interface Table {
  readonly head: readonly string[]
  readonly lines: readonly (readonly string[])[]
  readonly notes: readonly string[]
}

export function tabulateVerdicts(verdicts: readonly Verdict[]): Table {
  return {
    head: ['bar', 'measured', ''],
    lines: verdicts.map(({ bar, measured, isMet }) => [bar, measured, isMet ? 'met' : 'missed']),
    notes: [],
  }
}

/** On the terminal. */
export function showTable({ head, lines, notes }: Table): void {
  console.log()
  printTable(head, lines)
  for (const [place, note] of notes.entries()) console.log(`(${place + 1}) ${note}`)
}

/** As Markdown. */
export function writeTable({ head, lines, notes }: Table): string {
  const rows = [head, head.map(() => '---'), ...lines]
  const table = rows.map((row) => `| ${row.map(escapeCell).join(' | ')} |`).join('\n')
  if (notes.length === 0) return table
  return `${table}\n\n${notes.map((note, place) => `${place + 1}. ${note}`).join('\n')}`
}

function escapeCell(text: string): string {
  return text.replaceAll('|', '\\|')
}

export function countMissed(verdicts: readonly Verdict[]): string {
  const missed = verdicts.filter(({ isMet }) => !isMet)
  return `${missed.length} of ${verdicts.length} bars are missed.`
}

/** Processes that wanted a core in the last minute, on average. */
export function readLoad(): number {
  return loadavg()[0] ?? Number.NaN
}

export function warnIfBusy(load: number): void {
  if (load <= 0.5) return
  console.log(`The machine is busy (load ${load.toFixed(1)}): expect more noise than result.`)
}

export function describeMachine(): string {
  const { versions, platform, arch } = process
  return `Node ${versions.node}, ${platform} ${arch}, ${availableParallelism()} cores`
}

/** Writes a page and its chart under `docs/benchmarks/`: `NAME.md` and `NAME.svg`. */
export function publish(name: string, page: string, chart: string): void {
  mkdirSync(DOCS, { recursive: true })
  writeFileSync(path.join(DOCS, `${name}.md`), page)
  writeFileSync(path.join(DOCS, `${name}.svg`), chart)
  console.log('\nWritten to docs/benchmarks/.')
}
