import type { RequestListener } from 'node:http'
import { JwtVerifier } from 'aws-jwt-verify'
import { SimpleJwksCache } from 'aws-jwt-verify/jwk'
import Koa from 'koa'
import { ANSWER, type Setup } from '../setup.ts'

export function createListener({ issuer, audience, jwksUri, scope }: Setup): RequestListener {
  // Its own fetcher knows https alone; the key set of this benchmark is on loopback.
  const fetcher = { fetch: async (uri: string) => (await fetch(uri)).arrayBuffer() }
  const jwksCache = new SimpleJwksCache({ fetcher })
  const verifier = JwtVerifier.create({ issuer, audience, jwksUri, scope }, { jwksCache })
  const app = new Koa()
  app.use(async (ctx, next) => {
    const [, token] = /^Bearer (.+)$/i.exec(ctx.get('Authorization')) ?? []
    if (token === undefined) return ctx.throw(401)
    try {
      ctx.state['claims'] = await verifier.verify(token)
    } catch (error) {
      ctx.throw(401, error instanceof Error ? error.message : 'invalid token')
    }
    await next()
  })
  app.use((ctx) => {
    ctx.body = ANSWER
  })
  return app.callback()
}
