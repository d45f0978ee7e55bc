import { createClient } from 'redis'
import { describe, expect, test, vi } from 'vitest'
import { signInAs, describeSeedSystems } from '../seed/suite.ts'
import { createBrowser } from '../support/browser.ts'
import { needEngines } from '../support/engines/need.ts'
import { startRedis } from '../support/engines/redis.ts'
import { authorizationUrl, makePkce, refresh } from '../support/flow.ts'
import { SEED_CONFIG, SEED_ENVIRONMENT } from '../support/seed.ts'
import { startServer } from '../support/server.ts'

const { isMissing, note } = needEngines('redis')

/** Within this long a deletion has its effect. */
const SOON = { timeout: 1000, interval: 20 }

describe.skipIf(isMissing)(`with Redis${note}`, () => {
  describeSeedSystems('on SQLite with Redis', async () => {
    const redis = await startRedis()
    return {
      config: { redis: { url: redis.url } },
      [Symbol.asyncDispose]: () => redis[Symbol.asyncDispose](),
    }
  })

  test('§1 a session is a key session_<id>; who deletes it forbids the client from then on', async () => {
    await using redis = await startRedis()
    const client = createClient({ url: redis.url })
    await client.connect()
    using cleanUp = new DisposableStack()
    cleanUp.defer(() => client.destroy())
    const config = { ...SEED_CONFIG, redis: { url: redis.url } }
    await using server = await startServer(() => config, {}, SEED_ENVIRONMENT)
    const { issuer } = server
    const browser = createBrowser(issuer)
    const tokens = await signInAs(issuer, 'naren', 'openid profile notes:read', browser)
    const askUserinfo = async () => {
      const headers = { authorization: `Bearer ${tokens.access_token}` }
      const answer = await fetch(`${issuer}/userinfo`, { headers })
      await answer.body?.cancel()
      return answer.status
    }
    expect(await askUserinfo()).toBe(200)
    const keys = await client.keys('session_*')
    expect(keys.length).toBeGreaterThan(0)
    for (const key of keys) expect(key).toMatch(/^session_[\w-]+$/)
    // What the browser holds is not the name of the key: reading the keys makes nobody a visitor.
    for (const { value } of browser.cookies()) expect(keys.join(' ')).not.toContain(value)

    // A session may have several rows; deleting one of them ends it.
    expect(await client.del(keys[0] ?? '')).toBe(1)
    await vi.waitFor(async () => expect(await client.keys('session_*')).toEqual([]), SOON)
    await vi.waitFor(async () => expect(await askUserinfo()).toBe(401), SOON)
    const refused = await refresh(issuer, tokens.refresh_token)
    expect([refused.status, refused.body.error]).toEqual([400, 'invalid_grant'])
    const { challenge } = makePkce()
    const silent = authorizationUrl(issuer, challenge, { prompt: 'none', scope: 'openid' })
    const { location } = await browser.get(silent)
    expect(new URL(location ?? '').searchParams.get('error')).toBe('login_required')
  })
})
