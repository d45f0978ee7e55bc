import type { Context, Middleware } from 'koa'
import type { AccessTokenClaims, Auth } from './claims.ts'
import type { Refusal } from './errors.ts'
import type { RequestFacts } from './extractors.ts'
import {
  createGuardMaker,
  GUARD_OPTIONS,
  type GuardOptions,
  type PolicyWithSchema,
} from './guard.ts'
import { refuseUnknownOptions } from './options.ts'
import type { RoutePolicy } from './policy.ts'
import type { Verifier } from './token-verifier.ts'

/** What `protect` puts into `ctx.state`. */
export interface AuthState<Claims = AccessTokenClaims> {
  auth: Auth<Claims>
}

export interface ProtectOptions extends GuardOptions<Context> {
  /**
   * Told of every refusal, for the operator's log: the facts say more than the answer does. They hold
   * no token, but quote what a stranger sent. What it throws ends the request with an error.
   */
  readonly onRefusal?: (refusal: Refusal, ctx: Context) => void
}

/**
 * Makes a middleware that lets only requests through that the policy allows. The claims have another
 * type than RFC 9068's only where a schema has looked at them.
 */
export interface Protect {
  <Claims>(policy: PolicyWithSchema<Claims, Context>): Middleware<AuthState<Claims>>
  (policy?: RoutePolicy<AccessTokenClaims, Context>): Middleware<AuthState>
}

/** Middlewares that say who may come in; `assertProtected` looks for them. */
const DECLARED = new WeakSet<object>()

/**
 * Makes `protect`, which guards Koa routes with a verifier. Behind it, `ctx.state.auth` says who is
 * asking; a request that is refused is answered as RFC 6750 says and goes no further.
 *
 * Throws a `TypeError` that names the option, also from `protect`, for options that cannot be right.
 */
export function createProtect(verifier: Verifier, options: ProtectOptions = {}): Protect {
  const { onRefusal, ...guardOptions } = options
  refuseUnknownOptions('createProtect', options, [...GUARD_OPTIONS, 'onRefusal'])
  const createGuard = createGuardMaker<Context>(verifier, guardOptions)
  if (onRefusal !== undefined && typeof onRefusal !== 'function') {
    throw new TypeError('onRefusal: expected a function')
  }
  return <Claims>(policy?: RoutePolicy<Claims, Context>) => {
    const guard = createGuard(policy === undefined ? {} : policy)
    const middleware: Middleware<AuthState<Claims>> = async (ctx, next) => {
      const decided = guard.decide(readFacts(ctx), ctx)
      const decision = decided instanceof Promise ? await decided : decided
      if (decision.ok) {
        if (decision.headers !== undefined) ctx.set(decision.headers)
        ctx.state.auth = decision.value
        await next()
        return
      }
      onRefusal?.(decision.reason, ctx)
      const { status, headers: answered, body: answer } = decision.answer
      ctx.status = status
      ctx.set(answered)
      ctx.body = answer
    }
    DECLARED.add(middleware)
    return middleware
  }
}

/** Node makes `headers` only for who asks for them: the request itself goes on where it says it all. */
function readFacts({ req, request, originalUrl }: Context): RequestFacts {
  const { body } = request as { readonly body?: unknown }
  if (body === undefined && originalUrl === req.url) return req
  const { method, url, rawHeaders, headers, socket } = req
  return { method, url, originalUrl, rawHeaders, headers, socket, body, request: req }
}

const letEverybodyIn: Middleware = (_ctx, next) => next()
DECLARED.add(letEverybodyIn)

/** The policy of a route that everybody may use: it says so where `assertProtected` looks. */
export function publicRoute(): Middleware {
  return letEverybodyIn
}

/** What `assertProtected` reads of a router of @koa/router. */
export interface RouterLike {
  readonly stack: readonly {
    readonly methods: readonly string[]
    readonly path: string | RegExp
    readonly stack: readonly object[]
  }[]
}

/**
 * Throws where a router has a route without a policy, naming each of them: call it when all routes are
 * there, before the server listens. A route has one where `protect(…)` or `publicRoute()` stands in
 * front of its own handlers, those of the routers that are nested in it included. One that is there for
 * all routes of an app, by `app.use`, is not seen here, and none is needed then; nor is one that is
 * there by `router.use`: put it into each route.
 *
 * What answers before the policy is as open as what has none: a function in front of it, there or by
 * `router.use`, that takes no `next` and so cannot go on; and what `router.param` looks up, which
 * comes before all that the route itself has. Both are refused.
 *
 * **Does not see** whether a function that takes `next` calls it: what stands in front of a policy, such
 * as a parser of bodies, must not answer for itself. Nor what is added later, what `router.on` answers
 * where no route fits, and what other middleware of the app does.
 */
export function assertProtected(router: RouterLike): void {
  if (!Array.isArray(router?.stack)) {
    throw new TypeError('assertProtected: expected a router of @koa/router, not an app')
  }
  const open = router.stack.filter(isOpen)
  if (open.length === 0) return
  const names = open.map(({ methods, path }) => `${methods.join(',') || 'use'} ${String(path)}`)
  throw new TypeError(
    `no policy: ${names.join('; ')}. Put protect(…) or publicRoute() in front of all that answers.`,
  )
}

/** A layer without methods is what `router.use` has put in front of routes, and needs no policy itself. */
function isOpen({ methods, stack }: RouterLike['stack'][number]): boolean {
  const at = stack.findIndex((one) => DECLARED.has(one))
  const isRoute = methods.length > 0
  // The last one is what answers: a policy in its place would come too late.
  if (isRoute && (at === -1 || at === stack.length - 1)) return true
  if (stack[at] === letEverybodyIn) return false
  const inFront = at === -1 ? stack : stack.slice(0, at)
  return inFront.some((one) => isLookUp(one) || !takesNext(one))
}

/** What `router.param` puts in front of a route has the name of the parameter on it. */
function isLookUp(middleware: object): boolean {
  return 'param' in middleware
}

function takesNext(middleware: object): boolean {
  return typeof middleware === 'function' && middleware.length >= 2
}
