import type { AccountStore } from '../accounts/account.ts'
import type { TransferStore } from '../admin/transfer.ts'
import type { ApiKeyStore } from '../api-keys/api-key.ts'
import type { AuditStore } from '../audit/audit.ts'
import type { LogoutQueue } from '../backchannel/logout-queue.ts'
import type { ClientStore } from '../clients/client.ts'
import type { ClientDocumentStore } from '../clients/document.ts'
import type { RegistrationStore } from '../clients/registration.ts'
import type { Clock } from '../clock.ts'
import { PortreeveError } from '../errors.ts'
import type { Events } from '../events.ts'
import type { KeyStore } from '../keys/keyset.ts'
import type { Logger } from '../log.ts'
import type { ModelStore } from '../provider/model-store.ts'
import type { OwnAccessStore } from '../provider/own-access-store.ts'
import type { AccessStore } from '../revocation/access.ts'
import type { ReceiverStore } from '../revocation/receiver.ts'
import type { RevocationStore } from '../revocation/revocation.ts'
import { limitInMemory, type CreateLimiter } from '../throttle.ts'
import { createAccessStore } from './access.ts'
import { createAccountStore } from './accounts.ts'
import { createApiKeyStore } from './api-keys.ts'
import { createAuditStore } from './audit.ts'
import { createClientDocumentStore } from './client-documents.ts'
import { createClientStore } from './clients.ts'
import { prepareRead, type Database, type DatabaseOptions } from './database.ts'
import { createKeyStore } from './keys.ts'
import { createLogoutQueue } from './logouts.ts'
import { migrate } from './migrate.ts'
import { createModelStore, type SqlModelStore } from './models.ts'
import { createOwnAccessStore } from './own-access.ts'
import { openPostgres } from './postgres.ts'
import { limitInRedis } from './redis-limits.ts'
import { keepInRedis } from './redis-models.ts'
import { watchSessions } from './redis-watch.ts'
import { openRedis } from './redis.ts'
import { createReceiverStore } from './receivers.ts'
import { createRegistrationStore } from './registrations.ts'
import { createRevocationStore } from './revocations.ts'
import { openSqlite } from './sqlite.ts'
import { createTransferStore } from './transfer.ts'

const MEMORY_URL = 'sqlite::memory:'
const MIGRATION_TIMEOUT_MS = 300_000

/** Every store of one database, opened together and closed together. */
export interface Stores extends AsyncDisposable {
  readonly access: AccessStore
  readonly accounts: AccountStore
  readonly apiKeys: ApiKeyStore
  readonly audit: AuditStore
  readonly clients: ClientStore
  readonly documents: ClientDocumentStore
  readonly keys: KeyStore
  readonly logouts: LogoutQueue
  readonly models: ModelStore
  readonly ownAccess: OwnAccessStore
  readonly registrations: RegistrationStore
  readonly receivers: ReceiverStore
  readonly revocations: RevocationStore
  readonly transfer: TransferStore
  /** Counters of guesses. */
  readonly createLimiter: CreateLimiter
  /** What the stores stand on, by name. Each resolves if it answers. */
  readonly pings: Readonly<Record<string, () => Promise<void>>>
  /** What an operator should know, with the command that mends it. */
  readonly warnings: readonly string[]
  /** No events come any more; everything else goes on. */
  stopWatching(): Promise<void>
}

export interface RedisOptions {
  readonly url: string
  readonly log: Logger
  /** Is told of what is found in Redis, from the opening on. Default: nobody. */
  readonly events?: Pick<Events, 'sessionDeleted'> | undefined
}

export interface StoresOptions {
  /** Where sessions and whatever else may expire is kept. Default: with everything else. */
  readonly redis?: RedisOptions | undefined
  /** Takes the place of the database's own clock, for tests. Default: SQLite has that of the process. */
  readonly databaseClock?: Clock | undefined
}

/**
 * Opens the database and brings its schema forward.
 *
 * `url`: `sqlite:PATH` (an absolute path, or one relative to the working directory),
 * `sqlite::memory:`, or `postgres://…`. Throws `misconfigured` for anything else and for a database of
 * a newer version, `storage_failed` where the database cannot be opened.
 */
