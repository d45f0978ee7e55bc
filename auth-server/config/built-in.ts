/** The scopes of OpenID Connect that this server knows: no resource may own one of them. */
export const OIDC_SCOPE_NAMES = ['openid', 'profile', 'email', 'groups', 'offline_access'] as const
export type OidcScope = (typeof OIDC_SCOPE_NAMES)[number]

/** The scope with which an API may follow what is revoked: see `docs/revocation.md`. */
export const REVOCATIONS_SCOPE = 'revocations:read'

/** The API of this server itself that tells what is revoked. */
export function revocationsOf(issuer: string): string {
  return `${issuer}/revocations`
}

/** How the grants that a client may use are named on the wire, as `grant_type` (RFC 6749 §4). */
export const GRANT_TYPES = {
  authorization_code: 'authorization_code',
  refresh_token: 'refresh_token',
  client_credentials: 'client_credentials',
  token_exchange: 'urn:ietf:params:oauth:grant-type:token-exchange',
  api_key: 'urn:portreeve:params:oauth:grant-type:api-key',
  jwt_bearer: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
  device_code: 'urn:ietf:params:oauth:grant-type:device_code',
  ciba: 'urn:openid:params:grant-type:ciba',
} as const
export type GrantType = keyof typeof GRANT_TYPES

/** How a client may prove who it is, by the names of RFC 7591 §2. */
export const CLIENT_AUTH_METHODS = [
  'client_secret_basic',
  'client_secret_post',
  'private_key_jwt',
  'tls_client_auth',
  'self_signed_tls_client_auth',
  'none',
] as const
export type ClientAuthMethod = (typeof CLIENT_AUTH_METHODS)[number]

/** How clients that have registered themselves may do so: no certificate of theirs is looked at. */
export const REGISTRABLE_AUTH_METHODS = [
  'client_secret_basic',
  'client_secret_post',
  'private_key_jwt',
  'none',
] as const satisfies readonly ClientAuthMethod[]

/** Whether the client proves who it is by the certificate of its connection (RFC 8705 §2). */
export function usesCertificate(method: ClientAuthMethod): boolean {
  return method === 'tls_client_auth' || method === 'self_signed_tls_client_auth'
}

/** What is signed for a client to read, by keys that every server has. */
export const CLIENT_SIGNING_ALGORITHMS = ['RS256', 'ES256'] as const
export type ClientSigningAlgorithm = (typeof CLIENT_SIGNING_ALGORITHMS)[number]

/** What a client may prove itself with (`private_key_jwt`): nothing that the server would need a secret for. */
export const ASSERTION_ALGORITHMS = ['RS256', 'PS256', 'ES256', 'Ed25519', 'EdDSA'] as const
export type AssertionAlgorithm = (typeof ASSERTION_ALGORITHMS)[number]

/** What it may sign its requests with (JAR). */
export const REQUEST_ALGORITHMS = ['RS256', 'PS256', 'ES256', 'ES384', 'ES512', 'EdDSA'] as const
export type RequestAlgorithm = (typeof REQUEST_ALGORITHMS)[number]

/** How people are authenticated here: see `provider/step-up.ts`. */
export const ACR_VALUES = ['urn:portreeve:acr:password'] as const
export type AcrValue = (typeof ACR_VALUES)[number]

/**
 * How the key of what is encrypted for a client gets to it (RFC 7518 §4.1): by its public key alone. No
 * RSA1_5, whose padding leaks what is in it, no SHA-1 (RSA-OAEP), and nothing that a shared secret would
 * be needed for, because secrets are kept as hashes.
 */
export const CLIENT_ENCRYPTION_ALGORITHMS = [
  'RSA-OAEP-256',
  'RSA-OAEP-384',
  'RSA-OAEP-512',
  'ECDH-ES',
  'ECDH-ES+A128KW',
  'ECDH-ES+A256KW',
] as const
export type ClientEncryptionAlgorithm = (typeof CLIENT_ENCRYPTION_ALGORITHMS)[number]

/** What it is encrypted with then (RFC 7518 §5.1). The first is the default of OpenID Connect. */
export const CONTENT_ENCRYPTIONS = ['A128CBC-HS256', 'A256CBC-HS512', 'A128GCM', 'A256GCM'] as const
export type ContentEncryption = (typeof CONTENT_ENCRYPTIONS)[number]

/** What is made for a client to read, and may be encrypted for it. */
export const ENCRYPTED_KINDS = ['idToken', 'userinfo', 'response', 'introspection'] as const
export type EncryptedKind = (typeof ENCRYPTED_KINDS)[number]

/** What JWTs are signed with by and for clients of FAPI 2.0 (Security Profile §5.4.1, 1). */
export const FAPI2_ALGORITHMS: ReadonlySet<unknown> = new Set([
  'PS256',
  'ES256',
  'EdDSA',
  'Ed25519',
])

/** What keys of such clients may be for: those, and being encrypted to. */
export const FAPI2_KEY_ALGORITHMS: ReadonlySet<unknown> = new Set([
  ...FAPI2_ALGORITHMS,
  ...CLIENT_ENCRYPTION_ALGORITHMS,
])

/** Whether the client and this server share a secret. */
export function usesSecret(method: ClientAuthMethod): boolean {
  return method === 'client_secret_basic' || method === 'client_secret_post'
}

/** The role that every account has without being given it. */
export const EVERYONE = 'everyone'

/** The id of the client that this server is itself: see `clients/own-client.ts`. */
export const OWN_CLIENT_ID = 'portreeve-account'

/** What the id of every account starts with: no client id may. */
export const ACCOUNT_ID_PREFIX = 'acc_'

/** The `client_id` of tokens that no client asked for. A client's id that has a colon is a URL. */
export const DIRECT_ACCESS_CLIENT = 'portreeve:direct-access'

/** Claims that the server itself writes, or that mean something to who checks a token. */
export const RESERVED_CLAIMS: readonly string[] = [
  'iss sub aud exp nbf iat jti typ alg kid cnf client_id azp scope sid grant_id',
  'roles groups entitlements auth_time acr amr nonce at_hash c_hash',
  'act may_act sub_kind events authorization_details userinfo_claims',
].flatMap((names) => names.split(' '))
