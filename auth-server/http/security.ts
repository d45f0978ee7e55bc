import helmet from 'koa-helmet'
import type { Middleware } from 'koa'
import { isLoopback } from '../config/uri-rules.ts'

/**
 * Headers for every answer. The policy has no `form-action`: browsers apply it to the redirect that
 * follows a form, which goes to the client. `script-src` allows nothing, and stands there for the
 * engine, which adds the hash of its one script to it. No `Cross-Origin-Opener-Policy`: it would cut an
 * app that signs people in by a pop-up off from that window for good, also when the pop-up is back.
 */
export function createSecurityHeaders(issuer: string): Middleware {
  const { protocol, hostname } = new URL(issuer)
  const strictTransport = protocol === 'https:' && !isLoopback(hostname)
  return helmet({
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        'default-src': ["'none'"],
        'script-src': [],
        'style-src': ["'self'"],
        'img-src': ["'self'"],
        'base-uri': ["'none'"],
        'frame-ancestors': ["'none'"],
      },
    },
    crossOriginOpenerPolicy: false,
    strictTransportSecurity: strictTransport ? { maxAge: 31_536_000 } : false,
    referrerPolicy: { policy: 'no-referrer' },
    xFrameOptions: { action: 'deny' },
  })
}
