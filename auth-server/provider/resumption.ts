import type { KoaContextWithOIDC, Provider } from 'oidc-provider'
import { DEVICE_PATH } from './device.ts'
import type { Clock } from '../clock.ts'
import type { Events } from '../events.ts'
import type { Logger } from '../log.ts'
import type { EngineMiddleware } from './engine-middleware.ts'
import type { ModelStore } from './model-store.ts'
import { forgetInteraction, isOwnInteraction, rememberInteraction } from './own-interactions.ts'
import { refuse, type RefusalCollaborators } from './refuse.ts'
import { collectLateWrites } from './unit-of-work.ts'

export interface ResumptionCollaborators extends RefusalCollaborators {
  readonly models: ModelStore
  readonly events: Events
  readonly clock: Clock
  readonly log: Logger
}

function isResumed({ path }: KoaContextWithOIDC): boolean {
  return path.startsWith('/auth/') || path.startsWith(`${DEVICE_PATH}/`)
}

/** The interaction that the engine would go on with: it goes by this cookie, not by the path. */
function readResumed(ctx: KoaContextWithOIDC): string | undefined {
  if (!isResumed(ctx)) return undefined
  const engine = ctx.app as Provider
  return ctx.cookies.get(engine.cookieName('resume'), { signed: true })
}

/** Goes on only with what this browser has started: an answered interaction signs somebody in. */
export function createResumeGuard(collaborators: ResumptionCollaborators): EngineMiddleware {
  return async (ctx, next) => {
    const uid = readResumed(ctx)
    if (uid === undefined || isOwnInteraction(ctx, uid)) {
      await next()
      return
    }
    const error = 'invalid_request'
    const detail = 'the interaction is over, or another browser has started it'
    collaborators.events.requestRefused({ endpoint: 'resume', error, detail })
    refuse(collaborators, ctx, 410, error, detail)
  }
}

/**
 * The interaction that a browser goes on with ends when the answer has gone out. If this process or a
 * connection breaks before, the browser or a proxy sends the request again, and finds it as it was.
 */
export function createResumeEnd({ models, log }: ResumptionCollaborators): EngineMiddleware {
  return async (ctx, next) => {
    if (!isResumed(ctx)) {
      await next()
      return
    }
    const ends = await collectLateWrites(next)
    // A person who is told to try again has to find something to try.
    if (ctx.status >= 500) return
    ctx.res.once('finish', () => {
      models.apply(ends).catch((error: unknown) => {
        log.warn({ event: 'interaction_not_ended', err: error })
      })
    })
  }
}

/** Keeps in a cookie which interactions this browser has started. */
export function createInteractionMemory({ clock }: ResumptionCollaborators): EngineMiddleware {
  return async (ctx, next) => {
    const ended = readResumed(ctx)
    await next()
    if (ctx.status !== 303) return
    if (ended !== undefined) forgetInteraction(ctx, ended)
    const started = ctx.oidc?.entities.Interaction
    if (started && ctx.response.get('location') === `/interaction/${started.uid}`) {
      rememberInteraction(ctx, started, clock)
    }
  }
}
