import type { Server } from 'node:http'
import type { Server as TlsServer } from 'node:https'
import type { Middleware } from 'koa'
import { createPasswordHasher, type PasswordHasher } from './accounts/password.ts'
import { createSignIn } from './accounts/sign-in.ts'
import { reconcile } from './admin/reconcile.ts'
import { createAuditKey, requireSameKey } from './audit/audit.ts'
import { createAuditRecorder, type AuditRecorder } from './audit/recorder.ts'
import { startLogoutDelivery } from './backchannel/deliver.ts'
import { createApiKeyVerifier } from './api-keys/verify.ts'
import { createSecretVerifier } from './clients/authenticate.ts'
import { withDocuments, type ClientDocuments } from './clients/document.ts'
import { withOwnClient } from './clients/own-client.ts'
import { createOutbound, type Outbound } from './clients/outbound.ts'
import { createSubjects } from './clients/subject.ts'
import { systemClock, type Clock } from './clock.ts'
import { revocationsOf } from './config/built-in.ts'
import { misconfigured, type LoadedConfig } from './config/load.ts'
import { isSecretAlgorithm, type Config, type SigningAlgorithm } from './config/schema.ts'
import { readDeclaredSecrets } from './config/secrets.ts'
import { createDirectAccess, type DirectAccess } from './direct-access/direct-access.ts'
import { createEvents, type Events } from './events.ts'
import { createFeed } from './feed/feed.ts'
import { createAdmission, describeFeed } from './feed/listeners.ts'
import { createFeedRoutes, UNUSABLE_EVENTS } from './feed/routes.ts'
import { createApp } from './http/app.ts'
import { serveMtlsPlace, type MtlsPlace } from './http/certificate.ts'
import { createDirectApp } from './http/direct-app.ts'
import { drainOnDisposal } from './http/drain.ts'
import {
  createHttpServer,
  formatHost,
  listen,
  refuseTakenPort,
  type ListenSettings,
  type Place,
} from './http/listen.ts'
import { answerMalformedRequests } from './http/malformed.ts'
import { refuseWhileBehind } from './http/pressure.ts'
import { refuseWhileStarting } from './http/starting.ts'
import { createTlsServer, readTlsFiles } from './http/tls.ts'
import { createAccountRoutes, NEW_API_KEYS } from './interactions/account.ts'
import { createApprovalRoutes } from './interactions/approvals.ts'
import { createAssetRoutes, loadAssets } from './interactions/assets.ts'
import { createCsrf } from './interactions/csrf.ts'
import { createPages } from './interactions/pages.ts'
import { createInteractionRoutes } from './interactions/routes.ts'
import { createKeyRingSource, type KeyRing } from './keys/keyring.ts'
import { createMissingKeys } from './keys/rotation.ts'
import { createRootKey, readRootKey, warnOfReaders } from './keys/root-key.ts'
import { readSealKey } from './keys/seal-key.ts'
import { deriveKey } from './keys/seal.ts'
import { tendKeys } from './keys/upkeep.ts'
import { startKeyWatch } from './keys/watch.ts'
import { createLog, currentRequest, type Logger } from './log.ts'
import type { Metrics } from './metrics/metrics.ts'
import { createClientDocuments } from './registration/documents.ts'
import { createRegistration } from './registration/register.ts'
import { createRegistrationRoutes } from './registration/routes.ts'
import { createStatementReader } from './registration/statements.ts'
import { createIssuance } from './revocation/issuance.ts'
import { createApprovals } from './provider/approvals.ts'
import { createCibaPaces } from './provider/ciba.ts'
import { SHORTEST_INTERVAL_SECONDS } from './provider/device.ts'
import { createEngineHost, type EngineHost } from './provider/host.ts'
import { MTLS_PATHS, type MtlsSettings } from './provider/mtls.ts'
import { createIssuedTokens, type IssuedTokens } from './provider/issued-token.ts'
import { createLastUses } from './provider/last-use.ts'
import { createNotifier } from './provider/notify.ts'
import { createOwnAccess } from './provider/own-access.ts'
import { createInteractions } from './provider/pending.ts'
import { createSessions } from './provider/session.ts'
import { buildProvider } from './provider/provider.ts'
import { createCatalogue, withRevocations } from './scopes/catalogue.ts'
import { startPurge, type Purgeable } from './storage/purge.ts'
import { openStores, type Stores } from './storage/stores.ts'
import { createGuessThrottle, createPace } from './throttle.ts'

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

