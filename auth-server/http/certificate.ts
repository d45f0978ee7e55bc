import { X509Certificate } from 'node:crypto'
import type { IncomingMessage, RequestListener } from 'node:http'
import { TLSSocket } from 'node:tls'
import type { Middleware } from 'koa'
import { notePresented, type PresentedCertificate } from '../certificates/presented.ts'
import type { Config } from '../config/schema.ts'
import type { Refuse } from './refuse.ts'

type ProxyHeaders = Omit<NonNullable<NonNullable<Config['mtls']>['proxy']>, 'host' | 'port'>

/** Where clients show certificates, and what is served there. */
export interface MtlsPlace {
  readonly origin: string
  readonly paths: ReadonlySet<string>
  /** What a trusted proxy says; `undefined` where this server speaks TLS itself. */
  readonly proxy: ProxyHeaders | undefined
}

/** In characters: a certificate of 8 KB, with every byte of its base64 escaped where it can be. */
const LONGEST_HEADER = 12_288
const NOT_HERE =
  'Only endpoints that take client certificates are served here: see mtls_endpoint_aliases in the metadata.'

const atPlace = new WeakSet<IncomingMessage>()

/**
 * Serves what comes to the place for certificates. Only who listens there knows that it does: whatever a
 * request says of itself, or a proxy that serves other places as well passes on, makes it none.
 */
export function serveMtlsPlace(app: RequestListener): RequestListener {
  return (request, response) => {
    atPlace.add(request)
    app(request, response)
  }
}

/** Where a request has to have been sent to: the place for certificates has an origin of its own. */
export function expectOrigin(
  request: IncomingMessage,
  issuer: string,
  place: MtlsPlace | undefined,
): string {
  return place && atPlace.has(request) ? place.origin : issuer
}

/**
 * At the place for certificates: notes the one that the client has shown, and serves nothing but the
 * endpoints that take one. Elsewhere no certificate is looked at, whatever a header says.
 *
 * Comes after the origin was checked: `ctx.state.isFromProxy` is whether its peer is a trusted proxy.
 */
export function takeCertificates(place: MtlsPlace | undefined, refuse: Refuse): Middleware {
  return async (ctx, next) => {
    if (!place || !atPlace.has(ctx.req)) return next()
    if (!place.paths.has(ctx.path)) {
      refuse(ctx, { status: 404, error: 'not_found', description: NOT_HERE })
      return
    }
    const presented = place.proxy
      ? ctx.state['isFromProxy'] === true && readFromProxy(ctx.req, place.proxy)
      : readFromConnection(ctx.req)
    if (presented === UNREADABLE) {
      const description = `The certificate in ${place.proxy?.certificateHeader} cannot be read: expected one, as ${place.proxy?.format}.`
      refuse(ctx, { status: 400, error: 'invalid_request', description })
      return
    }
    if (presented) notePresented(ctx.req, presented)
    return next()
  }
}

function readFromConnection({ socket }: IncomingMessage): PresentedCertificate | undefined {
  if (!(socket instanceof TLSSocket)) return undefined
  const certificate = socket.getPeerX509Certificate()
  return certificate && { certificate, isTrusted: socket.authorized }
}

const UNREADABLE = 'unreadable'

/** Of two headers one is not the proxy's, so neither is believed. */
function readFromProxy(
  { rawHeaders }: IncomingMessage,
  { certificateHeader, format, verifiedHeader }: ProxyHeaders,
): PresentedCertificate | undefined | typeof UNREADABLE {
  const [value, ...others] = readHeader(rawHeaders, certificateHeader)
  if (value === undefined || (value === '' && others.length === 0)) return undefined
  if (others.length > 0 || value.length > LONGEST_HEADER) return UNREADABLE
  const der = format === 'rfc9440' ? decodeByteSequence(value) : decodeEscapedPem(value)
  const certificate = der && parseCertificate(der)
  if (!certificate) return UNREADABLE
  const verdicts = verifiedHeader === undefined ? [] : readHeader(rawHeaders, verifiedHeader)
  return { certificate, isTrusted: verdicts.length === 1 && verdicts[0] === 'SUCCESS' }
}

function readHeader(rawHeaders: readonly string[], name: string): readonly string[] {
  const wanted = name.toLowerCase()
  return rawHeaders.filter(
    (_value, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === wanted,
  )
}

/** @see {@link https://www.rfc-editor.org/rfc/rfc9440.html#section-2.2 RFC 9440 §2.2} */
function decodeByteSequence(value: string): Buffer | undefined {
  const [, base64] = /^:([A-Za-z0-9+/]+={0,2}):$/.exec(value) ?? []
  return base64 === undefined ? undefined : Buffer.from(base64, 'base64')
}

const PEM = /^-----BEGIN CERTIFICATE-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END CERTIFICATE-----\s*$/

function decodeEscapedPem(value: string): Buffer | undefined {
  try {
    const [, base64] = PEM.exec(decodeURIComponent(value)) ?? []
    return base64 === undefined ? undefined : Buffer.from(base64, 'base64')
  } catch {
    return undefined
  }
}

/** One certificate and nothing behind it. */
function parseCertificate(der: Buffer): X509Certificate | undefined {
  try {
    const certificate = new X509Certificate(der)
    return certificate.raw.equals(der) ? certificate : undefined
  } catch {
    return undefined
  }
}
