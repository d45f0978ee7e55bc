/** What a request is for, for metrics: a closed set, whatever is asked. */
export type RouteClass =
  | 'authorization'
  | 'token'
  | 'pushed_authorization_request'
  | 'introspection'
  | 'revocation'
  | 'userinfo'
  | 'device_authorization'
  | 'backchannel_authentication'
  | 'device'
  | 'jwks'
  | 'discovery'
  | 'end_session'
  | 'interaction'
  | 'account'
  | 'direct_access'
  | 'registration'
  | 'asset'
  | 'probe'
  | 'other'

const ROUTES: readonly (readonly [RegExp, RouteClass])[] = [
  [/^\/auth(?:\/[^/]+)?$/, 'authorization'],
  [/^\/token$/, 'token'],
  [/^\/request$/, 'pushed_authorization_request'],
  [/^\/introspect$/, 'introspection'],
  [/^\/revoke$/, 'revocation'],
  [/^\/userinfo$/, 'userinfo'],
  [/^\/device_authorization$/, 'device_authorization'],
  [/^\/backchannel$/, 'backchannel_authentication'],
  [/^\/device(?:\/[^/]+)?$/, 'device'],
  [/^\/jwks$/, 'jwks'],
  [/^\/\.well-known\/(?:openid-configuration|oauth-authorization-server)$/, 'discovery'],
  [/^\/session\/end(?:\/[^/]+)?$/, 'end_session'],
  [/^\/interaction\//, 'interaction'],
  [/^\/account(?:\/|$)/, 'account'],
  [/^\/(?:getToken|api\/v3\/auth)$/, 'direct_access'],
  [/^\/register(?:\/[^/]+)?$/, 'registration'],
  [/^\/assets\//, 'asset'],
  [/^\/(?:livez|readyz)$/, 'probe'],
]

/** `path` may have a query. */
export function classifyRoute(path: string): RouteClass {
  const [plain = ''] = path.split('?', 1)
  return ROUTES.find(([pattern]) => pattern.test(plain))?.[1] ?? 'other'
}
