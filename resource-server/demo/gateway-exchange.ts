import { createHash } from 'node:crypto'
import type { Clock } from '../clock.ts'
import type { Result } from '../errors.ts'

/** Why there is no token for a service. */
export type ExchangeFailure =
  /** The issuer cannot be reached, or answers that it cannot do it now. */
  | { readonly kind: 'issuer_unavailable'; readonly status: number | undefined }
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
}

const GRANT_TYPE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'
const TIMEOUT_MS = 5000
const MAX_BYTES = 64 * 1024
/** A token that is about to expire would be refused when it arrives. */
const MARGIN_SECONDS = 5
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
  const { maxTokens = 1000 } = options
  const kept = new Map<string, Kept>()
  const underWay = new Map<string, Promise<Result<Kept, ExchangeFailure>>>()

  const get = async (key: string, subject: Subject, resource: string) => {
    const work = underWay.get(key) ?? request(options, subject, resource, clock)
    underWay.set(key, work)
    try {
      return await work
    } finally {
      underWay.delete(key)
    }
  }
  const keep = (key: string, token: Kept) => {
    kept.delete(key)
    kept.set(key, token)
    const [oldest] = kept.keys()
    if (kept.size > maxTokens && oldest !== undefined) kept.delete(oldest)
  }

  return {
    async exchange(subject, resource) {
      // Neither of the two texts is kept as a key: a heap dump has enough of tokens.
      const key = createHash('sha256').update(`${resource}\0${subject.token}`).digest('base64url')
      const known = kept.get(key)
      if (known && known.until > clock.now() / 1000) return { ok: true, value: known.token }
      kept.delete(key)
      const got = await get(key, subject, resource)
      if (!got.ok) return got
      if (got.value.until > clock.now() / 1000) keep(key, got.value)
      return { ok: true, value: got.value.token }
    },
  }
}

async function request(
  { tokenEndpoint, clientId, clientSecret }: ExchangeOptions,
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
  const answer = await post(tokenEndpoint, authorization, form)
  if (answer === undefined) return fail({ kind: 'issuer_unavailable', status: undefined })
  const { status, body } = answer
  if (status === 200) {
    const issued = readToken(body)
    if (!issued) return fail({ kind: 'refused', status, error: undefined })
    const until = Math.min(asked + issued.expiresIn, expiresAt) - MARGIN_SECONDS
    return { ok: true, value: { token: issued.token, until } }
  }
  if (status === 429 || status >= 500) return fail({ kind: 'issuer_unavailable', status })
  const error = readError(body)
  return error === 'invalid_scope' || error === 'access_denied'
    ? fail({ kind: 'not_allowed' })
    : fail({ kind: 'refused', status, error })
}

function fail(reason: ExchangeFailure): Result<never, ExchangeFailure> {
  return { ok: false, reason }
}

interface IssuerAnswer {
  readonly status: number
  /** `undefined` where it is no JSON object, or too large. */
  readonly body: Readonly<Record<string, unknown>> | undefined
}

/** `undefined` where no whole answer came in time. */
async function post(
  url: string,
  authorization: string,
  form: URLSearchParams,
): Promise<IssuerAnswer | undefined> {
  try {
    const response = await fetch(url, {
      method: 'POST',
      body: form,
      headers: { authorization, accept: 'application/json' },
      signal: AbortSignal.timeout(TIMEOUT_MS),
      // The credentials are for this place alone.
      redirect: 'manual',
    })
    return { status: response.status, body: await readBody(response) }
  } catch {
    return undefined
  }
}

async function readBody(response: Response): Promise<IssuerAnswer['body']> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength
    // Leaving the loop cancels the rest.
    if (size > MAX_BYTES) return undefined
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
  if (typeof token !== 'string' || !B64TOKEN.test(token)) return undefined
  // One that is bound to a key could not be shown.
  if (typeof type !== 'string' || type.toLowerCase() !== 'bearer') return undefined
  // RFC 6749 §5.1 only recommends it: without it, nothing is kept.
  return { token, expiresIn: typeof expiresIn === 'number' ? expiresIn : 0 }
}

function readError(body: IssuerAnswer['body']): string | undefined {
  const error = body?.['error']
  return typeof error === 'string' && /^[a-z_]{1,40}$/.test(error) ? error : undefined
}
