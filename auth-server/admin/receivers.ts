import { setTimeout as wait } from 'node:timers/promises'
import { formatTime, parseTime, type Clock } from '../clock.ts'
import type { Receiver, ReceiverStore, UnusablePlaces } from '../revocation/receiver.ts'
import type { RevocationStore } from '../revocation/revocation.ts'

/** An API that follows the log of revocations, or one of its replicas, as it is shown. */
export interface ReceiverView {
  readonly clientId: string
  /** What it calls itself. */
  readonly receiver: string
  /** The place in the log up to which it has applied everything, but what is in `unusable`. */
  readonly applied: number
  /** How many places come after it. */
  readonly behind: number
  /** What it has been given and cannot use, by its own word: it takes what ended there until that expires. */
  readonly unusable: readonly PlacesView[]
  /**
   * `silent`: it has not been heard of for 40 seconds, and may be no more, or be cut off. `unusable`: there
   * is something that it cannot use, however far it has come.
   */
  readonly state: 'current' | 'behind' | 'unusable' | 'silent'
  /** ISO 8601. */
  readonly reportedAt: string
  readonly seenAt: string
}

/** From the first place to the last of these. */
export type PlacesView = Pick<UnusablePlaces, 'from' | 'through'>

export interface ReceiverList {
  /** The place of the newest entry of the log. */
  readonly head: number
  readonly receivers: readonly ReceiverView[]
  /** Whether some were left out. */
  readonly more: boolean
}

export interface ConfirmationView extends ReceiverView {
  /** Milliseconds from the entry to the report that it was applied; `undefined` where it was not. */
  readonly confirmedAfterMs: number | undefined
}

/** Who has applied what is in the log, up to a place. Of what they cannot use, only that is named. */
export interface Confirmations {
  readonly place: number
  /** How many of those who are expected to confirm have done so. */
  readonly confirmed: number
  /** How many will not, because they cannot use it. */
  readonly unusable: number
  /** All but those of whom nothing is known but that they are silent. */
  readonly expected: number
  readonly lastAfterMs: number | undefined
  readonly receivers: readonly ConfirmationView[]
  /** Whether some were left out. */
  readonly more: boolean
}

export interface ConfirmOptions {
  /** The places in the log that are to be applied: the last, and the first of those that belong to it. */
  readonly place: number
  readonly firstPlace: number
  /** ISO 8601: when that entry had been written. */
  readonly committedAt: string
  /** How long it is waited for those who may still confirm and are not silent. */
  readonly waitMs: number
  /** Ends the wait. Default: never. */
  readonly signal?: AbortSignal | undefined
  /** Is told after each look at how far they have come. Default: nobody. */
  readonly onLook?: ((confirmations: Confirmations) => void) | undefined
}

export interface ReceiverOperations {
  /** Those who were heard of within a day, by client and name. */
  list(): Promise<ReceiverList>
  /**
   * Waits until everybody has applied an entry of the log, and answers how far each has come.
   *
   * The time that it took one is from `committedAt` to when a server had its report, by the clock of
   * that server: the API refused earlier than that. What the clocks differ by is in it; it is never more
   * than was seen here.
   */
  confirm(options: ConfirmOptions): Promise<Confirmations>
}

export interface ReceiverCollaborators {
  readonly receivers: Pick<ReceiverStore, 'listSeen'>
  readonly revocations: Pick<RevocationStore, 'head'>
  readonly clock: Clock
}

/** Whoever holds a stream is noted every 15 seconds, and may miss one. */
const SILENT_AFTER_MS = 40_000
/** So long the store keeps whoever does not come back. */
const KEPT_MS = 86_400_000
const MOST_RECEIVERS = 20_000
const SHORTEST_PAUSE_MS = 20
const LONGEST_PAUSE_MS = 1000

