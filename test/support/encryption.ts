import { KeyObject } from 'node:crypto'
import { compactDecrypt, exportJWK, generateKeyPair, type CompactJWEHeaderParameters } from 'jose'

/** A key that is encrypted to, and what a client declares of it. */
export interface DecryptionKey {
  readonly kid: string
  readonly privateKey: KeyObject
  readonly jwk: Readonly<Record<string, unknown>>
}

/** Without a word of what it is for, unless `marks` say it. `crv` is P-256 for ECDH. */
export async function makeDecryptionKey(
  kid: string,
  algorithm: string,
  marks: Readonly<Record<string, unknown>> = { use: 'enc' },
  crv = 'P-256',
): Promise<DecryptionKey> {
  const options = algorithm.startsWith('ECDH') ? { crv } : {}
  const { publicKey, privateKey } = await generateKeyPair(algorithm, {
    ...options,
    extractable: true,
  })
  return {
    kid,
    privateKey: KeyObject.from(privateKey),
    jwk: { ...(await exportJWK(publicKey)), kid, ...marks },
  }
}

/** What is inside of a JWE, and what its header says. */
export async function decrypt(
  text: string,
  key: DecryptionKey,
): Promise<{ readonly header: CompactJWEHeaderParameters; readonly token: string }> {
  const { plaintext, protectedHeader } = await compactDecrypt(text, key.privateKey)
  return { header: protectedHeader, token: new TextDecoder().decode(plaintext) }
}
