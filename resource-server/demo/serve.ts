import { createServer, type Server, type ServerOptions } from 'node:http'
import { createServer as createTlsServer, Server as TlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { formatTime, systemClock } from '../clock.ts'

const HOST = '127.0.0.1'
const HEADERS_TIMEOUT_MS = 15_000
const DRAIN_TIMEOUT_MS = 10_000
const FAILED = 1
const WRONG_USAGE = 2

/** One line for the operator. */
export type Log = (entry: Readonly<Record<string, unknown>>) => void

/** Something that the operator can mend. The message says how. */
export class Misconfigured extends Error {
  override readonly name = 'Misconfigured'
}

/** What all demonstration programs are told. */
export interface ServeSettings {
  /** 0 takes a free one. */
  readonly port: number
  /** Says with one line of JSON where it listens. */
  readonly json: boolean
}

/** A program that serves until it is stopped. */
export interface Program<Settings> {
  readonly usage: string
  /** Answers `undefined` where help was asked for. Throws for wrong usage. */
  readonly readSettings: (argv: readonly string[]) => Settings | undefined
  readonly serve: (settings: Settings) => Promise<void>
}

/** Lines of JSON on standard error, so that standard output stays the program's answer. */
export const log: Log = (entry) => {
  const line = JSON.stringify({ time: formatTime(systemClock.now()), ...entry }, replaceErrors)
  process.stderr.write(`${line}\n`)
}

function replaceErrors(_member: string, value: unknown): unknown {
  if (!(value instanceof Error)) return value
  const { name, message, code } = value as NodeJS.ErrnoException
  return { name, code, message }
}

/** Answers the exit code: 0, 1 where it could not serve, 2 for wrong usage. */
export async function runProgram<Settings>(
  { usage, readSettings, serve }: Program<Settings>,
  argv: readonly string[],
): Promise<number> {
  let settings: Settings | undefined
  try {
    settings = readSettings(argv)
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${usage}`)
    return WRONG_USAGE
  }
  if (settings === undefined) {
    process.stdout.write(usage)
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

/** A server whose reading and writing take at most 15 seconds each. */
export function createApiServer(): Server {
  const server = createBoundedServer(0)
  server.timeout = HEADERS_TIMEOUT_MS
  return server
}

/** The same over TLS 1.2 or later. It asks each client for a certificate, and lets in who has none. */
export function createTlsApiServer(certificate: { cert: Buffer; key: Buffer }): TlsServer {
  const server = createTlsServer({
    ...describeBounds(0),
    ...certificate,
    minVersion: 'TLSv1.2',
    requestCert: true,
    // Who has signed it is the issuer's business, which has bound the token to it (RFC 8705 §6.2).
    rejectUnauthorized: false,
  })
  server.timeout = HEADERS_TIMEOUT_MS
  return server
}

/** A server whose headers arrive within 15 seconds, and bodies within so many milliseconds more. */
export function createBoundedServer(bodyTimeoutMs: number, options: ServerOptions = {}): Server {
  return createServer({ ...describeBounds(bodyTimeoutMs), ...options })
}

function describeBounds(bodyTimeoutMs: number) {
  return {
    headersTimeout: HEADERS_TIMEOUT_MS,
    requestTimeout: HEADERS_TIMEOUT_MS + bodyTimeoutMs,
    // How late a time-out may be noticed; Node looks twice a minute if not told otherwise.
    connectionsCheckingInterval: 1000,
  }
}

/** Listens on loopback, says so, and resolves when it has been stopped and its answers are given. */
export async function serveUntilStopped(
  server: Server | TlsServer,
  { port, json }: ServeSettings,
  announce: (url: string) => string,
): Promise<void> {
  const stopped = untilStopped()
  await listen(server, port)
  const url = readUrl(server)
  process.stdout.write(json ? `${JSON.stringify({ url })}\n` : `${announce(url)}\n`)
  await stopped
  await drain(server)
}

/** The first signal stops the program when its answers are given; a second one stops it at once. */
function untilStopped(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve())
  })
}

/** Where a server that listens is reached. */
export function readUrl(server: Server | TlsServer): string {
  const scheme = server instanceof TlsServer ? 'https' : 'http'
  return `${scheme}://${HOST}:${(server.address() as AddressInfo).port}`
}

async function listen(server: Server | TlsServer, port: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, HOST, resolve)
  }).catch((cause: NodeJS.ErrnoException) => {
    throw describeListenError(cause, port)
  })
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
async function drain(server: Server | TlsServer): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  const bound = new AbortController()
  const late = wait(DRAIN_TIMEOUT_MS, undefined, { signal: bound.signal })
  await Promise.race([closed, late.catch(() => {})])
  bound.abort()
  server.closeAllConnections()
}
