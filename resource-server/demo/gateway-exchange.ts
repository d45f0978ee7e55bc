import { createHash } from 'node:crypto'
import type { Clock } from '../clock.ts'
import type { Result } from '../errors.ts'

/** Why there is no token for a service. */
export type ExchangeFailure =
  /** The issuer cannot be reached, or answers that it cannot do it now. */
  | {
      readonly kind: 'issuer_unavailable'
      readonly status: number | undefined
      readonly cause?: unknown
    }
  /** The issuer says that the caller's token is over: revoked, or its session or person gone. */
  | { readonly kind: 'over' }
  /** The issuer says that this caller may do nothing at the service. */
  | { readonly kind: 'not_allowed' }
  /** The issuer refuses, or answers what is no token: the gateway or its issuer is set up wrongly. */
  | { readonly kind: 'refused'; readonly status: number; readonly error: string | undefined }

/** A token that was let through. */
export interface Subject {
  readonly token: string
  /** Seconds since the epoch. */
  readonly expiresAt: number
}

/** Gets a token of its own for each service that a caller's token leads to. */
export interface Exchange {
  /** `resource`: the identifier of the service at the issuer. */
  exchange(subject: Subject, resource: string): Promise<Result<string, ExchangeFailure>>
}

export interface ExchangeOptions {
  readonly tokenEndpoint: string
  /** The gateway as a client of the issuer: the services see it as `client_id`. */
  readonly clientId: string
  readonly clientSecret: string
  /** How many tokens are kept. Default: 1000. */
  readonly maxTokens?: number
  /** How many bytes of tokens are kept. Default: 4 MiB. */
  readonly maxBytes?: number
  /** Until the whole answer of the issuer is there, in milliseconds. Default: `EXCHANGE_TIMEOUT_MS`. */
  readonly timeoutMs?: number
}

const GRANT_TYPE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'
export const EXCHANGE_TIMEOUT_MS = 5000
const MAX_ANSWER_BYTES = 64 * 1024
/** A service reads headers of 16 KiB, if it is one of Node. */
const MAX_TOKEN_BYTES = 8192
/** A token that is about to expire would be refused when it arrives. */
const MARGIN_SECONDS = 5
/**
 * RFC 8693 §2.2.2 has one code for a token that is not good (any more) and for what policy forbids: only
 * the words of the issuer tell them apart. Without them it is `refused`, which is no fault of the caller.
 */
const MEANINGS: ReadonlyMap<unknown, ExchangeFailure> = new Map([
  ['the subject token is not valid', { kind: 'over' }],
  ['this client may not exchange such a token for that resource', { kind: 'not_allowed' }],
])
/** RFC 6750 §2.1. */
const B64TOKEN = /^[\w\-.~+/]+=*$/

interface Kept {
  readonly token: string
  /** Seconds since the epoch. */
  readonly until: number
}

/**
 * Exchanges the caller's token at the issuer (RFC 8693). What it got it keeps for as long as both tokens
 * are good: the caller's is checked again at every request, before this is asked.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc8693.html#section-2 RFC 8693 §2}
 */
export function createExchange(options: ExchangeOptions, clock: Clock): Exchange {
  const kept = createKeptTokens(options, clock)
  const underWay = new Map<string, Promise<Result<string, ExchangeFailure>>>()

  async function get(key: string, subject: Subject, resource: string) {
    try {
      const got = await request(options, subject, resource, clock)
      if (!got.ok) return got
      kept.put(key, got.value)
      return { ok: true, value: got.value.token } as const
    } finally {
      underWay.delete(key)
    }
  }

  return {
    async exchange(subject, resource) {
      const key = nameExchange(subject, resource)
      const known = kept.find(key)
      if (known !== undefined) return { ok: true, value: known }
      const work = underWay.get(key) ?? get(key, subject, resource)
      underWay.set(key, work)
      return work
    },
  }
}

/** Unambiguous for any two texts. Neither is kept as it is: a heap dump has enough of tokens. */
function nameExchange({ token }: Subject, resource: string): string {
  return createHash('sha256')
    .update(JSON.stringify([resource, token]))
    .digest('base64url')
}

interface KeptTokens {
  find(key: string): string | undefined
  put(key: string, token: Kept): void
}

