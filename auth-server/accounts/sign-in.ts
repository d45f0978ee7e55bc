import type { Events } from '../events.ts'
import { PortreeveError, type Result } from '../errors.ts'
import type { GuessThrottle } from '../throttle.ts'
import type { Account, AccountStore } from './account.ts'
import type { PasswordHasher } from './password.ts'

export type SignInRefusal =
  | { readonly kind: 'credentials' }
  | { readonly kind: 'throttled'; readonly retryAfterSeconds: number }
  | { readonly kind: 'busy'; readonly retryAfterSeconds: number }

export interface Credentials {
  readonly username: string
  readonly password: string
  readonly address: string
}

export interface SignInCollaborators {
  readonly accounts: AccountStore
  readonly hasher: PasswordHasher
  readonly throttle: GuessThrottle
  readonly events: Events
}

export function createSignIn(collaborators: SignInCollaborators) {
  const { accounts, hasher, throttle, events } = collaborators
  return async (credentials: Credentials): Promise<Result<Account, SignInRefusal>> => {
    const username = credentials.username.trim().normalize('NFKC').toLowerCase()
    const guess = await throttle.begin(username, credentials.address)
    if ('retryAfterSeconds' in guess) {
      return { ok: false, reason: { kind: 'throttled', ...guess } }
    }
    const account = await accounts.findByUsername(username)
    try {
      const right = await (account?.passwordHash === undefined
        ? hasher.pretend(credentials.password)
        : hasher.verify(credentials.password, account.passwordHash))
      if (right && account && !account.disabled) {
        await guess.succeeded()
        return { ok: true, value: account }
      }
    } catch (error) {
      if (!(error instanceof PortreeveError) || error.code !== 'busy') throw error
      return { ok: false, reason: { kind: 'busy', retryAfterSeconds: 1 } }
    }
    events.signInRefused({
      reason: account ? 'wrong_password' : 'unknown_user',
      accountId: account?.id,
    })
    return { ok: false, reason: { kind: 'credentials' } }
  }
}
