import type { Clock } from '../clock.ts'
import { isSameText } from '../compare.ts'
import type { Result } from '../errors.ts'
import type { Events } from '../events.ts'
import type { GuessThrottle, Throttled } from '../throttle.ts'
import {
  hashApiKey,
  judgeApiKey,
  judgeState,
  type ApiKey,
  type ApiKeyStore,
  type KeyFault,
  type StoredApiKey,
} from './api-key.ts'

/**
 * Why a key is refused. `unknown`: it has the form of a key, and nobody was ever given it, or long ago.
 * `owner`: the account that it acts for is gone or disabled.
 */
export type ApiKeyRefusal =
  | { readonly kind: KeyFault }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'expired' | 'revoked' | 'owner'; readonly key: ApiKey }
  | ({ readonly kind: 'throttled' } & Throttled)

/** Who shows the key. */
export interface ApiKeySource {
  /** The client that asks, proven; `undefined` where there is none. */
  readonly clientId: string | undefined
  /** An IP address. */
  readonly address: string
}

/** A key that is good now, and whom it acts for. */
export interface VerifiedApiKey<Owner> {
  readonly key: ApiKey
  readonly owner: Owner
}

/** What is asked of whose key it is. */
export interface KeyOwner {
  readonly disabled: boolean
  /** Milliseconds since the epoch. */
  readonly accessEndedAt?: number | undefined
}

export interface ApiKeyVerifierCollaborators<Owner> {
  readonly apiKeys: Pick<ApiKeyStore, 'findByHash' | 'recordUse'>
  readonly accounts: { findById(id: string): Promise<Owner | undefined> }
  /** Wrong keys are counted here, per client and address. */
  readonly throttle: GuessThrottle
  readonly events: Pick<Events, 'apiKeyRefused'>
  readonly clock: Clock
}

export interface ApiKeyVerifierOptions {
  /**
   * Keys that somebody chose, which have neither prefix nor checksum. They can be guessed: only for a
   * demonstration. Default: none.
   */
  readonly chosen?: readonly StoredApiKey[]
}

export type VerifyApiKey<Owner> = (
  text: string,
  source: ApiKeySource,
) => Promise<Result<VerifiedApiKey<Owner>, ApiKeyRefusal>>

/** Hashed in no time. */
const LONGEST_CHOSEN = 256
const USE_EVERY_MS = 60_000

/**
 * Whether a key is good now: its form, that it was made here, that it is neither revoked nor expired,
 * and that its owner may still act. Remembers the use, at most once a minute.
 *
 * Wrong keys are counted like guesses at passwords, and who has guessed too often is told to wait. A key
 * that was made is never kept out by them: strangers who send wrong keys through a gateway must not shut
 * out its other users, and looking one more up helps nobody to guess 256 bits. What has not the form of
 * a key is no guess.
 *
 * Does not decide what the key may do: its scopes are a bound, the client's and the owner's are others.
 */
export function createApiKeyVerifier<Owner extends KeyOwner>(
  collaborators: ApiKeyVerifierCollaborators<Owner>,
  { chosen = [] }: ApiKeyVerifierOptions = {},
): VerifyApiKey<Owner> {
  const { apiKeys, accounts, throttle, events, clock } = collaborators

  const findMade = async (hash: string, { clientId = '', address }: ApiKeySource) => {
    const key = await apiKeys.findByHash(hash)
    if (key) return judge((await recordUse(key, address)) ? await apiKeys.findByHash(hash) : key)
    const guess = await throttle.begin(clientId, address)
    return refuse('retryAfterSeconds' in guess ? { kind: 'throttled', ...guess } : UNKNOWN)
  }
  /** Counts it before it is looked at: of a hundred guesses at once most must not be. */
  const findChosen = async (text: string, fault: KeyFault, source: ApiKeySource) => {
    if (chosen.length === 0 || text.length > LONGEST_CHOSEN) return refuse({ kind: fault })
    const guess = await throttle.begin(source.clientId ?? '', source.address)
    if ('retryAfterSeconds' in guess) return refuse({ kind: 'throttled', ...guess })
    const hash = hashApiKey(text)
    const key = chosen.find((one) => isSameText(one.hash, hash))
    if (!key) return refuse({ kind: fault })
    await guess.forgive()
    const judged = await judge(key)
    // It stands in no store that could say that it has ended.
    const isOver = judged.ok && (judged.value.owner.accessEndedAt ?? -Infinity) >= key.createdAt
    return isOver ? refuse({ kind: 'owner', key }) : judged
  }
  const judge = async (
    key: ApiKey | undefined,
  ): Promise<Result<VerifiedApiKey<Owner>, ApiKeyRefusal>> => {
    if (!key) return refuse(UNKNOWN)
    const state = judgeState(key, clock.now())
    if (state !== 'active') return refuse({ kind: state, key })
    const owner = await accounts.findById(key.accountId)
    if (!owner || owner.disabled) return refuse({ kind: 'owner', key })
    return { ok: true, value: { key, owner } }
  }
  /** Whether it was written: that may have waited, and the key have ended meanwhile. */
  const recordUse = async (key: ApiKey, from: string) => {
    const now = clock.now()
    const isDue = (key.lastUsedAt ?? -Infinity) <= now - USE_EVERY_MS
    if (!isDue || judgeState(key, now) !== 'active') return false
    await apiKeys.recordUse(key.id, { at: now, from }, now - USE_EVERY_MS)
    return true
  }

  return async (text, source) => {
    const form = judgeApiKey(text)
    const verified = form.ok
      ? await findMade(hashApiKey(text), source)
      : await findChosen(text, form.reason, source)
    if (!verified.ok) events.apiKeyRefused(describeRefusal(verified.reason, source))
    return verified
  }
}

const UNKNOWN = { kind: 'unknown' } as const

function refuse(reason: ApiKeyRefusal) {
  return { ok: false, reason } as const
}

function describeRefusal(reason: ApiKeyRefusal, { clientId }: ApiKeySource) {
  const key = 'key' in reason ? reason.key : undefined
  return { reason: reason.kind, clientId, keyId: key?.id, accountId: key?.accountId }
}