export async function openStores(
  url: string,
  clock: Clock,
  { redis, databaseClock }: StoresOptions = {},
): Promise<Stores> {
  await using cleanUp = new AsyncDisposableStack()
  const database = cleanUp.use(
    await openCurrent(url, clock, databaseClock).catch((cause: unknown) => {
      throw describeOpening(url, cause)
    }),
  )
  const sql = createModelStore(database, clock)
  const perishable = redis && cleanUp.use(await openPerishable({ ...redis, database, sql, clock }))
  const anything = prepareRead(database, (db) =>
    db.selectFrom('schema_migration').select('name').limit(1),
  )
  const opened = cleanUp.move()
  return {
    access: createAccessStore(database, clock),
    accounts: createAccountStore(database, clock),
    apiKeys: createApiKeyStore(database),
    audit: createAuditStore(database),
    clients: createClientStore(database, clock),
    documents: createClientDocumentStore(database, clock),
    keys: createKeyStore(database),
    logouts: createLogoutQueue(database),
    models: perishable?.models ?? sql,
    ownAccess: createOwnAccessStore(database, clock),
    registrations: createRegistrationStore(database, clock),
    receivers: createReceiverStore(database),
    revocations: createRevocationStore(database),
    transfer: createTransferStore(database, clock),
    createLimiter: perishable?.createLimiter ?? limitInMemory,
    pings: {
      async database() {
        await anything(1)
      },
      ...(perishable ? { redis: perishable.ping } : {}),
    },
    warnings: perishable?.warnings ?? [],
    async stopWatching() {
      await perishable?.stopWatching()
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  }
}

interface PerishableOptions extends RedisOptions {
  readonly database: Database
  readonly sql: SqlModelStore
  readonly clock: Clock
}

const NOBODY: Pick<Events, 'sessionDeleted'> = { sessionDeleted: () => {} }

/** What may expire, in Redis, looked after while it is open. */
async function openPerishable({ url, events = NOBODY, ...collaborators }: PerishableOptions) {
  await using cleanUp = new AsyncDisposableStack()
  const redis = cleanUp.use(await openRedis(url, collaborators.log))
  const installation = await nameInstallation(collaborators.database)
  const shared = { ...collaborators, redis, installation, events }
  const models = keepInRedis(shared)
  const watch = cleanUp.use(await watchSessions({ ...shared, models }))
  const running = cleanUp.move()
  return {
    models,
    warnings: watch.warnings,
    stopWatching: () => watch[Symbol.asyncDispose](),
    createLimiter: limitInRedis(redis),
    async ping() {
      await redis.run((client) => client.ping())
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

/** Tells databases apart that were given one Redis: each was made at another moment. */
async function nameInstallation({ kysely }: Database): Promise<string> {
  const first = await kysely
    .selectFrom('schema_migration')
    .select('applied_at')
    .orderBy('name')
    .limit(1)
    .executeTakeFirstOrThrow()
  return first.applied_at.toString(36)
}

/** Steps may take longer than a request may, and so does waiting for another server that does them. */
async function openCurrent(
  url: string,
  clock: Clock,
  databaseClock: Clock | undefined,
): Promise<Database> {
  await using cleanUp = new AsyncDisposableStack()
  const options = { clock: databaseClock ?? (isFile(url) ? clock : undefined) }
  const patient = cleanUp.use(openDatabase(url, { ...options, timeoutMs: MIGRATION_TIMEOUT_MS }))
  await migrate(patient, clock)
  if (url !== MEMORY_URL) return openDatabase(url, options)
  cleanUp.move()
  return patient
}

const FILE = 'sqlite:'

function isFile(url: string): boolean {
  return url.startsWith(FILE)
}

/** Does not connect yet. */
export function openDatabase(url: string, options?: DatabaseOptions): Database {
  if (isFile(url)) return openSqlite(url.slice(FILE.length), options)
  if (/^postgres(?:ql)?:/.test(url)) return openPostgres(url, options)
  throw new PortreeveError(
    'misconfigured',
    `The database URL must be sqlite:PATH, sqlite::memory: or postgres://…, not ${url.split(':', 1)[0]}:…`,
  )
}

/** The URL of a database server may hold a password. */
function describeOpening(url: string, cause: unknown): PortreeveError {
  if (cause instanceof PortreeveError && cause.code === 'misconfigured') return cause
  const outer = cause instanceof PortreeveError ? cause.cause : cause
  // Where a name has several addresses, each has failed in its own way.
  const root: unknown = outer instanceof AggregateError ? outer.errors[0] : outer
  const reason = root instanceof Error ? root.message || root.name : String(root)
  const where = isFile(url) ? url : hidePassword(url)
  const remedy = isFile(url) ? mendFile(reason) : mendServer(root)
  const message = `Cannot open the database ${where}: ${reason.replace(/\.$/, '')}. ${remedy}`
  return new PortreeveError('storage_failed', message, { cause })
}

const SETTING = 'DATABASE_URL or database.url'

function mendFile(reason: string): string {
  return /not a database/.test(reason)
    ? `That file is something else: name another one with ${SETTING}.`
    : `It is named by ${SETTING}: its folder has to exist, and this user to be able to write there.`
}

/** By SQLSTATE, where the server has answered at all. */
function mendServer(cause: unknown): string {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
  if (code.startsWith('28')) return `See that the user and the password in ${SETTING} are right.`
  if (code === '3D000')
    return `Make it first (docs/deployment.md), or name another with ${SETTING}.`
  if (code === '42501') return `The user in ${SETTING} has to own it (docs/deployment.md).`
  return `See that PostgreSQL runs there and takes connections, or change the address: ${SETTING}.`
}

function hidePassword(url: string): string {
  return URL.canParse(url) ? `${new URL(url).host}${new URL(url).pathname}` : 'of the configuration'
}
