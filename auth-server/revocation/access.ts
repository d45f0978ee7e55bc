import type { RevokedKind } from './revocation.ts'

/** A key is withdrawn where keys are kept. */
export type EndedKind = Exclude<RevokedKind, 'key'>

/** What one client had of a sign-in, which goes on without it. */
export interface SessionPart {
  readonly clientId: string
  readonly accountId: string | undefined
}

/** What went with it. */
export interface EndedAccess {
  /** The place of its entry in the log. */
  readonly place: number
  /** That of the first entry about what went with it; `place` where that is the only one. */
  readonly firstPlace: number
  /** Milliseconds since the epoch, in that entry. */
  readonly revokedAt: number
  /** How many sign-ins ended, or were left by the one client. */
  readonly sessions: number
  /** How many consents ended, each with its codes and tokens. */
  readonly grants: number
  readonly apiKeys: number
  /** Of a `session`, and of nothing else: what was known of it here. */
  readonly parts?: readonly SessionPart[] | undefined
}

/**
 * Takes access away, from one thing or from everybody, and writes it into the log: what nobody looks up
 * ends with the entry, what is looked up is gone.
 *
 * Concurrency contract: one transaction, which waits for every change that has begun. Whatever such a
 * change would still write about what has ended is lost.
 */
export interface AccessStore {
  /**
   * `token`: that token (`jti`), and nothing else. `grant`: all that hangs on a consent, or on an API key,
   * by the claim `grant_id`. `session`: one client's part of a sign-in, by the claim `sid`; it is told, if
   * it wants to be. `user`, `client`: all that was issued about or to it until now, with its sessions,
   * grants and API keys; it may sign in, or ask, anew. `all` (its subject is empty): the same for
   * everybody, with every API key. Registration tokens of clients, invites and secrets stay.
   *
   * What is known to nobody here is written all the same: a token may be all that is left of it.
   */
  end(kind: EndedKind, subject: string): Promise<EndedAccess>
  /** The grant that one of these hangs on, also one that was used: row keys of the engine's models. */
  findGrant(keys: readonly string[]): Promise<string | undefined>
}
