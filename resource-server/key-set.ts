import { hash, randomInt } from 'node:crypto'
import type { Clock } from './clock.ts'
import { IssuerError, type KeysUnavailable } from './errors.ts'
import { withDeadline, type FetchJson } from './fetch-json.ts'
import { importVerificationKey, nameAlgorithm, type VerificationKey } from './jwk.ts'
import { discoverKeySetUrl } from './metadata.ts'

const MINUTE_MS = 60_000
/** Keys are fetched again after 80 to 100 % of this, so that many servers do not ask at once. */
const FRESH_MS = 5 * MINUTE_MS
/** How long keys serve while the issuer cannot be asked: the bound of trusting a withdrawn one. */
const MAX_STALE_MS = 60 * MINUTE_MS
const BACK_OFF_MS = 5000
/** The address of the key set is looked up again after this, and after every failure. */
const MAX_METADATA_AGE_MS = 60 * MINUTE_MS
/** Fetches that tokens with unknown key ids may cause: three at once, then one every 30 seconds. */
const FORCED_FETCHES = { burst: 3, everyMs: 30_000 }
/** Those that news of other keys may cause: with a beat every five seconds, one for each. */
const FOLLOWED_FETCHES = { burst: 5, everyMs: 5000 }

export type KeyLookup =
  | { readonly kind: 'found'; readonly key: VerificationKey }
  | { readonly kind: 'unknown_key' }
  | { readonly kind: 'ambiguous_key' }
  | { readonly kind: 'wrong_algorithm'; readonly expected: string }
  | KeysUnavailable

/** The issuer's keys. Owns a timer: dispose of it to stop asking the issuer. */
export interface KeySet extends AsyncDisposable {
  /**
   * The key that a token names, or, for a token that names none, the only one of its algorithm.
   * Answers a promise only where the issuer has to be asked. Calls at the same time share one fetch. A
   * key that the issuer has withdrawn is unknown from the moment the new set has arrived.
   */
  find(keyId: string | undefined, algorithm: string): KeyLookup | Promise<KeyLookup>
  /**
   * Whether a key that was found may still be believed: it has not been withdrawn or replaced, and the
   * set was fetched not too long ago. Costs next to nothing: asked for every use of a kept result.
   * `now` is the monotonic time.
   */
  isCurrent(key: VerificationKey, now: number): boolean
  /**
   * Fetches the keys now, past all caches, unless they are those of which the issuer has said that they
   * are published now: `digest` is that of their ids. Does nothing for keys that nobody has needed yet.
   * Does not throw: keys that cannot be had are asked for again as ever, and so are those of which one
   * hears too often, by whoever says so the next time. From the first call on, an older
   * copy out of a cache is never taken.
   */
  follow(digest: string): Promise<void>
  readonly state: KeySetState
}

/** For the operator. */
export interface KeySetState {
  readonly keys: number
  /** Since the last good answer of the issuer; `undefined` before the first. */
  readonly ageSeconds: number | undefined
  readonly fetches: number
  readonly failedFetches: number
}

/**
 * Keeps the keys of one issuer. The first look-up fetches them; from then on a timer does, so that
 * traffic neither causes fetches nor waits for one, with one bounded exception: a token that names
 * a key never seen.
 */
export function createKeySet(issuer: string, clock: Clock): KeySet {
  return new RefreshingKeySet(issuer, clock)
}

interface PublishedKeys {
  readonly keys: readonly VerificationKey[]
  /** Of the ids of all keys, those that are of no use here as well. */
  readonly digest: string
}

function digestIds(keys: readonly { readonly kid?: unknown }[]): string {
  const ids = keys.map((key) => key?.kid).filter((id) => typeof id === 'string')
  return hash('sha256', JSON.stringify(ids.toSorted()), 'base64url')
}

type Keys = ReadonlyMap<string | undefined, readonly VerificationKey[]>

/** What a set holds at most: more would make each fetch a load. */
const MAX_KEYS = 100

