import type { AccountStore } from '../accounts/account.ts'
import type { AuditStore } from '../audit/audit.ts'
import type { ClientStore } from '../clients/client.ts'
import type { Clock } from '../clock.ts'
import { PortreeveError } from '../errors.ts'
import type { KeyStore } from '../keys/keyset.ts'
import type { ModelStore } from '../provider/model-store.ts'
import type { RevocationStore } from '../revocation/revocation.ts'
import { createAccountStore } from './accounts.ts'
import { createAuditStore } from './audit.ts'
import { createClientStore } from './clients.ts'
import { prepareRead, type Database } from './database.ts'
import { createKeyStore } from './keys.ts'
import { migrate } from './migrate.ts'
import { createModelStore } from './models.ts'
import { openPostgres } from './postgres.ts'
import { createRevocationStore } from './revocations.ts'
import { openSqlite } from './sqlite.ts'

const MEMORY_URL = 'sqlite::memory:'
const MIGRATION_TIMEOUT_MS = 300_000

/** Every store of one database, opened together and closed together. */
export interface Stores extends AsyncDisposable {
  readonly accounts: AccountStore
  readonly audit: AuditStore
  readonly clients: ClientStore
  readonly keys: KeyStore
  readonly models: ModelStore
  readonly revocations: RevocationStore
  /** Resolves if the database answers. */
  ping(): Promise<void>
}

/**
 * Opens the database and brings its schema forward.
 *
 * `url`: `sqlite:PATH` (an absolute path, or one relative to the working directory),
 * `sqlite::memory:`, or `postgres://…`. Throws `misconfigured` for anything else and for a database of
 * a newer version, `storage_failed` where the database cannot be opened.
 */
export async function openStores(url: string, clock: Clock): Promise<Stores> {
  const database = await openCurrent(url, clock).catch((cause: unknown) => {
    throw describeOpening(url, cause)
  })
  const anything = prepareRead(database, (db) =>
    db.selectFrom('schema_migration').select('name').limit(1),
  )
  return {
    accounts: createAccountStore(database, clock),
    audit: createAuditStore(database),
    clients: createClientStore(database, clock),
    keys: createKeyStore(database),
    models: createModelStore(database, clock),
    revocations: createRevocationStore(database),
    async ping() {
      await anything(1)
    },
    [Symbol.asyncDispose]: () => database[Symbol.asyncDispose](),
  }
}

/** Steps may take longer than a request may, and so does waiting for another server that does them. */
async function openCurrent(url: string, clock: Clock): Promise<Database> {
  await using cleanUp = new AsyncDisposableStack()
  const patient = cleanUp.use(openDatabase(url, MIGRATION_TIMEOUT_MS))
  await migrate(patient, clock)
  if (url !== MEMORY_URL) return openDatabase(url)
  cleanUp.move()
  return patient
}

/** Does not connect yet. `timeoutMs`: how long one statement may take, or wait for a lock. */
export function openDatabase(url: string, timeoutMs?: number): Database {
  if (url.startsWith('sqlite:')) return openSqlite(url.slice('sqlite:'.length), timeoutMs)
  if (/^postgres(?:ql)?:/.test(url)) return openPostgres(url, timeoutMs)
  throw new PortreeveError(
    'misconfigured',
    `The database URL must be sqlite:PATH, sqlite::memory: or postgres://…, not ${url.split(':', 1)[0]}:…`,
  )
}

/** The URL of a database server may hold a password. */
function describeOpening(url: string, cause: unknown): PortreeveError {
  if (cause instanceof PortreeveError && cause.code === 'misconfigured') return cause
  const root = cause instanceof PortreeveError ? cause.cause : cause
  const reason = root instanceof Error ? root.message || root.name : String(root)
  const where = url.startsWith('sqlite:') ? url : hidePassword(url)
  return new PortreeveError('storage_failed', `Cannot open the database ${where}: ${reason}`, {
    cause,
  })
}

function hidePassword(url: string): string {
  return URL.canParse(url) ? `${new URL(url).host}${new URL(url).pathname}` : 'of the configuration'
}
