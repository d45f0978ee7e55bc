import { describe, expect, test } from 'vitest'
import { atOnce, type WithWorld } from './world.ts'

const MOST = 100
const REPORT = { clientId: 'api', receiver: 'one', place: 7, seenAt: 100 }

export function testReceivers(withWorld: WithWorld): void {
  describe('the store of receivers', () => {
    test('answers how far each has come, by the last that it said', () =>
      withWorld(async ({ stores, other }) => {
        await stores.receivers.record(
          [REPORT, { ...REPORT, receiver: 'two', place: undefined }],
          MOST,
        )
        await other.receivers.record([{ ...REPORT, place: 9, seenAt: 200 }], MOST)
        const one = { ...REPORT, place: 9, unusable: [], reportedAt: 200, seenAt: 200 }
        expect(await stores.receivers.find('api', 'one')).toEqual(one)
        const two = { ...REPORT, receiver: 'two', place: 0, unusable: [], reportedAt: 100 }
        expect(await stores.receivers.listSeen(0, 10)).toEqual([one, two])
        expect(await stores.receivers.listSeen(150, 10)).toEqual([one])
        expect(await stores.receivers.listSeen(0, 1)).toEqual([one])
        expect(await stores.receivers.find('api', 'three')).toBeUndefined()
      }))

    test('lets one that says nothing new be seen, and be where it was', () =>
      withWorld(async ({ stores: { receivers } }) => {
        await receivers.record([REPORT], MOST)
        await receivers.record([{ ...REPORT, place: undefined, seenAt: 300 }], MOST)
        const found = await receivers.find('api', 'one')
        expect(found).toEqual({ ...REPORT, unusable: [], reportedAt: 100, seenAt: 300 })
      }))

    test('keeps what one cannot use until it says otherwise', () =>
      withWorld(async ({ stores, other }) => {
        const unusable = [
          { from: 2, through: 2, expiresAt: 900 },
          { from: 5, through: 7, expiresAt: 2 ** 45 },
        ]
        await stores.receivers.record([{ ...REPORT, unusable }], MOST)
        await other.receivers.record([{ ...REPORT, place: undefined, seenAt: 300 }], MOST)
        expect(await stores.receivers.find('api', 'one')).toMatchObject({ place: 7, unusable })
        expect(await other.receivers.listSeen(0, 10)).toMatchObject([{ place: 7, unusable }])
        await other.receivers.record([REPORT], MOST)
        expect(await stores.receivers.find('api', 'one')).toMatchObject({ place: 7, unusable: [] })
      }))

    test('forgets those that were not seen for long', () =>
      withWorld(async ({ stores: { receivers } }) => {
        await receivers.record([REPORT, { ...REPORT, receiver: 'two', seenAt: 200 }], MOST)
        expect(await receivers.purge(150, 10)).toBe(1)
        expect(await receivers.purge(150, 10)).toBe(0)
        expect((await receivers.listSeen(0, 10)).map(({ receiver }) => receiver)).toEqual(['two'])
      }))

    test('forgets those of a client that were not seen for the longest, where there are too many', () =>
      withWorld(async (world) => {
        const { receivers } = world.stores
        await receivers.record([{ ...REPORT, clientId: 'other', seenAt: 1 }], 10)
        await receivers.record([REPORT], 10)
        const made = Array.from({ length: 60 }, (_, index) => ({
          ...REPORT,
          receiver: `made up ${index}`,
          seenAt: 200 + index,
        }))
        await atOnce(world, 60, (stores, index) =>
          stores.receivers.record(made.slice(index, index + 1), 10),
        )
        await receivers.record([{ ...REPORT, receiver: 'newest', seenAt: 300 }], 10)
        const known = (await receivers.listSeen(0, 100)).map(({ receiver }) => receiver)
        const last = Array.from({ length: 9 }, (_, index) => `made up ${51 + index}`)
        expect(known.toSorted()).toEqual([...last, 'newest', 'one'])
        expect(await receivers.find('other', 'one')).toMatchObject({ place: 7 })
      }))

    test('takes reports of many at once, in whatever order', () =>
      withWorld(async (world) => {
        const names = Array.from({ length: 20 }, (_, index) => `replica-${index}`)
        const reports = names.map((receiver) => ({ ...REPORT, receiver }))
        await atOnce(world, 10, ({ receivers }, index) =>
          receivers.record(index % 2 === 0 ? reports : reports.toReversed(), MOST),
        )
        expect(await world.stores.receivers.listSeen(0, 100)).toHaveLength(20)
      }))
  })
}
