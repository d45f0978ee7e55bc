import { createHash } from 'node:crypto'
import { errors, type KoaContextWithOIDC, type Provider } from 'oidc-provider'
import type { ClientStore } from '../clients/client.ts'
import type { RegistrationStore } from '../clients/registration.ts'
import type { Clock } from '../clock.ts'
import { readForm } from '../form.ts'
import type { PrivateJwk, PublicJwk } from '../keys/keyset.ts'
import { JWKS_LIFETIME_SECONDS } from '../keys/rotate.ts'
import type { Logger } from '../log.ts'
import type { BeginIssuance } from '../revocation/issuance.ts'
import type { RevocationStore } from '../revocation/revocation.ts'
import { BACKCHANNEL_PATH, denyUserCodes } from './ciba.ts'
import { clientOf } from './clients.ts'
import {
  createDeviceMiddleware,
  DEVICE_AUTHORIZATION_PATH,
  DEVICE_PATH,
  type DeviceAnswerCollaborators,
} from './device.ts'
import { toEngineError } from './errors.ts'
import { tellByFrames } from './frontchannel.ts'
import type { Identifiers } from './identifiers.ts'
import { readEndedSession, readFormPost, readLeftClient } from './internals.ts'
import { createIntrospection } from './introspection.ts'
import type { IssuedTokens } from './issued-token.ts'
import type { LastUses } from './last-use.ts'
import type { MtlsSettings } from './mtls.ts'
import {
  forgetInteraction,
  forgetInteractions,
  isOwnInteraction,
  rememberInteraction,
} from './own-interactions.ts'
import { describeReturn } from './pending.ts'
import { refuseDeepRequest } from './request-objects.ts'
import { createRevocation } from './revocation.ts'
import { createSignedIntrospection } from './signed-introspection.ts'
import { createTokenRequests } from './token-requests.ts'
import { collectLateWrites, collectWrites } from './unit-of-work.ts'

type Next = () => Promise<unknown>
export type EngineMiddleware = (ctx: KoaContextWithOIDC, next: Next) => Promise<void>

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
const PUBLIC_DOCUMENTS = new Set(['jwks', 'discovery'])

