import type { EventEmitter } from 'node:events'
import {
  errors,
  Provider,
  type Client as EngineClient,
  type KoaContextWithOIDC,
} from 'oidc-provider'
import type { Account, AccountStore } from '../accounts/account.ts'
import type { VerifyApiKey } from '../api-keys/verify.ts'
import type { ClientStore } from '../clients/client.ts'
import type { ClientDocuments } from '../clients/document.ts'
import type { Outbound } from '../clients/outbound.ts'
import type { SubjectOf } from '../clients/subject.ts'
import type { RegistrationStore } from '../clients/registration.ts'
import type { Clock } from '../clock.ts'
import type { Config } from '../config/schema.ts'
import type { Events } from '../events.ts'
import type { KeyRing } from '../keys/keyring.ts'
import type { Logger } from '../log.ts'
import type { BeginIssuance } from '../revocation/issuance.ts'
import type { RevocationStore } from '../revocation/revocation.ts'
import type { Catalogue } from '../scopes/catalogue.ts'
import type { GuessThrottle, Pace } from '../throttle.ts'
import { createAccessTokenShaper } from './access-token.ts'
import { createAssertionReader } from './assertions.ts'
import { createEngineFetch } from './client-keys.ts'
import { createAdapterFactory, createReplayCheck } from './adapter.ts'
import { createAccountLookup } from './claims.ts'
import type { CibaPaces } from './ciba.ts'
import { createDocumentLookup } from './client-documents.ts'
import { recordOf } from './clients.ts'
import { createEngineConfiguration, type RevocationFeedPlaces } from './configuration.ts'
import { createUserCodeGuard } from './device.ts'
import { requireEncryptionKey } from './encryption.ts'
import { speakToEngine, toEngineError } from './errors.ts'
import { createIdentifiers, type IdentifierKeys } from './identifiers.ts'
import { createApiKeyGrant } from './grants/api-key.ts'
import { registerGrants } from './grants/grants.ts'
import { createJwtBearerGrant } from './grants/jwt-bearer.ts'
import { createTokenExchange } from './grants/token-exchange.ts'
import type { EnginePages } from './interaction.ts'
import { createIssuedTokens } from './issued-token.ts'
import {
  acceptEmptyBasicPasswords,
  acceptJwtsAtUserinfo,
  assertEngineVersion,
  deriveSuccessors,
  forgetStaleKeys,
  includeSessionIds,
  leavePingsToUs,
  readReplacedSession,
  replaceKeyChoice,
  replaceReplayCheck,
  replaceSecretComparison,
} from './internals.ts'
import { createEngineMiddleware } from './middleware.ts'
import type { LastUses } from './last-use.ts'
import type { ModelStore } from './model-store.ts'
import type { MtlsSettings } from './mtls.ts'
import { sealNotice } from './notify.ts'
import { toDeepRequest } from './request-objects.ts'
import { createResourcePolicy } from './resources.ts'
import { createUserinfoTokenReader } from './userinfo.ts'

export interface EngineCollaborators {
  readonly models: ModelStore
  readonly revocations: RevocationStore
  readonly clients: ClientStore
  /** Those that are described by documents, where there are any. */
  readonly documents: ClientDocuments | undefined
  readonly registrations: Pick<RegistrationStore, 'recordUse'>
  readonly lastUses: LastUses
  readonly accounts: AccountStore
  readonly catalogue: Catalogue
  readonly pages: EnginePages
  readonly events: Events
  readonly log: Logger
  readonly clock: Clock
  /** Compares a secret with the stored one of the client; refuses when too many were wrong. */
  readonly verifySecret: (clientId: string, secret: string, address: string) => Promise<boolean>
  readonly verifyApiKey: VerifyApiKey<Account>
  /** Bounds guesses at the codes that devices show. */
  readonly userCodes: GuessThrottle
  /** Whether a device polls again too soon. */
  readonly polls: Pace
  /** How much people are asked from elsewhere (CIBA). */
  readonly cibaPaces: CibaPaces
  readonly requestId: () => string
  readonly beginIssuance: BeginIssuance
  /** Milliseconds since the epoch, by the clock of the database. */
  readonly readTime: () => Promise<number>
  /** What clients know people by. */
  readonly subjectOf: SubjectOf
  readonly outbound: Outbound
}

