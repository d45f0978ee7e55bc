import { Router } from '@koa/router'
import { bodyParser } from '@koa/bodyparser'
import Koa, { type Context, type Middleware } from 'koa'
import { formatTime, type Clock } from '../clock.ts'
import {
  assertProtected,
  createProtect,
  fromAuthorization,
  fromBodyField,
  fromHeader,
  fromOneOf,
  publicRoute,
  type AccessTokenClaims,
  type Auth,
  type ClaimsSchema,
  type Refusal,
  type RoutePolicy,
  type TokenExtractor,
  type Verifier,
} from '../index.ts'
import { answerErrors, describeRequest, identifyRequests, type ApiState } from './answers.ts'
import type { Log } from './serve.ts'

const MAX_BODY = '16kb'

/** Whose tokens each of the two APIs takes. They share nothing but the port. */
export interface HelloVerifiers {
  /** For `/healthcheck`: tokens of people who have signed in, who are named in `username`. */
  readonly session: Verifier
  /** For `/api/v3`: tokens that were given for an API key, with a `user` and perhaps a `role`. */
  readonly apiKey: Verifier
}

/** A greeting to those who bring a token, in the words that their clients know. */
export function createHelloApi(verifiers: HelloVerifiers, clock: Clock, log: Log): Koa<ApiState> {
  const app = new Koa<ApiState>()
  const router = new Router<ApiState>({ strict: true, sensitive: true })
  addHealthcheck(router, verifiers.session, clock, log)
  addApiV3(router, verifiers.apiKey, log)
  assertProtected(router)
  app.use(identifyRequests)
  app.use(answerErrors(log))
  app.use(router.routes())
  app.use(router.allowedMethods())
  app.on('error', (error: Error) => log({ event: 'connection_error', error }))
  return app
}

function addHealthcheck(
  router: Router<ApiState>,
  verifier: Verifier,
  clock: Clock,
  log: Log,
): void {
  const protect = createProtectInWords(verifier, fromHeader('access_token'), log, (ctx) => {
    ctx.status = 403
    ctx.type = 'text/plain'
    ctx.body = 'Access Denied; Please check the access token'
  })
  router.get('/healthcheck', ...protect({ claims: WITH_USERNAME }), (ctx) => {
    ctx.body = { time: formatTime(clock.now()), user: ctx.state.auth.claims['username'] }
  })
}

function addApiV3(router: Router<ApiState>, verifier: Verifier, log: Log): void {
  const token = fromOneOf(fromBodyField('token'), fromAuthorization())
  const protect = createProtectInWords(verifier, token, log, (ctx, { kind }) => {
    const isMissing = kind === 'no_token'
    ctx.status = isMissing ? 401 : 403
    ctx.body = isMissing ? { 'Alert!': 'Token is missing!' } : { Message: 'Invalid token' }
  })
  router.get('/api/v3/home', publicRoute(), (ctx) => {
    ctx.body = 'hello world'
  })
  router.get('/api/v3/secret', readTokenBody, ...protect(), (ctx) => {
    ctx.body = "Ops, it's sensitive data :("
  })
  router.get('/api/v3/admin', readTokenBody, ...protect({ owns: isAdmin }), (ctx) => {
    ctx.body = 'hello admin'
  })
}

type ProtectInWords = (policy?: RoutePolicy<AccessTokenClaims, Context>) => Middleware<ApiState>[]

/** `protect`, whose refusals are said as clients of old expect them; the log has the toolkit's own. */
function createProtectInWords(
  verifier: Verifier,
  token: TokenExtractor,
  log: Log,
  say: (ctx: Context, refusal: Refusal) => void,
): ProtectInWords {
  const refusals = new WeakMap<Context, Refusal>()
  const protect = createProtect(verifier, {
    token,
    onRefusal(refusal, ctx) {
      log({ event: 'refused', ...describeRequest(ctx), refusal })
      refusals.set(ctx, refusal)
    },
  })
  const translate: Middleware<ApiState> = async (ctx, next) => {
    await next()
    const refusal = refusals.get(ctx)
    // 503 says that nothing is wrong with the token.
    if (refusal === undefined || ctx.status === 503) return
    say(ctx, refusal)
    if (ctx.status !== 401) ctx.remove('WWW-Authenticate')
  }
  return (policy = {}) => [translate, protect(policy)]
}

const parseTokenBody = bodyParser({
  // A body with GET has no meaning of its own (RFC 9110 §9.3.1), but these clients send one.
  parsedMethods: ['GET'],
  enableTypes: ['json'],
  jsonLimit: MAX_BODY,
  onError: ({ status }: Error & { readonly status?: number }, ctx) =>
    ctx.throw(status === 413 ? status : 400),
})
const readTokenBody: Middleware<ApiState> = (ctx, next) => parseTokenBody(ctx, next)

/** That `username` is there, the verifier has checked; it is answered, so it is a text. */
const WITH_USERNAME: ClaimsSchema<AccessTokenClaims> = {
  '~standard': {
    version: 1,
    vendor: 'portreeve',
    validate(value) {
      const claims = value as AccessTokenClaims
      return typeof claims['username'] === 'string'
        ? { value: claims }
        : { issues: [{ message: 'expected a text', path: ['username'] }] }
    },
  },
}

function isAdmin({ claims }: Auth): boolean {
  return claims['role'] === 'admin'
}
