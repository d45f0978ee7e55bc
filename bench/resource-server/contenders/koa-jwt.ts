import type { RequestListener } from 'node:http'
import { koaJwtSecret } from 'jwks-rsa'
import Koa from 'koa'
import jwt from 'koa-jwt'
import { ANSWER, hasScope, type Setup } from '../setup.ts'

export function createListener(setup: Setup): RequestListener {
  const { issuer, audience, algorithm, jwksUri, scope } = setup
  const app = new Koa()
  app.use(
    jwt({
      secret: koaJwtSecret({ jwksUri, cache: true, cacheMaxEntries: 5, cacheMaxAge: 36_000_000 }),
      issuer,
      audience,
      algorithms: [algorithm],
      // Says why a token is refused; costs nothing where none is.
      debug: true,
    }),
  )
  app.use((ctx) => {
    if (!hasScope(ctx.state['user'].scope, scope)) ctx.throw(403)
    ctx.body = ANSWER
  })
  return app.callback()
}
