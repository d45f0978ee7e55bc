import type { Middleware } from 'koa'

export interface Health {
  /** Resolves if the server can do its work; rejects with the reason. */
  readonly ping: () => Promise<void>
  readonly isDraining: () => boolean
}

/**
 * `/livez`: the process answers. `/readyz`: it can do its work, and is not about to stop. Neither
 * needs the issuer's host, because probes call the address; neither says more than yes or no.
 */
export function answerProbes({ ping, isDraining }: Health): Middleware {
  return async (ctx, next) => {
    if (ctx.path !== '/livez' && ctx.path !== '/readyz') {
      await next()
      return
    }
    ctx.set('Cache-Control', 'no-store')
    ctx.body = { status: 'ok' }
    if (ctx.path === '/livez') return
    if (isDraining() || !(await answers(ping))) {
      ctx.status = 503
      ctx.body = { status: isDraining() ? 'draining' : 'storage_unavailable' }
    }
  }
}

async function answers(ping: () => Promise<void>): Promise<boolean> {
  try {
    await ping()
    return true
  } catch {
    return false
  }
}
