import { describe, expect, test } from 'vitest'
import { followLog } from '../../auth-server/feed/follower.ts'
import { createLog } from '../../auth-server/log.ts'
import type { NewRevocation } from '../../auth-server/revocation/revocation.ts'
import type { Stores } from '../../auth-server/storage/stores.ts'
import { runSql } from './sql.ts'
import { atOnce, HOUR, type TestClock, type WithWorld } from './world.ts'

const log = createLog('silent')

function follow({ revocations }: Stores, clock: TestClock) {
  return followLog({ revocations, clock, log })
}

function entry(clock: TestClock, subject: string, lifeMs = HOUR): NewRevocation {
  const times = { revokedAt: clock.now(), expiresAt: clock.now() + lifeMs }
  return { kind: 'token', subject, reason: 'operator', ...times }
}

export function testFollowing(withWorld: WithWorld): void {
  describe('who follows the log of revocations', () => {
    test('knows by a look of all that was committed before, whoever else looks', () =>
      withWorld(async (world) => {
        const { stores, other, clock } = world
        await using follower = await follow(stores, clock)
        expect(follower).toMatchObject({ head: 0, oldest: 1 })
        for (let count = 1; count <= 20; count += 1) {
          await other.revocations.append([entry(clock, `${count}`)])
          const readings = await Promise.all([1, 2, 3].map(() => follower.look()))
          expect(readings[0]).toMatchObject({ head: count, oldest: 1, at: clock.now() })
          expect(new Set(readings).size).toBe(1)
        }
        await atOnce(world, 40, async ({ revocations }, index) => {
          await revocations.append([entry(clock, `at once ${index}`)])
          const before = await revocations.head()
          expect((await follower.look()).head).toBeGreaterThanOrEqual(before)
        })
        const places = Array.from({ length: 60 }, (_, place) => follower.next(place)?.sequence)
        expect(places).toEqual(places.map((_, place) => place + 1))
      }))

    test('begins with the newest entries, those after a gap', () =>
      withWorld(async ({ stores, other, clock }) => {
        const lives = [HOUR, HOUR, 1, HOUR, HOUR]
        const entries = lives.map((life, index) => entry(clock, `${index}`, life))
        await stores.revocations.append(entries)
        await using before = await follow(other, clock)
        expect(before).toMatchObject({ head: 5, oldest: 1 })
        clock.advance(2)
        await stores.revocations.purge(clock.now(), 10)
        await using after = await follow(stores, clock)
        expect(after).toMatchObject({ head: 5, oldest: 4 })
        expect(after.next(3)).toMatchObject({ subject: '3' })
        expect(after.next(4)).toMatchObject({ subject: '4' })
      }))

    test('cannot say how far it goes while the database does not answer', () =>
      withWorld(async ({ stores, url, clock }) => {
        await using follower = await follow(stores, clock)
        await runSql(url, 'alter table revocation rename to elsewhere')
        await expect(follower.look()).rejects.toThrow(/revocation/)
        await runSql(url, 'alter table elsewhere rename to revocation')
        expect(await follower.look()).toMatchObject({ head: 0 })
      }))

    test.each<[string, number]>([
      ['lost entries', 0],
      ['lost entries, and got as many others', 2],
      ['lost entries, and got more', 3],
    ])(
      'gives a log another name that has %s, in which nobody has applied anything',
      (_what, added) =>
        withWorld(async ({ stores, other, url, clock }) => {
          const five = Array.from({ length: 5 }, (_, index) => entry(clock, `${index}`))
          await stores.revocations.append(five)
          const unusable = [{ from: 4, through: 5, expiresAt: clock.now() + HOUR }]
          const seen = { clientId: 'api', receiver: 'one', seenAt: clock.now() }
          const report = { ...seen, place: 5, unusable }
          await stores.receivers.record([report], 10)
          await using follower = await follow(stores, clock)
          await using lagging = await follow(other, clock)
          const { feed } = await follower.look()
          const others = Array.from({ length: added }, (_, index) => entry(clock, `new ${index}`))
          await runSql(url, restoreTo(3, others))
          const [one, two] = await Promise.all([follower.look(), lagging.look()])
          expect(one).toMatchObject({ head: 3 + added, oldest: 1 })
          expect(one.feed).not.toBe(feed)
          expect([two.feed, two.head]).toEqual([one.feed, 3 + added])
          const nowhere = { place: 0, unusable: [] }
          expect(await other.receivers.find('api', 'one')).toMatchObject(nowhere)
          await other.revocations.append([entry(clock, 'after')])
          expect(await follower.look()).toMatchObject({ feed: one.feed, head: 4 + added })
        }),
    )

    test('hears of another name from whoever gave it', () =>
      withWorld(async ({ stores, other, clock }) => {
        await using follower = await follow(stores, clock)
        const { feed } = await follower.look()
        await other.revocations.renameFeed('of no log')
        expect((await follower.look()).feed).toBe(feed)
        await other.revocations.renameFeed(feed)
        expect((await follower.look()).feed).toBe(await other.revocations.feedId())
        expect(follower.feed).not.toBe(feed)
      }))
  })
}

/** What a backup of an earlier time makes of the log, with what was appended after that. */
function restoreTo(place: number, others: readonly NewRevocation[]): string {
  const rows = others.map(
    ({ kind, subject, reason, expiresAt }, index) =>
      `(${place + index + 1}, '${kind}', '${subject}', '${reason}', 0, ${expiresAt})`,
  )
  const columns = 'sequence, kind, subject, reason, revoked_at, expires_at'
  const inserting = `insert into revocation (${columns}) values ${rows.join(', ')}`
  const deleting = `delete from revocation where sequence > ${place}`
  return `begin; ${[deleting, ...(rows.length > 0 ? [inserting] : [])].join('; ')}; commit`
}
