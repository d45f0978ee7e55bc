import { BlockList, isIP } from 'node:net'
import type { IncomingMessage } from 'node:http'
import type { Middleware } from 'koa'
import { PortreeveError } from '../errors.ts'
import type { Refuse } from './refuse.ts'

/** Where a request comes from and how its sender addressed it, as far as it can be believed. */
export interface Origin {
  /** The address of the client, not of a proxy that is trusted. */
  readonly address: string
  /** Scheme, host and port as the browser has them; `undefined` where the request does not say. */
  readonly url: string | undefined
  /** Whether a proxy that is trusted has sent it. */
  readonly isFromProxy: boolean
}

/** Peers whose `X-Forwarded-*` headers are believed. Throws `misconfigured` for what is no range. */
export function createTrustedProxies(ranges: readonly string[]): (address: string) => boolean {
  const list = new BlockList()
  for (const range of ranges) addRange(list, range)
  return (address) => {
    const family = isIP(address)
    return family !== 0 && list.check(address, family === 6 ? 'ipv6' : 'ipv4')
  }
}

function addRange(list: BlockList, range: string): void {
  const [address = '', prefix] = range.split('/')
  const family = isIP(address)
  const bits = prefix === undefined ? (family === 6 ? 128 : 32) : Number(prefix)
  if (family === 0 || !/^\d*$/.test(prefix ?? '') || bits > (family === 6 ? 128 : 32)) {
    throw new PortreeveError(
      'misconfigured',
      `A trusted proxy is an address or a range like 10.0.0.0/8, not ${JSON.stringify(range)}.`,
    )
  }
  list.addSubnet(address, bits, family === 6 ? 'ipv6' : 'ipv4')
}

/**
 * Reads the origin of a request. Headers of a peer that is not trusted are ignored; of a chain of
 * proxies, the last entry that a trusted one has written counts.
 */
export function readOrigin(req: IncomingMessage, isTrusted: (address: string) => boolean): Origin {
  const peer = plainAddress(req.socket.remoteAddress ?? '')
  const encrypted = 'encrypted' in req.socket && req.socket.encrypted === true
  const ownScheme = encrypted ? 'https' : 'http'
  if (!isTrusted(peer)) {
    return { address: peer, url: toOrigin(ownScheme, hostOf(req)), isFromProxy: false }
  }
  const scheme = lastOf(req.headers['x-forwarded-proto']) ?? ownScheme
  const host = lastOf(req.headers['x-forwarded-host']) ?? hostOf(req)
  return {
    address: clientAddress(req, peer, isTrusted),
    url: toOrigin(scheme, host),
    isFromProxy: true,
  }
}

/** @see {@link https://www.rfc-editor.org/rfc/rfc9112.html#section-3.2.2 RFC 9112 §3.2.2} */
function hostOf({ url, headers }: IncomingMessage): string | undefined {
  return URL.parse(url ?? '')?.host ?? headers.host
}

function clientAddress(
  req: IncomingMessage,
  peer: string,
  isTrusted: (address: string) => boolean,
): string {
  const hops = listOf(req.headers['x-forwarded-for']).map(dropPort).map(plainAddress)
  const client = hops.toReversed().find((hop) => !isTrusted(hop))
  return client !== undefined && isIP(client) !== 0 ? client : peer
}

/** Some proxies write the port, too: `203.0.113.7:4711`, `[2001:db8::7]:443`. */
function dropPort(hop: string): string {
  const [, bracketed, dotted] = /^(?:\[([^\]]*)\]|([\d.]+))(?::\d+)?$/.exec(hop.trim()) ?? []
  return bracketed ?? dotted ?? hop
}

/** An IPv4 address as itself, also where the socket shows it mapped into IPv6. */
function plainAddress(address: string): string {
  return address.trim().replace(/^::ffff:(?=\d+\.)/i, '')
}

function listOf(header: string | string[] | undefined): string[] {
  return [header ?? []].flat().flatMap((value) => value.split(','))
}

function lastOf(header: string | string[] | undefined): string | undefined {
  return listOf(header).at(-1)?.trim() || undefined
}

function toOrigin(scheme: string, host: string | undefined): string | undefined {
  if (scheme !== 'http' && scheme !== 'https') return undefined
  if (host === undefined || !/^[\w.:[\]-]+$/.test(host)) return undefined
  return URL.parse(`${scheme}://${host}`)?.origin
}

/**
 * Refuses requests that were not sent to the URL that is expected of them, the issuer's own or the one for
 * certificates, because every link, cookie and token that they would lead to is for that URL. What a proxy wrote is replaced by what was found out, so
 * that the engine cannot be told anything else.
 */
export function requireOwnOrigin(
  expect: (request: IncomingMessage) => string,
  isTrusted: (address: string) => boolean,
  refuse: Refuse,
): Middleware {
  return async (ctx, next) => {
    const { address, url, isFromProxy } = readOrigin(ctx.req, isTrusted)
    ctx.state['address'] = address
    ctx.state['isFromProxy'] = isFromProxy
    const expected = expect(ctx.req)
    if (url !== expected) {
      refuse(ctx, {
        status: 421,
        error: 'misdirected_request',
        description: `This server is ${expected}, but the request was sent to ${url ?? 'an unreadable host'}. Use that URL; behind a proxy, let it pass Host and X-Forwarded-Proto, and name its address in trustedProxies.`,
      })
      return
    }
    const { host, protocol } = new URL(expected)
    ctx.req.headers.host = host
    ctx.req.headers['x-forwarded-host'] = host
    ctx.req.headers['x-forwarded-proto'] = protocol.slice(0, -1)
    ctx.req.headers['x-forwarded-for'] = address
    await next()
  }
}

/** Notes where a request comes from, whatever it calls this server. */
export function noteAddress(isTrusted: (address: string) => boolean): Middleware {
  return async (ctx, next) => {
    ctx.state['address'] = readOrigin(ctx.req, isTrusted).address
    await next()
  }
}
