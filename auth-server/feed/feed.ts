import { createHash } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import type { Clock } from '../clock.ts'
import type { PrivateJwk, PublicJwk } from '../keys/keyset.ts'
import type { Logger } from '../log.ts'
import type { ReceiverStore } from '../revocation/receiver.ts'
import type { Revocation, RevocationStore } from '../revocation/revocation.ts'
import { BEAT_SECONDS, startBeats, type BeatTaker, type SignedBeat } from './beats.ts'
import { nameEvent, readEventName, signBeat, signEvent, signPage } from './feed-token.ts'
import { followLog } from './follower.ts'
import type { Listener } from './listeners.ts'
import { collectReports } from './reports.ts'
import { openStream, type Stream } from './stream.ts'

/** A page of so many takes a receiver a few milliseconds. */
const MOST_ENTRIES = 2000
const MOST_STREAMS = 20_000
const MOST_STREAMS_OF_ONE = 100
/** A stream is there: said about once a minute. */
const SEEN_EVERY_TURNS = 12
/** Shorter than a connection may be silent. */
const LONGEST_POLL_MS = 10_000
const MOST_POLLED = 100

export interface FeedCollaborators {
  readonly revocations: Pick<RevocationStore, 'head' | 'list' | 'listen' | 'feedId'>
  readonly receivers: Pick<ReceiverStore, 'record' | 'find'>
  readonly signingKeys: () => readonly PrivateJwk[]
  readonly publishedKeys: () => readonly PublicJwk[]
  readonly clock: Clock
  readonly log: Logger
}

export interface Asking {
  readonly listener: Listener
  /** What the receiver calls itself. */
  readonly receiver: string
  /** Whether the token that it came with still lets it in. */
  readonly isAdmitted: () => Promise<boolean>
}

export interface Poll {
  /** The names of events that it has applied, or cannot use. */
  readonly done: readonly string[]
  readonly mostEvents: number
  readonly waits: boolean
}

/** What has been revoked, for those who check tokens. Disposing of it says farewell to all of them. */
export interface Feed extends AsyncDisposable {
  /** `lastEventId` as the receiver knows it. Answers `false` where there are too many already. */
  stream(asking: Asking, lastEventId: string, response: ServerResponse): Promise<boolean>
  /** Signed: the live entries after the place. */
  page(after: number): Promise<string>
  /** Events by name, at most so many, and whether there are more (RFC 8936 §2.4). */
  poll(asking: Asking, poll: Poll): Promise<{ sets: Record<string, string>; hasMore: boolean }>
  /** Whether `feed` is this one. */
  noteApplied(asking: Asking, feed: string, place: number): boolean
  /** The key set has changed: everybody who checks tokens should know at once. */
  announceKeys(): void
}

