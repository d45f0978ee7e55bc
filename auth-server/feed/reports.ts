import type { Clock } from '../clock.ts'
import type { ReceiverReport, ReceiverStore } from '../revocation/receiver.ts'

/** Reports are written together: soon, because an operator waits for them. */
const WRITE_EVERY_MS = 100
/** No request waits for longer than these take. */
const MOST_AT_ONCE = 500
/** Beyond it, others are left out: a receiver says again and again how far it has come. */
const MOST_WAITING = 20_000
/** With names that it makes up, a client could fill the database. */
export const MOST_RECEIVERS_OF_ONE = 1000

export interface Reports extends AsyncDisposable {
  /** `place`: up to which everything has been applied, if that is new. */
  add(clientId: string, receiver: string, place: number | undefined): void
}

/** Collects what receivers say of themselves and writes it down, until disposed of. */
export function collectReports(
  receivers: Pick<ReceiverStore, 'record'>,
  clock: Clock,
  report: (error: unknown) => void,
): Reports {
  const waiting = new Map<string, ReceiverReport>()
  /** How many of these are of one client. */
  const counts = new Map<string, number>()
  let writing: Promise<void> | undefined
  const write = async (most: number) => {
    const some = [...waiting].slice(0, most)
    for (const [name, { clientId }] of some) {
      waiting.delete(name)
      counts.set(clientId, (counts.get(clientId) ?? 0) - 1)
    }
    if (waiting.size === 0) counts.clear()
    const reports = some.map(([, one]) => one)
    await receivers.record(reports, MOST_RECEIVERS_OF_ONE).catch(report)
  }
  const timer = setInterval(() => {
    if (waiting.size === 0) return
    writing ??= write(MOST_AT_ONCE).finally(() => {
      writing = undefined
    })
  }, WRITE_EVERY_MS)
  timer.unref()
  return {
    add(clientId, receiver, place) {
      const name = `${clientId} ${receiver}`
      const known = waiting.get(name)
      const own = counts.get(clientId) ?? 0
      if (!known && (waiting.size >= MOST_WAITING || own >= MOST_RECEIVERS_OF_ONE)) return
      if (!known) counts.set(clientId, own + 1)
      const newest = place ?? known?.place
      waiting.set(name, { clientId, receiver, place: newest, seenAt: clock.now() })
    },
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      await writing
      if (waiting.size > 0) await write(waiting.size)
    },
  }
}
