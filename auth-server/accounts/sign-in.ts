import { normalizeUsername } from '../config/username.ts'
import { PortreeveError, type Result } from '../errors.ts'
import type { Events } from '../events.ts'
import type { GuessThrottle } from '../throttle.ts'
import { dateAccess, type Account, type AccountStore } from './account.ts'
import type { PasswordHasher } from './password.ts'

/**
 * `credentials` stands for an unknown user, a wrong password and a disabled account alike.
 * `isUnknownUser` is for the one endpoint whose clients are told it, where an operator wants that.
 */
export type SignInRefusal =
  | { readonly kind: 'credentials'; readonly isUnknownUser: boolean }
  | { readonly kind: 'throttled'; readonly retryAfterSeconds: number }
  | { readonly kind: 'busy'; readonly retryAfterSeconds: number }

export interface Credentials {
  /** As it was typed. */
  readonly username: string
  readonly password: string
  /** Where the attempt comes from, an IP address: guesses are counted by it, too. */
  readonly address: string
}

/** A person who has proven who they are. */
export interface SignedIn {
  readonly account: Account
  /**
   * Milliseconds since the epoch, by the clock of the database: from before the account was looked at, and
   * after whatever had ended then.
   */
  readonly at: number
}

export interface SignInCollaborators {
  readonly accounts: AccountStore
  readonly hasher: PasswordHasher
  readonly throttle: GuessThrottle
  readonly events: Events
  /**
   * Milliseconds since the epoch, by the clock of the database, after waiting for whoever is ending access:
   * that is to be seen by whatever is read afterwards, and what ends later says no earlier time.
   */
  readonly readTime: () => Promise<number>
}

export type SignIn = (credentials: Credentials) => Promise<Result<SignedIn, SignInRefusal>>

/**
 * Signs people in by password.
 *
 * An unknown user costs one hash, like a known one, so that the time tells nobody who exists. Does not
 * check that what the account may do suffices for anything.
 */
export function createSignIn(collaborators: SignInCollaborators): SignIn {
  const { accounts, hasher, throttle, events, readTime } = collaborators
  return async ({ username, password, address }) => {
    const name = normalizeUsername(username)
    // Should the password change while it is being checked, the sign-in is older than the change. Before it
    // counts as a guess: a database that does not answer is nobody's.
    const now = await readTime()
    const guess = await throttle.begin(name, address)
    if ('retryAfterSeconds' in guess) {
      events.signInRefused({ reason: 'throttled' })
      return { ok: false, reason: { kind: 'throttled', ...guess } }
    }
    const account = await accounts.findByUsername(name)
    const right = await orBusy(
      account?.passwordHash === undefined
        ? hasher.pretend(password)
        : hasher.verify(password, account.passwordHash),
    )
    if (right === 'busy') {
      await guess.forgive()
      events.signInRefused({ reason: 'busy', accountId: account?.id })
      return { ok: false, reason: { kind: 'busy', retryAfterSeconds: 1 } }
    }
    if (right && account && !account.disabled) {
      await guess.forgive()
      return { ok: true, value: { account, at: dateAccess(account, now) } }
    }
    events.signInRefused({ reason: nameFault(account, right), accountId: account?.id })
    return { ok: false, reason: { kind: 'credentials', isUnknownUser: account === undefined } }
  }
}

async function orBusy(work: Promise<boolean>): Promise<boolean | 'busy'> {
  try {
    return await work
  } catch (error) {
    if (error instanceof PortreeveError && error.code === 'busy') return 'busy'
    throw error
  }
}

/** For the operator: the person is told no more than that it did not work. */
function nameFault(account: Account | undefined, right: boolean): string {
  if (!account) return 'unknown_user'
  return right ? 'disabled' : 'wrong_password'
}
