/** Names and values in turns, as Node reads and writes them: order and repetition are kept. */
export type RawHeaders = readonly string[]

/** How the caller is known to the service behind. */
export interface Passage {
  readonly method: string
  readonly requestId: string
  /** The address that the request came from, and the host that it asked for. */
  readonly clientAddress: string
  readonly host: string
  /** `host:port` of the service. */
  readonly upstreamHost: string
  /** What this gateway calls itself in `Via`. */
  readonly pseudonym: string
  readonly token: string
  /** What is passed on besides `PASSED`, in lower case. */
  readonly alsoPassed: ReadonlySet<string>
}

/** How an answer comes back to the client. */
export interface Return {
  readonly status: number
  readonly requestId: string
  /** Whether the token came in a header of its own, of which caches do not know that it is one. */
  readonly isTokenApart: boolean
  readonly hideServices: HideServices
}

/** @see {@link https://www.rfc-editor.org/rfc/rfc9110.html#section-7.6.1 RFC 9110 §7.6.1} */
const HOP_BY_HOP = [
  'connection',
  'http2-settings',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authentication-info',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]

/**
 * What a service may be told by the client. Everything else is taken away: by which headers services
 * behind proxies are told who is asking, for what, or from where, nobody can list, and each of them
 * is a lie if a client writes it.
 */
const PASSED = new Set(
  `accept accept-charset accept-encoding accept-language baggage cache-control content-digest
  content-disposition content-encoding content-language content-range content-type idempotency-key
  if-match if-modified-since if-none-match if-range if-unmodified-since last-event-id origin pragma
  prefer priority range repr-digest sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-user
  traceparent tracestate user-agent want-content-digest want-repr-digest`.split(/\s+/),
)

/**
 * What proves to the gateway alone who is asking. A cookie would let a service know its caller by
 * something that nobody has checked here.
 */
const CREDENTIALS = ['authorization', 'token', 'dpop', 'cookie', 'cookie2']
const WRITTEN_ANEW = ['host', 'expect', 'via', 'content-length', 'forwarded', 'x-request-id']
/** What nobody can let through. */
const NEVER_PASSED = new Set([...HOP_BY_HOP, ...CREDENTIALS, ...WRITTEN_ANEW])

/**
 * What an answer does not bring to the client: cookies and rules for a whole host, which services here
 * have in common; what a service says about credentials that the client has not shown it; what a proxy in front of the gateway would obey; what tells strangers what runs here.
 */
const NOT_BROUGHT_BACK = [
  ...HOP_BY_HOP,
  ...`alt-svc authentication-info clear-site-data expect-ct nel public-key-pins report-to reporting-endpoints server
  service-worker-allowed set-cookie set-cookie2 strict-transport-security via x-lighttpd-send-file
  x-powered-by x-reproxy-url x-request-id x-sendfile`.split(/\s+/),
]
/** As nginx's `X-Accel-Redirect`, by which a path of the proxy's own is answered. */
const OBEYED_BY_PROXIES = 'x-accel-'

/** @see {@link https://www.w3.org/TR/trace-context/#traceparent-header Trace Context} */
const TRACE_PARENT = /^(?!ff)[\da-f]{2}-(?!0{32})[\da-f]{32}-(?!0{16})[\da-f]{16}-[\da-f]{2}(-.*)?$/
const HOST = /^((\[[\da-f:.]+\]|[\w.-]+)(:\d{1,5})?)?$/i
const NO_STORE = /(^|,)\s*no-store\s*(,|$)/i
/** No underscore: CGI and its heirs read one as a dash. */
const NAME = /^[a-z\d-]{1,100}$/

/** Whether an operator may let the header through, by its name in lower case. */
export function isPassable(lowerName: string): boolean {
  return NAME.test(lowerName) && !NEVER_PASSED.has(lowerName)
}

/** The headers of the request to the service behind. The framing is that of the request that came. */
export function passRequestHeaders(raw: RawHeaders, passage: Passage): string[] {
  const named = new Set(listNamed(raw))
  const hasTrace = hasTraceParent(raw)
  const kept = filterHeaders(raw, (name) => {
    if (named.has(name) || (!hasTrace && TRACE.includes(name))) return false
    return PASSED.has(name) || passage.alsoPassed.has(name)
  })
  return [
    'Host',
    passage.upstreamHost,
    ...kept,
    ...frameBody(raw, passage.method),
    'Authorization',
    `Bearer ${passage.token}`,
    'Forwarded',
    describeForwarding(passage),
    'Via',
    [...valuesOf(raw, 'via'), `1.1 ${passage.pseudonym}`].join(', '),
    'X-Request-Id',
    passage.requestId,
  ]
}

const TRACE: readonly string[] = ['traceparent', 'tracestate']

/**
 * The headers of the answer to the client. Only with 403 may a service say what the token lacks
 * (RFC 6750 §3.1).
 */
export function passResponseHeaders(
  raw: RawHeaders,
  { status, requestId, isTokenApart, hideServices }: Return,
): string[] {
  const dropped = new Set([...NOT_BROUGHT_BACK, ...listNamed(raw)])
  if (status !== 403) dropped.add('www-authenticate')
  // Which a service named in `Connection` or not: how long the body is only the framing says.
  dropped.delete('content-length')
  // RFC 9110 §8.6: an answer that never has a body has no length of one.
  if (status === 204) dropped.add('content-length')
  const kept = filterHeaders(raw, (name) => {
    // A proxy in front may read an underscore as a dash.
    const read = name.replaceAll('_', '-')
    return !dropped.has(name) && !dropped.has(read) && !read.startsWith(OBEYED_BY_PROXIES)
  })
  return [...hideServices(kept), ...restrictCaching(kept, isTokenApart), 'X-Request-Id', requestId]
}

/**
 * Whether the body has a coding besides `chunked`, such as `gzip`: Node takes off the chunks and leaves
 * the rest, and the header that says so is of this connection alone. Whoever read on would take what is
 * packed for the body.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9112.html#section-6.1 RFC 9112 §6.1}
 */
export function isCodedInTransfer(raw: RawHeaders): boolean {
  const coding = valuesOf(raw, 'transfer-encoding').join(',').trim().toLowerCase()
  return coding !== '' && coding !== 'chunked'
}

/** @see {@link https://www.rfc-editor.org/rfc/rfc9111.html#section-3.5 RFC 9111 §3.5} */
function restrictCaching(kept: RawHeaders, isTokenApart: boolean): string[] {
  const said = valuesOf(kept, 'cache-control').join(',')
  if (said === '') return ['Cache-Control', 'no-store']
  // With `Authorization`, shared caches keep only what the service has called public.
  return isTokenApart && !NO_STORE.test(said) ? ['Cache-Control', 'private'] : []
}

/** Whether this gateway has had the request before: then it goes round in a circle. */
export function isLoop(raw: RawHeaders, pseudonym: string): boolean {
  return valuesOf(raw, 'via').some((value) => value.includes(pseudonym))
}

/**
 * Whether it is said at most once, and in a form of RFC 9110 §7.2, which host is asked.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9112.html#section-3.2 RFC 9112 §3.2}
 */
export function hasOneHost(raw: RawHeaders): boolean {
  const [host = '', ...others] = valuesOf(raw, 'host')
  return others.length === 0 && HOST.test(host)
}

export function valuesOf(raw: RawHeaders, lowerName: string): string[] {
  return raw.filter((_text, at) => at % 2 === 1 && raw[at - 1]?.toLowerCase() === lowerName)
}

function filterHeaders(raw: RawHeaders, isKept: (lowerName: string) => boolean): string[] {
  return raw.filter((_text, at) => isKept((raw[at - (at % 2)] ?? '').toLowerCase()))
}

/** The headers that `Connection` names belong to this connection alone. */
function listNamed(raw: RawHeaders): string[] {
  return valuesOf(raw, 'connection').flatMap((value) =>
    value.split(',').map((name) => name.trim().toLowerCase()),
  )
}

/** As the body came, so it goes on: Node has made sure that only one of the two is there. */
function frameBody(raw: RawHeaders, method: string): string[] {
  const [length] = valuesOf(raw, 'content-length')
  if (length !== undefined) return ['Content-Length', length]
  if (valuesOf(raw, 'transfer-encoding').length > 0) return ['Transfer-Encoding', 'chunked']
  // RFC 9110 §8.6: of these methods a body is expected, so it is said that there is none.
  return ['POST', 'PUT', 'PATCH'].includes(method) ? ['Content-Length', '0'] : []
}

function hasTraceParent(raw: RawHeaders): boolean {
  const [parent, ...others] = valuesOf(raw, 'traceparent')
  return parent !== undefined && others.length === 0 && TRACE_PARENT.test(parent)
}

/** @see {@link https://www.rfc-editor.org/rfc/rfc7239.html#section-4 RFC 7239 §4} */
function describeForwarding({ clientAddress, host }: Passage): string {
  const address = clientAddress.includes(':') ? `[${clientAddress}]` : clientAddress
  const asked = host === '' ? '' : `;host="${host}"`
  return `for="${address}"${asked};proto=http`
}

/** Where services really are is nobody's business: takes it out of the headers of an answer. */
export type HideServices = (raw: RawHeaders) => string[]

/**
 * A reference in `Location`, `Content-Location` or `Link` that names one of these origins becomes a
 * path. Any other header that names one is taken away.
 */
export function createHideServices(origins: readonly URL[]): HideServices {
  const known = new Set(origins.map(({ origin }) => origin))
  const hosts = origins.map(({ host }) => host.replaceAll(/[^\w:]/g, String.raw`\$&`))
  const naming = new RegExp(`(?<![\\w.-])(${hosts.join('|')})(?![\\w.-])`, 'i')
  const hide = (name: string, value: string) => {
    switch (name.toLowerCase()) {
      case 'location':
      case 'content-location':
        return hideOrigin(value, known)
      case 'link':
        return value.replaceAll(/<([^>]*)>/g, (_all, to: string) => `<${hideOrigin(to, known)}>`)
      default:
        return value
    }
  }
  return (raw) =>
    raw.flatMap((value, at) => {
      const name = raw[at - 1]
      if (at % 2 === 0 || name === undefined) return []
      const shown = hide(name, value)
      return naming.test(shown) ? [] : [name, shown]
    })
}

/** As browsers read it: with slashes of either kind, or with none after the scheme. */
function hideOrigin(reference: string, origins: ReadonlySet<string>): string {
  const readings = [undefined, 'http://gateway.invalid', 'https://gateway.invalid'].map((base) =>
    URL.parse(reference, base),
  )
  const named = readings.find((url) => url !== null && origins.has(url.origin))
  if (!named) return reference
  const { pathname, search, hash } = named
  // RFC 3986 §4.2: what begins with two slashes is a host, and would be anybody's.
  return `${pathname.startsWith('//') ? '/.' : ''}${pathname}${search}${hash}`
}
