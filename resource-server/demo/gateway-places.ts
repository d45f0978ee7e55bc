/** Why there is no place: all are taken, or whoever asks has their share already. */
export type NoPlace = 'all_taken' | 'share_taken'

/** A place that is held until it is disposed of. */
export type Taken =
  | { readonly ok: true; readonly value: Disposable }
  | { readonly ok: false; readonly reason: NoPlace }

/** How many requests may be under way at once. */
export interface Places {
  /** `holder`: who answers for the request, by what they cannot choose. */
  take(service: string, holder: string): Taken
}

/**
 * As many places at each service as `max` says. Nobody may hold more, over all services, than are free
 * at the one they ask for. So one who is greedy gets half of it, nine get a tenth each, and whoever
 * comes new finds a place.
 */
export function createPlaces(max: number): Places {
  const byService = new Map<string, number>()
  const byHolder = new Map<string, number>()
  return {
    take(service, holder) {
      const free = max - (byService.get(service) ?? 0)
      if (free <= 0) return { ok: false, reason: 'all_taken' }
      if ((byHolder.get(holder) ?? 0) >= free) return { ok: false, reason: 'share_taken' }
      const place = new DisposableStack()
      place.defer(countUp(byService, service))
      place.defer(countUp(byHolder, holder))
      return { ok: true, value: place }
    },
  }
}

/** Answers what counts down again, and forgets whom there is nothing to count of. */
function countUp(counts: Map<string, number>, key: string): () => void {
  counts.set(key, (counts.get(key) ?? 0) + 1)
  return () => {
    const count = (counts.get(key) ?? 0) - 1
    if (count > 0) counts.set(key, count)
    else counts.delete(key)
  }
}
