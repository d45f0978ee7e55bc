import { randomBytes, randomInt, randomUUID } from 'node:crypto'
import type { AccessTokenClaims } from './claims.ts'
import { systemClock, type Clock } from './clock.ts'
import { IssuerError } from './errors.ts'
import {
  createFeedClient,
  readFeedCredentials,
  type FeedClient,
  type FeedClientOptions,
  type OpenStream,
} from './feed-client.ts'
import { warnOfOutages } from './feed-warning.ts'
import { createKeySet, type KeySet } from './key-set.ts'
import { readNumber, refuseUnknownOptions } from './options.ts'
import { createRevocationMessages, type RevocationMessages } from './revocation-messages.ts'
import { readPages } from './revocation-pages.ts'
import { createRevocationView, type RevocationView } from './revocation-view.ts'
import {
  isStale,
  type FollowedRevocations,
  type Pulse,
  type RevocationState,
  type WatchedKeys,
} from './revocations.ts'
import { readEvents, type ServerSentEvent } from './server-sent-events.ts'
import { requireIssuer } from './verifier.ts'

export interface RevocationFeedOptions extends FeedClientOptions {
  /** The issuer, exactly as its metadata write it. https; plain http only on loopback. */
  readonly issuer: string
  /**
   * What this process calls itself, for the operator of the issuer: 1 to 64 of `A-Z a-z 0-9 . _ -`, and
   * no two alike at the same time. Random by default.
   */
  readonly receiver?: string
  /** How long after the last sign of life the view is stale: 10 to 300 seconds, 15 by default. */
  readonly staleAfterSeconds?: number
  /**
   * How many revocations are kept: 1000 to 50,000,000. 1,000,000 by default, which take 27 MB at most.
   * When there are more, the view is stale.
   */
  readonly maxEntries?: number
  /**
   * Told of each failure, for the operator's log. It may quote the issuer's answers, and no secret. Without
   * it, the process is warned (`process.emitWarning`) of an outage, not of each failure.
   */
  readonly onFault?: (fault: Error) => void
  /** For tests: that of the verifier. The system's clock by default. */
  readonly clock?: Clock
}

/** What an issuer revokes, as it happens. Holds a connection to it: dispose of it at the end. */
export interface RevocationFeed extends FollowedRevocations, AsyncDisposable {
  /**
   * Resolves when the view is fresh. Rejects when the feed is disposed of before. An API need not wait
   * for it: until then its routes do what they say for a stale one.
   */
  whenFresh(): Promise<void>
  /**
   * Calls `listener` when something was revoked, until the answered function is called: for requests that
   * go on for long, such as streams, to have their tokens checked again.
   */
  subscribe(listener: () => void): () => void
}

const OPTIONS = [
  'issuer',
  'clientId',
  'clientSecret',
  'privateKey',
  'authorization',
  'receiver',
  'staleAfterSeconds',
  'maxEntries',
  'onFault',
  'clock',
]
/** No two connections have the same one. */
const NONCE_BYTES = 16
/** What was applied is reported so often at most: the newest is enough. */
const REPORT_EVERY_MS = 250
const FIRST_PAUSE_MS = 500
/** After an answer that will be the same the next time. */
const LONG_PAUSE_MS = 5000
const MOST_PAUSE_MS = 30_000

/**
 * Follows what an issuer revokes, for `revocations` of verifiers: it finds the feed by the issuer's
 * metadata, gets tokens for it, and keeps a connection from the first moment on. All that it believes is
 * signed by the issuer's keys. What it has missed, it reads again; what it cannot know makes it stale.
 *
 * Throws a `TypeError` that names the option, and never quotes a secret.
 */
