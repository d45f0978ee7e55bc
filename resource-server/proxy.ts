import { BlockList, isIP, SocketAddress } from 'node:net'
import type { RequestFacts } from './extractors.ts'
import { readNames } from './options.ts'

/** Whether a request was handed over by a proxy whose headers are to be believed. */
export type ProxyTrust = (req: Pick<RequestFacts, 'socket'>) => boolean

/**
 * Trusts the peers with these addresses, each one address or a range such as `10.0.0.0/8`. The peer is
 * who opened the connection: no header has a say in it.
 *
 * Throws a `TypeError` for what is neither. **Warning:** whoever may connect from such an address may
 * claim any certificate.
 */
export function createProxyTrust(trustedProxies: readonly string[]): ProxyTrust {
  if (!Array.isArray(trustedProxies)) throw new TypeError('trustedProxies: expected a list')
  // One for each family: a list answers for an IPv4 address also by its ranges of IPv6, and all of
  // IPv4 is within `::/0`.
  const lists = { ipv4: new BlockList(), ipv6: new BlockList() }
  for (const range of trustedProxies) addRange(lists, range)
  return ({ socket }) => {
    const { remoteAddress = '' } = socket ?? {}
    // An IPv4 peer, as a socket for both families shows it; and without the zone of a local address.
    const address = remoteAddress.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/s, '')
    const family = isIP(address)
    if (family === 0) return false
    return family === 4 ? lists.ipv4.check(address, 'ipv4') : lists.ipv6.check(address, 'ipv6')
  }
}

/** The IPv4 addresses as IPv6 writes them. */
const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/
const MAPPED_BITS = 96

function addRange(lists: Readonly<Record<'ipv4' | 'ipv6', BlockList>>, range: unknown): void {
  const [, address = '', prefix] = /^([\da-f.:]+)(?:\/(\d{1,3}))?$/i.exec(String(range)) ?? []
  const family = isIP(address)
  const longest = family === 6 ? 128 : 32
  const bits = Number(prefix ?? longest)
  if (family === 0 || bits > longest) {
    throw new TypeError(
      `trustedProxies: expected an address or a range such as 10.0.0.0/8, not ${JSON.stringify(range)}`,
    )
  }
  if (family === 4) {
    lists.ipv4.addSubnet(address, bits, 'ipv4')
    return
  }
  const [, mapped] = MAPPED.exec(new SocketAddress({ address, family: 'ipv6' }).address) ?? []
  if (mapped !== undefined && bits >= MAPPED_BITS) {
    lists.ipv4.addSubnet(mapped, bits - MAPPED_BITS, 'ipv4')
  } else {
    lists.ipv6.addSubnet(address, bits, 'ipv6')
  }
}

/** The address that a client asked for, without the query; several where it may be each of them. */
export type RequestUrlReader = (
  req: Pick<RequestFacts, 'url' | 'headers' | 'socket'>,
) => readonly string[]

/**
 * Finds what a client asked for, to be compared with what its proof says (`htu`).
 *
 * Only addresses below `publicUrls` come out of it, whatever a request says: a header `Host` is written
 * by the client, and with it a proof that was made for another server would fit this one. Of several,
 * a proxy that is trusted says which one it was, in `Forwarded` or in `X-Forwarded-Proto` and
 * `X-Forwarded-Host` (the last entries, which it wrote itself); where that is none of them, where the
 * two kinds of headers say different things, or where no trusted proxy says anything, it is the first.
 * A path in a public URL is what the proxy in front takes away. Of several with one origin, nothing
 * says any more which path that was, so it may be each of them.
 *
 * Throws a `TypeError` that names the option.
 */
export function createRequestUrlReader(
  publicUrls: string | readonly string[],
  trust: ProxyTrust,
): RequestUrlReader {
  const bases = readNames('publicUrl', publicUrls).map(readBase)
  const origins = bases.map((base) => new URL(base).origin)
  const byOrigin = new Map(
    origins.map((origin) => [origin, bases.filter((_base, index) => origins[index] === origin)]),
  )
  const [first = []] = byOrigin.values()
  return (req) => {
    const origin = byOrigin.size > 1 && trust(req) ? readForwardedOrigin(req) : undefined
    const path = readPath(req)
    return (byOrigin.get(origin ?? '') ?? first).map((base) => base + path)
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
function readPath({ url = '' }: Pick<RequestFacts, 'url'>): string {
  const [path = ''] = url.replace(/^https?:\/\/[^/?#]*/i, '').split(/[?#]/, 1)
  return path.startsWith('/') ? path : `/${path}`
}

/**
 * A proxy that writes one kind of these headers passes on what the client wrote into the other, so two
 * kinds that differ say nothing.
 */
function readForwardedOrigin({ headers }: Pick<RequestFacts, 'headers'>): string | undefined {
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
