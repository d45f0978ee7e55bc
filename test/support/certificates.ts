import { createHash, createPublicKey } from 'node:crypto'
import { systemClock } from '../../auth-server/clock.ts'
import {
  createCertificate as create,
  type Authority as Signer,
  type CertificateOptions,
} from '../../client-demo/certificates.ts'

const DAY_MS = 86_400_000

export interface Certificate {
  readonly pem: string
  readonly der: Buffer
  /** The private key, in PEM. */
  readonly key: string
  /** `x5t#S256` of the tokens that are bound to it. */
  readonly thumbprint: string
}

/** Signs the certificates of others. */
export type Authority = Certificate & Signer

/** Good from a minute ago to tomorrow, unless it says otherwise. */
export async function createCertificate(
  options: Partial<CertificateOptions> | string = {},
): Promise<Authority> {
  const given = typeof options === 'string' ? { name: `CN=${options}` } : options
  const now = systemClock.now()
  const times = { notBefore: now - 60_000, notAfter: now + DAY_MS }
  const made = await create({ name: 'CN=client', ...times, ...given })
  return { ...made, thumbprint: createHash('sha256').update(made.der).digest('base64url') }
}

/** One that signs for others. */
export function createAuthority(name = 'CN=Test Authority'): Promise<Authority> {
  return createCertificate({ name, isAuthority: true })
}

/** Its key as a JWK that carries the certificate (RFC 7517 §4.7). */
export function describeCertificateKey({ pem, der }: Certificate): Record<string, unknown> {
  const jwk = createPublicKey(pem).export({ format: 'jwk' })
  return { ...jwk, kid: 'certificate', x5c: [der.toString('base64')] }
}
