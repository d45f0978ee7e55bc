import { setTimeout as wait } from 'node:timers/promises'
import { formatTime, parseTime, type Clock } from '../clock.ts'
import type { Receiver, ReceiverStore } from '../revocation/receiver.ts'
import type { RevocationStore } from '../revocation/revocation.ts'

/** An API that follows the log of revocations, or one of its replicas, as it is shown. */
export interface ReceiverView {
  readonly clientId: string
  /** What it calls itself. */
  readonly receiver: string
  /** The place in the log up to which it has applied everything. */
  readonly applied: number
  /** How many places come after it. */
  readonly behind: number
  /** `silent`: it has not been heard of for 40 seconds, and may be no more, or be cut off. */
  readonly state: 'current' | 'behind' | 'silent'
  /** ISO 8601. */
  readonly reportedAt: string
  readonly seenAt: string
}

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

/** Who has applied what is in the log, up to a place. */
export interface Confirmations {
  readonly place: number
  /** How many of those who are expected to confirm have done so. */
  readonly confirmed: number
  /** All but those who are silent and have not confirmed. */
  readonly expected: number
  readonly lastAfterMs: number | undefined
  readonly receivers: readonly ConfirmationView[]
  /** Whether some were left out. */
  readonly more: boolean
}

export interface ConfirmOptions {
  /** The place in the log that is to be applied. */
  readonly place: number
  /** ISO 8601: when that entry had been written. */
  readonly committedAt: string
  /** How long it is waited for those who have not confirmed and are not silent. */
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
  const look = async (place: number) => {
    const now = clock.now()
    const found = await receivers.listSeen(now - KEPT_MS, MOST_RECEIVERS + 1)
    return {
      found: found
        .slice(0, MOST_RECEIVERS)
        .map((receiver) => ({ ...receiver, view: viewReceiver(receiver, place, now) })),
      more: found.length > MOST_RECEIVERS,
    }
  }
  return {
    async list() {
      const head = await revocations.head()
      const { found, more } = await look(head)
      return { head, receivers: found.map(({ view }) => view), more }
    },
    async confirm({ place, committedAt: time, waitMs, signal, onLook }) {
      const committedAt = parseTime(time)
      if (committedAt === undefined) throw new TypeError(`committedAt: ${time} is no time`)
      const startedAt = performance.now()
      /** Whoever goes on applying reports other places: the first report counts. */
      const times = new Map<string, number>()
      for (;;) {
        const lookedAt = performance.now()
        const { found, more } = await look(place)
        const seenAfterMs = Math.max(0, clock.now() - committedAt)
        const views = found.map(({ reportedAt, view }) => {
          const name = `${view.clientId} ${view.receiver}`
          if (view.behind === 0 && !times.has(name)) {
            times.set(name, measure(reportedAt - committedAt, seenAfterMs))
          }
          return { ...view, confirmedAfterMs: view.behind === 0 ? times.get(name) : undefined }
        })
        const confirmations = { place, ...countConfirmed(views), receivers: views, more }
        onLook?.(confirmations)
        const now = performance.now()
        const left = startedAt + waitMs - now
        const { confirmed, expected } = confirmations
        if (confirmed === expected || left <= 0 || signal?.aborted) return confirmations
        await pause(Math.min(choosePause(now - startedAt, now - lookedAt), left), signal)
      }
    },
  }
}

function viewReceiver(receiver: Receiver, place: number, now: number): ReceiverView {
  const { clientId, receiver: name, place: applied, reportedAt, seenAt } = receiver
  const behind = Math.max(0, place - applied)
  const isSilent = now - seenAt > SILENT_AFTER_MS
  return {
    clientId,
    receiver: name,
    applied,
    behind,
    state: isSilent ? 'silent' : behind === 0 ? 'current' : 'behind',
    reportedAt: formatTime(reportedAt),
    seenAt: formatTime(seenAt),
  }
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
  const outstanding = views.filter(({ state }) => state === 'behind').length
  return { confirmed: times.length, expected: times.length + outstanding, lastAfterMs }
}

async function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  await wait(milliseconds, undefined, signal && { signal }).catch((error: unknown) => {
    if (!signal?.aborted) throw error
  })
}
