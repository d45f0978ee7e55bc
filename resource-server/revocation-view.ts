import type { AccessTokenClaims } from './claims.ts'
import type { Clock } from './clock.ts'
import { IssuerError } from './errors.ts'
import { createFreshness } from './freshness.ts'
import type { Beat, LogEntry, LoggedEvent, Page } from './revocation-messages.ts'
import { createRevocationStore } from './revocation-store.ts'
import type { Pulse } from './revocations.ts'

/** A token is taken so long after its `exp` at most: its revocation must not be forgotten before. */
const MOST_TOLERANCE_SECONDS = 300
/** Beats come every five seconds: all parts are swept in less than two minutes. */
const PARTS_AT_A_BEAT = 16
/** Pages tell the time of their making by the second. */
const SECOND_MS = 1000

export interface RevocationViewSettings {
  readonly issuer: string
  readonly staleAfterMs: number
  readonly maxEntries: number
}

/** A place in a log. */
export interface LogPlace {
  readonly feed: string
  /** Everything up to it is known. */
  readonly applied: number
}

/** What has been revoked, as far as the issuer's messages say. Does no I/O. */
export interface RevocationView {
  readonly pulse: Pulse
  readonly place: LogPlace | undefined
  readonly entries: number
  /** Whether everything up to `place` was understood, or has died since. */
  readonly isComplete: boolean
  isRevoked(claims: AccessTokenClaims, keyId?: string): boolean
  isRevokedKey(keyId: string): boolean
  ageSeconds(now: number): number | undefined
  /** A stream was asked for at that monotonic time, and answered at that time of the issuer. */
  connect(askedAt: number, greetedAt: number): void
  /** `'behind'`: something before it is missing, and pages have to be read. */
  takeEvent(event: LoggedEvent): 'taken' | 'behind'
  /**
   * `'repeated'`, `'earlier'`, `'late'`: see `Freshness`. `'doubtful'`: it knows of less than is known here; a page will tell
   * whether the log was restored to what it was before.
   */
  takeBeat(beat: Beat): 'taken' | 'repeated' | 'earlier' | 'late' | 'behind' | 'doubtful'
  /** The place after which the next page has to be asked for; `undefined`: there is no more. */
  takePage(page: Page, askedAfter: number): number | undefined
}

/**
 * Applies what the issuer says, in its order: nothing twice, nothing after a gap. What it has said stays
 * true until it dies, also when the log becomes another one.
 *
 * What cannot be applied makes the view stale, and never wrong: an entry of a kind that is not known
 * here, until it dies; entries for which there is no room, with an `IssuerError`.
 */
export function createRevocationView(
  { issuer, staleAfterMs, maxEntries }: RevocationViewSettings,
  clock: Clock,
): RevocationView {
  const store = createRevocationStore(maxEntries)
  const pulse = { epoch: 0, freshUntil: -Infinity }
  const freshness = createFreshness(staleAfterMs, pulse)
  let place: LogPlace | undefined
  /** Milliseconds at the issuer: when what is applied last was signed. */
  let appliedSignedAt = 0
  let unknownUntil = -Infinity
  let isComplete = true

  /** Seconds: what died before is not needed any more, whichever of the two clocks is wrong. */
  function readDeadline(signedAt: number): number {
    const atIssuer = freshness.issuerTime(clock.monotonic()) ?? signedAt
    return Math.min(clock.now(), atIssuer) / 1000 - MOST_TOLERANCE_SECONDS
  }

  function apply({ entry, until }: LogEntry, deadline: number): boolean {
    if (entry === undefined) {
      if (until <= deadline) return false
      unknownUntil = Math.max(unknownUntil, until)
      isComplete = false
      freshness.end()
      return false
    }
    const outcome = store.add(entry, deadline)
    if (outcome === 'full') {
      freshness.end()
      const message = `${issuer} has revoked more than maxEntries allows, ${maxEntries}`
      throw new IssuerError('bad_answer', message)
    }
    return outcome === 'added'
  }

  function advance(to: LogPlace, signedAt: number): void {
    place = to
    appliedSignedAt = signedAt
  }

  function startAnew(): number {
    place = undefined
    freshness.end()
    return 0
  }

  return {
    pulse,
    get place() {
      return place
    },
    get entries() {
      return store.size
    },
    get isComplete() {
      return isComplete
    },
    isRevoked(claims, keyId) {
      const { jti, grant_id: grantId, sid, sub, client_id: clientId, iat } = claims
      return (
        store.isRevoked('all', '', iat) ||
        (keyId !== undefined && store.isRevoked('key', keyId)) ||
        (typeof jti === 'string' && store.isRevoked('token', jti)) ||
        (typeof grantId === 'string' && store.isRevoked('grant', grantId)) ||
        (typeof sid === 'string' && store.isRevoked('session', sid)) ||
        (typeof clientId === 'string' && store.isRevoked('client', clientId, iat)) ||
        (typeof sub === 'string' &&
          (store.isRevoked('user', sub, iat) ||
            (sub !== clientId && store.isRevoked('client', sub, iat))))
      )
    },
    isRevokedKey: (keyId) => store.isRevoked('key', keyId),
    ageSeconds: freshness.ageSeconds,
    connect: freshness.connect,
    takeEvent(event) {
      const { feed, sequence, signedAt } = event
      if (place?.feed !== feed || sequence > place.applied + 1) return 'behind'
      if (sequence <= place.applied) return 'taken'
      if (apply(event, readDeadline(signedAt))) pulse.epoch += 1
      advance({ feed, applied: sequence }, signedAt)
      return 'taken'
    },
    takeBeat({ feed, head, signedAt }) {
      if (place?.feed !== feed || head > place.applied) return 'behind'
      if (head < place.applied && signedAt >= appliedSignedAt + SECOND_MS) return 'doubtful'
      const deadline = readDeadline(signedAt)
      isComplete = unknownUntil <= deadline
      const outcome = freshness.beat(signedAt, isComplete, clock.monotonic())
      if (outcome !== 'new') return outcome
      store.sweep(deadline, PARTS_AT_A_BEAT)
      return 'taken'
    },
    takePage(page, askedAfter) {
      const { feed, after, through, head, signedAt, entries } = page
      if (after !== askedAfter) throw wrongPage('it is another one', { askedAfter, after })
      if (place !== undefined && (feed !== place.feed || head < after)) return startAnew()
      if (through < head && through === after) throw wrongPage('it leads no further', page)
      const deadline = readDeadline(signedAt)
      let isNew = false
      try {
        for (const entry of entries) isNew = apply(entry, deadline) || isNew
      } finally {
        // Also of a part: what is in there has to be compared.
        if (isNew) pulse.epoch += 1
      }
      advance({ feed, applied: through }, signedAt)
      return through < head ? through : undefined
    },
  }
}

function wrongPage(why: string, actual: object): IssuerError {
  const { entries: _entries, ...facts } = actual as { entries?: unknown }
  return new IssuerError('bad_answer', `the page is of no use: ${why}`, {
    cause: { actual: facts },
  })
}
