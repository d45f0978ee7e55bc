import { createHash, X509Certificate } from 'node:crypto'
import { parse } from 'node-html-parser'
import { conceal, concealBody, concealName, concealText, concealUrl } from './conceal.ts'
import type { Exchange, Fields } from './report.ts'
import { showValue } from './value.ts'

/** A request and its answer, as they may be shown. */

export interface SentRequest {
  readonly method?: string | undefined
  readonly headers?: Readonly<Record<string, string>> | undefined
  readonly body?: unknown
  /** Over TLS: the certificate that was shown, in PEM, if any. */
  readonly tls?: { readonly cert?: string | undefined } | undefined
  readonly purpose?: string | undefined
  /** Which of the members of the answer are shown. Default: all, or those that matter mostly. */
  readonly members?: readonly string[] | undefined
}

/** What is shown of an answer beside its text. */
export interface AnswerHead {
  readonly status: number
  readonly headers: Headers | Readonly<Record<string, string>>
}

const HEADERS_THAT_MATTER = ['location', 'www-authenticate', 'retry-after', 'dpop-nonce']
/** Of documents with dozens of members. */
const SERVER_METADATA = [
  'issuer',
  'authorization_endpoint',
  'token_endpoint',
  'userinfo_endpoint',
  'end_session_endpoint',
  'jwks_uri',
  'response_types_supported',
  'code_challenge_methods_supported',
]
const MEMBERS_THAT_MATTER: Readonly<Record<string, readonly string[]>> = {
  '/.well-known/openid-configuration': SERVER_METADATA,
  '/.well-known/oauth-authorization-server': SERVER_METADATA,
}

export function describeExchange(
  to: string,
  url: string,
  { method = 'GET', headers = {}, body, tls, purpose, members }: SentRequest,
  answer: AnswerHead,
  text: string,
): Exchange {
  const { origin, pathname, searchParams } = new URL(url)
  const { status } = answer
  const received = new Headers(answer.headers)
  return {
    to,
    ...(purpose === undefined ? {} : { purpose }),
    method,
    url: concealUrl(`${origin}${pathname}`),
    sent: {
      ...(tls ? { certificate: describeCertificate(tls.cert) } : {}),
      ...describeSentHeaders(headers),
      ...concealFields(readParameters(searchParams)),
      ...describeSentBody(headers, body),
    },
    status,
    received: {
      ...describeHeaders(received),
      ...describeBody(
        { status, type: received.get('content-type') ?? '', text },
        members ?? MEMBERS_THAT_MATTER[pathname],
      ),
    },
  }
}

/** By which name, on whose word, and the beginning of its hash (RFC 8705 §3.1). */
function describeCertificate(pem: string | undefined): string {
  if (pem === undefined) return 'none'
  const { subject, issuer, raw } = new X509Certificate(pem)
  // As RFC 4514 writes them, and configurations.
  const [name, signer] = [subject, issuer].map((names) => names.split('\n').toReversed().join(','))
  const hash = createHash('sha256').update(raw).digest('base64url')
  const by = signer === name ? 'itself' : signer
  return `${name}, signed by ${by} (${showValue(conceal('x5t#S256', hash))})`
}

/** One that is there several times, as `resource` may be, is a list. */
function readParameters(parameters: URLSearchParams): Record<string, string | string[]> {
  return Object.fromEntries(
    [...new Set(parameters.keys())].map((name) => {
      const [value = '', ...more] = parameters.getAll(name)
      return [name, more.length === 0 ? value : [value, ...more]]
    }),
  )
}

/** The two without a standard are those of older APIs. */
const SENT_HEADERS_THAT_MATTER = ['authorization', 'dpop', 'access_token', 'token']

function describeSentHeaders(headers: Readonly<Record<string, string>>): Fields {
  const present = Object.entries(headers).flatMap(([name, value]) =>
    SENT_HEADERS_THAT_MATTER.includes(name.toLowerCase())
      ? [[name.toLowerCase(), value] as const]
      : [],
  )
  return concealFields(Object.fromEntries(present))
}

function describeSentBody(headers: Readonly<Record<string, string>>, body: unknown): Fields {
  if (body instanceof URLSearchParams) return concealFields(Object.fromEntries(body))
  if (typeof body !== 'string' || body === '') return {}
  const document = parseObject(body)
  if (document) return concealFields(document)
  const type = new Headers({ ...headers }).get('content-type') ?? ''
  if (!type.startsWith('application/x-www-form-urlencoded')) return { body: concealBody(body) }
  return concealFields(Object.fromEntries(new URLSearchParams(body)))
}

export function concealFields(fields: Readonly<Record<string, unknown>>): Fields {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [concealName(name), conceal(name, value)]),
  )
}

function describeHeaders(headers: Headers): Fields {
  const present = HEADERS_THAT_MATTER.flatMap((name) => {
    const value = headers.get(name)
    return value === null ? [] : [[name, value] as const]
  })
  return concealFields(Object.fromEntries(present))
}

interface Body {
  readonly status: number
  readonly type: string
  readonly text: string
}

function describeBody({ status, type, text }: Body, wanted: readonly string[] | undefined): Fields {
  const isPage = status < 300 || status >= 400
  if (type.includes('html') && isPage) return { page: concealText(readTitle(text)) }
  if (text === '' || !/json|^text\/plain/.test(type)) return {}
  const document = type.includes('json') ? parseObject(text) : undefined
  if (!document) return { body: concealBody(text) }
  const members = Object.entries(document).filter(([name]) => wanted?.includes(name) ?? true)
  return concealFields(Object.fromEntries(members))
}

function readTitle(html: string): string {
  const page = parse(html)
  const title = page.querySelector('title')?.text ?? page.querySelector('h1')?.text
  return title?.trim().replaceAll(/\s+/g, ' ') ?? '(no title)'
}

function parseObject(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? { ...value } : undefined
  } catch {
    return undefined
  }
}
