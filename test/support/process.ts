import { writeFileSync } from 'node:fs'
import path from 'node:path'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { startProgram, type Program, type ProgramEnd, type ProgramOptions } from './program.ts'
import { BASE_CONFIG, ENVIRONMENT } from './server.ts'

const MAIN = 'auth-server/main.ts'
const CLOCK = new URL('./ahead/clock.ts', import.meta.url).href

export interface RunOptions extends ProgramOptions {
  readonly folder: string
  /** Beside the secrets of `BASE_CONFIG`. */
  readonly environment?: Readonly<Record<string, string>> | undefined
  /** How far its clock is ahead, in ms. Default: not at all. */
  readonly aheadMilliseconds?: number
}

/** A server that runs as a process of its own; disposing of it ends it by SIGKILL. */
export interface ServerProcess extends Program {
  readonly issuer: string
  readonly url: string
  readonly database: string
}

/** Writes a configuration into the folder, and answers its file. */
export function writeConfig(
  folder: string,
  change: (config: ConfigInput) => object = (config) => config,
  name = 'portreeve.config.json',
): string {
  const file = path.join(folder, name)
  writeFileSync(file, JSON.stringify(change(BASE_CONFIG)))
  return file
}

/** Runs the program to its end. */
export function runProgram(args: readonly string[], options: RunOptions): Promise<ProgramEnd> {
  return start(args, options).ended
}

/** Starts `serve` and waits until it listens. Throws what it wrote if it ends before. */
export async function startServerProcess(
  configFile: string,
  options: RunOptions,
): Promise<ServerProcess> {
  const program = start(['serve', '--config', configFile, '--json'], options)
  const line = await program.firstLine
  if (line === undefined) {
    throw new Error(`the server did not start: ${program.printed()}${program.logged()}`)
  }
  const { issuer, url, database } = JSON.parse(line) as Record<
    'issuer' | 'url' | 'database',
    string
  >
  return { ...program, issuer, url, database }
}

function start(args: readonly string[], options: RunOptions): Program {
  const { aheadMilliseconds: by } = options
  const ahead = by === undefined ? {} : { NODE_OPTIONS: `--import=${CLOCK}?by=${by}` }
  const environment = { ...ENVIRONMENT, ...ahead, ...options.environment }
  return startProgram(MAIN, args, { ...options, environment })
}
