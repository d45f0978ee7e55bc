import {
  interactionPolicy,
  type Adapter,
  type Client as EngineClient,
  type Configuration,
  type KoaContextWithOIDC,
} from 'oidc-provider'
import { isSignInOver, type Account } from '../accounts/account.ts'
import type { ClientStore } from '../clients/client.ts'
import type { SubjectOf } from '../clients/subject.ts'
import type { Clock } from '../clock.ts'
import {
  ACR_VALUES,
  ASSERTION_ALGORITHMS,
  CLIENT_ENCRYPTION_ALGORITHMS,
  CLIENT_SIGNING_ALGORITHMS,
  CONTENT_ENCRYPTIONS,
  REQUEST_ALGORITHMS,
} from '../config/built-in.ts'
import type { Config } from '../config/schema.ts'
import type { KeyRing } from '../keys/keyring.ts'
import type { Events } from '../events.ts'
import { OIDC_SCOPES, type Catalogue } from '../scopes/catalogue.ts'
import type { AccessTokenShaper } from './access-token.ts'
import type { TakeOnce } from './adapter.ts'
import {
  BACKCHANNEL_PATH,
  boundRequestLife,
  createCiba,
  findStandIn,
  type CibaCollaborators,
  type CibaPaces,
} from './ciba.ts'
import { CLAIMS_OF_SCOPES, toEngineAccount } from './claims.ts'
import { createClaimsParameter, listWantedSubjects, readClaims } from './claims-parameter.ts'
import { createAssertionCheck } from './client-keys.ts'
import { clientOf, recordOf, RECORD } from './clients.ts'
import { createDetails } from './details.ts'
import {
  createDeviceFlow,
  DEVICE_AUTHORIZATION_PATH,
  DEVICE_CODE_TTL_SECONDS,
  DEVICE_PATH,
} from './device.ts'
import { createErrorRenderer } from './errors.ts'
import { createGrantLookup, needsConsentEachTime, refuseFormerPlace } from './consent.ts'
import type { EnginePages } from './interaction.ts'
import { readFormSecret } from './internals.ts'
import { mayIntrospect } from './introspection.ts'
import { createRequestObjectCheck, createRequestObjectReplayCheck } from './request-objects.ts'
import { createMtls, listAuthMethods, listMtlsAliases, type MtlsSettings } from './mtls.ts'
import type { ResourcePolicy } from './resources.ts'
import { mayRevoke } from './revocation.ts'
import { createAcrCheck } from './step-up.ts'
import { listEngineKeys } from './verification-key.ts'

/** FAPI 2.0 Security Profile §5.3.2.2, 11. */
const LONGEST_FAPI2_CODE_SECONDS = 60
/** What a client's clock may be ahead, where it says from when a JWT is good (the same, §5.3.2.1, 13). */
const CLOCK_TOLERANCE_SECONDS = 10
const MOST_JWKS_BYTES = 64 * 1024

export interface EngineSettings {
  readonly issuer: string
  readonly tokens: Config['tokens']
  readonly keys: KeyRing
  readonly cookieKey: string
  readonly dpopNonceKey: Buffer
  readonly adapter: (model: string) => Adapter
  readonly resources: ResourcePolicy
  readonly shaper: AccessTokenShaper
  readonly pages: EnginePages
  readonly catalogue: Catalogue
  readonly events: Events
  readonly requestId: (ctx: object) => string
  readonly findAccount: (ctx: KoaContextWithOIDC, id: string) => Promise<Account | undefined>
  readonly fetch: NonNullable<Configuration['fetch']>
  readonly accounts: CibaCollaborators['accounts']
  readonly cibaPaces: CibaPaces
  readonly takeOnce: TakeOnce
  readonly subjectOf: SubjectOf
  /** Where clients register themselves, if they may. */
  readonly registrationEndpoint: string | undefined
  /** How certificates of clients reach this server, if they do. */
  readonly mtls: MtlsSettings | undefined
  /** Whether a client may be described by a document. */
  readonly takesDocuments: boolean
  readonly clients: Pick<ClientStore, 'findById'>
  /** Where APIs learn what is revoked: see `docs/revocation.md`. */
  readonly revocationFeed: RevocationFeedPlaces
  readonly clock: Clock
  /** Milliseconds since the epoch, by the clock of the database. */
  readonly readTime: () => Promise<number>
}

