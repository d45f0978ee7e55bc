/**
 * What access can be taken away from: one token (its `jti`), a grant or an API key (the claim
 * `grant_id`), a client's session (`sid`), a person (the account id), a client (its id), what one key
 * has signed (its `kid`), or everything that was issued until then (no subject).
 */
export type RevokedKind = 'token' | 'grant' | 'session' | 'user' | 'client' | 'key' | 'all'

/** Why it was taken away, for operators. */
export type RevocationReason =
  | 'signed_out'
  | 'token_revoked'
  | 'session_deleted'
  | 'grant_revoked'
  | 'consent_withdrawn'
  | 'api_key_revoked'
  | 'credential_reused'
  | 'user_changed'
  | 'user_removed'
  | 'client_removed'
  | 'client_changed'
  | 'key_withdrawn'
  | 'operator'

export interface NewRevocation {
  readonly kind: RevokedKind
  readonly subject: string
  readonly reason: RevocationReason
  /** Milliseconds since the epoch: when the longest-lived token that it may concern has expired. */
  readonly expiresAt: number
}

export interface Revocation extends NewRevocation {
  /** Its place in the log: 1, 2, 3 … in the order of the commits, the same on every instance. */
  readonly sequence: number
  /** Milliseconds since the epoch, by the clock of the database: tokens issued until then are revoked. */
  readonly revokedAt: number
}

/** What an entry can be about. */
export type Revocable = readonly [kind: RevokedKind, subject: string]

/** A moment in the log. */
export interface LogMark {
  /** Of the newest entry; 0 where there is none. */
  readonly place: number
  /**
   * Milliseconds since the epoch, by the clock of the database: no entry that comes later says that it
   * was made earlier.
   */
  readonly now: number
}

/**
 * What has been revoked, as an ordered log.
 *
 * Concurrency contract, which holds between processes as well: an entry gets its place when it is
 * committed, so whoever has seen entry n will never meet an entry below n that is new. It gets its time
 * then as well, from the one clock that all have: that of the database.
 */
export interface RevocationStore {
  append(entries: readonly NewRevocation[]): Promise<void>
  /** At most `limit` entries that come after the place `after`, in order. */
  list(after: number, limit: number): Promise<readonly Revocation[]>
  /** The place of the newest entry; 0 where there is none. */
  head(): Promise<number>
  /**
   * Whether an entry says so. `issuedAt` (milliseconds since the epoch): of what may be revoked again,
   * only entries count that are not older.
   */
  isRevoked(kind: RevokedKind, subject: string, issuedAt?: number): Promise<boolean>
  /** Waits for whoever is appending. */
  mark(): Promise<LogMark>
  /**
   * The newest entry about one of these that ends a token which was issued at `issuedAt` (milliseconds
   * since the epoch): any, but where its subject may be revoked again, only one that is not older, or comes
   * after the place `since` (default: none does). One query, however many they are; at most two of a kind.
   */
  findEnd(
    subjects: readonly Revocable[],
    token: { readonly issuedAt: number; readonly since?: number | undefined },
  ): Promise<{ readonly sequence: number; readonly kind: RevokedKind } | undefined>
  /** Names this log: another database has another one. 22 characters, base64url. */
  feedId(): Promise<string>
  /**
   * Gives this log another name, if it is still called `known`: of several calls, one does. For one that
   * has lost entries which somebody may have seen, so that nobody takes its places for the ones of before.
   * No receiver has applied anything of it then.
   */
  renameFeed(known: string): Promise<void>
  /** Calls `wake` when something may have been appended: soon, but a call may be lost. */
  listen(wake: () => void): AsyncDisposable
  /**
   * Removes at most `limit` entries that expired before `before` (ms), and by the clock of the database;
   * answers how many.
   */
  purge(before: number, limit: number): Promise<number>
}
