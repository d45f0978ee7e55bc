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
const MACHINE_PATHS = /^\/(?:token|userinfo|jwks|livez|readyz|\.well-known\/.*)$/

/** The one way in which the HTTP layer refuses: a page for a browser, JSON for a program. */
export function createRefuse(renderError: EnginePages['error']): Refuse {
  return (ctx, { status, error, description }) => {
    const requestId = currentRequest.getStore()?.requestId ?? ''
    ctx.status = status
    ctx.set('Cache-Control', 'no-store')
    ctx.vary('Accept')
    if (!MACHINE_PATHS.test(ctx.path) && ctx.accepts('json', 'html') === 'html') {
      ctx.type = 'html'
      ctx.body = renderError({ status, error, description, requestId })
      return
    }
    ctx.body = { error, error_description: description, request_id: requestId }
  }
}