export interface RevocationFeedPlaces {
  readonly stream_endpoint: string
  readonly pages_endpoint: string
  readonly poll_endpoint: string
  readonly applied_endpoint: string
  readonly resource: string
  readonly scope: string
}

/** The engine's configuration: every default that this server disagrees with, and every hook. */
export function createEngineConfiguration(settings: EngineSettings): Configuration {
  const { tokens, resources, shaper, findAccount } = settings
  const renderError = createErrorRenderer(settings.pages, settings.requestId)
  return {
    adapter: settings.adapter,
    jwks: { keys: listEngineKeys(settings.keys) },
    routes: {
      userinfo: '/userinfo',
      pushed_authorization_request: '/request',
      introspection: '/introspect',
      revocation: '/revoke',
      device_authorization: DEVICE_AUTHORIZATION_PATH,
      code_verification: DEVICE_PATH,
      backchannel_authentication: BACKCHANNEL_PATH,
    },
    responseTypes: ['code'],
    discovery: {
      ...(settings.registrationEndpoint && {
        registration_endpoint: settings.registrationEndpoint,
      }),
      ...(settings.mtls && { mtls_endpoint_aliases: listMtlsAliases(settings.mtls.origin) }),
      ...(settings.takesDocuments && { client_id_metadata_document_supported: true }),
      portreeve_revocation_feed: settings.revocationFeed,
      frontchannel_logout_supported: true,
      frontchannel_logout_session_supported: true,
      introspection_signing_alg_values_supported: [...CLIENT_SIGNING_ALGORITHMS],
      introspection_encryption_alg_values_supported: [...CLIENT_ENCRYPTION_ALGORITHMS],
      introspection_encryption_enc_values_supported: [...CONTENT_ENCRYPTIONS],
    },
    scopes: Object.keys(OIDC_SCOPES),
    claims: Object.fromEntries(
      Object.entries(CLAIMS_OF_SCOPES).map(([scope, claims]) => [scope, [...claims]]),
    ),
    subjectTypes: ['public', 'pairwise'],
    pairwiseIdentifier: async (_ctx, accountId, client) =>
      settings.subjectOf(recordOf(client), accountId),
    sectorIdentifierUriValidate: () => false,
    acrValues: [...ACR_VALUES],
    clientAuthMethods: listAuthMethods(settings.mtls),
    assertJwtClientAuthClaimsAndHeader: createAssertionCheck(settings.clock),
    fetch: settings.fetch,
    fetchResponseBodyLimits: { jwks_uri: MOST_JWKS_BYTES },
    clientDefaults: { id_token_signed_response_alg: 'RS256' },
    // No HS*: secrets are kept as hashes, so nothing can be signed or checked with them.
    enabledJWA: {
      idTokenSigningAlgValues: [...CLIENT_SIGNING_ALGORITHMS],
      userinfoSigningAlgValues: [...CLIENT_SIGNING_ALGORITHMS],
      authorizationSigningAlgValues: [...CLIENT_SIGNING_ALGORITHMS],
      requestObjectSigningAlgValues: [...REQUEST_ALGORITHMS],
      clientAuthSigningAlgValues: [...ASSERTION_ALGORITHMS],
      idTokenEncryptionAlgValues: [...CLIENT_ENCRYPTION_ALGORITHMS],
      idTokenEncryptionEncValues: [...CONTENT_ENCRYPTIONS],
      userinfoEncryptionAlgValues: [...CLIENT_ENCRYPTION_ALGORITHMS],
      userinfoEncryptionEncValues: [...CONTENT_ENCRYPTIONS],
      authorizationEncryptionAlgValues: [...CLIENT_ENCRYPTION_ALGORITHMS],
      authorizationEncryptionEncValues: [...CONTENT_ENCRYPTIONS],
      // What a request says its browser knows, or it was pushed: there is nothing to hide in it.
      requestObjectEncryptionAlgValues: [],
      requestObjectEncryptionEncValues: [],
    },
    conformIdTokenClaims: false,
    clockTolerance: CLOCK_TOLERANCE_SECONDS,
    cookies: nameCookies(settings),
    extraClientMetadata: { properties: [RECORD] },
    extraParams: { request: createRequestObjectReplayCheck(settings.takeOnce) },
    pkce: { required: (_ctx, client) => recordOf(client).pkce !== 'exempt' },
    allowOmittingSingleRegisteredRedirectUri: false,
    clientBasedCORS: (_ctx, origin, client) => recordOf(client).origins.includes(origin),
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      claimsParameter: createClaimsParameter(),
      deviceFlow: createDeviceFlow({ ...settings, renderError }),
      ciba: createCiba(settings),
      dPoP: {
        enabled: true,
        nonceSecret: settings.dpopNonceKey,
        // Who has a key for a moment can make proofs for later, but no nonces (RFC 9449 §11.2).
        requireNonce: (ctx) => clientOf(ctx)?.dpop === 'required',
      },
      mTLS: createMtls(settings.mtls, settings.clock),
      pushedAuthorizationRequests: { enabled: true },
      richAuthorizationRequests: createDetails(settings.catalogue),
      jwtResponseModes: { enabled: true },
      jwtUserinfo: { enabled: true },
      encryption: { enabled: true },
      requestObjects: {
        enabled: true,
        assertJwtClaimsAndHeader: createRequestObjectCheck(settings.clock),
      },
      // Of JWTs: see `introspection.ts` and `revocation.ts`.
      introspection: { enabled: true, allowedPolicy: mayIntrospect },
      revocation: { enabled: true, allowedPolicy: mayRevoke },
      // For keys that only verify: see `verification-key.ts`.
      externalSigningSupport: { enabled: true, ack: 'experimental-01' },
      // For the metadata alone: no client has a place for it in the engine, which would try once and
      // forget. See `backchannel/`.
      backchannelLogout: { enabled: true },
      rpInitiatedLogout: { enabled: true, ...createLogoutPages(settings) },
      resourceIndicators: {
        enabled: true,
        defaultResource: resources.defaultResource,
        useGrantedResource: async () => true,
        getResourceServerInfo: resources.getResourceServerInfo,
      },
    },
    async findAccount(ctx, id, source) {
      const account = await findAccount(ctx, id)
      if (!account) return findStandIn(ctx, id)
      return isOver(source, account) ? undefined : toEngineAccount(ctx, account)
    },
    loadExistingGrant: createGrantLookup(settings.clients),
    interactions: {
      url: (_ctx, interaction) => `/interaction/${interaction.uid}`,
      policy: createInteractionPolicy(settings),
    },
    // `offline_access` decides how long a refresh token lives, not whether there is one.
    issueRefreshToken: async (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    expiresWithSession: async (_ctx, token) => !token.scopes.has('offline_access'),
    // What is bound to a key of a client that has proven itself is not stolen by being seen, and a token
    // that changes gets lost (FAPI 2.0 Security Profile §5.3.2.1, 9).
    rotateRefreshToken: (ctx) => clientOf(ctx)?.profile !== 'fapi2',
    extraTokenClaims: (ctx, token) => shaper.extraClaims(ctx, token),
    formats: { customizers: { jwt: shaper.customize } },
    renderError,
    ttl: {
      AccessToken: (_ctx, token) => token.resourceServer?.accessTokenTTL ?? 600,
      ClientCredentials: (_ctx, token) => token.resourceServer?.accessTokenTTL ?? 600,
      AuthorizationCode: (_ctx, _code, client) =>
        recordOf(client).profile === 'fapi2'
          ? Math.min(LONGEST_FAPI2_CODE_SECONDS, tokens.authorizationCodeTtlSeconds)
          : tokens.authorizationCodeTtlSeconds,
      DeviceCode: () => DEVICE_CODE_TTL_SECONDS,
      BackchannelAuthenticationRequest: boundRequestLife,
      IdToken: () => tokens.idTokenTtlSeconds,
      RefreshToken: () => tokens.refreshTokenTtlSeconds,
      // Anybody can have one made: it is for as long as a person needs to sign in, or out.
      Session: (_ctx, { accountId }) =>
        accountId === undefined
          ? Math.min(tokens.interactionTtlSeconds, tokens.sessionTtlSeconds)
          : tokens.sessionTtlSeconds,
      Grant: () => Math.max(tokens.refreshTokenTtlSeconds, tokens.sessionTtlSeconds),
      Interaction: () => tokens.interactionTtlSeconds,
    },
  }
}

