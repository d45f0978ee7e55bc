import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { startChild, type Child } from './child.ts'
import {
  BRIEF,
  describeDemo,
  FEED_CLIENT,
  FRESH_SECONDS,
  NOTES,
  WEB_CLIENT,
  type Place,
  type Secrets,
} from './configuration.ts'
import type { TlsPaths } from './tls-places.ts'
import {
  API_V3,
  GATEWAY,
  GATEWAY_CLIENT,
  HEALTHCHECK,
  HELLO_ISSUER,
  INVOICES,
  ORDERS,
  type SmallSecrets,
} from './small-systems.ts'

/** The programs of the demonstration; each says on its standard output when it is ready. */

export interface AuthServerOptions {
  /** Where its configuration, database and key go. */
  readonly folder: string
  readonly place: Place
  readonly secrets: Secrets | (Secrets & SmallSecrets)
  /** Where it keeps its sessions. Default: in its database. */
  readonly redisUrl?: string | undefined
  readonly logFile?: string
}

/** Of the authorization server that keeps everything there. */
export function locateConfig(folder: string): string {
  return path.join(folder, 'portreeve.config.json')
}

export const AUTH_SERVER = 'authorization server'
/** Its listeners for clients that know no OAuth: see docs/direct-access.md. */
export const DIRECT_ACCESS = 'direct access'
export const UNAUTHENTICATED_ACCESS = 'old issuer'

export async function startAuthServer(
  { folder, place, secrets, redisUrl, logFile }: AuthServerOptions,
  stopped: AbortSignal,
): Promise<Child> {
  const config = locateConfig(folder)
  await writeFile(config, JSON.stringify(describeDemo(place), undefined, 2), { mode: 0o600 })
  const program = {
    name: AUTH_SERVER,
    file: 'auth-server/main.ts',
    args: ['serve', '--config', config, '--json'],
    environment: { ...secrets, ...(redisUrl === undefined ? {} : { REDIS_URL: redisUrl }) },
    logFile,
  }
  return startChild(program, stopped)
}

/** The APIs that flows call. */
export type ApiName =
  | 'notes'
  | 'notesOverTls'
  | 'hello'
  | 'orders'
  | 'billing'
  | 'gateway'
  | 'oldBilling'
  | 'oldGateway'

const API_NAMES: Readonly<Record<ApiName, string>> = {
  notes: 'notes API',
  notesOverTls: 'notes API over TLS',
  hello: 'hello API',
  orders: 'orders service',
  billing: 'billing service',
  gateway: 'gateway',
  oldBilling: 'old billing service',
  oldGateway: 'old gateway',
}

/** What people call it. */
export function nameApi(api: ApiName): string {
  return API_NAMES[api]
}

export interface ApiSurroundings {
  readonly issuer: string
  readonly secrets: Secrets & SmallSecrets
  /** Where the service answers that tells back what it was shown. */
  readonly echo: string
  /** The certificate of APIs that speak TLS. */
  readonly tls: TlsPaths | undefined
  /** Where another API answers; starts it if need be. */
  readonly locate: (api: ApiName) => Promise<string>
}

