import { createClient } from 'redis'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openStores } from '../../auth-server/storage/stores.ts'
import { systemClock } from '../../auth-server/clock.ts'
import { createLog } from '../../auth-server/log.ts'
import { createBrowser, type Browser } from '../support/browser.ts'
import { needEngines } from '../support/engines/need.ts'
import { startRedis, type Redis } from '../support/engines/redis.ts'
import { makeFolder } from '../support/folder.ts'
import {
  authorizationUrl,
  authorize,
  basic,
  makePkce,
  obtainTokens,
  refresh,
  requestToken,
  signIn,
} from '../support/flow.ts'
import {
  PASSWORDS,
  REDIRECT,
  SERVICE_SECRET,
  startServer,
  type TestServer,
} from '../support/server.ts'

const { isMissing, note } = needEngines('redis')

const SOON_MS = 1000

/** Asks again and again until it is so, and answers after how long. */
async function until(isSo: () => Promise<boolean>, boundMs: number): Promise<number> {
  const start = performance.now()
  for (;;) {
    if (await isSo()) return performance.now() - start
    const waited = performance.now() - start
    if (waited > boundMs) throw new Error(`not so after ${Math.round(waited)} ms`)
  }
}

function startOn(redis: Redis): Promise<TestServer> {
  return startServer((config) => ({ ...config, redis: { url: redis.url } }))
}

async function connect(redis: Redis) {
  const client = createClient({ url: redis.url })
  client.on('error', () => {})
  await client.connect()
  return client
}

/** Where a browser is sent that asks for authorization without being asked anything. */
async function askSilently(server: TestServer, browser: Browser): Promise<string | null> {
  const url = authorizationUrl(server.issuer, makePkce().challenge, { prompt: 'none' })
  const { location } = await browser.get(url)
  return new URL(location ?? REDIRECT).searchParams.get('error')
}

const isSignedOut = async (server: TestServer, browser: Browser) =>
  (await askSilently(server, browser)) === 'login_required'

async function listRevoked(server: TestServer) {
  await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
  return (await stores.revocations.list(0, 100)).map(({ kind, reason }) => `${kind} ${reason}`)
}

