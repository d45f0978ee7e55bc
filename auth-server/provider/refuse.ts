import type { KoaContextWithOIDC } from 'oidc-provider'
import type { EnginePages } from './interaction.ts'

export interface RefusalCollaborators {
  readonly pages: EnginePages
  readonly requestId: () => string
}

/** In the form that is asked for: a page for a browser, JSON for everybody else. */
export function refuse(
  { pages, requestId }: RefusalCollaborators,
  ctx: KoaContextWithOIDC,
  status: number,
  error: string,
  description: string,
): void {
  ctx.status = status
  ctx.set('Cache-Control', 'no-store')
  if (ctx.accepts('json', 'html') === 'html') {
    ctx.type = 'html'
    ctx.body = pages.error({ status, error, description, requestId: requestId() })
  } else {
    ctx.type = 'json'
    ctx.body = { error, error_description: description }
  }
}
