import { readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Command, CommanderError, InvalidArgumentError } from 'commander'
import { parsePort } from '../ports.ts'
import { createWebDemo } from './app.ts'
import { systemClock } from './clock.ts'

const REQUEST_TIMEOUT_MS = 15_000
const MAX_CONNECTIONS = 500
const DRAIN_MS = 5000

interface Flags {
  readonly issuer: string
  readonly clientId: string
  readonly clientSecretFile?: string
  readonly api: string
  readonly port: number
  readonly json?: true
}

process.exitCode = await main(process.argv.slice(2))

async function main(argv: readonly string[]): Promise<number> {
  try {
    const flags = parseFlags(argv)
    const clientSecret = flags.clientSecretFile && readSecret(flags.clientSecretFile)
    const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS })
    server.maxConnections = MAX_CONNECTIONS
    await listen(server, flags.port)
    const publicUrl = `http://localhost:${(server.address() as AddressInfo).port}`
    const { issuer, clientId, api } = flags
    const app = createWebDemo(systemClock, { issuer, clientId, clientSecret, api, publicUrl })
    server.on('request', app.callback())
    console.log(flags.json ? JSON.stringify({ url: publicUrl }) : `Notes are at ${publicUrl}`)
    await waitForStop()
    await close(server)
    return 0
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    console.error(error instanceof Error ? error.message : error)
    return 1
  }
}

function parseFlags(argv: readonly string[]): Flags {
  const program = new Command('web-demo')
    .description('Notes on the web: an application whose tokens never reach the browser.')
    .requiredOption('--issuer <url>', 'the authorization server', parseUrl)
    .requiredOption('--client-id <id>', 'what this application is called there')
    .option('--client-secret-file <path>', 'its secret; without one it is a public client')
    .requiredOption('--api <url>', 'the notes API', parseUrl)
    .option('--port <number>', 'where to listen on 127.0.0.1; 0 takes a free one', parsePort, 3010)
    .option('--json', 'print one line of JSON when it listens')
    .allowExcessArguments(false)
    .exitOverride()
  return program.parse([...argv], { from: 'user' }).opts<Flags>()
}

/** Tokens and secrets go there, so http is for this machine alone. */
function parseUrl(text: string): string {
  const url = URL.parse(text)
  const isLocal = url && ['localhost', '127.0.0.1', '[::1]'].includes(url.hostname)
  if (url?.protocol === 'https:' || (url?.protocol === 'http:' && isLocal)) return text
  throw new InvalidArgumentError('It must be an https URL, or an http one on localhost.')
}

function readSecret(file: string): string {
  let secret: string
  try {
    secret = readFileSync(file, 'utf8').replace(/\r?\n$/, '')
  } catch (cause) {
    throw new Error(`--client-secret-file: cannot read ${file}`, { cause })
  }
  if (secret === '') throw new Error(`--client-secret-file: ${file} is empty`)
  return secret
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const isTaken = error.code === 'EADDRINUSE'
      const text = `Port ${port} is taken. Choose another one with --port, or 0 for any free one.`
      reject(isTaken ? new Error(text, { cause: error }) : error)
    })
    server.listen(port, '127.0.0.1', resolve)
  })
}

/** The first signal asks to stop, the second ends at once. */
function waitForStop(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.once(signal, () => {
        resolve()
        process.once(signal, () => process.exit(1))
      })
    }
  })
}

async function close(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  setTimeout(() => server.closeAllConnections(), DRAIN_MS).unref()
  await closed
}
