import { constants, X509Certificate } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { createServer, type Server } from 'node:https'
import { createSecureContext } from 'node:tls'
import type { Config } from '../config/schema.ts'
import type { ReadSecret } from '../config/secrets.ts'
import { PortreeveError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { LISTENER_BOUNDS, REQUEST_TIMEOUT_MS } from './listen.ts'

type Listener = NonNullable<NonNullable<Config['mtls']>['listener']>

const HANDSHAKE_TIMEOUT_MS = 10_000
const MOST_BYTES = 1024 * 1024
const AT = ['mtls', 'listener']

export interface TlsFiles {
  readonly certificate: string
  readonly key: string
  /** Empty where nobody is trusted. */
  readonly authorities: readonly string[]
}

/** Throws `misconfigured` for files that are no certificates, or no key of them. */
export async function readTlsFiles(listener: Listener, readSecret: ReadSecret): Promise<TlsFiles> {
  const certificate = await readPem(listener.certificate, 'mtls.listener.certificate')
  const secret = await readSecret(listener.key, [...AT, 'key'])
  if (!secret.ok) {
    throw new PortreeveError('misconfigured', `mtls.listener.key: ${secret.reason.message}.`)
  }
  const bundle =
    listener.authorities === undefined
      ? ''
      : await readPem(listener.authorities, 'mtls.listener.authorities')
  const authorities =
    bundle.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  const files = { certificate, key: secret.value, authorities }
  requireCertificates(files, listener)
  return files
}

async function readPem(file: string, setting: string): Promise<string> {
  const reason = await stat(file)
    .then((found) => (found.isFile() && found.size <= MOST_BYTES ? undefined : 'is no file of PEM'))
    .catch((error: NodeJS.ErrnoException) =>
      error.code === 'ENOENT' ? 'does not exist' : `cannot be read (${error.code})`,
    )
  if (reason === undefined) return readFile(file, 'utf8')
  throw new PortreeveError('misconfigured', `${setting}: the file ${file} ${reason}.`)
}

/** What OpenSSL says of a key may hold a part of it: it is not passed on. */
function requireCertificates(
  { certificate, key, authorities }: TlsFiles,
  listener: Listener,
): void {
  if (!isCertificate(certificate)) throw refuse('certificate', 'certificates as PEM')
  const wantsAuthorities = listener.authorities !== undefined
  if (wantsAuthorities && !(authorities.length > 0 && authorities.every(isCertificate))) {
    throw refuse('authorities', 'certificates as PEM')
  }
  try {
    createSecureContext({ cert: certificate, key })
  } catch {
    throw refuse('key', 'the private key of the certificate as PEM, without a passphrase')
  }
}

/**
 * A server that asks each client for its certificate, and lets in those too that have none: whether one is
 * needed is the client's setting. What a connection was found to be is found out anew each time: nothing
 * is resumed. And it stays so: in a second handshake (TLS 1.2) the client could show another certificate,
 * which Node would go on to call trusted for the sake of the first.
 */
export function createTlsServer({ certificate, key, authorities }: TlsFiles, log: Logger): Server {
  const server = createServer({
    ...LISTENER_BOUNDS,
    cert: certificate,
    key,
    // Without any, those of the web would be trusted.
    ca: [...authorities],
    requestCert: true,
    rejectUnauthorized: false,
    minVersion: 'TLSv1.2',
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
    sessionTimeout: 1,
  })
  server.timeout = REQUEST_TIMEOUT_MS
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
    const { remoteAddress: address } = socket
    log.info({ event: 'tls_handshake_failed', reason: error.code, address })
  })
  return server
}

function refuse(setting: string, expected: string): PortreeveError {
  return new PortreeveError('misconfigured', `mtls.listener.${setting}: expected ${expected}.`)
}

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).raw.length > 0
  } catch {
    return false
  }
}
