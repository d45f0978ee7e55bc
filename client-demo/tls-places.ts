import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { systemClock } from './web/clock.ts'
import { createCertificate, type Authority, type Certificate } from './certificates.ts'

/** Files of a server that speaks TLS, in PEM. */
export interface TlsPaths {
  readonly certificate: string
  readonly key: string
  /** Who may sign the certificates of clients. */
  readonly authorities: string
}

/** An authority of our own, what it has signed, and what others have. */
export interface Certificates {
  readonly authority: Authority
  /** Of a client that the server knows by name. */
  readonly client: Certificate
  /** Of another client of the same authority. */
  readonly other: Certificate
  /** By the name of the first, which nobody but itself has signed. */
  readonly forged: Certificate
}

export const CERTIFICATE_NAME = 'CN=notes-vault,O=Example'
const HOUR_MS = 3_600_000

/** Makes them anew, good for two hours, and writes down what servers need. */
export async function makeCertificates(
  folder: string,
): Promise<{ readonly certificates: Certificates; readonly paths: TlsPaths }> {
  const now = systemClock.now()
  const times = { notBefore: now - HOUR_MS, notAfter: now + 2 * HOUR_MS }
  const authority = await createCertificate({
    name: 'CN=Demo Authority',
    isAuthority: true,
    ...times,
  })
  const sign = (name: string, usage: 'client' | 'server', signer?: Authority) =>
    createCertificate({ name, usages: [usage], signer, ...times })
  const server = await sign('CN=localhost', 'server', authority)
  const write = async (name: string, content: string) => {
    const file = path.join(folder, name)
    await writeFile(file, content, { mode: 0o600 })
    return file
  }
  return {
    certificates: {
      authority,
      client: await sign(CERTIFICATE_NAME, 'client', authority),
      other: await sign('CN=somebody-else,O=Example', 'client', authority),
      forged: await sign(CERTIFICATE_NAME, 'client'),
    },
    paths: {
      certificate: await write('tls.pem', server.pem),
      key: await write('tls.key', server.key),
      authorities: await write('authorities.pem', authority.pem),
    },
  }
}
