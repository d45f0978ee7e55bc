import { parseArgs } from 'node:util'
import { fromAuthorization, fromHeader, fromOneOf } from '../index.ts'
import { readEnvironment, type Environment } from './environment.ts'
import type { GatewayOptions } from './gateway-api.ts'
import type { ExchangeOptions } from './gateway-exchange.ts'
import { isPassable } from './gateway-headers.ts'
import type { Route } from './gateway-target.ts'
import type { ServeSettings } from './serve.ts'
import {
  describeServeOptions,
  readServeSettings,
  readWhole,
  SERVE_OPTIONS,
} from './serve-settings.ts'
import {
  readTokenSettings,
  TOKEN_OPTIONS,
  TOKEN_USAGE,
  type TokenSettings,
} from './token-settings.ts'

const DEFAULT_PORT = 9001
const DEFAULT_ROUTES = ['/=http://127.0.0.1:9002', '/orders=http://127.0.0.1:9003']

export const USAGE: string = `Usage: node gateway.ts [--issuer URL --audience URI] [options]

${TOKEN_USAGE}
  With SECRET_KEY the token may come in the header Token too, and a refusal names the check that failed.

  --route PREFIX=ORIGIN      the service for paths that begin so; may be repeated. https, or http on
                             this machine (default: ${DEFAULT_ROUTES[0]}
                             and ${DEFAULT_ROUTES[1]})
  --exchange PREFIX=URI      the service of that route gets a token of its own, for this resource of the
                             issuer (RFC 8693), in place of the caller's; may be repeated. Needs --issuer
  --client-id ID             the gateway as a client of the issuer, to exchange tokens; its secret is in
                             the environment variable CLIENT_SECRET
  --token-endpoint URL       where (default: /token at the issuer)
  --connect-timeout SECONDS  until there is a connection to the service (default 5)
  --headers-timeout SECONDS  from there to the headers of its answer (default 15)
  --timeout SECONDS          for all of an exchange (default 60)
  --max-body MIB             the largest body of a request (default 100)
  --pass-header NAME         a header that services are told as well; may be repeated. Never one by
                             which a service knows who is asking: any client may write it
${describeServeOptions(DEFAULT_PORT)}`
const OPTIONS = {
  ...SERVE_OPTIONS,
  ...TOKEN_OPTIONS,
  route: { type: 'string', multiple: true },
  exchange: { type: 'string', multiple: true },
  'client-id': { type: 'string' },
  'token-endpoint': { type: 'string' },
  'connect-timeout': { type: 'string' },
  'headers-timeout': { type: 'string' },
  timeout: { type: 'string' },
  'max-body': { type: 'string' },
  'pass-header': { type: 'string', multiple: true },
} as const
const MAX_SECONDS = 3600
const MAX_MIB = 100_000
const MAX_UNDER_WAY = 256
/** Segments of RFC 3986 §3.3 that mean what they say. */
const PREFIX = /^\/$|^(\/[\w-][\w.~-]*)+$/

export interface GatewaySettings extends TokenSettings, ServeSettings {
  readonly gateway: Omit<GatewayOptions, 'exchange'>
  /** Where tokens are exchanged, if they are. */
  readonly exchange: ExchangeOptions | undefined
}

/** Answers `undefined` where help was asked for. Throws a `TypeError` for wrong usage. */
export function readSettings(
  argv: readonly string[],
  environment: Environment = readEnvironment(),
): GatewaySettings | undefined {
  const { values } = parseArgs({ args: [...argv], options: OPTIONS })
  if (values.help) return undefined
  const seconds = (name: 'connect-timeout' | 'headers-timeout' | 'timeout', usual: number) =>
    1000 * (readWhole(`--${name}`, values[name], usual, MAX_SECONDS) || refuseZero(`--${name}`))
  const limits = {
    connectTimeoutMs: seconds('connect-timeout', 5),
    headersTimeoutMs: seconds('headers-timeout', 15),
    wholeTimeoutMs: seconds('timeout', 60),
    maxBodyBytes: readWhole('--max-body', values['max-body'], 100, MAX_MIB) * 2 ** 20,
  }
  const routes = addResources(readRoutes(values.route ?? DEFAULT_ROUTES), values.exchange ?? [])
  const exchange = readExchange(values, environment)
  const passedHeaders = new Set((values['pass-header'] ?? []).map(readPassedHeader))
  const settings = readServeSettings(values, DEFAULT_PORT)
  const tokens = readTokenSettings(values, environment)
  const { isShared } = tokens
  const token = isShared ? fromOneOf(fromAuthorization(), fromHeader('Token')) : fromAuthorization()
  const gateway = { ...limits, routes, token, namesChecks: isShared, passedHeaders }
  return { ...settings, ...tokens, exchange, gateway: { ...gateway, maxUnderWay: MAX_UNDER_WAY } }
}

