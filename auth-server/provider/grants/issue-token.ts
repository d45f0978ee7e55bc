import { errors, type Client, type KoaContextWithOIDC } from 'oidc-provider'
import type { Account } from '../../accounts/account.ts'
import type { Clock } from '../../clock.ts'
import { carryClaims } from '../access-token.ts'
import { toEngineAccount } from '../claims.ts'
import { bindToProof } from '../internals.ts'
import { actAsService, type ResourcePolicy } from '../resources.ts'

/** What a custom grant has found to be right. */
export interface FoundGrant {
  /** The person that the token is about; `undefined` for a service, which is the client itself. */
  readonly account: Account | undefined
  /** The credential carries no others. A request that names no scope asks for all of them. */
  readonly scopes: readonly string[]
  /** The resource where the request names none. */
  readonly resource?: string | undefined
  /** Seconds since the epoch. The token does not outlive it. */
  readonly notAfter?: number | undefined
  /** Claims that only this grant knows, such as `act`. */
  readonly claims?: Readonly<Record<string, unknown>>
  /** Members of the answer beyond those of RFC 6749 §5.1, such as `issued_token_type`. */
  readonly answer?: Readonly<Record<string, unknown>>
}

export interface IssueCollaborators {
  readonly resources: ResourcePolicy
  readonly clock: Clock
}

/**
 * Issues the access token of a custom grant and answers with it: the one place where what the client,
 * the resource and the person's roles allow now is applied, where the token is bound to the proof of the
 * request, and where its life is bounded. Does not check the credential itself.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc6749.html#section-5.1 RFC 6749 §5.1}
 */
export async function issueToken(
  collaborators: IssueCollaborators,
  ctx: KoaContextWithOIDC,
  found: FoundGrant,
): Promise<void> {
  const { client, params, provider } = ctx.oidc
  if (!client || !params) throw new TypeError('no client has been authenticated')
  if (found.account) ctx.oidc.entity('Account', toEngineAccount(ctx, found.account))
  else actAsService(ctx)
  params['scope'] = narrowScopes(params['scope'], found.scopes).join(' ')
  const resource = await resolveResource(collaborators, ctx, client, found)
  const token = found.account
    ? new provider.AccessToken({ accountId: found.account.id, client } as never)
    : new provider.ClientCredentials({ client })
  token.resourceServer = resource
  token.scope = resource.scope
  if (found.claims) carryClaims(token, found.claims)
  await bindToProof(ctx, token)
  ctx.oidc.entity(token.kind, token)
  const value = await token.save()
  ctx.body = {
    access_token: value,
    expires_in: token.expiration,
    scope: token.scope,
    token_type: token.tokenType,
    ...found.answer,
  }
}

/** Whatever is asked for beyond what the credential carries is left out. */
function narrowScopes(requested: unknown, carried: readonly string[]): readonly string[] {
  if (typeof requested !== 'string' || requested.trim() === '') return carried
  const narrowed = requested.split(' ').filter((scope) => carried.includes(scope))
  if (narrowed.length > 0) return narrowed
  throw new errors.InvalidScope('the credential carries none of these scopes', requested)
}

async function resolveResource(
  { resources, clock }: IssueCollaborators,
  ctx: KoaContextWithOIDC,
  client: Client,
  { resource, notAfter }: FoundGrant,
) {
  const named = ctx.oidc.params?.['resource'] ?? resource
  const [identifier, ...others] = [
    named ?? (await resources.defaultResource(ctx, client)) ?? [],
  ].flat()
  if (typeof identifier !== 'string' || others.length > 0) {
    throw new errors.InvalidTarget('name one resource that the token is for')
  }
  const info = await resources.getResourceServerInfo(ctx, identifier, client)
  const { accessTokenTTL = 0 } = info
  const left = notAfter === undefined ? accessTokenTTL : notAfter - Math.floor(clock.now() / 1000)
  if (left < 1) throw new errors.InvalidGrant('the credential expires now')
  const life = Math.min(accessTokenTTL, left)
  return new ctx.oidc.provider.ResourceServer(identifier, { ...info, accessTokenTTL: life })
}
