import { isDeepStrictEqual } from 'node:util'
import type { Account } from '../accounts/account.ts'
import type { Changes, Present } from '../admin/import-plan.ts'
import type { TransferStore } from '../admin/transfer.ts'
import type { Clock } from '../clock.ts'
import { PortreeveError } from '../errors.ts'
import type { Transaction } from 'kysely'
import { createAccountStore, updateRoles } from './accounts.ts'
import { createApiKeyStore, insertApiKey } from './api-keys.ts'
import { createClientStore } from './clients.ts'
import type { Database } from './database.ts'
import { endAccess, lockForEnd } from './end-access.ts'
import type { Schema } from './schema.ts'

export function createTransferStore(database: Database, clock: Clock): TransferStore {
  return {
    change: <Decided extends Changes>(decide: (present: Present) => Decided) =>
      database.kysely.transaction().execute(async (transaction) => {
        await database.lock(transaction, async () => ({ exclusive: [IMPORT] }))
        // The same stores, in this one transaction. Of their methods only those that begin none are used.
        const inside = { ...database, kysely: transaction }
        const accounts = createAccountStore(inside, clock)
        const clients = createClientStore(inside, clock)
        const present = {
          accounts: await accounts.list(),
          clients: await clients.list(),
          apiKeys: await createApiKeyStore(inside).list(),
        }
        const decided = decide(present)
        await lockForImport(database, transaction, decided)
        refuseChanged(
          'user',
          decided.accounts.map(toAccount),
          present.accounts,
          await accounts.list(),
        )
        refuseChanged('client', decided.clients, present.clients, await clients.list())
        for (const account of decided.newAccounts) {
          refuseLost(await accounts.insert(account), `The user ${account.username}`)
        }
        for (const client of decided.newClients) {
          refuseLost(await clients.insert(client), `The client ${client.id}`)
        }
        const wasDisabled = new Map(present.clients.map(({ id, disabled }) => [id, disabled]))
        for (const client of decided.clients) {
          const unit = { database, transaction, clock }
          if (client.disabled && wasDisabled.get(client.id) === false) {
            await endAccess(unit, 'client', client.id, 'client_changed')
          }
          refuseLost(await clients.update(client), `The client ${client.id}`)
        }
        for (const { account, endsAccess } of decided.accounts) {
          const unit = { database, transaction, clock }
          if (endsAccess) await endAccess(unit, 'user', account.id, 'user_changed')
          const { accessEndedAt: _before, ...changes } = account
          refuseLost(await updateRoles(unit, changes), `The user ${account.username}`)
        }
        await insertKeys(database, transaction, decided.newApiKeys)
        return decided
      }),
  }
}

/** One import at a time: two of them would wait for each other's rows. */
const IMPORT = 'import'

/**
 * Before anything is written: whoever ends access takes the models first and then the rows of accounts
 * and clients, and would wait for ours while we wait for the models. The rows that are there stay as
 * they are from then on, or what has been decided on an account could undo that it was disabled.
 */
async function lockForImport(
  database: Database,
  transaction: Transaction<Schema>,
  { accounts, clients, newApiKeys }: Changes,
): Promise<void> {
  const ends = newApiKeys.length > 0 || accounts.length > 0 || clients.length > 0
  if (ends) await lockForEnd({ database, transaction })
  if (!database.skipsLocked) return
  for (const [table, changed] of [['account', accounts] as const, ['client', clients] as const]) {
    if (changed.length === 0) continue
    await transaction.selectFrom(table).select('id').orderBy('id').forNoKeyUpdate().execute()
  }
}

function toAccount({ account }: Changes['accounts'][number]): Account {
  return account
}

interface Named {
  readonly id: string
}

function refuseChanged(
  kind: 'user' | 'client',
  changed: readonly Named[],
  before: readonly Named[],
  now: readonly Named[],
): void {
  const [known, there] = [before, now].map((all) => new Map(all.map((one) => [one.id, one])))
  for (const { id } of changed) {
    const isSame = isDeepStrictEqual(known?.get(id), there?.get(id))
    refuseLost(isSame, `The ${kind} ${id}`)
  }
}

/** After whatever ends access: the models are locked. */
async function insertKeys(
  database: Database,
  transaction: Transaction<Schema>,
  keys: Changes['newApiKeys'],
): Promise<void> {
  for (const key of keys) {
    const account = await transaction
      .selectFrom('account')
      .select('disabled')
      .where('id', '=', key.accountId)
      .executeTakeFirst()
    refuseLost(account?.disabled === 0, `The owner of the API key ${key.id}`)
    refuseLost(await insertApiKey({ database, transaction }, key), `The API key ${key.id}`)
  }
}

/** Another program was faster: what was decided no longer fits. */
function refuseLost(isDone: boolean, what: string): void {
  if (isDone) return
  const message = `${what} has just been added, changed or removed by another program. Nothing was changed: try again.`
  throw new PortreeveError('conflict', message)
}