interface ExchangeValues {
  readonly exchange?: readonly string[] | undefined
  readonly issuer?: string | undefined
  readonly 'client-id'?: string | undefined
  readonly 'token-endpoint'?: string | undefined
}

function readExchange(
  { exchange, issuer, 'client-id': clientId, 'token-endpoint': endpoint }: ExchangeValues,
  { CLIENT_SECRET: clientSecret = '' }: Environment,
): ExchangeOptions | undefined {
  if (exchange === undefined) {
    if (clientId !== undefined) throw new TypeError('--client-id does not go without --exchange')
    if (endpoint !== undefined) {
      throw new TypeError('--token-endpoint does not go without --exchange')
    }
    return undefined
  }
  // What is signed with a secret could be made by the services themselves: nobody exchanges it.
  if (issuer === undefined) throw new TypeError('--exchange needs --issuer')
  if (clientId === undefined) throw new TypeError('--exchange needs --client-id')
  if (clientSecret === '') throw new TypeError('CLIENT_SECRET: set it to the secret of the client')
  const tokenEndpoint = endpoint ?? `${issuer.replace(/\/$/, '')}/token`
  const url = URL.parse(tokenEndpoint)
  if (!url || !isHttp(url) || !isOrigin(url.origin) || url.username !== '' || url.password !== '') {
    throw new TypeError('--token-endpoint: expected https://…, or http:// on this machine')
  }
  return { tokenEndpoint, clientId, clientSecret }
}

function addResources(routes: readonly Route[], exchange: readonly string[]): readonly Route[] {
  const pairs = exchange.map(readResource)
  const resources = new Map(pairs)
  if (resources.size < pairs.length) throw new TypeError('--exchange: a route is there twice')
  for (const prefix of resources.keys()) {
    if (routes.some((route) => route.prefix === prefix)) continue
    throw new TypeError(`--exchange: there is no route ${JSON.stringify(prefix)}`)
  }
  return routes.map((route) => ({ ...route, resource: resources.get(route.prefix) }))
}

function readResource(text: string): readonly [prefix: string, resource: string] {
  const [, prefix = '', resource = ''] = /^([^=]*)=(.*)$/.exec(text) ?? []
  if (URL.canParse(resource)) return [prefix, resource]
  throw new TypeError('--exchange: expected the prefix of a route, = and the URI of a resource')
}

function refuseZero(option: string): never {
  throw new TypeError(`${option}: expected 1 to ${MAX_SECONDS}, not 0`)
}

function readPassedHeader(text: string): string {
  const name = text.toLowerCase()
  if (isPassable(name)) return name
  throw new TypeError(
    `--pass-header: expected a name of letters, digits and dashes that is no credential and not the gateway's own to write, not ${JSON.stringify(text)}`,
  )
}

function readRoutes(texts: readonly string[]): readonly Route[] {
  const routes = texts.map(readRoute)
  const prefixes = routes.map(({ prefix }) => prefix)
  const twice = prefixes.find((prefix, index) => prefixes.indexOf(prefix) !== index)
  if (twice !== undefined) throw new TypeError(`--route: ${twice} is there twice`)
  return routes
}

function readRoute(text: string): Route {
  const [, prefix = '', url = ''] = /^([^=]*)=(.*)$/.exec(text) ?? []
  if (!PREFIX.test(prefix)) {
    throw new TypeError(`--route: expected a path, such as /orders, not ${JSON.stringify(prefix)}`)
  }
  if (!URL.canParse(url) || !isOrigin(url)) {
    throw new TypeError(
      `--route: expected https://host, or http://127.0.0.1:port, and nothing behind it for ${prefix}`,
    )
  }
  return { prefix, origin: new URL(url) }
}

function isHttp({ protocol }: URL): boolean {
  return protocol === 'https:' || protocol === 'http:'
}

/** A token goes there: over plain http it stays on this machine. */
function isOrigin(text: string): boolean {
  const { protocol, hostname, username, password, pathname, search, hash } = new URL(text)
  const isLoopback = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(hostname)
  if (protocol !== 'https:' && !(protocol === 'http:' && isLoopback)) return false
  return pathname === '/' && [username, password, search, hash].every((part) => part === '')
}
