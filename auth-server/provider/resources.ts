import {
  errors,
  type Client as EngineClient,
  type KoaContextWithOIDC,
  type ResourceServer,
} from 'oidc-provider'
import type { Account } from '../accounts/account.ts'
import { isOidcScope, scopesOfRoles, type Catalogue, type Resource } from '../scopes/catalogue.ts'
import { resourcesOfDetails, scopesOfDetails } from '../scopes/details.ts'
import { chooseResource, decideScopes, type ScopeDecision } from '../scopes/policy.ts'
import { recordOf } from './clients.ts'

type FindAccount = (ctx: KoaContextWithOIDC, id: string) => Promise<Account | undefined>

/** What the engine asks about resources (RFC 8707); every per-user scope decision is made here. */
export interface ResourcePolicy {
  /** The resource of a request that names none, or the one of several that a token is for. */
  defaultResource(
    ctx: KoaContextWithOIDC,
    client: EngineClient,
    oneOf?: readonly string[],
  ): Promise<string | string[] | undefined>
  /** A resource with exactly the scopes that this client may have for this subject. */
  getResourceServerInfo(
    ctx: KoaContextWithOIDC,
    identifier: string,
    client: EngineClient,
  ): Promise<ResourceServer>
}

const NOTHING_FOR_CLIENT =
  'the client is registered for none of the scopes of APIs that it asks for'
const AUTHORIZATION_ROUTES = new Set([
  'authorization',
  'resume',
  'pushed_authorization_request',
  'device_authorization',
  'backchannel_authentication',
  'code_verification',
  'device_resume',
])

export function createResourcePolicy(
  catalogue: Catalogue,
  findAccount: FindAccount,
): ResourcePolicy {
  return {
    async defaultResource(ctx, client, oneOf) {
      if (oneOf) return pickResource(catalogue, ctx, client, oneOf)
      const { route, params } = ctx.oidc
      // Before the credential was read, its scopes say nothing yet.
      if (route === 'token' && params?.['authorization_details'] !== undefined) {
        return [...resourcesOfDetails(catalogue.details, params['authorization_details'])]
      }
      assumeScopes(catalogue, ctx, client)
      const resource = chooseImplied(catalogue, ctx, client)
      // A list of one says that the resource was chosen for the client: see `adapter.ts`.
      return resource === undefined ? undefined : [resource]
    },
    async getResourceServerInfo(ctx, identifier, client) {
      const resource = catalogue.resources.get(identifier)
      if (!resource) throw new errors.InvalidTarget('unknown resource')
      // By the rules of the configuration it has no scope of one either: a revocation could not follow.
      if (recordOf(client).subjectType === 'pairwise') {
        throw new errors.InvalidTarget('this client has pairwise subjects, which no API knows')
      }
      assumeScopes(catalogue, ctx, client)
      const decision = decide(catalogue, ctx, client, resource, await subjectOf(ctx, findAccount))
      if (decision.granted.length === 0) refuse(ctx, resource, decision)
      return describeResource(resource, decision.granted)
    },
  }
}

/** What a token request redeems, where the engine knows it. */
export function redeemedBy({ oidc }: KoaContextWithOIDC) {
  const { AuthorizationCode, RefreshToken, DeviceCode, BackchannelAuthenticationRequest } =
    oidc.entities
  return AuthorizationCode ?? RefreshToken ?? DeviceCode ?? BackchannelAuthenticationRequest
}

/** The scopes of the request, or those of the credential that it redeems. */
export function requestedScopes(ctx: KoaContextWithOIDC): readonly string[] {
  const { params } = ctx.oidc
  if (typeof params?.['scope'] === 'string') return params['scope'].split(' ').filter(Boolean)
  return [...(redeemedBy(ctx)?.scopes ?? [])]
}

/**
 * RFC 6749 §3.3: the scopes that a client gets for a request that names none. Details bring the scopes
 * with them that they go with.
 */
function assumeScopes(catalogue: Catalogue, ctx: KoaContextWithOIDC, client: EngineClient): void {
  const { params } = ctx.oidc
  if (!params || redeemedBy(ctx)) return
  const isAsked = AUTHORIZATION_ROUTES.has(ctx.oidc.route ?? '')
  const details = isAsked ? params['authorization_details'] : undefined
  const brought = scopesOfDetails(catalogue.details, details)
  const { defaultScopes } = recordOf(client)
  if (params['scope'] === undefined && brought.length === 0 && defaultScopes.length > 0) {
    params['scope'] = defaultScopes.join(' ')
  }
  if (brought.length === 0) return
  params['scope'] = [...new Set([...requestedScopes(ctx), ...brought])].join(' ')
}

