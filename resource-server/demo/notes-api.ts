import { randomUUID } from 'node:crypto'
import { bodyParser } from '@koa/bodyparser'
import { Router } from '@koa/router'
import Koa, { type Context, type Middleware } from 'koa'
import { createProtect, type Auth, type AuthState, type Verifier } from '../index.ts'
import { MAX_NOTES, type NoteStore, type Whose } from './notes-store.ts'

/** One line for the operator. */
export type Log = (entry: Readonly<Record<string, unknown>>) => void

interface State extends AuthState {
  requestId: string
}

const MAX_BODY = '16kb'
const MAX_TEXT_LENGTH = 2000
const DESCRIPTIONS: Readonly<Record<number, string>> = {
  400: 'The body is not a JSON object.',
  404: 'There is nothing here.',
  405: 'This method does nothing here.',
  413: 'The body is larger than 16 KiB.',
  415: 'Send the body as application/json, in UTF-8.',
}

/** Notes that belong to people: what one writes, no other one sees, but an admin. */
export function createNotesApi(verifier: Verifier, store: NoteStore, log: Log): Koa<State> {
  const app = new Koa<State>()
  const router = createRoutes(verifier, store, log)
  app.use(identifyRequests)
  app.use(answerErrors(log))
  app.use(router.routes())
  app.use(router.allowedMethods())
  app.on('error', (error: Error) => log({ event: 'connection_error', error }))
  return app
}

function createRoutes(verifier: Verifier, store: NoteStore, log: Log): Router<State> {
  const protect = createProtect(verifier, {
    onRefusal: (refusal, ctx) => log({ event: 'refused', ...describeRequest(ctx), refusal }),
  })
  const ownReader = protect({ scope: 'notes:read' })
  /** `notes:read:all` is enough to read as well. */
  const reader: Middleware<State> = (ctx, next) =>
    ctx.state.auth.scopes.has('notes:read:all') ? next() : ownReader(ctx, next)
  const read = [protect(), reader]
  const write = [protect({ scope: 'notes:write' }), requirePerson]
  const parseBody = [
    requireJson,
    bodyParser({ enableTypes: ['json'], jsonLimit: MAX_BODY, onError: refuseBody }),
  ]

  const router = new Router<State>({ strict: true, sensitive: true })
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
  router.put('/notes/:id', ...write, ...parseBody, (ctx) => {
    const text = readText(ctx)
    if (text === undefined) return
    const note = store.update(idOf(ctx), text, whatMayWrite(ctx.state.auth))
    if (note) ctx.body = note
  })
  router.delete('/notes/:id', ...write, (ctx) => {
    if (store.remove(idOf(ctx), whatMayWrite(ctx.state.auth))) ctx.status = 204
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

const requirePerson: Middleware<State> = (ctx, next) => {
  if (ctx.state.auth.kind === 'person') return next()
  answer(ctx, 403, 'access_denied', 'Notes belong to people: a service writes none.')
  return undefined
}

const requireJson: Middleware<State> = (ctx, next) => {
  const isUtf8 = /^(utf-8)?$/i.test(ctx.request.charset)
  if (isUtf8 && ctx.is('application/json') === 'application/json') return next()
  ctx.status = 415
  return undefined
}

/** Whatever a body cannot be read for is its sender's fault: not every such error says so. */
function refuseBody({ status }: Error & { readonly status?: number }, ctx: Context): void {
  ctx.throw(status === 413 || status === 415 ? status : 400)
}

/** The text of a note, or `undefined` once the request has been answered with what is wrong. */
function readText(ctx: Context): string | undefined {
  const body: unknown = ctx.request.body
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    ctx.status = 400
    return undefined
  }
  const { text, ...others } = body as Record<string, unknown>
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

const identifyRequests: Middleware<State> = async (ctx, next) => {
  ctx.state.requestId = randomUUID()
  ctx.set({
    'X-Request-Id': ctx.state.requestId,
    'X-Content-Type-Options': 'nosniff',
    'Cache-Control': 'no-store',
  })
  await next()
}

/** Gives an error that has no body yet one, and an unexpected error nothing but its request id. */
function answerErrors(log: Log): Middleware<State> {
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

function answer(ctx: Context, status: number, error: string, description?: string): void {
  ctx.status = status
  ctx.body = { error, ...(description === undefined ? {} : { error_description: description }) }
}

/** Never the query: somebody may have put a token there. */
function describeRequest({ method, path, state }: Context): Readonly<Record<string, unknown>> {
  return { requestId: state['requestId'], method, path: path.slice(0, 200) }
}

function idOf(ctx: Context & { readonly params: Readonly<Record<string, string>> }): string {
  return ctx.params['id'] ?? ''
}
