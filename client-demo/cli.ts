#!/usr/bin/env node
import { addAbortListener } from 'node:events'
import path from 'node:path'
import { Argument, Command, CommanderError, Option } from 'commander'
import { announceToPerson, announceToProgram } from './announce.ts'
import { ROOT } from './child.ts'
import { ALL_FLOWS, DEFAULT_FLOW, FLOWS, suggestFlow, type FlowEntry } from './flows/flows.ts'
import { createJsonReporter } from './json.ts'
import { chooseWidth, formatPairs } from './layout.ts'
import { endWithNpm } from './npm.ts'
import { parsePort } from './ports.ts'
import { describeRedisMistake } from './redis-url.ts'
import { AUTH_SERVER, nameApi } from './programs.ts'
import { REDIS } from './redis.ts'
import { runFlows } from './run.ts'
import { startDemo, type Running } from './start.ts'
import { createTerminalReporter } from './terminal.ts'

const DONE = 0
const FAILED = 1
const WRONG_USAGE = 2
/** As shells number what a signal ended. */
const SIGNALS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const

interface RunArguments {
  readonly list?: boolean
  readonly browser?: boolean
  readonly redis?: string | false
  readonly json?: boolean
  readonly columns?: number
}

interface StartArguments {
  readonly port: number
  readonly apiPort: number
  readonly webPort: number
  readonly data: string
  readonly json?: boolean
  readonly columns?: number
}

/** Where the output is no terminal, as before `less`. */
const COLUMNS = new Option(
  '--columns <number>',
  'how wide lines are, where the output is no terminal',
)
  .env('COLUMNS')
  .argParser(readColumns)

/** Nothing that anybody has set for other programs is a mistake here. */
function readColumns(text: string): number {
  return /^[1-9]\d{0,3}$/.test(text) ? Number(text) : Infinity
}

const DATA = path.join(ROOT, '.portreeve')
const NAMES = FLOWS.map(({ name }) => name)

/** Whoever reads our output may stop reading, as `head` does. */
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
})

const stop = new AbortController()
for (const [signal, exitCode] of Object.entries(SIGNALS)) {
  process.on(signal, () => stop.abort(exitCode))
}

endWithNpm(() => stop.abort(SIGNALS.SIGTERM))

process.exitCode = await main(process.argv.slice(2))

async function main(argv: readonly string[]): Promise<number> {
  try {
    await createProgram().parseAsync(argv, { from: 'user' })
    return process.exitCode === undefined ? DONE : Number(process.exitCode)
  } catch (error) {
    if (stop.signal.aborted) return Number(stop.signal.reason)
    if (error instanceof CommanderError) return error.exitCode === 0 ? DONE : WRONG_USAGE
    process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}\n`)
    return FAILED
  }
}

function createProgram(): Command {
  const program = new Command('portreeve-demo')
    .description('A client that runs each flow from grant to token to resource.')
    .exitOverride()
  program
    .command('run')
    .description('run flows on servers of their own, and show every step')
    .addArgument(
      new Argument('[flow...]', `which flows: ${[...NAMES, ALL_FLOWS].join(', ')}`).default(
        [DEFAULT_FLOW],
        DEFAULT_FLOW,
      ),
    )
    .option('--list', 'list the flows, and what each needs')
    .option('--browser', 'sign in through your own browser')
    .addOption(
      new Option('--redis <url>', 'have the server keep its sessions in this Redis').env(
        'REDIS_URL',
      ),
    )
    .option('--no-redis', 'start no Redis either, for flows that show more with one')
    .option('--json', 'answer with a JSON document a line: see docs/transcript.schema.json')
    .addOption(COLUMNS)
    .action(run)
  program
    .command('start')
    .description('run the servers and the web demo until stopped')
    .option('--port <number>', 'of the authorization server', parsePort, 3000)
    .option('--api-port <number>', 'of the notes API', parsePort, 3001)
    .option('--web-port <number>', 'of the web demo', parsePort, 3010)
    .option('--data <folder>', 'where databases, passwords and logs are kept', DATA)
    .option('--json', 'answer with one JSON document when all of it runs')
    .addOption(COLUMNS)
    .action(start)
  return program
}

async function start({ json, data, columns, ...ports }: StartArguments): Promise<void> {
  const announce = (running: Running): void =>
    json
      ? announceToProgram(process.stdout, running)
      : announceToPerson(process.stdout, running, process.stdout.columns ?? columns)
  const options = { ...ports, folder: path.resolve(data) }
  if (!json) {
    process.stdout.write('Starting an authorization server, a notes API and a web client …\n\n')
    addAbortListener(stop.signal, () => process.stdout.write('\nStopping them …\n'))
  }
  try {
    await startDemo(options, announce, stop.signal)
  } catch (error) {
    // To be stopped is how it is meant to end, be it while it starts.
    if (!stop.signal.aborted) throw error
  }
}

async function run(
  names: readonly string[],
  options: RunArguments,
  command: Command,
): Promise<void> {
  const flows = chooseFlows(names, command)
  if (options.list) {
    list(options)
    return
  }
  const usesBrowser = options.browser === true
  const playing = flows.find(({ takesBrowser }) => !takesBrowser)
  if (usesBrowser && playing) {
    command.error(`error: The flow “${playing.name}” plays its people: --browser is for code.`)
  }
  const { redis: redisUrl } = options
  const mistake = typeof redisUrl === 'string' ? describeRedisMistake(redisUrl) : undefined
  if (mistake !== undefined) command.error(`error: ${mistake}`)
  const reporter = options.json
    ? createJsonReporter(process.stdout, process.stderr)
    : createTerminalReporter(process.stdout, process.stdout.columns ?? options.columns)
  const isFine = await runFlows(flows, reporter, stop.signal, { usesBrowser, redisUrl })
  if (!isFine) process.exitCode = FAILED
}

/** In the order in which they were named, each once. */
function chooseFlows(names: readonly string[], command: Command): readonly FlowEntry[] {
  const chosen = names.flatMap((wanted): readonly FlowEntry[] => {
    if (wanted === ALL_FLOWS) return FLOWS
    const flow = FLOWS.find(({ name }) => name === wanted)
    return flow ? [flow] : command.error(`error: ${describeUnknown(wanted)}`)
  })
  return [...new Set(chosen)]
}

function describeUnknown(wanted: string): string {
  const suggestion = suggestFlow(wanted)
  const question = suggestion === undefined ? '' : ` Did you mean “${suggestion}”?`
  return `There is no flow “${wanted}”.${question} The flows are ${NAMES.join(', ')}; ${ALL_FLOWS} runs them all.`
}

function list({ json, columns }: RunArguments): void {
  const flows = FLOWS.map(({ name, summary, needs, likesRedis }) => ({
    name,
    summary,
    needs: [
      AUTH_SERVER,
      ...needs.map(nameApi),
      ...(likesRedis ? [`${REDIS} if there is one`] : []),
    ],
  }))
  const lines = json
    ? [JSON.stringify({ flows })]
    : formatPairs(
        flows.map(({ name, summary, needs }) => [name, `${summary} (${needs.join(', ')})`]),
        '',
        chooseWidth(process.stdout.columns ?? columns),
        (name) => name,
      )
  process.stdout.write(`${lines.join('\n')}\n`)
}
