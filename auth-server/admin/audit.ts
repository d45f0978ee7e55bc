import type { AccountStore } from '../accounts/account.ts'
import {
  verifyLog,
  type Actor,
  type AuditBreak,
  type AuditEntry,
  type AuditHead,
  type AuditKey,
  type AuditStore,
} from '../audit/audit.ts'
import type { ClientStore } from '../clients/client.ts'
import { formatTime } from '../clock.ts'
import { echo } from '../config/echo.ts'
import { normalizeUsername } from '../config/username.ts'
import { PortreeveError } from '../errors.ts'

/** An entry of the audit log as it is shown. */
export interface AuditEntryView {
  readonly sequence: number
  /** ISO 8601. */
  readonly at: string
  readonly event: string
  readonly by: Actor
  readonly accountId: string | undefined
  /** What the account is called now; `undefined` for one that was removed. */
  readonly username: string | undefined
  readonly clientId: string | undefined
  readonly requestId: string | undefined
  readonly facts: unknown
  readonly previous: string
  readonly hash: string
}

export interface AuditQuery {
  /** A username, or an id, which may be that of a user who was removed. */
  readonly user?: string | undefined
  readonly client?: string | undefined
  /** Milliseconds since the epoch. */
  readonly since?: number | undefined
  readonly limit: number
}

export interface AuditList {
  /** The newest ones, the oldest of them first. */
  readonly entries: readonly AuditEntryView[]
  /** Whether older ones were left out. */
  readonly more: boolean
}

export interface AuditOperations {
  /** Throws `not_found` for a user or a client that neither is there nor ever was. */
  list(query: AuditQuery): Promise<AuditList>
  /**
   * Reads the whole log. Throws `tampered` where it is not as it was written, with the first such place
   * as the cause. What it proves, and what it does not: see `verifyLog`.
   */
  verify(
    key: AuditKey,
    noted?: AuditHead,
  ): Promise<{ readonly entries: number; readonly head: AuditHead | undefined }>
}

export interface AuditOperationCollaborators {
  readonly audit: AuditStore
  readonly accounts: AccountStore
  readonly clients: ClientStore
}

export function createAuditOperations({
  audit,
  accounts,
  clients,
}: AuditOperationCollaborators): AuditOperations {
  const findAccountId = async (name: string): Promise<string> => {
    const account =
      (await accounts.findByUsername(normalizeUsername(name))) ?? (await accounts.findById(name))
    if (account) return account.id
    if ((await audit.list({ accountId: name }, 1)).length > 0) return name
    const hint = 'Somebody who was removed is found by the id alone.'
    throw new PortreeveError('not_found', `There is no user ${echo(name)}. ${hint}`)
  }
  const findClientId = async (id: string): Promise<string> => {
    if (await clients.findById(id)) return id
    if ((await audit.list({ clientId: id }, 1)).length > 0) return id
    throw new PortreeveError('not_found', `There is no client ${echo(id)}, and never was.`)
  }
  const findUsernames = async (entries: readonly AuditEntry[]) => {
    const ids = new Set(entries.flatMap(({ accountId }) => accountId ?? []))
    const names = new Map<string, string | undefined>()
    for (const id of ids) names.set(id, (await accounts.findById(id))?.username)
    return names
  }

  return {
    async list({ user, client, since, limit }) {
      const accountId = user === undefined ? undefined : await findAccountId(user)
      const clientId = client === undefined ? undefined : await findClientId(client)
      const found = await audit.list({ accountId, clientId, since }, limit + 1)
      const entries = found.slice(0, limit).toReversed()
      const names = await findUsernames(entries)
      const view = (entry: AuditEntry) => viewEntry(entry, names.get(entry.accountId ?? ''))
      return { entries: entries.map(view), more: found.length > limit }
    },
    async verify(key, noted) {
      const verdict = await verifyLog(audit, key, noted)
      if (verdict.ok) return verdict
      const { reason } = verdict
      throw new PortreeveError('tampered', describeBreak(reason, key), { cause: reason })
    },
  }
}

function describeBreak({ sequence, what, expected, found }: AuditBreak, key: AuditKey): string {
  const both = `expected ${echo(expected)}, found ${echo(found)}`
  switch (what) {
    case 'sequence':
      return `The audit log is not as it was written: entry ${sequence} is not in its place (${both}).`
    case 'previous':
      return `The audit log is not as it was written: entry ${sequence} does not follow the one before it (${both}).`
    case 'hash': {
      const other = found.startsWith(`${key.id}.`)
        ? ''
        : ' It says that it was written under another root key.'
      return `The audit log is not as it was written: entry ${sequence} was changed or forged (${both}).${other}`
    }
    case 'head':
      return `The audit log is not the one that was noted: entry ${sequence} differs (${both}).`
  }
}

function viewEntry(entry: AuditEntry, username: string | undefined): AuditEntryView {
  const { sequence, at, facts, ...members } = entry
  return { ...members, sequence, at: formatAt(at), username, facts: parseFacts(facts) }
}

const LAST_TIME = 8.64e15

/** Also what somebody else has written there is shown, as it is. */
function formatAt(at: number): string {
  return Math.abs(at) <= LAST_TIME ? formatTime(at) : String(at)
}

function parseFacts(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return text
  }
}
