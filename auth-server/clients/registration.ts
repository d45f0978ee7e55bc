import { createHash, randomBytes } from 'node:crypto'
import type { Client } from './client.ts'

/** An operator's word that somebody may register clients (RFC 7591 §3, initial access token). */
export interface Invite {
  readonly id: string
  /** Whom it is for. */
  readonly label: string
  readonly usesLeft: number
  /** Milliseconds since the epoch. */
  readonly createdAt: number
  readonly expiresAt: number
}

/** What a registration takes beside the client itself. */
export interface Admission {
  /** Of the invite that one use is taken of; `undefined` where nobody needs one. */
  readonly inviteHash: string | undefined
  /** So many clients have registered themselves at most, this one included. */
  readonly most: number
  /** Milliseconds since the epoch. */
  readonly now: number
}

export type RegisterOutcome = 'registered' | 'no_invite' | 'too_many'

/**
 * Where is kept who may register clients, and who has. The clients themselves are in the `ClientStore`;
 * whoever removes one there removes its registration with it.
 *
 * Concurrency contract, which holds between processes as well: an invite is used as often as it says and
 * not once more, and of two registrations that reach the bound one is refused.
 */
export interface RegistrationStore {
  /** The oldest first. */
  listInvites(): Promise<readonly Invite[]>
  /** Whether it has expired or was used up or not. */
  findInvite(hash: string): Promise<Invite | undefined>
  addInvite(invite: Invite, hash: string): Promise<void>
  /** `false` where there is none. */
  removeInvite(id: string): Promise<boolean>
  /** Adds the client and takes one use of the invite: both or neither. */
  register(client: Client, tokenHash: string, admission: Admission): Promise<RegisterOutcome>
  /** The hash of the token that manages this client. */
  findTokenHash(clientId: string): Promise<string | undefined>
  /** Puts `after` in the place of `before`. `false` where it has been changed or removed meanwhile. */
  replace(before: Client, after: Client): Promise<boolean>
  /** Remembers that it got tokens, unless it is remembered after `notSince` already (both ms). */
  recordUse(clientId: string, at: number, notSince: number): Promise<void>
  /** Removes at most `limit` clients that registered before `before` (ms) and never got a token. */
  removeUnused(before: number, limit: number): Promise<readonly string[]>
  /** Removes at most `limit` invites that expired before `before` (ms); answers how many. */
  purgeInvites(before: number, limit: number): Promise<number>
}

/** What the ids of clients that registered themselves start with. */
const DYNAMIC_PREFIX = 'dyn_'

export function createDynamicClientId(): string {
  return `${DYNAMIC_PREFIX}${randomBytes(16).toString('base64url')}`
}

export function createInviteId(): string {
  return `inv_${randomBytes(16).toString('base64url')}`
}

/**
 * A token to register with, or to manage a registration with: a prefix that secret scanners find, and 256
 * random bits. Only the hash is kept.
 */
export function generateRegistrationToken(kind: 'invite' | 'management'): {
  readonly token: string
  readonly hash: string
} {
  const prefix = kind === 'invite' ? 'pri_' : 'prr_'
  const token = `${prefix}${randomBytes(32).toString('base64url')}`
  return { token, hash: hashRegistrationToken(token) }
}

/** It is too random to be guessed, so that a plain hash hides it. */
export function hashRegistrationToken(token: string): string {
  return createHash('sha256').update(token).digest('base64url')
}
