import { bodyParser } from '@koa/bodyparser'
import Koa, { HttpError, type Context, type Middleware } from 'koa'
import { createAccess } from './access.ts'
import { createApi } from './api.ts'
import { createBindings } from './bindings.ts'
import type { Clock } from './clock.ts'
import { pinHost, requireFormToken, requireOwnOrigin, secureAnswers } from './guard.ts'
import { createIssuer, type IssuerOptions } from './issuer.ts'
import { createPages, serveAssets } from './pages.ts'
import { Problem, SessionOver } from './problem.ts'
import { createRecorder, drawForm } from './recorder.ts'
import { createFlowRoutes, isDiagram, isLive } from './flow-routes.ts'
import { createBackchannelRoute } from './backchannel.ts'
import { createNoteRoutes, createSignInRoutes } from './routes.ts'
import { createSessions, makeId } from './sessions.ts'
import { createVisitors } from './visitors.ts'

const MAX_FORM = '32kb'

export interface WebDemoOptions extends IssuerOptions {
  /** The URL of the notes API. */
  readonly api: string
}

/** The application: tokens stay in its memory, and a browser gets nothing but a cookie. */
export function createWebDemo(clock: Clock, options: WebDemoOptions): Koa {
  const { publicUrl } = options
  const sessions = createSessions(clock)
  const bindings = createBindings(clock)
  const visitors = createVisitors(sessions, publicUrl, isLive)
  const recorder = createRecorder(visitors, options.issuer)
  const issuer = createIssuer(clock, recorder.send, options)
  const access = createAccess(clock, issuer, createApi(options.api, recorder.send))
  const pages = createPages()

  const render = (ctx: Context, status: number, view: string, data: object) => {
    const { id, session } = visitors.of(ctx)
    const { api } = options
    const form = bindings.makeFormToken(id)
    ctx.status = status
    ctx.type = 'html'
    const common = { form, person: session?.person, issuer: options.issuer, api }
    ctx.body = pages.render(view, { ...common, ...data })
  }

  const explainProblems: Middleware = async (ctx, next) => {
    try {
      await next()
      if (ctx.status >= 400 && !ctx.body) throw ofStatus(ctx.status)
    } catch (error) {
      const problem = toProblem(error)
      if (problem.status >= 500) ctx.app.emit('error', problem)
      if (problem.status === 413) ctx.set('Connection', 'close')
      if (problem instanceof SessionOver) visitors.become(ctx, makeId())
      render(ctx, problem.status, 'problem', { problem })
    }
  }

  const collaborators = {
    clock,
    issuer,
    access,
    sessions,
    visitors,
    recorder,
    bindings,
    publicUrl,
    render,
  }
  const noteRoutes = createNoteRoutes(collaborators)
  const app = new Koa()
  app
    .use(secureAnswers(options.issuer, isDiagram))
    .use(pinHost(publicUrl))
    .use(createBackchannelRoute(collaborators).routes())
    .use(serveAssets)
    .use(visitors.recognize)
    .use(exceptWatching(recorder.record))
    .use(explainProblems)
    .use(requireOwnOrigin(publicUrl))
    .use(bodyParser({ enableTypes: ['form'], formLimit: MAX_FORM }))
    .use(exceptWatching(drawForm))
    .use(requireFormToken((ctx, token) => bindings.isFormToken(token, visitors.of(ctx).id)))
    .use(createSignInRoutes(collaborators).routes())
    .use(createFlowRoutes(collaborators).routes())
    .use(noteRoutes.routes())
    .use(noteRoutes.allowedMethods())
  app.on('error', report)
  return app
}

/** To look at what was said is no part of it. */
function exceptWatching(middleware: Middleware): Middleware {
  return (ctx, next) => (isDiagram(ctx) || isLive(ctx) ? next() : middleware(ctx, next))
}

/** No more than messages: what else an error holds may be an answer with tokens in it. */
function report(error: Error): void {
  const cause = error.cause instanceof Error ? ` (${error.cause.message})` : ''
  console.error(`${error.name}: ${error.message}${cause}`)
}

function toProblem(error: unknown): Problem {
  if (error instanceof Problem) return error
  if (error instanceof HttpError && error.status < 500) return ofStatus(error.status)
  const text = 'This application made a mistake. It is written down where it runs.'
  return new Problem(500, 'Something went wrong', text, undefined, error)
}

function ofStatus(status: number): Problem {
  if (status === 404) return new Problem(404, 'There is nothing here', 'Perhaps there never was.')
  if (status === 413) return new Problem(413, 'That is too much', `A form may have ${MAX_FORM}.`)
  return new Problem(status, 'That cannot be done', 'The request is not one of those known here.')
}
