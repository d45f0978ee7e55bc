import type { AuditStore } from '../audit/audit.ts'
import type { LoadedConfig } from '../config/load.ts'
import {
  createApiKeyOperations,
  type ApiKeyAdminCollaborators,
  type ApiKeyOperations,
} from './api-keys.ts'
import { createAuditOperations, type AuditOperations } from './audit.ts'
import {
  createClientOperations,
  type ClientCollaborators,
  type ClientOperations,
} from './clients.ts'
import {
  createInviteOperations,
  type InviteCollaborators,
  type InviteOperations,
} from './invites.ts'
import { createKeyOperations, type KeyAdminCollaborators, type KeyOperations } from './keys.ts'
import {
  createReceiverOperations,
  type ReceiverCollaborators,
  type ReceiverOperations,
} from './receivers.ts'
import {
  createRevocationOperations,
  type RevocationCollaborators,
  type RevocationOperations,
} from './revocations.ts'
import {
  createTransferOperations,
  type TransferCollaborators,
  type TransferOperations,
} from './transfer.ts'
import { createUserOperations, type UserCollaborators, type UserOperations } from './users.ts'

/** Everything that an operator can do, whichever way they ask. */
export interface Operations {
  readonly users: UserOperations
  readonly clients: ClientOperations
  readonly invites: InviteOperations
  readonly apiKeys: ApiKeyOperations
  readonly keys: KeyOperations
  readonly receivers: ReceiverOperations
  readonly audit: AuditOperations
  readonly transfer: TransferOperations
  readonly revocations: RevocationOperations
}

export type AdminCollaborators = UserCollaborators &
  ClientCollaborators &
  InviteCollaborators &
  TransferCollaborators &
  RevocationCollaborators &
  ApiKeyAdminCollaborators &
  KeyAdminCollaborators &
  ReceiverCollaborators & { readonly audit: AuditStore }

/** The use-cases over the stores of one database and the rules of one configuration. */
export function createOperations(
  collaborators: AdminCollaborators,
  loaded: Pick<LoadedConfig, 'config' | 'file' | 'folder' | 'readSecret'>,
): Operations {
  return {
    users: createUserOperations(collaborators, loaded),
    clients: createClientOperations(collaborators, loaded),
    invites: createInviteOperations(collaborators),
    apiKeys: createApiKeyOperations(collaborators, loaded),
    audit: createAuditOperations(collaborators),
    keys: createKeyOperations(collaborators, loaded),
    receivers: createReceiverOperations(collaborators),
    revocations: createRevocationOperations(collaborators),
    transfer: createTransferOperations(collaborators, loaded),
  }
}
