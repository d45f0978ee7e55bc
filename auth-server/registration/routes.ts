import { bodyParser } from '@koa/bodyparser'
import { Router, type RouterContext } from '@koa/router'
import type { Middleware } from 'koa'
import { assertNever, type Result } from '../errors.ts'
import type { Events } from '../events.ts'
import { takesEncoding } from '../form.ts'
import { describeClient } from './describe.ts'
import type { Asking, Registered, Registration, RegistrationRefusal } from './register.ts'

export interface RegistrationRouteCollaborators {
  readonly registration: Registration
  readonly events: Pick<Events, 'requestRefused'>
}

export interface RegistrationRouteOptions {
  readonly issuer: string
}

type Parts = RegistrationRouteCollaborators & RegistrationRouteOptions

const MAX_BYTES = 32 * 1024

/**
 * Where clients register and manage themselves. There is no CORS: a page that somebody opens cannot
 * register from their address, nor reach a server that only they can.
 */
export function createRegistrationRoutes(
  collaborators: RegistrationRouteCollaborators,
  options: RegistrationRouteOptions,
): Middleware {
  const parts = { ...collaborators, ...options }
  const { registration } = collaborators
  const router = new Router({ strict: true, sensitive: true })
  router.use(async (ctx, next) => {
    ctx.set('Cache-Control', 'no-store')
    ctx.set('Pragma', 'no-cache')
    await next()
  })
  router.post('/register', async (ctx) => {
    const admitted = await registration.admit(readAsking(ctx))
    if (!admitted.ok) return refuse(parts, ctx, admitted.reason)
    const body = await readBody(ctx)
    if (!body.ok) return refuseBody(parts, ctx, body.reason)
    answer(parts, ctx, 201, await registration.register(admitted.value, body.value))
  })
  router.all('/register', refuseMethod('POST'))
  router.get('/register/:id', async (ctx) => {
    answer(parts, ctx, 200, await registration.read(readAsking(ctx), idOf(ctx)))
  })
  router.put('/register/:id', async (ctx) => {
    const asking = readAsking(ctx)
    const body = await readBody(ctx)
    if (!body.ok) return refuseBody(parts, ctx, body.reason)
    answer(parts, ctx, 200, await registration.update(asking, idOf(ctx), body.value))
  })
  router.delete('/register/:id', async (ctx) => {
    const removed = await registration.remove(readAsking(ctx), idOf(ctx))
    if (removed.ok) ctx.status = 204
    else refuse(parts, ctx, removed.reason)
  })
  router.all('/register/:id', refuseMethod('GET, HEAD, PUT, DELETE'))
  return router.routes() as Middleware
}

function idOf(ctx: RouterContext): string {
  return ctx.params['id'] ?? ''
}

/** In the header alone: a token in an address ends in logs (RFC 6750 §2.3). */
function readAsking(ctx: RouterContext): Asking {
  const [, token] = /^bearer +([\w.~+/-]{1,512}=*)$/i.exec(ctx.get('Authorization')) ?? []
  // What is there and cannot be read is a wrong token, not none.
  const given = token ?? (ctx.get('Authorization') === '' ? undefined : '')
  return { address: String(ctx.state['address']), token: given }
}

const parseJson = bodyParser({ enableTypes: ['json'], jsonLimit: `${MAX_BYTES}b` })

interface BodyFault {
  readonly status: 400 | 413 | 415
  readonly description: string
}

/** JSON and nothing else: what a page may send elsewhere without asking is none (Fetch, CORS). */
async function readBody(ctx: RouterContext): Promise<Result<Record<string, unknown>, BodyFault>> {
  const fault = (status: BodyFault['status'], description: string) =>
    ({ ok: false, reason: { status, description } }) as const
  if (ctx.request.is('application/json') === false || !takesEncoding(ctx)) {
    return fault(415, 'expected application/json')
  }
  try {
    await parseJson(ctx, async () => {})
  } catch (error) {
    // The rest of the body stays unread: the connection is of no further use.
    ctx.set('Connection', 'close')
    const { status } = error as { status?: unknown }
    if (status === 413) return fault(413, `expected ${MAX_BYTES} bytes at most`)
    if (typeof status === 'number') return fault(400, 'expected JSON')
    throw error
  }
  const body: unknown = ctx.request.body
  if (typeof body === 'object' && body !== null && !Array.isArray(body)) {
    return { ok: true, value: body as Record<string, unknown> }
  }
  return fault(400, 'expected a JSON object')
}

function answer(
  parts: Parts,
  ctx: RouterContext,
  status: number,
  outcome: Result<Registered, RegistrationRefusal>,
): void {
  if (!outcome.ok) {
    refuse(parts, ctx, outcome.reason)
    return
  }
  const { client, secret, token } = outcome.value
  ctx.status = status
  ctx.body = {
    ...describeClient(client),
    // It does not expire: RFC 7591 §3.2.1 wants that said.
    ...(secret === undefined ? {} : { client_secret: secret, client_secret_expires_at: 0 }),
    registration_access_token: token,
    registration_client_uri: `${parts.issuer}/register/${client.id}`,
  }
}

function refuseBody(parts: Parts, ctx: RouterContext, fault: BodyFault): void {
  say(parts, ctx, fault.status, 'invalid_client_metadata', fault.description)
}

function refuse(parts: Parts, ctx: RouterContext, refusal: RegistrationRefusal): void {
  switch (refusal.kind) {
    case 'unauthorized': {
      const reason = refusal.isTokenGiven ? ', error="invalid_token"' : ''
      ctx.set('WWW-Authenticate', `Bearer realm="registration"${reason}`)
      say(parts, ctx, 401, 'invalid_token', 'expected a token that is good here')
      return
    }
    case 'metadata':
      say(parts, ctx, 400, refusal.fault.error, refusal.fault.description)
      return
    case 'throttled':
      ctx.set('Retry-After', String(refusal.retryAfterSeconds))
      say(parts, ctx, 429, 'slow_down', 'too many registrations from this address')
      return
    case 'full':
      ctx.set('Retry-After', '3600')
      say(parts, ctx, 503, 'temporarily_unavailable', 'no more clients can register')
      return
    case 'changed':
      say(parts, ctx, 409, 'invalid_client_metadata', 'the client has just been changed: read it')
      return
    default:
      assertNever(refusal)
  }
}

function say(
  { events }: Parts,
  ctx: RouterContext,
  status: number,
  error: string,
  description: string,
): void {
  events.requestRefused({ endpoint: 'registration', error, detail: description })
  ctx.status = status
  ctx.body = { error, error_description: description }
}

function refuseMethod(allow: string) {
  return (ctx: RouterContext): void => {
    ctx.set('Allow', allow)
    ctx.status = 405
    ctx.body = { error: 'method_not_allowed', error_description: `Use ${allow} here.` }
  }
}
