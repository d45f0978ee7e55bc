import { lookup, type LookupAddress } from 'node:dns'
import { lookup as lookUp, Resolver } from 'node:dns/promises'
import { request as requestByHttp, type IncomingMessage } from 'node:http'
import { request as requestByHttps } from 'node:https'
import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'
import { PortreeveError } from './errors.ts'

/**
 * `address`: it leads, or may lead, to an address that strangers must not make this server call.
 * `scheme`: neither https nor http on loopback. `too_large`, `encoded`: the answer. `network`: no answer.
 */
export type OutboundFault =
  | 'address'
  | 'scheme'
  | 'too_large'
  | 'encoded'
  | 'timeout'
  | 'stopped'
  | 'network'

/** Why nothing was fetched. The message names the host, for operators: strangers learn nothing of it. */
export class OutboundError extends Error {
  override readonly name = 'OutboundError'
  readonly fault: OutboundFault

  constructor(fault: OutboundFault, message: string, options?: ErrorOptions) {
    super(message, options)
    this.fault = fault
  }
}

export interface OutboundRequest {
  readonly method?: string | undefined
  readonly headers?: Headers | Readonly<Record<string, string>> | undefined
  readonly body?: string | undefined
  readonly signal?: AbortSignal | undefined
  /** The most bytes that the answer may have. Default: 256 KiB. */
  readonly mostBytes?: number | undefined
  /**
   * The status is the answer, and the connection ends with it: what comes after it, packed, long or
   * without an end, is not read. Default: false.
   */
  readonly isStatusEnough?: boolean | undefined
}

/**
 * Fetches from a place that a client has named. Never follows a redirect: it is the answer.
 * Throws `OutboundError`.
 */
export type OutboundFetch = (url: string | URL, request?: OutboundRequest) => Promise<Response>

export interface OutboundOptions {
  /** CIDR ranges of special addresses that may be called all the same. */
  readonly networks: readonly string[]
  /** Every address that a name leads to. Default: as DNS says. */
  readonly resolve?: (host: string) => Promise<readonly LookupAddress[]>
  /** Who is asked for names. Default: whom the operating system asks. */
  readonly nameServers?: readonly string[] | undefined
}

const TIMEOUT_MS = 5000
const MOST_BYTES = 256 * 1024
const NAME_TIMEOUT_MS = 2000

/**
 * Makes a `fetch` for addresses that others choose. It calls public addresses and those in `networks`
 * and no others, whatever name leads there: a name is looked up once, all of its addresses have to be
 * allowed, and the connection goes to one of them (no rebinding). Proxies of the environment are not used.
 *
 */
export function createOutboundFetch({
  networks,
  nameServers,
  resolve = (host) => resolveName(host, nameServers),
}: OutboundOptions): OutboundFetch {
  const allowed = networks.map(parseNetwork)
  const judge = (address: string): 'public' | 'allowed' | 'forbidden' => {
    const parsed = parseAddress(address)
    if (allowed.some((network) => isWithin(parsed, network))) return 'allowed'
    return isPublic(parsed) && !address.includes('%') ? 'public' : 'forbidden'
  }

  const pin = async ({ protocol, hostname }: URL): Promise<readonly LookupAddress[]> => {
    const host = hostname.replace(/^\[|\]$/g, '')
    if (protocol !== 'https:' && protocol !== 'http:') {
      throw new OutboundError('scheme', `${host} is to be called by ${protocol}`)
    }
    const addresses = await resolve(host).catch((cause: unknown) => {
      throw new OutboundError('network', `${host} leads nowhere`, { cause })
    })
    if (addresses.length === 0) throw new OutboundError('network', `${host} leads nowhere`)
    for (const { address } of addresses) {
      if (judge(address) !== 'forbidden') continue
      const message = `${host} leads to ${address}, which is no public address: see outbound.networks`
      throw new OutboundError('address', message)
    }
    const isLoopback = addresses.every(
      ({ address }) => parseAddress(address).range() === 'loopback',
    )
    if (protocol === 'http:' && !isLoopback) {
      throw new OutboundError('scheme', `${host} is to be called without TLS`)
    }
    return addresses
  }

  return async (target, request = {}) => {
    const url = new URL(target)
    const late = AbortSignal.timeout(TIMEOUT_MS)
    const signal = AbortSignal.any(request.signal ? [late, request.signal] : [late])
    try {
      const addresses = await abortable(pin(url), signal)
      return await exchange(url, addresses, { ...request, signal })
    } catch (cause) {
      if (cause instanceof OutboundError) throw cause
      if (late.aborted) {
        throw new OutboundError('timeout', `${url.host} has not answered in time`, { cause })
      }
      const fault = signal.aborted ? 'stopped' : 'network'
      throw new OutboundError(fault, `${url.host} could not be called`, { cause })
    }
  }
}

/**
 * Asks DNS itself. The operating system's own look-up holds a thread of the process while it waits, of
 * which there are few, and cannot be ended: some names whose server is silent would stop whatever else
 * looks a name up. So names that only a hosts file knows are not found, `localhost` aside.
 */
async function resolveName(
  host: string,
  nameServers: readonly string[] | undefined,
): Promise<readonly LookupAddress[]> {
  const family = isIP(host)
  if (family !== 0) return [{ address: host, family }]
  if (host === 'localhost' || host.endsWith('.localhost')) return lookUp(host, { all: true })
  const resolver = new Resolver({ timeout: NAME_TIMEOUT_MS, tries: 1 })
  if (nameServers) resolver.setServers(nameServers)
  const [four, six] = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)])
  if (four.status === 'rejected' && six.status === 'rejected') throw four.reason
  return [
    ...(four.status === 'fulfilled' ? four.value : []).map((address) => ({ address, family: 4 })),
    ...(six.status === 'fulfilled' ? six.value : []).map((address) => ({ address, family: 6 })),
  ]
}

