import type { PortreeveError } from '../errors.ts'

export interface Breaker {
  run<T>(work: () => Promise<T>): Promise<T>
}

/** Who waited longer for a failure has waited for a time-out. */
const SLOW_MS = 500
const REST_MS = 500

/**
 * Keeps requests from piling up at a store that does not answer. After a failure one at a time tries
 * it, and whoever comes meanwhile is refused at once; the first success lets everybody in again. After
 * a time-out nobody tries for half a second: what needs the store several times shall wait for it once.
 *
 * `describe` tells an outage, as what is thrown for it, from an error of the statement.
 */
export function createBreaker(describe: (error: unknown) => PortreeveError | undefined): Breaker {
  let outage: PortreeveError | undefined
  let isTrying = false
  let restsUntil = 0
  return {
    async run(work) {
      const isTrial = outage !== undefined
      if (outage !== undefined && (isTrying || performance.now() < restsUntil)) throw outage
      isTrying ||= isTrial
      const startedAt = performance.now()
      try {
        const result = await work()
        outage = undefined
        return result
      } catch (error) {
        const known = describe(error)
        if (known) {
          outage = known
          const now = performance.now()
          if (now - startedAt > SLOW_MS) restsUntil = now + REST_MS
        }
        throw known ?? error
      } finally {
        if (isTrial) isTrying = false
      }
    },
  }
}
