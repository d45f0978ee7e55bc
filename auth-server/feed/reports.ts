import type { Clock } from '../clock.ts'
import type { ReceiverReport, ReceiverStore } from '../revocation/receiver.ts'

/** Reports are written together: soon, because an operator waits for them. */
const WRITE_EVERY_MS = 100
/** Beyond it the oldest are left out: a receiver says again and again how far it has come. */
const MOST_WAITING = 20_000

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
  let waiting = new Map<string, ReceiverReport>()
  let writing: Promise<void> = Promise.resolve()
  const write = () => {
    if (waiting.size === 0) return
    const reports = [...waiting.values()]
    waiting = new Map()
    writing = writing.then(() => receivers.record(reports)).catch(report)
  }
  const timer = setInterval(write, WRITE_EVERY_MS)
  timer.unref()
  return {
    add(clientId, receiver, place) {
      const name = `${clientId} ${receiver}`
      const known = waiting.get(name)?.place
      if (waiting.size >= MOST_WAITING && !waiting.has(name)) return
      waiting.set(name, { clientId, receiver, place: place ?? known, seenAt: clock.now() })
    },
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      write()
      await writing
    },
  }
}