export interface EngineOptions {
  readonly issuer: string
  readonly tokens: Config['tokens']
  readonly trustedIssuers: Config['trustedIssuers']
  readonly registrationEndpoint: string | undefined
  readonly mtls: MtlsSettings | undefined
  readonly revocationFeed: RevocationFeedPlaces
  readonly keys: KeyRing
  readonly cookieKey: string
  readonly dpopNonceKey: Buffer
  readonly identifierKeys: IdentifierKeys
  /** Seals what clients are told by (CIBA). */
  readonly noticeKey: Buffer
}

const currentContext = () => Provider.ctx

/** Builds one engine, whole: everything that hangs on it is registered here. */
export function buildProvider(given: EngineCollaborators, options: EngineOptions): Provider {
  assertEngineVersion()
  const collaborators = {
    ...given,
    models: speakToEngine(given.models),
    clients: speakToEngine(given.clients),
    accounts: speakToEngine(given.accounts),
    revocations: speakToEngine(given.revocations),
    ...speakToEngine({ verifyApiKey: given.verifyApiKey, readTime: given.readTime }),
  }
  const { catalogue, accounts, pages, requestId, clock } = collaborators
  const identifiers = createIdentifiers(options.identifierKeys)
  const findAccount = createAccountLookup(accounts)
  const userinfoAudience = `${options.issuer}/userinfo`
  const resources = createResourcePolicy(catalogue, findAccount)
  const findByDocument = createDocumentLookup(collaborators.documents, currentContext)
  const takeOnce = createReplayCheck({ ...collaborators, identifiers })
  const configuration = createEngineConfiguration({
    issuer: options.issuer,
    tokens: options.tokens,
    keys: options.keys,
    cookieKey: options.cookieKey,
    dpopNonceKey: options.dpopNonceKey,
    adapter: createAdapterFactory(
      { ...collaborators, identifiers, findByDocument },
      {
        refreshRetryWindowSeconds: options.tokens.refreshRetryWindowSeconds,
        interactionTtlSeconds: options.tokens.interactionTtlSeconds,
        isResourceImplied,
        replacedSession: () => readReplacedSession(currentContext()),
        isDeviceResumed: () => currentContext()?.oidc.route === 'device_resume',
        isAnswering: () => currentContext() !== undefined,
        sealNotice: (text) => sealNotice(options.noticeKey, text),
        guessUserCode: createUserCodeGuard(collaborators.userCodes, currentContext),
      },
    ),
    resources,
    shaper: createAccessTokenShaper({ catalogue, identifiers, findAccount, userinfoAudience }),
    pages,
    catalogue,
    events: collaborators.events,
    requestId,
    findAccount,
    fetch: createEngineFetch(collaborators.outbound, currentContext),
    accounts,
    cibaPaces: collaborators.cibaPaces,
    takeOnce,
    subjectOf: collaborators.subjectOf,
    registrationEndpoint: options.registrationEndpoint,
    mtls: options.mtls,
    takesDocuments: collaborators.documents !== undefined,
    clients: collaborators.clients,
    revocationFeed: options.revocationFeed,
    clock,
    readTime: collaborators.readTime,
  })
  const issued = createIssuedTokens(collaborators, {
    issuer: options.issuer,
    keys: options.keys.published,
    userinfoAudience,
  })
  const provider = new Provider(options.issuer, configuration)
  // The HTTP layer replaces X-Forwarded-* by what it has checked itself: see `http/proxy.ts`.
  provider.proxy = true
  replaceSecretComparison(provider, createSecretComparison(collaborators))
  replaceReplayCheck(provider, currentContext, takeOnce)
  forgetStaleKeys(provider)
  replaceKeyChoice(provider, requireEncryptionKey)
  leavePingsToUs(provider)
  includeSessionIds(provider)
  deriveSuccessors(provider, currentContext, identifiers.successor)
  acceptJwtsAtUserinfo(
    provider,
    currentContext,
    createUserinfoTokenReader(issued, userinfoAudience),
  )
  acceptEmptyBasicPasswords(provider)
  const around = {
    ...collaborators,
    identifiers,
    issued,
    publishedKeys: options.keys.published,
    signingKeys: options.keys.signing,
    mtls: options.mtls,
  }
  for (const middleware of createEngineMiddleware(around)) provider.use(middleware as never)
  const { verifyApiKey } = collaborators
  registerGrants(provider, [
    createApiKeyGrant({ verifyApiKey, resources, clock }),
    createTokenExchange({ ...collaborators, issued, resources, findAccount }),
    createJwtBearerGrant({
      resources,
      clock,
      accounts: collaborators.accounts,
      takeOnce,
      assertions: createAssertionReader(
        { fetchOutbound: collaborators.outbound.declared, clock },
        options,
      ),
    }),
  ])
  listen(provider, collaborators)
  return provider
}