/**
 * `__Host-` pins the session's cookie to this host (RFC 6265bis §4.1.3). The other two have a path, and
 * `__Secure-` does not keep a subdomain beside ours from planting them: see `own-interactions.ts`.
 */
function nameCookies({ issuer, cookieKey }: EngineSettings): NonNullable<Configuration['cookies']> {
  const secure = issuer.startsWith('https:')
  const options = { httpOnly: true, sameSite: 'lax', signed: true, secure } as const
  return {
    keys: [cookieKey],
    names: {
      session: secure ? '__Host-session' : 'session',
      interaction: secure ? '__Secure-interaction' : 'interaction',
      resume: secure ? '__Secure-resume' : 'resume',
    },
    long: options,
    short: options,
  }
}

const LOGIN_REQUIRED = 'End-User authentication is required'

/**
 * Whether the sign-in that something hangs on was over before: what a request still writes that had begun
 * when access was taken away, such as an approval, is found by nobody who ends things.
 */
function isOver(source: object | undefined, account: Account): boolean {
  const authTime: unknown = source && Reflect.get(source, 'authTime')
  return typeof authTime === 'number' && isSignInOver(account, authTime)
}

function createInteractionPolicy({ findAccount, subjectOf, readTime }: EngineSettings) {
  const { Check, Prompt, base } = interactionPolicy
  const policy = base()
  // After the sign-in, which is a choice as well.
  policy.add(new Prompt({ name: 'select_account', requestable: true }), 1)
  const checks = policy.get('login')?.checks
  // By another text a client that holds somebody's ID token would learn that somebody else is signed in.
  const hint = checks?.get('id_token_hint')
  if (hint) hint.description = LOGIN_REQUIRED
  const maxAge = checks?.get('max_age')
  if (maxAge) maxAge.check = (ctx) => isSignInTooOld(ctx, readTime)
  checks?.add(
    new Check('account_unavailable', LOGIN_REQUIRED, 'login_required', async (ctx) => {
      const { accountId, loginTs = 0 } = ctx.oidc.session ?? {}
      if (accountId === undefined) return false
      const account = await findAccount(ctx, accountId)
      return account === undefined || isSignInOver(account, loginTs)
    }),
  )
  checks?.add(createAcrCheck())
  checks?.add(createSubjectCheck(subjectOf))
  policy.get('consent')?.checks.add(
    new Check(
      'unproven_client',
      'this client cannot prove who it is',
      'interaction_required',
      (ctx) => {
        refuseFormerPlace(ctx)
        return needsConsentEachTime(ctx) && ctx.oidc.result?.consent === undefined
      },
    ),
  )
  return policy
}

