import { errors, type KoaContextWithOIDC } from 'oidc-provider'
import { readForm } from '../form.ts'
import type { PrivateJwk } from '../keys/keyset.ts'
import type { RevocationStore } from '../revocation/revocation.ts'
import { BACKCHANNEL_PATH, denyUserCodes } from './ciba.ts'
import { clientOf } from './clients.ts'
import {
  createDeviceMiddleware,
  DEVICE_AUTHORIZATION_PATH,
  DEVICE_PATH,
  type DeviceAnswerCollaborators,
} from './device.ts'
import type { EngineMiddleware, Next } from './engine-middleware.ts'
import { toEngineError } from './errors.ts'
import { readFormPost } from './internals.ts'
import { createIntrospection } from './introspection.ts'
import type { IssuedTokens } from './issued-token.ts'
import { describeReturn } from './pending.ts'
import {
  cachePublicDocuments,
  createKeySetAnswer,
  createMetadataAnswer,
  leaveEmptyListsOut,
  type DocumentCollaborators,
} from './public-documents.ts'
import { refuse } from './refuse.ts'
import { refuseDeepRequest } from './request-objects.ts'
import {
  createInteractionMemory,
  createResumeEnd,
  createResumeGuard,
  type ResumptionCollaborators,
} from './resumption.ts'
import { createRevocation } from './revocation.ts'
import { createSignOut, type SignOutCollaborators } from './sign-out.ts'
import { createSignedIntrospection } from './signed-introspection.ts'
import { createTokenRequests, type TokenRequestCollaborators } from './token-requests.ts'
import { createLastUseRecorder, createUseRecorder, type UseCollaborators } from './use-recorders.ts'

/** Endpoints that programs call: they get JSON whatever they say they accept. */
const MACHINE_PATHS = new Set([
  '/token',
  '/request',
  '/introspect',
  '/revoke',
  '/userinfo',
  '/jwks',
  DEVICE_AUTHORIZATION_PATH,
  BACKCHANNEL_PATH,
  '/.well-known/openid-configuration',
  '/.well-known/oauth-authorization-server',
])
const METHODS: Readonly<Record<string, string>> = {
  '/token': 'POST',
  '/request': 'POST',
  '/introspect': 'POST',
  '/revoke': 'POST',
  '/jwks': 'GET',
  '/userinfo': 'GET, POST',
  '/auth': 'GET, POST',
  [DEVICE_AUTHORIZATION_PATH]: 'POST',
  [BACKCHANNEL_PATH]: 'POST',
  [DEVICE_PATH]: 'GET, POST',
  '/session/end': 'GET, POST',
  '/session/end/confirm': 'POST',
  '/.well-known/openid-configuration': 'GET',
  '/.well-known/oauth-authorization-server': 'GET',
}
/** Where clients prove who they are. */
const CLIENT_PATHS = new Set([
  '/token',
  '/request',
  '/introspect',
  '/revoke',
  DEVICE_AUTHORIZATION_PATH,
  BACKCHANNEL_PATH,
])

export interface EngineMiddlewareCollaborators
  extends
    DeviceAnswerCollaborators,
    DocumentCollaborators,
    ResumptionCollaborators,
    SignOutCollaborators,
    TokenRequestCollaborators,
    UseCollaborators {
  readonly revocations: RevocationStore
  readonly issued: IssuedTokens
  readonly signingKeys: readonly PrivateJwk[]
}

/** What runs around the engine's own routes, outermost first. */
export function createEngineMiddleware(
  collaborators: EngineMiddlewareCollaborators,
): readonly EngineMiddleware[] {
  return [
    answerMachinesInJson,
    createFailureAnswer(collaborators),
    createNotFound(collaborators),
    takeExactPathsOnly,
    createPostedRequest(collaborators),
    createQueryBound(collaborators),
    createFormPostPage(collaborators),
    createResumeGuard(collaborators),
    createResumeEnd(collaborators),
    createInteractionMemory(collaborators),
    cachePublicDocuments,
    leaveEmptyListsOut,
    createKeySetAnswer(collaborators),
    createMetadataAnswer(collaborators),
    denyUserCodes,
    refuseDeepRequest,
    takeEmptyBasicPassword,
    createUseRecorder(collaborators),
    createLastUseRecorder(collaborators),
    createTokenRequests(collaborators),
    createSignedIntrospection(collaborators),
    createIntrospection(collaborators.issued),
    createRevocation(collaborators),
    createSignOut(collaborators),
    ...createDeviceMiddleware(collaborators),
  ]
}

/**
 * What fails outside of the engine's own error handling, in the unit of work or when a session is
 * saved, would otherwise be answered without our headers, the request's id among them.
 */
function createFailureAnswer(collaborators: EngineMiddlewareCollaborators): EngineMiddleware {
  const { events, log } = collaborators
  return async (ctx, next) => {
    try {
      await next()
    } catch (error) {
      const known = toEngineError(error, () => {})
      if (known instanceof errors.OIDCProviderError && known.expose) {
        const { status, error: code, error_description: description = '' } = known
        const detail = known.error_detail ?? description
        events.requestRefused({ endpoint: ctx.path, error: code, detail })
        refuse(collaborators, ctx, status, code, description)
      } else {
        log.error({ event: 'server_error', err: error })
        refuse(collaborators, ctx, 500, 'server_error', 'Something went wrong.')
      }
    }
    if (ctx.status === 503) ctx.set('Retry-After', '1')
    if (ctx.status >= 500) forgetAnswer(ctx)
  }
}

