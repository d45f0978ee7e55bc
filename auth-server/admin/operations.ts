import type { AuditStore } from '../audit/audit.ts'
import { formatTime, type Clock } from '../clock.ts'
import type { LoadedConfig } from '../config/load.ts'
import type { SigningAlgorithm } from '../config/schema.ts'
import { keyPhase, type KeyPhase, type KeyStore, type StoredKey } from '../keys/keyset.ts'
import { createAuditOperations, type AuditOperations } from './audit.ts'
import {
  createClientOperations,
  type ClientCollaborators,
  type ClientOperations,
} from './clients.ts'
import { createUserOperations, type UserCollaborators, type UserOperations } from './users.ts'

/** A signing key as it is shown: nothing of its private half. */
export interface KeyView {
  readonly kid: string
  readonly algorithm: SigningAlgorithm
  readonly phase: KeyPhase
  /** ISO 8601. */
  readonly announcedAt: string
  readonly activeAt: string
  readonly retiredAt: string | undefined
}

/** Everything that an operator can do, whichever way they ask. */
export interface Operations {
  readonly users: UserOperations
  readonly clients: ClientOperations
  readonly keys: { list(): Promise<readonly KeyView[]> }
  readonly audit: AuditOperations
}

export type AdminCollaborators = UserCollaborators &
  ClientCollaborators & { readonly keys: KeyStore; readonly audit: AuditStore }

/** The use-cases over the stores of one database and the rules of one configuration. */
export function createOperations(
  collaborators: AdminCollaborators,
  loaded: Pick<LoadedConfig, 'config' | 'file'>,
): Operations {
  const { keys, clock } = collaborators
  return {
    users: createUserOperations(collaborators, loaded),
    clients: createClientOperations(collaborators, loaded),
    audit: createAuditOperations(collaborators),
    keys: { list: async () => (await keys.list()).map((key) => viewKey(key, clock)) },
  }
}

function viewKey(key: StoredKey, clock: Clock): KeyView {
  const { kid, algorithm, announcedAt, activeAt, retiredAt } = key
  return {
    kid,
    algorithm,
    phase: keyPhase(key, clock.now()),
    announcedAt: formatTime(announcedAt),
    activeAt: formatTime(activeAt),
    retiredAt: retiredAt === undefined ? undefined : formatTime(retiredAt),
  }
}
