import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { formatTime, systemClock } from '../clock.ts'
import { createNotesApi, type Log } from './notes-api.ts'
import { openNoteStore, type NoteStore } from './notes-store.ts'
import { readSettings, USAGE, type Settings } from './settings.ts'

const HOST = '127.0.0.1'
const REQUEST_TIMEOUT_MS = 15_000
const DRAIN_TIMEOUT_MS = 10_000
const FAILED = 1
const WRONG_USAGE = 2

/** Something that the operator can mend. The message says how. */
class Misconfigured extends Error {
  override readonly name = 'Misconfigured'
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
    // How late a time-out may be noticed; Node looks twice a minute if not told otherwise.
    connectionsCheckingInterval: 1000,
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
