import type { PortreeveError } from '../errors.ts'

export interface Breaker {
  run<T>(work: () => Promise<T>): Promise<T>
}

/**
 * Keeps requests from piling up at a store that does not answer. After a failure one at a time tries
 * it, and whoever comes meanwhile is refused at once; the first success lets everybody in again.
 *
 * `describe` tells an outage, as what is thrown for it, from an error of the statement.
 */
export function createBreaker(describe: (error: unknown) => PortreeveError | undefined): Breaker {
  let outage: PortreeveError | undefined
  let isTrying = false
  return {
    async run(work) {
      const isTrial = outage !== undefined
      if (outage !== undefined && isTrying) throw outage
      isTrying ||= isTrial
      try {
        const result = await work()
        outage = undefined
        return result
      } catch (error) {
        const known = describe(error)
        if (known) outage = known
        throw known ?? error
      } finally {
        if (isTrial) isTrying = false
      }
    },
  }
}
