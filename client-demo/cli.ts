#!/usr/bin/env node
import { Argument, Command, CommanderError } from 'commander'
import { DEFAULT_FLOW, FLOWS } from './flows/flows.ts'
import { createJsonReporter } from './json.ts'
import { runFlows } from './run.ts'
import { createTerminalReporter } from './terminal.ts'

const DONE = 0
const FAILED = 1
const WRONG_USAGE = 2
/** As shells number what a signal ended. */
const SIGNALS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const

interface RunArguments {
  readonly list?: boolean
  readonly browser?: boolean
  readonly json?: boolean
}

/** Whoever reads our output may stop reading, as `head` does. */
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
})

const stop = new AbortController()
for (const [signal, exitCode] of Object.entries(SIGNALS)) {
  process.on(signal, () => stop.abort(exitCode))
}

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
  const names = FLOWS.map(({ name }) => name)
  program
    .command('run')
    .description('run flows on servers of their own, and show every step')
    .addArgument(new Argument('[flow...]', 'which flows').choices(names).default([DEFAULT_FLOW]))
    .option('--list', 'list the flows')
    .option('--browser', 'sign in through your own browser')
    .option('--json', 'answer with a JSON document a line')
    .action(run)
  return program
}

async function run(names: readonly string[], options: RunArguments): Promise<void> {
  if (options.list) {
    list(options)
    return
  }
  const flows = names.flatMap((wanted) => FLOWS.filter(({ name }) => name === wanted))
  const reporter = options.json
    ? createJsonReporter(process.stdout, process.stderr)
    : createTerminalReporter(process.stdout)
  const usesBrowser = options.browser === true
  const isFine = await runFlows(flows, reporter, stop.signal, { usesBrowser })
  if (!isFine) process.exitCode = FAILED
}

function list({ json }: RunArguments): void {
  const flows = FLOWS.map(({ name, summary }) => ({ name, summary }))
  const lines = json
    ? [JSON.stringify({ flows })]
    : flows.map(({ name, summary }) => `${name.padEnd(12)}${summary}`)
  process.stdout.write(`${lines.join('\n')}\n`)
}
