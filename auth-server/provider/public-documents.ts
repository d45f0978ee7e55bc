import { createHash } from 'node:crypto'
import type { KoaContextWithOIDC } from 'oidc-provider'
import { JWKS_LIFETIME_SECONDS } from '../keys/rotate.ts'
import type { PublicJwk } from '../keys/keyset.ts'
import type { EngineMiddleware, Next } from './engine-middleware.ts'
import type { MtlsSettings } from './mtls.ts'

export interface DocumentCollaborators {
  readonly publishedKeys: readonly PublicJwk[]
  readonly mtls: MtlsSettings | undefined
}

const PUBLIC_DOCUMENTS = new Set(['jwks', 'discovery'])

/** Keys and metadata change seldom, and a verifier that cannot reach us may go on with old ones. */
export async function cachePublicDocuments(ctx: KoaContextWithOIDC, next: Next): Promise<void> {
  await next()
  if (!PUBLIC_DOCUMENTS.has(ctx.oidc?.route ?? '') || ctx.status !== 200) return
  const digest = createHash('sha256').update(JSON.stringify(ctx.body)).digest('base64url')
  ctx.set('Cache-Control', `public, max-age=${JWKS_LIFETIME_SECONDS}, stale-if-error=86400`)
  ctx.set('ETag', `"${digest.slice(0, 27)}"`)
  if (ctx.fresh) {
    ctx.status = 304
    ctx.body = null
  }
}

/** RFC 8414 §3.2: members without elements are left out. The engine has those of encrypted requests. */
export async function leaveEmptyListsOut(ctx: KoaContextWithOIDC, next: Next): Promise<void> {
  await next()
  if (ctx.oidc?.route !== 'discovery' || ctx.status !== 200) return
  const members = Object.entries(ctx.body as Record<string, unknown>)
  ctx.body = Object.fromEntries(
    members.filter(([, value]) => !Array.isArray(value) || value.length > 0),
  )
}

/** The engine would publish every key that it has, those too that only check an old ID token. */
export function createKeySetAnswer({ publishedKeys }: DocumentCollaborators): EngineMiddleware {
  return async (ctx, next) => {
    await next()
    if (ctx.oidc?.route === 'jwks' && ctx.status === 200) ctx.body = { keys: publishedKeys }
  }
}

/** The engine would say that tokens are bound to certificates, whether or not any reach it. */
export function createMetadataAnswer({ mtls }: DocumentCollaborators): EngineMiddleware {
  return async (ctx, next) => {
    await next()
    if (mtls || ctx.oidc?.route !== 'discovery' || ctx.status !== 200) return
    const { tls_client_certificate_bound_access_tokens: _on, ...metadata } = ctx.body as object & {
      tls_client_certificate_bound_access_tokens?: boolean
    }
    ctx.body = metadata
  }
}