/** What was put there first goes first where there are too many, or too many bytes. */
function createKeptTokens(
  { maxTokens = 1000, maxBytes = 4 * 2 ** 20 }: ExchangeOptions,
  clock: Clock,
): KeptTokens {
  const kept = new Map<string, Kept>()
  let bytes = 0
  const isGood = ({ until }: Kept) => until > clock.now() / 1000
  const remove = (key: string) => {
    bytes -= kept.get(key)?.token.length ?? 0
    kept.delete(key)
  }
  return {
    find(key) {
      const known = kept.get(key)
      if (known && isGood(known)) return known.token
      remove(key)
      return undefined
    },
    put(key, token) {
      remove(key)
      if (!isGood(token)) return
      kept.set(key, token)
      bytes += token.token.length
      for (const oldest of kept.keys()) {
        if (kept.size <= maxTokens && bytes <= maxBytes) return
        remove(oldest)
      }
    },
  }
}

async function request(
  { tokenEndpoint, clientId, clientSecret, timeoutMs = EXCHANGE_TIMEOUT_MS }: ExchangeOptions,
  { token, expiresAt }: Subject,
  resource: string,
  clock: Clock,
): Promise<Result<Kept, ExchangeFailure>> {
  const form = new URLSearchParams({
    grant_type: GRANT_TYPE,
    subject_token: token,
    subject_token_type: ACCESS_TOKEN,
    resource,
  })
  // RFC 6749 §2.3.1: both are form-encoded before they are joined.
  const credentials = [clientId, clientSecret].map(encodeURIComponent).join(':')
  const authorization = `Basic ${Buffer.from(credentials).toString('base64')}`
  const asked = clock.now() / 1000
  const answer = await post(tokenEndpoint, authorization, form, timeoutMs)
  if (!answer.ok) {
    return fail({ kind: 'issuer_unavailable', status: undefined, cause: answer.reason })
  }
  const { status, body } = answer.value
  if (status === 200) {
    const issued = readToken(body)
    if (!issued) return fail({ kind: 'refused', status, error: undefined })
    const until = Math.min(asked + issued.expiresIn, expiresAt) - MARGIN_SECONDS
    return { ok: true, value: { token: issued.token, until } }
  }
  if (status === 429 || status >= 500) return fail({ kind: 'issuer_unavailable', status })
  return fail(readRefusal(status, body))
}

function fail(reason: ExchangeFailure): Result<never, ExchangeFailure> {
  return { ok: false, reason }
}

interface IssuerAnswer {
  readonly status: number
  /** `undefined` where it is no JSON object, or too large. */
  readonly body: Readonly<Record<string, unknown>> | undefined
}

/** The reason is what went wrong where no whole answer came in time. */
async function post(
  url: string,
  authorization: string,
  form: URLSearchParams,
  timeoutMs: number,
): Promise<Result<IssuerAnswer, unknown>> {
  try {
    const response = await fetch(url, {
      method: 'POST',
      body: form,
      headers: { authorization, accept: 'application/json' },
      signal: AbortSignal.timeout(timeoutMs),
      // The credentials are for this place alone.
      redirect: 'manual',
    })
    const body = await readBody(response)
    return { ok: true, value: { status: response.status, body } }
  } catch (error) {
    // Of `fetch`, only the cause says what it was.
    return { ok: false, reason: (error as Error).cause ?? error }
  }
}

async function readBody(response: Response): Promise<IssuerAnswer['body']> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength
    // Leaving the loop cancels the rest.
    if (size > MAX_ANSWER_BYTES) return undefined
    chunks.push(chunk)
  }
  const body = parseJson(Buffer.concat(chunks).toString('utf8'))
  return typeof body === 'object' && body !== null ? { ...body } : undefined
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function readToken(
  body: IssuerAnswer['body'],
): { readonly token: string; readonly expiresIn: number } | undefined {
  const { access_token: token, token_type: type, expires_in: expiresIn } = body ?? {}
  if (typeof token !== 'string' || token.length > MAX_TOKEN_BYTES) return undefined
  if (!B64TOKEN.test(token)) return undefined
  // One that is bound to a key could not be shown.
  if (typeof type !== 'string' || type.toLowerCase() !== 'bearer') return undefined
  // RFC 6749 §5.1 only recommends it: without it, nothing is kept.
  return { token, expiresIn: typeof expiresIn === 'number' ? expiresIn : 0 }
}

function readRefusal(status: number, body: IssuerAnswer['body']): ExchangeFailure {
  const { error, error_description: description } = body ?? {}
  if (typeof error !== 'string' || !/^[a-z_]{1,40}$/.test(error)) {
    return { kind: 'refused', status, error: undefined }
  }
  if (error === 'invalid_scope' || error === 'access_denied') return { kind: 'not_allowed' }
  const meaning = error === 'invalid_request' ? MEANINGS.get(description) : undefined
  return meaning ?? { kind: 'refused', status, error }
}
