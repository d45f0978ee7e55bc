import { createClient } from 'redis'
import { makeFolder } from '../folder.ts'
import { requireEngine } from './find.ts'
import { startService, type Service } from './service.ts'

export interface Redis extends Service {
  readonly url: string
}

export interface RedisOptions {
  /** Whether what it holds outlives a stop. Default: it does. */
  readonly durable?: boolean
  /** Further directives, such as `['--maxmemory', '2mb']` or `['--rename-command', 'CONFIG', '']`. */
  readonly directives?: readonly string[]
}

const PROBE_TIMEOUT_MS = 2000

/** An instance of its own, which listens on loopback without a password. */
export async function startRedis({
  durable = true,
  directives = [],
}: RedisOptions = {}): Promise<Redis> {
  const command = requireEngine('redis')
  await using made = new AsyncDisposableStack()
  const folder = made.use(makeFolder())
  const place = ['--bind', '127.0.0.1', '--dir', folder.path, '--daemonize', 'no']
  // What it has answered for is on the disk: `everysec` puts off a write while another one is slow.
  const keeping = ['--save', '', '--appendonly', durable ? 'yes' : 'no', '--appendfsync', 'always']
  const service = made.use(
    await startService({
      command,
      args: (port) => ['--port', String(port), ...place, ...keeping, ...directives],
      folder: folder.path,
      endSignal: 'SIGKILL',
      probe,
    }),
  )
  const owned = made.move()
  return {
    ...service,
    url: urlOf(service.port),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

function urlOf(port: number): string {
  return `redis://127.0.0.1:${port}`
}

/** Another Redis may have got the port. */
async function probe(port: number, pid: number): Promise<void> {
  const client = createClient({
    url: urlOf(port),
    socket: {
      reconnectStrategy: false,
      connectTimeout: PROBE_TIMEOUT_MS,
      socketTimeout: PROBE_TIMEOUT_MS,
    },
  })
  // The rejection of what is asked says the same.
  client.on('error', () => {})
  try {
    await client.connect()
    const about = await client.info('server')
    if (!about.includes(`process_id:${pid}\r\n`)) throw new Error('another Redis')
  } finally {
    client.destroy()
  }
}
