import type { Context } from 'koa'
import { currentRequest } from '../log.ts'
import type { EnginePages } from '../provider/interaction.ts'

/** A refusal of the HTTP layer itself, in words that anybody may read. */
export interface Refusal {
  readonly status: number
  /** A code for programs. */
  readonly error: string
  readonly description: string
}

export type Refuse = (ctx: Context, refusal: Refusal) => void

/** Only programs come here: they get JSON whatever they say they accept. */
const MACHINE_PATHS =
  /^\/(?:token|request|introspect|revoke|userinfo|jwks|register(?:\/[^/]+)?|livez|readyz|\.well-known\/.*)$/

/** The one way in which the HTTP layer refuses: a page for a browser, JSON for a program. */
export function createRefuse(renderError: EnginePages['error']): Refuse {
  return (ctx, refusal) => {
    ctx.vary('Accept')
    if (MACHINE_PATHS.test(ctx.path) || ctx.accepts('json', 'html') !== 'html') {
      refuseInJson(ctx, refusal)
      return
    }
    ctx.status = refusal.status
    ctx.set('Cache-Control', 'no-store')
    ctx.type = 'html'
    ctx.body = renderError({ ...refusal, requestId: requestId() })
  }
}

/** Where nobody comes with a browser. */
export const refuseInJson: Refuse = (ctx, { status, error, description }) => {
  ctx.status = status
  ctx.set('Cache-Control', 'no-store')
  ctx.body = { error, error_description: description, request_id: requestId() }
}

function requestId(): string {
  return currentRequest.getStore()?.requestId ?? ''
}
