import type { Changes, Present } from '../admin/import-plan.ts'
import type { TransferStore } from '../admin/transfer.ts'
import type { Clock } from '../clock.ts'
import { PortreeveError } from '../errors.ts'
import type { Transaction } from 'kysely'
import { createAccountStore } from './accounts.ts'
import { createApiKeyStore, insertApiKey } from './api-keys.ts'
import { createClientStore } from './clients.ts'
import type { Database } from './database.ts'
import { endAccess } from './end-access.ts'
import { lockModels } from './locks.ts'
import type { Schema } from './schema.ts'

export function createTransferStore(database: Database, clock: Clock): TransferStore {
  return {
    change: <Decided extends Changes>(decide: (present: Present) => Decided) =>
      database.kysely.transaction().execute(async (transaction) => {
        // The same stores, in this one transaction. Of their methods only those that begin none are used.
        const inside = { ...database, kysely: transaction }
        const accounts = createAccountStore(inside, clock)
        const clients = createClientStore(inside, clock)
        const decided = decide({
          accounts: await accounts.list(),
          clients: await clients.list(),
          apiKeys: await createApiKeyStore(inside, clock).list(),
        })
        for (const account of decided.newAccounts) {
          refuseLost(await accounts.insert(account), `The user ${account.username}`)
        }
        for (const client of decided.newClients) {
          refuseLost(await clients.insert(client), `The client ${client.id}`)
        }
        for (const client of decided.clients) {
          refuseLost(await clients.update(client), `The client ${client.id}`)
        }
        // Last, because whoever ends access keeps everybody waiting until the end.
        for (const { account, endsAccess } of decided.accounts) {
          const unit = { database, transaction, clock }
          if (endsAccess) await endAccess(unit, 'user', account.id, 'user_changed')
          const changed = endsAccess ? { ...account, accessEndedAt: clock.now() } : account
          refuseLost(await accounts.update(changed), `The user ${account.username}`)
        }
        await insertKeys(database, transaction, decided.newApiKeys)
        return decided
      }),
  }
}

/** After whatever ends access, and while nobody else does. */
async function insertKeys(
  database: Database,
  transaction: Transaction<Schema>,
  keys: Changes['newApiKeys'],
): Promise<void> {
  if (keys.length === 0) return
  await database.lock(transaction, async () => lockModels)
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
  const message = `${what} has just been added or removed by another program. Nothing was changed: try again.`
  throw new PortreeveError('conflict', message)
}
