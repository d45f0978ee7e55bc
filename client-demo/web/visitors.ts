import type { Context, Middleware } from 'koa'
import { makeId, type Session, type Sessions, type SignedOut } from './sessions.ts'

const ID = /^[\w-]{43}$/

/** A browser, by the id in its cookie, and the session that it has once somebody signs in. */
export interface Visitor {
  readonly id: string
  readonly session: Session | undefined
  /** Where the authorization server has ended the session. */
  readonly signedOut: SignedOut | undefined
}

export interface Visitors {
  readonly recognize: Middleware
  of(ctx: Context): Visitor
  /** Gives the browser another id; whatever session went by the old one is over. */
  become(ctx: Context, id: string): void
}

/** `isWatching` tells requests that a page makes by itself: they keep nobody signed in. */
export function createVisitors(
  sessions: Sessions,
  publicUrl: string,
  isWatching: (ctx: Context) => boolean,
): Visitors {
  const secure = publicUrl.startsWith('https:')
  const cookie = nameCookie(publicUrl)
  const set = (ctx: Context, id: string) => {
    ctx.cookies.set(cookie, id, { sameSite: 'lax', httpOnly: true, secure, overwrite: true })
    ctx.state['visitor'] = {
      id,
      session: sessions.find(id),
      signedOut: undefined,
    } satisfies Visitor
  }

  return {
    of: readVisitor,
    recognize(ctx, next) {
      ctx.cookies.secure = secure
      const id = ctx.cookies.get(cookie) ?? ''
      const session = isWatching(ctx) ? sessions.peek(id) : sessions.find(id)
      const signedOut = sessions.findSignedOut(id)
      if (ID.test(id)) ctx.state['visitor'] = { id, session, signedOut } satisfies Visitor
      else set(ctx, makeId())
      return next()
    },
    become(ctx, id) {
      sessions.end(readVisitor(ctx).id)
      set(ctx, id)
    },
  }
}

/**
 * `__Host-` pins a cookie to this host and to https (RFC 6265bis §4.1.3.2). Browsers take it with
 * `Secure` alone, and not all of them keep a secure cookie from http on loopback: Safari does not.
 */
export function nameCookie(publicUrl: string): string {
  return publicUrl.startsWith('https:') ? '__Host-notes' : 'notes'
}

function readVisitor(ctx: Context): Visitor {
  return ctx.state['visitor'] as Visitor
}
