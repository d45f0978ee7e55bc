import type { X509Certificate } from 'node:crypto'
import type { IncomingMessage } from 'node:http'

/** The certificate that a client has shown, and has proven that it has the key of. */
export interface PresentedCertificate {
  readonly certificate: X509Certificate
  /** Whether an authority that is trusted here has signed it, for clients. */
  readonly isTrusted: boolean
}

const presented = new WeakMap<IncomingMessage, PresentedCertificate>()

/** Notes what the connection, or a proxy that is trusted, says: nobody else may. */
export function notePresented(request: IncomingMessage, certificate: PresentedCertificate): void {
  presented.set(request, certificate)
}

export function readPresented(request: IncomingMessage): PresentedCertificate | undefined {
  return presented.get(request)
}
