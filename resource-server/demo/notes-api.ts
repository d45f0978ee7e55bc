import { Router } from '@koa/router'
import Koa, { type Context, type Middleware } from 'koa'
import {
  createDpopNonces,
  createDpopVerifier,
  createProtect,
  listDetails,
  type Auth,
  type Verifier,
} from '../index.ts'
import {
  answer,
  answerErrors,
  describeRequest,
  identifyRequests,
  parseJson,
  readObject,
  type ApiState,
} from './answers.ts'
import { MAX_NOTES, type NoteStore, type Whose } from './notes-store.ts'
import type { Log } from './serve.ts'

const MAX_TEXT_LENGTH = 2000

export interface NotesApiOptions {
  /**
   * Where clients reach it: proofs of a key name it (RFC 9449 §4.3). Where absent, tokens that are bound
   * to a key are refused.
   */
  readonly publicUrl?: string
  /** How long ago people may have signed in who delete all their notes at once. Default: 300. */
  readonly signInMaxAgeSeconds?: number
}

/** How Portreeve names a sign-in by password (RFC 9470 §4). */
const ACR_PASSWORD = 'urn:portreeve:acr:password'
const SIGN_IN_MAX_AGE_SECONDS = 300
/** What people agree to in detail before notes go anywhere (RFC 9396): `to`, and how many at most. */
const EXPORT_TYPE = 'notes_export'

/** Notes that belong to people: what one writes, no other one sees, but an admin. */
export function createNotesApi(
  verifier: Verifier,
  store: NoteStore,
  log: Log,
  options: NotesApiOptions = {},
): Koa<ApiState> {
  const app = new Koa<ApiState>()
  const router = createRoutes(verifier, store, log, options)
  app.use(identifyRequests)
  app.use(answerErrors(log))
  app.use(router.routes())
  app.use(router.allowedMethods())
  app.on('error', (error: Error) => log({ event: 'connection_error', error }))
  return app
}

function createRoutes(
  verifier: Verifier,
  store: NoteStore,
  log: Log,
  { publicUrl, signInMaxAgeSeconds: maxAgeSeconds = SIGN_IN_MAX_AGE_SECONDS }: NotesApiOptions,
): Router<ApiState> {
  const dpop = createDpopVerifier({ nonces: createDpopNonces() })
  const protect = createProtect(verifier, {
    ...(publicUrl === undefined ? {} : { sender: { dpop, publicUrl } }),
    onRefusal: (refusal, ctx) => log({ event: 'refused', ...describeRequest(ctx), refusal }),
  })
  const ownReader = protect({ scope: 'notes:read' })
  /** `notes:read:all` is enough to read as well. */
  const reader: Middleware<ApiState> = (ctx, next) =>
    ctx.state.auth.scopes.has('notes:read:all') ? next() : ownReader(ctx, next)
  const read = [protect(), reader]
  const write = [protect({ scope: 'notes:write' }), requirePerson]
  /** Whoever finds a browser open, or a client that goes on by itself, must not get this far. */
  const signedInLately = protect({ acr: ACR_PASSWORD, maxAgeSeconds })
  const parseBody = parseJson()

  const router = new Router<ApiState>({ strict: true, sensitive: true })
  router.get('/healthz', (ctx) => {
    ctx.body = { status: 'ok' }
  })
  router.get('/notes', ...read, (ctx) => {
    ctx.body = { notes: store.list(whatMayRead(ctx.state.auth)) }
  })
  router.get('/notes/:id', ...read, (ctx) => {
    const note = store.find(idOf(ctx), whatMayRead(ctx.state.auth))
    if (note) ctx.body = note
  })
  router.post('/notes', ...write, ...parseBody, (ctx) => {
    const text = readText(ctx)
    if (text === undefined) return
    const note = store.add(ctx.state.auth.subject, text)
    if (note === undefined) {
      answer(
        ctx,
        409,
        'limit_reached',
        `Nobody may have more than ${MAX_NOTES} notes. Delete some first.`,
      )
      return
    }
    ctx.status = 201
    ctx.set('Location', `/notes/${note.id}`)
    ctx.body = note
  })
  router.post('/exports', ...read, requirePerson, ...parseBody, (ctx) => {
    const to = readPlace(ctx)
    if (to === undefined) return
    const { length } = store.list({ owner: ctx.state.auth.subject })
    const isAgreed = listDetails(ctx.state.auth, EXPORT_TYPE).some(
      (agreed) =>
        agreed['to'] === to && typeof agreed['notes'] === 'number' && length <= agreed['notes'],
    )
    if (!isAgreed) {
      answer(
        ctx,
        403,
        'not_agreed',
        `Nobody has agreed to ${length === 1 ? 'a note' : `${length} notes`} for that place.`,
      )
      return
    }
    ctx.status = 201
    ctx.body = { to, notes: length }
  })
  router.put('/notes/:id', ...write, ...parseBody, (ctx) => {
    const text = readText(ctx)
    if (text === undefined) return
    const note = store.update(idOf(ctx), text, whatMayWrite(ctx.state.auth))
    if (note) ctx.body = note
  })
  router.delete('/notes/:id', ...write, (ctx) => {
    if (store.remove(idOf(ctx), whatMayWrite(ctx.state.auth))) ctx.status = 204
  })
  router.delete('/notes', ...write, signedInLately, (ctx) => {
    store.clear(ctx.state.auth.subject)
    ctx.status = 204
  })
  return router
}

