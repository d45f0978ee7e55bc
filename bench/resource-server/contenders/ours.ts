import type { RequestListener } from 'node:http'
import { createProtect, createVerifier } from '@portreeve/resource-server'
import Koa from 'koa'
import { ANSWER, type Setup } from '../setup.ts'

export function createListener({ issuer, audience, scope }: Setup): RequestListener {
  const protect = createProtect(createVerifier({ issuer, audience }))
  const app = new Koa()
  app.use(protect({ scope }))
  app.use((ctx) => {
    ctx.body = ANSWER
  })
  return app.callback()
}
