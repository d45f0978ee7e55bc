import type { RequestListener } from 'node:http'
import Koa from 'koa'
import { ANSWER } from '../setup.ts'

export function createListener(): RequestListener {
  const app = new Koa()
  app.use((ctx) => {
    ctx.body = ANSWER
  })
  return app.callback()
}
