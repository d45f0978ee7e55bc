import type { AuditStore } from '../audit/audit.ts'
import type { LoadedConfig } from '../config/load.ts'
import { createAuditOperations, type AuditOperations } from './audit.ts'
import {
  createClientOperations,
  type ClientCollaborators,
  type ClientOperations,
} from './clients.ts'
import { createKeyOperations, type KeyAdminCollaborators, type KeyOperations } from './keys.ts'
import { createUserOperations, type UserCollaborators, type UserOperations } from './users.ts'

/** Everything that an operator can do, whichever way they ask. */
export interface Operations {
  readonly users: UserOperations
  readonly clients: ClientOperations
  readonly keys: KeyOperations
  readonly audit: AuditOperations
}

export type AdminCollaborators = UserCollaborators &
  ClientCollaborators &
  KeyAdminCollaborators & { readonly audit: AuditStore }

/** The use-cases over the stores of one database and the rules of one configuration. */
export function createOperations(
  collaborators: AdminCollaborators,
  loaded: Pick<LoadedConfig, 'config' | 'file' | 'readSecret'>,
): Operations {
  return {
    users: createUserOperations(collaborators, loaded),
    clients: createClientOperations(collaborators, loaded),
    audit: createAuditOperations(collaborators),
    keys: createKeyOperations(collaborators, loaded),
  }
}
