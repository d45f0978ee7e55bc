import { createHash } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import type { Clock } from '../clock.ts'
import type { PrivateJwk, PublicJwk } from '../keys/keyset.ts'
import type { Logger } from '../log.ts'
import { addUnusable, type ReceiverStore, type UnusablePlaces } from '../revocation/receiver.ts'
import type { Revocation } from '../revocation/revocation.ts'
import { BEAT_SECONDS, startBeats, type BeatTaker, type SignedBeat } from './beats.ts'
import { nameEvent, signBeat, signEvent, signHello, signPage } from './feed-token.ts'
import { followLog, type FollowerCollaborators, type Reading } from './follower.ts'
import type { Listener } from './listeners.ts'
import { collectReports, MOST_RECEIVERS_OF_ONE } from './reports.ts'
import { openStream, type Stream } from './stream.ts'

/** A page of so many takes a receiver a few milliseconds. */
const MOST_ENTRIES = 2000
const MOST_STREAMS = 20_000
const MOST_OF_ONE = 100
/** A stream is there: said every 15 seconds, so that nobody waits for long for one that was stopped. */
const SEEN_EVERY_TURNS = 3
/** Shorter than a connection may be silent. */
const LONGEST_POLL_MS = 10_000
const MOST_POLLED = 100

export interface FeedCollaborators {
  readonly revocations: FollowerCollaborators['revocations']
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

export interface StreamWish {
  /** The name of the event that it has applied last. */
  readonly lastEventId: string
  /** What it is answered at first, signed, if it wants to know that it hears what is of now. */
  readonly nonce: string | undefined
}

export interface Poll {
  /** The names of events that it has applied. */
  readonly done: readonly string[]
  /** Why it cannot use others, by name: it would not be able to the next time. */
  readonly faults: ReadonlyMap<string, string>
  readonly mostEvents: number
  readonly waits: boolean
}

export interface PollAnswer {
  /** Events by name. */
  readonly sets: Readonly<Record<string, string>>
  readonly hasMore: boolean
  /** Of `faults`, those that were waiting for it. */
  readonly unusable: readonly (readonly [name: string, fault: string])[]
}

export interface PageAnswer {
  /** Signed. */
  readonly text: string
  /** The place after which the next page begins, where there is one. */
  readonly next: number | undefined
}

/** What has been revoked, for those who check tokens. Disposing of it says farewell to all of them. */
export interface Feed extends AsyncDisposable {
  /** Answers `false` where there are too many already. */
  stream(asking: Asking, wanted: StreamWish, response: ServerResponse): Promise<boolean>
  /** The live entries after the place. */
  page(after: number): Promise<PageAnswer>
  /**
   * At most so many events, and whether there are more (RFC 8936 §2.4). `'ended'`: while it waited, the
   * token that it came with has. `'too_many'` of the client wait already, or have streams.
   */
  poll(asking: Asking, poll: Poll): Promise<PollAnswer | 'ended' | 'too_many'>
  /** Whether `feed` is this one, and goes as far. */
  noteApplied(asking: Asking, feed: string, place: number): Promise<boolean>
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
  const follower = cleanUp.use(await followLog({ revocations, clock, log }))
  const reports = cleanUp.use(collectReports(receivers, clock, report))
  const signerOf = (feed: string) => ({ issuer, feed, keys: signingKeys })
  let texts = new WeakMap<Revocation, Promise<string>>()
  const textOf = (entry: Revocation) => {
    const text = texts.get(entry) ?? signEvent(signerOf(follower.feed), entry, clock.now())
    texts.set(entry, text)
    return text
  }
  const signReading = async ({ feed, head, oldest, at: now }: Reading): Promise<SignedBeat> => {
    const keys = digestKeys(publishedKeys())
    const beat = { head, oldest, keys, now, everySeconds: BEAT_SECONDS }
    return { text: await signBeat(signerOf(feed), beat), head }
  }
  const signed = new WeakMap<Reading, Promise<SignedBeat>>()
  // After a look, so that who hears a beat knows of all that was revoked before: not by a server that
  // cannot reach the log.
  const sign = async (): Promise<SignedBeat> => {
    const reading = await follower.look()
    const beat = signed.get(reading) ?? signReading(reading)
    signed.set(reading, beat)
    return beat
  }
  const beats = cleanUp.use(startBeats(sign, report))
  const streams = new Map<BeatTaker, Stream>()
  /** How many streams and polls that wait each client has. */
  const counts = new Map<string, number>()
  const enter = (clientId: string): boolean => {
    const own = counts.get(clientId) ?? 0
    if (own >= MOST_OF_ONE) return false
    counts.set(clientId, own + 1)
    return true
  }
  const leave = (clientId: string) => {
    const left = (counts.get(clientId) ?? 0) - 1
    if (left > 0) counts.set(clientId, left)
    else counts.delete(clientId)
  }
  let isClosed = false
  cleanUp.defer(() => {
    isClosed = true
    for (const stream of streams.values()) stream.end('draining')
  })
  const running = cleanUp.move()
  return {
    async stream({ listener, receiver, isAdmitted }, { lastEventId, nonce }, response) {
      const { clientId } = listener
      // Nobody would say a second time that it has gone.
      if (response.destroyed) return true
      if (isClosed || streams.size >= MOST_STREAMS || !enter(clientId)) return false
      const signer = signerOf(follower.feed)
      // While it is signed, all who come together share the look at the log for their first beat.
      const hello = nonce === undefined ? undefined : signHello(signer, nonce, clock.now())
      hello?.catch(report)
      const options = { listener, isAdmitted, lastEventId, hello }
      const stream = openStream({ follower, textOf, report }, options, response)
      const taker: BeatTaker = {
        take(beat, turn) {
          if (clock.now() >= listener.expiresAt * 1000) stream.end('token_expired')
          else stream.beat(beat.text, beat.head)
          if (turn % SEEN_EVERY_TURNS === 0) reports.add(clientId, receiver, undefined)
        },
      }
      streams.set(taker, stream)
      response.once('close', () => {
        streams.delete(taker)
        beats.remove(taker)
        leave(clientId)
      })
      await beats.add(taker).catch((error: unknown) => {
        report(error)
        stream.end('failed')
      })
      return true
    },
    async page(after) {
      const now = clock.now()
      const newest = await revocations.head()
      const found = await revocations.list(after, MOST_ENTRIES)
      const last = found.at(-1)?.sequence ?? after
      const head = Math.max(newest, found.at(-1)?.sequence ?? 0)
      const entries = found.filter(({ expiresAt }) => expiresAt > now)
      const page = { after, through: last, head, entries, now }
      const text = await signPage(signerOf(follower.feed), page)
      return { text, next: last < head ? last : undefined }
    },
    async poll({ listener, receiver, isAdmitted }, { done, faults, mostEvents, waits }) {
      const { clientId } = listener
      const known = await receivers.find(clientId, receiver)
      let place = known?.place ?? 0
      const names = new Set(done)
      const refused: (readonly [string, string])[] = []
      const found = await revocations.list(place, MOST_POLLED)
      const now = clock.now()
      let unusable: readonly UnusablePlaces[] = (known?.unusable ?? []).filter(
        ({ expiresAt }) => expiresAt > now,
      )
      for (const { sequence, expiresAt } of found) {
        const name = nameEvent(follower.feed, sequence)
        const fault = faults.get(name)
        if (expiresAt > now && fault === undefined && !names.has(name)) break
        if (fault !== undefined) {
          refused.push([name, fault])
          unusable = addUnusable(unusable, { sequence, expiresAt })
        }
        place = sequence
      }
      const seen = { clientId, receiver, place, unusable, seenAt: now }
      await receivers.record([seen], MOST_RECEIVERS_OF_ONE)
      const most = Math.min(mostEvents, MOST_POLLED)
      if (waits && follower.head <= place) {
        if (!enter(clientId)) return 'too_many'
        await waitForMore(follower, LONGEST_POLL_MS)
        leave(clientId)
      }
      // Meanwhile: it may have waited, or been slow with what it asks.
      if (clock.now() >= listener.expiresAt * 1000 || !(await isAdmitted())) return 'ended'
      const askedAt = clock.now()
      const next = await revocations.list(place, MOST_POLLED + 1)
      const live = next.filter(({ expiresAt }) => expiresAt > askedAt)
      const given = live.slice(0, most)
      const sets = await Promise.all(
        given.map(
          async (entry) => [nameEvent(follower.feed, entry.sequence), await textOf(entry)] as const,
        ),
      )
      // All that was looked at may have expired, and what is alive come after it.
      const isAll = next.length <= MOST_POLLED && given.length === live.length
      return { sets: Object.fromEntries(sets), hasMore: !isAll, unusable: refused }
    },
    async noteApplied({ listener: { clientId }, receiver }, of, place) {
      // Another instance may have given it what this one has not read yet. What nobody has given it would
      // count for entries that are yet to come.
      if (place > follower.head) await follower.look()
      if (of !== follower.feed || place > follower.head) return false
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
