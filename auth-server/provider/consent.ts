import { errors, type Grant, type KoaContextWithOIDC } from 'oidc-provider'
import { isSelfDescribed, type ClientStore } from '../clients/client.ts'
import { OWN_CLIENT_ID } from '../config/built-in.ts'
import { isUnprovenPlace } from '../config/uri-rules.ts'
import { claimsOf } from './claims.ts'
import { listNamedClaims, readClaims } from './claims-parameter.ts'
import { clientOf } from './clients.ts'

/**
 * Any program on the device can listen on loopback or claim a custom scheme, and so pose as the
 * client: there consent is never silent, not even for a client of our own. What stands behind this
 * server's own address is this server.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc8252.html#section-8.6 RFC 8252 §8.6}
 */
export function needsConsentEachTime(ctx: KoaContextWithOIDC): boolean {
  if (ctx.oidc.client?.clientId === OWN_CLIENT_ID) return false
  // Nobody here has vouched for it, and it may have become another since.
  const client = clientOf(ctx)
  if (client && isSelfDescribed(client)) return true
  const uri = String(ctx.oidc.params?.['redirect_uri'])
  return !URL.canParse(uri) || isUnprovenPlace(uri)
}

/**
 * A client may have become another while a person was asked: nobody is sent where it does not want them
 * any more. The engine has looked at that when the request began.
 */
export function refuseFormerPlace({ oidc: { client, params } }: KoaContextWithOIDC): void {
  const uri = params?.['redirect_uri']
  if (typeof uri !== 'string' || client?.redirectUriAllowed(uri) !== false) return
  throw new errors.InvalidRedirectUri()
}

/** The grant that a request may build on; for a first-party client one that covers what it asks. */
export function createGrantLookup(
  clients: Pick<ClientStore, 'findById'>,
): (ctx: KoaContextWithOIDC) => Promise<Grant | undefined> {
  return async (ctx) => ((await isAgreed(ctx, clients)) ? grantSilently(ctx) : undefined)
}

/** People have agreed to a document: what they gave to another is not given to this one. */
async function isAgreed(
  ctx: KoaContextWithOIDC,
  clients: Pick<ClientStore, 'findById'>,
): Promise<boolean> {
  const client = clientOf(ctx)
  if (client?.document === undefined) return true
  const agreed = await clients.findById(client.id)
  return agreed?.document?.hash === client.document.hash
}

async function grantSilently(ctx: KoaContextWithOIDC): Promise<Grant | undefined> {
  const { client, session, result, provider } = ctx.oidc
  if (!client || !session) return undefined
  const grantId = result?.consent?.grantId ?? session.grantIdFor(client.clientId)
  const existing = grantId === undefined ? undefined : await provider.Grant.find(grantId)
  const accountId = session.accountId
  if (!clientOf(ctx)?.firstParty || accountId === undefined || needsConsentEachTime(ctx)) {
    return existing
  }
  const usable = existing?.accountId === accountId ? existing : undefined
  const grant = usable ?? new provider.Grant({ accountId, clientId: client.clientId })
  const hasMore = addMissingScopes(ctx, grant)
  if (addMissingClaims(ctx, grant) || hasMore) await grant.save()
  return grant
}

/** Adds what this request asks for, and answers whether anything was missing. */
function addMissingScopes(ctx: KoaContextWithOIDC, grant: Grant): boolean {
  const { requestParamOIDCScopes, requestParamScopes, resourceServers } = ctx.oidc
  const known = new Set(grant.getOIDCScope().split(' '))
  const missing = [...requestParamOIDCScopes].filter((scope) => !known.has(scope))
  if (missing.length > 0) grant.addOIDCScope(missing.join(' '))
  let changed = missing.length > 0
  for (const [identifier, server] of Object.entries(resourceServers ?? {})) {
    const granted = new Set(grant.getResourceScope(identifier).split(' '))
    const wanted = [...requestParamScopes].filter(
      (scope) => server.scopes.has(scope) && !granted.has(scope),
    )
    if (wanted.length === 0) continue
    grant.addResourceScope(identifier, wanted.join(' '))
    changed = true
  }
  return changed
}

/** Those of the scopes as well, as where a person agrees to them. */
function addMissingClaims(ctx: KoaContextWithOIDC, grant: Grant): boolean {
  const { requestParamOIDCScopes, params } = ctx.oidc
  const known = new Set(grant.getOIDCClaims())
  const wanted = [...requestParamOIDCScopes].flatMap((scope) => claimsOf(scope))
  const missing = [...wanted, ...listNamedClaims(readClaims(params))].filter(
    (claim) => !known.has(claim),
  )
  if (missing.length > 0) grant.addOIDCClaims([...new Set(missing)])
  return missing.length > 0
}
