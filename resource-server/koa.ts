import type { IncomingMessage } from 'node:http'
import type { Context, Middleware } from 'koa'
import { describeRefusal } from './challenge.ts'
import type { Auth } from './claims.ts'
import type { Refusal, Result } from './errors.ts'
import { readNames, refuseUnknownOptions } from './options.ts'
import type { Verifier } from './token-verifier.ts'

/** What `protect` puts into `ctx.state`. */
export interface AuthState {
  auth: Auth
}

/** What a request needs to reach what is behind `protect`. */
export interface RoutePolicy {
  /** Scopes that the token must have, all of them: a list, or one text with spaces between. */
  readonly scope?: string | readonly string[]
  /** Roles of which the token must have one. */
  readonly roles?: string | readonly string[]
  /** In place of the verifier's audience: the token must be for one of these. */
  readonly audience?: string | readonly string[]
}

export interface ProtectOptions {
  /**
   * Told of every refusal, for the operator's log: the facts say more than the answer does. They hold
   * no token, but quote what a stranger sent. What it throws ends the request with an error.
   */
  readonly onRefusal?: (refusal: Refusal, ctx: Context) => void
}

/** Makes a middleware that lets only requests through that the policy allows. */
export type Protect = (policy?: RoutePolicy) => Middleware<AuthState>

/** Characters of RFC 6749 §3.3: no space, quote or backslash, so a challenge can quote it. */
const SCOPE_TOKEN = /^[\x21\x23-\x5B\x5D-\x7E]+$/

/**
 * Makes `protect`, which guards Koa routes with a verifier. Behind it, `ctx.state.auth` says who is
 * asking; a request that is refused is answered as RFC 6750 says and goes no further.
 *
 * A token is taken from the `Authorization` header alone, never from the query or the body.
 *
 * Throws a `TypeError` that names the option, also from `protect`, for options that cannot be right.
 */
export function createProtect(verifier: Verifier, options: ProtectOptions = {}): Protect {
  refuseUnknownOptions('createProtect', options, ['onRefusal'])
  return (policy = {}) => {
    const requirements = readPolicy(policy)
    return async (ctx, next) => {
      const decision = await decide(verifier, ctx.req, ctx.querystring, requirements)
      if (decision.ok) {
        ctx.state.auth = decision.value
        await next()
        return
      }
      options.onRefusal?.(decision.reason, ctx)
      const { status, headers, body } = describeRefusal(decision.reason)
      ctx.status = status
      ctx.set({ ...headers, 'Cache-Control': 'no-store' })
      ctx.body = body
    }
  }
}

interface Requirements {
  readonly scopes: readonly string[]
  readonly roles: readonly string[] | undefined
  readonly audiences: readonly string[] | undefined
}

function readPolicy(policy: RoutePolicy): Requirements {
  refuseUnknownOptions('protect', policy, ['scope', 'roles', 'audience'])
  const { scope, roles, audience } = policy
  const scopes = scope === undefined ? [] : readNames('scope', scope).flatMap((s) => s.split(' '))
  const wrong = scopes.find((name) => !SCOPE_TOKEN.test(name))
  if (wrong !== undefined) {
    throw new TypeError(`scope: expected scopes of RFC 6749 §3.3, not ${JSON.stringify(wrong)}`)
  }
  return {
    scopes,
    roles: roles === undefined ? undefined : readNames('roles', roles),
    audiences: audience === undefined ? undefined : readNames('audience', audience),
  }
}

async function decide(
  verifier: Verifier,
  req: IncomingMessage,
  query: string,
  { scopes, roles, audiences }: Requirements,
): Promise<Result<Auth, Refusal>> {
  const token = readBearerToken(req, query)
  if (!token.ok) return token
  const verified = await verifier.verify(token.value, audiences ? { audiences } : {})
  if (!verified.ok) return verified
  const auth = verified.value
  const missing = scopes.filter((scope) => !auth.scopes.has(scope))
  if (missing.length > 0) {
    return { ok: false, reason: { kind: 'insufficient_scope', needed: scopes, missing } }
  }
  if (roles && !roles.some((role) => auth.roles.has(role))) {
    return { ok: false, reason: { kind: 'insufficient_role', oneOf: roles } }
  }
  return { ok: true, value: auth }
}

/** RFC 6750 §2.1, and §3.1: a request that sends a token in more than one way is malformed. */
function readBearerToken(req: IncomingMessage, query: string): Result<string, Refusal> {
  const { authorization } = req.headers
  // Node keeps the first of several and drops the others without a word.
  if (countAuthorizationHeaders(req) > 1) {
    return malformedRequest('More than one Authorization header was sent.')
  }
  if (authorization === undefined || !/^bearer(?: |$)/i.test(authorization)) {
    return { ok: false, reason: { kind: 'no_token' } }
  }
  const [, token] = /^bearer +([\x21-\x7E]+)$/i.exec(authorization) ?? []
  if (token === undefined) return malformedRequest('Send one access token after Bearer.')
  if (new URLSearchParams(query).has('access_token')) {
    return malformedRequest(
      'The access token was sent in the query as well. It does not belong there.',
    )
  }
  return { ok: true, value: token }
}

function countAuthorizationHeaders({ rawHeaders }: IncomingMessage): number {
  return rawHeaders.filter(
    (name, index) => index % 2 === 0 && name.toLowerCase() === 'authorization',
  ).length
}

function malformedRequest(why: string): { readonly ok: false; readonly reason: Refusal } {
  return { ok: false, reason: { kind: 'malformed_request', why } }
}
