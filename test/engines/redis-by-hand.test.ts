import { createClient } from 'redis'
import { describe, expect, test } from 'vitest'
import { createLog } from '../../auth-server/log.ts'
import { systemClock } from '../../auth-server/clock.ts'
import type { ModelWrite } from '../../auth-server/provider/model-store.ts'
import { openStores, type Stores } from '../../auth-server/storage/stores.ts'
import { needEngines } from '../support/engines/need.ts'
import { startRedis, type Redis, type RedisOptions } from '../support/engines/redis.ts'
import { makeFolder } from '../support/folder.ts'

const { isMissing, note } = needEngines('redis')

/** Within this long a deletion is in the log. */
const SOON = { timeout: 1000, interval: 10 }
/** Within this long what nobody was told of is. */
const LATER = { timeout: 5000, interval: 50 }
const HOUR = 3_600_000

interface World extends AsyncDisposable {
  readonly redis: Redis
  readonly client: Awaited<ReturnType<typeof connect>>
  readonly stores: Stores
  /** Another instance on the same database and Redis. */
  open(): Promise<Stores>
  /** The same database, without Redis. */
  openDatabase(): Promise<Stores>
  logged(): string
}

async function connect(url: string) {
  const client = createClient({ url })
  client.on('error', () => {})
  await client.connect()
  return client
}

