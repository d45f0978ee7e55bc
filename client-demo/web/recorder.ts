import { AsyncLocalStorage } from 'node:async_hooks'
import type { Context, Middleware } from 'koa'
import { readBounded } from '../read-bounded.ts'
import { drawAnswer, drawExchange, drawReturn, drawVisit } from './arrows.ts'
import { createStrangersTraces, type Arrow, type PlacedArrow, type Trace } from './trace.ts'
import type { Visitors } from './visitors.ts'

/** What openid-client and the API's client send with: `fetch`, with a URL as text. */
export type Send = (url: string, init: RequestInit) => Promise<Response>

export interface Recorder {
  /** Draws a visit and all that this application sends meanwhile; in front of the routes. */
  readonly record: Middleware
  /** Sends, and draws what was said if that is for a visit. */
  readonly send: Send
  /** The trace of whoever sends this request. */
  traceOf(ctx: Context): Trace
  /** What has been said so far, for a page that is about to be answered. */
  listUntilNow(ctx: Context): readonly PlacedArrow[]
}

/** An answer that is longer is passed on and not shown. */
const LONGEST_SHOWN_BYTES = 64 * 1024

/**
 * A visit goes into its trace as a whole, when it is over, and into that of whom the cookie then names.
 * So a browser into which somebody has planted a cookie shows the planter nothing: at the sign-in the id
 * changes before anything about the person is written down, and what is drawn goes with the new one.
 */
export function createRecorder(visitors: Visitors, issuer: string): Recorder {
  const strangers = createStrangersTraces()
  const visits = new AsyncLocalStorage<Arrow[]>()
  const traceOf = (ctx: Context): Trace => {
    const { id, session, signedOut } = visitors.of(ctx)
    return session?.trace ?? signedOut?.trace ?? strangers.of(id)
  }

  return {
    traceOf,
    async record(ctx, next) {
      const before = visitors.of(ctx)
      const arrows: Arrow[] = [...drawReturn(ctx), drawVisit(ctx)]
      ctx.state['arrows'] = arrows
      try {
        await visits.run(arrows, () => next())
      } finally {
        arrows.push(...drawAnswer(ctx, issuer))
        const after = visitors.of(ctx)
        const trace = traceOf(ctx)
        const shown = after.session ? arrows : arrows.map(withoutPerson)
        if (before.id === after.id) trace.append(shown)
        else {
          // What led to a sign-in is part of it; what was said in a session that is over is gone with it.
          const { signedOut } = before
          const ofNobody = signedOut
            ? signedOut.trace.list(signedOut.lastPlace)
            : strangers.of(before.id).list()
          const earlier = before.session ? [] : ofNobody
          strangers.forget(before.id)
          trace.append([...earlier, ...shown])
        }
      }
    },
    listUntilNow(ctx) {
      const kept = traceOf(ctx).list()
      const last = kept.at(-1)?.place ?? 0
      const now = [...(ctx.state['arrows'] as Arrow[]), ...drawAnswer(ctx, issuer)]
      return [...kept, ...now.map((arrow, index) => ({ ...arrow, place: last + index + 1 }))]
    },
    async send(url, init) {
      const response = await fetch(url, init)
      const arrows = visits.getStore()
      if (!arrows) return response
      const to = new URL(url).origin === new URL(issuer).origin ? 'server' : 'api'
      const text = isShort(response) ? await readBounded(response.clone(), LONGEST_SHOWN_BYTES) : ''
      const { method, headers, body } = init
      const sent = { method, headers: Object.fromEntries(new Headers(headers)), body }
      arrows.push(...drawExchange(to, url, sent, response, text))
      return response
    },
  }
}

/** A packed answer does not say how long it is. */
function isShort({ headers }: Response): boolean {
  const length = Number(headers.get('content-length') ?? Infinity)
  return length <= LONGEST_SHOWN_BYTES && !headers.has('content-encoding')
}

/** Draws the visit again, now that its form has been read. */
export const drawForm: Middleware = (ctx, next) => {
  const arrows = ctx.state['arrows'] as Arrow[]
  arrows.splice(-1, 1, drawVisit(ctx))
  return next()
}

/**
 * Without what a person has written or was told: where nobody is signed in, or no longer, the next one at
 * this browser sees it too. The form of a sign-in has nothing of a person.
 */
function withoutPerson(arrow: Arrow): Arrow {
  const { from, to, title } = arrow
  const isForm = from === 'browser' && title.startsWith('POST ') && title !== 'POST /sign-in'
  const isPersonal = isForm || from === 'api' || to === 'api'
  return { ...arrow, fields: isPersonal ? [] : arrow.fields, tokens: [] }
}