export function createRevocationFeed(options: RevocationFeedOptions): RevocationFeed {
  refuseUnknownOptions('createRevocationFeed', options, OPTIONS)
  const { issuer, receiver = randomUUID(), staleAfterSeconds = 15, clock = systemClock } = options
  const { maxEntries = 1_000_000, onFault } = options
  requireIssuer(issuer)
  if (typeof receiver !== 'string' || !/^[\w.-]{1,64}$/.test(receiver)) {
    throw new TypeError('receiver: expected 1 to 64 characters of A-Z a-z 0-9 . _ -')
  }
  if (onFault !== undefined && typeof onFault !== 'function') {
    throw new TypeError('onFault: expected a function')
  }
  const staleAfterMs = readNumber('staleAfterSeconds', staleAfterSeconds, [10, 300]) * 1000
  readNumber('maxEntries', maxEntries, [1000, 50_000_000])
  const credentials = readFeedCredentials(options)
  const stop = new AbortController()
  const client = createFeedClient({ issuer, receiver, credentials }, clock, stop.signal)
  const view = createRevocationView({ issuer, staleAfterMs, maxEntries }, clock)
  const parts = { issuer, client, view, clock, stop, staleAfterMs, maxEntries }
  const feed = new RemoteFeed({ ...parts, onFault: onFault ?? (() => {}) })
  if (onFault === undefined) warnOfOutages(feed, clock, stop.signal)
  return feed
}

interface FeedParts {
  readonly issuer: string
  readonly client: FeedClient
  readonly view: RevocationView
  readonly clock: Clock
  readonly stop: AbortController
  readonly staleAfterMs: number
  readonly maxEntries: number
  readonly onFault: (fault: Error) => void
}

interface Waiter {
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

class RemoteFeed implements RevocationFeed {
  readonly issuer: string
  readonly clock: Clock
  readonly pulse: Pulse
  readonly #client: FeedClient
  readonly #view: RevocationView
  readonly #stop: AbortController
  readonly #silentAfterMs: number
  readonly #maxEntries: number
  readonly #keys: KeySet
  readonly #onFault: (fault: Error) => void
  readonly #watched = new Set<WatchedKeys>()
  readonly #listeners = new Set<() => void>()
  #announced = 0
  readonly #waiters = new Set<Waiter>()
  readonly #following: Promise<void>
  #connections = 0
  #faults = 0
  #lastFault: Error | undefined
  /** Since when nothing was heard; `undefined` while all is well. */
  #lostAt: number | undefined
  /** When the issuer last said where its log stands, or was busy with answering. */
  #heardAt = 0
  #reported = { feed: '', applied: -1 }
  #reportDue = false
  #reporting: Promise<void> = Promise.resolve()

  constructor(parts: FeedParts) {
    const { issuer, client, view, clock, stop, staleAfterMs, maxEntries, onFault } = parts
    this.issuer = issuer
    this.clock = clock
    this.pulse = view.pulse
    this.#client = client
    this.#view = view
    this.#stop = stop
    this.#onFault = onFault
    // Before the view gets stale, there is time to come back.
    this.#silentAfterMs = (staleAfterMs * 2) / 3
    this.#maxEntries = maxEntries
    this.#keys = createKeySet(issuer, clock)
    this.#watched.add(this.#keys)
    this.#following = this.#follow()
  }

  get epoch(): number {
    return this.pulse.epoch
  }

  get state(): RevocationState {
    const now = this.clock.monotonic()
    return {
      isFresh: !isStale(this, now),
      ageSeconds: this.#view.ageSeconds(now),
      applied: this.#view.place?.applied,
      entries: this.#view.entries,
      connections: this.#connections,
      faults: this.#faults,
      lastFault: this.#lastFault,
    }
  }

  isRevoked(claims: AccessTokenClaims, keyId?: string): boolean {
    return this.#view.isRevoked(claims, keyId)
  }

  watchKeys(keys: WatchedKeys): () => void {
    this.#watched.add(keys)
    return () => void this.#watched.delete(keys)
  }