async function startWorld(options: RedisOptions = {}, given?: Redis): Promise<World> {
  await using made = new AsyncDisposableStack()
  const redis = given ?? made.use(await startRedis(options))
  const folder = made.use(makeFolder())
  const lines: string[] = []
  const log = createLog('info', { write: (line) => void lines.push(line) })
  const url = `sqlite:${folder.file('a.sqlite')}`
  const open = () => openStores(url, systemClock, { redis: { url: redis.url, log } })
  const client = await connect(redis.url)
  made.defer(() => client.destroy())
  const stores = made.use(await open())
  const owned = made.move()
  return {
    redis,
    client,
    stores,
    open,
    openDatabase: () => openStores(url, systemClock),
    logged: () => lines.join(''),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

/** A session that one client is authorised in. */
function session(
  key: string,
  uid: string,
  client: string,
  replaces?: string,
  expiresAt: number = systemClock.now() + HOUR,
): ModelWrite {
  const authorizations = { [client]: { sid: `sid of ${client}`, grantId: client } }
  return {
    kind: 'put',
    model: 'Session',
    key,
    uid,
    accountId: 'alice',
    payload: { accountId: 'alice', uid, kind: 'Session', loginTs: 1, authorizations },
    expiresAt,
    replaces,
  }
}

const isRevoked = (stores: Stores, client: string) =>
  stores.revocations.isRevoked('session', `sid of ${client}`)

describe.skipIf(isMissing)(`sessions in Redis, by hand${note}`, () => {
  test('end with all that their clients know them by when Redis is emptied', async () => {
    await using world = await startWorld()
    const { stores, client } = world
    for (const uid of ['a', 'b', 'c', 'd', 'e', 'f']) {
      await stores.models.apply([session(`${uid} old`, uid, `${uid} one`)])
      await stores.models.apply([session(`${uid} new`, uid, `${uid} two`, `${uid} old`)])
      await stores.models.apply([session(`${uid} zzz`, uid, `${uid} three`, `${uid} new`)])
    }
    await client.flushAll()
    await expect.poll(() => isRevoked(stores, 'f one'), LATER).toBe(true)
    const ended = []
    for (const uid of ['a', 'b', 'c', 'd', 'e', 'f']) {
      for (const which of ['one', 'two', 'three']) {
        if (await isRevoked(stores, `${uid} ${which}`)) ended.push(`${uid} ${which}`)
      }
    }
    expect(ended).toHaveLength(18)
  })

  test('end although their keys are replaced in the same moment', async () => {
    await using world = await startWorld()
    const { stores, client } = world
    const uids = Array.from({ length: 50 }, (_, n) => `u${n}`)
    for (const uid of uids) {
      await stores.models.apply([session(`${uid} old`, uid, `${uid} one`)])
      // Who has read the old key writes the new one, and the browser comes with that at once.
      const writing = stores.models.apply([session(`${uid} new`, uid, `${uid} two`, `${uid} old`)])
      await client.del(`session_${uid} old`)
      await writing
      await stores.models.apply([{ kind: 'settle', key: `${uid} new` }])
    }
    for (const uid of uids) {
      await expect.poll(() => isRevoked(stores, `${uid} one`), SOON).toBe(true)
      expect(await stores.models.find('Session', `${uid} new`)).toBeUndefined()
      expect(await client.exists(`session_${uid} new`)).toBe(0)
    }
  })

  test('that go on under a new key do so when the old one has expired', async () => {
    await using world = await startWorld()
    const { stores, client } = world
    const past = systemClock.now() - HOUR
    await stores.models.apply([session('old', 'u', 'app', undefined, past)])
    await stores.models.apply([session('new', 'u', 'app', 'old')])
    await client.del('session_old')
    await stores.models.apply([{ kind: 'settle', key: 'new' }])
    expect(await stores.models.find('Session', 'new')).toBeDefined()
    expect(await isRevoked(stores, 'app')).toBe(false)
  })

  test('are listened for again after Redis was restarted with its data', async () => {
    await using world = await startWorld()
    const { stores, redis, client } = world
    await stores.models.apply([session('k', 'u', 'app')])
    await redis.stop()
    await redis.start()
    await expect
      .poll(() => stores.models.find('Session', 'k').catch(() => undefined), LATER)
      .toBeDefined()
    await expect
      .poll(
        async () => (await client.configGet('notify-keyspace-events'))['notify-keyspace-events'],
        LATER,
      )
      .not.toBe('')
    await client.del('session_k')
    await expect.poll(() => isRevoked(stores, 'app'), SOON).toBe(true)
  })

  test.each([
    ['a text', (client: World['client']) => client.set('session_k', 'rubbish')],
    ['a list', (client: World['client']) => client.set('session_k', '[1]')],
    [
      'another type',
      async (client: World['client']) => {
        await client.multi().del('session_k').lPush('session_k', 'x').exec()
      },
    ],
  ])('end when their key is overwritten with %s', async (_what, overwrite) => {
    await using world = await startWorld()
    const { stores, client } = world
    await stores.models.apply([session('k', 'u', 'app')])
    await overwrite(client)
    expect(await stores.models.find('Session', 'k')).toBeUndefined()
    expect(await stores.models.findByUid('Session', 'u')).toBeUndefined()
    await expect.poll(() => isRevoked(stores, 'app'), SOON).toBe(true)
  })

  test('belong to the person in the database, whatever Redis says', async () => {
    await using world = await startWorld()
    const { stores, client } = world
    await stores.models.apply([session('k', 'u', 'app')])
    await client.set('session_k', JSON.stringify({ accountId: 'bob', uid: 'v', kind: 'Session' }))
    expect(await stores.models.find('Session', 'k')).toMatchObject({
      payload: { accountId: 'alice', uid: 'u' },
    })
  })

  test('are swept away where only the database was told, and not those of another installation', async () => {
    await using one = await startWorld()
    await using two = await startWorld({}, one.redis)
    await one.stores.models.apply([session('k', 'u', 'app')])
    await two.stores.models.apply([session('l', 'v', 'app')])
    {
      // As the command line does it.
      await using elsewhere = await two.openDatabase()
      await elsewhere.models.apply([{ kind: 'end-session', uid: 'v' }])
    }
    expect(await two.stores.models.find('Session', 'l')).toBeUndefined()
    const sweep = async () => {
      // Makes both compare.
      await one.client.del('portreeve_watch')
      return one.client.keys('session_*')
    }
    await expect.poll(sweep, { timeout: 20_000, interval: 250 }).toEqual(['session_k'])
    expect(await one.stores.models.find('Session', 'k')).toBeDefined()
    expect(await isRevoked(one.stores, 'app')).toBe(false)
  })

  test('of a database that had no Redis before are signed out, and not revoked', async () => {
    await using world = await startWorld()
    const { stores, client } = world
    {
      await using before = await world.openDatabase()
      await before.models.apply([session('k', 'u', 'app')])
    }
    expect(await stores.models.find('Session', 'k')).toBeUndefined()
    await stores.models.apply([session('l', 'v', 'other')])
    await client.flushAll()
    await expect.poll(() => isRevoked(stores, 'other'), SOON).toBe(true)
    expect(await isRevoked(stores, 'app')).toBe(false)
  })

  test('end when many are deleted at once, and when Redis is emptied of many', async () => {
    await using world = await startWorld({ durable: false })
    const { stores, client } = world
    const people = Array.from({ length: 2000 }, (_, index) => `p${index}`)
    const signIn = (prefix: string) =>
      stores.models.apply(
        people.map((name) => session(prefix + name, prefix + name, prefix + name)),
      )
    const countRevoked = async () => (await stores.revocations.list(0, 10_000)).length
    await signIn('a')
    await client.del(people.map((name) => `session_a${name}`))
    await expect.poll(countRevoked, LATER).toBe(people.length)
    await signIn('b')
    await client.flushDb()
    await expect.poll(countRevoked, LATER).toBe(2 * people.length)
  })
})

describe.skipIf(isMissing)(`changes in Redis and the database${note}`, () => {
  test('of a batch whose proof is a replay are none', async () => {
    await using world = await startWorld()
    const { models } = world.stores
    const row = (kind: 'insert' | 'put', model: string, key: string): ModelWrite => ({
      kind,
      model,
      key,
      payload: {},
      expiresAt: systemClock.now() + HOUR,
    })
    await models.apply([row('insert', 'ReplayDetection', 'p')])
    await models.apply([row('put', 'RefreshToken', 'r')])
    const result = await models.apply([
      { kind: 'consume', model: 'RefreshToken', key: 'r' },
      row('insert', 'ReplayDetection', 'p'),
    ])
    expect(result.outcome).toBe('lost')
    expect(await models.find('RefreshToken', 'r')).toMatchObject({ consumedAt: undefined })
  })
})

describe.skipIf(isMissing)(`a Redis that is full${note}`, () => {
  test('loses no session that it has, and takes none that it cannot keep', async () => {
    await using world = await startWorld()
    const { stores, client } = world
    await stores.models.apply([session('old', 'u', 'app')])
    await client.configSet('maxmemory', '1')
    const replaced = stores.models.apply([session('new', 'u', 'app', 'old')])
    await expect(replaced).rejects.toMatchObject({ code: 'busy' })
    expect(await stores.models.find('Session', 'new')).toBeUndefined()
    expect(await stores.models.findByUid('Session', 'u')).toMatchObject({ key: 'old' })
    await client.configSet('maxmemory', '0')
    await stores.models.apply([session('new', 'u', 'app', 'old')])
    expect(await stores.models.findByUid('Session', 'u')).toMatchObject({ key: 'new' })
    expect(await stores.revocations.list(0, 10)).toEqual([])
  })
})

describe.skipIf(isMissing)(`what Redis may not be asked${note}`, () => {
  const REMEDY = 'redis-cli CONFIG SET notify-keyspace-events'
  const withoutConfig = ['--rename-command', 'CONFIG', '']

  test('need not be asked where an operator has set it', async () => {
    const directives = [...withoutConfig, '--notify-keyspace-events', 'AKE']
    await using world = await startWorld({ directives })
    const { stores, client } = world
    expect(stores.warnings).toEqual([])
    await stores.models.apply([session('k', 'u', 'app')])
    await client.del('session_k')
    await expect.poll(() => isRevoked(stores, 'app'), SOON).toBe(true)
  })

  test('is said, and what was deleted does not rise and is found all the same', async () => {
    await using world = await startWorld({ directives: withoutConfig })
    const { stores, client } = world
    expect(stores.warnings).toEqual([expect.stringContaining(`${REMEDY} Egxe`)])
    expect(world.logged()).toContain(`${REMEDY} Egxe`)
    await stores.models.apply([session('k', 'u', 'app')])
    await client.del('session_k')
    // A request that still holds it.
    await stores.models.apply([session('k', 'u', 'other app')])
    expect(await client.exists('session_k')).toBe(0)
    expect(await stores.models.find('Session', 'k')).toBeUndefined()
    await client.del('portreeve_watch')
    await expect.poll(() => isRevoked(stores, 'app'), SOON).toBe(true)
  })

  test('loses nothing that was deleted and replaced', async () => {
    await using world = await startWorld({ directives: withoutConfig })
    const { stores, client } = world
    await stores.models.apply([session('old', 'u', 'app')])
    await client.del('session_old')
    await stores.models.apply([session('new', 'u', 'app', 'old')])
    await stores.models.apply([{ kind: 'settle', key: 'new' }])
    expect(await isRevoked(stores, 'app')).toBe(true)
    expect(await stores.models.find('Session', 'new')).toBeUndefined()
  })

  test('names what an operator has set, where it can be read and not be changed', async () => {
    await using redis = await startRedis({ directives: ['--notify-keyspace-events', 'Kg$'] })
    const client = await connect(redis.url)
    await client.aclSetUser('limited', ['on', '>its password', '~*', '&*', '+@all', '-config|set'])
    client.destroy()
    const url = redis.url.replace('//', '//limited:its%20password@')
    await using stores = await openStores('sqlite::memory:', systemClock, {
      redis: { url, log: createLog('silent') },
    })
    expect(stores.warnings).toEqual([
      expect.stringMatching(/SET notify-keyspace-events 'g\$KExe' /),
    ])
  })

  test('is little: a user who may not listen, configure or ask about Redis can serve', async () => {
    await using redis = await startRedis()
    const client = await connect(redis.url)
    const commands =
      '+get +mget +set +exists +unlink +del +scan +eval +pttl +incrby +expire +multi +exec +ping +client +hello'
    await client.aclSetUser('limited', ['on', '>pw', '~*', ...commands.split(' ')])
    const lines: string[] = []
    const log = createLog('info', { write: (line) => void lines.push(line) })
    const url = redis.url.replace('//', '//limited:pw@')
    await using stores = await openStores('sqlite::memory:', systemClock, { redis: { url, log } })
    expect(stores.warnings).toEqual([
      expect.stringContaining('ACL SETUSER NAME "&__keyevent@0__:*"'),
    ])
    await stores.models.apply([session('k', 'u', 'app')])
    await client.flushAll()
    client.destroy()
    await expect.poll(() => isRevoked(stores, 'app'), SOON).toBe(true)
    expect(lines.join('')).not.toContain('sessions_not_watched')
  })
})

describe.skipIf(isMissing)(`Redis at the start${note}`, () => {
  const openWith = async (url: string) => {
    await using stores = await openStores('sqlite::memory:', systemClock, {
      redis: { url, log: createLog('silent') },
    })
    await stores.pings['redis']?.()
  }

  test('that wants another password is named with its reason, and without the password', async () => {
    await using redis = await startRedis()
    const client = await connect(redis.url)
    await client.configSet('requirepass', 'the right one')
    client.destroy()
    const wrong = redis.url.replace('//', '//:hunter2@')
    const failure = (await openWith(wrong).catch((error: unknown) => error)) as Error
    expect(failure).toMatchObject({ code: 'storage_failed' })
    expect(failure.cause).toBeUndefined()
    expect(failure.message).toMatch(/^Cannot reach Redis at 127\.0\.0\.1:\d+: WRONGPASS/)
    expect(failure.message).toMatch(/See that the password in REDIS_URL or redis\.url is right\.$/)
    expect(failure.message).not.toContain('hunter2')
    await openWith(redis.url.replace('//', '//:the%20right%20one@'))
  })

  test.each(['127.0.0.1', 'localhost'])(
    'that is not there (%s) is named with its reason',
    async (host) => {
      const failure = openWith(`redis://:hunter2@${host}:1`)
      await expect(failure).rejects.toThrow(
        /^Cannot reach Redis at \w[\w.]+:1: connect ECONNREFUSED/,
      )
    },
  )
})
