import { createClient } from 'redis'
import { makeFolder } from '../folder.ts'
import { requireEngine } from './find.ts'
import { findFreePort, startService, type Service } from './service.ts'

export interface Redis extends Service {
  readonly url: string
}

export interface RedisOptions {
  /** Whether what it holds outlives a stop. Default: it does. */
  readonly durable?: boolean
  /** Further directives, such as `['--maxmemory', '2mb']`. */
  readonly directives?: readonly string[]
}

/** An instance of its own, which listens on loopback without a password. */
export async function startRedis({
  durable = true,
  directives = [],
}: RedisOptions = {}): Promise<Redis> {
  const command = requireEngine('redis')
  const folder = makeFolder()
  const port = await findFreePort()
  const url = `redis://127.0.0.1:${port}`
  const always = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder.path, '--save', '']
  const keeping = ['--appendonly', durable ? 'yes' : 'no', '--appendfsync', 'always']
  const service = await startService({
    command,
    args: [...always, ...keeping, ...directives],
    folder: folder.path,
    probe: () => ping(url),
    remove: () => folder[Symbol.dispose](),
  })
  return { ...service, url }
}

async function ping(url: string): Promise<void> {
  const client = createClient({ url, socket: { reconnectStrategy: false, connectTimeout: 2000 } })
  // The rejection of `connect` says the same.
  client.on('error', () => {})
  try {
    await client.connect()
    await client.ping()
  } finally {
    client.destroy()
  }
}