/** The engine would compare with the clock of this process: sign-ins are dated by that of the database. */
async function isSignInTooOld(
  ctx: KoaContextWithOIDC,
  readTime: EngineSettings['readTime'],
): Promise<boolean> {
  const { params, session, result } = ctx.oidc
  const maxAge: unknown = params?.['max_age']
  // Whoever has just signed in for this request has done what it wants.
  if (maxAge === undefined || result?.login) return false
  const { accountId, loginTs = 0 } = session ?? {}
  if (accountId === undefined) return true
  return Math.floor((await readTime()) / 1000) - loginTs > Number(maxAge)
}

/**
 * Answers with tokens of the person that was asked for and of nobody else. A client that guesses is told
 * what it would be told if nobody were signed in.
 */
function createSubjectCheck(subjectOf: SubjectOf) {
  return new interactionPolicy.Check('other_subject', LOGIN_REQUIRED, 'login_required', (ctx) => {
    const wanted = listWantedSubjects(readClaims(ctx.oidc.params))
    if (wanted === undefined) return false
    const { accountId } = ctx.oidc.session ?? {}
    const client = clientOf(ctx)
    return accountId === undefined || !client || !wanted.includes(subjectOf(client, accountId))
  })
}

function createLogoutPages({ pages }: EngineSettings) {
  return {
    logoutSource(ctx: KoaContextWithOIDC) {
      ctx.body = pages.signOut({
        action: ctx.oidc.urlFor('end_session_confirm'),
        xsrf: readFormSecret(ctx),
        clientName: nameOf(ctx.oidc.client),
      })
    },
    postLogoutSuccessSource(ctx: KoaContextWithOIDC) {
      ctx.type = 'html'
      ctx.body = pages.signedOut({ clientName: nameOf(ctx.oidc.client) })
    },
  }
}

function nameOf(client: EngineClient | undefined): string | undefined {
  return client && recordOf(client).name
}
