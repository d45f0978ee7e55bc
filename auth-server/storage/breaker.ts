import type { PortreeveError } from '../errors.ts'

export interface Breaker {
  run<T>(work: () => Promise<T>): Promise<T>
}

/** What needs the store several times shall wait for it once. */
const REST_MS = 500

/**
 * Keeps requests from piling up at a store that does not answer. After a failure one at a time tries
 * it, half a second after the last who did, and whoever comes meanwhile is refused at once; the first
 * success lets everybody in again.
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
      try {
        const result = await work()
        outage = undefined
        return result
      } catch (error) {
        const known = describe(error)
        if (known) {
          outage = known
          restsUntil = performance.now() + REST_MS
        }
        throw known ?? error
      } finally {
        if (isTrial) isTrying = false
      }
    },
  }
}
