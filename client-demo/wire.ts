import { describeExchange, type SentRequest } from './exchange.ts'
import { createKnownSecrets, type KnownSecrets } from './known-secrets.ts'
import { readBounded } from './read-bounded.ts'
import type { Exchange } from './report.ts'
import { fetchOverTls, type ClientTls } from './tls-fetch.ts'

/** Sends requests, in bounded time, and remembers what was said. */
export interface Wire {
  readonly fetch: (url: string, init?: WireRequest) => Promise<Response>
  /** What was said since it was last asked. */
  take(): readonly Exchange[]
  /** What tells the next request from others that look the same, in a few words: `alg none`. */
  announce(purpose: string): void
  /** Which members of the next answer are worth showing, where it has dozens. */
  lookFor(members: readonly string[]): void
  /** Gives whatever answers at an origin a name. */
  name(origin: string, name: string): void
  /** Makes a secret known, so that it is shown nowhere. It has to be random and long. */
  keepSecret(secret: string): void
  /** Without the secrets that it was told. */
  hideSecrets<Value>(value: Value): Value
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
  const secrets = createKnownSecrets()
  let exchanges: Exchange[] = []
  let purpose: string | undefined
  let members: readonly string[] | undefined
  const describe = (url: string, sent: SentRequest, response: Response, text: string) => {
    const { origin } = new URL(url)
    return describeExchange(
      names.get(origin) ?? origin,
      hideInUrl(url, secrets),
      hideInRequest(sent, secrets),
      { status: response.status, headers: hideInHeaders(response.headers, secrets) },
      secrets.hideInText(text),
    )
  }
  const takeWords = () => {
    const taken = { purpose, members }
    purpose = undefined
    members = undefined
    return taken
  }
  return {
    async fetch(url, init = {}) {
      const sent = { ...init, ...takeWords() }
      const limit = AbortSignal.timeout(TIMEOUT_MS)
      const signal = init.signal ? AbortSignal.any([init.signal, limit]) : limit
      const response = await send(url, init, signal)
      const text = await readBounded(response.clone(), MAX_ANSWER_BYTES)
      exchanges.push(describe(url, sent, response, text))
      return response
    },
    take() {
      const taken = exchanges
      exchanges = []
      return taken
    },
    announce(text) {
      purpose = text
    },
    lookFor(wanted) {
      members = wanted
    },
    name(origin, name) {
      names.set(origin, name)
    },
    keepSecret(secret) {
      secrets.add(secret)
    },
    hideSecrets: (value) => secrets.hide(value),
  }
}

/** Where it leads stays: a segment of it may have a secret in it, and so may a parameter. */
function hideInUrl(url: string, secrets: KnownSecrets): string {
  const { origin, pathname, search } = new URL(url)
  return `${origin}${pathname.split('/').map(secrets.hideInText).join('/')}${secrets.hideInText(search)}`
}

function hideInRequest(sent: SentRequest, secrets: KnownSecrets): SentRequest {
  const { headers, body } = sent
  return {
    ...sent,
    headers: headers && hideInHeaders(headers, secrets),
    body:
      body instanceof URLSearchParams
        ? new URLSearchParams(secrets.hide([...body]))
        : secrets.hide(body),
  }
}

function hideInHeaders(
  headers: Headers | Readonly<Record<string, string>>,
  secrets: KnownSecrets,
): Record<string, string> {
  const pairs = headers instanceof Headers ? [...headers] : Object.entries(headers)
  return Object.fromEntries(
    pairs.map(([name, value]) => [
      name,
      BASIC.test(value) ? hideInBasic(value, secrets) : secrets.hideInText(value),
    ]),
  )
}

const BASIC = /^basic +/i

/** Of the two words in it one is public: the name of the client. */
function hideInBasic(value: string, secrets: KnownSecrets): string {
  const credentials = Buffer.from(value.replace(BASIC, ''), 'base64').toString('utf8')
  const hidden = secrets.hideInText(credentials)
  if (hidden === credentials) return secrets.hideInText(value)
  return `Basic ${Buffer.from(hidden).toString('base64')}`
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
