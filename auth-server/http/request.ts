import { randomUUID } from 'node:crypto'
import type { Middleware } from 'koa'
import type { Clock } from '../clock.ts'
import { currentRequest, type Logger } from '../log.ts'

/** Gives every request an id: on its answer, and on each log line written meanwhile. */
export function identifyRequests(): Middleware {
  return (ctx, next) => {
    const requestId = randomUUID()
    ctx.set('X-Request-Id', requestId)
    return currentRequest.run({ requestId }, next)
  }
}

/** One line per answer. The query, which may hold codes and states, is never written. */
export function logRequests(log: Logger, clock: Clock): Middleware {
  return async (ctx, next) => {
    const startedAt = clock.now()
    const { method } = ctx
    const path = hideIdentifiers(ctx.path)
    try {
      await next()
    } finally {
      const status = ctx.respond === false ? ctx.res.statusCode : ctx.status
      const milliseconds = clock.now() - startedAt
      const address: unknown = ctx.state['address']
      log.info({ event: 'request', method, path, status, milliseconds, address })
    }
  }
}

function hideIdentifiers(path: string): string {
  return path.slice(0, 200).replace(/^\/(interaction|auth)\/[^/]+/, '/$1/:uid')
}

/** The last resort: an unexpected error is logged whole and answered with nothing but its id. */
export function catchErrors(log: Logger): Middleware {
  return async (ctx, next) => {
    try {
      await next()
    } catch (error) {
      const { status, expose } = error as { status?: number; expose?: boolean }
      if (expose === true && status !== undefined && status < 500) {
        ctx.status = status
        ctx.body = { error: 'invalid_request', error_description: (error as Error).message }
        return
      }
      log.error({ event: 'server_error', err: error })
      ctx.status = 500
      ctx.body = {
        error: 'server_error',
        error_description: 'Something went wrong. The operator finds it by the request id.',
        request_id: currentRequest.getStore()?.requestId,
      }
    }
  }
}

/** The engine reads at most 56 KiB and answers 400: say 413 where the length is known before. */
export function limitBodies(maxBytes: number): Middleware {
  return async (ctx, next) => {
    if ((ctx.request.length ?? 0) <= maxBytes) {
      await next()
      return
    }
    ctx.status = 413
    ctx.set('Connection', 'close')
    ctx.body = {
      error: 'invalid_request',
      error_description: `The body is larger than ${maxBytes} bytes.`,
    }
  }
}
