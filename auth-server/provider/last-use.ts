import type { Clock } from '../clock.ts'
import type { Logger } from '../log.ts'
import type { OwnAccessStore, Used } from './own-access-store.ts'
import { nameBrowser } from './browser-name.ts'

/** Who has come: an address that is believed, and what a browser calls itself. */
export interface Visitor {
  readonly address: string
  /** `undefined` for what is no browser. */
  readonly userAgent: string | undefined
}

export interface LastUses {
  /** Remembers that it was used just now, at most once a minute. Whoever uses it is not kept from it. */
  record(used: Used, visitor: Visitor): Promise<void>
}

export interface LastUseCollaborators {
  readonly access: Pick<OwnAccessStore, 'recordUse'>
  readonly clock: Clock
  readonly log: Logger
}

const EVERY_MS = 60_000
/** Of what was recorded within the minute. Beyond, the store is asked more often than it needs to be. */
const MOST_REMEMBERED = 10_000
/** Of any family, with the name of an interface. */
const LONGEST_ADDRESS = 64

/** What people see on their page, when and from where something was used last, is remembered by this. */
export function createLastUses({ access, clock, log }: LastUseCollaborators): LastUses {
  const recorded = new Map<string, number>()
  return {
    async record(used, { address, userAgent }) {
      const at = clock.now()
      const name = `${used.kind} ${used.id}`
      const before = recorded.get(name)
      if (before !== undefined && Math.abs(at - before) < EVERY_MS) return
      recorded.delete(name)
      recorded.set(name, at)
      const oldest = recorded.keys().next().value
      if (recorded.size > MOST_REMEMBERED && oldest !== undefined) recorded.delete(oldest)
      const agent = userAgent === undefined ? undefined : nameBrowser(userAgent)
      const use = { at, from: address.slice(0, LONGEST_ADDRESS), with: agent }
      await access.recordUse(used, use, at - EVERY_MS).catch((error: unknown) => {
        recorded.delete(name)
        log.warn({ event: 'use_not_recorded', err: error })
      })
    },
  }
}
