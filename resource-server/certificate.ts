import { hash, X509Certificate } from 'node:crypto'
import { TLSSocket } from 'node:tls'
import { isOwnHeaderName, type RequestFacts } from './extractors.ts'
import { refuseUnknownOptions } from './options.ts'
import type { ProxyTrust } from './proxy.ts'

/** In which header a proxy hands over the certificate of a client, and how it is written there. */
export interface CertificateHeader {
  /** `Client-Cert` (RFC 9440), or what the proxy was told to write, in any case. */
  readonly name: string
  /**
   * `rfc9440`: the DER in base64 between colons. `escaped-pem`: nginx's `$ssl_client_escaped_cert`, a
   * PEM that is percent-encoded.
   */
  readonly format: 'rfc9440' | 'escaped-pem'
}

/** Who may speak for a client's certificate in place of the TLS connection. */
export interface CertificateTrust {
  readonly isTrustedProxy: ProxyTrust
  readonly header: CertificateHeader
}

const FORMATS: readonly unknown[] = [
  'rfc9440',
  'escaped-pem',
] satisfies CertificateHeader['format'][]
const MAX_HEADER_LENGTH = 16_384
/** A connection shows one certificate: later requests on it need no hash. */
const THUMBPRINTS = new WeakMap<TLSSocket, string>()

/** Throws a `TypeError` that names the option for what is no such header. */
export function requireCertificateHeader(header: CertificateHeader): void {
  refuseUnknownOptions('sender.certificateHeader', header, ['name', 'format'])
  const { name, format } = header
  if (!isOwnHeaderName(name)) {
    throw new TypeError(
      `sender.certificateHeader.name: expected a header of its own, not ${JSON.stringify(name)}`,
    )
  }
  if (!FORMATS.includes(format)) {
    throw new TypeError(
      `sender.certificateHeader.format: expected ${FORMATS.join(' or ')}, not ${JSON.stringify(format)}`,
    )
  }
}

/**
 * The thumbprint of the certificate that the client has shown (`x5t#S256`: SHA-256 of its DER in
 * base64url), or `undefined` where it has shown none. From a trusted proxy, what its header says, and
 * never the proxy's own certificate; from everybody else, what the TLS connection says, and never a
 * header.
 *
 * That the client has the certificate's key is what TLS proves. Neither the chain nor the dates are
 * checked: the issuer has done that before it bound the token (RFC 8705 §6.2).
 *
 * **Warning:** a proxy that is trusted must remove the header from what its clients send.
 */
export function readCertificateThumbprint(
  req: Pick<RequestFacts, 'socket' | 'rawHeaders'>,
  trust?: CertificateTrust,
): string | undefined {
  return trust?.isTrustedProxy(req) ? readFromHeader(req, trust.header) : readFromSocket(req.socket)
}

function readFromSocket(socket: RequestFacts['socket']): string | undefined {
  if (!(socket instanceof TLSSocket)) return undefined
  const known = THUMBPRINTS.get(socket)
  if (known !== undefined) return known
  const certificate = socket.getPeerX509Certificate()
  if (certificate === undefined) return undefined
  const thumbprint = hashCertificate(certificate.raw)
  THUMBPRINTS.set(socket, thumbprint)
  return thumbprint
}

function readFromHeader(
  { rawHeaders }: { readonly rawHeaders: readonly string[] },
  { name, format }: CertificateHeader,
): string | undefined {
  const values = rawHeaders.filter(
    (_value, index) =>
      rawHeaders[index - 1]?.toLowerCase() === name.toLowerCase() && index % 2 === 1,
  )
  const [value = '', ...others] = values
  // Of two, one is not the proxy's.
  if (others.length > 0 || value.length > MAX_HEADER_LENGTH) return undefined
  const der = format === 'rfc9440' ? decodeByteSequence(value) : decodeEscapedPem(value)
  return der && isCertificate(der) ? hashCertificate(der) : undefined
}

/** @see {@link https://www.rfc-editor.org/rfc/rfc9440.html#section-2.2 RFC 9440 §2.2} */
function decodeByteSequence(value: string): Buffer | undefined {
  const [, base64] = /^:([A-Za-z0-9+/]+={0,2}):$/.exec(value) ?? []
  return base64 === undefined ? undefined : Buffer.from(base64, 'base64')
}

const PEM = /^-----BEGIN CERTIFICATE-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END CERTIFICATE-----\s*$/

function decodeEscapedPem(value: string): Buffer | undefined {
  const [, base64] = PEM.exec(unescapeText(value)) ?? []
  return base64 === undefined ? undefined : Buffer.from(base64, 'base64')
}

function unescapeText(value: string): string {
  try {
    return decodeURIComponent(value)
  } catch {
    return ''
  }
}

/** One certificate and nothing behind it. */
function isCertificate(der: Buffer): boolean {
  try {
    return new X509Certificate(der).raw.equals(der)
  } catch {
    return false
  }
}

function hashCertificate(der: Buffer): string {
  return hash('sha256', der, 'base64url')
}
