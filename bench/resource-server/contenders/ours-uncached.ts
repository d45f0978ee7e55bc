import type { RequestListener } from 'node:http'
import { createProtect } from '@portreeve/resource-server'
import Koa from 'koa'
import { createUncachedVerifier } from '../cache-options.ts'
import { ANSWER, type Setup } from '../setup.ts'

export function createListener(setup: Setup): RequestListener {
  const protect = createProtect(createUncachedVerifier(setup).verifier)
  const app = new Koa()
  app.use(protect({ scope: setup.scope }))
  app.use((ctx) => {
    ctx.body = ANSWER
  })
  return app.callback()
}
