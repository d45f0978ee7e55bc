import 'reflect-metadata'
import { KeyObject, webcrypto } from 'node:crypto'
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
  type JsonGeneralNames,
} from '@peculiar/x509'

/** A certificate, with its private key in PEM. */
export interface Certificate {
  readonly pem: string
  readonly der: Buffer
  readonly key: string
}

/** Signs the certificates of others. */
export interface Authority extends Certificate {
  readonly name: string
  readonly privateKey: webcrypto.CryptoKey
}

export interface CertificateOptions {
  /** As RFC 4514 writes it. */
  readonly name: string
  /** `localhost` and 127.0.0.1 by default. */
  readonly names?: JsonGeneralNames
  /** What it is for: clients and servers by default. */
  readonly usages?: readonly ('client' | 'server')[]
  /** Milliseconds since the epoch. */
  readonly notBefore: number
  readonly notAfter: number
  readonly isAuthority?: boolean
  /** Who signs it; itself by default. */
  readonly signer?: Authority | undefined
}

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
const LOCAL: JsonGeneralNames = [
  { type: 'dns', value: 'localhost' },
  { type: 'ip', value: '127.0.0.1' },
]
const USAGES = { client: ExtendedKeyUsage.clientAuth, server: ExtendedKeyUsage.serverAuth }

let serial = 0

/** A certificate with a key of its own (P-256), for as long as the caller says. */
export async function createCertificate(options: CertificateOptions): Promise<Authority> {
  const { name, names = LOCAL, usages = ['client', 'server'], isAuthority = false } = options
  const { signer } = options
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
  serial += 1
  const leaf = [
    new ExtendedKeyUsageExtension(usages.map((usage) => USAGES[usage])),
    new SubjectAlternativeNameExtension(names),
  ]
  const certificate = await X509CertificateGenerator.create({
    serialNumber: serial.toString(16).padStart(2, '0'),
    subject: encodeName(name),
    issuer: encodeName(signer?.name ?? name),
    notBefore: toDate(options.notBefore),
    notAfter: toDate(options.notAfter),
    publicKey: keys.publicKey,
    signingKey: signer?.privateKey ?? keys.privateKey,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new BasicConstraintsExtension(isAuthority, undefined, true),
      ...(isAuthority ? [] : leaf),
    ],
  })
  return {
    name,
    pem: `${certificate.toString('pem')}\n`,
    der: Buffer.from(certificate.rawData),
    key: KeyObject.from(keys.privateKey).export({ type: 'pkcs8', format: 'pem' }).toString(),
    privateKey: keys.privateKey,
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
