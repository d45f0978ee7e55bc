import { describe, expect, test } from 'vitest'
import { createRevocationFeed } from '../../resource-server/index.ts'
import { CREDENTIALS, STREAM_PATH, type FeedIssuer } from '../support/feed-issuer.ts'
import { beatAll, startFeedWorld } from '../support/feed-world.ts'

const SECOND = 1000
const STALE = 'revocations_unavailable'

describe('the view of what is revoked', () => {
  test('is stale before anything was heard, and an API need not wait for it', async () => {
    await using world = await startFeedWorld({}, (issuer) => void (issuer.isMute = true), false)
    expect(await world.judge(world.token())).toBe(STALE)
    expect(world.feed.state).toMatchObject({ isFresh: false, applied: undefined, entries: 0 })
    expect(world.feed.state.ageSeconds).toBeUndefined()
  })

  test('is not fresh by entries alone, nor by pages: only by word of where the log stands', async () => {
    await using world = await startFeedWorld({}, (issuer) => void (issuer.isMute = true), false)
    await world.issuer.nextStream()
    await world.learns(() => {
      world.issuer.append('session', 's1')
      world.issuer.send('behind', '{"after":0}')
    })
    expect(await world.judge(world.token())).toBe(STALE)
    world.issuer.beat()
    await world.feed.whenFresh()
    expect(await world.judge(world.token())).toBe('allowed')
  })

  test('is stale 15 seconds after the last beat, whatever else comes, until the next one', async () => {
    await using world = await startFeedWorld()
    await world.clock.advance(9 * SECOND)
    await world.learns(() => world.issuer.revoke('session', 's1'))
    const left = world.fails()
    await world.clock.advance(6 * SECOND - 1)
    await left
    expect(await world.judge(world.token())).toBe('allowed')
    await world.clock.advance(1)
    expect(await world.judge(world.token())).toBe(STALE)
    await world.comesBack()
    expect(await world.judge(world.token())).toBe('allowed')
  })

  test('may be stale later, where it is told so', async () => {
    await using world = await startFeedWorld({ staleAfterSeconds: 60 })
    await world.clock.advance(39 * SECOND)
    expect(await world.judge(world.token())).toBe('allowed')
    await world.clock.advance(21 * SECOND)
    expect(await world.judge(world.token())).toBe(STALE)
  })

  test('is not made fresh by a beat that was there before', async () => {
    await using world = await startFeedWorld()
    const old = world.issuer.makeBeat({ now_ms: world.clock.now() + 1 })
    await world.clock.advance(5 * SECOND)
    await beatAll(world, { head: 0 })
    await world.clock.advance(10 * SECOND - 1)
    await world.learns(() => {
      world.issuer.send('beat', old)
      world.issuer.revoke('session', 's1')
    })
    expect(world.feed.state.isFresh).toBe(true)
    await world.clock.advance(5 * SECOND + 1)
    expect(world.feed.state.isFresh).toBe(false)
  })

  test('reckons from when a beat was made, so that who holds them all up is found out', async () => {
    await using world = await startFeedWorld()
    await world.clock.advance(8 * SECOND)
    // Made three seconds after the first, and five seconds under way.
    await beatAll(world, { head: 0, now_ms: world.clock.now() - 5 * SECOND })
    await world.clock.advance(9 * SECOND)
    expect(await world.judge(world.token())).toBe('allowed')
    await world.clock.advance(SECOND)
    expect(await world.judge(world.token())).toBe(STALE)
    const late = { head: 1, now_ms: world.clock.now() - 15 * SECOND }
    expect(await world.fails(() => world.issuer.beat(late))).toMatchObject({ code: 'timed_out' })
    await world.comesBack()
    expect(await world.judge(world.token())).toBe('allowed')
  })

  test('does not believe a stream of before, as a cache gives it, however often it is given', async () => {
    await using world = await startFeedWorld()
    const { issuer, clock } = world
    replay(issuer)
    const pauses = world.pauses()
    issuer.cut()
    await pauses
    for (let count = 0; count < 3; count += 1) {
      const failed = world.fails()
      await clock.advance(5 * SECOND)
      expect(await failed).toMatchObject({ code: 'bad_answer' })
      await world.pauseBegins()
    }
    expect(await world.judge(world.token())).toBe(STALE)
  })

  test('does not believe it when the API has just started, either', async () => {
    await using world = await startFeedWorld()
    const { issuer, clock } = world
    replay(issuer)
    const failed = Promise.withResolvers<Error>()
    await using late = createRevocationFeed({
      issuer: issuer.url,
      ...CREDENTIALS,
      clock,
      onFault: failed.resolve,
    })
    expect(await Promise.race([failed.promise, late.whenFresh()])).toMatchObject({
      code: 'bad_answer',
    })
    expect(late.state.isFresh).toBe(false)
  })

  test('does not take beats of before for news on a connection of now', async () => {
    await using world = await startFeedWorld()
    const { issuer, clock } = world
    const old = [1, 5000].map((later) => issuer.makeBeat({ now_ms: clock.now() + later }))
    await clock.advance(10 * SECOND - 1)
    issuer.isMute = true
    const pauses = world.pauses()
    issuer.cut()
    await pauses
    const opened = issuer.nextStream()
    await clock.advance(500)
    await opened
    await world.learns(() => {
      for (const each of old) issuer.send('beat', each)
      issuer.revoke('session', 's1')
    })
    await clock.advance(5 * SECOND)
    expect(await world.judge(world.token())).toBe(STALE)
  })

  test.each([3600, -3600])(
    'is as fresh where the issuer’s clock is %s seconds ahead',
    async (ahead) => {
      await using world = await startFeedWorld(
        {},
        (issuer) => void (issuer.aheadMs = ahead * SECOND),
      )
      const isFresh = () => world.feed.state.isFresh
      await world.clock.advance(8 * SECOND)
      await beatAll(world)
      await world.clock.advance(14 * SECOND)
      expect(isFresh()).toBe(true)
      await world.clock.advance(SECOND)
      expect(isFresh()).toBe(false)
    },
  )

  test.each([180, -180])(
    'refuses the same where the issuer’s clock is %s seconds ahead, and for as long',
    async (ahead) => {
      await using world = await startFeedWorld(
        {},
        (issuer) => void (issuer.aheadMs = ahead * SECOND),
      )
      const { feed, clock, issuer } = world
      const atIssuer = clock.now() / 1000 + ahead
      const isRevoked = (claims: object) => feed.isRevoked(claims as never)
      await world.learns(() => issuer.revoke('user', 'alice'))
      const ages = [-1, 0, 1, 600].map((age) => isRevoked({ sub: 'alice', iat: atIssuer + age }))
      expect(ages).toEqual([true, true, false, false])
      await world.learns(() => issuer.revoke('session', 's1', { until: atIssuer + 60 }))
      // By the slower one of both clocks, with the most that a verifier may tolerate: 300 seconds.
      await clock.advance((60 + 300 + Math.max(0, ahead) - 1) * SECOND)
      issuer.cut()
      await world.pauseBegins()
      await clock.advance(SECOND / 2)
      await feed.whenFresh()
      for (let count = 0; count < 16; count += 1) {
        await clock.advance(1)
        await beatAll(world)
      }
      expect(isRevoked({ sid: 's1' })).toBe(true)
    },
  )

  test('does not get stuck where the issuer’s clock is set back to what it should be', async () => {
    await using world = await startFeedWorld({}, (issuer) => void (issuer.aheadMs = 7200 * SECOND))
    world.issuer.aheadMs = 0
    await world.clock.advance(5 * SECOND)
    await beatAll(world)
    await world.clock.advance(10 * SECOND)
    expect(world.feed.state.isFresh).toBe(false)
    const pauses = world.pauses()
    world.issuer.cut()
    await pauses
    await world.clock.advance(500)
    await world.feed.whenFresh()
  })

  test('is stale while an entry lives that is not understood here, and goes on with the others', async () => {
    await using world = await startFeedWorld()
    const row = world.issuer.append('session', 's1')
    const sentences = { events: { 'urn:example:device-lost': {} } }
    await world.learns(() => {
      world.issuer.send('set', world.issuer.event(row, sentences), `${world.issuer.feed}:1`)
      world.issuer.revoke('session', 's2')
    })
    expect(await world.judge(world.token({ sid: 's3' }))).toBe(STALE)
    expect(await world.judge(world.token({ sid: 's2' }))).toBe('revoked')
    await world.clock.advance(5 * SECOND)
    await beatAll(world)
    expect(await world.judge(world.token())).toBe(STALE)
    expect(world.faults).toEqual([])
  })

  test('confirms nothing from an entry on that it does not know, until that is forgotten', async () => {
    await using world = await startFeedWorld()
    const { issuer, clock } = world
    const last = () => issuer.reports.at(-1)?.['applied']
    await expect.poll(last).toBe(0)
    await clock.advance(SECOND)
    const row = issuer.append('session', 's1', { until: 1_750_000_060 })
    const unknown = issuer.event(row, { events: { 'urn:example:device-lost': {} } })
    await world.learns(() => {
      issuer.send('set', unknown, `${issuer.feed}:1`)
      issuer.revoke('session', 's2')
    })
    // Each is longer on its way than a report that was sent before it.
    for (let count = 0; count < 30; count += 1) {
      if (count % 10 === 0) await clock.advance(SECOND)
      await beatAll(world)
    }
    expect(last()).toBe(0)
    for (let count = 0; count < 100; count += 1) {
      await clock.advance(4 * SECOND)
      await beatAll(world)
    }
    const isReported = async () => {
      await clock.advance(SECOND)
      await beatAll(world)
      return last()
    }
    await expect.poll(isReported, { timeout: 10_000 }).toBeGreaterThan(2)
  })

  test.each<[string, unknown, unknown]>([
    ['of a kind that is not known', 'zebra', 'x'],
    ['about what is no text', 'session', 5],
  ])('is stale by an entry %s in a page, too', async (_what, kind, subject) => {
    const prepare = (issuer: FeedIssuer) => void issuer.append(kind as 'session', subject as string)
    await using world = await startFeedWorld({}, prepare, false)
    await world.learns(() => world.issuer.revoke('session', 's2'))
    expect(await world.judge(world.token({ sid: 's2' }))).toBe('revoked')
    expect(await world.judge(world.token())).toBe(STALE)
  })

  test('is stale where there is more than fits, refuses what it knows, and comes back', async () => {
    await using world = await startFeedWorld(
      { maxEntries: 1000 },
      (issuer) => {
        for (let count = 1; count <= 1001; count += 1) {
          issuer.append('session', `s${count}`, {
            until: 1_750_000_000 + (count > 500 ? 9000 : 60),
          })
        }
      },
      false,
    )
    const failure = world.faults[0] ?? (await world.fails())
    expect(failure.message).toContain('maxEntries')
    expect(world.feed.state.entries).toBe(1000)
    expect(await world.judge(world.token({ sid: 's1' }))).toBe('revoked')
    expect(await world.judge(world.token())).toBe(STALE)
    await world.clock.advance(400 * SECOND)
    await world.feed.whenFresh()
    expect(world.feed.state.entries).toBe(501)
    expect(await world.judge(world.token({ sid: 's1001' }))).toBe('revoked')
  })
})

/** From now on each stream is what the issuer has said until now, signed as it was, and no more. */
function replay(issuer: FeedIssuer): void {
  const recorded = issuer.said.join('')
  issuer.answers.set(STREAM_PATH, (_request, response) => {
    response.setHeader('content-type', 'text/event-stream').end(recorded)
  })
}
