import type { Clock } from './clock.ts'
import { IssuerError } from './errors.ts'

const TIMEOUT_MS = 5000
const MAX_BYTES = 256 * 1024

/** An answer of the issuer: the JSON, or the status that came in its place. */
export type JsonAnswer =
  | { readonly status: 200; readonly body: unknown }
  | { readonly status: number; readonly body?: undefined }

/** Gets JSON from the issuer. Throws an `IssuerError` where no usable answer comes. */
export type FetchJson = (url: string) => Promise<JsonAnswer>

/** What the issuer answered to a form: the bytes and their media type, or the status in their place. */
export type FormAnswer =
  | { readonly status: 200; readonly bytes: Buffer; readonly type: string }
  | { readonly status: number; readonly bytes?: undefined; readonly type?: undefined }

/** Sends a form to the issuer. Throws an `IssuerError`, which holds nothing of it, as `FetchJson` does. */
export type PostForm = (
  url: string,
  authorization: string,
  form: URLSearchParams,
  /** The media type that is asked for. */
  accept: string,
) => Promise<FormAnswer>

/**
 * Runs `work` with a fetch that ends, however many answers it reads, after 5 seconds, and at once when
 * `stop` is aborted: then `signal` is, too. Redirects are not followed: the issuer named the place
 * itself. An answer holds at most 256 KiB.
 */
export async function withDeadline<T>(
  clock: Clock,
  stop: AbortSignal,
  work: (fetchJson: FetchJson, postForm: PostForm, signal: AbortSignal) => Promise<T>,
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
      (url) => ask(url, fetchJson(url, signal)),
      (url, authorization, form, accept) =>
        ask(url, postForm(url, { authorization, form, accept, signal })),
      signal,
    )
  } finally {
    cancel()
  }
}

function describeFailure(url: string, cause: unknown, isLate: boolean): IssuerError {
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

async function fetchJson(url: string, signal: AbortSignal): Promise<JsonAnswer> {
  const headers = { accept: 'application/json' }
  const response = await fetch(url, { headers, signal, redirect: 'manual' })
  if (response.status !== 200) {
    await response.body?.cancel()
    return { status: response.status }
  }
  const bytes = await readBounded(url, response)
  try {
    return {
      status: 200,
      body: JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)),
    }
  } catch (cause) {
    throw new IssuerError('bad_answer', `${url} answered what is not JSON`, { cause })
  }
}

async function postForm(
  url: string,
  {
    authorization,
    form,
    accept,
    signal,
  }: { authorization: string; form: URLSearchParams; accept: string; signal: AbortSignal },
): Promise<FormAnswer> {
  const headers = { accept, authorization }
  const request = { method: 'POST', headers, body: form, signal, redirect: 'manual' } as const
  const response = await fetch(url, request)
  if (response.status === 200) {
    const [type = ''] = (response.headers.get('content-type') ?? '').split(';')
    const bytes = await readBounded(url, response)
    return { status: 200, bytes, type: type.trim().toLowerCase() }
  }
  await response.body?.cancel()
  return { status: response.status }
}

/** Counts what has been unpacked: a small compressed answer can be a large one. */
async function readBounded(url: string, response: Response): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength
    if (size > MAX_BYTES) {
      throw new IssuerError('bad_answer', `${url} answered more than ${MAX_BYTES} bytes`)
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