export async function createFeed(
  collaborators: FeedCollaborators,
  { issuer }: { readonly issuer: string },
): Promise<Feed> {
  const { revocations, receivers, signingKeys, publishedKeys, clock, log } = collaborators
  await using cleanUp = new AsyncDisposableStack()
  const report = createReporter(log)
  const feed = await revocations.feedId()
  const follower = cleanUp.use(await followLog({ revocations, log }))
  const reports = cleanUp.use(collectReports(receivers, clock, report))
  const signer = { issuer, feed, keys: signingKeys }
  let texts = new WeakMap<Revocation, Promise<string>>()
  const textOf = (entry: Revocation) => {
    const text = texts.get(entry) ?? signEvent(signer, entry, clock.now())
    texts.set(entry, text)
    return text
  }
  const sign = async (): Promise<SignedBeat> => {
    const { head, oldest } = follower
    const keys = digestKeys(publishedKeys())
    const beat = { head, oldest, keys, now: clock.now(), everySeconds: BEAT_SECONDS }
    return { text: await signBeat(signer, beat), head }
  }
  const beats = cleanUp.use(startBeats(sign, report))
  const streams = new Map<BeatTaker, Stream & { readonly clientId: string }>()
  let isClosed = false
  cleanUp.defer(() => {
    isClosed = true
    for (const stream of streams.values()) stream.end('draining')
  })
  const nextLive = async (place: number, most: number) => {
    const now = clock.now()
    const found = await revocations.list(place, most)
    return { found, live: found.filter(({ expiresAt }) => expiresAt > now) }
  }
  const running = cleanUp.move()
  return {
    async stream({ listener, receiver, isAdmitted }, lastEventId, response) {
      const { clientId } = listener
      // Nobody would say a second time that it has gone.
      if (response.destroyed) return true
      const own = [...streams.values()].filter((stream) => stream.clientId === clientId)
      if (isClosed || streams.size >= MOST_STREAMS || own.length >= MOST_STREAMS_OF_ONE)
        return false
      const options = { listener, isAdmitted, after: readEventName(feed, lastEventId) }
      const name = (sequence: number) => nameEvent(feed, sequence)
      const parts = { follower, nameEvent: name, textOf, report }
      const stream = openStream(parts, options, response)
      const taker: BeatTaker = {
        take(beat, turn) {
          if (clock.now() >= listener.expiresAt * 1000) stream.end('token_expired')
          else stream.beat(beat.text, beat.head)
          if (turn % SEEN_EVERY_TURNS === 0) reports.add(clientId, receiver, undefined)
        },
      }
      streams.set(taker, { clientId, ...stream })
      response.once('close', () => {
        streams.delete(taker)
        beats.remove(taker)
      })
      await beats.add(taker)
      return true
    },
    async page(after) {
      const now = clock.now()
      const newest = await revocations.head()
      const found = await revocations.list(after, MOST_ENTRIES)
      const last = found.at(-1)?.sequence ?? after
      const head = Math.max(newest, found.at(-1)?.sequence ?? 0)
      const entries = found.filter(({ expiresAt }) => expiresAt > now)
      return signPage(signer, { after, through: last, head, entries, now })
    },
    async poll({ listener: { clientId }, receiver }, { done, mostEvents, waits }) {
      let place = (await receivers.find(clientId, receiver))?.place ?? 0
      const names = new Set(done)
      const { found } = await nextLive(place, MOST_POLLED)
      const now = clock.now()
      for (const { sequence, expiresAt } of found) {
        if (expiresAt > now && !names.has(nameEvent(feed, sequence))) break
        place = sequence
      }
      await receivers.record([{ clientId, receiver, place, seenAt: now }])
      const most = Math.min(mostEvents, MOST_POLLED)
      if (waits && follower.head <= place) await waitForMore(follower, LONGEST_POLL_MS)
      const { live } = await nextLive(place, MOST_POLLED)
      const sets = await Promise.all(
        live
          .slice(0, most)
          .map(async (entry) => [nameEvent(feed, entry.sequence), await textOf(entry)] as const),
      )
      const last = live.at(most - 1)?.sequence ?? follower.head
      return {
        sets: Object.fromEntries(sets),
        hasMore: most === 0 ? live.length > 0 : last < follower.head,
      }
    },
    noteApplied({ listener: { clientId }, receiver }, of, place) {
      if (of !== feed) return false
      reports.add(clientId, receiver, place)
      return true
    },
    announceKeys() {
      // What the old key has signed is worth nothing any more where it was withdrawn.
      texts = new WeakMap()
      beats
        .tell((taker, { text, head }) => streams.get(taker)?.beat(text, head, 'keys'))
        .catch(report)
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

async function waitForMore(
  follower: Awaited<ReturnType<typeof followLog>>,
  milliseconds: number,
): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, milliseconds)
  timer.unref()
  const unsubscribe = follower.subscribe(resolve)
  await promise
  clearTimeout(timer)
  unsubscribe()
}

/** Other keys, another digest: whoever has fetched them knows whether to do so again. */
function digestKeys(keys: readonly PublicJwk[]): string {
  const ids = keys.map(({ kid }) => kid).toSorted()
  return createHash('sha256').update(JSON.stringify(ids)).digest('base64url')
}

/** Writes a failure once, until it becomes another. */
function createReporter(log: Logger) {
  let failure: string | undefined
  return (error: unknown): void => {
    if (failure !== String(error)) log.error({ event: 'revocation_feed_failed', err: error })
    failure = String(error)
  }
}
