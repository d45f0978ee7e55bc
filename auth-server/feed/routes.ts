import { bodyParser } from '@koa/bodyparser'
import { Router, type RouterContext } from '@koa/router'
import type { Middleware } from 'koa'
import { REVOCATIONS_SCOPE } from '../config/built-in.ts'
import type { Events } from '../events.ts'
import type { GuessLimit, Pace } from '../throttle.ts'
import type { Asking, Feed, Poll, PollAnswer } from './feed.ts'
import type { AdmitListener, ListenerRefusal } from './listeners.ts'

/** No body that is larger reaches it: see `http/app.ts`. */
const MAX_BYTES = 64 * 1024
const MOST_NAMES = 1000
const RETRY_AFTER_SECONDS = 5

export interface FeedRouteCollaborators {
  readonly feed: Feed
  readonly admit: AdmitListener
  readonly events: Pick<Events, 'requestRefused' | 'revocationUnusable'>
  /** How often a client may have written down what it cannot use: see `UNUSABLE_EVENTS`. */
  readonly unusablePace: Pace
  /** What tokens have to be for: see `revocationsOf`. */
  readonly resource: string
}

export const UNUSABLE_EVENTS: GuessLimit = { attempts: 10, windowSeconds: 60 }

/** Where APIs learn what is revoked: see `docs/revocation.md`. */
export function createFeedRoutes(collaborators: FeedRouteCollaborators): Middleware {
  const { feed, admit } = collaborators
  const router = new Router({ prefix: '/revocations', strict: true, sensitive: true })
  const guarded = (serve: (ctx: RouterContext, asking: Asking) => Promise<void>) =>
    async function guard(ctx: RouterContext): Promise<void> {
      ctx.set('Cache-Control', 'no-store')
      const token = readToken(ctx)
      const admitted = await admit(token)
      if (!admitted.ok) return refuse(collaborators, ctx, admitted.reason)
      const receiver = readReceiver(ctx)
      if (receiver === undefined) {
        return say(collaborators, ctx, 400, 'invalid_request', RECEIVER_HELP)
      }
      const isAdmitted = async () => (await admit(token)).ok
      await serve(ctx, { listener: admitted.value, receiver, isAdmitted })
    }

  router.get(
    '/stream',
    guarded(async (ctx, asking) => {
      // Behind the answer to another request (pipelining) nobody would say that the receiver has gone.
      if (!ctx.res.socket) {
        return say(collaborators, ctx, 400, 'invalid_request', 'expected a connection of its own')
      }
      const nonce = readNonce(ctx)
      if (nonce === '') return say(collaborators, ctx, 400, 'invalid_request', NONCE_HELP)
      ctx.req.socket.setNoDelay(true)
      ctx.status = 200
      ctx.set('Content-Type', 'text/event-stream')
      // A proxy that collects what it passes on would hold up what has to be known at once.
      ctx.set('X-Accel-Buffering', 'no')
      const lastEventId = ctx.get('Last-Event-ID') || String(ctx.query['after'] ?? '')
      ctx.respond = false
      ctx.res.statusCode = 200
      if (await feed.stream(asking, { lastEventId, nonce }, ctx.res)) return
      ctx.respond = true
      refuseMore(collaborators, ctx)
    }),
  )
  router.get(
    '/pages',
    guarded(async (ctx) => {
      const { after = '0' } = ctx.query
      if (typeof after !== 'string' || !/^(?:0|[1-9]\d{0,14})$/.test(after)) {
        return say(collaborators, ctx, 400, 'invalid_request', 'after: expected a whole number')
      }
      const { text, next } = await feed.page(Number(after))
      ctx.type = 'application/jwt'
      // RFC 8288: whoever reads many can ask for the next one before having read this one.
      if (next !== undefined) ctx.set('Link', `<?after=${next}>; rel="next"`)
      ctx.body = text
    }),
  )
  router.post(
    '/poll',
    guarded(async (ctx, asking) => {
      const body = await readJson(ctx)
      const poll = body && readPoll(body)
      if (!poll) return say(collaborators, ctx, 400, 'invalid_request', POLL_HELP)
      const answer = await feed.poll(asking, poll)
      if (answer === 'ended') return refuse(collaborators, ctx, 'invalid_token')
      if (answer === 'too_many') return refuseMore(collaborators, ctx)
      const { sets, hasMore, unusable } = answer
      await reportUnusable(collaborators, asking, unusable)
      ctx.body = { sets, ...(hasMore ? { moreAvailable: true } : {}) }
    }),
  )
  router.post(
    '/applied',
    guarded(async (ctx, asking) => {
      const body = await readJson(ctx)
      const { feed: of, applied } = body ?? {}
      if (typeof of !== 'string' || !isPlace(applied)) {
        return say(collaborators, ctx, 400, 'invalid_request', 'expected feed and applied')
      }
      if (await feed.noteApplied(asking, of, applied)) ctx.status = 204
      else say(collaborators, ctx, 409, 'invalid_request', NOT_OF_THIS_FEED)
    }),
  )
  return router.routes() as Middleware
}

