import { parseHttpDate, type Clock } from '../clock.ts'
import type { DocumentRefusal } from '../clients/document.ts'
import type { Result } from '../errors.ts'
import { OutboundError, type OutboundFault, type OutboundFetch } from '../outbound.ts'

/** As it was read: JSON that says it is what it was fetched for, and nothing more is known of it. */
export interface FetchedDocument {
  readonly metadata: Readonly<Record<string, unknown>>
  /** How long it may be used without asking again. */
  readonly freshSeconds: number
}

type Unreadable = Extract<DocumentRefusal, { kind: 'unreadable' }>
type Outcome<T> = Result<T, Unreadable>

/** Of draft-02 §8.7: five kilobytes. */
const MOST_BYTES = 5120
/** Whatever an answer says itself: nobody has us ask more often, or believe it for longer. */
const SHORTEST_FRESH_SECONDS = 60
const DEFAULT_FRESH_SECONDS = 300
const LONGEST_FRESH_SECONDS = 3600

/**
 * Fetches the document at a URL that has been judged. No redirect is followed: what answers is not what
 * was asked.
 *
 * @see {@link https://www.ietf.org/archive/id/draft-ietf-oauth-client-id-metadata-document-02.html#section-5 draft-02 §5}
 */
export async function fetchDocument(
  fetchOutbound: OutboundFetch,
  url: string,
  clock: Clock,
): Promise<Outcome<FetchedDocument>> {
  const headers = { accept: 'application/json' }
  let response: Response
  try {
    response = await fetchOutbound(url, { headers, mostBytes: MOST_BYTES })
  } catch (error) {
    if (!(error instanceof OutboundError)) throw error
    return refuse(describeFault(error), TRANSIENT_FAULTS.has(error.fault))
  }
  if (response.status !== 200) {
    const isTransient = response.status >= 500 || response.status === 429
    return refuse(`expected 200 OK, got ${response.status}`, isTransient)
  }
  const type = response.headers.get('content-type') ?? ''
  if (!/^application\/(?:[\w.-]+\+)?json(?:$|[\s;])/i.test(type)) {
    return refuse(`expected the type application/json, got ${JSON.stringify(type.slice(0, 100))}`)
  }
  const metadata = parseObject(await response.text())
  if (!metadata) return refuse('expected a JSON object')
  if (metadata['client_id'] !== url) return refuse('its client_id is not the URL that it is at')
  const freshSeconds = readFreshSeconds(response.headers, clock.now())
  return { ok: true, value: { metadata, freshSeconds } }
}

const TRANSIENT_FAULTS: ReadonlySet<OutboundFault> = new Set(['timeout', 'stopped', 'network'])

function describeFault({ fault, message, cause }: OutboundError): string {
  const reason = cause instanceof Error ? ` (${cause.message})` : ''
  return `${fault}: ${message}${reason}`
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const parsed: unknown = JSON.parse(text)
    const isObject = typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)
    return isObject ? (parsed as Record<string, unknown>) : undefined
  } catch {
    // What is no JSON is no object: the caller refuses it.
    return undefined
  }
}

/**
 * As long as the answer may be cached, within bounds of our own.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9111.html#section-4.2.1 RFC 9111 §4.2.1}
 */
function readFreshSeconds(headers: Headers, now: number): number {
  const control = headers.get('cache-control') ?? ''
  if (/(?:^|,)\s*no-(?:store|cache)\b/i.test(control)) return SHORTEST_FRESH_SECONDS
  const [, seconds] = /(?:^|,)\s*max-age="?(\d{1,10})/i.exec(control) ?? []
  const expires = parseHttpDate(headers.get('expires') ?? '')
  const untilExpiry = expires === undefined ? DEFAULT_FRESH_SECONDS : (expires - now) / 1000
  const lifetime = seconds === undefined ? untilExpiry : Number(seconds)
  const age = Number(/^\d{1,10}$/.exec(headers.get('age') ?? '')?.[0] ?? 0)
  const left = Math.floor(lifetime - age)
  return Math.min(Math.max(left, SHORTEST_FRESH_SECONDS), LONGEST_FRESH_SECONDS)
}

function refuse(
  detail: string,
  isTransient = false,
): { readonly ok: false; readonly reason: Unreadable } {
  return { ok: false, reason: { kind: 'unreadable', isTransient, detail } }
}
