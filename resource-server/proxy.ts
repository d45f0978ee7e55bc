import type { IncomingMessage } from 'node:http'
import { BlockList, isIP } from 'node:net'
import { readNames } from './options.ts'

/** Whether a request was handed over by a proxy whose headers are to be believed. */
export type ProxyTrust = (req: Pick<IncomingMessage, 'socket'>) => boolean

/**
 * Trusts the peers with these addresses, each one address or a range such as `10.0.0.0/8`. The peer is
 * who opened the connection: no header has a say in it.
 *
 * Throws a `TypeError` for what is neither. **Warning:** whoever may connect from such an address may
 * claim any certificate.
 */
export function createProxyTrust(trustedProxies: readonly string[]): ProxyTrust {
  const list = new BlockList()
  for (const range of trustedProxies) addRange(list, range)
  return ({ socket: { remoteAddress = '' } }) => {
    // An IPv4 peer, as a socket for both families shows it.
    const address = remoteAddress.replace(/^::ffff:(?=\d+\.)/i, '')
    const family = isIP(address)
    return family !== 0 && list.check(address, family === 6 ? 'ipv6' : 'ipv4')
  }
}

function addRange(list: BlockList, range: unknown): void {
  const [, address = '', prefix] = /^([\da-f.:]+)(?:\/(\d{1,3}))?$/i.exec(String(range)) ?? []
  const family = isIP(address)
  const longest = family === 6 ? 128 : 32
  const bits = Number(prefix ?? longest)
  if (family === 0 || bits > longest) {
    throw new TypeError(
      `trustedProxies: expected an address or a range such as 10.0.0.0/8, not ${JSON.stringify(range)}`,
    )
  }
  list.addSubnet(address, bits, family === 6 ? 'ipv6' : 'ipv4')
}

/** The address that a client asked for, without the query. */
export type RequestUrlReader = (req: Pick<IncomingMessage, 'url' | 'headers' | 'socket'>) => string

/**
 * Finds what a client asked for, to be compared with what its proof says (`htu`).
 *
 * Only addresses below `publicUrls` come out of it, whatever a request says: a header `Host` is written
 * by the client, and with it a proof that was made for another server would fit this one. Of several,
 * a proxy that is trusted says which one it was, in `Forwarded` or in `X-Forwarded-Proto` and
 * `X-Forwarded-Host` (the last entries, which it wrote itself); where that is none of them, where the
 * two kinds of headers say different things, or where no trusted proxy says anything, it is the first.
 * A path in a public URL is what the proxy in front takes away.
 *
 * Throws a `TypeError` that names the option.
 */
export function createRequestUrlReader(
  publicUrls: string | readonly string[],
  trust: ProxyTrust,
): RequestUrlReader {
  const bases = readNames('publicUrl', publicUrls).map(readBase)
  const [first = '', ...others] = bases
  if (others.length === 0) return (req) => first + readPath(req)
  return (req) => {
    const origin = trust(req) ? readForwardedOrigin(req) : undefined
    const named = bases.find((base) => URL.parse(base)?.origin === origin)
    return (named ?? first) + readPath(req)
  }
}

function readBase(url: string): string {
  const parsed = URL.parse(url)
  const isHttp = parsed?.protocol === 'https:' || parsed?.protocol === 'http:'
  if (!parsed || !isHttp || /[?#\s]/.test(url) || parsed.username + parsed.password !== '') {
    throw new TypeError(
      `publicUrl: expected a URL of http without query and credentials, not ${JSON.stringify(url)}`,
    )
  }
  return parsed.origin + parsed.pathname.replace(/\/+$/, '')
}

/**
 * A request may also name the whole URL (RFC 9112 §3.2.2): then what stands before the path is passed
 * over. What has no path behind that is kept out of the host: it is a path that no proof names.
 */
function readPath({ url = '' }: Pick<IncomingMessage, 'url'>): string {
  const [path = ''] = url.replace(/^https?:\/\/[^/?#]*/i, '').split(/[?#]/, 1)
  return path.startsWith('/') ? path : `/${path}`
}

/**
 * A proxy that writes one kind of these headers passes on what the client wrote into the other, so two
 * kinds that differ say nothing.
 */
function readForwardedOrigin({ headers }: Pick<IncomingMessage, 'headers'>): string | undefined {
  const { forwarded, 'x-forwarded-proto': protocol, 'x-forwarded-host': host } = headers
  const standard = readForwarded(lastOf(forwarded) ?? '')
  const customary = { proto: lastOf(protocol), host: lastOf(host) }
  const hasCustomary = protocol !== undefined || host !== undefined
  const told = forwarded === undefined ? customary : standard
  const origin = toOrigin(told.proto, told.host ?? headers.host)
  if (forwarded === undefined || !hasCustomary) return origin
  const other = toOrigin(customary.proto, customary.host ?? headers.host)
  return origin === other ? origin : undefined
}

/** @see {@link https://www.rfc-editor.org/rfc/rfc7239.html#section-4 RFC 7239 §4} */
function readForwarded(element: string): { readonly [parameter: string]: string | undefined } {
  const parameters = element.split(';').map((pair) => {
    const [, name = '', quoted, plain] = /^\s*(\w+)=(?:"([^"\\]*)"|([^"\s]+))\s*$/.exec(pair) ?? []
    return [name.toLowerCase(), quoted ?? plain] as const
  })
  return Object.fromEntries(parameters)
}

/** Of a list, what the proxy that connected to us has added. */
function lastOf(header: string | string[] | undefined): string | undefined {
  return [header ?? []].flat().join(',').split(',').at(-1)?.trim() || undefined
}

function toOrigin(scheme: string | undefined, host: string | undefined): string | undefined {
  const isScheme = /^https?$/i.test(scheme ?? '')
  if (!isScheme || host === undefined || !/^[\w.:[\]-]+$/.test(host)) return undefined
  return URL.parse(`${scheme}://${host}`)?.origin
}