function chooseImplied(
  catalogue: Catalogue,
  ctx: KoaContextWithOIDC,
  client: EngineClient,
): string | undefined {
  const scopes = requestedScopes(ctx)
  if (isServiceRequest(ctx) && scopes.some(isOidcScope)) {
    throw new errors.InvalidScope(
      'scopes of OpenID Connect are about people; a service asks for those of a resource',
      scopes.filter(isOidcScope).join(' '),
    )
  }
  const { defaultResource } = recordOf(client)
  const choice = chooseResource({
    requestedScopes: scopes,
    resources: catalogue.resources,
    defaultResource,
  })
  if (!choice.ok) {
    throw new errors.InvalidTarget(
      choice.reason.kind === 'several'
        ? 'the scopes belong to more than one resource: name one of them as resource'
        : 'more than one resource has these scopes: name one of them as resource',
    )
  }
  if (choice.value === undefined && isServiceRequest(ctx)) {
    throw scopes.length === 0
      ? new errors.InvalidScope('name a scope of the resource that the token is for', '')
      : new errors.InvalidScope('no resource has such a scope', scopes.join(' '))
  }
  return choice.value
}

/** Which of several granted resources a token is for: the one that the asked-for scopes belong to. */
function pickResource(
  catalogue: Catalogue,
  ctx: KoaContextWithOIDC,
  client: EngineClient,
  oneOf: readonly string[],
): string | string[] {
  const granted = [redeemedBy(ctx)?.resource ?? oneOf].flat()
  if (!oneOf.every((identifier) => granted.includes(identifier))) {
    throw new errors.InvalidTarget('a resource was named that was not granted')
  }
  const [only, ...others] = new Set(oneOf)
  if (only !== undefined && others.length === 0) return only
  const among = new Map(
    [...catalogue.resources].filter(([identifier]) => oneOf.includes(identifier)),
  )
  const choice = chooseResource({
    requestedScopes: requestedScopes(ctx),
    resources: among,
    defaultResource: recordOf(client).defaultResource,
  })
  return choice.ok && choice.value !== undefined ? choice.value : [...oneOf]
}

type Subject = Parameters<typeof decideScopes>[0]['subject']

async function subjectOf(
  ctx: KoaContextWithOIDC,
  findAccount: FindAccount,
): Promise<Account | 'service' | 'unknown'> {
  if (isServiceRequest(ctx)) return 'service'
  const id = ctx.oidc.entities.Account?.accountId ?? ctx.oidc.session?.accountId
  const account = id === undefined ? undefined : await findAccount(ctx, id)
  if (account) return account
  // Before the sign-in nobody is known. Later somebody must be, or no role would limit the scopes.
  if (AUTHORIZATION_ROUTES.has(ctx.oidc.route ?? '')) return 'unknown'
  throw new errors.InvalidGrant('the account is gone')
}

function decide(
  catalogue: Catalogue,
  ctx: KoaContextWithOIDC,
  client: EngineClient,
  resource: Resource,
  who: Account | 'service' | 'unknown',
): ScopeDecision {
  return decideScopes({
    requested: requestedScopes(ctx).filter((scope) => !isOidcScope(scope)),
    resourceScopes: new Set(resource.scopes.keys()),
    clientScopes: new Set(recordOf(client).scopes),
    subject: toSubject(catalogue, who),
  })
}

export function toSubject(catalogue: Catalogue, who: Account | 'service' | 'unknown'): Subject {
  if (who === 'service' || who === 'unknown') return { kind: who }
  return { kind: 'person', roleScopes: scopesOfRoles(catalogue, who.roles) }
}

/** Someone who may do nothing gets a refusal, not a token without scopes. */
function refuse(ctx: KoaContextWithOIDC, resource: Resource, decision: ScopeDecision): void {
  const refusedScopes = decision.refused.map(({ scope }) => scope).join(' ')
  if (AUTHORIZATION_ROUTES.has(ctx.oidc.route ?? '')) {
    // Whoever signs in now may be somebody else.
    if (ctx.oidc.promptPending('login')) return
    if (decision.refused.length === 0) {
      throw new errors.InvalidScope(`name at least one scope of ${resource.identifier}`, '')
    }
    if (decision.refused.some(({ reason }) => reason === 'role')) {
      throw new errors.AccessDenied('the roles of this account allow none of the requested scopes')
    }
    throw new errors.InvalidScope(NOTHING_FOR_CLIENT, refusedScopes)
  }
  if (decision.refused.length === 0) {
    throw new errors.InvalidScope(`name at least one scope of ${resource.identifier}`, '')
  }
  if (isServiceRequest(ctx)) {
    throw new errors.InvalidScope(NOTHING_FOR_CLIENT, refusedScopes)
  }
  throw new errors.InvalidGrant('nothing that was granted is allowed any longer')
}

const serviceRequests = new WeakSet<object>()

/** Says of a request of another grant than `client_credentials` that its token is about no person. */
export function actAsService(ctx: KoaContextWithOIDC): void {
  serviceRequests.add(ctx.oidc)
}

function isServiceRequest({ oidc }: KoaContextWithOIDC): boolean {
  return oidc.params?.['grant_type'] === 'client_credentials' || serviceRequests.has(oidc)
}

function describeResource(resource: Resource, granted: readonly string[]): ResourceServer {
  const { signing } = resource
  return {
    scope: granted.join(' '),
    audience: resource.audience,
    accessTokenTTL: resource.accessTokenTtlSeconds,
    accessTokenFormat: 'jwt',
    jwt: {
      sign:
        signing.kind === 'key'
          ? { alg: signing.algorithm }
          : { alg: signing.algorithm, key: signing.key() },
    },
  }
}
