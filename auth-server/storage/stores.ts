import { Kysely, type Dialect } from 'kysely'
import type { AccountStore } from '../accounts/account.ts'
import type { ClientStore } from '../clients/client.ts'
import type { Clock } from '../clock.ts'
import { PortreeveError } from '../errors.ts'
import type { KeyStore } from '../keys/keyset.ts'
import type { ModelStore } from '../provider/model-store.ts'
import { createAccountStore } from './accounts.ts'
import { createClientStore } from './clients.ts'
import { createKeyStore } from './keys.ts'
import { migrate } from './migrate.ts'
import { createModelStore } from './models.ts'
import type { Schema } from './schema.ts'
import { createSqliteDialect } from './sqlite.ts'

/** Every store of one database, opened together and closed together. */
export interface Stores extends AsyncDisposable {
  readonly accounts: AccountStore
  readonly clients: ClientStore
  readonly keys: KeyStore
  readonly models: ModelStore
  /** Resolves if the database answers. */
  ping(): Promise<void>
}

/**
 * Opens the database and brings its schema forward.
 *
 * `url`: `sqlite:PATH` (an absolute path, or one relative to the working directory) or
 * `sqlite::memory:`. Throws `misconfigured` for anything else and for a database of a newer version,
 * `storage_failed` where the database cannot be opened.
 */
export async function openStores(url: string, clock: Clock): Promise<Stores> {
  const database = new Kysely<Schema>({ dialect: chooseDialect(url) })
  try {
    await migrate(database, clock)
  } catch (cause) {
    await database.destroy()
    if (cause instanceof PortreeveError) throw cause
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new PortreeveError('storage_failed', `Cannot open the database ${url}: ${reason}`, {
      cause,
    })
  }
  return {
    accounts: createAccountStore(database, clock),
    clients: createClientStore(database, clock),
    keys: createKeyStore(database),
    models: createModelStore(database, clock),
    async ping() {
      await database.selectFrom('schema_migration').select('name').limit(1).execute()
    },
    [Symbol.asyncDispose]: () => database.destroy(),
  }
}

function chooseDialect(url: string): Dialect {
  if (url.startsWith('sqlite:')) return createSqliteDialect(url.slice('sqlite:'.length))
  throw new PortreeveError(
    'misconfigured',
    `The database URL must be sqlite:PATH or sqlite::memory:, not ${url.split(':', 1)[0]}:…`,
  )
}
