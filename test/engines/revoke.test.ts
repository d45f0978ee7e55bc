import { describe, expect, test } from 'vitest'
import { systemClock } from '../../resource-server/clock.ts'
import { createRevocationFeed } from '../../resource-server/index.ts'
import type { Browser } from '../support/browser.ts'
import { needEngines } from '../support/engines/need.ts'
import { startPostgres } from '../support/engines/postgres.ts'
import { startRedis } from '../support/engines/redis.ts'
import { LISTENER_SECRET, withListener } from '../support/feed.ts'
import { authorizationUrl, decodeJwt, makePkce, obtainTokens, refresh } from '../support/flow.ts'
import { startApi } from '../support/protected-api.ts'
import { NOTES } from '../support/server.ts'
import { deploy, readRedisDirectives } from './deployment.ts'

interface Answer {
  readonly revoked: { readonly place: number }
  readonly confirmations: {
    readonly lastAfterMs: number
    readonly receivers: readonly { readonly receiver: string; readonly behind: number }[]
  }
}

const NAMES = ['five', 'four', 'one', 'three', 'two']

const SETS = [['postgres'], ['postgres', 'redis']] as const

for (const set of SETS) {
  const { isMissing, note } = needEngines(...set, 'nginx')
  describe.skipIf(isMissing)(`beside two instances on ${set.join(' and ')}${note}`, () => {
    describeRevoke(set.length > 1)
  })
}

function describeRevoke(withRedis: boolean): void {
  test('a revocation is confirmed by the resource servers of both, which refuse from then on', async () => {
    await using cleanUp = new AsyncDisposableStack()
    const postgres = cleanUp.use(await startPostgres({ fsync: false }))
    const redis = withRedis
      ? cleanUp.use(await startRedis({ directives: readRedisDirectives() }))
      : undefined
    const urls = { DATABASE_URL: postgres.url, ...(redis ? { REDIS_URL: redis.url } : {}) }
    const deployed = cleanUp.use(await deploy({ ...urls, LISTENER_SECRET }, withListener))
    const { issuer } = deployed
    const listener = { issuer, clientId: 'api', clientSecret: LISTENER_SECRET }
    const apis = await Promise.all(
      NAMES.map(async (receiver) => {
        const feed = cleanUp.use(createRevocationFeed({ ...listener, receiver }))
        await feed.whenFresh()
        const verifier = { issuer, audience: NOTES, revocations: feed, clock: systemClock }
        return cleanUp.use(await startApi(verifier, { whenStale: 'closed' }))
      }),
    )
    const ask = (token: string) => Promise.all(apis.map((api) => api.status(token)))
    const isAsked = async (browser: Browser) => {
      const page = await browser.get(authorizationUrl(issuer, makePkce().challenge))
      return page.text.includes('/sign-in"')
    }
    const expectConfirmed = ({ revoked, confirmations }: Answer, waitSeconds = 5) => {
      expect(confirmations).toMatchObject({ place: revoked.place, confirmed: 5, expected: 5 })
      expect(confirmations.receivers.map(({ receiver }) => receiver)).toEqual(NAMES)
      expect(confirmations.lastAfterMs).toBeLessThan(waitSeconds * 1000)
    }

    const alice = await obtainTokens(issuer)
    const bob = await obtainTokens(issuer, {}, 'bob')
    expect(await ask(alice.access_token)).toEqual([200, 200, 200, 200, 200])
    const { claims } = decodeJwt(bob.access_token)
    const byUser = await deployed.run('revoke --user alice')
    expect(await ask(alice.access_token)).toEqual([401, 401, 401, 401, 401])
    expectConfirmed(byUser as unknown as Answer)
    expect(await refresh(issuer, alice.refresh_token)).toMatchObject({ status: 400 })
    expect(await isAsked(alice.browser)).toBe(true)
    expect(await ask(bob.access_token)).toEqual([200, 200, 200, 200, 200])
    const byToken = await deployed.run(`revoke --token ${String(claims['jti'])}`)
    expect(await ask(bob.access_token)).toEqual([401, 401, 401, 401, 401])
    expect(await isAsked(bob.browser)).toBe(false)
    expectConfirmed(byToken as unknown as Answer)

    // One of the two is away: those who followed it come back at the other.
    const [first] = deployed.instances
    const after = await obtainTokens(issuer)
    await first.end('SIGKILL')
    const everything = await deployed.run('revoke --all --yes --wait 60')
    expect(await ask(after.access_token)).toEqual([401, 401, 401, 401, 401])
    expect([await isAsked(after.browser), await isAsked(bob.browser)]).toEqual([true, true])
    // The APIs have lost their own tokens, too: each says so with the next one.
    expectConfirmed(everything as unknown as Answer, 60)
  })
}