describe.skipIf(isMissing)(`sessions in Redis${note}`, () => {
  let redis: Redis
  let client: Awaited<ReturnType<typeof connect>>
  let server: TestServer
  beforeAll(async () => {
    redis = await startRedis()
    client = await connect(redis)
    server = await startOn(redis)
  })
  afterAll(async () => {
    client.destroy()
    await server[Symbol.asyncDispose]()
    await redis[Symbol.asyncDispose]()
  })

  const sessions = () => client.keys('session_*')

  test('have one readable key each, and outlive the server', async () => {
    await client.flushDb()
    await using first = await startOn(redis)
    const { browser } = await authorize(first.issuer)
    // The one before the consent goes when the browser has come with the one after it.
    expect(await askSilently(first, browser)).toBeNull()
    const [key = '', ...more] = await sessions()
    expect(more).toEqual([])
    const { accountId } = JSON.parse((await client.get(key)) ?? '') as { accountId: string }
    expect(accountId).toMatch(/^acc_/)
    expect(await client.pTTL(key)).toBeGreaterThan(0)
    await using second = await first.startAnother()
    const url = authorizationUrl(second.issuer, makePkce().challenge, { prompt: 'none' })
    const cookie = browser.cookies().map(({ name, value }) => `${name}=${value}`)
    const answer = await fetch(url, { redirect: 'manual', headers: { cookie: cookie.join('; ') } })
    expect(answer.headers.get('location')).toContain('code=')
  })

  test.each(['del', 'unlink', 'rename'])('end when their key is gone by %s', async (how) => {
    await client.flushDb()
    const { browser, refresh_token } = await obtainTokens(server.issuer)
    const { code, verifier } = await authorize(server.issuer, {}, 'alice', browser)
    const [key = ''] = await sessions()
    if (how === 'rename') await client.rename(key, 'elsewhere')
    else await client[how as 'del'](key)
    expect(await isSignedOut(server, browser)).toBe(true)
    expect((await refresh(server.issuer, refresh_token)).body.error).toBe('invalid_grant')
    const redeemed = await requestToken(server.issuer, {
      grant_type: 'authorization_code',
      code,
      code_verifier: verifier,
      redirect_uri: REDIRECT,
    })
    expect(redeemed.body.error).toBe('invalid_grant')
    const waited = await until(
      async () => (await listRevoked(server)).includes('session session_deleted'),
      SOON_MS,
    )
    expect(waited).toBeLessThan(SOON_MS)
  })

  test.each([0, 1])('end when one of the two keys of a consent is deleted', async (which) => {
    await client.flushDb()
    await using other = await startOn(redis)
    const { browser } = await obtainTokens(other.issuer)
    const keys = await sessions()
    expect(keys).toHaveLength(2)
    await client.del(keys[which] ?? '')
    await until(async () => (await sessions()).length === 0, SOON_MS)
    expect(await isSignedOut(other, browser)).toBe(true)
    expect(await listRevoked(other)).toContain('session session_deleted')
  })

  test('that are signed out of leave no key, and are no deletion by hand', async () => {
    await client.flushDb()
    await using other = await startOn(redis)
    const { browser } = await obtainTokens(other.issuer)
    expect(await sessions()).not.toEqual([])
    const page = await browser.get(`${other.issuer}/session/end?client_id=web`)
    await browser.submit(page, '/session/end/confirm', { logout: 'yes' })
    expect(await sessions()).toEqual([])
    expect(await listRevoked(other)).toContain('session signed_out')
    expect(await listRevoked(other)).not.toContain('session session_deleted')
  })

  test('lose nothing when the engine replaces their key', async () => {
    await client.flushDb()
    await using other = await startOn(redis)
    const { browser, refresh_token } = await obtainTokens(other.issuer)
    for (let count = 0; count < 3; count += 1) {
      const url = authorizationUrl(other.issuer, makePkce().challenge, { prompt: 'login consent' })
      const page = await signIn(browser, await browser.get(url))
      await browser.submit(page, '/consent')
    }
    expect(await askSilently(other, browser)).toBeNull()
    expect((await refresh(other.issuer, refresh_token)).status).toBe(200)
    expect(await listRevoked(other)).toEqual([])
  })

  test('expire and are evicted without a revocation', async () => {
    await client.flushDb()
    await using other = await startOn(redis)
    const { browser } = await obtainTokens(other.issuer)
    expect(await askSilently(other, browser)).toBeNull()
    const [key = ''] = await sessions()
    await client.pExpire(key, 1)
    await until(() => isSignedOut(other, browser), SOON_MS)
    expect(await listRevoked(other)).toEqual([])
  })

  test('all end when Redis is emptied', async () => {
    await client.flushDb()
    await using other = await startOn(redis)
    const { browser } = await obtainTokens(other.issuer)
    const { browser: second, refresh_token } = await obtainTokens(other.issuer, {
      scope: 'openid offline_access notes:read',
      prompt: 'consent',
    })
    await client.flushAll()
    expect(await isSignedOut(other, browser)).toBe(true)
    expect(await isSignedOut(other, second)).toBe(true)
    expect((await refresh(other.issuer, refresh_token)).status).toBe(200)
  })

  test('and everything else in Redis hold no secret', async () => {
    await client.flushDb()
    const seen: string[] = []
    const { browser, ...tokens } = await obtainTokens(server.issuer)
    const { code, verifier } = await authorize(server.issuer, {}, 'alice', browser)
    const open = await browser.get(
      authorizationUrl(server.issuer, makePkce().challenge, { prompt: 'login' }),
    )
    seen.push(open.url.split('/').at(-1) ?? '', code, verifier, PASSWORDS.alice)
    seen.push(...browser.cookies().map(({ value }) => value))
    seen.push(
      ...['access_token', 'refresh_token', 'id_token'].map((name) => tokens[name as 'id_token']),
    )
    const names = await client.keys('*')
    const texts = await Promise.all(names.map((name) => client.get(name)))
    const dump = [...names, ...texts].join('\n')
    expect(names.some((name) => name.startsWith('interaction_'))).toBe(true)
    const kept = seen.filter((secret) => secret.length > 15 && dump.includes(secret))
    expect(kept).toEqual([])
  })
})

