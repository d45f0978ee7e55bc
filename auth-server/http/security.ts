import helmet from 'koa-helmet'
import type { Middleware } from 'koa'

const LOOPBACK = /^https?:\/\/(localhost|127(\.\d{1,3}){3}|\[::1\])(:|$)/

/**
 * Headers for every answer. The policy has no `form-action`: browsers apply it to the redirect that
 * follows a form, which goes to the client. `script-src` stands there for the engine, which adds the
 * hash of its one script to it.
 */
export function createSecurityHeaders(issuer: string): Middleware {
  const strictTransport = issuer.startsWith('https:') && !LOOPBACK.test(issuer)
  return helmet({
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        'default-src': ["'none'"],
        'script-src': ["'none'"],
        'style-src': ["'self'"],
        'img-src': ["'self'"],
        'base-uri': ["'none'"],
        'frame-ancestors': ["'none'"],
      },
    },
    strictTransportSecurity: strictTransport ? { maxAge: 31_536_000 } : false,
    referrerPolicy: { policy: 'no-referrer' },
    xFrameOptions: { action: 'deny' },
  })
}
