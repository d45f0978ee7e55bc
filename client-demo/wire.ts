import { describeExchange } from './exchange.ts'
import { readBounded } from './read-bounded.ts'
import type { Exchange } from './report.ts'

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
