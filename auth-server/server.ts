import { createAuditKey, requireSameKey } from './audit/audit.ts'
import { createAuditRecorder } from './audit/recorder.ts'
import { systemClock, type Clock } from './clock.ts'
import { compose } from './compose.ts'
import type { LoadedConfig } from './config/load.ts'
import { createEvents, type Events } from './events.ts'
import { serveMtlsPlace } from './http/certificate.ts'
import { drainOnDisposal } from './http/drain.ts'
import { createHttpServer, formatHost, listen, refuseTakenPort } from './http/listen.ts'
import { answerMalformedRequests } from './http/malformed.ts'
import { refuseWhileStarting } from './http/starting.ts'
import { createRootKey, readRootKey, warnOfReaders } from './keys/root-key.ts'
import { readSealKey } from './keys/seal-key.ts'
import { deriveKey } from './keys/seal.ts'
import { createLog, type Logger } from './log.ts'
import {
  listDirectPlaces,
  openDirectServer,
  openMetrics,
  openMtls,
  takesPort,
  withPort,
  type DirectUrls,
} from './places.ts'
import { listPurged } from './purged.ts'
import { startPurge } from './storage/purge.ts'
import { openStores } from './storage/stores.ts'

/** A running authorization server. Disposing of it answers what is under way, then stops. */
export interface AuthServer extends AsyncDisposable {
  readonly issuer: string
  /** Where it listens, as a URL; behind a proxy this is not the issuer. */
  readonly url: string
  /** Where it listens for clients that show certificates, as a URL, if they may. */
  readonly mtlsUrl: string | undefined
  /** What those clients call that place by. */
  readonly mtlsOrigin: string | undefined
  /** Where Prometheus gets the metrics, if they are wanted. */
  readonly metricsUrl: string | undefined
  /** Where tokens are given without OAuth, if they are. */
  readonly directUrls: DirectUrls
  /** What an operator should know of what it works with, and the command that mends it. */
  readonly warnings: readonly string[]
}

/** What a test may replace. */
export interface AuthServerOverrides {
  readonly clock?: Clock
  readonly log?: Logger
  /** How often what has expired, or was never used, is removed. Default: a minute. */
  readonly purgeEveryMilliseconds?: number
  /** Who is asked where names lead that clients have given. Default: whom the operating system asks. */
  readonly nameServers?: readonly string[]
  /** Takes the place of the database's. Default: that of the process for SQLite. */
  readonly databaseClock?: Clock
}

/**
 * Starts an authorization server: opens the storage, brings it in line with the configuration, makes
 * what keys are missing, and listens.
 *
 * An issuer with port 0 takes the port that the system picks (for tests). Throws `misconfigured`
 * where the configuration cannot work here: a taken port, a key that does not open, a conflict.
 */
export async function createAuthServer(
  loaded: LoadedConfig,
  overrides: AuthServerOverrides = {},
): Promise<AuthServer> {
  const { config } = loaded
  const clock = overrides.clock ?? systemClock
  const log = overrides.log ?? createLog(config.log.level)
  await using cleanUp = new AsyncDisposableStack()
  const foundKey = await readRootKey(loaded, log)
  const metrics = cleanUp.use(await openMetrics(config.metrics, log))
  // A session may be found deleted before there is an audit log to say it in.
  const announced = Promise.withResolvers<Events>()
  cleanUp.defer(() => announced.resolve(createEvents(log)))
  const redis = config.redis && {
    url: config.redis.url,
    log,
    events: {
      sessionDeleted: async (facts: Parameters<Events['sessionDeleted']>[0]) =>
        (await announced.promise).sessionDeleted(facts),
    },
  }
  const stores = cleanUp.use(
    await openStores(config.database.url, clock, {
      redis,
      databaseClock: overrides.databaseClock,
    }),
  )
  const rootKey = foundKey ?? (await createRootKey(loaded, stores))
  const sealKey = await readSealKey(loaded)
  const { encryptionKey } = config.keys
  if (encryptionKey && 'file' in encryptionKey) await warnOfReaders(encryptionKey.file, log)
  const key = createAuditKey(deriveKey(rootKey, 'audit'))
  await requireSameKey(stores.audit, key)
  const meter = metrics?.metrics.audit
  const audit = cleanUp.use(createAuditRecorder({ store: stores.audit, key, clock, log, meter }))
  const events = createEvents(log, { metrics: metrics?.metrics, audit })
  announced.resolve(events)
  // Before the audit log is closed: what it says belongs there.
  cleanUp.defer(stores.stopWatching)
  const server = createHttpServer()
  cleanUp.use(drainOnDisposal(server))
  metrics?.measure(server)
  answerMalformedRequests(server, log)
  server.on('request', refuseWhileStarting)
  // A proxy sends its share of the requests to whatever takes connections: so listening comes last,
  // unless the issuer has the port that is found out by it.
  const early = takesPort(config.issuer) ? await listen(server, config.listen) : undefined
  if (!early) await refuseTakenPort(config.listen)
  for (const { place, settings } of listDirectPlaces(config)) await refuseTakenPort(place, settings)
  const issuer = early ? withPort(config.issuer, early.port) : new URL(config.issuer).origin
  const mtls = config.mtls && (await openMtls(loaded, config.mtls, { issuer, log }))
  if (mtls) cleanUp.use(mtls)
  const keys = { rootKey, sealKey }
  const { nameServers } = overrides
  const services = { loaded, issuer, mtls, nameServers, keys, stores, audit, events, clock, log }
  const draining = { now: false }
  const composed = await compose(services, () => draining.now)
  const { app, direct, watchKeys, deliverLogouts } = composed
  cleanUp.use(composed.notifier)
  cleanUp.use(composed.feed)
  cleanUp.use(watchKeys())
  cleanUp.use(deliverLogouts())
  const purged = listPurged({ stores, events, registration: config.registration })
  const everyMilliseconds = overrides.purgeEveryMilliseconds
  cleanUp.use(startPurge(purged, clock, log, { everyMilliseconds }))
  server.off('request', refuseWhileStarting)
  server.on('request', app)
  mtls?.server.off('request', refuseWhileStarting)
  mtls?.server.on('request', serveMtlsPlace(app))
  const directUrls: Record<keyof DirectUrls, string | undefined> = {
    secrets: undefined,
    unauthenticated: undefined,
  }
  for (const wanted of listDirectPlaces(config)) {
    const opened = cleanUp.use(await openDirectServer(direct, wanted, { ...services, metrics }))
    directUrls[wanted.name] = opened.url
  }
  const { port } = early ?? (await listen(server, config.listen))
  const url = `http://${formatHost(config.listen.host)}:${port}`
  const mtlsUrl = mtls?.url
  const metricsUrl = metrics?.url
  log.info({ event: 'started', issuer, url, mtlsUrl, metricsUrl, direct: directUrls })
  const running = cleanUp.move()
  return {
    issuer,
    url,
    mtlsUrl,
    mtlsOrigin: mtls?.origin,
    metricsUrl,
    directUrls,
    warnings: stores.warnings,
    async [Symbol.asyncDispose]() {
      draining.now = true
      await running.disposeAsync()
      log.info({ event: 'stopped', issuer })
    },
  }
}
