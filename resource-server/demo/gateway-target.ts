/** A service behind the gateway, and what is asked of it. */
export interface Route {
  /** `/`, or whole segments without a slash at the end: `/orders` serves `/orders/7`, not `/orders7`. */
  readonly prefix: string
  /** Scheme, host and port, nothing else. */
  readonly origin: URL
  /**
   * The identifier of the service at the issuer, where it gets a token of its own. Otherwise it is shown
   * the caller's.
   */
  readonly resource?: string | undefined
}

/** Why a request goes nowhere. */
export type TargetRefusal =
  | { readonly kind: 'not_a_path' }
  | { readonly kind: 'too_long' }
  | { readonly kind: 'ambiguous_path' }
  | { readonly kind: 'no_route' }

export type Target =
  | { readonly ok: true; readonly route: Route; readonly path: string }
  | { readonly ok: false; readonly reason: TargetRefusal }

const MAX_TARGET_LENGTH = 8192
/** RFC 3986 §3.3 and §3.4, stricter than Node's parser: no fragment, backslash or raw bytes. */
const ORIGIN_FORM = /^\/[\w\-.~%!$&'()*+,;=:@/]*(\?[\w\-.~%!$&'()*+,;=:@/?[\]|^{}"<>`]*)?$/

/**
 * Chooses the service that a request is for. The target is passed on as it came: nothing of it is
 * decoded, resolved or joined, so it cannot mean another path or host after the choice than before it.
 * What services read in different ways is refused: dot segments, empty ones, slashes and controls that
 * are encoded, once or twice.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9112.html#section-3.2 RFC 9112 §3.2}
 */
export function chooseTarget(target: string, routes: readonly Route[]): Target {
  if (target.length > MAX_TARGET_LENGTH) return refuse('too_long')
  // Also what is in absolute form, which names a host, and what only looks like a path: //host/.
  if (!ORIGIN_FORM.test(target)) return refuse('not_a_path')
  const [path = ''] = target.split('?', 1)
  if (!path.slice(1).split('/').every(isPlainSegment)) return refuse('ambiguous_path')
  const route = routes
    .filter(({ prefix }) => prefix === '/' || path === prefix || path.startsWith(`${prefix}/`))
    .toSorted((a, b) => b.prefix.length - a.prefix.length)[0]
  return route === undefined ? refuse('no_route') : { ok: true, route, path: target }
}

/** An empty one is plain at the end only. */
function isPlainSegment(segment: string, index: number, all: readonly string[]): boolean {
  if (segment === '') return index === all.length - 1
  const once = decode(segment)
  const twice = once === undefined ? undefined : (decode(once) ?? once)
  if (once === undefined || twice === undefined) return false
  // Some services take what stands after a semicolon away before they resolve dots.
  const isDots = [once, twice].some((text) => /^\.{1,2}(;|$)/.test(text))
  return !isDots && !/[/\\\p{Cc}\uFFFD]/u.test(once + twice)
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

function refuse(kind: TargetRefusal['kind']): Target {
  return { ok: false, reason: { kind } }
}
