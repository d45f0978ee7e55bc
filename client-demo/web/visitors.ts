import type { Context, Middleware } from 'koa'
import { makeId, type Session, type Sessions } from './sessions.ts'

const ID = /^[\w-]{43}$/

/** A browser, by the id in its cookie, and the session that it has once somebody signs in. */
export interface Visitor {
  readonly id: string
  readonly session: Session | undefined
}

export interface Visitors {
  readonly recognize: Middleware
  of(ctx: Context): Visitor
  /** Gives the browser another id; whatever session went by the old one is over. */
  become(ctx: Context, id: string): void
}

export function createVisitors(sessions: Sessions, publicUrl: string): Visitors {
  const secure = publicUrl.startsWith('https:')
  const cookie = secure ? '__Host-notes' : 'notes'
  const set = (ctx: Context, id: string) => {
    ctx.cookies.set(cookie, id, { sameSite: 'lax', httpOnly: true, secure, overwrite: true })
    ctx.state['visitor'] = { id, session: sessions.find(id) } satisfies Visitor
  }

  return {
    of: readVisitor,
    recognize(ctx, next) {
      ctx.cookies.secure = secure
      const id = ctx.cookies.get(cookie) ?? ''
      if (ID.test(id)) ctx.state['visitor'] = { id, session: sessions.find(id) } satisfies Visitor
      else set(ctx, makeId())
      return next()
    },
    become(ctx, id) {
      sessions.end(readVisitor(ctx).id)
      set(ctx, id)
    },
  }
}

function readVisitor(ctx: Context): Visitor {
  return ctx.state['visitor'] as Visitor
}
