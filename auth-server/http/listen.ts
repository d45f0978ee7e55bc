import { createServer, type Server } from 'node:http'
import type { Server as TlsServer } from 'node:https'
import { connect, type AddressInfo } from 'node:net'
import { PortreeveError } from '../errors.ts'

export const REQUEST_TIMEOUT_MS = 15_000
const KEEP_ALIVE_TIMEOUT_MS = 5000
/** Time-outs are noticed this late; by default it would be half a minute. */
const TIMEOUT_CHECK_MS = 1000
const PROBE_TIMEOUT_MS = 1000

/** Where to listen. Port 0 takes a free one. */
export interface Place {
  readonly host: string
  readonly port: number
}

/** How long anybody may take. */
export const LISTENER_BOUNDS = {
  requestTimeout: REQUEST_TIMEOUT_MS,
  headersTimeout: REQUEST_TIMEOUT_MS,
  keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
  connectionsCheckingInterval: TIMEOUT_CHECK_MS,
} as const

/** A server that gives nobody more than 15 seconds to be read from or written to. */
export function createHttpServer(): Server {
  const server = createServer(LISTENER_BOUNDS)
  server.timeout = REQUEST_TIMEOUT_MS
  return server
}

/** What an operator changes, in words, if a place to listen cannot be had. */
export interface ListenSettings {
  readonly host: string
  readonly port: string
  /** What has to follow a changed port. */
  readonly follow: string
}

const PUBLIC_SETTINGS: ListenSettings = {
  host: 'listen.host',
  port: 'PORT or listen.port',
  follow: ' (and the issuer with ISSUER or issuer)',
}

export async function listen(
  server: Server | TlsServer,
  { host, port }: Place,
  settings: ListenSettings = PUBLIC_SETTINGS,
): Promise<AddressInfo> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      resolve()
    })
  }).catch((cause: NodeJS.ErrnoException) => {
    throw describeListenError(cause, { host, port }, settings)
  })
  return server.address() as AddressInfo
}

/** Before anything is changed: listening itself comes when all is ready. */
export async function refuseTakenPort(
  { host, port }: Place,
  settings: ListenSettings = PUBLIC_SETTINGS,
): Promise<void> {
  if (port === 0) return
  const probe = connect({ host, port, timeout: PROBE_TIMEOUT_MS })
  const isTaken = await new Promise<boolean>((resolve) => {
    probe.once('connect', () => resolve(true))
    probe.once('timeout', () => resolve(false))
    probe.once('error', () => resolve(false))
  })
  probe.destroy()
  if (isTaken) throw describeTakenPort({ host, port }, settings)
}

function describeTakenPort(
  { host, port }: Place,
  settings: ListenSettings,
  cause?: Error,
): PortreeveError {
  const message = `Port ${port} on ${host} is taken by another program. Stop it, or choose another port with ${settings.port}${settings.follow}.`
  return new PortreeveError('misconfigured', message, { cause })
}

function describeListenError(
  cause: NodeJS.ErrnoException,
  { host, port }: Place,
  settings: ListenSettings,
): Error {
  if (cause.code === 'EADDRINUSE') return describeTakenPort({ host, port }, settings, cause)
  if (cause.code === 'EACCES') {
    const message = `Port ${port} on ${host} may not be used by this user. Choose a port from 1024 up with ${settings.port}.`
    return new PortreeveError('misconfigured', message, { cause })
  }
  if (cause.code === 'EADDRNOTAVAIL' || cause.code === 'ENOTFOUND') {
    const message = `This machine has no address ${host}. Change ${settings.host}.`
    return new PortreeveError('misconfigured', message, { cause })
  }
  return cause
}

export function formatHost(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}