describe.skipIf(isMissing)(`what Redis does not tell of${note}`, () => {
  const endsBoth = async (redis: Redis, during: () => Promise<void>) => {
    await using server = await startOn(redis)
    const { browser } = await obtainTokens(server.issuer)
    expect(await askSilently(server, browser)).toBeNull()
    await during()
    await until(async () => {
      const { status } = await fetch(`${server.url}/readyz`)
      return status === 200 && (await isSignedOut(server, browser))
    }, 10_000)
    return server.logged()
  }

  test('is noticed when Redis comes back empty', async () => {
    await using redis = await startRedis({ durable: false })
    const logged = await endsBoth(redis, async () => {
      await redis.stop()
      await redis.start()
    })
    expect(logged).toContain('redis_available')
  })

  test('is said at the start where it may not be asked to tell', async () => {
    const directives = ['--rename-command', 'CONFIG', '']
    await using redis = await startRedis({ directives })
    const client = await connect(redis)
    const logged = await endsBoth(redis, async () => {
      await client.flushAll()
    })
    client.destroy()
    expect(logged).toContain('redis-cli CONFIG SET notify-keyspace-events Egxe')
  })

  test('is asked for in addition to what an operator has set', async () => {
    await using redis = await startRedis({ directives: ['--notify-keyspace-events', 'K$'] })
    await using server = await startOn(redis)
    expect(server.logged()).not.toContain('redis_notices_off')
    const client = await connect(redis)
    const { 'notify-keyspace-events': set = '' } = await client.configGet('notify-keyspace-events')
    client.destroy()
    expect(set.split('').toSorted().join('')).toBe('$EKegx')
  })

  test('is no revocation where Redis evicts', async () => {
    const directives = ['--maxmemory', '4mb', '--maxmemory-policy', 'allkeys-random']
    await using redis = await startRedis({ durable: false, directives })
    await using server = await startOn(redis)
    const client = await connect(redis)
    const { browser } = await obtainTokens(server.issuer)
    expect(await askSilently(server, browser)).toBeNull()
    for (let count = 0; (await client.keys('session_*')).length > 0; count += 1) {
      await client.set(`filler_${count}`, 'x'.repeat(100_000), {
        expiration: { type: 'EX', value: 60 },
      })
    }
    client.destroy()
    await until(() => isSignedOut(server, browser), SOON_MS)
    expect(await listRevoked(server)).not.toContain('session session_deleted')
  })
})

describe.skipIf(isMissing)(`two instances on one Redis${note}`, () => {
  test('count wrong guesses together', async () => {
    await using redis = await startRedis()
    const limit = { attempts: 4, windowSeconds: 60 }
    await using one = await startServer((config) => ({
      ...config,
      redis: { url: redis.url },
      signIn: { perAccount: limit },
    }))
    await using two = await one.startAnother()
    const guess = async (issuer: string) => {
      const browser = createBrowser(issuer)
      const page = await browser.get(authorizationUrl(issuer, makePkce().challenge))
      return (await browser.submit(page, '/sign-in', { username: 'alice', password: 'wrong' }))
        .status
    }
    const statuses: number[] = []
    for (const issuer of [one.issuer, two.issuer, one.issuer, two.issuer, one.issuer, two.issuer]) {
      statuses.push(await guess(issuer))
    }
    expect(statuses.slice(-2)).toEqual([429, 429])
    expect(statuses.slice(0, 4)).not.toContain(429)
  })

  test('take a proof once', async () => {
    await using redis = await startRedis()
    using folder = makeFolder()
    const log = createLog('silent')
    const open = () =>
      openStores(`sqlite:${folder.file('a.sqlite')}`, systemClock, {
        redis: { url: redis.url, log },
      })
    await using one = await open()
    await using two = await open()
    const results = await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        (index % 2 === 0 ? one : two).models.apply([
          {
            kind: 'insert',
            model: 'ReplayDetection',
            key: 'a proof',
            payload: {},
            expiresAt: systemClock.now() + 60_000,
          },
        ]),
      ),
    )
    expect(results.filter(({ outcome }) => outcome === 'applied')).toHaveLength(1)
  })
})

describe.skipIf(isMissing)(`without Redis for a while${note}`, () => {
  test.each(['stopped', 'paused'])(
    'when it is %s, what needs it is 503, the rest goes on',
    async (how) => {
      await using redis = await startRedis()
      await using server = await startOn(redis)
      const { browser } = await obtainTokens(server.issuer)
      if (how === 'stopped') await redis.stop()
      else await redis.pause()
      const start = performance.now()
      const page = await browser.get(authorizationUrl(server.issuer, makePkce().challenge))
      expect([page.status, page.headers.get('retry-after')]).toEqual([503, '1'])
      expect(performance.now() - start).toBeLessThan(5000)
      const again = performance.now()
      expect(
        (await browser.get(authorizationUrl(server.issuer, makePkce().challenge))).status,
      ).toBe(503)
      expect(performance.now() - again).toBeLessThan(5000)
      const service = await requestToken(
        server.issuer,
        { grant_type: 'client_credentials', scope: 'notes:read' },
        { authorization: basic('service', SERVICE_SECRET) },
      )
      expect(service.status).toBe(200)
      const ready = await fetch(`${server.url}/readyz`)
      expect([ready.status, await ready.json()]).toEqual([
        503,
        { status: 'unavailable', database: 'ok', redis: 'failed' },
      ])
      if (how === 'stopped') await redis.start()
      else redis.resume()
      await until(async () => (await askSilently(server, browser)) === null, 5000)
    },
  )
})
