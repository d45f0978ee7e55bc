import { AsyncLocalStorage } from 'node:async_hooks'
import { setTimeout as wait } from 'node:timers/promises'
import type { Clock } from '../clock.ts'
import { currentRequest, type Logger } from '../log.ts'
import {
  chainRecords,
  type AuditEntry,
  type AuditEvent,
  type AuditKey,
  type AuditRecord,
  type AuditStore,
} from './audit.ts'

/** Takes events as they happen, and writes them a batch at a time. Disposing of it flushes. */
export interface AuditRecorder extends AsyncDisposable {
  record(event: AuditEvent): void
  /** Whether so much waits that nobody should be allowed anything more: beyond a bound it is lost. */
  isBehind(): boolean
  /**
   * Resolves when everything that was recorded before is in the log. Rejects where it cannot be
   * written after a few attempts; it goes on waiting.
   */
  flush(): Promise<void>
}

/** Is told how a recorder does. */
export interface AuditMeter {
  waiting(entries: number): void
  wrote(entries: number, seconds: number): void
  failed(): void
  lost(entries: number): void
  leftOut(): void
}

export interface AuditCollaborators {
  readonly store: Pick<AuditStore, 'append'>
  readonly key: AuditKey
  readonly clock: Clock
  readonly log: Logger
  /** Default: nobody is told. */
  readonly meter?: AuditMeter | undefined
}

/** What one statement and one commit write. */
const BATCH = 100
/** After a batch that was not full: at most twenty commits a second. */
const PAUSE_MS = 50
/** Some 5 MB. */
const CAPACITY = 10_000
/** The rest is for those who were let in before. */
const BEHIND = 8000
const FIRST_RETRY_MS = 100
const LAST_RETRY_MS = 5000
const FLUSH_ATTEMPTS = 3
/** The log of the process is kept elsewhere: it is told how far the chain has come. */
const HEAD_EVERY_MS = 60_000
const STRANGERS = { entries: 100, windowMs: 60_000 }

/**
 * Records events in the audit log without making whoever causes them wait for the disk.
 *
 * What comes first is written at once, and what comes meanwhile and in the 50 ms after, together: a
 * process that is killed loses no more than that, and a busy server makes few commits. While the log
 * cannot be written everything waits, up to a bound.
 *
 * What strangers cause is recorded up to 100 times a minute: an attacker must not decide how much this
 * server keeps forever. An entry says from where on that minute's are in the log of the process only.
 */
export function createAuditRecorder(collaborators: AuditCollaborators): AuditRecorder {
  const { clock, log, meter } = collaborators
  const { write, logHead } = createWriter(collaborators)
  const strangers = createBudget(clock)
  // Writing serves no request in particular, least of all the one that happened to be first.
  const outside = AsyncLocalStorage.snapshot()
  const waiting: AuditRecord[] = []
  /** What is being written. Kept as it is until that is done: see `createWriter`. */
  let batch: readonly AuditRecord[] = []
  let lost = 0
  let running: Promise<void> | undefined
  let pausing: AbortController | undefined
  let isFlushing = false

  const count = () => waiting.length + batch.length
  const toRecord = (event: AuditEvent): AuditRecord => ({
    ...event,
    at: clock.now(),
    requestId: currentRequest.getStore()?.requestId,
  })

  const enqueue = (event: AuditEvent) => {
    if (count() >= CAPACITY) {
      if (lost === 0) log.error({ event: 'audit_overflow', entries: count() })
      lost += 1
      meter?.lost(1)
      return
    }
    waiting.push(toRecord(event))
    meter?.waiting(count())
    running ??= outside(run)
  }

  const writeBatch = async () => {
    if (batch.length === 0) {
      const next = waiting.splice(0, BATCH)
      batch = lost === 0 ? next : [toRecord(describeLoss(lost)), ...next]
      lost = 0
    }
    await write(batch)
    batch = []
    meter?.waiting(count())
  }

  const pause = async (milliseconds: number) => {
    pausing = new AbortController()
    await wait(milliseconds, undefined, { signal: pausing.signal }).catch(() => {})
    pausing = undefined
  }

  /** Writes until nothing waits. Gives up only where somebody waits for it to end. */
  async function run(): Promise<void> {
    try {
      for (let failures = 0; count() > 0;) {
        try {
          await writeBatch()
          failures = 0
          if (waiting.length < BATCH && !isFlushing) await pause(PAUSE_MS)
        } catch (error) {
          failures += 1
          meter?.failed()
          log.error({ event: 'audit_write_failed', waiting: count(), failures, err: error })
          if (isFlushing && failures >= FLUSH_ATTEMPTS) throw error
          await pause(Math.min(FIRST_RETRY_MS * 2 ** (failures - 1), LAST_RETRY_MS))
        }
      }
    } finally {
      running = undefined
    }
  }

  const flush = async () => {
    isFlushing = true
    try {
      pausing?.abort()
      while (count() > 0) await (running ??= outside(run))
    } finally {
      isFlushing = false
    }
  }

  return {
    record(event) {
      if (event.by !== 'stranger') {
        enqueue(event)
        return
      }
      const spent = strangers.spend()
      if (spent <= STRANGERS.entries) {
        enqueue(event)
        return
      }
      if (spent === STRANGERS.entries + 1) enqueue(LIMIT_REACHED)
      meter?.leftOut()
    },
    isBehind: () => count() >= BEHIND,
    flush,
    async [Symbol.asyncDispose]() {
      try {
        await flush()
      } catch {
        // Why is in the log already.
        log.error({ event: 'audit_entries_lost', entries: count() })
        meter?.lost(count())
      }
      logHead()
    },
  }
}

const LIMIT_REACHED: AuditEvent = { event: 'audit_limited', by: 'server', facts: { ...STRANGERS } }

function describeLoss(entries: number): AuditEvent {
  return { event: 'audit_entries_lost', by: 'server', facts: { entries } }
}

/**
 * Appends a batch, once, however often it is asked to: where the connection was lost before the database
 * had answered, the attempt that failed may have been made after all. So it must be asked for the same
 * batch until that is done.
 */
function createWriter({ store, key, clock, log, meter }: AuditCollaborators) {
  let attempted: readonly AuditEntry[] = []
  let head: AuditEntry | undefined
  let loggedAt = -Infinity

  const logHead = () => {
    if (!head) return
    const { sequence, hash } = head
    log.info({ event: 'audit_head', sequence, hash })
    loggedAt = clock.now()
    head = undefined
  }
  return {
    async write(batch: readonly AuditRecord[]) {
      const startedAt = clock.now()
      await store.append(async (last, find) => {
        const [first] = attempted
        if (first && (await find(first.sequence))?.hash === first.hash) return []
        attempted = chainRecords(key, last, batch)
        return attempted
      })
      head = attempted.at(-1)
      attempted = []
      meter?.wrote(batch.length, (clock.now() - startedAt) / 1000)
      if (clock.now() - loggedAt >= HEAD_EVERY_MS) logHead()
    },
    /** Of the entries that this process has written, if any came since the last time. */
    logHead,
  }
}

/** Counts within a window that begins with the first that is counted. */
function createBudget(clock: Clock): { spend(): number } {
  let startedAt = -Infinity
  let spent = 0
  return {
    spend() {
      const now = clock.now()
      if (Math.abs(now - startedAt) >= STRANGERS.windowMs) {
        startedAt = now
        spent = 0
      }
      spent += 1
      return spent
    },
  }
}
