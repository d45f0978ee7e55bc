import type { Middleware } from 'koa'
import { createPasswordHasher, type PasswordHasher } from './accounts/password.ts'
import { createSignIn } from './accounts/sign-in.ts'
import { reconcile } from './admin/reconcile.ts'
import { createApiKeyVerifier } from './api-keys/verify.ts'
import { startLogoutDelivery } from './backchannel/deliver.ts'
import { createSecretVerifier } from './clients/authenticate.ts'
import { withDocuments, type ClientDocuments } from './clients/document.ts'
import { createOutbound, type Outbound } from './clients/outbound.ts'
import { withOwnClient } from './clients/own-client.ts'
import { createSubjects } from './clients/subject.ts'
import { revocationsOf } from './config/built-in.ts'
import { misconfigured } from './config/load.ts'
import { readDeclaredSecrets } from './config/secrets.ts'
import { createDirectAccess } from './direct-access/direct-access.ts'
import { openEngine } from './engine.ts'
import { createFeed } from './feed/feed.ts'
import { createAdmission } from './feed/listeners.ts'
import { createFeedRoutes, UNUSABLE_EVENTS } from './feed/routes.ts'
import { createApp } from './http/app.ts'
import type { MtlsPlace } from './http/certificate.ts'
import { refuseWhileBehind } from './http/pressure.ts'
import { createAccountRoutes, NEW_API_KEYS } from './interactions/account.ts'
import { createApprovalRoutes } from './interactions/approvals.ts'
import { createAssetRoutes, loadAssets } from './interactions/assets.ts'
import { createCsrf } from './interactions/csrf.ts'
import { createPages } from './interactions/pages.ts'
import { createInteractionRoutes } from './interactions/routes.ts'
import { deriveKey } from './keys/seal.ts'
import { currentRequest } from './log.ts'
import { createApprovals } from './provider/approvals.ts'
import { createCibaPaces } from './provider/ciba.ts'
import { SHORTEST_INTERVAL_SECONDS } from './provider/device.ts'
import { createLastUses } from './provider/last-use.ts'
import { MTLS_PATHS } from './provider/mtls.ts'
import { createNotifier } from './provider/notify.ts'
import { createOwnAccess } from './provider/own-access.ts'
import { createInteractions } from './provider/pending.ts'
import { createSessions } from './provider/session.ts'
import { createClientDocuments } from './registration/documents.ts'
import { createRegistration } from './registration/register.ts'
import { createRegistrationRoutes } from './registration/routes.ts'
import { createStatementReader } from './registration/statements.ts'
import { createIssuance } from './revocation/issuance.ts'
import { createCatalogue, withRevocations } from './scopes/catalogue.ts'
import type { Services } from './services.ts'
import { createGuessThrottle, createPace } from './throttle.ts'

const requestId = () => currentRequest.getStore()?.requestId ?? ''

/** Puts the rooms together: the one place that knows them all. */
export async function compose(services: Services, isDraining: () => boolean) {
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
  const beginIssuance = createIssuance({ revocations: stores.revocations, clock, log })
  const readTime = async () => (await beginIssuance()).begunAt
  const engine = await openEngine(services, {
    beginIssuance,
    readTime,
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
    readTime,
  })
  const parts = { catalogue, accounts, clients, apiKeys, signIn, apiKeyThrottle, signingKeys }
  const direct =
    config.directAccess &&
    (await createDirectAccess(
      { ...parts, beginIssuance, readTime, events, clock },
      config.directAccess,
      {
        issuer,
        demonstrationKeys: secrets.value.demonstrationKeys,
      },
    ))
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
    readTime,
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

function describeMtls({ loaded: { config }, mtls }: Services): MtlsPlace | undefined {
  return mtls && { origin: mtls.origin, paths: MTLS_PATHS, proxy: config.mtls?.proxy }
}

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