class RefreshingKeySet implements KeySet {
  readonly #issuer: string
  readonly #clock: Clock
  readonly #forced: TokenBucket
  readonly #followed: TokenBucket
  readonly #stop = new AbortController()
  #keys: Keys = new Map()
  #current: ReadonlySet<VerificationKey> = new Set()
  #fetches = 0
  #failedFetches = 0
  #fetchedAt: number | undefined
  #digest: string | undefined
  #isFollowing = false
  #failure: { readonly at: number; readonly error: Error } | undefined
  #flight: Promise<void> | undefined
  #source: { readonly url: string; readonly at: number } | undefined
  #cancelTimer: () => void = () => {}

  constructor(issuer: string, clock: Clock) {
    this.#issuer = issuer
    this.#clock = clock
    this.#forced = createTokenBucket(clock, FORCED_FETCHES)
    this.#followed = createTokenBucket(clock, FOLLOWED_FETCHES)
  }

  find(keyId: string | undefined, algorithm: string): KeyLookup | Promise<KeyLookup> {
    const known = this.#isTrusted() ? select(this.#keys, keyId, algorithm) : undefined
    return known !== undefined && known.kind !== 'unknown_key'
      ? known
      : this.#findByAsking(keyId, algorithm)
  }

  isCurrent(key: VerificationKey, now: number): boolean {
    return this.#current.has(key) && this.#isTrusted(now)
  }

  get state(): KeySetState {
    const age =
      this.#fetchedAt === undefined ? undefined : this.#clock.monotonic() - this.#fetchedAt
    return {
      keys: this.#current.size,
      ageSeconds: age === undefined ? undefined : age / 1000,
      fetches: this.#fetches,
      failedFetches: this.#failedFetches,
    }
  }

