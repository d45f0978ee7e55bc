import { tellByFrames, type FrontchannelCollaborators } from './frontchannel.ts'
import { readEndedSession, readLeftClient } from './internals.ts'
import type { Events } from '../events.ts'
import type { EngineMiddleware } from './engine-middleware.ts'
import type { ModelStore } from './model-store.ts'
import { forgetInteractions } from './own-interactions.ts'
import { collectWrites } from './unit-of-work.ts'

export interface SignOutCollaborators extends FrontchannelCollaborators {
  readonly models: ModelStore
  readonly events: Events
}

/**
 * Signing out ends every row of the session: two tabs may have made two of them. Whoever stays signed in
 * leaves in all of them the client that asked. All of it is one commit: where it is cut off, the session
 * is still there to sign out of.
 */
export function createSignOut(collaborators: SignOutCollaborators): EngineMiddleware {
  const { models, events } = collaborators
  return async (ctx, next) => {
    if (ctx.path !== '/session/end/confirm') {
      await next()
      return
    }
    const writes = await collectWrites(async () => {
      await next()
    })
    if (ctx.status >= 500) return
    const ended = readEndedSession(ctx)
    const left = ctx.status < 400 ? readLeftClient(ctx) : undefined
    const end = ended === undefined ? [] : [{ kind: 'end-session', ...ended } as const]
    // Before the row that goes on is written, which is merged with those that are there.
    const leave = left === undefined ? [] : [{ kind: 'leave-session', ...left } as const]
    await models.apply([...leave, ...writes, ...end])
    if (ended === undefined) return
    const location = ctx.response.get('location')
    await tellByFrames(collaborators, ctx, ended.clients)
    // Who becomes somebody else signs out in between, and goes on.
    forgetInteractions(ctx, /\/(?:auth|device)\/([\w-]+)(?:\?|$)/.exec(location)?.[1])
    events.signedOut({
      accountId: ctx.oidc.session?.accountId,
      clientId: ctx.oidc.client?.clientId,
    })
  }
}
