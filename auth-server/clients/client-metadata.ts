import { GRANT_TYPES } from '../config/built-in.ts'
import { chooseIdTokenAlgorithm, type Client } from './client.ts'

/**
 * A client by the names of RFC 7591 §2 and OpenID Connect Registration §2, as the engine is told of it and
 * as it reads of itself: without its secret, and without what only one of the two is to know.
 */
export function toClientMetadata(client: Client) {
  const { algorithms = {}, profile } = client
  return {
    client_id: client.id,
    client_name: client.name,
    application_type: client.applicationType,
    grant_types: client.grants.map((grant) => GRANT_TYPES[grant]),
    response_types: client.grants.includes('authorization_code') ? (['code'] as const) : [],
    redirect_uris: [...client.redirectUris],
    post_logout_redirect_uris: [...client.postLogoutRedirectUris],
    token_endpoint_auth_method: client.authMethod,
    token_endpoint_auth_signing_alg: algorithms.assertion,
    jwks: client.jwks,
    jwks_uri: client.jwksUri,
    dpop_bound_access_tokens: client.dpop === 'required',
    require_pushed_authorization_requests: client.par === 'required',
    require_signed_request_object: client.signedRequests === 'required',
    request_object_signing_alg: algorithms.request,
    id_token_signed_response_alg: chooseIdTokenAlgorithm(client),
    userinfo_signed_response_alg: algorithms.userinfo,
    authorization_signed_response_alg: algorithms.response ?? (profile && 'ES256'),
    default_max_age: client.defaultMaxAgeSeconds,
    default_acr_values: client.defaultAcrValues && [...client.defaultAcrValues],
    require_auth_time: client.authTimeInIdToken === true,
  }
}