/**
 * The answer that was being made when it failed: its cookies may name a session that could not be saved,
 * or forget what the browser has to come back with.
 */
function forgetAnswer(ctx: KoaContextWithOIDC): void {
  ctx.remove('Set-Cookie')
  ctx.remove('Location')
}

function createNotFound(collaborators: EngineMiddlewareCollaborators): EngineMiddleware {
  return async (ctx, next) => {
    await next()
    if (ctx.status !== 404 || ctx.body) return
    const allowed = METHODS[ctx.path]
    if (allowed === undefined || allowed.split(', ').includes(ctx.method)) {
      refuse(collaborators, ctx, 404, 'not_found', 'There is nothing at this address.')
    } else {
      ctx.set('Allow', allowed)
      refuse(collaborators, ctx, 405, 'method_not_allowed', `Use ${allowed} here.`)
    }
  }
}

/**
 * The engine's router takes any case and a slash at the end: `/TOKEN/` would pass by everything that
 * goes by the path, here (the unit of work) and in a proxy (a rate limit).
 */
async function takeExactPathsOnly({ path }: KoaContextWithOIDC, next: Next): Promise<void> {
  // An interaction's id has capitals.
  const fixed = path.replace(/^\/(auth|device)\/[\w-]+$/, '/$1')
  if (fixed === fixed.toLowerCase() && !fixed.endsWith('/')) await next()
}

/** Where browsers may come with a form of another site. */
const POSTED_PATHS = new Set(['/auth', '/session/end'])

/** In characters. A stranger's request is kept for as long as a person may take to sign in. */
const MAX_QUERY = 8192
const MAX_STATE = 4096

/**
 * A request may come as a form, one to sign out as well. A browser sends no `SameSite=Lax` cookie with a form of another site, and
 * the person would seem to be signed out, so it is sent on to where it is sent with.
 *
 * @see {@link https://openid.net/specs/openid-connect-core-1_0.html#AuthRequest OpenID Connect Core §3.1.2.1}
 * @see {@link https://openid.net/specs/openid-connect-rpinitiated-1_0.html#RPLogout RP-Initiated Logout §2}
 */
function createPostedRequest(collaborators: EngineMiddlewareCollaborators): EngineMiddleware {
  return async (ctx, next) => {
    if (!POSTED_PATHS.has(ctx.path) || ctx.method !== 'POST') {
      await next()
      return
    }
    const form = await readForm(ctx)
    if (form.ok) {
      ctx.status = 303
      ctx.set('Cache-Control', 'no-store')
      ctx.set('Location', `${ctx.path}?${new URLSearchParams([...form.value]).toString()}`)
      return
    }
    const { status, text } = form.reason
    collaborators.events.requestRefused({
      endpoint: ctx.path,
      error: 'invalid_request',
      detail: text,
    })
    refuse(collaborators, ctx, status, 'invalid_request', text)
  }
}

function createQueryBound(collaborators: EngineMiddlewareCollaborators): EngineMiddleware {
  return async (ctx, next) => {
    const { querystring } = ctx
    const state = new URLSearchParams(querystring).get('state') ?? ''
    if (querystring.length <= MAX_QUERY && state.length <= MAX_STATE) {
      await next()
      return
    }
    const error = 'invalid_request'
    const detail =
      state.length > MAX_STATE
        ? `state: at most ${MAX_STATE} characters, not ${state.length}`
        : `the query: at most ${MAX_QUERY} characters, not ${querystring.length}`
    collaborators.events.requestRefused({ endpoint: ctx.path, error, detail })
    refuse(collaborators, ctx, 400, error, detail)
  }
}

/** The engine's own page has a button only where there are no scripts at all, not where one fails. */
function createFormPostPage({ pages }: EngineMiddlewareCollaborators): EngineMiddleware {
  return async (ctx, next) => {
    await next()
    const form = readFormPost(ctx)
    if (!form) return
    const returnTo = describeReturn(form.action)
    ctx.body = pages.formPost({ ...form, returnTo, clientName: clientOf(ctx)?.name })
  }
}

async function answerMachinesInJson(ctx: KoaContextWithOIDC, next: Next): Promise<void> {
  if (MACHINE_PATHS.has(ctx.path)) {
    ctx.state['accept'] = ctx.req.headers.accept
    ctx.req.headers.accept = 'application/json'
  }
  await next()
}

async function takeEmptyBasicPassword(ctx: KoaContextWithOIDC, next: Next): Promise<void> {
  const encoded = /^basic +([A-Za-z0-9+/]+={0,2})$/i.exec(ctx.get('authorization'))?.[1]
  const [id, secret] = Buffer.from(encoded ?? '', 'base64')
    .toString('utf8')
    .split(/:(.*)/s)
  if (CLIENT_PATHS.has(ctx.path) && id !== undefined && id !== '' && secret === '') {
    delete ctx.req.headers.authorization
    ctx.state['emptyBasicClientId'] = decodeFormComponent(id)
  }
  await next()
}

/** RFC 6749 §2.3.1: id and secret are form-encoded before they are joined. */
function decodeFormComponent(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return text
  }
}
