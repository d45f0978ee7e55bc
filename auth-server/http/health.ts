import type { Middleware } from 'koa'

export interface Health {
  /** What the server cannot work without, by name. Each resolves if it is there. */
  readonly pings: Readonly<Record<string, () => Promise<void>>>
  readonly isDraining: () => boolean
}

/**
 * `/livez`: the process answers. `/readyz`: it can do its work, and is not about to stop. Neither
 * needs the issuer's host, because probes call the address; neither says why something does not answer.
 */
export function answerProbes({ pings, isDraining }: Health): Middleware {
  return async (ctx, next) => {
    if (ctx.path !== '/livez' && ctx.path !== '/readyz') {
      await next()
      return
    }
    ctx.set('Cache-Control', 'no-store')
    ctx.body = { status: 'ok' }
    if (ctx.path === '/livez') return
    if (isDraining()) {
      ctx.status = 503
      ctx.body = { status: 'draining' }
      return
    }
    const parts = await Promise.all(
      Object.entries(pings).map(async ([name, ping]) => [name, await answers(ping)] as const),
    )
    if (parts.every(([, state]) => state === 'ok')) return
    ctx.status = 503
    ctx.body = { status: 'unavailable', ...Object.fromEntries(parts) }
  }
}

async function answers(ping: () => Promise<void>): Promise<'ok' | 'failed'> {
  try {
    await ping()
    return 'ok'
  } catch {
    return 'failed'
  }
}
