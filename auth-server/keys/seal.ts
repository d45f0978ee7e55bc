import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { link, open, readFile, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { PortreeveError } from '../errors.ts'

const KEY_BYTES = 32
const NONCE_BYTES = 12
const TAG_BYTES = 16
const VERSION = 'v1.'

/** What a key derived from the root key is for: no two purposes share one. */
export type KeyPurpose =
  | 'seal'
  | 'cookies'
  | 'refresh-successor'
  | 'grant-id'
  | 'user-code'
  | 'csrf'
  | 'audit'
  | 'dpop-nonce'
  | 'ciba-notice'
  | 'pairwise-subject'
  | 'session-handle'

/** Expects 32 bytes in base64url. Throws `misconfigured`, without the text. */
export function parseRootKey(text: string, name = 'The root key'): Buffer {
  const key = Buffer.from(text, 'base64url')
  if (key.length === KEY_BYTES && key.toString('base64url') === text) return key
  throw new PortreeveError(
    'misconfigured',
    `${name} must be ${KEY_BYTES} bytes in base64url. Make one: openssl rand 32 | basenc --base64url -w0 | tr -d =`,
  )
}

/**
 * The root key in the file, which is made with a random key and mode 0600 where it does not exist. Of
 * two servers that start at once, both read the one that was there first.
 */
export async function readOrCreateRootKeyFile(
  path: string,
  name = 'The root key',
): Promise<Buffer> {
  const found = await readRootKeyFile(path, name)
  if (found) return found
  await createKeyFile(path, name)
  return parseRootKey((await readKeyFile(path, name)) ?? '', name)
}

/** The root key in the file; `undefined` where it does not exist. */
export async function readRootKeyFile(
  path: string,
  name = 'The root key',
): Promise<Buffer | undefined> {
  const text = await readKeyFile(path, name)
  return text === undefined ? undefined : parseRootKey(text, name)
}

async function readKeyFile(path: string, name: string): Promise<string | undefined> {
  try {
    return (await readFile(path, 'utf8')).trim()
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT') return undefined
    throw unusable(path, name, 'read', cause)
  }
}

/** The file appears whole or not at all, whatever kills the process meanwhile. */
async function createKeyFile(path: string, name: string): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}`
  try {
    await writeSynced(temporary, `${randomBytes(KEY_BYTES).toString('base64url')}\n`)
    await link(temporary, path).finally(() => unlink(temporary))
    await syncFolder(path)
  } catch (cause) {
    if (codeOf(cause) !== 'EEXIST') throw unusable(path, name, 'made', cause)
  }
}

/** So that the name survives a power cut as well: what the key seals is on the disk soon after it. */
async function syncFolder(file: string): Promise<void> {
  await using folder = await open(dirname(file), 'r')
  await folder.sync()
}

async function writeSynced(path: string, text: string): Promise<void> {
  await using file = await open(path, 'wx', 0o600)
  await file.writeFile(text)
  await file.sync()
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code
}

function unusable(
  path: string,
  name: string,
  what: 'read' | 'made',
  cause: unknown,
): PortreeveError {
  const message = `${name} file ${path} cannot be ${what} (${codeOf(cause) ?? 'unknown error'}).`
  return new PortreeveError('misconfigured', message, { cause })
}

/** HKDF-SHA-256 (RFC 5869): knowing one derived key tells nothing of another. */
export function deriveKey(root: Buffer, purpose: KeyPurpose): Buffer {
  return Buffer.from(hkdfSync('sha256', root, Buffer.alloc(0), `portreeve ${purpose}`, KEY_BYTES))
}

/** AES-256-GCM. `context` is bound to the text: sealed for one key id, it opens for no other. */
export function seal(key: Buffer, plaintext: string, context: string): string {
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(context))
  const text = Buffer.concat([cipher.update(plaintext, 'utf8'), cipher.final()])
  return VERSION + Buffer.concat([nonce, cipher.getAuthTag(), text]).toString('base64url')
}

/** Throws `misconfigured` for what was sealed under another key, for another context, or changed. */
export function unseal(key: Buffer, sealed: string, context: string): string {
  const bytes = Buffer.from(sealed.slice(VERSION.length), 'base64url')
  const nonce = bytes.subarray(0, NONCE_BYTES)
  const tag = bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES)
  try {
    if (!sealed.startsWith(VERSION)) throw new TypeError('unknown version of the seal')
    const cipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES })
    cipher.setAAD(Buffer.from(context)).setAuthTag(tag)
    const text = bytes.subarray(NONCE_BYTES + TAG_BYTES)
    return Buffer.concat([cipher.update(text), cipher.final()]).toString('utf8')
  } catch (cause) {
    throw new PortreeveError(
      'misconfigured',
      'The signing keys in the database were sealed under another key. Give back the key that they were sealed with (keys.encryptionKey; where that is absent, rootKey), or start with an empty database.',
      { cause },
    )
  }
}
