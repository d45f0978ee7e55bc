import { setTimeout as wait } from 'node:timers/promises'
import { createClient, ErrorReply } from 'redis'
import { PortreeveError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { createBreaker } from './breaker.ts'

const CONNECT_TIMEOUT_MS = 2000
const COMMAND_TIMEOUT_MS = 2000
/** A connection on which nothing comes for so long is given up, although pings are sent on it. */
const SILENCE_TIMEOUT_MS = 3000
const PING_EVERY_MS = 1000
const LONGEST_PAUSE_MS = 1000
const CLOSE_TIMEOUT_MS = 1000
const DEFAULT_PORT = 6379

export type RedisClient = ReturnType<typeof createRedisClient>

export interface Redis extends AsyncDisposable {
  /** Of the URL; notices about keys name it. */
  readonly database: number
  readonly client: RedisClient
  /**
   * Runs commands. Throws `busy` where Redis does not answer: the first time within two seconds, and
   * then at once, until it answers again.
   */
  run<T>(work: (client: RedisClient) => Promise<T>): Promise<T>
  /** A connection of its own, for what is heard on it. Its errors are its owner's. Throws `busy`. */
  connect(): Promise<RedisClient>
}

/** Connects. Throws `storage_failed` where that fails, without the URL's password. */
export async function openRedis(url: string, log: Logger): Promise<Redis> {
  const report = createReport(log)
  const client = await connectTo(url).catch((cause: unknown) => {
    throw describeOpening(url, cause)
  })
  client.on('error', report.failed)
  client.on('ready', report.ready)
  const breaker = createBreaker(describeOutage)
  // A connection that answers nothing may lead to a machine that is gone: the next one finds out.
  const renew = () => {
    if (!client.isReady) return
    report.failed(new CommandTimeout())
    client.destroy()
    client.connect().catch(report.failed)
  }
  return {
    database: Number(new URL(url).pathname.slice(1)),
    client,
    async run(work) {
      try {
        return await breaker.run(() => answerInTime(work(client), renew))
      } catch (error) {
        throw describeRefusal(error) ?? error
      }
    },
    async connect() {
      try {
        return await connectTo(url)
      } catch (cause) {
        throw describeOutage(cause) ?? cause
      }
    },
    async [Symbol.asyncDispose]() {
      // What was asked last, when an answer had gone out, is done as well.
      const closed = client.isReady ? client.close() : undefined
      await Promise.race([closed, wait(CLOSE_TIMEOUT_MS, undefined, { ref: false })])
      client.destroy()
    },
  }
}

/** Answers a client that has been connected, and connects again by itself from then on. */
async function connectTo(url: string): Promise<RedisClient> {
  let isOpen = false
  const client = createRedisClient(url, () => isOpen)
  // Whoever has the client adds what is done about them; without any the process would end.
  client.on('error', () => {})
  await client.connect()
  isOpen = true
  return client
}

function createRedisClient(url: string, mayReconnect: () => boolean) {
  return createClient({
    url,
    name: 'portreeve',
    // Requests are refused while it is away: they do not queue.
    disableOfflineQueue: true,
    pingInterval: PING_EVERY_MS,
    // It would only bound the time until a command is sent, and a timer each is much.
    commandOptions: { timeout: 0 },
    maintNotifications: 'disabled',
    socket: {
      connectTimeout: CONNECT_TIMEOUT_MS,
      socketTimeout: SILENCE_TIMEOUT_MS,
      reconnectStrategy: (attempts) =>
        mayReconnect() && Math.min(50 * 2 ** Math.min(attempts, 6), LONGEST_PAUSE_MS),
    },
  })
}

function describeOpening(url: string, cause: unknown): PortreeveError {
  const { hostname, port } = new URL(url)
  const where = `${hostname}:${port === '' ? DEFAULT_PORT : port}`
  // Where a name has several addresses, each has failed in its own way.
  const first: unknown = cause instanceof AggregateError ? cause.errors[0] : cause
  const reason = first instanceof Error ? first.message || first.name : String(first)
  const message = `Cannot reach Redis at ${where}: ${reason.replace(/\.$/, '')}. ${mend(first)}`
  return new PortreeveError('storage_failed', message)
}

function mend(cause: unknown): string {
  const setting = 'REDIS_URL or redis.url'
  return cause instanceof ErrorReply && /^(?:WRONGPASS|NOAUTH|ERR AUTH)/.test(cause.message)
    ? `See that the password in ${setting} is right.`
    : `See that Redis runs there and takes connections, or change the address: ${setting}.`
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

  constructor() {
    super(`no answer within ${COMMAND_TIMEOUT_MS} ms`)
  }
}

function answerInTime<T>(work: Promise<T>, onLate: () => void): Promise<T> {
  return new Promise((resolve, reject) => {
    let isOver = false
    const giveUp = () => {
      if (isOver) return
      reject(new CommandTimeout())
      onLate()
    }
    // If this process was busy, the answer may be there and only not have been read.
    const timer = setTimeout(() => setImmediate(giveUp), COMMAND_TIMEOUT_MS)
    const end = () => {
      isOver = true
      clearTimeout(timer)
    }
    work.finally(end).then(resolve, reject)
  })
}

/** Redis answers that it cannot do anything now. */
const OUTAGES = /^(?:LOADING|BUSY|MASTERDOWN|CLUSTERDOWN) /
/** It can be read but not written: it is full, cannot save, or is a replica. */
const REFUSALS = /^(?:OOM|MISCONF|READONLY|NOREPLICAS) /

/** What is no answer of Redis is a failure of the connection. */
function describeOutage(cause: unknown): PortreeveError | undefined {
  if (!(cause instanceof Error)) return undefined
  if (cause instanceof ErrorReply && !OUTAGES.test(cause.message)) return undefined
  return new PortreeveError('busy', 'The session store does not answer.', { cause })
}

function describeRefusal(cause: unknown): PortreeveError | undefined {
  if (!(cause instanceof ErrorReply) || !REFUSALS.test(cause.message)) return undefined
  return new PortreeveError('busy', 'The session store takes no changes.', { cause })
}
