import type { Interaction, KoaContextWithOIDC } from 'oidc-provider'
import type { Clock } from '../clock.ts'

type Context = Pick<KoaContextWithOIDC, 'get' | 'secure' | 'cookies'>

/*
 * Remembers in a browser which interactions it has started, one cookie for each.
 *
 * The engine's own cookies have a path, so they cannot be named `__Host-`: a subdomain beside ours can
 * plant those of an interaction that its owner has started, to have somebody sign in for him, or to
 * have them signed in as him. These cookies have no path, and on https a browser takes them from this
 * host alone. On plain http nothing keeps a neighbour from planting cookies.
 *
 * Their presence is all that counts. A signature would prove nothing: who can plant a cookie can get one
 * for an interaction of his own. One for each, because tabs that start at once would overwrite a list.
 *
 * @see {@link https://www.ietf.org/archive/id/draft-ietf-httpbis-rfc6265bis-20.html#section-4.1.3 RFC 6265bis §4.1.3}
 */

/** More than anybody has open; each is some 60 bytes of every request. */
const MAX_INTERACTIONS = 10

/** Whether this browser has started the interaction, and has not ended it. */
export function isOwnInteraction(ctx: Context, uid: string): boolean {
  return listInteractions(ctx).some((own) => own.uid === uid)
}

/** The oldest is forgotten where there are too many. */
export function rememberInteraction(ctx: Context, { uid, exp }: Interaction, clock: Clock): void {
  const now = clock.now()
  const newestFirst = listInteractions(ctx).toSorted((one, other) => other.at - one.at)
  for (const own of newestFirst.slice(MAX_INTERACTIONS - 1)) forgetInteraction(ctx, own.uid)
  ctx.cookies.set(nameCookie(ctx, uid), String(now), {
    ...attributes(ctx),
    maxAge: exp * 1000 - now,
  })
}

export function forgetInteraction(ctx: Context, uid: string): void {
  ctx.cookies.set(nameCookie(ctx, uid), null, attributes(ctx))
}

/** Whoever signs out leaves nothing behind that could be gone on with, but what the browser goes to next. */
export function forgetInteractions(ctx: Context, kept: string | undefined): void {
  for (const { uid } of listInteractions(ctx)) if (uid !== kept) forgetInteraction(ctx, uid)
}

/** The scheme is that of the issuer: see `http/proxy.ts`. */
function nameCookie({ secure }: Context, uid: string): string {
  return `${secure ? '__Host-' : ''}interaction-${uid}`
}

function attributes({ secure }: Context) {
  return { path: '/', httpOnly: true, sameSite: 'lax', secure, signed: false } as const
}

/**
 * Not by `ctx.cookies.get`, which keeps a pattern in memory for every name. Nothing but the space after
 * a semicolon is skipped: a name that begins with other white space has no prefix for a browser.
 */
function listInteractions(ctx: Context): { uid: string; at: number }[] {
  const name = nameCookie(ctx, '')
  const ours = ctx
    .get('cookie')
    .split(/; ?/)
    .filter((pair) => pair.startsWith(name))
  return ours.flatMap((pair) => {
    const [, uid, at] = /^([\w-]+)=(\d{1,16})$/.exec(pair.slice(name.length)) ?? []
    return uid === undefined ? [] : [{ uid, at: Number(at) }]
  })
}