export interface EngineMiddlewareCollaborators extends DeviceAnswerCollaborators {
  readonly revocations: RevocationStore
  readonly issued: IssuedTokens
  readonly beginIssuance: BeginIssuance
  readonly requestId: () => string
  readonly log: Logger
  readonly clock: Clock
  readonly publishedKeys: readonly PublicJwk[]
  readonly signingKeys: readonly PrivateJwk[]
  readonly mtls: MtlsSettings | undefined
  readonly clients: Pick<ClientStore, 'findById'>
  readonly registrations: Pick<RegistrationStore, 'recordUse'>
  readonly lastUses: LastUses
  readonly identifiers: Pick<Identifiers, 'grantId'>
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

function refuse(
  { pages, requestId }: EngineMiddlewareCollaborators,
  ctx: KoaContextWithOIDC,
  status: number,
  error: string,
  description: string,
): void {
  ctx.status = status
  ctx.set('Cache-Control', 'no-store')
  if (ctx.accepts('json', 'html') === 'html') {
    ctx.type = 'html'
    ctx.body = pages.error({ status, error, description, requestId: requestId() })
  } else {
    ctx.type = 'json'
    ctx.body = { error, error_description: description }
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

function isResumed({ path }: KoaContextWithOIDC): boolean {
  return path.startsWith('/auth/') || path.startsWith(`${DEVICE_PATH}/`)
}

/** The interaction that the engine would go on with: it goes by this cookie, not by the path. */
function readResumed(ctx: KoaContextWithOIDC): string | undefined {
  if (!isResumed(ctx)) return undefined
  const engine = ctx.app as Provider
  return ctx.cookies.get(engine.cookieName('resume'), { signed: true })
}

/** Goes on only with what this browser has started: an answered interaction signs somebody in. */
function createResumeGuard(collaborators: EngineMiddlewareCollaborators): EngineMiddleware {
  return async (ctx, next) => {
    const uid = readResumed(ctx)
    if (uid === undefined || isOwnInteraction(ctx, uid)) {
      await next()
      return
    }
    const error = 'invalid_request'
    const detail = 'the interaction is over, or another browser has started it'
    collaborators.events.requestRefused({ endpoint: 'resume', error, detail })
    refuse(collaborators, ctx, 410, error, detail)
  }
}

/**
 * The interaction that a browser goes on with ends when the answer has gone out. If this process or a
 * connection breaks before, the browser or a proxy sends the request again, and finds it as it was.
 */
function createResumeEnd({ models, log }: EngineMiddlewareCollaborators): EngineMiddleware {
  return async (ctx, next) => {
    if (!isResumed(ctx)) {
      await next()
      return
    }
    const ends = await collectLateWrites(next)
    // A person who is told to try again has to find something to try.
    if (ctx.status >= 500) return
    ctx.res.once('finish', () => {
      models.apply(ends).catch((error: unknown) => {
        log.warn({ event: 'interaction_not_ended', err: error })
      })
    })
  }
}

function createInteractionMemory({ clock }: EngineMiddlewareCollaborators): EngineMiddleware {
  return async (ctx, next) => {
    const ended = readResumed(ctx)
    await next()
    if (ctx.status !== 303) return
    if (ended !== undefined) forgetInteraction(ctx, ended)
    const started = ctx.oidc?.entities.Interaction
    if (started && ctx.response.get('location') === `/interaction/${started.uid}`) {
      rememberInteraction(ctx, started, clock)
    }
  }
}

async function answerMachinesInJson(ctx: KoaContextWithOIDC, next: Next): Promise<void> {
  if (MACHINE_PATHS.has(ctx.path)) {
    ctx.state['accept'] = ctx.req.headers.accept
    ctx.req.headers.accept = 'application/json'
  }
  await next()
}

/** Keys and metadata change seldom, and a verifier that cannot reach us may go on with old ones. */
async function cachePublicDocuments(ctx: KoaContextWithOIDC, next: Next): Promise<void> {
  await next()
  if (!PUBLIC_DOCUMENTS.has(ctx.oidc?.route ?? '') || ctx.status !== 200) return
  const digest = createHash('sha256').update(JSON.stringify(ctx.body)).digest('base64url')
  ctx.set('Cache-Control', `public, max-age=${JWKS_LIFETIME_SECONDS}, stale-if-error=86400`)
  ctx.set('ETag', `"${digest.slice(0, 27)}"`)
  if (ctx.fresh) {
    ctx.status = 304
    ctx.body = null
  }
}

/** RFC 8414 §3.2: members without elements are left out. The engine has those of encrypted requests. */
async function leaveEmptyListsOut(ctx: KoaContextWithOIDC, next: Next): Promise<void> {
  await next()
  if (ctx.oidc?.route !== 'discovery' || ctx.status !== 200) return
  const members = Object.entries(ctx.body as Record<string, unknown>)
  ctx.body = Object.fromEntries(
    members.filter(([, value]) => !Array.isArray(value) || value.length > 0),
  )
}

/** The engine would publish every key that it has, those too that only check an old ID token. */
function createKeySetAnswer({ publishedKeys }: EngineMiddlewareCollaborators): EngineMiddleware {
  return async (ctx, next) => {
    await next()
    if (ctx.oidc?.route === 'jwks' && ctx.status === 200) ctx.body = { keys: publishedKeys }
  }
}

/** The engine would say that tokens are bound to certificates, whether or not any reach it. */
function createMetadataAnswer({ mtls }: EngineMiddlewareCollaborators): EngineMiddleware {
  return async (ctx, next) => {
    await next()
    if (mtls || ctx.oidc?.route !== 'discovery' || ctx.status !== 200) return
    const { tls_client_certificate_bound_access_tokens: _on, ...metadata } = ctx.body as object & {
      tls_client_certificate_bound_access_tokens?: boolean
    }
    ctx.body = metadata
  }
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

const DAY_MS = 86_400_000

/** A client that has registered itself and gets a token is in use. */
function createUseRecorder({
  registrations,
  clock,
  log,
}: EngineMiddlewareCollaborators): EngineMiddleware {
  return async (ctx, next) => {
    await next()
    if (ctx.path !== '/token' || ctx.status !== 200) return
    const client = clientOf(ctx)
    if (client?.owner !== 'dynamic') return
    const now = clock.now()
    // Its tokens are issued by now: it gets them all the same.
    await registrations.recordUse(client.id, now, now - DAY_MS).catch((error: unknown) => {
      log.warn({ event: 'use_not_recorded', err: error })
    })
  }
}

/** Of a session that a browser has come with, and of a grant that an app has got a token for. */
function createLastUseRecorder({
  lastUses,
  identifiers,
}: EngineMiddlewareCollaborators): EngineMiddleware {
  return async (ctx, next) => {
    await next()
    if (ctx.status >= 400) return
    const { session, entities } = ctx.oidc ?? {}
    if (session?.accountId !== undefined) {
      const visitor = { address: ctx.ip, userAgent: ctx.get('user-agent') }
      await lastUses.record({ kind: 'session', id: session.uid }, visitor)
    }
    if (ctx.path !== '/token' || entities?.Grant === undefined) return
    const id = identifiers.grantId(entities.Grant.jti)
    await lastUses.record({ kind: 'grant', id }, { address: ctx.ip, userAgent: undefined })
  }
}

/**
 * Signing out ends every row of the session: two tabs may have made two of them. Whoever stays signed in
 * leaves in all of them the client that asked. All of it is one commit: where it is cut off, the session
 * is still there to sign out of.
 */
function createSignOut(collaborators: EngineMiddlewareCollaborators): EngineMiddleware {
  const { models, events } = collaborators
  return async (ctx, next) => {
    if (ctx.path !== '/session/end/confirm') {
      await next()
      return
    }
    const writes = await collectWrites(async () => {
      await next()
    })
    if (ctx.status >= 500) return
    const ended = readEndedSession(ctx)
    const left = ctx.status < 400 ? readLeftClient(ctx) : undefined
    const end = ended === undefined ? [] : [{ kind: 'end-session', ...ended } as const]
    // Before the row that goes on is written, which is merged with those that are there.
    const leave = left === undefined ? [] : [{ kind: 'leave-session', ...left } as const]
    await models.apply([...leave, ...writes, ...end])
    if (ended === undefined) return
    const location = ctx.response.get('location')
    await tellByFrames(collaborators, ctx, ended.clients)
    // Who becomes somebody else signs out in between, and goes on.
    forgetInteractions(ctx, /\/(?:auth|device)\/([\w-]+)(?:\?|$)/.exec(location)?.[1])
    events.signedOut({
      accountId: ctx.oidc.session?.accountId,
      clientId: ctx.oidc.client?.clientId,
    })
  }
}
