/** One client that has to be told of the end of one session. */
export interface LogoutDelivery {
  readonly id: string
  readonly clientId: string
  readonly accountId: string
  /** What the client knows the session by. */
  readonly sid: string
  /** Milliseconds since the epoch. */
  readonly queuedAt: number
  /** How often it was tried, counting an attempt that is under way. */
  readonly attempts: number
}

/** Of whom clients are: of the operator, or of a stranger who has described them. Those that are gone count with the latter. */
export type Whose = 'operator' | 'stranger'

/**
 * Who has to be told of sessions that ended. Entries are written where a session ends, in the same
 * transaction (`storage/models.ts`): there is no end of a session without its entries.
 *
 * Concurrency contract, which holds between processes as well: of two calls of `claim` for one attempt,
 * one wins. Whoever dies with an entry that it has claimed leaves it due again when the lease is over.
 */
export interface LogoutQueue {
  /** The next client of that kind after the place `after` that an entry is there for, due or not. */
  nextClient(whose: Whose, after: string): Promise<string | undefined>
  /** Entries of one client that are due at `now` (ms), those that wait longest first. */
  listDue(clientId: string, now: number, limit: number): Promise<readonly LogoutDelivery[]>
  /** Takes an entry until `leaseUntil` (ms). Answers it as it is then, `undefined` if another was first. */
  claim(delivery: LogoutDelivery, leaseUntil: number): Promise<LogoutDelivery | undefined>
  /** Gives an entry back, due at `dueAt` (ms). Nothing where somebody has claimed it since. */
  postpone(delivery: LogoutDelivery, dueAt: number): Promise<void>
  remove(id: string): Promise<void>
}
