import { bodyParser } from '@koa/bodyparser'
import { Router } from '@koa/router'
import { SIGNED_OUT_BY_SERVER } from './arrows.ts'
import { readField } from './guard.ts'
import type { Issuer } from './issuer.ts'
import { Problem } from './problem.ts'
import type { Sessions } from './sessions.ts'

const MAX_FORM = '8kb'

/**
 * Where the authorization server says that a sign-in is over. It comes from no browser, so nothing that
 * guards browsers is in front of it: only what the server has signed is believed.
 *
 * @see {@link https://openid.net/specs/openid-connect-backchannel-1_0.html#BCRequest OpenID Connect Back-Channel Logout 1.0 §2.5, §2.8}
 */
export function createBackchannelRoute({
  issuer,
  sessions,
}: {
  readonly issuer: Issuer
  readonly sessions: Sessions
}): Router {
  const router = new Router()
  const readForm = bodyParser({ enableTypes: ['form'], formLimit: MAX_FORM })

  router.post('/backchannel-logout', readForm, async (ctx) => {
    try {
      const sid = await issuer.readLogoutToken(readField(ctx, 'logout_token') ?? '')
      sessions.endSignIn(sid, SIGNED_OUT_BY_SERVER)
      ctx.status = 200
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      // Whatever is not the token's fault is tried again (§2.8).
      ctx.status = error.status
      ctx.body = {
        error: error.code ?? 'temporarily_unavailable',
        error_description: error.message,
      }
    }
  })

  return router
}
