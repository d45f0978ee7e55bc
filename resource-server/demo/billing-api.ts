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
import { isAuthorized } from './token-settings.ts'

interface Invoice {
  readonly cents: number
}

const MAX_CENTS = 100_000_000
const MAX_OWNER_LENGTH = 200

/** Invoices: accountants write and see them all, customers see their own. */
export function createBillingApi(verifier: Verifier, clock: Clock, log: Log): Koa<ApiState> {
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
  const invoices = createOwnedThings<Invoice>(clock)

  const router = new Router<ApiState>({ strict: true, sensitive: true })
  router.get('/', protect({ owns: isAuthorized }), (ctx) => {
    ctx.body = 'Super Secret Information'
  })
  router.get('/invoices', protect({ roles: ['customer', 'accountant', 'admin'] }), (ctx) => {
    ctx.body = { invoices: invoices.list(whatMayRead(ctx.state.auth)) }
  })
  router.post('/invoices', protect({ roles: ['accountant', 'admin'] }), ...parseJson(), (ctx) => {
    const body = readObject(ctx)
    if (body === undefined) return
    const { owner, cents } = body
    if (!isOwner(owner) || !isAmount(cents) || Object.keys(body).length > 2) {
      const description = `An invoice has an owner, the subject of a person's tokens, and cents, a whole number up to ${MAX_CENTS}.`
      answer(ctx, 400, 'invalid_request', description)
      return
    }
    const invoice = invoices.add(owner, ctx.state.auth.subject, { cents })
    if (invoice === undefined) {
      answer(ctx, 409, 'limit_reached', 'There is no room for more of your invoices.')
      return
    }
    ctx.status = 201
    ctx.body = invoice
  })
  return router
}

function whatMayRead({ roles, subject }: Auth): Whose {
  return roles.has('accountant') || roles.has('admin') ? 'everyone' : { owner: subject }
}

function isOwner(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= MAX_OWNER_LENGTH
}

function isAmount(value: unknown): value is number {
  return Number.isInteger(value) && Number(value) > 0 && Number(value) <= MAX_CENTS
}
