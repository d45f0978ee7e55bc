import { setTimeout as wait } from 'node:timers/promises'
import { createClient, ErrorReply } from 'redis'
import { PortreeveError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { createBreaker } from './breaker.ts'

const CONNECT_TIMEOUT_MS = 2000
const COMMAND_TIMEOUT_MS = 3000
/** A connection on which nothing comes for so long is given up, although pings are sent on it. */
const SILENCE_TIMEOUT_MS = 4000
const PING_EVERY_MS = 1500
const LONGEST_PAUSE_MS = 1000

export type RedisClient = ReturnType<typeof createRedisClient>

export interface Redis extends AsyncDisposable {
  /** Of the URL; notices about keys name it. */
  readonly database: number
  readonly client: RedisClient
  /**
   * Runs commands. Throws `busy` where Redis does not answer: the first time within three seconds, and
   * then at once, until it answers again.
   */
  run<T>(work: (client: RedisClient) => Promise<T>): Promise<T>
  /** A connection of its own, for what is heard on it. Not connected yet. */
  duplicate(): RedisClient
}

/** Connects. Throws `storage_failed` where that fails, without the URL's password. */
export async function openRedis(url: string, log: Logger): Promise<Redis> {
  const report = createReport(log)
  const client = createRedisClient(url)
  client.on('error', report.failed)
  client.on('ready', report.ready)
  const { hostname, port, pathname } = new URL(url)
  const connected = client.connect().then(() => undefined)
  const failure = await Promise.race([
    connected.catch(String),
    wait(CONNECT_TIMEOUT_MS, 'time-out'),
  ])
  if (failure !== undefined) {
    client.destroy()
    const where = `${hostname}:${port === '' ? 6379 : port}`
    throw new PortreeveError('storage_failed', `Cannot reach Redis at ${where}: ${failure}`)
  }
  const breaker = createBreaker(describeOutage)
  return {
    database: Number(pathname.slice(1)),
    client,
    run: (work) => breaker.run(() => inTime(work(client))),
    duplicate: () => {
      const copy = client.duplicate()
      copy.on('error', report.failed)
      return copy
    },
    async [Symbol.asyncDispose]() {
      client.destroy()
    },
  }
}

function createRedisClient(url: string) {
  return createClient({
    url,
    name: 'portreeve',
    // Requests are refused while it is away: they do not queue.
    disableOfflineQueue: true,
    pingInterval: PING_EVERY_MS,
    socket: {
      connectTimeout: CONNECT_TIMEOUT_MS,
      socketTimeout: SILENCE_TIMEOUT_MS,
      reconnectStrategy: (attempts) => Math.min(50 * 2 ** Math.min(attempts, 6), LONGEST_PAUSE_MS),
    },
  })
}

/** Writes an outage once, not each attempt. */
function createReport(log: Logger) {
  let isFailing = false
  return {
    failed(error: unknown) {
      if (!isFailing) log.error({ event: 'redis_unavailable', err: error })
      isFailing = true
    },
    ready() {
      if (isFailing) log.info({ event: 'redis_available' })
      isFailing = false
    },
  }
}

class CommandTimeout extends Error {
  override readonly name = 'CommandTimeout'
}

async function inTime<T>(work: Promise<T>): Promise<T> {
  const bound = new AbortController()
  const late = wait(COMMAND_TIMEOUT_MS, undefined, { signal: bound.signal, ref: false }).then(
    () => {
      throw new CommandTimeout(`no answer within ${COMMAND_TIMEOUT_MS} ms`)
    },
  )
  // Whichever of the two comes later has nobody who waits for it.
  late.catch(() => {})
  work.catch(() => {})
  try {
    return await Promise.race([work, late])
  } finally {
    bound.abort()
  }
}

/** An answer of Redis itself that says that it cannot do its work now. */
const REFUSALS = /^(?:LOADING|BUSY|OOM|MISCONF|READONLY|MASTERDOWN|CLUSTERDOWN|NOREPLICAS) /

/** What is no answer of Redis is a failure of the connection. */
function describeOutage(cause: unknown): PortreeveError | undefined {
  if (!(cause instanceof Error)) return undefined
  if (cause instanceof ErrorReply && !REFUSALS.test(cause.message)) return undefined
  return new PortreeveError('busy', 'The session store does not answer.', { cause })
}
