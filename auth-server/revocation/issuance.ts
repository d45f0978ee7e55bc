import type { Clock } from '../clock.ts'
import type { Logger } from '../log.ts'
import type { Revocable, RevocationStore, RevokedKind } from './revocation.ts'

/** Beyond it whoever runs this is told: what expires here expires too early or too late. */
const TOLERATED_MS = 2000
const TELL_EVERY_MS = 60_000

/** Why a token that is signed already is not given. */
export interface IssuanceEnd {
  readonly kind: RevokedKind
  /** For good: asking again gets nothing. Otherwise the same request may be good a second later. */
  readonly isFinal: boolean
}

/** One token in the making, from before anything is read that decides on it. */
export interface Issuance {
  /** Milliseconds since the epoch, by the clock of the database. */
  readonly begunAt: number
  /**
   * A time of this process, in seconds since the epoch, as the clock of the database would have told it
   * when the issuance began: with that as its `iat` no token escapes an entry that is made later, whatever
   * the clock of this process says.
   */
  dateBack(seconds: number): number
  /**
   * Looks at the log once more: what has come since the beginning ends the token, although what was read
   * in between did not say so. `issuedAt` is its `iat`.
   */
  findEnd(subjects: readonly Revocable[], issuedAt: number): Promise<IssuanceEnd | undefined>
}

/**
 * Begins to make a token. Whatever is appended to the log later says a time that is not before this, so
 * that APIs which follow the log refuse what was answered before they knew.
 */
export type BeginIssuance = () => Promise<Issuance>

export interface IssuanceCollaborators {
  readonly revocations: Pick<RevocationStore, 'mark' | 'findEnd'>
  readonly clock: Clock
  readonly log: Pick<Logger, 'warn'>
}

export function createIssuance({ revocations, clock, log }: IssuanceCollaborators): BeginIssuance {
  let toldAt = -Infinity
  const tell = (aheadMilliseconds: number): void => {
    const now = performance.now()
    if (Math.abs(aheadMilliseconds) <= TOLERATED_MS || now - toldAt < TELL_EVERY_MS) return
    toldAt = now
    log.warn({ event: 'clock_differs', aheadMilliseconds })
  }
  const mark = shareTurns(() => revocations.mark())
  return async () => {
    const { place: since, now } = await mark()
    tell(clock.now() - now)
    return {
      begunAt: now,
      dateBack: (seconds) => seconds - (toSeconds(clock.now()) - toSeconds(now)),
      async findEnd(subjects, issuedAt) {
        const end = await revocations.findEnd(subjects, { issuedAt: issuedAt * 1000, since })
        if (!end) return undefined
        const { kind, sequence } = end
        // It is not about this one, but an API could not tell: seconds are all that a token says.
        const isOlder = COUNT_BY_SECOND.has(kind) && sequence <= since
        return { kind, isFinal: !isOlder }
      },
    }
  }
}

/** Of those who come while `work` runs, all get the same next run: it begins after they have come. */
function shareTurns<T>(work: () => Promise<T>): () => Promise<T> {
  let running: Promise<unknown> = Promise.resolve()
  let next: Promise<T> | undefined
  return () => {
    next ??= running
      .catch(() => {})
      .then(() => {
        next = undefined
        const turn = work()
        running = turn
        return turn
      })
    return next
  }
}

const COUNT_BY_SECOND: ReadonlySet<RevokedKind> = new Set(['user', 'client', 'all'])

function toSeconds(milliseconds: number): number {
  return Math.floor(milliseconds / 1000)
}