/** Each `undefined` where there is none. */
export interface DirectUrls {
  /** For passwords and API keys. */
  readonly secrets: string | undefined
  /** For nothing. */
  readonly unauthenticated: string | undefined
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

/** ES256 for access tokens and RS256 for ID tokens are always there. */
const ALWAYS: readonly SigningAlgorithm[] = ['ES256', 'RS256']

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
  const purged = [
    stores.models,
    stores.revocations,
    forgetReceivers(stores),
    stores.apiKeys,
    ...listUnused(services),
  ]
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
    const opened = cleanUp.use(await openDirectServer(services, wanted, direct, metrics))
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

interface Services {
  readonly loaded: LoadedConfig
  readonly issuer: string
  readonly mtls: Mtls | undefined
  readonly nameServers: readonly string[] | undefined
  readonly keys: { readonly rootKey: Buffer; readonly sealKey: Buffer }
  readonly stores: Stores
  readonly audit: AuditRecorder
  readonly events: Events
  readonly clock: Clock
  readonly log: Logger
}

const requestId = () => currentRequest.getStore()?.requestId ?? ''

/** Puts the rooms together: the one place that knows them all. */
async function compose(services: Services, isDraining: () => boolean) {
  const { loaded, issuer, nameServers, keys, stores, audit, events, clock, log } = services
  const { config } = loaded
  const { accounts, apiKeys, createLimiter } = stores
  const outbound = createOutbound(config, issuer, nameServers)
  const documents = openDocuments(services, outbound)
  const clients = withOwnClient(withDocuments(stores.clients, documents), issuer)
  const hasher = createPasswordHasher({
    concurrency: config.signIn.hashConcurrency,
    queue: config.signIn.hashQueue,
  })
  const secrets = await readDeclaredSecrets(config, loaded.readSecret)
  if (!secrets.ok) throw misconfigured(secrets.reason, loaded.file)
  const catalogue = withRevocations(createCatalogue(config, secrets.value.resources), issuer)
  const assets = loadAssets()
  const pages = createPages(assets)
  const apiKeyThrottle = createGuessThrottle(config.signIn, { what: 'api_key', createLimiter })
  const subjectOf = createSubjects(deriveKey(keys.rootKey, 'pairwise-subject'))
  const { ownAccess: access } = stores
  const lastUses = createLastUses({ access, clock, log })
  const engine = await openEngine(services, {
    clients,
    lastUses,
    documents,
    catalogue,
    pages,
    requestId,
    verifySecret: createSecretVerifier({
      clients,
      hasher,
      throttle: createGuessThrottle(config.signIn, { what: 'client', createLimiter }),
      events,
    }),
    verifyApiKey: createApiKeyVerifier({
      apiKeys,
      accounts,
      throttle: apiKeyThrottle,
      events,
      clock,
    }),
    userCodes: createGuessThrottle(config.signIn, { what: 'user_code', createLimiter }),
    polls: createPace(
      'device_poll',
      { attempts: 1, windowSeconds: SHORTEST_INTERVAL_SECONDS },
      createLimiter,
    ),
    cibaPaces: createCibaPaces(createLimiter),
    subjectOf,
    outbound,
  })
  const { host, signingKeys, watchKeys } = engine
  // After the signing keys were opened: a server with another root key changes nothing.
  await reconcile(loaded, { accounts, clients: stores.clients, hasher, clock, events })
  const csrf = createCsrf(deriveKey(keys.rootKey, 'csrf'))
  const signIn = createSignIn({
    accounts,
    hasher,
    throttle: createGuessThrottle(config.signIn, { what: 'password', createLimiter }),
    events,
    clock,
  })
  const parts = { catalogue, accounts, clients, apiKeys, signIn, apiKeyThrottle, signingKeys }
  const beginIssuance = createIssuance({ revocations: stores.revocations, clock, log })
  const direct =
    config.directAccess &&
    (await createDirectAccess({ ...parts, beginIssuance, events, clock }, config.directAccess, {
      issuer,
      demonstrationKeys: secrets.value.demonstrationKeys,
    }))
  const interactions = createInteractionRoutes(
    {
      interactions: createInteractions({ host, accounts, clients, documents, catalogue, events }),
      signIn,
      pages,
      csrf,
      events,
      requestId,
    },
    { issuer },
  )
  const notifier = createNotifier({
    outbound,
    events,
    noticeKey: deriveKey(keys.rootKey, 'ciba-notice'),
  })
  const { models } = stores
  const feed = await createFeed(
    {
      revocations: stores.revocations,
      receivers: stores.receivers,
      signingKeys,
      publishedKeys: engine.publishedKeys,
      clock,
      log,
    },
    { issuer },
  )
  engine.onKeys(feed.announceKeys)
  const admit = createAdmission(engine.issuedTokens, revocationsOf(issuer))
  const unusablePace = createPace('revocation_unusable', UNUSABLE_EVENTS, createLimiter)
  const sessions = createSessions({ host, accounts, lastUses }, { issuer })
  const own = {
    sessions,
    access: createOwnAccess(
      { access, models, clients, catalogue, events },
      { handleKey: deriveKey(keys.rootKey, 'session-handle') },
    ),
    apiKeys,
    newKeys: createPace('new_api_key', NEW_API_KEYS, createLimiter),
    approvals: createApprovals({ host, models, clients, catalogue, notifier, events, clock }),
    catalogue,
    pages,
    csrf,
    events,
    clock,
    requestId,
  }
  const account = [createAccountRoutes(own, { issuer }), createApprovalRoutes(own, { issuer })]
  const app = createApp(
    {
      host,
      health: { pings: stores.pings, isDraining },
      log,
      clock,
      pages: [
        refuseWhileBehind(audit.isBehind, ['POST', 'PUT', 'DELETE']),
        createAssetRoutes(assets),
        interactions,
        ...account,
        ...createRegistrationPages(services, { hasher, outbound }),
        createFeedRoutes({ feed, admit, events, unusablePace, resource: revocationsOf(issuer) }),
      ],
      renderError: pages.error,
    },
    { issuer, trustedProxies: config.trustedProxies, mtls: describeMtls(services) },
  )
  const deliverLogouts = () =>
    startLogoutDelivery(
      {
        logouts: stores.logouts,
        clients,
        signingKeys,
        subjectOf,
        outbound,
        events,
        clock,
        log,
      },
      { issuer },
    )
  return { app: app.callback(), direct, watchKeys, deliverLogouts, notifier, feed }
}

/** How certificates of clients reach this server. */
interface Mtls extends MtlsSettings, AsyncDisposable {
  /** What listens at the place for them. */
  readonly server: Server | TlsServer
  /** Where, as a URL. */
  readonly url: string
}

/** It listens at once: where its port is a free one, the metadata have to name it. */
async function openMtls(
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

function describeMtls({ loaded: { config }, mtls }: Services): MtlsPlace | undefined {
  return mtls && { origin: mtls.origin, paths: MTLS_PATHS, proxy: config.mtls?.proxy }
}
/** An API that has not come for a day: one of its replicas that there is no longer. */
function forgetReceivers({ receivers }: Stores): Purgeable {
  return { purge: (before, limit) => receivers.purge(before - DAY_MS, limit) }
}

const DAY_MS = 86_400_000

/** What nobody uses: invites that have expired, clients that never got a token, or have lost all grants. */
function listUnused({ loaded, stores, events }: Services): readonly Purgeable[] {
  const { registrations, documents } = stores
  const expire = (
    removeUnused: (before: number, limit: number) => Promise<readonly string[]>,
    lifeMilliseconds: number,
  ): Purgeable => ({
    async purge(before, limit) {
      const removed = await removeUnused(before - lifeMilliseconds, limit)
      for (const id of removed) {
        events.objectChanged({ kind: 'client', action: 'expired', id, by: 'server' })
      }
      return removed.length
    },
  })
  const policy = loaded.config.registration
  return [
    { purge: registrations.purgeInvites },
    expire(documents.removeUnused, UNUSED_DOCUMENT_MS),
    ...(policy ? [expire(registrations.removeUnused, policy.unusedTtlSeconds * 1000)] : []),
  ]
}

/** Nobody's grant hangs on such a client. Whoever has just agreed to it has a grant in a moment. */
const UNUSED_DOCUMENT_MS = 3_600_000

/** Nothing where clients may not register themselves. */
function createRegistrationPages(
  { loaded, issuer, stores, events, clock }: Services,
  { hasher, outbound }: { readonly hasher: PasswordHasher; readonly outbound: Outbound },
): readonly Middleware[] {
  const { registration: policy, resources } = loaded.config
  if (!policy) return []
  const { clients, registrations, createLimiter } = stores
  const pace = createPace('registration', policy.perAddress, createLimiter)
  const { softwareStatements } = policy
  const statements =
    softwareStatements &&
    createStatementReader({ fetchOutbound: outbound.declared, clock }, softwareStatements, issuer)
  const registration = createRegistration(
    { clients, registrations, hasher, statements, pace, outbound, events, clock },
    { policy, resources, ownNames: listOwnNames(issuer) },
  )
  return [createRegistrationRoutes({ registration, events }, { issuer })]
}

function listOwnNames(issuer: string): readonly string[] {
  return ['Portreeve', 'Your account', new URL(issuer).host]
}

/** For all of the strangers together, and of one document that is known already, for all instances. */
const DOCUMENTS_OVERALL = { attempts: 300, windowSeconds: 60 }
const DOCUMENT_KNOWN = { attempts: 60, windowSeconds: 60 }

/** Nothing where clients may not be described by documents. */
function openDocuments(
  { loaded, issuer, stores, events, clock }: Services,
  outbound: Outbound,
): ClientDocuments | undefined {
  const { clientDocuments: policy, resources } = loaded.config
  if (!policy) return undefined
  const { clients, documents: store, createLimiter } = stores
  const paces = {
    address: createPace('document_address', policy.perAddress, createLimiter),
    host: createPace('document_host', policy.perHost, createLimiter),
    known: createPace('document_known', DOCUMENT_KNOWN, createLimiter),
    overall: createPace('document_overall', DOCUMENTS_OVERALL, createLimiter),
  }
  const fetchOutbound = outbound.of({ owner: 'document' })
  return createClientDocuments(
    { clients, store, fetchOutbound, paces, events, clock },
    { issuer, policy, resources, ownNames: listOwnNames(issuer) },
  )
}

type EngineParts = Pick<
  Parameters<typeof buildProvider>[0],
  | 'clients'
  | 'lastUses'
  | 'documents'
  | 'catalogue'
  | 'pages'
  | 'requestId'
  | 'verifySecret'
  | 'verifyApiKey'
  | 'userCodes'
  | 'polls'
  | 'cibaPaces'
  | 'subjectOf'
  | 'outbound'
>

interface Engine {
  readonly host: EngineHost
  /** What it signs with now. */
  readonly signingKeys: () => KeyRing['signing']
  readonly publishedKeys: () => KeyRing['published']
  /** Reads what those keys have signed. */
  readonly issuedTokens: () => IssuedTokens
  /** Called whenever other keys are in force. */
  readonly onKeys: (listener: () => void) => void
  /** Keeps the engine's keys as they are in the store. */
  readonly watchKeys: () => AsyncDisposable
}

async function openEngine(services: Services, parts: EngineParts): Promise<Engine> {
  const { loaded, issuer, stores, events, clock, log } = services
  const { config } = loaded
  const { rootKey, sealKey } = services.keys
  const { models, revocations, registrations, accounts, keys } = stores
  const records = { models, revocations, registrations, accounts }
  const collaborators = { ...parts, ...records, events, log, clock }
  const keyCollaborators = { keys, sealKey, clock, events }
  await createMissingKeys(keyCollaborators, algorithmsOf(config))
  const ring = createKeyRingSource(keys, sealKey, { clock, log })
  let current: Pick<KeyRing, 'signing' | 'published'> = { signing: [], published: [] }
  const listeners: (() => void)[] = []
  const host = await createEngineHost(() =>
    ring.load((loadedKeys) => {
      current = loadedKeys
      return buildProvider(collaborators, {
        issuer,
        tokens: config.tokens,
        trustedIssuers: config.trustedIssuers,
        registrationEndpoint: config.registration && `${issuer}/register`,
        mtls: services.mtls,
        revocationFeed: describeFeed(issuer),
        keys: loadedKeys,
        cookieKey: deriveKey(rootKey, 'cookies').toString('base64url'),
        dpopNonceKey: deriveKey(rootKey, 'dpop-nonce'),
        noticeKey: deriveKey(rootKey, 'ciba-notice'),
        identifierKeys: {
          grantId: deriveKey(rootKey, 'grant-id'),
          userCode: deriveKey(rootKey, 'user-code'),
          refreshSuccessor: deriveKey(rootKey, 'refresh-successor'),
        },
      })
    }),
  )
  const watchKeys = () =>
    startKeyWatch({
      keys,
      isCurrent: ring.isCurrent,
      async apply() {
        await host.rebuild()
        for (const listener of listeners) listener()
      },
      tend: (states) => tendKeys(keyCollaborators, states, config.keys),
      clock,
      log,
    })
  return {
    host,
    signingKeys: () => current.signing,
    publishedKeys: () => current.published,
    issuedTokens: () =>
      createIssuedTokens(collaborators, {
        issuer,
        keys: current.published,
        userinfoAudience: `${issuer}/userinfo`,
      }),
    onKeys: (listener) => void listeners.push(listener),
    watchKeys,
  }
}

function algorithmsOf({ resources }: Config): readonly SigningAlgorithm[] {
  const wanted = resources.flatMap(({ algorithm }) =>
    isSecretAlgorithm(algorithm) ? [] : [algorithm],
  )
  return [...new Set([...ALWAYS, ...wanted])]
}

interface DirectPlace {
  readonly name: keyof DirectUrls
  readonly place: Place
  readonly settings: ListenSettings
}

function listDirectPlaces({ directAccess }: Config): readonly DirectPlace[] {
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

async function openDirectServer(
  { loaded, audit, clock, log }: Services,
  { name, place, settings }: DirectPlace,
  direct: DirectAccess | undefined,
  metrics: MetricsServer | undefined,
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

interface MetricsServer extends AsyncDisposable {
  readonly metrics: Metrics
  readonly url: string
  /** Counts the requests of a server. */
  measure(server: Server): void
}

/** Nothing of it is even loaded where nobody wants it. */
async function openMetrics(
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

function takesPort(issuer: string): boolean {
  return new URL(issuer).port === '0'
}

function withPort(issuer: string, port: number): string {
  const { protocol, hostname } = new URL(issuer)
  return `${protocol}//${hostname}:${port}`
}
