import type { Account, AccountStore } from '../accounts/account.ts'
import { judgeState, type ApiKeyStore, type StoredApiKey } from '../api-keys/api-key.ts'
import type { Client, ClientStore } from '../clients/client.ts'
import { formatTime, type Clock } from '../clock.ts'
import type { LoadedConfig } from '../config/load.ts'
import type { Finding } from '../config/rules.ts'
import type { Config } from '../config/schema.ts'
import type { Events } from '../events.ts'
import {
  DOCUMENT_VERSION,
  parseDocument,
  type ExportDocument,
  type ExportedApiKey,
  type ExportedClient,
  type ExportedUser,
} from './document.ts'
import type { RevocationStore } from '../revocation/revocation.ts'
import { exportConfig } from './export-config.ts'
import {
  CLIENT_MEMBERS,
  differ,
  planImport,
  USER_MEMBERS,
  type Changes,
  type ChangesView,
  type Present,
} from './import-plan.ts'

export interface TransferStore {
  /**
   * Shows `decide` every account, client and API key, and makes the changes that it answers: all of them or
   * none, in one transaction, and answers them. Where `decide` throws nothing is changed, and where
   * another program makes the same account or client at the same time, `conflict` is thrown.
   */
  change<Decided extends Changes>(decide: (present: Present) => Decided): Promise<Decided>
}

/** What an import comes to. Users go by username, clients and API keys by id. */
export interface ImportView {
  readonly isDryRun: boolean
  readonly users: ChangesView
  readonly clients: ChangesView
  readonly apiKeys: ChangesView
  /** The settings of the document that differ from those that hold here: no import changes them. */
  readonly otherSettings: readonly string[]
}

export interface TransferOperations {
  /**
   * The configuration, the users and clients of operators, and the API keys that are good. With hashes,
   * and without secrets.
   */
  export(): Promise<ExportDocument>
  /**
   * Brings the users, clients and API keys of a document here: all of them, or none. Twice is as good as once.
   * Throws `invalid_input`, `read_only` for what the configuration file declares, and `conflict`, each
   * with everything that is wrong.
   */
  import(
    text: string,
    options: { readonly isDryRun: boolean },
  ): Promise<{ readonly view: ImportView; readonly warnings: readonly Finding[] }>
}

export interface TransferCollaborators {
  readonly accounts: Pick<AccountStore, 'list'>
  readonly clients: Pick<ClientStore, 'list'>
  readonly apiKeys: Pick<ApiKeyStore, 'list'>
  readonly transfer: TransferStore
  readonly revocations: Pick<RevocationStore, 'mark'>
  readonly clock: Clock
  readonly events: Events
  /** Resolves when everything that has happened is in the audit log. Default: nobody waits. */
  readonly recorded?: (() => Promise<void>) | undefined
}

/** So many events wait at most to be written into the audit log. */
const EVENTS_AT_ONCE = 1000

export function createTransferOperations(
  collaborators: TransferCollaborators,
  loaded: Pick<LoadedConfig, 'config' | 'file' | 'folder'>,
): TransferOperations {
  const { accounts, clients, apiKeys, transfer, revocations, clock, events, recorded } =
    collaborators
  const read = async (): Promise<Present> => ({
    accounts: await accounts.list(),
    clients: await clients.list(),
    apiKeys: await apiKeys.list(),
  })
  const announce = async ({ newAccounts, accounts: changed, ...rest }: Changes) => {
    const changes = [
      ...newAccounts.map(({ id }) => ({ kind: 'user', action: 'added', id }) as const),
      ...changed.map(
        ({ account }) => ({ kind: 'user', action: 'changed', id: account.id }) as const,
      ),
      ...rest.newClients.map(({ id }) => ({ kind: 'client', action: 'added', id }) as const),
      ...rest.clients.map(({ id }) => ({ kind: 'client', action: 'changed', id }) as const),
    ]
    const happened = [
      ...changes.map((facts) => () => events.objectChanged({ ...facts, by: 'operator' })),
      ...rest.newApiKeys.map((key) => () => events.apiKeyMade(describeKey(key))),
    ]
    for (const [index, announceOne] of happened.entries()) {
      announceOne()
      if (index % EVENTS_AT_ONCE === EVENTS_AT_ONCE - 1) await recorded?.()
    }
  }
  return {
    async export() {
      const present = await read()
      return {
        version: DOCUMENT_VERSION,
        exportedAt: formatTime(clock.now()),
        config: exportConfig(loaded),
        users: present.accounts.filter(isOperators).map(exportUser),
        clients: present.clients.filter(isOperators).map(exportClient),
        apiKeys: exportKeys(present, clock.now()),
      }
    },
    async import(text, { isDryRun }) {
      const document = parseDocument(text, loaded.config)
      const { now } = await revocations.mark()
      const decide = (present: Present) => planImport(document, present, loaded, now)
      const plan = isDryRun ? decide(await read()) : await transfer.change(decide)
      if (!isDryRun) await announce(plan)
      const otherSettings = listOtherSettings(document.config, loaded)
      return { view: { ...plan.view, isDryRun, otherSettings }, warnings: document.warnings }
    },
  }
}

function isOperators({ owner }: Account | Client): boolean {
  return owner === 'operator'
}

function exportUser(account: Account): ExportedUser {
  return pick(account, ['id', 'username', ...USER_MEMBERS]) as ExportedUser
}

function exportClient(client: Client): ExportedClient {
  return pick(client, ['id', ...CLIENT_MEMBERS]) as ExportedClient
}

/** Those that are good: what has ended ends everywhere. */
function exportKeys({ accounts, apiKeys }: Present, now: number): ExportedApiKey[] {
  const names = new Map(accounts.map(({ id, username }) => [id, username]))
  return apiKeys.flatMap((key): ExportedApiKey[] => {
    const { id, name, resource, scopes, hash, createdAt, expiresAt } = key
    const user = names.get(key.accountId)
    if (user === undefined || judgeState(key, now) !== 'active') return []
    const times = {
      createdAt: formatTime(createdAt),
      ...(expiresAt === undefined ? {} : { expiresAt: formatTime(expiresAt) }),
    }
    return [{ id, user, name, resource, scopes: [...scopes], hash, ...times }]
  })
}

function describeKey({ id, accountId, resource, scopes }: StoredApiKey) {
  return { keyId: id, accountId, resource, scopes, by: 'operator' } as const
}

function pick<T>(value: T, members: readonly (keyof T)[]): Partial<T> {
  const kept = members.filter((member) => value[member] !== undefined)
  return Object.fromEntries(kept.map((member) => [member, value[member]])) as unknown as Partial<T>
}

function listOtherSettings(
  written: Config | undefined,
  loaded: Pick<LoadedConfig, 'config' | 'folder'>,
): string[] {
  if (!written) return []
  const here = exportConfig(loaded) as Record<string, unknown>
  const there = written as unknown as Record<string, unknown>
  const members = [...new Set([...Object.keys(here), ...Object.keys(there)])]
  return differ(here, there, members)
}