function whatMayRead(auth: Auth): Whose {
  return auth.scopes.has('notes:read:all') ? 'everyone' : whatMayWrite(auth)
}

function whatMayWrite(auth: Auth): Whose {
  const isAdmin = auth.kind === 'person' && auth.roles.has('admin')
  return isAdmin ? 'everyone' : { owner: auth.subject }
}

const requirePerson: Middleware<ApiState> = (ctx, next) => {
  if (ctx.state.auth.kind === 'person') return next()
  answer(ctx, 403, 'access_denied', 'Notes belong to people: a service writes none.')
  return undefined
}

/** Where notes are to go, or `undefined` once the request has been answered with what is wrong. */
function readPlace(ctx: Context): string | undefined {
  const body = readObject(ctx)
  if (body === undefined) return undefined
  const { to, ...others } = body
  const isRight = typeof to === 'string' && to.length <= 200 && Object.keys(others).length === 0
  if (isRight) return to
  answer(ctx, 400, 'invalid_request', 'expected to, a place of at most 200 characters.')
  return undefined
}

/** The text of a note, or `undefined` once the request has been answered with what is wrong. */
function readText(ctx: Context): string | undefined {
  const body = readObject(ctx)
  if (body === undefined) return undefined
  const { text, ...others } = body
  const [unknown] = Object.keys(others)
  const mistake =
    unknown === undefined
      ? findMistake(text)
      : `A note has no member ${JSON.stringify(unknown.slice(0, 100))}, only text.`
  if (mistake === undefined) return text as string
  answer(ctx, 400, 'invalid_request', mistake)
  return undefined
}

function findMistake(text: unknown): string | undefined {
  if (typeof text !== 'string') return 'text: expected a text.'
  const { length } = Array.from(text)
  if (length < 1 || length > MAX_TEXT_LENGTH) {
    return `text: expected 1 to ${MAX_TEXT_LENGTH} characters, not ${length}.`
  }
  // What a decoder leaves in the place of bytes that are not UTF-8: the text is damaged already.
  return text.isWellFormed() && !/[\uFFFD\0]/.test(text)
    ? undefined
    : 'text: expected UTF-8 without NUL.'
}

function idOf(ctx: Context & { readonly params: Readonly<Record<string, string>> }): string {
  return ctx.params['id'] ?? ''
}
