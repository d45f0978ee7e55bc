import Koa, { type Middleware } from 'koa'
import type { Clock } from '../clock.ts'
import type { Logger } from '../log.ts'
import { createTrustedProxies, noteAddress } from './proxy.ts'
import { refuseWhileBehind } from './pressure.ts'
import { refuseInJson } from './refuse.ts'
import { catchErrors, identifyRequests, limitBodies, logRequests } from './request.ts'

const MAX_BODY_BYTES = 8 * 1024
/** Each of them may give a token, which is to be recorded. */
const METHODS = ['GET', 'HEAD', 'POST']

export interface DirectAppCollaborators {
  /** From `direct-access`. */
  readonly routes: Middleware
  /** Whether too much waits to be written to the audit log. */
  readonly isBehind: () => boolean
  readonly log: Logger
  readonly clock: Clock
}

/** The HTTP surface of direct access, apart from everything else: what a request passes, in this order. */
export function createDirectApp(
  { routes, isBehind, log, clock }: DirectAppCollaborators,
  { trustedProxies }: { readonly trustedProxies: readonly string[] },
): Koa {
  const app = new Koa()
  const pipeline: readonly Middleware[] = [
    identifyRequests(),
    setHeaders,
    logRequests(log, clock),
    catchErrors(log, refuseInJson),
    noteAddress(createTrustedProxies(trustedProxies)),
    limitBodies(MAX_BODY_BYTES, refuseInJson),
    refuseWhileBehind(isBehind, METHODS),
    routes,
    (ctx) => {
      if (ctx.status !== 404 || ctx.body) return
      const description = 'There is nothing at this address.'
      refuseInJson(ctx, { status: 404, error: 'not_found', description })
    },
  ]
  for (const middleware of pipeline) app.use(middleware)
  app.on('error', (error: NodeJS.ErrnoException) => {
    if (error.syscall === undefined) log.error({ event: 'server_error', err: error })
    else log.info({ event: 'connection_lost', reason: error.code })
  })
  return app
}

/** No page is served here, and what is served is a credential. */
const setHeaders: Middleware = async (ctx, next) => {
  ctx.set({
    'Cache-Control': 'no-store',
    'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
    'Cross-Origin-Resource-Policy': 'same-origin',
    'X-Content-Type-Options': 'nosniff',
  })
  await next()
}
