/** The scopes of OpenID Connect that this server knows: no resource may own one of them. */
export const OIDC_SCOPE_NAMES = ['openid', 'profile', 'email', 'groups', 'offline_access'] as const
export type OidcScope = (typeof OIDC_SCOPE_NAMES)[number]

/** The role that every account has without being given it. */
export const EVERYONE = 'everyone'

/** What the id of every account starts with: no client id may. */
export const ACCOUNT_ID_PREFIX = 'acc_'
