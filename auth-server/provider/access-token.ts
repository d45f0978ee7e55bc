import type {
  AccessToken,
  ClientCredentials,
  JWTStructured,
  KoaContextWithOIDC,
} from 'oidc-provider'
import type { Account } from '../accounts/account.ts'
import { isOidcScope, type Catalogue, type Resource } from '../scopes/catalogue.ts'
import { fillOwnClaims } from '../scopes/own-claims.ts'
import { listUserinfoClaims } from './claims-parameter.ts'
import { recordOf } from './clients.ts'
import type { Identifiers } from './identifiers.ts'
import { redeemedBy, requestedScopes } from './resources.ts'
import { issuanceOf } from './token-requests.ts'
import { USERINFO_CLAIMS } from './userinfo.ts'

type Token = AccessToken | ClientCredentials

const carried = new WeakMap<object, Readonly<Record<string, unknown>>>()

/** Claims of one token that only its own grant knows, such as `act`. They win over the usual ones. */
export function carryClaims(token: Token, claims: Readonly<Record<string, unknown>>): void {
  carried.set(token, claims)
}

export interface AccessTokenShaper {
  /** Claims beyond those that the engine writes (RFC 9068 §2.2). */
  extraClaims(ctx: KoaContextWithOIDC, token: Token): Promise<Record<string, unknown> | undefined>
  /** The last word on header and payload, before the token is signed. */
  customize(ctx: KoaContextWithOIDC, token: Token, jwt: JWTStructured): void
}

export interface AccessTokenCollaborators {
  readonly catalogue: Catalogue
  readonly identifiers: Identifiers
  readonly findAccount: (ctx: KoaContextWithOIDC, id: string) => Promise<Account | undefined>
  /** The audience that stands for userinfo: the endpoint's URL. */
  readonly userinfoAudience: string
}

export function createAccessTokenShaper(
  collaborators: AccessTokenCollaborators,
): AccessTokenShaper {
  const { catalogue, identifiers, findAccount, userinfoAudience } = collaborators
  const findResource = ({ resourceServer }: Token) =>
    catalogue.resources.get(resourceServer?.identifier() ?? '')
  return {
    async extraClaims(ctx, token) {
      const resource = findResource(token)
      if (token.kind !== 'AccessToken') {
        return { ...ownClaims(ctx, resource, undefined), ...carried.get(token) }
      }
      const { grantId, accountId } = token
      const source = redeemedBy(ctx)
      const tellsWho =
        resource?.rolesClaim === true || Object.keys(resource?.claims ?? {}).length > 0
      const account = tellsWho ? await findAccount(ctx, accountId) : undefined
      return {
        ...ownClaims(ctx, resource, account),
        grant_id: grantId === undefined ? undefined : identifiers.grantId(grantId),
        // A token of an offline grant outlives the session: signing out does not end it.
        sid: token.expiresWithSession ? token.sid : undefined,
        auth_time: source?.authTime,
        acr: source?.acr,
        amr: source?.amr,
        ...(account && resource?.rolesClaim ? { roles: account.roles } : {}),
        ...carried.get(token),
      }
    },
    customize(ctx, token, jwt) {
      const resource = findResource(token)
      const { iat: signedAt, exp } = jwt.payload as { iat: number; exp: number }
      const iat = issuanceOf(ctx).dateBack(signedAt)
      Object.assign(jwt.payload, { iat, exp: iat + exp - signedAt })
      if (resource?.tokenType === 'JWT') jwt.header = { ...jwt.header, typ: 'JWT' }
      const sub = carried.get(token)?.['sub']
      if (sub !== undefined) jwt.payload['sub'] = sub
      if (resource?.signing.kind === 'secret') {
        jwt.payload['iss'] = resource.signing.issuer
        // Its API could make one for itself that says the same: nothing here may believe it.
        return
      }
      if (token.kind !== 'AccessToken' || !servesUserinfo(ctx)) return
      const scopes = [...grantedOidcScopes(ctx), ...token.scopes]
      // The engine answers the token's scope to the client, so both say the same.
      token.scope = scopes.join(' ')
      jwt.payload['scope'] = token.scope
      jwt.payload['aud'] = [jwt.payload['aud'], userinfoAudience]
      const claims = listUserinfoClaims(redeemedBy(ctx)?.claims)
      if (claims.length > 0) jwt.payload[USERINFO_CLAIMS] = claims
    },
  }
}

function ownClaims(
  ctx: KoaContextWithOIDC,
  resource: Resource | undefined,
  account: Account | undefined,
): Readonly<Record<string, unknown>> {
  const { client } = ctx.oidc
  if (!resource || !client) return {}
  return fillOwnClaims(resource.claims, { account, client: recordOf(client) })
}

/**
 * Whether the token is good at userinfo too: `openid` was asked for, and the resource was chosen for
 * the client, not named by it, neither when it asked for authorization nor now.
 */
function servesUserinfo(ctx: KoaContextWithOIDC): boolean {
  const granted = redeemedBy(ctx)?.resource
  // A list of one was chosen, a list of several was named: see `adapter.ts`.
  const isChosen = Array.isArray(granted) && granted.length === 1
  const isNamedNow = ctx.oidc.params?.['resource'] !== undefined
  return isChosen && !isNamedNow && grantedOidcScopes(ctx).includes('openid')
}

/** The scopes of OpenID Connect that this request may still have, without `offline_access`. */
function grantedOidcScopes(ctx: KoaContextWithOIDC): readonly string[] {
  const asked = requestedScopes(ctx).filter(
    (scope) => isOidcScope(scope) && scope !== 'offline_access',
  )
  return (
    ctx.oidc.entities.Grant?.getOIDCScopeFiltered(new Set(asked)).split(' ').filter(Boolean) ?? []
  )
}
