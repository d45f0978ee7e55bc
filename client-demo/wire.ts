import { describeExchange } from './exchange.ts'
import { readBounded } from './read-bounded.ts'
import type { Exchange } from './report.ts'
import { fetchOverTls, type ClientTls } from './tls-fetch.ts'

/** Sends requests, in bounded time, and remembers what was said. */
export interface Wire {
  readonly fetch: (url: string, init?: WireRequest) => Promise<Response>
  /** What was said since it was last asked. */
  take(): readonly Exchange[]
  /** Gives whatever answers at an origin a name. */
  name(origin: string, name: string): void
  /** Makes a secret known, so that it is shown nowhere. It has to be random and long. */
  keepSecret(secret: string): void
  listSecrets(): readonly string[]
}

export interface WireRequest {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: unknown
  readonly signal?: AbortSignal | undefined
  /** Over TLS, and with which certificate. */
  readonly tls?: ClientTls | undefined
}

const TIMEOUT_MS = 20_000
const MAX_ANSWER_BYTES = 1024 * 1024

export function createWire(): Wire {
  const names = new Map<string, string>()
  const secrets: string[] = []
  let exchanges: Exchange[] = []
  return {
    async fetch(url, init = {}) {
      const limit = AbortSignal.timeout(TIMEOUT_MS)
      const signal = init.signal ? AbortSignal.any([init.signal, limit]) : limit
      const response = await send(url, init, signal)
      const text = await readBounded(response.clone(), MAX_ANSWER_BYTES)
      const { origin } = new URL(url)
      exchanges.push(describeExchange(names.get(origin) ?? origin, url, init, response, text))
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
    keepSecret(secret) {
      secrets.push(secret)
    },
    listSecrets: () => secrets,
  }
}

async function send(url: string, init: WireRequest, signal: AbortSignal): Promise<Response> {
  const { method = 'GET', headers = {}, body, tls } = init
  if (tls) {
    return fetchOverTls(url, tls, { method, headers, body: writeBody(body), signal })
  }
  return fetch(url, {
    method,
    headers: { ...headers },
    redirect: 'manual',
    signal,
    ...(body === undefined || body === null
      ? {}
      : { body: body as NonNullable<RequestInit['body']> }),
  })
}

function writeBody(body: unknown): string | undefined {
  if (body === undefined || body === null) return undefined
  if (body instanceof URLSearchParams) return body.toString()
  if (typeof body === 'string') return body
  throw new TypeError('only a text or a form can be sent over TLS')
}
