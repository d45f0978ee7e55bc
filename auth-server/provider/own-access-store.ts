/** When, from where and with what somebody has come last. */
export interface LastUse {
  /** Milliseconds since the epoch; at most a minute behind. */
  readonly at: number
  /** An IP address. */
  readonly from: string
  /** What a browser calls itself, in our words; `undefined` for apps. */
  readonly with: string | undefined
}

export interface StoredSession {
  readonly uid: string
  /** Of its newest row. */
  readonly key: string
  /** `undefined` where it has not come since this is remembered. */
  readonly lastUse: LastUse | undefined
}

export interface StoredGrant {
  /** The claim `grant_id` of its tokens. */
  readonly id: string
  readonly clientId: string
  readonly payload: Readonly<Record<string, unknown>>
  readonly lastUse: LastUse | undefined
}

/** What is used: a session by its uid, or a grant by its public name. */
export interface Used {
  readonly kind: 'session' | 'grant'
  readonly id: string
}

/**
 * What people have open and have allowed, as they see and end it themselves.
 *
 * Concurrency contract, which holds between processes as well: whoever ends something ends all that there
 * was when it was called, in one transaction with the log of revocations and the queue of logouts. What is
 * remembered of a use goes where the session or the grant goes.
 */
export interface OwnAccessStore {
  /**
   * Of at most `limit` rows, the newest first: a session may have several rows, and is listed once.
   * `more`: there may be others, which have only older rows.
   */
  listSessions(
    accountId: string,
    limit: number,
  ): Promise<{ readonly sessions: readonly StoredSession[]; readonly more: boolean }>
  /** At most `limit`, the newest first, without those of one client. */
  listGrants(
    accountId: string,
    limit: number,
    exceptClientId: string,
  ): Promise<readonly StoredGrant[]>
  /** Remembers a use, unless one after `notSince` is remembered already (ms). */
  recordUse(used: Used, use: LastUse, notSince: number): Promise<void>
  /** Ends every session of the account but one. Answers how many it were. */
  endOtherSessions(accountId: string, keptUid: string): Promise<number>
  /** Ends what the account has given to the client. `false` where there was nothing. */
  withdrawConsent(accountId: string, clientId: string): Promise<boolean>
}