type Address = ReturnType<typeof ipaddr.process>
type Network = ReturnType<typeof ipaddr.parseCIDR>

/** ipaddr.js takes ::192.0.2.1, as DNS writes an IPv6 address that begins with zeros, for the IPv4 address. */
function parseAddress(address: string): Address {
  return ipaddr.process(address.replace(/^::(?=\d+\.)/, '::0:'))
}

/**
 * The IPv4 addresses that no client is at: those that have a use of their own, also where the Internet
 * leads to them, and the one that machines of a cloud reach what runs them by.
 *
 * @see {@link https://www.iana.org/assignments/iana-ipv4-special-registry/ IANA IPv4 Special-Purpose Address Registry}
 */
const SPECIAL_IPV4 = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.31.196.0/24',
  '192.52.193.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '192.175.48.0/24',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
  '168.63.129.16/32',
].map(parseNetwork)

/** Whatever else may be given out one day is none yet, and may be anything inside of a network. */
const GLOBAL_IPV6 = parseNetwork('2000::/3')

/**
 * Those of them that have a use of their own. 2001::/32 and 2002::/16 lead to IPv4 addresses that stand in
 * them.
 *
 * @see {@link https://www.iana.org/assignments/iana-ipv6-special-registry/ IANA IPv6 Special-Purpose Address Registry}
 */
const SPECIAL_IPV6 = [
  '2001::/23',
  '2001:db8::/32',
  '2002::/16',
  '2620:4f:8000::/48',
  '3fff::/20',
].map(parseNetwork)

function isPublic(address: Address): boolean {
  if (address.kind() === 'ipv4') return !SPECIAL_IPV4.some((range) => isWithin(address, range))
  return isWithin(address, GLOBAL_IPV6) && !SPECIAL_IPV6.some((range) => isWithin(address, range))
}

function parseNetwork(range: string): Network {
  if (ipaddr.isValidCIDR(range)) return ipaddr.parseCIDR(range)
  const message = `outbound.networks has ${JSON.stringify(range)}: expected a range such as 10.0.0.0/8.`
  throw new PortreeveError('misconfigured', message)
}

function isWithin(address: Address, [network, bits]: Network): boolean {
  return address.kind() === network.kind() && address.match(network, bits)
}

/** A look-up cannot be ended, but nobody has to wait for it. */
function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason as Error)
    if (signal.aborted) return stop()
    signal.addEventListener('abort', stop, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop))
  })
}

async function exchange(
  url: URL,
  addresses: readonly LookupAddress[],
  {
    method = 'GET',
    headers,
    body,
    signal,
    mostBytes = MOST_BYTES,
    isStatusEnough,
  }: OutboundRequest,
): Promise<Response> {
  const sent = new Headers(headers)
  sent.set('accept-encoding', 'identity')
  const response = await send(url, addresses, { method, headers: sent, body, signal })
  const { statusCode = 0 } = response
  if (isStatusEnough) {
    response.destroy()
    return new Response(null, { status: statusCode, headers: copyHeaders(response) })
  }
  const coding = response.headers['content-encoding'] ?? 'identity'
  if (coding !== 'identity') {
    response.destroy()
    throw new OutboundError('encoded', `${url.host} answers in the coding ${coding}`)
  }
  const answer = await readBounded(response, url, mostBytes)
  const isBodiless = statusCode === 204 || statusCode === 205 || statusCode === 304
  return new Response(isBodiless ? null : new Uint8Array(answer), {
    status: statusCode,
    headers: copyHeaders(response),
  })
}

function send(
  url: URL,
  addresses: readonly LookupAddress[],
  { method, headers, body, signal }: OutboundRequest & { readonly headers: Headers },
): Promise<IncomingMessage> {
  const request = url.protocol === 'https:' ? requestByHttps : requestByHttp
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  const outgoing = request(url, {
    method: method ?? 'GET',
    headers: Object.fromEntries(headers),
    // No connection outlives its request: the next one is looked up and judged again.
    agent: false,
    lookup: pinTo(addresses),
    ...(signal ? { signal } : {}),
  })
  outgoing.once('response', resolve)
  // Also after the answer has begun, where nobody waits for this promise any more.
  outgoing.on('error', reject)
  outgoing.end(body)
  return promise
}

/** In place of a look-up: the addresses that have been judged. */
function pinTo(addresses: readonly LookupAddress[]): typeof lookup {
  const answer = (
    _host: string,
    { all }: { all?: boolean },
    callback: (error: null, found: string | LookupAddress[], family?: number) => void,
  ) => {
    const [first] = addresses
    if (all) callback(null, [...addresses])
    else callback(null, first?.address ?? '', first?.family)
  }
  return answer as typeof lookup
}

async function readBounded(
  response: IncomingMessage,
  { host }: URL,
  mostBytes: number,
): Promise<Buffer> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length
    if (length > mostBytes) {
      throw new OutboundError('too_large', `${host} answers more than ${mostBytes} bytes`)
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function copyHeaders(response: IncomingMessage): Headers {
  const headers = new Headers()
  for (const [name, values = []] of Object.entries(response.headersDistinct)) {
    for (const value of values) headers.append(name, value)
  }
  return headers
}
