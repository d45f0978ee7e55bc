import type { IncomingHttpHeaders } from 'node:http'
import type { Socket } from 'node:net'
import type { Scheme } from './challenge.ts'
import type { Refusal, Result } from './errors.ts'
import type { ConnectionMemo } from './token-verifier.ts'

/** What is looked at of a request. Node's `IncomingMessage` is one; so is what Express makes of it. */
export interface RequestFacts {
  readonly method?: string | undefined
  /** The path and query that were asked for. */
  readonly url?: string | undefined
  /** The same before a router has cut it; counts where it is there. */
  readonly originalUrl?: string | undefined
  /** Names and values in turns, just as they came: `headers` hides that there were several. */
  readonly rawHeaders: readonly string[]
  readonly headers: IncomingHttpHeaders
  /** Without it there is neither a certificate nor a proxy that could be trusted. */
  readonly socket?: Socket | undefined
  /** The body, where something has read it. */
  readonly body?: unknown
  /**
   * What stands for the request itself, where this is a copy of Node's `IncomingMessage`: one object for
   * each request. Several guards in front of one route ask for the same DPoP proof, which is used once.
   */
  readonly request?: object | undefined
}

export interface FoundToken {
  readonly token: string
  readonly scheme: Scheme
}

/** Finds the access token in a request. Never looks into the query: addresses end up in logs. */
export interface TokenExtractor {
  /** For the operator. */
  readonly place: string
  read(facts: RequestFacts, memo?: ConnectionMemo): Result<FoundToken, Refusal>
}

const TOKEN = /^[\x21-\x2B\x2D-\x7E]+$/
/** RFC 9110 §5.1. */
const HEADER_NAME = /^[!#$%&'*+.^_`|~\w-]+$/
const NOT_OWN = ['authorization', 'proxy-authorization', 'cookie', 'dpop']
const NONE: Result<FoundToken, Refusal> = { ok: false, reason: { kind: 'no_token' } }

/**
 * From the header `Authorization`, after `Bearer` or `DPoP`. This is the default.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc6750.html#section-2.1 RFC 6750 §2.1},
 *   {@link https://www.rfc-editor.org/rfc/rfc9449.html#section-7.1 RFC 9449 §7.1}
 */
export function fromAuthorization(): TokenExtractor {
  return {
    place: 'header Authorization',
    read(facts, memo) {
      const header = readHeader(facts.rawHeaders, 'authorization')
      if (header === undefined) return NONE
      if (typeof header !== 'string') {
        return malformedRequest('More than one Authorization header was sent.')
      }
      const credentials = readMemo(header, memo) ?? readCredentials(header)
      if (!credentials.ok) return credentials
      if (hasTokenInQuery(facts)) {
        return malformedRequest(
          'The access token was sent in the query as well. It does not belong there.',
        )
      }
      if (memo !== undefined) rememberHeader(memo, header, credentials.value)
      return credentials
    },
  }
}

/**
 * From a header of its own, whose whole value is the token: `fromHeader('access_token')` or
 * `fromHeader('Token')` for clients that do so. Such a token is a bearer token: one that is bound to a
 * DPoP key is refused. nginx drops headers with an underscore unless `underscores_in_headers` is on.
 *
 * **Warning:** unlike `Authorization`, such a header is logged by many proxies and kept by caches.
 */
export function fromHeader(name: string): TokenExtractor {
  if (!isOwnHeaderName(name)) {
    throw new TypeError(`fromHeader: expected a header of its own, not ${JSON.stringify(name)}`)
  }
  const lowerName = name.toLowerCase()
  return {
    place: `header ${name}`,
    read(facts) {
      const header = readHeader(facts.rawHeaders, lowerName)
      if (header === undefined || header === '') return NONE
      if (typeof header !== 'string') {
        return malformedRequest(`More than one ${name} header was sent.`)
      }
      return isTokenText(header)
        ? describeOnly(header, facts)
        : malformedRequest(`Send one access token in the header ${name}.`)
    },
  }
}

/**
 * From a member of the body, which a body parser in front must have read: `fromBodyField('token')` for
 * clients that do so. Such a token is a bearer token.
 *
 * **Warning:** the body is read before anybody knows who sent it: bound its size.
 */
export function fromBodyField(name: string): TokenExtractor {
  if (typeof name !== 'string' || name === '') {
    throw new TypeError('fromBodyField: expected the name of a member')
  }
  return {
    place: `member ${name} of the body`,
    read(facts) {
      const { body } = facts
      const isObject = typeof body === 'object' && body !== null && Object.hasOwn(body, name)
      const value = isObject ? (body as Readonly<Record<string, unknown>>)[name] : undefined
      if (value === undefined || value === '') return NONE
      return typeof value === 'string' && isTokenText(value)
        ? describeOnly(value, facts)
        : malformedRequest(`Send one access token in the member ${name}.`)
    },
  }
}

/** From whichever of these places holds one; a request that has one in two of them is malformed. */
export function fromOneOf(...extractors: readonly TokenExtractor[]): TokenExtractor {
  if (extractors.length === 0) throw new TypeError('fromOneOf: expected at least one place')
  return {
    place: extractors.map(({ place }) => place).join(' or '),
    read(facts) {
      const results = extractors.map((extractor) => extractor.read(facts))
      const [first = NONE, ...others] = results.filter(
        (result) => result.ok || result.reason.kind !== 'no_token',
      )
      if (others.length === 0) return first
      return malformedRequest('More than one access token was sent.')
    },
  }
}

/** The value of a header, or all of them where there are several. */
export function readHeader(
  rawHeaders: readonly string[],
  lowerName: string,
): string | readonly string[] | undefined {
  let value: string | undefined
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] ?? ''
    if (name.length !== lowerName.length || name.toLowerCase() !== lowerName) continue
    if (value !== undefined) return rawHeaders.filter((_text, index) => index % 2 === 1)
    value = rawHeaders[at + 1]
  }
  return value
}

