import type { Context, Middleware } from 'koa'
import { Problem } from './problem.ts'

/**
 * Headers of every answer. Browsers apply `form-action` to the redirect that follows a form too, and
 * ours lead to the authorization server. A policy of `no-referrer` would make them send
 * `Origin: null` with our own forms.
 */
export function secureAnswers(issuer: string, runsScript: (ctx: Context) => boolean): Middleware {
  const policy = [
    "default-src 'none'",
    "style-src 'self'",
    "img-src 'self'",
    `form-action 'self' ${new URL(issuer).origin}`,
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ]
  // Only the page that draws what is said has a script, and that page has no form for notes.
  const watching = [...policy, "script-src 'self'", "connect-src 'self'"]
  return (ctx, next) => {
    ctx.set({
      'Cache-Control': 'no-store',
      'Content-Security-Policy': (runsScript(ctx) ? watching : policy).join('; '),
      'Cross-Origin-Opener-Policy': 'same-origin',
      'Cross-Origin-Resource-Policy': 'same-origin',
      'Referrer-Policy': 'same-origin',
      'X-Content-Type-Options': 'nosniff',
      'X-Frame-Options': 'DENY',
    })
    return next()
  }
}

/** Answers under its own name only: the cookie is this name's, and a rebound DNS name is another. */
export function pinHost(publicUrl: string): Middleware {
  const { host } = new URL(publicUrl)
  return (ctx, next) => {
    if (ctx.host === host) return next()
    seeOther(ctx, `${publicUrl}/`)
  }
}

/** Refuses a form that another site's page sent; in front of whatever reads its body. */
export function requireOwnOrigin(publicUrl: string): Middleware {
  return (ctx, next) => {
    const isOwn =
      ctx.get('origin') === publicUrl &&
      ['', 'same-origin'].includes(ctx.get('sec-fetch-site').toLowerCase())
    if (isRead(ctx) || isOwn) return next()
    throw new Problem(
      403,
      'That form is not ours',
      'It came from another site, and was not sent on.',
    )
  }
}

/** Refuses a form without the token of the browser that sends it. */
export function requireFormToken(isToken: (ctx: Context, token: unknown) => boolean): Middleware {
  return (ctx, next) => {
    if (isRead(ctx) || isToken(ctx, readField(ctx, 'form'))) return next()
    const text = 'It was made before you last signed in or out. Go back to the start and try again.'
    throw new Problem(403, 'That form is out of date', text)
  }
}

function isRead(ctx: Context): boolean {
  return ctx.method === 'GET' || ctx.method === 'HEAD'
}

/** A field of the form that was sent, if it is there once. */
export function readField(ctx: Context, name: string): string | undefined {
  const fields = (ctx.request.body ?? {}) as Record<string, unknown>
  const value = Object.hasOwn(fields, name) ? fields[name] : undefined
  return typeof value === 'string' ? value : undefined
}

/** A parameter of the query, if it is there once. */
export function readQuery(ctx: Context, name: string): string | undefined {
  const value = Object.hasOwn(ctx.query, name) ? ctx.query[name] : undefined
  return typeof value === 'string' ? value : undefined
}

/** Sends the browser elsewhere, to GET it whatever it has sent here. */
export function seeOther(ctx: Context, url: string): void {
  ctx.status = 303
  ctx.redirect(url)
}
