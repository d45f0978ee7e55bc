import { Router } from '@koa/router'
import Koa from 'koa'
import { assertProtected, createProtect, type Auth, type Verifier } from '../index.ts'
import type { Clock } from '../clock.ts'
import {
  answer,
  answerErrors,
  describeRequest,
  identifyRequests,
  parseJson,
  readObject,
  type ApiState,
} from './answers.ts'
import { createOwnedThings, type Whose } from './owned.ts'
import type { Log } from './serve.ts'

interface Order {
  readonly item: string
}

const MAX_ITEM_LENGTH = 200

/** Orders: customers place and see their own, an admin sees them all. */
export function createOrdersApi(verifier: Verifier, clock: Clock, log: Log): Koa<ApiState> {
  const app = new Koa<ApiState>()
  const router = createRoutes(verifier, clock, log)
  assertProtected(router)
  app.use(identifyRequests)
  app.use(answerErrors(log))
  app.use(router.routes())
  app.use(router.allowedMethods())
  app.on('error', (error: Error) => log({ event: 'connection_error', error }))
  return app
}

function createRoutes(verifier: Verifier, clock: Clock, log: Log): Router<ApiState> {
  const protect = createProtect(verifier, {
    onRefusal: (refusal, ctx) => log({ event: 'refused', ...describeRequest(ctx), refusal }),
  })
  const orders = createOwnedThings<Order>(clock)

  const router = new Router<ApiState>({ strict: true, sensitive: true })
  router.get('/orders', protect({ roles: ['customer', 'admin'] }), (ctx) => {
    ctx.body = { orders: orders.list(whatMayRead(ctx.state.auth)) }
  })
  router.get('/orders/:id', protect({ roles: ['customer', 'admin'] }), (ctx) => {
    const order = orders.find(ctx.params['id'] ?? '', whatMayRead(ctx.state.auth))
    if (order) ctx.body = order
  })
  router.post('/orders', protect({ roles: 'customer' }), ...parseJson(), (ctx) => {
    const body = readObject(ctx)
    if (body === undefined) return
    const { item } = body
    if (!isItem(item) || Object.keys(body).length > 1) {
      const description = `An order has an item: a text of 1 to ${MAX_ITEM_LENGTH} characters.`
      answer(ctx, 400, 'invalid_request', description)
      return
    }
    const { subject } = ctx.state.auth
    const order = orders.add(subject, subject, { item })
    if (order === undefined) {
      answer(ctx, 409, 'limit_reached', 'There is no room for more of your orders.')
      return
    }
    ctx.status = 201
    ctx.set('Location', `/orders/${order.id}`)
    ctx.body = order
  })
  return router
}

function whatMayRead({ roles, subject }: Auth): Whose {
  return roles.has('admin') ? 'everyone' : { owner: subject }
}

function isItem(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= MAX_ITEM_LENGTH
}
