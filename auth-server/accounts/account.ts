import type { Owner } from '../config/schema.ts'

/** A person who can sign in. */
export interface Account {
  /** Made by the server, never chosen: the `sub` of every token. */
  readonly id: string
  /** What the person types. Unique, compared case-insensitively; stored in lower case. */
  readonly username: string
  /** A PHC string (argon2id), or `undefined` for an account that cannot sign in by password. */
  readonly passwordHash: string | undefined
  readonly roles: readonly string[]
  readonly groups: readonly string[]
  readonly profile: Profile
  readonly disabled: boolean
  /**
   * Milliseconds since the epoch, by the clock of the database: whoever signed in before has to do so
   * again. `undefined` where that was never asked for. Of two ends the later one is in a later second.
   */
  readonly accessEndedAt: number | undefined
  readonly owner: Owner
  /** Milliseconds since the epoch. */
  readonly createdAt: number
  readonly updatedAt: number
}

type Ended = Pick<Account, 'accessEndedAt'>

/** Whether whoever signed in then, in seconds since the epoch, has to do so again. */
export function isSignInOver({ accessEndedAt }: Ended, signedInAt: number): boolean {
  return accessEndedAt !== undefined && signedInAt <= toSecond(accessEndedAt)
}

/**
 * When a sign-in, or a key, of an account begins that was read after `now`, both in ms by the clock of the
 * database: in a later second than whatever had ended until it was read, because sessions know whole
 * seconds. Whatever ends later does so in that second, or in a later one.
 */
export function dateAccess({ accessEndedAt }: Ended, now: number): number {
  return accessEndedAt === undefined ? now : Math.max(now, (toSecond(accessEndedAt) + 1) * 1000)
}

function toSecond(milliseconds: number): number {
  return Math.floor(milliseconds / 1000)
}

/** Claims of OpenID Connect Core §5.1 that an account can carry. */
export interface Profile {
  readonly name?: string | undefined
  readonly givenName?: string | undefined
  readonly familyName?: string | undefined
  /** `preferred_username`; the username where absent. */
  readonly preferredUsername?: string | undefined
  readonly email?: string | undefined
  /** True only if an operator or a verification said so. */
  readonly emailVerified?: boolean | undefined
  readonly picture?: string | undefined
  readonly locale?: string | undefined
}

/** What is to be changed of the account with this id. Members that are not there stay as they are. */
export type AccountChanges = Pick<Account, 'id'> & Partial<Account>

/** Where accounts are kept. Each call is one atomic statement. */
export interface AccountStore {
  findById(id: string): Promise<Account | undefined>
  /** Expects the name in lower case. */
  findByUsername(username: string): Promise<Account | undefined>
  /** Ordered by username. */
  list(): Promise<readonly Account[]>
  /** Two calls for one id or username, one wins: the other answers `false`. */
  insert(account: Account): Promise<boolean>
  /**
   * `false` where there is no such account. Of two calls that change different members both count: who
   * changes what they have not looked at for long undoes nothing else, such as that it was disabled. Where
   * a role is taken away, what was issued until now is revoked.
   */
  update(changes: AccountChanges): Promise<boolean>
  /**
   * The same, ends its sessions, grants and API keys, and sets `accessEndedAt` to now, or to the next second
   * where it says this one: whoever had them, or is just signing in, may know the old password.
   */
  updateAndEndAccess(changes: AccountChanges): Promise<boolean>
  /** Removes the account and its API keys, and ends its sessions and grants. `false` where there is none. */
  remove(id: string): Promise<boolean>
}
