import { clientOf } from './clients.ts'
import type { RegistrationStore } from '../clients/registration.ts'
import type { Clock } from '../clock.ts'
import type { Logger } from '../log.ts'
import type { EngineMiddleware } from './engine-middleware.ts'
import type { Identifiers } from './identifiers.ts'
import type { LastUses } from './last-use.ts'

export interface UseCollaborators {
  readonly registrations: Pick<RegistrationStore, 'recordUse'>
  readonly lastUses: LastUses
  readonly identifiers: Pick<Identifiers, 'grantId'>
  readonly clock: Clock
  readonly log: Logger
}

const DAY_MS = 86_400_000

/** A client that has registered itself and gets a token is in use. */
export function createUseRecorder({
  registrations,
  clock,
  log,
}: UseCollaborators): EngineMiddleware {
  return async (ctx, next) => {
    await next()
    if (ctx.path !== '/token' || ctx.status !== 200) return
    const client = clientOf(ctx)
    if (client?.owner !== 'dynamic') return
    const now = clock.now()
    // Its tokens are issued by now: it gets them all the same.
    await registrations.recordUse(client.id, now, now - DAY_MS).catch((error: unknown) => {
      log.warn({ event: 'use_not_recorded', err: error })
    })
  }
}

/** Of a session that a browser has come with, and of a grant that an app has got a token for. */
export function createLastUseRecorder({
  lastUses,
  identifiers,
}: UseCollaborators): EngineMiddleware {
  return async (ctx, next) => {
    await next()
    if (ctx.status >= 400) return
    const { session, entities } = ctx.oidc ?? {}
    if (session?.accountId !== undefined) {
      const visitor = { address: ctx.ip, userAgent: ctx.get('user-agent') }
      await lastUses.record({ kind: 'session', id: session.uid }, visitor)
    }
    if (ctx.path !== '/token' || entities?.Grant === undefined) return
    const id = identifiers.grantId(entities.Grant.jti)
    await lastUses.record({ kind: 'grant', id }, { address: ctx.ip, userAgent: undefined })
  }
}
