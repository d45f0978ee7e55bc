import { PortreeveError } from '../errors.ts'
import type { Events } from '../events.ts'
import type { GuessThrottle } from '../throttle.ts'
import type { ClientStore } from './client.ts'
import { verifyClientSecret, type ChosenSecretHasher } from './secret.ts'

export interface SecretVerifierCollaborators {
  readonly clients: ClientStore
  readonly hasher: ChosenSecretHasher
  readonly throttle: GuessThrottle
  readonly events: Events
}

/**
 * Whether the secret is the client's. Guesses are counted like those at passwords.
 *
 * Throws `throttled` after too many wrong ones; the cause is `{ retryAfterSeconds }`.
 */
export function createSecretVerifier({
  clients,
  hasher,
  throttle,
  events,
}: SecretVerifierCollaborators): (
  clientId: string,
  secret: string,
  address: string,
) => Promise<boolean> {
  return async (clientId, secret, address) => {
    const guess = await throttle.begin(clientId, address)
    if ('retryAfterSeconds' in guess) {
      events.clientAuthenticationRefused({ clientId, reason: 'throttled' })
      throw new PortreeveError('throttled', 'too many wrong secrets', { cause: guess })
    }
    const client = await clients.findById(clientId)
    const right =
      client?.secretHash !== undefined &&
      (await verifyClientSecret(secret, client.secretHash, hasher))
    if (right) await guess.succeeded()
    else events.clientAuthenticationRefused({ clientId, reason: 'wrong_secret' })
    return right
  }
}
