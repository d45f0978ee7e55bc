import type { RequestListener } from 'node:http'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import Koa from 'koa'
import { ANSWER, hasScope, type Setup } from '../setup.ts'

/** What people write by hand, with every check that jose can be asked for. */
export function createListener(setup: Setup): RequestListener {
  const { issuer, audience, algorithm, scope } = setup
  const jwks = createRemoteJWKSet(new URL(setup.jwksUri))
  const app = new Koa()
  app.use(async (ctx, next) => {
    const [, token] = /^Bearer (.+)$/i.exec(ctx.get('Authorization')) ?? []
    if (token === undefined) return ctx.throw(401)
    try {
      const { payload } = await jwtVerify(token, jwks, {
        issuer,
        audience,
        algorithms: [algorithm],
        typ: 'at+jwt',
      })
      ctx.state['claims'] = payload
    } catch (error) {
      ctx.throw(401, error instanceof Error ? error.message : 'invalid token')
    }
    await next()
  })
  app.use((ctx) => {
    if (!hasScope(ctx.state['claims'].scope, scope)) ctx.throw(403)
    ctx.body = ANSWER
  })
  return app.callback()
}
