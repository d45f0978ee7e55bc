import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import Koa from 'koa'
import { expect, test } from 'vitest'
import { createLog } from '../log.ts'
import { refuseWhileBehind } from './pressure.ts'
import { createRefuse } from './refuse.ts'
import { catchErrors } from './request.ts'

async function start() {
  let isBehind = false
  const app = new Koa()
  const refuse = createRefuse(() => '')
  app.use(catchErrors(createLog('silent'), refuse))
  app.use(refuseWhileBehind(() => isBehind))
  app.use((ctx) => {
    ctx.body = 'done'
  })
  const server = createServer(app.callback()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    turn: (behind: boolean) => void (isBehind = behind),
    async ask(method: string) {
      const response = await fetch(`http://127.0.0.1:${port}/token`, { method })
      return { status: response.status, retryAfter: response.headers.get('retry-after') }
    },
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

test('what may have to be recorded is told to try again while too much waits, and nothing else is', async () => {
  await using it = await start()
  const done = { status: 200, retryAfter: null }
  expect(await it.ask('POST')).toEqual(done)
  it.turn(true)
  expect(await it.ask('POST')).toEqual({ status: 503, retryAfter: '1' })
  expect(await it.ask('GET')).toEqual(done)
  it.turn(false)
  expect(await it.ask('POST')).toEqual(done)
})
