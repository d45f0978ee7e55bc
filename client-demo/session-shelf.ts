import { DatabaseSync } from 'node:sqlite'
import { createClient } from 'redis'
import type { World } from './world.ts'

/** Where the authorization server keeps its sessions, for whoever looks in from outside. */
export interface SessionShelf {
  /** What it is, and the command that shows a person the same. */
  readonly place: string
  readonly listCommand: string
  readonly removeCommand: string
  /** Whether the server is told of what vanishes, and revokes what hung on it. */
  readonly isWatched: boolean
  /** The keys of an account's sessions. */
  list(account: string): Promise<readonly string[]>
  remove(keys: readonly string[]): Promise<void>
}

export function chooseShelf({
  databaseFile,
  redisUrl,
}: Pick<World, 'databaseFile' | 'redisUrl'>): SessionShelf {
  return redisUrl === undefined ? createSqliteShelf(databaseFile) : createRedisShelf(redisUrl)
}

function createSqliteShelf(file: string): SessionShelf {
  const withDatabase = <Result>(work: (database: DatabaseSync) => Result): Result => {
    using database = new DatabaseSync(file, { timeout: 5000 })
    return work(database)
  }
  return {
    place: 'SQLite, in the file portreeve.sqlite',
    listCommand: `select key from engine_model where model = 'Session'`,
    removeCommand: `delete from engine_model where model = 'Session' and key = …`,
    isWatched: false,
    list: async (account) =>
      withDatabase((database) =>
        database
          .prepare(`select key from engine_model where model = 'Session' and account_id = ?`)
          .all(account)
          .map(({ key }) => String(key)),
      ),
    async remove(keys) {
      withDatabase((database) => {
        const statement = database.prepare(
          `delete from engine_model where model = 'Session' and key = ?`,
        )
        for (const key of keys) statement.run(key)
      })
    },
  }
}

function createRedisShelf(url: string): SessionShelf {
  const withClient = async <Result>(
    work: (client: ReturnType<typeof createClient>) => Promise<Result>,
  ): Promise<Result> => {
    const client = createClient({ url, socket: { reconnectStrategy: false } })
    // Whoever asks is told as well.
    client.on('error', () => {})
    try {
      await client.connect()
      return await work(client as ReturnType<typeof createClient>)
    } finally {
      client.destroy()
    }
  }
  const command = writeRedisCli(url)
  return {
    place: 'Redis, as keys that begin with session_',
    listCommand: `${command} --scan --pattern 'session_*'`,
    removeCommand: `${command} del session_…`,
    isWatched: true,
    list: (account) =>
      withClient(async (client) => {
        const keys = await client.keys('session_*')
        const values = await Promise.all(keys.map((key) => client.get(key)))
        return keys.filter((_key, index) => readAccount(values[index] ?? '{}') === account)
      }),
    async remove(keys) {
      await withClient((client) => client.del([...keys]))
    },
  }
}

/** Without the password of the URL: whoever types it has that in REDISCLI_AUTH. */
function writeRedisCli(url: string): string {
  const { protocol, hostname, port, pathname } = new URL(url)
  const number = pathname.slice(1)
  return [
    'redis-cli',
    ...(hostname === '127.0.0.1' || hostname === 'localhost' ? [] : ['-h', hostname]),
    ...(port === '' ? [] : ['-p', port]),
    ...(number === '' || number === '0' ? [] : ['-n', number]),
    ...(protocol === 'rediss:' ? ['--tls'] : []),
  ].join(' ')
}

function readAccount(value: string): unknown {
  return (JSON.parse(value) as { readonly accountId?: unknown }).accountId
}
