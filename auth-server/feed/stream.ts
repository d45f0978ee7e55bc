import type { ServerResponse } from 'node:http'
import type { Revocation } from '../revocation/revocation.ts'
import { nameEvent, readEventName } from './feed-token.ts'
import type { LogFollower } from './follower.ts'
import { concerns, type Listener } from './listeners.ts'

/** Why a stream ends. Its receiver comes back, with a new token where it needs one. */
export type Farewell = 'token_expired' | 'revoked' | 'draining' | 'slow' | 'failed'

/** A receiver that takes nothing for so long is cut off. */
const PATIENCE_MS = 10_000
/** Milliseconds until an ordinary SSE client comes back. */
const RETRY_MS = 1000

export interface StreamCollaborators {
  readonly follower: LogFollower
  /** The entry as a signed event. */
  readonly textOf: (entry: Revocation) => Promise<string>
  /** What failed, for the operator. */
  readonly report: (error: unknown) => void
}

export interface StreamOptions {
  readonly listener: Listener
  /** Whether its token is still good, as the log has it now. */
  readonly isAdmitted: () => Promise<boolean>
  /** The name of the event that the receiver has applied last, as it says. */
  readonly lastEventId: string
  /** What it is told before anything else, where it has asked for that. */
  readonly hello: Promise<string> | undefined
}

/** One receiver's connection. */
export interface Stream {
  /** Gives it a beat that was made when the log stood at `head`, as soon as it has come so far. */
  beat(text: string, head: number, event?: 'beat' | 'keys'): void
  end(reason: Farewell): void
}

/**
 * Gives a receiver each entry after the one that it has applied, in order, and every beat after the
 * entries that it speaks of. One entry waits for the connection at a time: a receiver that reads slowly
 * costs no memory. Who is so far behind that entries are no longer kept is told to read pages.
 */
export function openStream(
  { follower, textOf, report }: StreamCollaborators,
  { listener, isAdmitted, lastEventId, hello }: StreamOptions,
  response: ServerResponse,
): Stream {
  let { feed } = follower
  let place = readEventName(feed, lastEventId) ?? -1
  let greeting = hello
  let pending: { readonly text: string; readonly head: number; readonly event: string } | undefined
  let isPumping = false
  let isAsked = false
  let isOver = false
  const goesOn = () => !isOver

  const write = async (text: string) => {
    if (response.write(text)) return
    const { promise, resolve } = Promise.withResolvers<'drained' | 'closed' | 'late'>()
    const timer = setTimeout(() => resolve('late'), PATIENCE_MS)
    timer.unref()
    const drained = () => resolve('drained')
    const closed = () => resolve('closed')
    response.once('drain', drained).once('close', closed)
    if ((await promise) === 'late') close('slow')
    clearTimeout(timer)
    response.off('drain', drained).off('close', closed)
  }
  const close = (reason: Farewell) => {
    if (isOver) return
    isOver = true
    unsubscribe()
    response.end(`event: bye\ndata: ${JSON.stringify({ reason })}\n\n`)
    // Who does not read does not read that either.
    if (reason === 'slow') response.destroy()
  }
  /** What comes next: the hello, an entry, the word that there are too many, or a beat. */
  const step = async (): Promise<boolean> => {
    if (greeting !== undefined) {
      const text = await greeting
      greeting = undefined
      if (!goesOn()) return false
      await write(`event: hello\ndata: ${text}\n\n`)
      return true
    }
    const { head, oldest } = follower
    if (feed !== follower.feed) place = -1
    feed = follower.feed
    if (place > head || place < oldest - 1) {
      const from = place > head ? 0 : Math.max(0, place)
      place = head
      // The end of its own token may be among what it is not given.
      if (!(await isAdmitted())) close('revoked')
      if (!goesOn()) return false
      await write(`event: behind\ndata: ${JSON.stringify({ after: from })}\n\n`)
      return true
    }
    const entry = place < head ? follower.next(place) : undefined
    if (entry) {
      const text = await textOf(entry)
      place = entry.sequence
      if (!goesOn()) return false
      await write(`event: set\nid: ${nameEvent(feed, place)}\ndata: ${text}\n\n`)
      if (concerns(entry, listener)) close('revoked')
      return true
    }
    const beat = pending
    if (!beat || beat.head > place) return false
    pending = undefined
    await write(`event: ${beat.event}\ndata: ${beat.text}\n\n`)
    return true
  }
  const pump = async () => {
    isAsked = true
    if (isPumping) return
    isPumping = true
    try {
      while (isAsked && goesOn()) {
        isAsked = false
        while (goesOn() && (await step()));
      }
    } catch (error) {
      report(error)
      close('failed')
    } finally {
      isPumping = false
    }
  }
  const start = () => void pump()
  const unsubscribe = follower.subscribe(start)
  response.once('close', () => {
    isOver = true
    unsubscribe()
  })
  response.write(`retry: ${RETRY_MS}\n\n`)
  return {
    beat(text, head, event = 'beat') {
      pending = { text, head, event }
      start()
    },
    end: close,
  }
}
