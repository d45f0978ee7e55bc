import type { IncomingHttpHeaders } from 'node:http'
import { isLoopback } from '../config/uri-rules.ts'

/** Written by what passes requests on, from wherever they come. */
const FORWARDING = [
  'cf-connecting-ip',
  'fastly-client-ip',
  'forwarded',
  'true-client-ip',
  'via',
  'x-client-ip',
  'x-cluster-client-ip',
  'x-envoy-external-address',
  'x-original-forwarded-for',
  'x-real-ip',
]
const HOST = /^[\w.:[\]-]+$/

/** A request as it came, from the address of its sender. */
export interface LocalRequest {
  readonly address: string | undefined
  /** The target, as it stands in the first line. */
  readonly url: string | undefined
  readonly headers: IncomingHttpHeaders
}

/**
 * Whether it looks as if a program on this machine has sent it by itself: not a proxy that says so, and
 * not a page in a browser. **A proxy on this machine that says nothing of itself looks the same**, as
 * nginx with a bare `proxy_pass` does: no header can tell, so nobody may put one in front. A page may have made its own name point here (DNS rebinding), so that its
 * requests are of one origin for the browser: the name in `Host` gives it away.
 */
export function isSentByLocalProgram({ address = '', url = '', headers }: LocalRequest): boolean {
  if (!isLoopback(address.replace(/^::ffff:(?=\d+\.)/i, ''))) return false
  const isForwarded = Object.keys(headers).some(
    (name) => FORWARDING.includes(name) || name.startsWith('x-forwarded-'),
  )
  if (isForwarded || headers.origin !== undefined) return false
  const site = headers['sec-fetch-site']
  // `none` is a person who has typed the address.
  if (site !== undefined && site !== 'none') return false
  const { referer } = headers
  if (referer !== undefined && !isLoopback(URL.parse(referer)?.hostname ?? '')) return false
  // RFC 9112 §3.2.2: a target that names a host counts, and not the header.
  const host = URL.parse(url)?.host ?? headers.host ?? ''
  const hostname = HOST.test(host) ? URL.parse(`http://${host}`)?.hostname : undefined
  return hostname !== undefined && isLoopback(hostname)
}
