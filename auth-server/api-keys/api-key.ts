import { createHash, randomBytes, randomInt } from 'node:crypto'
import { crc32 } from 'node:zlib'
import type { Result } from '../errors.ts'

/** What a person gives to a program, so that it acts for them: for one API, within some scopes. */
export interface ApiKey {
  /** Made by the server; public. It names the key in lists, in the audit log and in `grant_id`. */
  readonly id: string
  /** The account that it acts for. */
  readonly accountId: string
  /** What its owner calls it. */
  readonly name: string
  /** The identifier of the one resource that it is for. */
  readonly resource: string
  /** At most these: what its owner may do counts at the moment it is used. */
  readonly scopes: readonly string[]
  /** Milliseconds since the epoch, from before its owner was looked at. */
  readonly createdAt: number
  readonly expiresAt: number | undefined
  /** At most a minute behind. */
  readonly lastUsedAt: number | undefined
  /** The address that it was shown from then. Forgotten when it is revoked. */
  readonly lastUsedFrom?: string | undefined
  readonly revokedAt: number | undefined
}

/** With what is kept of the key itself. */
export interface StoredApiKey extends ApiKey {
  readonly hash: string
}

export interface KeyUse {
  /** Milliseconds since the epoch. */
  readonly at: number
  /** An IP address. */
  readonly from: string
}

/** `no_owner`: the account is gone or disabled, or its access was ended since `createdAt`. */
export type InsertOutcome = 'added' | 'no_owner' | 'too_many' | 'taken'

/**
 * Where API keys are kept.
 *
 * Concurrency contract, which holds between processes as well: a key that was revoked stays so. When
 * access of an account is ended no key of it is left, one that is just being inserted included. Of two
 * calls that revoke one key, or insert one id, one wins.
 */
export interface ApiKeyStore {
  /** Whatever has become of it. */
  findByHash(hash: string): Promise<ApiKey | undefined>
  findById(id: string): Promise<ApiKey | undefined>
  /** Those of one account, the oldest first. */
  listByAccount(accountId: string): Promise<readonly ApiKey[]>
  /** The oldest first. */
  list(): Promise<readonly StoredApiKey[]>
  /**
   * `most`: of the keys of one account that are neither revoked nor expired, this one included. Of those
   * that have ended the newest hundred are kept.
   */
  insert(key: StoredApiKey, most: number): Promise<InsertOutcome>
  /** And with it what was issued for it. `false` where there is none, or it was revoked before. */
  revoke(id: string): Promise<boolean>
  /** Remembers a use of a key that was not revoked, unless one after `notSince` is remembered (ms). */
  recordUse(id: string, use: KeyUse, notSince: number): Promise<void>
  /** Removes at most `limit` keys that ended thirty days before `before` (ms); answers how many. */
  purge(before: number, limit: number): Promise<number>
}

/** Of one person, at once. */
export const MOST_API_KEYS = 50
export const LONGEST_NAME = 100

const PREFIX = 'prk_'
const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
/** 256 bits. */
const RANDOM_LENGTH = 43
/** 32 bits. */
const CHECKSUM_LENGTH = 6
const FORM = new RegExp(`^${PREFIX}[0-9A-Za-z]{${RANDOM_LENGTH + CHECKSUM_LENGTH}}$`)

/** `mistyped`: it begins like a key, and one of its characters is not what it was. */
export type KeyFault = 'not_a_key' | 'mistyped'

/**
 * A key as it is shown, once: a prefix that secret scanners find (`prk_[0-9A-Za-z]{49}`), 256 random
 * bits, and a checksum that tells a typist at once. A double click marks all of it.
 *
 * @see {@link https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/ GitHub's token formats}
 */
export function generateApiKey(): string {
  const random = Array.from({ length: RANDOM_LENGTH }, () => ALPHABET[randomInt(ALPHABET.length)])
  const text = `${PREFIX}${random.join('')}`
  return `${text}${checksum(text)}`
}

export function createApiKeyId(): string {
  return `key_${randomBytes(16).toString('base64url')}`
}

/** Judges the form alone: that a key was ever made is for the store to say. */
export function judgeApiKey(text: string): Result<string, KeyFault> {
  if (!text.startsWith(PREFIX)) return { ok: false, reason: 'not_a_key' }
  const isWhole =
    FORM.test(text) && checksum(text.slice(0, -CHECKSUM_LENGTH)) === readChecksum(text)
  return isWhole ? { ok: true, value: text } : { ok: false, reason: 'mistyped' }
}

/** What is kept of a key. It is too random to be guessed, so that a plain hash hides it. */
export function hashApiKey(text: string): string {
  return createHash('sha256').update(text).digest('base64url')
}

export type ApiKeyState = 'active' | 'expired' | 'revoked'

export function judgeState(
  { expiresAt, revokedAt }: Pick<ApiKey, 'expiresAt' | 'revokedAt'>,
  now: number,
): ApiKeyState {
  if (revokedAt !== undefined) return 'revoked'
  return expiresAt !== undefined && expiresAt <= now ? 'expired' : 'active'
}

function readChecksum(text: string): string {
  return text.slice(-CHECKSUM_LENGTH)
}

/** CRC-32 in base 62, most significant digit first. */
function checksum(text: string): string {
  let rest = crc32(text)
  let digits = ''
  for (let index = 0; index < CHECKSUM_LENGTH; index += 1) {
    digits = `${ALPHABET[rest % ALPHABET.length]}${digits}`
    rest = Math.floor(rest / ALPHABET.length)
  }
  return digits
}
