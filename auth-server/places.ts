import type { Server } from 'node:http'
import type { Server as TlsServer } from 'node:https'
import type { AuditRecorder } from './audit/recorder.ts'
import type { Clock } from './clock.ts'
import type { LoadedConfig } from './config/load.ts'
import type { Config } from './config/schema.ts'
import type { DirectAccess } from './direct-access/direct-access.ts'
import { createDirectApp } from './http/direct-app.ts'
import { drainOnDisposal } from './http/drain.ts'
import {
  createHttpServer,
  formatHost,
  listen,
  type ListenSettings,
  type Place,
} from './http/listen.ts'
import { answerMalformedRequests } from './http/malformed.ts'
import { refuseWhileStarting } from './http/starting.ts'
import { createTlsServer, readTlsFiles } from './http/tls.ts'
import type { Logger } from './log.ts'
import type { Metrics } from './metrics/metrics.ts'
import type { MtlsSettings } from './provider/mtls.ts'

/** Each `undefined` where there is none. */
export interface DirectUrls {
  /** For passwords and API keys. */
  readonly secrets: string | undefined
  /** For nothing. */
  readonly unauthenticated: string | undefined
}

/** How certificates of clients reach this server. */
export interface Mtls extends MtlsSettings, AsyncDisposable {
  /** What listens at the place for them. */
  readonly server: Server | TlsServer
  /** Where, as a URL. */
  readonly url: string
}

/** It listens at once: where its port is a free one, the metadata have to name it. */
export async function openMtls(
  { readSecret }: LoadedConfig,
  { origin, listener, proxy }: NonNullable<Config['mtls']>,
  { issuer, log }: { readonly issuer: string; readonly log: Logger },
): Promise<Mtls> {
  const place = listener ?? proxy
  if (!place) throw new TypeError('mtls has neither a listener nor a proxy')
  const server = listener
    ? createTlsServer(await readTlsFiles(listener, readSecret), log)
    : createHttpServer()
  const drain = drainOnDisposal(server)
  answerMalformedRequests(server, log)
  server.on('request', refuseWhileStarting)
  const settings = nameSettings(listener ? 'mtls.listener' : 'mtls.proxy')
  const { port } = await listen(server, place, settings)
  const scheme = listener ? 'https' : 'http'
  return {
    origin: origin ?? `https://${new URL(issuer).hostname}:${port}`,
    judgesChains: (listener?.authorities ?? proxy?.verifiedHeader) !== undefined,
    server,
    url: `${scheme}://${formatHost(place.host)}:${port}`,
    [Symbol.asyncDispose]: () => drain[Symbol.asyncDispose](),
  }
}

export interface DirectPlace {
  readonly name: keyof DirectUrls
  readonly place: Place
  readonly settings: ListenSettings
}

export function listDirectPlaces({ directAccess }: Config): readonly DirectPlace[] {
  if (!directAccess) return []
  const { listen: place, password, apiKey, unauthenticated } = directAccess
  const path = 'directAccess.listen'
  const own = 'directAccess.unauthenticated.listen'
  return [
    ...(password || apiKey
      ? [{ name: 'secrets', place, settings: nameSettings(path) } as const]
      : []),
    ...(unauthenticated
      ? [
          {
            name: 'unauthenticated',
            place: unauthenticated.listen,
            settings: nameSettings(own),
          } as const,
        ]
      : []),
  ]
}

function nameSettings(path: string): ListenSettings {
  return { host: `${path}.host`, port: `${path}.port`, follow: '' }
}

interface DirectServices {
  readonly loaded: LoadedConfig
  readonly audit: Pick<AuditRecorder, 'isBehind'>
  readonly clock: Clock
  readonly log: Logger
  readonly metrics: MetricsServer | undefined
}

export async function openDirectServer(
  direct: DirectAccess | undefined,
  { name, place, settings }: DirectPlace,
  { loaded, audit, clock, log, metrics }: DirectServices,
): Promise<AsyncDisposable & { readonly url: string }> {
  const routes = direct?.[name]
  if (!routes) throw new TypeError(`there is no direct access for ${name}`)
  const server = createHttpServer()
  const drain = drainOnDisposal(server)
  metrics?.measure(server)
  answerMalformedRequests(server, log)
  const { trustedProxies } = loaded.config
  const app = createDirectApp({ routes, isBehind: audit.isBehind, log, clock }, { trustedProxies })
  server.on('request', app.callback())
  const { port } = await listen(server, place, settings)
  return {
    url: `http://${formatHost(place.host)}:${port}`,
    [Symbol.asyncDispose]: () => drain[Symbol.asyncDispose](),
  }
}

export interface MetricsServer extends AsyncDisposable {
  readonly metrics: Metrics
  readonly url: string
  /** Counts the requests of a server. */
  measure(server: Server): void
}

/** Nothing of it is even loaded where nobody wants it. */
export async function openMetrics(
  place: Config['metrics'],
  log: Logger,
): Promise<MetricsServer | undefined> {
  if (!place) return undefined
  const [{ createMetrics }, { createMetricsServer, measureRequests }] = await Promise.all([
    import('./metrics/metrics.ts'),
    import('./metrics/listener.ts'),
  ])
  const metrics = createMetrics()
  const server = createMetricsServer(metrics, log)
  const drain = drainOnDisposal(server)
  const { port } = await listen(server, place, nameSettings('metrics'))
  return {
    metrics,
    url: `http://${formatHost(place.host)}:${port}/metrics`,
    measure: (measured) => measureRequests(measured, metrics),
    [Symbol.asyncDispose]: () => drain[Symbol.asyncDispose](),
  }
}

/** Whether the system is to choose it. */
export function takesPort(issuer: string): boolean {
  return new URL(issuer).port === '0'
}

export function withPort(issuer: string, port: number): string {
  const { protocol, hostname } = new URL(issuer)
  return `${protocol}//${hostname}:${port}`
}