function refuseMore(collaborators: FeedRouteCollaborators, ctx: RouterContext): void {
  ctx.set('Retry-After', String(RETRY_AFTER_SECONDS))
  say(collaborators, ctx, 429, 'slow_down', 'too many streams and polls that wait: close some')
}

function readToken(ctx: RouterContext): string | undefined {
  const header = ctx.get('Authorization')
  if (header === '') return undefined
  return /^bearer +([\w.~+/-]{1,8192}=*)$/i.exec(header)?.[1] ?? ''
}

/** What a client is called that has one receiver, and does not name it. */
const ONLY_ONE = 'default'
const RECEIVER_HELP = 'receiver: expected 1 to 64 characters of A-Z a-z 0-9 . _ -'

function readReceiver(ctx: RouterContext): string | undefined {
  const { receiver = ONLY_ONE } = ctx.query
  return typeof receiver === 'string' && /^[\w.-]{1,64}$/.test(receiver) ? receiver : undefined
}

const NONCE_HELP = 'nonce: expected 16 to 64 characters of A-Z a-z 0-9 _ -'

/** Empty for what is none. */
function readNonce(ctx: RouterContext): string | undefined {
  const { nonce } = ctx.query
  if (nonce === undefined) return undefined
  return typeof nonce === 'string' && /^[\w-]{16,64}$/.test(nonce) ? nonce : ''
}

const parseJson = bodyParser({ enableTypes: ['json'], jsonLimit: `${MAX_BYTES}b` })

async function readJson(ctx: RouterContext): Promise<Record<string, unknown> | undefined> {
  if (ctx.request.is('application/json') === false) return undefined
  try {
    await parseJson(ctx, async () => {})
  } catch (error) {
    // The rest of the body stays unread: the connection is of no further use.
    ctx.set('Connection', 'close')
    if (typeof (error as { status?: unknown }).status !== 'number') throw error
    return undefined
  }
  const body: unknown = ctx.request.body
  const isObject = typeof body === 'object' && body !== null && !Array.isArray(body)
  return isObject ? (body as Record<string, unknown>) : undefined
}

const NOT_OF_THIS_FEED = 'this is another feed, or one that does not go so far: start anew'
const POLL_HELP =
  'expected JSON with maxEvents, returnImmediately, ack and setErrs, as RFC 8936 §2.2 has them'

/** @see {@link https://www.rfc-editor.org/rfc/rfc8936.html#section-2.2 RFC 8936 §2.2} */
function readPoll(body: Record<string, unknown>): Poll | undefined {
  const { maxEvents = 100, returnImmediately = false, ack = [], setErrs = {} } = body
  const isPlain = typeof setErrs === 'object' && setErrs !== null && !Array.isArray(setErrs)
  const isRight =
    isPlace(maxEvents) && typeof returnImmediately === 'boolean' && isNames(ack) && isPlain
  if (!isRight) return undefined
  const faults = Object.entries(setErrs).slice(0, MOST_NAMES)
  return {
    mostEvents: maxEvents,
    waits: !returnImmediately && maxEvents > 0,
    done: ack,
    faults: new Map(faults.map(([name, fault]) => [name, JSON.stringify(fault).slice(0, 200)])),
  }
}

/** One line for a request, and none where the same client has just filled the log with such. */
async function reportUnusable(
  { events, unusablePace }: FeedRouteCollaborators,
  { listener: { clientId } }: Asking,
  [first, ...others]: PollAnswer['unusable'],
): Promise<void> {
  if (first === undefined || (await unusablePace(clientId))) return
  const [name, detail] = first
  events.revocationUnusable({ clientId, name, detail, others: others.length })
}

function isNames(value: unknown): value is readonly string[] {
  return (
    Array.isArray(value) &&
    value.length <= MOST_NAMES &&
    value.every((name) => typeof name === 'string')
  )
}

function isPlace(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

/**
 * Names the scope and the resource, which a token request needs. Who sent no token learns no error.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc6750.html#section-3 RFC 6750 §3}
 */
function refuse(
  collaborators: FeedRouteCollaborators,
  ctx: RouterContext,
  reason: ListenerRefusal,
): void {
  const { resource } = collaborators
  const wanted = `expected an access token for ${resource} with the scope ${REVOCATIONS_SCOPE}`
  const challenge = `Bearer realm="revocations", scope="${REVOCATIONS_SCOPE}"`
  if (reason === 'no_token') {
    ctx.set('WWW-Authenticate', challenge)
    ctx.status = 401
    ctx.body = { error: 'invalid_token', error_description: wanted }
    return
  }
  const description = `${wanted}, ${WHAT_CAME[reason]}`
  ctx.set('WWW-Authenticate', `${challenge}, error="${reason}", error_description="${description}"`)
  say(collaborators, ctx, reason === 'invalid_token' ? 401 : 403, reason, description)
}

const WHAT_CAME = {
  invalid_token: 'not one that is for something else, bound to a key, expired or revoked',
  insufficient_scope: 'not one without it',
}

function say(
  { events }: FeedRouteCollaborators,
  ctx: RouterContext,
  status: number,
  error: string,
  description: string,
): void {
  events.requestRefused({ endpoint: 'revocations', error, detail: description })
  ctx.status = status
  ctx.body = { error, error_description: description }
}
