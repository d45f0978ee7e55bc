import type { Command } from 'commander'
import type { Operations } from '../admin/operations.ts'
import type { LoadedConfig } from '../config/load.ts'
import type { Report } from './report.ts'
import type { World } from './world.ts'

/** Options of every command. */
export interface CommonOptions {
  readonly config?: string
  readonly json?: boolean
}

/** What a command does with the operations. */
export type Work = (operations: Operations, loaded: LoadedConfig) => Promise<Report>

/** `is imagined`: one that is not there yet is taken to be empty, and is not made. */
export type DatabaseUse = 'must exist' | 'may be made' | 'is imagined'

/** What the commands need to do their work. */
export interface Cli {
  readonly world: World
  /** Does the work on the database of the configuration, and prints what it answers. */
  operate(options: CommonOptions, work: Work, database?: DatabaseUse): Promise<void>
}

/** Gives a command the options that every command has. */
export function withCommonOptions(command: Command): Command {
  const config = 'the configuration file (default: portreeve.config.ts, .js or .json here)'
  return command
    .option('-c, --config <file>', config)
    .option('--json', 'answer with one JSON document')
}

/** For an option that may be repeated. */
export function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value]
}

/** For an option that may be repeated, and takes several words at once. */
export function collectWords(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, ...value.split(/\s+/).filter((word) => word !== '')]
}

const UNITS: Readonly<Record<string, number>> = {
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
}

/** Reads a while such as 30m, 12h or 7d, in milliseconds. */
export function parseWhile(text: string): number | undefined {
  const [, count, unit = ''] = /^(\d{1,6})([smhdw])$/.exec(text) ?? []
  return count === undefined ? undefined : Number(count) * (UNITS[unit] ?? 0)
}
