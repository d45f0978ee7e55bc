import type { Config } from './config/schema.ts'
import type { Events } from './events.ts'
import type { Purgeable } from './storage/purge.ts'
import type { Stores } from './storage/stores.ts'

const HOUR_MS = 3_600_000
/** An API that has not come for so long: one of its replicas that there is no longer. */
const SILENT_RECEIVER_MS = 24 * HOUR_MS
/** Nobody's grant hangs on such a client. Whoever has just agreed to it has a grant in a moment. */
const UNUSED_DOCUMENT_MS = HOUR_MS

export interface PurgeCollaborators {
  readonly stores: Stores
  readonly events: Events
  readonly registration: Config['registration']
}

/**
 * What has expired, and what nobody uses: invites, silent receivers, clients that never got a token or have
 * lost all grants.
 */
export function listPurged(collaborators: PurgeCollaborators): readonly Purgeable[] {
  const { stores, events, registration: policy } = collaborators
  const { models, revocations, receivers, apiKeys, registrations, documents } = stores
  const expire = (
    removeUnused: (before: number, limit: number) => Promise<readonly string[]>,
    lifeMilliseconds: number,
  ): Purgeable => ({
    async purge(before, limit) {
      const removed = await removeUnused(before - lifeMilliseconds, limit)
      for (const id of removed) {
        events.objectChanged({ kind: 'client', action: 'expired', id, by: 'server' })
      }
      return removed.length
    },
  })
  return [
    models,
    revocations,
    { purge: (before, limit) => receivers.purge(before - SILENT_RECEIVER_MS, limit) },
    apiKeys,
    { purge: registrations.purgeInvites },
    expire(documents.removeUnused, UNUSED_DOCUMENT_MS),
    ...(policy ? [expire(registrations.removeUnused, policy.unusedTtlSeconds * 1000)] : []),
  ]
}
