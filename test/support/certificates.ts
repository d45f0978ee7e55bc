import 'reflect-metadata'
import { createHash, createPublicKey, KeyObject, webcrypto } from 'node:crypto'
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
  type JsonGeneralNames,
} from '@peculiar/x509'
import { systemClock } from '../../auth-server/clock.ts'

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
const DAY_MS = 86_400_000

export interface Certificate {
  readonly pem: string
  readonly der: Buffer
  /** The private key, in PEM. */
  readonly key: string
  /** `x5t#S256` of the tokens that are bound to it. */
  readonly thumbprint: string
}

export interface CertificateOptions {
  /** As RFC 4514 writes it. */
  readonly name?: string
  /** `localhost` and 127.0.0.1 by default. */
  readonly names?: JsonGeneralNames
  /** What it is for: clients and servers by default. */
  readonly usages?: readonly ('client' | 'server')[]
  /** Milliseconds since the epoch; from a minute ago to tomorrow by default. */
  readonly notBefore?: number
  readonly notAfter?: number
  readonly isAuthority?: boolean
  /** Who signs it; itself by default. */
  readonly signer?: Authority
}

/** Signs the certificates of others. */
export interface Authority extends Certificate {
  readonly name: string
  readonly privateKey: webcrypto.CryptoKey
}

const LOCAL: JsonGeneralNames = [
  { type: 'dns', value: 'localhost' },
  { type: 'ip', value: '127.0.0.1' },
]
const USAGES = { client: ExtendedKeyUsage.clientAuth, server: ExtendedKeyUsage.serverAuth }

let serial = 0

/** A certificate with a key of its own, P-256. */
export async function createCertificate(
  options: CertificateOptions | string = {},
): Promise<Authority> {
  const given = typeof options === 'string' ? { name: `CN=${options}` } : options
  const { name = 'CN=client', names = LOCAL, usages = ['client', 'server'] } = given
  const now = systemClock.now()
  const { notBefore = now - 60_000, notAfter = now + DAY_MS, signer } = given
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
  serial += 1
  const certificate = await X509CertificateGenerator.create({
    serialNumber: serial.toString(16).padStart(2, '0'),
    subject: encodeName(name),
    issuer: encodeName(signer?.name ?? name),
    notBefore: toDate(notBefore),
    notAfter: toDate(notAfter),
    publicKey: keys.publicKey,
    signingKey: signer?.privateKey ?? keys.privateKey,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new BasicConstraintsExtension(given.isAuthority === true, undefined, true),
      ...(given.isAuthority === true
        ? []
        : [
            new ExtendedKeyUsageExtension(usages.map((usage) => USAGES[usage])),
            new SubjectAlternativeNameExtension(names),
          ]),
    ],
  })
  const der = Buffer.from(certificate.rawData)
  return {
    name,
    pem: `${certificate.toString('pem')}\n`,
    der,
    key: KeyObject.from(keys.privateKey).export({ type: 'pkcs8', format: 'pem' }).toString(),
    privateKey: keys.privateKey,
    thumbprint: createHash('sha256').update(der).digest('base64url'),
  }
}

// oxlint-disable-next-line no-restricted-globals -- The library takes nothing else.
const toDate = (milliseconds: number) => new Date(milliseconds)

/** RFC 4514 §2.1 begins with the last part of a name; the library with what it is given first. */
function encodeName(name: string): string {
  return name
    .split(/(?<!\\),/)
    .toReversed()
    .join(',')
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
