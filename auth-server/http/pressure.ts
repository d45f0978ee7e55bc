import type { Middleware } from 'koa'
import { PortreeveError } from '../errors.ts'

/**
 * Keeps out what may have to be recorded while too much waits to be: people and clients are told to
 * try again, rather than be allowed what nobody will know of.
 */
export function refuseWhileBehind(
  isBehind: () => boolean,
  methods: readonly string[] = ['POST'],
): Middleware {
  return async (ctx, next) => {
    if (methods.includes(ctx.method) && isBehind()) {
      throw new PortreeveError('busy', 'The audit log cannot be written.')
    }
    await next()
  }
}
