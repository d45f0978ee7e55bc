import { ENCRYPTED_KINDS, GRANT_TYPES } from '../config/built-in.ts'
import { chooseIdTokenAlgorithm, type Client } from './client.ts'

/** How each kind is called that may be encrypted: `_alg` and `_enc` come after it. */
export const ENCRYPTED_RESPONSES = {
  idToken: 'id_token_encrypted_response',
  userinfo: 'userinfo_encrypted_response',
  response: 'authorization_encrypted_response',
  introspection: 'introspection_encrypted_response',
} as const

/**
 * A client by the names of RFC 7591 §2 and OpenID Connect Registration §2, as the engine is told of it and
 * as it reads of itself: without its secret, and without what only one of the two is to know.
 */
export function toClientMetadata(client: Client) {
  const { algorithms = {}, encryption = {}, profile } = client
  const idToken = chooseIdTokenAlgorithm(client)
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
    id_token_signed_response_alg: idToken,
    // Nothing is encrypted that is not signed.
    userinfo_signed_response_alg: algorithms.userinfo ?? (encryption.userinfo && idToken),
    authorization_signed_response_alg: algorithms.response ?? (profile && 'ES256'),
    introspection_signed_response_alg: algorithms.introspection,
    ...describeEncryption(encryption),
    default_max_age: client.defaultMaxAgeSeconds,
    default_acr_values: client.defaultAcrValues && [...client.defaultAcrValues],
    require_auth_time: client.authTimeInIdToken === true,
  }
}

function describeEncryption(encryption: NonNullable<Client['encryption']>) {
  const members = ENCRYPTED_KINDS.flatMap((kind) => {
    const { algorithm, content } = encryption[kind] ?? {}
    const name = ENCRYPTED_RESPONSES[kind]
    return [
      [`${name}_alg`, algorithm],
      [`${name}_enc`, content],
    ] as const
  })
  return Object.fromEntries(members)
}
