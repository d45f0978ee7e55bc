import { createHmac, randomBytes } from 'node:crypto'
import { PortreeveError } from '../errors.ts'
import type { Events } from '../events.ts'
import type { GuessThrottle, Throttled } from '../throttle.ts'
import type { ClientStore } from './client.ts'
import { verifyClientSecret, type ChosenSecretHasher } from './secret.ts'
import { rememberWrong } from './wrong-secrets.ts'

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
 * A service that has not heard of its new secret sends the old one again and again: a wrong secret that
 * was compared already counts once, or the service would lock out the right one. Whoever repeats it
 * learns what was said the first time, until the client has another secret.
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
  const wrong = rememberWrong()
  const underWay = new Map<string, Promise<boolean>>()

  const refuse = (clientId: string, throttled: Throttled): never => {
    events.clientAuthenticationRefused({ clientId, reason: 'throttled' })
    throw new PortreeveError('throttled', 'too many wrong secrets', { cause: throttled })
  }

  const guess = async (
    clientId: string,
    secretHash: string | undefined,
    secret: string,
    address: string,
  ): Promise<boolean> => {
    const attempt = await throttle.begin(clientId, address)
    if ('retryAfterSeconds' in attempt) return refuse(clientId, attempt)
    const right = secretHash !== undefined && (await verifyClientSecret(secret, secretHash, hasher))
    if (right) await attempt.forgive()
    else events.clientAuthenticationRefused({ clientId, reason: 'wrong_secret' })
    return right
  }

  return async (clientId, secret, address) => {
    const throttled = await throttle.peek(clientId, address)
    if (throttled) return refuse(clientId, throttled)
    const { secretHash } = (await clients.findById(clientId)) ?? {}
    const parts = [clientId, secretHash, secret]
    const memo = createHmac('sha256', memoKey).update(JSON.stringify(parts)).digest('base64url')
    if (lastRight.get(clientId) === memo) return true
    if (wrong.has(clientId, memo)) {
      events.clientAuthenticationRefused({ clientId, reason: 'same_wrong_secret' })
      return false
    }
    const place = `${memo} ${address}`
    const work = underWay.get(place) ?? guess(clientId, secretHash, secret, address)
    underWay.set(place, work)
    try {
      const right = await work
      if (right) lastRight.set(clientId, memo)
      // Whoever makes up clients has no secrets to try, and could push out those that matter.
      else if (secretHash !== undefined) wrong.add(clientId, memo)
      return right
    } finally {
      underWay.delete(place)
    }
  }
}
