import { parse } from 'node-html-parser'
import { conceal, concealUrl } from './conceal.ts'
import { readBounded } from './read-bounded.ts'
import type { Exchange, Fields } from './report.ts'

/** Sends requests, in bounded time, and remembers what was said. */
export interface Wire {
  readonly fetch: (url: string, init?: WireRequest) => Promise<Response>
  /** What was said since it was last asked. */
  take(): readonly Exchange[]
  /** Gives whatever answers at an origin a name. */
  name(origin: string, name: string): void
}

export interface WireRequest {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: unknown
  readonly signal?: AbortSignal | undefined
}

const TIMEOUT_MS = 20_000
const MAX_ANSWER_BYTES = 1024 * 1024
const HEADERS_THAT_MATTER = ['location', 'www-authenticate', 'retry-after']
/** Of documents with dozens of members. */
const MEMBERS_THAT_MATTER: Readonly<Record<string, readonly string[]>> = {
  '/.well-known/openid-configuration': [
    'issuer',
    'authorization_endpoint',
    'token_endpoint',
    'userinfo_endpoint',
    'end_session_endpoint',
    'jwks_uri',
    'response_types_supported',
    'code_challenge_methods_supported',
  ],
}

export function createWire(): Wire {
  const names = new Map<string, string>()
  let exchanges: Exchange[] = []
  return {
    async fetch(url, init = {}) {
      const limit = AbortSignal.timeout(TIMEOUT_MS)
      const response = await fetch(url, {
        method: init.method ?? 'GET',
        headers: { ...init.headers },
        redirect: 'manual',
        signal: init.signal ? AbortSignal.any([init.signal, limit]) : limit,
        ...(init.body === undefined || init.body === null
          ? {}
          : { body: init.body as NonNullable<RequestInit['body']> }),
      })
      const text = await readBounded(response.clone(), MAX_ANSWER_BYTES)
      exchanges.push(describeExchange(names, url, init, response, text))
      return response
    },
    take() {
      const taken = exchanges
      exchanges = []
      return taken
    },
    name(origin, name) {
      names.set(origin, name)
    },
  }
}

function describeExchange(
  names: ReadonlyMap<string, string>,
  url: string,
  init: WireRequest,
  response: Response,
  text: string,
): Exchange {
  const { origin, pathname, searchParams } = new URL(url)
  const { authorization } = init.headers ?? {}
  return {
    to: names.get(origin) ?? origin,
    method: init.method ?? 'GET',
    url: concealUrl(`${origin}${pathname}`),
    sent: {
      ...(authorization === undefined ? {} : concealFields({ authorization })),
      ...concealFields(Object.fromEntries(searchParams)),
      ...concealFields(readSent(init.body)),
    },
    status: response.status,
    received: { ...describeHeaders(response.headers), ...describeBody(pathname, response, text) },
  }
}

function readSent(body: unknown): Readonly<Record<string, unknown>> {
  if (body instanceof URLSearchParams) return Object.fromEntries(body)
  if (typeof body !== 'string') return {}
  if (!body.startsWith('{')) return Object.fromEntries(new URLSearchParams(body))
  return JSON.parse(body) as Record<string, unknown>
}

function concealFields(fields: Readonly<Record<string, unknown>>): Fields {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, conceal(name, value)]),
  )
}

function describeHeaders(headers: Headers): Fields {
  const present = HEADERS_THAT_MATTER.flatMap((name) => {
    const value = headers.get(name)
    return value === null ? [] : [[name, value] as const]
  })
  return concealFields(Object.fromEntries(present))
}

function describeBody(pathname: string, response: Response, text: string): Fields {
  const type = response.headers.get('content-type') ?? ''
  if (type.includes('html') && response.status < 300) return { page: readTitle(text) }
  if (!type.includes('json') || text === '') return {}
  const document = JSON.parse(text) as Record<string, unknown>
  const wanted = MEMBERS_THAT_MATTER[pathname]
  const members = Object.entries(document).filter(([name]) => wanted?.includes(name) ?? true)
  return concealFields(Object.fromEntries(members))
}

function readTitle(html: string): string {
  const page = parse(html)
  const title = page.querySelector('title')?.text ?? page.querySelector('h1')?.text
  return title?.trim().replaceAll(/\s+/g, ' ') ?? '(no title)'
}
