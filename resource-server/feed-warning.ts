import type { Clock } from './clock.ts'
import { isStale, type FollowedRevocations } from './revocations.ts'

const CHECK_EVERY_MS = 15_000
const WARN_EVERY_MS = 60_000

/**
 * Warns the process (`process.emitWarning`) where nobody else is told that a feed hears nothing: 15 seconds
 * after the start, and once for each later outage in which the view gets stale, a minute apart at least.
 */
export function warnOfOutages(feed: FollowedRevocations, clock: Clock, stop: AbortSignal): void {
  let isWarned = false
  let warnAgainAt = Number.NEGATIVE_INFINITY
  const check = () => {
    const now = clock.monotonic()
    if (!isStale(feed, now)) isWarned = false
    else if (!isWarned && now >= warnAgainAt) {
      isWarned = true
      warnAgainAt = now + WARN_EVERY_MS
      emitWarning(feed)
    }
    cancel = checkLater()
  }
  const checkLater = () => clock.schedule(CHECK_EVERY_MS, async () => check())
  let cancel = checkLater()
  stop.addEventListener('abort', () => cancel())
}

function emitWarning({ issuer, state: { lastFault } }: FollowedRevocations): void {
  // It goes to a terminal, and may quote what somebody else wrote.
  const why = (lastFault?.message ?? 'no answer has come yet').replaceAll(/\p{Cc}+/gu, ' ')
  const detail = 'createRevocationFeed tells each failure to onFault, where that is given.'
  const code = 'PORTREEVE_REVOCATIONS_NOT_HEARD'
  process.emitWarning(`what ${issuer} revokes is not heard: ${why}`, { code, detail })
}
