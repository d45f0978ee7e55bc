import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { link, open, readFile, unlink } from 'node:fs/promises'
import { PortreeveError } from '../errors.ts'

export function parseRootKey(text: string): Buffer {
  const key = Buffer.from(text, 'base64url')
  if (key.length === 32 && key.toString('base64url') === text) return key
  throw new PortreeveError('misconfigured', 'The root key must be 32 bytes in base64url.')
}

export async function readOrCreateRootKeyFile(path: string): Promise<Buffer> {
  const found = await readFile(path, 'utf8').catch(() => undefined)
  if (found !== undefined) return parseRootKey(found.trim())
  const temporary = `${path}.${randomBytes(6).toString('hex')}`
  const file = await open(temporary, 'wx', 0o600)
  await file.writeFile(`${randomBytes(32).toString('base64url')}\n`)
  await file.sync()
  await file.close()
  await link(temporary, path).catch(() => {})
  await unlink(temporary)
  return parseRootKey((await readFile(path, 'utf8')).trim())
}

export type KeyPurpose =
  | 'seal'
  | 'cookies'
  | 'refresh-successor'
  | 'grant-id'
  | 'user-code'
  | 'csrf'

export function deriveKey(root: Buffer, purpose: KeyPurpose): Buffer {
  return Buffer.from(hkdfSync('sha256', root, Buffer.alloc(0), `portreeve ${purpose}`, 32))
}

export function seal(key: Buffer, plaintext: string, aad: string): string {
  const nonce = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(aad))
  const text = Buffer.concat([cipher.update(plaintext, 'utf8'), cipher.final()])
  return `v1.${Buffer.concat([nonce, cipher.getAuthTag(), text]).toString('base64url')}`
}

export function unseal(key: Buffer, sealed: string, aad: string): string {
  const bytes = Buffer.from(sealed.slice(3), 'base64url')
  const cipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, 12))
  cipher.setAAD(Buffer.from(aad)).setAuthTag(bytes.subarray(12, 28))
  return Buffer.concat([cipher.update(bytes.subarray(28)), cipher.final()]).toString('utf8')
}
