import { Router } from '@koa/router'
import type { Context } from 'koa'
import { readQuery } from './guard.ts'
import type { Collaborators } from './routes.ts'
import { nameCookie } from './visitors.ts'

const DIAGRAM = '/flow'
const LIVE = '/flow/arrows'

/** The page that draws what is said. */
export function isDiagram({ path }: Context): boolean {
  return path === DIAGRAM
}

/** What that page asks by itself, each second. */
export function isLive({ path }: Context): boolean {
  return path === LIVE
}

/** What was said, drawn as a sequence diagram: as a page, and what came since for its script. */
export function createFlowRoutes({
  recorder,
  publicUrl,
  render,
}: Pick<Collaborators, 'recorder' | 'publicUrl' | 'render'>): Router {
  const router = new Router()

  router.get(DIAGRAM, (ctx) => {
    const trace = recorder.traceOf(ctx)
    const cookie = { name: nameCookie(publicUrl), isSecure: publicUrl.startsWith('https:') }
    render(ctx, 200, 'flow', { trace: trace.id, arrows: trace.list(), cookie })
  })

  // Polling: each question shows its cookie anew, so nobody goes on watching once it has changed hands.
  router.get(LIVE, (ctx) => {
    const trace = recorder.traceOf(ctx)
    const isSame = readQuery(ctx, 'trace') === trace.id
    const arrows = trace.list(isSame ? Number(readQuery(ctx, 'after')) || 0 : 0)
    if (isSame && arrows.length === 0) ctx.status = 204
    else render(ctx, 200, 'arrows', { trace: trace.id, arrows })
  })

  return router
}
