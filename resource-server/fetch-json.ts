import type { Clock } from './clock.ts'
import { IssuerError } from './errors.ts'

const TIMEOUT_MS = 5000
const MAX_BYTES = 256 * 1024
const MAX_ERROR_BYTES = 8192

/** An answer of the issuer: the JSON, or the status that came in its place. */
export type JsonAnswer =
  | { readonly status: 200; readonly body: unknown }
  | { readonly status: number; readonly body?: undefined }

/**
 * Gets JSON from the issuer; past the caches on the way, where an older copy would not do. Throws an
 * `IssuerError` where no usable answer comes.
 */
export type FetchJson = (url: string, pastCaches?: boolean) => Promise<JsonAnswer>

/** What the issuer answered to another request: the bytes and their media type, or what is known in their place. */
export type FormAnswer =
  | {
      readonly status: 200
      readonly bytes: Buffer
      readonly type: string
      /** The header `Link` (RFC 8288). */
      readonly link: string
    }
  | Refused

/** An answer that is not 200. */
export interface Refused {
  readonly status: number
  readonly bytes?: undefined
  readonly type?: undefined
  /** What a JSON body names as `error`, such as `invalid_client`. Nothing else of a body is kept. */
  readonly error?: string | undefined
  /** `Retry-After`, where that is a number of seconds. */
  readonly retryAfterSeconds?: number | undefined
}

/** Sends a form to the issuer. Throws an `IssuerError`, which holds nothing of it, as `FetchJson` does. */
export type PostForm = (
  url: string,
  /** The header; `undefined` where the form says who is asking. */
  authorization: string | undefined,
  form: URLSearchParams,
  /** The media type that is asked for. */
  accept: string,
) => Promise<FormAnswer>

/** Any other request. The answer holds at most `maxBytes`, and bytes only where its status is 200. */
export type Send = (
  url: string,
  request: Pick<RequestInit, 'method' | 'headers' | 'body'>,
  maxBytes?: number,
) => Promise<FormAnswer>

/**
 * Runs `work` with a fetch that ends, however many answers it reads, after 5 seconds, and at once when
 * `stop` is aborted: then `signal` is, too. Redirects are not followed: the issuer named the place
 * itself. An answer holds at most 256 KiB.
 */
export async function withDeadline<T>(
  clock: Clock,
  stop: AbortSignal,
  work: (fetchJson: FetchJson, postForm: PostForm, signal: AbortSignal, send: Send) => Promise<T>,
): Promise<T> {
  const late = new AbortController()
  const cancel = clock.schedule(TIMEOUT_MS, async () => late.abort())
  const signal = AbortSignal.any([late.signal, stop])
  const ask = async <Answer>(url: string, answer: Promise<Answer>): Promise<Answer> => {
    try {
      return await answer
    } catch (cause) {
      throw describeFailure(url, cause, late.signal.aborted)
    }
  }
  try {
    return await work(
      (url, pastCaches) => ask(url, fetchJson(url, signal, pastCaches)),
      (url, authorization, form, accept) => {
        const headers = { accept, ...(authorization === undefined ? {} : { authorization }) }
        return ask(url, send(url, { method: 'POST', headers, body: form }, signal))
      },
      signal,
      (url, request, maxBytes) => ask(url, send(url, request, signal, maxBytes)),
    )
  } finally {
    cancel()
  }
}

/** What went wrong, as the operator reads it. */
export function describeFailure(url: string, cause: unknown, isLate: boolean): IssuerError {
  if (cause instanceof IssuerError) return cause
  if (isLate) {
    const message = `${url} gave no whole answer within ${TIMEOUT_MS} ms`
    return new IssuerError('timed_out', message, { cause })
  }
  // `fetch` says only "fetch failed"; what failed is its cause.
  const { cause: root = cause } = cause as { cause?: unknown }
  const why = root instanceof Error ? root.message || root.name : String(root)
  return new IssuerError('unreachable', `${url} cannot be reached: ${why}`, { cause })
}

async function fetchJson(
  url: string,
  signal: AbortSignal,
  pastCaches = false,
): Promise<JsonAnswer> {
  const headers = {
    accept: 'application/json',
    ...(pastCaches ? { 'cache-control': 'no-cache' } : {}),
  }
  const { status, bytes } = await send(url, { headers }, signal)
  if (bytes === undefined) return { status }
  try {
    return {
      status: 200,
      body: JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)),
    }
  } catch (cause) {
    throw new IssuerError('bad_answer', `${url} answered what is not JSON`, { cause })
  }
}

async function send(
  url: string,
  request: RequestInit,
  signal: AbortSignal,
  maxBytes = MAX_BYTES,
): Promise<FormAnswer> {
  const response = await fetch(url, { ...request, signal, redirect: 'manual' })
  if (response.status === 200) {
    const [type = ''] = (response.headers.get('content-type') ?? '').split(';')
    const bytes = await readBounded(url, response, maxBytes)
    const link = response.headers.get('link') ?? ''
    return { status: 200, bytes, type: type.trim().toLowerCase(), link }
  }
  const header = (name: string) => response.headers.get(name) ?? undefined
  const refused = await readRefused(response.status, header, response.body ?? [])
  if (!response.bodyUsed) await response.body?.cancel()
  return refused
}

/** Does not throw: the status says enough where the body cannot be read. */
export async function readRefused(
  status: number,
  header: (name: string) => string | undefined,
  body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<Refused> {
  const { 0: type = '' } = (header('content-type') ?? '').split(';')
  const isJson = type.trim().toLowerCase() === 'application/json'
  const wait = header('retry-after') ?? ''
  return {
    status,
    error: isJson ? await readErrorName(body) : undefined,
    retryAfterSeconds: /^\d{1,9}$/.test(wait) ? Number(wait) : undefined,
  }
}

/** Only what looks like a name: a body may repeat what was sent, a secret too. */
async function readErrorName(
  body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<string | undefined> {
  const chunks: Uint8Array[] = []
  let size = 0
  try {
    for await (const chunk of body) {
      size += chunk.byteLength
      if (size > MAX_ERROR_BYTES) return undefined
      chunks.push(chunk)
    }
    const { error } = Object(JSON.parse(Buffer.concat(chunks).toString('utf8'))) as {
      readonly error?: unknown
    }
    return typeof error === 'string' && /^[a-z_]{1,40}$/.test(error) ? error : undefined
  } catch {
    return undefined
  }
}

/** Counts what has been unpacked: a small compressed answer can be a large one. */
async function readBounded(url: string, response: Response, maxBytes: number): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength
    if (size > maxBytes) {
      throw new IssuerError('bad_answer', `${url} answered more than ${maxBytes} bytes`)
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
