import type { AdapterPayload, Client as EngineClient, KoaContextWithOIDC } from 'oidc-provider'
import { chooseIdTokenAlgorithm, type Client } from '../clients/client.ts'
import { GRANT_TYPES } from '../config/built-in.ts'
import { findSector } from '../config/sector.ts'
import { isOidcScope, type Catalogue } from '../scopes/catalogue.ts'

/** The member of the engine's client metadata that carries our own record of the client. */
export const RECORD = 'portreeve_client'

/** Our client in the engine's terms (RFC 7591 §2). The secret is its hash: see `internals.ts`. */
export function toMetadata(
  client: Client,
  { details }: Pick<Catalogue, 'details'>,
): AdapterPayload {
  const signsPeopleIn = client.grants.includes('authorization_code')
  // What the engine is given it reads and hashes at each request.
  const {
    secretHash: _secretHash,
    selfDescription: _description,
    softwareStatement: _statement,
    ...record
  } = client
  return {
    client_id: client.id,
    client_name: client.name,
    application_type: client.applicationType,
    grant_types: client.grants.map((grant) => GRANT_TYPES[grant]),
    response_types: signsPeopleIn ? ['code'] : [],
    redirect_uris: [...client.redirectUris],
    post_logout_redirect_uris: [...client.postLogoutRedirectUris],
    token_endpoint_auth_method: client.authMethod,
    dpop_bound_access_tokens: client.dpop === 'required',
    require_pushed_authorization_requests: client.par === 'required',
    require_signed_request_object: client.signedRequests === 'required',
    // The engine takes no client with a type that there is no longer.
    authorization_details_types: client.authorizationDetails?.filter((type) => details.has(type)),
    ...describeAlgorithms(client),
    // A missing scope would allow every one of OpenID Connect's: `openid` is what signing in means.
    scope: [...new Set(['openid', ...client.scopes.filter(isOidcScope)])].join(' '),
    ...describeCiba(client),
    ...describeSubjects(client),
    ...(client.jwks === undefined ? {} : { jwks: client.jwks }),
    ...(client.jwksUri === undefined ? {} : { jwks_uri: client.jwksUri }),
    ...(client.secretHash === undefined ? {} : { client_secret: client.secretHash }),
    [RECORD]: record,
  }
}

const SIGNED_RESPONSE_MODES = ['jwt', 'query.jwt', 'fragment.jwt', 'form_post.jwt']

function describeAlgorithms(client: Client): Partial<AdapterPayload> {
  const { signedResponses, profile } = client
  const { userinfo, response = profile && 'ES256' } = client.algorithms ?? {}
  const idToken = chooseIdTokenAlgorithm(client)
  return {
    id_token_signed_response_alg: idToken,
    ...(userinfo && { userinfo_signed_response_alg: userinfo }),
    ...(response && { authorization_signed_response_alg: response }),
    ...(signedResponses === 'required' && { response_modes: SIGNED_RESPONSE_MODES }),
  }
}

/** The sector is for us to find (`clients/subject.ts`): the engine would fetch the whole list each time. */
function describeSubjects(client: Client): AdapterPayload {
  if (client.subjectType !== 'pairwise') return {}
  return {
    subject_type: 'pairwise',
    sector_identifier_uri: `https://${findSector(client) ?? 'none.invalid'}/`,
  }
}

/**
 * The engine takes no http on loopback. What it has here is only for it to know that there is a place:
 * `notify.ts` calls the client.
 */
function describeCiba({ grants, ciba }: Client): AdapterPayload {
  if (!grants.includes('ciba')) return {}
  const { mode = 'poll', notificationUri } = ciba ?? {}
  return {
    backchannel_token_delivery_mode: mode,
    ...(notificationUri === undefined
      ? {}
      : { backchannel_client_notification_endpoint: notificationUri.replace(/^http:/i, 'https:') }),
  }
}

/** Our record of a client that the engine has loaded. */
export function recordOf(client: EngineClient): Omit<Client, 'secretHash'> {
  const record = client[RECORD]
  if (typeof record !== 'object' || record === null) {
    throw new TypeError(`client ${client.clientId} was not loaded from the client store`)
  }
  return record as Omit<Client, 'secretHash'>
}

/** Our record of the client that this request comes from. */
export function clientOf(ctx: KoaContextWithOIDC): Omit<Client, 'secretHash'> | undefined {
  return ctx.oidc.client && recordOf(ctx.oidc.client)
}