/** Starts an API for a flow: on a free port, in memory, and exact about times. */
export async function startApi(
  api: ApiName,
  { issuer, secrets, echo, tls, locate }: ApiSurroundings,
  stopped: AbortSignal,
): Promise<Child> {
  const { SESSION_SECRET, API_V3_SECRET, SECRET_KEY, GATEWAY_SECRET, FEED_SECRET } = secrets
  const start = (
    file: string,
    pairs: readonly (readonly [option: string, value: string])[],
    environment: Readonly<Record<string, string>> = {},
  ) => {
    const args = [...pairs.flat(), '--port', '0', '--json']
    const program = { name: nameApi(api), file: `resource-server/demo/${file}`, args, environment }
    return startChild(program, stopped)
  }
  const forOwn = (audience: string) =>
    [
      ['--issuer', issuer],
      ['--audience', audience],
      ['--feed-client', FEED_CLIENT],
      ['--feed-receiver', api],
    ] as const
  const exact = { issuer, feedSecret: FEED_SECRET, port: 0, clockToleranceSeconds: 0 }
  switch (api) {
    case 'notes':
      return startNotesApi({ ...exact, signInMaxAgeSeconds: FRESH_SECONDS }, stopped)
    case 'notesOverTls':
      return startNotesApi({ ...exact, tls }, stopped)
    case 'hello': {
      const audiences = [
        ['--session-audience', HEALTHCHECK],
        ['--v3-audience', API_V3],
      ] as const
      const args = [['--issuer', HELLO_ISSUER] as const, ...audiences]
      return start('hello.ts', args, { SESSION_SECRET, API_V3_SECRET })
    }
    case 'orders':
      return start('orders.ts', forOwn(ORDERS), { FEED_SECRET })
    case 'billing':
      return start('billing.ts', forOwn(INVOICES), { FEED_SECRET })
    case 'oldBilling':
      return start('billing.ts', [], { SECRET_KEY })
    case 'oldGateway':
      return start('gateway.ts', [['--route', `/=${await locate('oldBilling')}`]], { SECRET_KEY })
    case 'gateway': {
      const [orders, billing] = await Promise.all([locate('orders'), locate('billing')])
      const args = [
        ...forOwn(GATEWAY),
        ['--route', `/=${billing}`],
        ['--route', `/orders=${orders}`],
        ['--route', `/echo=${echo}`],
        ['--exchange', `/=${INVOICES}`],
        ['--exchange', `/orders=${ORDERS}`],
        ['--exchange', `/echo=${ORDERS}`],
        ['--client-id', GATEWAY_CLIENT],
      ] as const
      return start('gateway.ts', args, { CLIENT_SECRET: GATEWAY_SECRET, FEED_SECRET })
    }
  }
}

export interface NotesApiOptions {
  readonly issuer: string
  /** It follows what the issuer revokes. */
  readonly feedSecret: string
  readonly port: number
  readonly clockToleranceSeconds: number
  /** How long ago people may have signed in who delete all their notes. Default: five minutes. */
  readonly signInMaxAgeSeconds?: number
  /** Default: in memory. */
  readonly database?: string
  /** Default: plain HTTP. */
  readonly tls?: TlsPaths | undefined
  readonly logFile?: string
}

/** It accepts tokens for its own audience and for the brief one, and for no other. */
export function startNotesApi(options: NotesApiOptions, stopped: AbortSignal): Promise<Child> {
  const { issuer, feedSecret, port, clockToleranceSeconds, signInMaxAgeSeconds } = options
  const { database, tls, logFile } = options
  const api = tls ? 'notesOverTls' : 'notes'
  const program = {
    name: nameApi(api),
    file: 'resource-server/demo/notes.ts',
    args: [
      ['--issuer', issuer],
      ['--audience', NOTES],
      ['--audience', BRIEF],
      ['--feed-client', FEED_CLIENT],
      ['--feed-receiver', api],
      ['--port', String(port)],
      ['--clock-tolerance', String(clockToleranceSeconds)],
      signInMaxAgeSeconds === undefined ? [] : ['--sign-in-max-age', String(signInMaxAgeSeconds)],
      database === undefined ? [] : ['--database', database],
      tls ? ['--tls-certificate', tls.certificate, '--tls-key', tls.key] : [],
      ['--json'],
    ].flat(),
    environment: { FEED_SECRET: feedSecret },
    logFile,
  }
  return startChild(program, stopped)
}

export interface WebDemoOptions {
  readonly issuer: string
  readonly api: string
  readonly port: number
  readonly secretFile: string
  readonly logFile: string
}

export function startWebDemo(
  { issuer, api, port, secretFile, logFile }: WebDemoOptions,
  stopped: AbortSignal,
): Promise<Child> {
  const program = {
    name: 'web demo',
    file: 'client-demo/web/main.ts',
    args: [
      ['--issuer', issuer],
      ['--client-id', WEB_CLIENT],
      ['--client-secret-file', secretFile],
      ['--api', api],
      ['--port', String(port)],
      ['--json'],
    ].flat(),
    environment: {},
    logFile,
  }
  return startChild(program, stopped)
}
