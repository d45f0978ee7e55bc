import { execFile } from 'node:child_process'
import { chownSync, readFileSync, realpathSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { Client } from 'pg'
import { makeFolder } from '../folder.ts'
import { requireEngine } from './find.ts'
import { startService, type Service } from './service.ts'

export interface Postgres extends Service {
  /** Of the database that is there at the start. */
  readonly url: string
  /** The URL of another, empty database. */
  createDatabase(): Promise<string>
}

export interface PostgresOptions {
  /**
   * Whether a commit waits for the disk. Where it does not, commits outlive a crash of PostgreSQL all
   * the same, but not one of the machine. Default: it does.
   */
  readonly fsync?: boolean
}

const NAME = 'portreeve'
const CONNECT_TIMEOUT_MS = 2000
/** The longest is to make a database on a busy disk. */
const ANSWER_TIMEOUT_MS = 30_000

/** An instance of its own, which listens on loopback and trusts everybody there. */
export async function startPostgres({ fsync = true }: PostgresOptions = {}): Promise<Postgres> {
  // Beside a link to `postgres` there need not be an `initdb`.
  const command = realpathSync(requireEngine('postgres'))
  await using made = new AsyncDisposableStack()
  const folder = made.use(makeFolder())
  const user = findUser()
  if (user) chownSync(folder.path, user.uid, user.gid)
  const data = folder.file('data')
  await promisify(execFile)(
    path.join(path.dirname(command), 'initdb'),
    ['-D', data, '-U', NAME, '--auth=trust', '--no-sync', '--encoding=UTF8', '--locale=C'],
    { cwd: folder.path, env: { LC_ALL: 'C.UTF-8' }, ...user },
  )
  const service = made.use(
    await startService({
      command,
      args: (port) => ['-D', data, ...settings(port, folder.path, fsync)],
      folder: folder.path,
      user,
      // After a SIGKILL its shared memory would stay behind.
      endSignal: 'SIGQUIT',
      probe: (port) => probe(port, data),
    }),
  )
  let count = 0
  const createDatabase = async (name = `${NAME}_${(count += 1)}`) => {
    await ask(urlOf(service.port, 'postgres'), `create database ${name}`)
    return urlOf(service.port, name)
  }
  const url = await createDatabase(NAME)
  const owned = made.move()
  return {
    ...service,
    url,
    createDatabase: () => createDatabase(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

function urlOf(port: number, database: string): string {
  return `postgres://${NAME}@127.0.0.1:${port}/${database}`
}

function settings(port: number, folder: string, fsync: boolean): string[] {
  const all = {
    port,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: folder,
    max_connections: 200,
    shared_buffers: '32MB',
    fsync,
  }
  return Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`])
}

/** Another PostgreSQL may have got the port. */
async function probe(port: number, data: string): Promise<void> {
  const [row] = await ask(urlOf(port, 'postgres'), 'show data_directory')
  if (row?.['data_directory'] !== data) throw new Error('another PostgreSQL')
}

async function ask(url: string, statement: string): Promise<readonly Record<string, unknown>[]> {
  const client = new Client({
    connectionString: url,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    query_timeout: ANSWER_TIMEOUT_MS,
  })
  // The rejection of what is asked says the same.
  client.on('error', () => {})
  try {
    await client.connect()
    const { rows } = await client.query<Record<string, unknown>>(statement)
    return rows
  } finally {
    await client.end()
  }
}

/** PostgreSQL refuses to run as root: there somebody else has to. */
function findUser(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined
  const lines = readFileSync('/etc/passwd', 'utf8').split('\n')
  const find = (name: string) => lines.find((line) => line.startsWith(`${name}:`))?.split(':')
  const [, , uid, gid] = find('postgres') ?? find('nobody') ?? []
  if (uid === undefined || gid === undefined)
    throw new Error('no user that PostgreSQL could run as')
  return { uid: Number(uid), gid: Number(gid) }
}
