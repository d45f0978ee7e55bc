import { randomUUID } from 'node:crypto'
import { bodyParser } from '@koa/bodyparser'
import type { Context, Middleware } from 'koa'
import type { AuthState } from '../index.ts'
import type { Log } from './serve.ts'

/** What a request to a demonstration API is known by. */
export interface ApiState extends AuthState {
  requestId: string
}

const MAX_BODY = '16kb'
const DESCRIPTIONS: Readonly<Record<number, string>> = {
  400: 'The body is not a JSON object.',
  404: 'There is nothing here.',
  405: 'This method does nothing here.',
  413: 'The body is larger than 16 KiB.',
  415: 'Send the body as application/json, in UTF-8.',
}

export const identifyRequests: Middleware<ApiState> = async (ctx, next) => {
  ctx.state.requestId = randomUUID()
  ctx.set({
    'X-Request-Id': ctx.state.requestId,
    'X-Content-Type-Options': 'nosniff',
    'Cache-Control': 'no-store',
  })
  await next()
}

/** Gives an error that has no body yet one, and an unexpected error nothing but its request id. */
export function answerErrors(log: Log): Middleware<ApiState> {
  return async (ctx, next) => {
    try {
      await next()
    } catch (error) {
      const { status, expose } = error as { status?: number; expose?: boolean }
      const isClients = expose === true && status !== undefined && status < 500
      if (!isClients) log({ event: 'server_error', ...describeRequest(ctx), error })
      ctx.status = isClients ? status : 500
      // Nothing reads the rest of a body that is too large.
      if (status === 413) ctx.set('Connection', 'close')
    }
    if (ctx.status < 400 || ctx.body !== undefined) return
    const { status } = ctx
    if (status === 404) answer(ctx, status, 'not_found', DESCRIPTIONS[404])
    else if (status >= 500)
      answer(ctx, status, 'server_error', 'The request could not be answered.')
    else answer(ctx, status, 'invalid_request', DESCRIPTIONS[status])
  }
}

export function answer(ctx: Context, status: number, error: string, description?: string): void {
  ctx.status = status
  ctx.body = { error, ...(description === undefined ? {} : { error_description: description }) }
}

/** Never the query: somebody may have put a token there. */
export function describeRequest({
  method,
  path,
  state,
}: Context): Readonly<Record<string, unknown>> {
  return { requestId: state['requestId'], method, path: path.slice(0, 200) }
}

/** Reads a body of JSON, in UTF-8 and of at most 16 KiB. */
export function parseJson(): readonly Middleware<ApiState>[] {
  return [
    requireJson,
    bodyParser({ enableTypes: ['json'], jsonLimit: MAX_BODY, onError: refuseBody }),
  ]
}

const requireJson: Middleware<ApiState> = (ctx, next) => {
  const isUtf8 = /^(utf-8)?$/i.test(ctx.request.charset)
  if (isUtf8 && ctx.is('application/json') === 'application/json') return next()
  ctx.status = 415
  return undefined
}

/** Whatever a body cannot be read for is its sender's fault: not every such error says so. */
function refuseBody({ status }: Error & { readonly status?: number }, ctx: Context): void {
  ctx.throw(status === 413 || status === 415 ? status : 400)
}

/** The members of the body, or `undefined` once it has been answered that it is no object. */
export function readObject(ctx: Context): Readonly<Record<string, unknown>> | undefined {
  const { body } = ctx.request as { readonly body?: unknown }
  if (typeof body === 'object' && body !== null && !Array.isArray(body)) {
    return body as Readonly<Record<string, unknown>>
  }
  ctx.status = 400
  return undefined
}