  whenFresh(): Promise<void> {
    if (!isStale(this, this.clock.monotonic())) return Promise.resolve()
    if (this.#stop.signal.aborted) return Promise.reject(disposed())
    return new Promise((resolve, reject) => this.#waiters.add({ resolve, reject }))
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    for (const { reject } of this.#waiters) reject(disposed())
    this.#waiters.clear()
    // Who follows may be waiting for a key.
    await this.#keys[Symbol.asyncDispose]()
    await this.#following
    await this.#reporting
  }

  /** One connection after the other, until the end. */
  async #follow(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const fault = await this.#listen().catch((error: unknown) => error as Error)
      if (this.#stop.signal.aborted) return
      this.#lostAt ??= this.clock.monotonic()
      if (fault !== undefined) {
        this.#noteFault(fault)
        this.#client.forget()
      }
      await this.#pause(fault)
    }
  }

  #noteFault(fault: Error): void {
    this.#faults += 1
    this.#lastFault = fault
    callBack(() => this.#onFault(fault))
  }

  #announce(): void {
    this.#report()
    if (this.pulse.epoch === this.#announced) return
    this.#announced = this.pulse.epoch
    for (const listener of this.#listeners) callBack(listener)
  }

  /** Until the stream ends. */
  async #listen(): Promise<undefined> {
    const { resource } = await this.#client.findPlaces()
    const messages = createRevocationMessages(this.#keys, {
      issuer: this.issuer,
      audience: resource,
      isRevokedKey: this.#view.isRevokedKey,
    })
    const { place } = this.#view
    const nonce = randomBytes(NONCE_BYTES).toString('base64url')
    const applied = place && `${place.feed}:${place.applied}`
    const stream = await this.#client.openStream(nonce, applied)
    const close = () => stream.close()
    this.#stop.signal.addEventListener('abort', close)
    try {
      this.#connections += 1
      this.#heardAt = this.clock.monotonic()
      const events = readEvents(this.#watch(stream))
      const { value: hello, done: isOver } = await events.next()
      if (isOver === true) return
      if (hello.event === 'bye') {
        this.#client.forgetToken()
        return
      }
      if (hello.event !== 'hello') throw new IssuerError('bad_answer', UNGREETED)
      const { signedAt } = await messages.readHello(hello.data, nonce)
      this.#view.connect(stream.askedAt, signedAt)
      for await (const event of events) await this.#take(event, messages)
    } finally {
      this.#stop.signal.removeEventListener('abort', close)
      close()
    }
  }

  /**
   * Ends a stream on which no beat comes, whatever else does. What is worked on meanwhile takes as long as
   * it takes.
   */
  async *#watch({ chunks, close }: OpenStream): AsyncGenerator<Uint8Array> {
    const reader = chunks[Symbol.asyncIterator]()
    for (;;) {
      let isSilent = false
      const leftMs = this.#heardAt + this.#silentAfterMs - this.clock.monotonic()
      const cancel = this.clock.schedule(Math.max(0, leftMs), async () => {
        isSilent = true
        close()
      })
      const next = await reader
        .next()
        .catch((error: unknown) => {
          throw isSilent ? new IssuerError('timed_out', SILENT, { cause: error }) : error
        })
        .finally(cancel)
      if (next.done === true) return
      yield next.value
    }
  }

  async #take({ event, data, id }: ServerSentEvent, messages: RevocationMessages): Promise<void> {
    switch (event) {
      case 'set': {
        const logged = await messages.readEvent(data)
        if (id !== logged.name) throw new IssuerError('bad_answer', 'an event has another id')
        if (this.#view.takeEvent(logged) === 'behind') {
          await this.#catchUp(messages)
          if (this.#view.takeEvent(logged) === 'behind') throw new IssuerError('bad_answer', GAP)
        }
        return this.#announce()
      }
      case 'beat':
      case 'keys':
        return this.#takeBeat(await messages.readBeat(data), messages)
      case 'behind':
        return this.#catchUp(messages)
      case 'bye':
        // Its reason is for people; a token that was taken away opens no other stream.
        return this.#client.forgetToken()
      default:
      // Not known here: if it matters, what follows will not fit.
    }
  }

  async #takeBeat(
    beat: Awaited<ReturnType<RevocationMessages['readBeat']>>,
    messages: RevocationMessages,
  ): Promise<void> {
    let outcome = this.#view.takeBeat(beat)
    if (outcome === 'behind' || outcome === 'doubtful') {
      await this.#catchUp(messages)
      // It was no other log, but somebody who knows less: nothing is proven by that.
      if (outcome === 'doubtful' && beat.head < (this.#view.place?.applied ?? 0)) return
      outcome = this.#view.takeBeat(beat)
      if (outcome === 'behind') throw new IssuerError('bad_answer', GAP)
    }
    // Another connection may be quicker.
    if (outcome === 'late') throw new IssuerError('timed_out', LATE)
    // A copy, however old: it could name other keys all the time, and have them fetched.
    if (outcome === 'earlier') return
    // Also by one of the same moment as the last: news of keys wait for no beat.
    for (const keys of this.#watched) void keys.follow(beat.keys)
    if (outcome !== 'taken') return
    this.#heardAt = this.clock.monotonic()
    this.#report()
    if (isStale(this, this.clock.monotonic())) return
    this.#lostAt = undefined
    for (const { resolve } of this.#waiters) resolve()
    this.#waiters.clear()
  }

  async #catchUp(messages: RevocationMessages): Promise<void> {
    await readPages(this.#client, messages, this.#view, this.#maxEntries)
    this.#heardAt = this.clock.monotonic()
    this.#announce()
  }

  /**
   * Tells the issuer what was applied: now, or soon after the last time. Of what was not understood nobody
   * can say that it was.
   */
  #report(): void {
    const { place, isComplete } = this.#view
    const { feed, applied } = this.#reported
    if (this.#reportDue || !isComplete || place === undefined || this.#client.waitMs() > 0) return
    if (place.feed === feed && place.applied === applied) return
    this.#reportDue = true
    this.#reporting = this.#sendReport(place)
  }

  async #sendReport({ feed, applied }: { feed: string; applied: number }): Promise<void> {
    try {
      await this.#client.reportApplied(feed, applied)
      this.#reported = { feed, applied }
    } catch (error) {
      // The next beat tries again: nothing here depends on it.
      if (this.#stop.signal.aborted) return
      this.#noteFault(error as Error)
    }
    this.clock.schedule(REPORT_EVERY_MS, async () => {
      this.#reportDue = false
      if (this.#reported.applied === applied) this.#report()
    })
  }

  /**
   * Longer the longer the issuer is away: a tenth of that, so that who comes back after seconds is found
   * within a second, and ten thousand who wait for it do not all come at once. Never sooner than the
   * issuer wishes.
   */
  async #pause(fault: Error | undefined): Promise<void> {
    const away = this.clock.monotonic() - (this.#lostAt ?? 0)
    const isLasting = fault instanceof IssuerError && !MAY_PASS.includes(fault.code)
    const most = Math.max(isLasting ? LONG_PAUSE_MS : FIRST_PAUSE_MS, away / 10)
    const pauseMs = Math.min(most, MOST_PAUSE_MS)
    const least = Math.ceil(pauseMs / 2)
    const waitMs = Math.ceil(this.#client.waitMs())
    // Not all at once either who were told the same.
    const leftAloneMs = waitMs === 0 ? 0 : waitMs + randomInt(Math.ceil(waitMs / 10) + 1)
    const restMs = Math.max(least + 1 + randomInt(least), leftAloneMs)
    const { signal } = this.#stop
    await new Promise<void>((resolve) => {
      if (signal.aborted) return resolve()
      const cancel = this.clock.schedule(restMs, async () => end())
      const end = () => {
        signal.removeEventListener('abort', end)
        cancel()
        resolve()
      }
      signal.addEventListener('abort', end)
    })
  }
}

const UNGREETED = 'the stream of revocations does not begin with a hello'
const SILENT = 'no beat came on the stream of revocations'
const LATE = 'what came on the stream of revocations is of before'
const GAP = 'events are missing that pages do not have'
/** Else the issuer would answer the same again, and count it. */
const MAY_PASS = ['unreachable', 'timed_out', 'bad_answer']

/** What users' functions throw is theirs to be met: it ends the program, not the feed alone and unheard. */
function callBack(call: () => void): void {
  try {
    call()
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}

function disposed(): Error {
  return new Error('the revocation feed was disposed of')
}