  async follow(digest: string): Promise<void> {
    this.#isFollowing = true
    // What is under way may have been asked for before the news.
    await this.#flight
    if (this.#fetchedAt === undefined || this.#digest === digest) return
    if (this.#followed.take()) await this.#refresh()
  }

  async #findByAsking(keyId: string | undefined, algorithm: string): Promise<KeyLookup> {
    if (!this.#isTrusted()) await this.#refresh()
    if (!this.#isTrusted()) return this.#unavailable()
    const known = select(this.#keys, keyId, algorithm)
    if (known.kind !== 'unknown_key') return known
    await this.#refreshOutOfTurn()
    // Whether an unknown key is a new one cannot be said while the issuer does not answer.
    if (this.#failure !== undefined) return this.#unavailable()
    return select(this.#keys, keyId, algorithm)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    this.#cancelTimer()
    await this.#flight
  }

  #isTrusted(now: number = this.#clock.monotonic()): boolean {
    return this.#fetchedAt !== undefined && now - this.#fetchedAt < MAX_STALE_MS
  }

  #unavailable(): KeysUnavailable {
    const now = this.#clock.monotonic()
    const milliseconds = this.#failure ? this.#failure.at + BACK_OFF_MS - now : BACK_OFF_MS
    return {
      kind: 'keys_unavailable',
      retryAfterSeconds: Math.max(1, Math.ceil(milliseconds / 1000)),
      cause: this.#failure?.error,
    }
  }

  async #refreshOutOfTurn(): Promise<void> {
    if (this.#flight !== undefined) await this.#flight
    else if (!this.#isBackingOff() && this.#forced.take()) await this.#refresh()
  }

  #isBackingOff(): boolean {
    return this.#failure !== undefined && this.#clock.monotonic() - this.#failure.at < BACK_OFF_MS
  }

  /** One fetch at a time, none while backing off. Does not throw: what failed is kept. */
  async #refresh(): Promise<void> {
    if (this.#stop.signal.aborted || this.#isBackingOff()) return
    this.#flight ??= this.#load().finally(() => {
      this.#flight = undefined
    })
    await this.#flight
  }

  async #load(): Promise<void> {
    // Counted from before the question, because keys may change while the answer travels.
    const startedAt = this.#clock.monotonic()
    this.#fetches += 1
    try {
      const ask = (fetchJson: FetchJson) => this.#fetchKeys(fetchJson)
      const { keys, digest } = await withDeadline(this.#clock, this.#stop.signal, ask)
      this.#replaceKeys(keys)
      this.#digest = digest
      this.#fetchedAt = startedAt
      this.#failure = undefined
      this.#scheduleRefresh(randomInt(FRESH_MS * 0.8, FRESH_MS))
    } catch (error) {
      this.#failedFetches += 1
      this.#source = undefined
      this.#failure = { at: this.#clock.monotonic(), error: error as Error }
      this.#scheduleRefresh(BACK_OFF_MS)
    }
  }

  /** A key that is published again stays the same object; one that is not is no longer current. */
  #replaceKeys(fetched: readonly VerificationKey[]): void {
    const known = new Map([...this.#current].map((key) => [key.fingerprint, key]))
    // One that is in the set twice is one key.
    const unique = new Map(fetched.map((key) => [key.fingerprint, key]))
    const keys = [...unique.values()].map((key) => known.get(key.fingerprint) ?? key)
    this.#current = new Set(keys)
    this.#keys = new Map(keys.map(({ id }) => [id, keys.filter((key) => key.id === id)]))
  }

  async #fetchKeys(fetchJson: FetchJson): Promise<PublishedKeys> {
    const { url } = await this.#findSource(fetchJson)
    const { status, body } = await fetchJson(url, this.#isFollowing)
    const { keys } = (body ?? {}) as { keys?: unknown }
    if (status !== 200 || !Array.isArray(keys)) {
      throw new IssuerError('bad_answer', `${url} answered ${status} and no key set`)
    }
    if (keys.length > MAX_KEYS) {
      throw new IssuerError('bad_answer', `${url} answered more than ${MAX_KEYS} keys`)
    }
    const imported = await Promise.all(keys.map(importVerificationKey))
    return { keys: imported.filter((key) => key !== undefined), digest: digestIds(keys) }
  }

  async #findSource(fetchJson: FetchJson): Promise<{ readonly url: string }> {
    const now = this.#clock.monotonic()
    if (this.#source === undefined || now - this.#source.at > MAX_METADATA_AGE_MS) {
      this.#source = { url: await discoverKeySetUrl(this.#issuer, fetchJson), at: now }
    }
    return this.#source
  }

  #scheduleRefresh(milliseconds: number): void {
    this.#cancelTimer()
    if (this.#stop.signal.aborted) return
    this.#cancelTimer = this.#clock.schedule(milliseconds, () => this.#refresh())
  }
}

function select(keys: Keys, keyId: string | undefined, algorithm: string): KeyLookup {
  const named = keyId === undefined ? [...keys.values()].flat() : (keys.get(keyId) ?? [])
  const wanted = nameAlgorithm(algorithm)
  const [key, ...others] = named.filter((candidate) => candidate.algorithm === wanted)
  // One key under two ids is still one for a token that names none.
  if (others.some(({ material }) => material !== key?.material)) return { kind: 'ambiguous_key' }
  if (key !== undefined) return { kind: 'found', key }
  const [other] = keyId === undefined ? [] : named
  return other === undefined
    ? { kind: 'unknown_key' }
    : { kind: 'wrong_algorithm', expected: other.algorithm }
}

interface TokenBucket {
  take(): boolean
}

function createTokenBucket(clock: Clock, { burst, everyMs }: typeof FORCED_FETCHES): TokenBucket {
  let tokens = burst
  let filledAt = clock.monotonic()
  return {
    take() {
      const now = clock.monotonic()
      tokens = Math.min(burst, tokens + (now - filledAt) / everyMs)
      filledAt = now
      if (tokens < 1) return false
      tokens -= 1
      return true
    },
  }
}
