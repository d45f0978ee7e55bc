import Koa, { type Middleware } from 'koa'
import type { Clock } from '../clock.ts'
import type { Logger } from '../log.ts'
import type { EngineHost } from '../provider/host.ts'
import type { EnginePages } from '../provider/interaction.ts'
import { answerProbes, type Health } from './health.ts'
import { expectOrigin, takeCertificates, type MtlsPlace } from './certificate.ts'
import { createTrustedProxies, requireOwnOrigin } from './proxy.ts'
import { createRefuse } from './refuse.ts'
import { catchErrors, identifyRequests, limitBodies, logRequests } from './request.ts'
import { createSecurityHeaders } from './security.ts'

const MAX_BODY_BYTES = 56 * 1024

export interface AppCollaborators {
  readonly host: EngineHost
  readonly health: Health
  readonly log: Logger
  readonly clock: Clock
  /** Our own pages and assets, in front of the engine. */
  readonly pages: readonly Middleware[]
  /** What a browser is shown where the HTTP layer refuses. */
  readonly renderError: EnginePages['error']
}

export interface AppOptions {
  readonly issuer: string
  readonly trustedProxies: readonly string[]
  /** Where certificates of clients are taken, if they are. */
  readonly mtls: MtlsPlace | undefined
}

/** The whole HTTP surface: what a request passes, in this order. */
export function createApp(collaborators: AppCollaborators, options: AppOptions): Koa {
  const { host, health, log, clock, pages, renderError } = collaborators
  const refuse = createRefuse(renderError)
  const app = new Koa()
  const pipeline: readonly Middleware[] = [
    identifyRequests(),
    createSecurityHeaders(options.issuer),
    answerProbes(health),
    logRequests(log, clock),
    catchErrors(log, refuse),
    requireOwnOrigin(
      (request) => expectOrigin(request, options.issuer, options.mtls),
      createTrustedProxies(options.trustedProxies),
      refuse,
    ),
    takeCertificates(options.mtls, refuse),
    limitBodies(MAX_BODY_BYTES, refuse),
    ...pages,
    delegateToEngine(host),
  ]
  for (const middleware of pipeline) app.use(middleware)
  app.on('error', (error: NodeJS.ErrnoException) => {
    if (error.syscall === undefined) log.error({ event: 'server_error', err: error })
    else log.info({ event: 'connection_lost', reason: error.code })
  })
  return app
}

/** By delegation, not by mounting: a mounted engine reads its signed cookies with other keys. */
function delegateToEngine(host: EngineHost): Middleware {
  return async (ctx) => {
    ctx.respond = false
    ctx.res.statusCode = 200
    await host.handle(ctx.req, ctx.res)
  }
}
