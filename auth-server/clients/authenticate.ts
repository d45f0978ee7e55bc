import { createHmac, randomBytes } from 'node:crypto'
import { PortreeveError } from '../errors.ts'
import type { Events } from '../events.ts'
import type { GuessThrottle, Throttled } from '../throttle.ts'
import type { ClientStore } from './client.ts'
import { verifyClientSecret, type ChosenSecretHasher } from './secret.ts'

export interface SecretVerifierCollaborators {
  readonly clients: ClientStore
  readonly hasher: ChosenSecretHasher
  readonly throttle: GuessThrottle
  readonly events: Events
}

type SecretVerifier = (clientId: string, secret: string, address: string) => Promise<boolean>

/**
 * Whether the secret is the client's. Wrong ones are counted like those at passwords.
 *
 * A service may send its secret many times a second, so the one that was last found right for a
 * client is recognised without hashing it slowly again, and the same secret sent many times at once
 * is checked once. Neither helps a guesser: an address that guessed too often is refused before.
 *
 * Throws `throttled` after too many wrong ones; the cause is `{ retryAfterSeconds }`. Throws `busy`
 * where too many secrets are being hashed.
 */
export function createSecretVerifier({
  clients,
  hasher,
  throttle,
  events,
}: SecretVerifierCollaborators): SecretVerifier {
  const memoKey = randomBytes(32)
  const lastRight = new Map<string, string>()
  const underWay = new Map<string, Promise<boolean>>()

  const refuse = (clientId: string, throttled: Throttled): never => {
    events.clientAuthenticationRefused({ clientId, reason: 'throttled' })
    throw new PortreeveError('throttled', 'too many wrong secrets', { cause: throttled })
  }

  const guess: SecretVerifier = async (clientId, secret, address) => {
    const attempt = await throttle.begin(clientId, address)
    if ('retryAfterSeconds' in attempt) return refuse(clientId, attempt)
    const client = await clients.findById(clientId)
    const right =
      client?.secretHash !== undefined &&
      (await verifyClientSecret(secret, client.secretHash, hasher))
    if (right) await attempt.forgive()
    else events.clientAuthenticationRefused({ clientId, reason: 'wrong_secret' })
    return right
  }

  return async (clientId, secret, address) => {
    const throttled = await throttle.peek(clientId, address)
    if (throttled) return refuse(clientId, throttled)
    const client = await clients.findById(clientId)
    const parts = [clientId, client?.secretHash, secret]
    const memo = createHmac('sha256', memoKey).update(JSON.stringify(parts)).digest('base64url')
    if (lastRight.get(clientId) === memo) return true
    const place = `${memo} ${address}`
    const work = underWay.get(place) ?? guess(clientId, secret, address)
    underWay.set(place, work)
    try {
      const right = await work
      if (right) lastRight.set(clientId, memo)
      return right
    } finally {
      underWay.delete(place)
    }
  }
}
