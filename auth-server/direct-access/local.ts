import type { IncomingHttpHeaders } from 'node:http'
import { isLoopback } from '../config/uri-rules.ts'

/** Written by what passes requests on, from wherever they come. */
const FORWARDING = ['forwarded', 'via', 'x-real-ip']

/** A request as it came, from the address of its sender. */
export interface LocalRequest {
  readonly address: string | undefined
  readonly headers: IncomingHttpHeaders
}

/**
 * Whether a program on this machine has sent it by itself: not a proxy that listens elsewhere, and not a
 * page in a browser. The latter may have made its own name point here (DNS rebinding), so that its
 * requests are of one origin for the browser: the name in `Host` gives it away.
 */
export function isSentByLocalProgram({ address = '', headers }: LocalRequest): boolean {
  if (!isLoopback(address.replace(/^::ffff:(?=\d+\.)/i, ''))) return false
  const isForwarded = Object.keys(headers).some(
    (name) => FORWARDING.includes(name) || name.startsWith('x-forwarded-'),
  )
  if (isForwarded || headers.origin !== undefined) return false
  const site = headers['sec-fetch-site']
  // `none` is a person who has typed the address.
  if (site !== undefined && site !== 'none') return false
  const hostname = URL.parse(`http://${headers.host}`)?.hostname
  return hostname !== undefined && isLoopback(hostname)
}
