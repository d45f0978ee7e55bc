import { echo } from './echo.ts'
import type { RuleId } from './rules.ts'

/** RFC 6761 §6.3 and the loopback addresses. */
export function isLoopback(host: string): boolean {
  const bare = host.replace(/^\[|\]$/g, '').toLowerCase()
  return bare === 'localhost' || bare === '::1' || /^127(?:\.\d{1,3}){3}$/.test(bare)
}

/** Whether it is of a scheme in which the host says who answers. */
export function isWebUri(uri: string): boolean {
  return /^https?:$/.test(URL.parse(uri)?.protocol ?? '')
}

/** The only hosts on which the engine lets a native app choose its port (RFC 8252 §7.3). */
const NATIVE_LOOPBACK = new Set(['localhost', '127.0.0.1', '[::1]'])
/** Schemes that a browser runs or opens locally instead of calling an app. */
const NEVER_A_REDIRECT =
  /^(?:javascript|vbscript|data|blob|file|filesystem|about|ws|wss|ftp|mailto|tel|view-source):$/

type Fault = { readonly rule: RuleId; readonly message: string }

/**
 * What is wrong with a place that people are sent back to, or `undefined`. Expects an absolute URI
 * without a fragment (the schema's rule).
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9700.html#section-2.1 RFC 9700 §2.1}
 * @see {@link https://www.rfc-editor.org/rfc/rfc8252.html#section-7 RFC 8252 §7}
 */
export function judgeRedirectUri(
  uri: string,
  applicationType: 'web' | 'native',
): Fault | undefined {
  const { protocol, hostname, username, password } = new URL(uri)
  const got = `got ${echo(uri)}`
  if (NEVER_A_REDIRECT.test(protocol)) {
    return { rule: 'PR310', message: `a browser must not be sent to ${protocol} URIs, ${got}` }
  }
  if (uri.includes('*')) {
    return { rule: 'PR312', message: `redirect URIs are compared exactly, * included, ${got}` }
  }
  if (username !== '' || password !== '') {
    return { rule: 'PR313', message: `expected a URI without user name or password, ${got}` }
  }
  if (protocol === 'https:' || protocol === 'http:') {
    return judgeWebUri(protocol, hostname, applicationType, got)
  }
  if (applicationType === 'web') {
    return { rule: 'PR314', message: `a custom scheme needs applicationType "native", ${got}` }
  }
  if (!protocol.includes('.')) {
    const example = 'com.example.app:/callback'
    return { rule: 'PR314', message: `expected a scheme with a dot, such as ${example}, ${got}` }
  }
  return undefined
}

function judgeWebUri(
  protocol: string,
  hostname: string,
  applicationType: 'web' | 'native',
  got: string,
): Fault | undefined {
  if (protocol === 'http:' && !isLoopback(hostname)) {
    return { rule: 'PR311', message: `expected https, because the host is not loopback, ${got}` }
  }
  if (applicationType === 'web') return undefined
  if (protocol === 'http:' && !NATIVE_LOOPBACK.has(hostname)) {
    return { rule: 'PR315', message: `expected localhost, 127.0.0.1 or [::1] as the host, ${got}` }
  }
  if (protocol === 'https:' && isLoopback(hostname)) {
    return { rule: 'PR315', message: `expected http for a loopback host of a native app, ${got}` }
  }
  return undefined
}

/**
 * What is wrong with a place that this server itself sends to, or `undefined`. Expects an absolute URI
 * without a fragment (the schema's rule). Where its name leads is not checked.
 */
export function judgeCallUri(uri: string): string | undefined {
  const { protocol, hostname, username, password } = new URL(uri)
  if (username !== '' || password !== '') {
    return `expected a URI without user name or password, got ${echo(uri)}`
  }
  if (protocol === 'https:' || (protocol === 'http:' && isLoopback(hostname))) return undefined
  return `expected https (http on loopback only), got ${echo(uri)}`
}

/** What is wrong with a page of an application that people are led to, or `undefined`. */
export function judgePage(uri: string): string | undefined {
  return URL.canParse(uri) ? judgeCallUri(uri) : `expected the address of a page, got ${echo(uri)}`
}

/** Whether `text` is an origin just as a browser sends it: no slash at the end, no default port. */
export function isExactOrigin(text: string): boolean {
  if (!URL.canParse(text)) return false
  const { origin, protocol } = new URL(text)
  return origin === text && (protocol === 'https:' || protocol === 'http:')
}

/** Whether people are asked for consent there whatever the client says of itself. */
export function isUnprovenPlace(uri: string): boolean {
  const { protocol, hostname } = new URL(uri)
  return (protocol !== 'https:' && protocol !== 'http:') || isLoopback(hostname)
}
