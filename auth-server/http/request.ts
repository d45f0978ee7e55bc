import { randomUUID } from 'node:crypto'
import type { Middleware } from 'koa'
import type { Clock } from '../clock.ts'
import { describeToOperator, PortreeveError } from '../errors.ts'
import { currentRequest, type Logger } from '../log.ts'
import type { Refusal, Refuse } from './refuse.ts'

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

/**
 * Any address may hold a token, an id or a code by somebody's mistake. What could be one is masked
 * before the path is cut, so that no beginning of it is left.
 */
function hideIdentifiers(path: string): string {
  const shown = path.startsWith('/.well-known/')
    ? path
    : path
        .replace(/^\/(interaction|auth|device)\/[^/]+/i, '/$1/:uid')
        .replaceAll(/[\w-]{20,}/g, ':hidden')
  return shown.slice(0, 200)
}

/** The last resort: an unexpected error is logged whole and answered with nothing but its id. */
export function catchErrors(log: Logger, refuse: Refuse): Middleware {
  return async (ctx, next) => {
    try {
      await next()
    } catch (error) {
      const known = readRefusal(error)
      if (known) {
        if (known.status === 503) ctx.set('Retry-After', '1')
        const detail = findDetail(error) ?? known.description
        log.warn({ event: 'request_failed', status: known.status, detail })
        refuse(ctx, known)
        return
      }
      log.error({ event: 'server_error', err: error })
      refuse(ctx, {
        status: 500,
        error: 'server_error',
        description: 'Something went wrong. The operator finds it by the request id.',
      })
    }
  }
}

/** What may be said of an error: what the framework or the engine made for whoever asks. */
function readRefusal(error: unknown): Refusal | undefined {
  if (error instanceof PortreeveError && error.code === 'busy') {
    const description = 'The server is busy, try again.'
    return { status: 503, error: 'temporarily_unavailable', description }
  }
  const { status, expose, error: code, error_description, message } = error as HttpError
  if (expose !== true || status === undefined) return undefined
  return { status, error: code ?? 'invalid_request', description: error_description ?? message }
}

/** Where there is more to say than to whoever asked. */
function findDetail(error: unknown): string | undefined {
  return error instanceof PortreeveError
    ? describeToOperator(error)
    : (error as HttpError).error_detail
}

interface HttpError extends Error {
  readonly status?: number
  readonly expose?: boolean
  /** Where the engine made it. */
  readonly error?: string
  readonly error_description?: string
  readonly error_detail?: string
}

/** The engine reads at most 56 KiB and answers 400: say 413 where the length is known before. */
export function limitBodies(maxBytes: number, refuse: Refuse): Middleware {
  return async (ctx, next) => {
    // Not `ctx.request.length`, which keeps 32 bits of it.
    if (Number(ctx.get('Content-Length')) <= maxBytes) {
      await next()
      return
    }
    ctx.set('Connection', 'close')
    refuse(ctx, {
      status: 413,
      error: 'invalid_request',
      description: `The body is larger than ${maxBytes} bytes.`,
    })
  }
}
