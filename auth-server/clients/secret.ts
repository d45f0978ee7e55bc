import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { PortreeveError } from '../errors.ts'

export interface ChosenSecretHasher {
  hash(secret: string): Promise<string>
  verify(secret: string, phc: string): Promise<boolean>
}

const GENERATED = 'sha256:'

export function generateClientSecret(): { readonly secret: string; readonly hash: string } {
  const secret = randomBytes(32).toString('base64url')
  return { secret, hash: GENERATED + digest(secret).toString('base64url') }
}

export async function hashChosenSecret(
  secret: string,
  hasher: ChosenSecretHasher,
): Promise<string> {
  return hasher.hash(secret)
}

export async function verifyClientSecret(
  secret: string,
  storedHash: string,
  hasher: ChosenSecretHasher,
): Promise<boolean> {
  if (secret.length > 1024) return false
  if (storedHash.startsWith('$argon2id$')) return hasher.verify(secret, storedHash)
  if (!storedHash.startsWith(GENERATED)) {
    throw new PortreeveError('misconfigured', 'A client secret is stored in an unknown format.')
  }
  return timingSafeEqual(
    digest(secret),
    Buffer.from(storedHash.slice(GENERATED.length), 'base64url'),
  )
}

function digest(secret: string): Buffer {
  return createHash('sha256').update(secret).digest()
}
