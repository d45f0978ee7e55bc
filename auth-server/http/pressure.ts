import type { Middleware } from 'koa'
import { PortreeveError } from '../errors.ts'

/**
 * Keeps out what may have to be recorded while too much waits to be: people and clients are told to
 * try again, rather than be allowed what nobody will know of.
 */
export function refuseWhileBehind(isBehind: () => boolean): Middleware {
  return async (ctx, next) => {
    if (ctx.method === 'POST' && isBehind()) {
      throw new PortreeveError('busy', 'The audit log cannot be written.')
    }
    await next()
  }
}
