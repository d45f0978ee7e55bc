import { randomUUID } from 'node:crypto'
import { ErrorReply } from 'redis'
import type { Logger } from '../log.ts'
import type { Redis, RedisClient } from './redis.ts'

const SETTING = 'notify-keyspace-events'
/** Notices about keys (E) when they are deleted or renamed (g), expire (x) or are evicted (e). */
const WANTED = ['E', 'g', 'x', 'e']
/** `A` stands for all of them but `E`. */
const ALL = 'A'
const PROBE_PREFIX = 'portreeve_probe_'
const PROBE_TIMEOUT_MS = 500
const LATE =
  'Until then a session whose key is deleted is refused at once, but what it has given out is revoked up to 30 s late.'

export interface Notices {
  /** Asks Redis to tell of keys, where it does not yet. */
  request(): Promise<void>
  /** Answers, and logs, what an operator has to do where Redis does not tell of keys. */
  check(): Promise<string | undefined>
  /** To be called for what is heard of keys that are no sessions. */
  heard(name: string): void
}

/** `deafness`: what Redis said to whoever wanted to listen, if it refused. */
export function createNotices(
  redis: Redis,
  log: Logger,
  deafness: () => ErrorReply | undefined,
): Notices {
  const probes = new Map<string, () => void>()
  let refused: Refused | undefined
  let known: string | undefined

  /** Whether Redis tells of a key that is deleted now. */
  const tells = async (client: RedisClient) => {
    const name = PROBE_PREFIX + randomUUID()
    const heard = new Promise<boolean>((resolve) => {
      probes.set(name, () => resolve(true))
      setTimeout(() => resolve(false), PROBE_TIMEOUT_MS).unref()
    })
    await client.set(name, '1', { expiration: { type: 'EX', value: 10 } })
    await client.del(name)
    return heard.finally(() => probes.delete(name))
  }
  const findRemedy = async () => {
    const deaf = deafness()
    if (deaf) return describeDeafness(redis.database, deaf)
    if (refused === undefined || (await redis.run(tells))) return undefined
    return describeSilence(refused)
  }
  return {
    async request() {
      refused = await redis.run(turnOn)
    },
    async check() {
      const remedy = await findRemedy()
      if (remedy !== undefined && remedy !== known) {
        log.warn({ event: 'redis_notices_off', remedy })
      }
      if (remedy === undefined && known !== undefined) log.info({ event: 'redis_notices_on' })
      known = remedy
      return remedy
    },
    heard: (name) => probes.get(name)?.(),
  }
}

interface Refused {
  readonly by: ErrorReply
  /** What the setting should be. */
  readonly wanted: string
}

/** Adds what is needed to what an operator has set. */
async function turnOn(client: RedisClient): Promise<Refused | undefined> {
  let wanted = WANTED.join('')
  try {
    const { [SETTING]: set = '' } = await client.configGet(SETTING)
    const missing = WANTED.filter(
      (letter) => !set.includes(letter) && (letter === 'E' || !set.includes(ALL)),
    )
    if (missing.length === 0) return undefined
    wanted = set + missing.join('')
    await client.configSet(SETTING, wanted)
    return undefined
  } catch (error) {
    if (error instanceof ErrorReply) return { by: error, wanted }
    throw error
  }
}

function describeSilence({ by, wanted }: Refused): string {
  const value = /^\w+$/.test(wanted) ? wanted : `'${wanted}'`
  return `Redis does not tell of deleted keys, and this server may not make it (${by.message}). Run: redis-cli CONFIG SET ${SETTING} ${value} (where CONFIG is taken away, put "${SETTING} ${wanted}" into redis.conf). ${LATE}`
}

function describeDeafness(database: number, by: ErrorReply): string {
  return `This server may not listen to Redis (${by.message}). Run, with the name of its user: redis-cli ACL SETUSER NAME "&__keyevent@${database}__:*", and start it again. ${LATE}`
}
