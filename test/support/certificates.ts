import { execFile } from 'node:child_process'
import { createHash, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { makeFolder } from './folder.ts'

/** A certificate that nobody but its owner has signed, good from now on for two days. */
export interface Certificate {
  readonly pem: string
  readonly der: Buffer
  /** The private key, in PEM. */
  readonly key: string
  /** `x5t#S256` of the tokens that are bound to it. */
  readonly thumbprint: string
}

/**
 * For a client, or for a server on `localhost` and 127.0.0.1. By the `openssl` of the machine: the types
 * of @peculiar/x509 need those of a browser.
 */
export async function createCertificate(name: string): Promise<Certificate> {
  using folder = makeFolder()
  const [out, keyOut] = [path.join(folder.path, 'tls.pem'), path.join(folder.path, 'tls.key')]
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  const names = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1']
  const files = ['-keyout', keyOut, '-out', out]
  await promisify(execFile)('openssl', ['req', '-x509', ...curve, '-days', '2', ...names, ...files])
  const pem = await readFile(out, 'utf8')
  const der = new X509Certificate(pem).raw
  return {
    pem,
    der,
    key: await readFile(keyOut, 'utf8'),
    thumbprint: createHash('sha256').update(der).digest('base64url'),
  }
}
