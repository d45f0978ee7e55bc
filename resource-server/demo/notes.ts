import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { formatTime, systemClock } from '../clock.ts'
import { createVerifier, type Verifier } from '../index.ts'
import { createNotesApi, type Log } from './notes-api.ts'
import { openNoteStore, type NoteStore } from './notes-store.ts'

const USAGE = `Usage: node notes.ts --issuer URL --audience URI [options]

  --issuer URL               whose tokens are accepted, as its metadata writes it
  --audience URI             the audience that a token must be for; may be repeated
  --port N                   the port on 127.0.0.1 (default 3001; 0 takes a free one)
  --database PATH            the SQLite file with the notes (default: in memory)
  --clock-tolerance SECONDS  how far the issuer's clock may differ (default 5)
  --json                     answer with one line of JSON when ready
  --help                     show this
`
const OPTIONS = {
  issuer: { type: 'string' },
  audience: { type: 'string', multiple: true },
  port: { type: 'string', default: '3001' },
  database: { type: 'string', default: ':memory:' },
  'clock-tolerance': { type: 'string' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const

const HOST = '127.0.0.1'
const REQUEST_TIMEOUT_MS = 15_000
const DRAIN_TIMEOUT_MS = 10_000
const FAILED = 1
const WRONG_USAGE = 2

interface Settings {
  readonly verifier: Verifier
  readonly port: number
  readonly database: string
  readonly json: boolean
}

/** Something that the operator can mend. The message says how. */
class Misconfigured extends Error {
  override readonly name = 'Misconfigured'
}

/** Answers `undefined` where help was asked for. Throws a `TypeError` for wrong usage. */
function readSettings(argv: readonly string[]): Settings | undefined {
  const { values } = parseArgs({ args: [...argv], options: OPTIONS })
  if (values.help) return undefined
  const { issuer, audience, port, database, json } = values
  if (issuer === undefined) throw new TypeError('--issuer is missing')
  if (audience === undefined) throw new TypeError('--audience is missing')
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535) {
    throw new TypeError(`--port: expected 0 to 65535, not ${JSON.stringify(port)}`)
  }
  const tolerance = values['clock-tolerance']
  const options = tolerance === undefined ? {} : { clockToleranceSeconds: readNumber(tolerance) }
  const verifier = createVerifier({ issuer, audience, ...options })
  return { verifier, port: Number(port), database, json }
}

function readNumber(text: string): number {
  if (!/^\d{1,4}$/.test(text)) {
    throw new TypeError(`--clock-tolerance: expected seconds, not ${JSON.stringify(text)}`)
  }
  return Number(text)
}

/** Lines of JSON on standard error, so that standard output stays the program's answer. */
const log: Log = (entry) => {
  const line = JSON.stringify({ time: formatTime(systemClock.now()), ...entry }, replaceErrors)
  process.stderr.write(`${line}\n`)
}

function replaceErrors(_member: string, value: unknown): unknown {
  if (!(value instanceof Error)) return value
  const { name, message, code } = value as NodeJS.ErrnoException
  return { name, code, message }
}

async function serve({ verifier, port, database, json }: Settings): Promise<void> {
  await using cleanUp = new AsyncDisposableStack()
  cleanUp.use(verifier)
  const store = cleanUp.use(openStore(database))
  const server = createServer({
    requestTimeout: REQUEST_TIMEOUT_MS,
    headersTimeout: REQUEST_TIMEOUT_MS,
  })
  server.timeout = REQUEST_TIMEOUT_MS
  server.on('request', createNotesApi(verifier, store, log).callback())
  const stopped = untilStopped()
  const { port: actual } = await listen(server, port)
  cleanUp.defer(() => drain(server))
  const url = `http://${HOST}:${actual}`
  process.stdout.write(
    json ? `${JSON.stringify({ url })}\n` : `The notes API is at ${url}/notes. Ctrl+C stops it.\n`,
  )
  await stopped
}

function openStore(path: string): NoteStore {
  try {
    return openNoteStore(path, systemClock)
  } catch (cause) {
    const message = `The database ${path} cannot be opened: ${(cause as Error).message}. Choose another with --database.`
    throw new Misconfigured(message, { cause })
  }
}

/** The first signal stops the program when its answers are given; a second one stops it at once. */
function untilStopped(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve())
  })
}

async function listen(server: Server, port: number): Promise<AddressInfo> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, HOST, resolve)
  }).catch((cause: NodeJS.ErrnoException) => {
    throw describeListenError(cause, port)
  })
  return server.address() as AddressInfo
}

function describeListenError(cause: NodeJS.ErrnoException, port: number): Error {
  if (cause.code === 'EADDRINUSE') {
    const message = `Port ${port} on ${HOST} is taken by another program. Stop it, or choose another port with --port.`
    return new Misconfigured(message, { cause })
  }
  if (cause.code === 'EACCES') {
    const message = `Port ${port} may not be used by this user. Choose one from 1024 up with --port.`
    return new Misconfigured(message, { cause })
  }
  return cause
}

/** Takes no new connection, lets answers under way end, then closes what is left. */
async function drain(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  const bound = new AbortController()
  const late = wait(DRAIN_TIMEOUT_MS, undefined, { signal: bound.signal })
  await Promise.race([closed, late.catch(() => {})])
  bound.abort()
  server.closeAllConnections()
}

/** Answers the exit code: 0, 1 where it could not serve, 2 for wrong usage. */
async function main(argv: readonly string[]): Promise<number> {
  let settings: Settings | undefined
  try {
    settings = readSettings(argv)
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${USAGE}`)
    return WRONG_USAGE
  }
  if (settings === undefined) {
    process.stdout.write(USAGE)
    return 0
  }
  try {
    await serve(settings)
    return 0
  } catch (error) {
    if (!(error instanceof Misconfigured)) throw error
    process.stderr.write(`${error.message}\n`)
    return FAILED
  }
}

process.exitCode = await main(process.argv.slice(2))
