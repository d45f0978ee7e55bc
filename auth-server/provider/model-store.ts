import type { RevocationReason } from '../revocation/revocation.ts'

/** What the engine keeps under one identifier. */
export interface ModelRow {
  readonly model: string
  /** A hash of the identifier, never the identifier. */
  readonly key: string
  readonly payload: ModelPayload
  /** Milliseconds since the epoch; `undefined` for what never expires. */
  readonly expiresAt: number | undefined
  /** The grant this hangs on: the public, keyed name of the grant. */
  readonly grantId?: string | undefined
  readonly uid?: string | undefined
  /** A keyed hash of a device's user code. */
  readonly userCode?: string | undefined
  readonly accountId?: string | undefined
  readonly clientId?: string | undefined
  /** The key that a session goes on from. */
  readonly replaces?: string | undefined
}

export type ModelPayload = Readonly<Record<string, unknown>>

export interface StoredModel {
  readonly key: string
  /** A deep copy: whoever reads it may change it. */
  readonly payload: Record<string, unknown>
  /** Milliseconds since the epoch. */
  readonly consumedAt: number | undefined
  readonly expiresAt: number | undefined
  /** The key that a session goes on from, until it is settled. */
  readonly replaces?: string | undefined
}

/** One change that the engine makes. */
export type ModelWrite =
  /**
   * Writes a row, leaving `consumed` as it is. A session's `authorizations` are merged with those
   * stored under its uid; a session that was ended stays ended; a refresh token that exists stays as
   * it is, so that all retries of one refresh share one successor. A grant is kept at least as long
   * as what is put under it. Lost if its grant was revoked.
   *
   * A session that replaces another key of the same account leaves it as it was until the new one is
   * settled: the answer that brings the new one to the browser may be cut off.
   */
  | ({ readonly kind: 'put' } & ModelRow)
  /** Writes a row that must not exist yet. Lost if it does. */
  | ({ readonly kind: 'insert' } & ModelRow)
  /** Marks a row as used. Lost if it is gone or used, unless `retry` allows a second use. */
  | {
      readonly kind: 'consume'
      readonly model: string
      readonly key: string
      readonly retry?: RetryWindow | undefined
    }
  /** Removes a row. A session may go on under another key. */
  | { readonly kind: 'destroy'; readonly model: string; readonly key: string }
  /** The browser has come with this key of a session: the one that it replaces is removed. */
  | { readonly kind: 'settle'; readonly key: string; readonly uid?: string | undefined }
  /** Removes a grant with all that hangs on it, and remembers that it is gone. */
  | { readonly kind: 'revoke-grant'; readonly grantId: string }
  /**
   * Ends every session row with this uid for good, and with them their `sid`s: what each client knows
   * the session by. Clients that want to be told are queued for it. `clients` names those of a row that
   * is gone already.
   */
  | {
      readonly kind: 'end-session'
      readonly uid: string
      readonly clients?: readonly ClientSession[]
      /** Default: the person has signed out. */
      readonly reason?: RevocationReason
    }
  /**
   * Takes one client out of every row of the session, and ends the `sid`s that it knows the session by.
   * The client is queued to be told, if it wants to. A request that still held it does not bring it back.
   */
  | {
      readonly kind: 'leave-session'
      readonly uid: string
      readonly clientId: string
      /** Default: the person has signed out. */
      readonly reason?: RevocationReason
    }

/** A session as one client knows it. */
export interface ClientSession {
  readonly clientId: string
  readonly sid: string
  /** Whose it is. */
  readonly accountId: string | undefined
}

/** A second use counts as a retry while the first is recent and its successor is unused. */
export interface RetryWindow {
  readonly successorKey: string
  readonly windowMilliseconds: number
}

export type ApplyResult =
  | { readonly outcome: 'applied' }
  /** `grantId` names the family that was revoked because of it, if there was one. */
  | { readonly outcome: 'lost'; readonly write: ModelWrite; readonly grantId: string | undefined }

/**
 * Where the engine's models are kept.
 *
 * Concurrency contract, which holds between processes as well: `apply` is one transaction. Of two
 * calls that consume one key, one is applied; the other is lost, revokes the whole family of the row
 * and changes nothing else. After a grant is revoked no row of it can be written.
 */
export interface ModelStore {
  /** May answer rows that have expired: the engine judges expiry itself. */
  find(model: string, key: string): Promise<StoredModel | undefined>
  /** The newest where several match. */
  findByUid(model: string, uid: string): Promise<StoredModel | undefined>
  findByUserCode(model: string, userCode: string): Promise<StoredModel | undefined>
  /** What an account has of a model, unused and not expired, at most `limit`: the newest first. */
  listByAccount(model: string, accountId: string, limit: number): Promise<StoredModel[]>
  apply(writes: readonly ModelWrite[]): Promise<ApplyResult>
  /** Removes at most `limit` rows that expired before `before` (ms); answers how many. */
  purge(before: number, limit: number): Promise<number>
}
