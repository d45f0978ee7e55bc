import { execFileSync } from 'node:child_process'
import { chownSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { Client } from 'pg'
import { makeFolder } from '../folder.ts'
import { requireEngine } from './find.ts'
import { findFreePort, startService, type Service } from './service.ts'

export interface Postgres extends Service {
  /** Of the database that is there at the start. */
  readonly url: string
  /** The URL of an empty database. */
  createDatabase(): Promise<string>
}

export interface PostgresOptions {
  /** Whether commits reach the disk. Default: they do not, because tests kill no machine. */
  readonly durable?: boolean
}

const USER = 'portreeve'

/** An instance of its own, which listens on loopback and trusts everybody there. */
export async function startPostgres({ durable = false }: PostgresOptions = {}): Promise<Postgres> {
  const command = requireEngine('postgres')
  const folder = makeFolder()
  const data = folder.file('data')
  const user = findUser()
  if (user) chownSync(folder.path, user.uid, user.gid)
  execFileSync(
    path.join(path.dirname(command), 'initdb'),
    ['-D', data, '-U', USER, '--auth=trust', '--no-sync', '--encoding=UTF8', '--locale=C'],
    { cwd: folder.path, env: { LC_ALL: 'C.UTF-8' }, stdio: 'pipe', ...user },
  )
  const port = await findFreePort()
  const urlOf = (database: string) => `postgres://${USER}@127.0.0.1:${port}/${database}`
  const service = await startService({
    command,
    args: ['-D', data, ...settings(port, folder.path, durable)],
    folder: folder.path,
    user,
    probe: () => ask(urlOf('postgres'), 'select 1'),
    remove: () => folder[Symbol.dispose](),
  })
  let count = 0
  const createDatabase = async () => {
    count += 1
    const name = `portreeve_${count}`
    await ask(urlOf('postgres'), `create database ${name}`)
    return urlOf(name)
  }
  const url = await createDatabase().catch(async (error: unknown) => {
    await service[Symbol.asyncDispose]()
    throw error
  })
  return { ...service, url, createDatabase }
}

function settings(port: number, folder: string, durable: boolean): string[] {
  const all = {
    port,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: folder,
    max_connections: 200,
    shared_buffers: '32MB',
    fsync: durable,
    synchronous_commit: durable,
  }
  return Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`])
}

async function ask(url: string, statement: string): Promise<void> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 2000 })
  try {
    await client.connect()
    await client.query(statement)
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
