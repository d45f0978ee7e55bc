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
 * How the names of headers begin by which services behind proxies are told who is asking, for what, or
 * from where. Written by a client they are lies.
 */
const TOLD_BY_PROXIES = `
  cf- client-cert client-ip fastly- forwarded remote- ssl- true-client-
  x-access x-account x-admin x-amzn- x-api- x-arr- x-auth x-client x-cluster x-consumer x-credential
  x-email x-envoy x-forward x-goog- x-group x-host x-http- x-identity x-internal x-jwt x-method x-ms-
  x-original x-principal x-proxy x-real x-remote x-request-id x-rewrite x-role x-scope x-ssl x-sub
  x-tenant x-tls x-token x-user x-webauth`
  .trim()
  .split(/\s+/)

/**
 * What proves to the gateway alone who is asking. A cookie would let a service know its caller by
 * something that nobody has checked here.
 */
const CREDENTIALS = ['authorization', 'token', 'dpop', 'cookie', 'cookie2']

const WRITTEN_ANEW = ['host', 'expect', 'via', 'content-length']
/** @see {@link https://www.w3.org/TR/trace-context/#traceparent-header Trace Context} */
const TRACE_PARENT = /^(?!ff)[\da-f]{2}-(?!0{32})[\da-f]{32}-(?!0{16})[\da-f]{16}-[\da-f]{2}(-.*)?$/
const HOST = /^(\[[\da-f:.]+\]|[\w.-]+)(:\d{1,5})?$/i

/** The headers of the request to the service behind. The framing is that of the request that came. */
export function passRequestHeaders(raw: RawHeaders, passage: Passage): string[] {
  const dropped = new Set([...HOP_BY_HOP, ...CREDENTIALS, ...WRITTEN_ANEW, ...listNamed(raw)])
  if (!hasTraceParent(raw)) for (const name of ['traceparent', 'tracestate']) dropped.add(name)
  const kept = filterHeaders(
    raw,
    // CGI and its heirs read an underscore as a dash: X_User would come back as X-User.
    (name) => !dropped.has(name) && !isToldByProxies(name) && !name.includes('_'),
  )
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

/**
 * The headers of the answer to the client. A service sets no cookies for the gateway's host; only with
 * 403 may it say what the token lacks (RFC 6750 §3.1).
 */
export function passResponseHeaders(
  raw: RawHeaders,
  { status, requestId, origin }: { status: number; requestId: string; origin: string },
): string[] {
  const dropped = new Set([...HOP_BY_HOP, ...listNamed(raw), 'set-cookie', 'set-cookie2'])
  dropped.add('x-request-id')
  if (status !== 403) dropped.add('www-authenticate')
  // Which a client named in `Connection` or not: how long the body is only the framing says.
  dropped.delete('content-length')
  const kept = filterHeaders(raw, (name) => !dropped.has(name))
  const shown = kept.map((text, at) =>
    at % 2 === 1 && kept[at - 1]?.toLowerCase() === 'location' ? hideOrigin(text, origin) : text,
  )
  // A token in a header of its own does not keep shared caches off (RFC 9111 §3.5).
  const hasCacheControl = valuesOf(raw, 'cache-control').length > 0
  const caching = hasCacheControl ? [] : ['Cache-Control', 'no-store']
  return [...shown, ...caching, 'X-Request-Id', requestId]
}

/** Whether this gateway has had the request before: then it goes round in a circle. */
export function isLoop(raw: RawHeaders, pseudonym: string): boolean {
  return valuesOf(raw, 'via').some((value) => value.includes(pseudonym))
}

export function valuesOf(raw: RawHeaders, lowerName: string): string[] {
  return raw.filter((_text, at) => at % 2 === 1 && raw[at - 1]?.toLowerCase() === lowerName)
}

function filterHeaders(raw: RawHeaders, isKept: (lowerName: string) => boolean): string[] {
  return raw.filter((_text, at) => isKept((raw[at - (at % 2)] ?? '').toLowerCase()))
}

function isToldByProxies(lowerName: string): boolean {
  return TOLD_BY_PROXIES.some((start) => lowerName.startsWith(start))
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
  const asked = HOST.test(host) ? `;host="${host}"` : ''
  return `for="${address}"${asked};proto=http`
}

/** Where the service behind really is, is nobody's business. */
function hideOrigin(location: string, origin: string): string {
  if (location === origin) return '/'
  return location.startsWith(`${origin}/`) ? location.slice(origin.length) : location
}