function isResourceImplied(): boolean {
  const resource: unknown = currentContext()?.oidc.params?.['resource']
  return Array.isArray(resource) && resource.length === 1
}

function createSecretComparison({ verifySecret }: EngineCollaborators) {
  return async (client: EngineClient, secret: string) => {
    const ctx = currentContext()
    try {
      return await verifySecret(recordOf(client).id, secret, ctx?.ip ?? '')
    } catch (error) {
      throw toEngineError(error, (seconds) => ctx?.set('Retry-After', String(seconds)))
    }
  }
}

const MOST_URIS = 5

/** What came is not said: it may hold anything. */
function listRegistered(ctx: KoaContextWithOIDC, error: Error): string | undefined {
  if (!(error instanceof errors.InvalidRedirectUri)) return undefined
  const registered = ctx.oidc?.client?.redirectUris ?? []
  const more = registered.length > MOST_URIS ? ', …' : ''
  return `redirect_uri is none of ${registered.slice(0, MOST_URIS).join(', ')}${more}`
}

/** Passes on what the engine refuses: to the client it says less than to the operator. */
function listen(provider: Provider, { events, log }: EngineCollaborators): void {
  const refused = (endpoint: string) => (ctx: KoaContextWithOIDC, error: Error) => {
    const {
      error: code,
      error_description,
      error_detail,
    } = error as {
      error?: string
      error_description?: string
      error_detail?: string
    }
    // The engine refuses JWTs where we take them.
    if (error instanceof errors.UnsupportedTokenType) return
    // A device that waits for its person asks again and again.
    if (error instanceof errors.AuthorizationPending) return
    events.requestRefused({
      endpoint,
      error: code ?? error.name,
      clientId: ctx.oidc?.client?.clientId,
      detail: listRegistered(ctx, error) ?? error_detail ?? error_description,
    })
  }
  provider.on('grant.error', refused('token'))
  provider.on('authorization.error', refused('authorization'))
  provider.on('pushed_authorization_request.error', refused('pushed_authorization_request'))
  provider.on('introspection.error', refused('introspection'))
  provider.on('revocation.error', refused('revocation'))
  provider.on('userinfo.error', refused('userinfo'))
  provider.on('end_session.error', refused('end_session'))
  provider.on('end_session_confirm.error', refused('end_session_confirm'))
  provider.on('device_authorization.error', refused('device_authorization'))
  provider.on('code_verification.error', refused('code_verification'))
  provider.on('device_resume.error', refused('device_resume'))
  // Without this Koa would write it to standard error. A lost connection is reported by the app around.
  const emitter: EventEmitter = provider
  emitter.on('backchannel_authentication.error', refused('backchannel_authentication'))
  emitter.on('error', (error: Error) => {
    if (!('syscall' in error)) log.error({ event: 'server_error', err: error })
  })
  provider.on('server_error', (ctx: KoaContextWithOIDC, error: Error) => {
    const refusal = toDeepRequest(ctx, error)
    if (refusal) refused(ctx.oidc.route ?? '')(ctx, refusal)
    else log.error({ event: 'server_error', err: error })
  })
}