/**
 * Whether the text can be a token at all is left to `isTokenText`: of a good one that need not be asked,
 * and it would take longer than to find it among those that are kept.
 */
function readCredentials(header: string): Result<FoundToken, Refusal> {
  // As nearly all clients write it.
  if (header.startsWith('Bearer ') && header[7] !== ' ')
    return describeFound('Bearer', header.slice(7))
  const [start, name] = /^(bearer|dpop)(?: +|$)/i.exec(header) ?? []
  if (start === undefined || name === undefined) return NONE
  return describeFound(
    name.toLowerCase() === 'dpop' ? 'DPoP' : 'Bearer',
    header.slice(start.length),
  )
}

function describeFound(scheme: Scheme, token: string): Result<FoundToken, Refusal> {
  return { ok: true, value: { token, scheme } }
}

/** A bearer token that the request sends in no other way as well (RFC 6750 §2). */
function describeOnly(token: string, facts: RequestFacts): Result<FoundToken, Refusal> {
  const header = readHeader(facts.rawHeaders, 'authorization')
  const isOther = [header ?? []].flat().some((value) => /^(?:bearer|dpop)(?: |$)/i.test(value))
  return isOther || hasTokenInQuery(facts)
    ? malformedRequest('More than one access token was sent.')
    : describeFound('Bearer', token)
}

/** Visible ASCII, and some of it. A comma stands between two of them: no token holds one. */
export function isTokenText(text: unknown): boolean {
  return typeof text === 'string' && TOKEN.test(text)
}

/** Whether a header of this name may hold what is not looked for in any other. */
export function isOwnHeaderName(name: unknown): boolean {
  return typeof name === 'string' && HEADER_NAME.test(name) && !NOT_OWN.includes(name.toLowerCase())
}

/** RFC 6750 §3.1: a request that sends a token in more than one way is malformed. */
function hasTokenInQuery({ url = '', originalUrl = url }: RequestFacts): boolean {
  const at = originalUrl.indexOf('?')
  return at !== -1 && new URLSearchParams(originalUrl.slice(at + 1)).has('access_token')
}

function readMemo(
  header: string,
  memo: ConnectionMemo | undefined,
): Result<FoundToken, Refusal> | undefined {
  return memo?.found !== undefined && memo.header === header
    ? { ok: true, value: memo.found }
    : undefined
}

function rememberHeader(memo: ConnectionMemo, header: string, token: FoundToken): void {
  memo.header = header
  memo.found = token
}

function malformedRequest(why: string): { readonly ok: false; readonly reason: Refusal } {
  return { ok: false, reason: { kind: 'malformed_request', why } }
}