export function createReceiverOperations({
  receivers,
  revocations,
  clock,
}: ReceiverCollaborators): ReceiverOperations {
  const look = async (place: number, firstPlace: number) => {
    const now = clock.now()
    const found = await receivers.listSeen(now - KEPT_MS, MOST_RECEIVERS + 1)
    return {
      found: found.slice(0, MOST_RECEIVERS).map((receiver) => ({
        ...receiver,
        view: viewReceiver(receiver, { place, firstPlace, now }),
      })),
      more: found.length > MOST_RECEIVERS,
    }
  }
  return {
    async list() {
      const head = await revocations.head()
      const { found, more } = await look(head, 1)
      return { head, receivers: found.map(({ view }) => view), more }
    },
    async confirm({ place, firstPlace, committedAt: time, waitMs, signal, onLook }) {
      const committedAt = parseTime(time)
      if (committedAt === undefined) throw new TypeError(`committedAt: ${time} is no time`)
      const startedAt = performance.now()
      /** Whoever goes on applying reports other places: the first report counts. */
      const times = new Map<string, number>()
      for (;;) {
        const lookedAt = performance.now()
        const { found, more } = await look(place, firstPlace)
        const seenAfterMs = Math.max(0, clock.now() - committedAt)
        const views = found.map(({ reportedAt, view }) => {
          const name = `${view.clientId} ${view.receiver}`
          const hasConfirmed = view.behind === 0 && view.unusable.length === 0
          if (hasConfirmed && !times.has(name)) {
            times.set(name, measure(reportedAt - committedAt, seenAfterMs))
          }
          return { ...view, confirmedAfterMs: hasConfirmed ? times.get(name) : undefined }
        })
        const confirmations = { place, ...countConfirmed(views), receivers: views, more }
        onLook?.(confirmations)
        const now = performance.now()
        const left = startedAt + waitMs - now
        const { confirmed, unusable, expected } = confirmations
        if (confirmed + unusable === expected || left <= 0 || signal?.aborted) return confirmations
        await pause(Math.min(choosePause(now - startedAt, now - lookedAt), left), signal)
      }
    },
  }
}

interface Looked {
  readonly place: number
  readonly firstPlace: number
  readonly now: number
}

function viewReceiver(receiver: Receiver, { place, firstPlace, now }: Looked): ReceiverView {
  const { clientId, receiver: name, place: applied, reportedAt, seenAt } = receiver
  const behind = Math.max(0, place - applied)
  const unusable = receiver.unusable
    .filter(({ expiresAt }) => expiresAt > now)
    .filter(({ from, through }) => from <= place && through >= firstPlace)
    .map(({ from, through }) => ({ from, through }))
  const isSilent = now - seenAt > SILENT_AFTER_MS
  return {
    clientId,
    receiver: name,
    applied,
    behind,
    unusable,
    state: isSilent ? 'silent' : nameState(behind, unusable.length > 0),
    reportedAt: formatTime(reportedAt),
    seenAt: formatTime(seenAt),
  }
}

function nameState(behind: number, hasUnusable: boolean): ReceiverView['state'] {
  if (hasUnusable) return 'unusable'
  return behind === 0 ? 'current' : 'behind'
}

/** Of the time a fifth goes into looking, at most; whoever has waited for long may wait a little more. */
function choosePause(waitedMs: number, lookMs: number): number {
  return Math.max(SHORTEST_PAUSE_MS, lookMs * 4, Math.min(waitedMs / 20, LONGEST_PAUSE_MS))
}

/** A report of before the entry is one of a clock that is behind ours, or of an entry that was there. */
function measure(reportedAfterMs: number, seenAfterMs: number): number {
  return reportedAfterMs < 0 ? seenAfterMs : Math.min(reportedAfterMs, seenAfterMs)
}

function countConfirmed(views: readonly ConfirmationView[]) {
  const times = views.flatMap(({ confirmedAfterMs }) => confirmedAfterMs ?? [])
  const lastAfterMs = times.length === 0 ? undefined : times.reduce((a, b) => Math.max(a, b))
  const confirmed = times.length
  const unusable = views.filter((view) => view.unusable.length > 0).length
  const outstanding = views.filter(({ state }) => state === 'behind').length
  return { confirmed, unusable, expected: confirmed + unusable + outstanding, lastAfterMs }
}

async function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  await wait(milliseconds, undefined, signal && { signal }).catch((error: unknown) => {
    if (!signal?.aborted) throw error
  })
}
