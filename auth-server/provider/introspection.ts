import { errors, type Client as EngineClient, type KoaContextWithOIDC } from 'oidc-provider'
import { recordOf } from './clients.ts'
import type { IssuedToken, IssuedTokens } from './issued-token.ts'
import type { EngineMiddleware } from './engine-middleware.ts'

/**
 * Answers what a JWT is worth (RFC 7662), where the engine answers for its own tokens alone.
 *
 * A client learns of tokens that were issued to it, and an API of those that are for it (`introspects`).
 * Whoever asks about another token is told what an unknown one is told. Who proves nothing is told nothing.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc7662.html#section-2 RFC 7662 §2}
 */
export function createIntrospection(issued: IssuedTokens): EngineMiddleware {
  return async (ctx, next) => {
    await next()
    const { client, params, route } = ctx.oidc ?? {}
    if (route !== 'introspection' || !client) return
    if (ctx.status === 200 || isAboutJwt(ctx)) {
      if (client.clientAuthMethod === 'none') refusePublicClient(ctx)
      else if (isAboutJwt(ctx)) answer(ctx, await describe(issued, client, params?.['token']))
    }
  }
}

/** The engine has authenticated the client, and refuses to say more. */
export function isAboutJwt({ status, body }: KoaContextWithOIDC): boolean {
  return status === 400 && (body as { error?: unknown })?.error === 'unsupported_token_type'
}

async function describe(issued: IssuedTokens, client: EngineClient, token: unknown) {
  const known = await issued.verify(token)
  if (!known || !mayKnow(client, known)) return { active: false }
  const { ok } = await issued.checkLife(known)
  if (!ok) return { active: false }
  const { claims } = known
  const token_type = claims.cnf?.['jkt'] === undefined ? 'Bearer' : 'DPoP'
  return { ...claims, active: true, token_type }
}

function mayKnow(client: EngineClient, { claims, resource }: IssuedToken): boolean {
  const { id, introspects } = recordOf(client)
  return claims.client_id === id || introspects.includes(resource.identifier)
}

function answer(ctx: KoaContextWithOIDC, body: object): void {
  ctx.status = 200
  ctx.body = body
}

/**
 * RFC 7662 §2.1: "the endpoint MUST also require some form of authorization". The id of a public client
 * is none.
 */
function refusePublicClient(ctx: KoaContextWithOIDC): void {
  const { status, error } = new errors.InvalidClientAuth('public clients are told nothing')
  ctx.status = status
  ctx.body = { error, error_description: 'only a client that has a secret may ask' }
}

/** Of opaque tokens and refresh tokens, only those are told that they were issued to. */
export async function mayIntrospect(
  _ctx: KoaContextWithOIDC,
  client: EngineClient,
  { clientId }: { readonly clientId?: string | undefined },
): Promise<boolean> {
  return clientId === client.clientId
}
