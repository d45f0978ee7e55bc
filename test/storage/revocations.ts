import { describe, expect, test } from 'vitest'
import type {
  NewRevocation,
  Revocable,
  RevokedKind,
} from '../../auth-server/revocation/revocation.ts'
import { openStores, type Stores } from '../../auth-server/storage/stores.ts'
import { atOnce, consume, createRows, HOUR, readLog, revoke, type WithWorld } from './world.ts'

function entry(subject: string, more: Partial<NewRevocation> = {}): NewRevocation {
  return {
    kind: 'token',
    subject,
    reason: 'grant_revoked',
    expiresAt: 2000,
    ...more,
  }
}

export function testRevocations(withWorld: WithWorld): void {
  describe('the log of revocations', () => {
    test('answers what was appended, in its order, from any place on', () =>
      withWorld(async ({ stores, other, clock }) => {
        const entries = ['a', 'b', 'c', 'd', 'e'].map((subject) => entry(subject))
        await stores.revocations.append(entries.slice(0, 2))
        await other.revocations.append(entries.slice(2))
        const expected = entries.map((one, index) => {
          return { ...one, sequence: index + 1, revokedAt: clock.now() }
        })
        expect(await stores.revocations.list(0, 10)).toEqual(expected)
        expect(await other.revocations.list(2, 2)).toEqual(expected.slice(2, 4))
        expect(await stores.revocations.list(5, 10)).toEqual([])
        expect(await stores.revocations.list(99, 10)).toEqual([])
      }))

    test('is empty at first, and an empty append changes nothing', () =>
      withWorld(async ({ stores: { revocations } }) => {
        await revocations.append([])
        expect(await revocations.list(0, 10)).toEqual([])
        expect(await revocations.isRevoked('token', 'a')).toBe(false)
      }))

    test('says where it stands, and what time it is', () =>
      withWorld(async ({ stores, other, clock }) => {
        expect(await stores.revocations.mark()).toEqual({ place: 0, now: clock.now() })
        expect(await stores.revocations.head()).toBe(0)
        await stores.revocations.append([entry('a'), entry('b', { kind: 'user' })])
        expect(await other.revocations.head()).toBe(2)
        expect(await other.revocations.mark()).toEqual({ place: 2, now: clock.now() })
      }))

    test('says which of many ends a token, by its age where that counts', () =>
      withWorld(async ({ stores, other, clock }) => {
        const before = clock.now()
        clock.advance(1000)
        await stores.revocations.append([
          entry('a'),
          entry('g', { kind: 'grant' }),
          entry('u', { kind: 'user' }),
          entry('', { kind: 'all' }),
        ])
        const now = clock.now()
        const find = async (kind: RevokedKind, subject: string, issuedAt: number, since?: number) =>
          (await other.revocations.findEnd([[kind, subject]], { issuedAt, since }))?.sequence
        const after = now + 1000
        expect(await find('token', 'a', after)).toBe(1)
        expect(await find('token', 'b', before)).toBeUndefined()
        expect(await find('session', 'a', before)).toBeUndefined()
        expect(await find('grant', 'g', after, 4)).toBe(2)
        expect(await find('user', 'u', before)).toBe(3)
        expect(await find('user', 'u', now)).toBe(3)
        expect(await find('user', 'u', after)).toBeUndefined()
        expect(await find('user', 'u', after, 2)).toBe(3)
        expect(await find('user', 'u', after, 3)).toBeUndefined()
        expect(await find('all', '', now)).toBe(4)
        expect(await find('all', '', after)).toBeUndefined()
        const many: readonly Revocable[] = [
          ['token', 'x'],
          ['session', 'x'],
          ['grant', 'g'],
          ['user', 'x'],
          ['client', 'x'],
          ['client', 'y'],
          ['key', 'x'],
          ['all', ''],
        ]
        const token = { issuedAt: after }
        expect(await other.revocations.findEnd(many, token)).toEqual({ sequence: 2, kind: 'grant' })
        expect(await other.revocations.findEnd(many, { issuedAt: now })).toEqual({
          sequence: 4,
          kind: 'all',
        })
        expect(await other.revocations.findEnd([], token)).toBeUndefined()
      }))

    test('marks no moment that an entry which comes later is older than', () =>
      withWorld(async (world) => {
        const marks = await atOnce(world, 60, async ({ revocations }, index) => {
          world.clock.advance(7)
          if (index % 3 === 0) return [await revocations.mark()]
          await revocations.append([entry(`u${index}`, { kind: 'user' })])
          return []
        })
        const log = await readLog(world.stores)
        for (const { place, now } of marks.flat()) {
          const later = log.filter(({ sequence }) => sequence > place)
          expect(later.filter(({ revokedAt }) => revokedAt < now)).toEqual([])
        }
        expect(marks.flat()).toHaveLength(20)
      }))

    test('has one name for all, which stays', () =>
      withWorld(async (world) => {
        const names = await atOnce(world, 6, ({ revocations }) => revocations.feedId())
        expect(new Set(names).size).toBe(1)
        expect(names[0]).toMatch(/^[\w-]{22}$/)
        expect(await world.other.revocations.feedId()).toBe(names[0])
      }))

    test('calls whoever listens when something was appended, until they listen no longer', () =>
      withWorld(async ({ stores }) => {
        let calls = 0
        const { promise: heard, resolve } = Promise.withResolvers<void>()
        const listening = stores.revocations.listen(() => {
          calls += 1
          resolve()
        })
        await stores.revocations.append([entry('a')])
        await heard
        await listening[Symbol.asyncDispose]()
        const before = calls
        await stores.revocations.append([entry('b')])
        expect(calls).toBe(before)
      }))

    test.each([
      ['token', 1],
      ['grant', 1],
      ['session', 1],
      ['key', 1],
      ['user', 3],
      ['client', 3],
      ['all', 3],
    ] as const)('keeps what ends once once: of a %s, three times, %i', (kind, count) =>
      withWorld(async ({ stores, other }) => {
        await stores.revocations.append([entry('a', { kind }), entry('a', { kind })])
        await other.revocations.append([entry('a', { kind, reason: 'signed_out' })])
        expect(await stores.revocations.list(0, 10)).toHaveLength(count)
        expect(await other.revocations.isRevoked(kind, 'a')).toBe(true)
        const all = ['token', 'grant', 'session', 'user', 'client', 'key', 'all'] as const
        const kinds = all.filter((one) => one !== kind)
        for (const one of kinds) expect(await stores.revocations.isRevoked(one, 'a')).toBe(false)
      }),
    )

    test('gives 1, 2, 3 … in the order of the commits, and no reader meets a late lower number', () =>
      withWorld(async (world) => {
        await using reader = await openStores(world.url, world.clock)
        const { put, grant, session } = createRows(world.clock)
        const numbers = Array.from({ length: 50 }, (_, index) => index)
        for (const index of numbers) {
          const grantId = `g${index}`
          await world.stores.models.apply([
            grant(grantId),
            put('RefreshToken', grantId, { grantId }),
            session(`s${index}`, `${index}`, { uid: `u${index}` }),
          ])
          await world.stores.models.apply([consume('RefreshToken', grantId)])
        }
        const writing = atOnce(world, numbers.length, async ({ models, revocations }, index) => {
          await revocations.append([entry(`one ${index}`), entry(`two ${index}`)])
          await models.apply([revoke(`g${index}`), revoke(`h${index}`)])
          await models.apply([consume('RefreshToken', `g${index}`)])
          await models.apply([{ kind: 'end-session', uid: `u${index}` }])
        })
        const seen = await followLog(reader, writing)
        expect(seen.map(({ sequence }) => sequence)).toEqual(seen.map((_, index) => index + 1))
        expect(seen).toEqual(await readLog(world.stores))
        expect(new Set(seen.map(({ kind, subject }) => `${kind} ${subject}`)).size).toBe(250)
        expect(seen).toHaveLength(250)
      }))

    test('has no gap where a change was undone', () =>
      withWorld(async ({ stores, clock }) => {
        const { put } = createRows(clock)
        await stores.revocations.append([entry('a')])
        const failing = put('Interaction', 'not\0text')
        const refused = { code: 'invalid_input' }
        await expect(stores.models.apply([revoke('g'), failing])).rejects.toMatchObject(refused)
        await expect(stores.revocations.append([entry('b'), entry('\0')])).rejects.toMatchObject(
          refused,
        )
        await stores.revocations.append([entry('c')])
        const log = await stores.revocations.list(0, 10)
        expect(log).toMatchObject([
          { sequence: 1, subject: 'a' },
          { sequence: 2, subject: 'c' },
        ])
      }))

    test('is purged of what has expired, in bounded batches, the newest kept', () =>
      withWorld(async ({ stores, other }) => {
        const expired = Array.from({ length: 25 }, (_, index) => entry(`${index}`))
        await stores.revocations.append([...expired, entry('live', { expiresAt: 9000 })])
        await stores.revocations.append([entry('newest')])
        expect(await stores.revocations.purge(2000, 10)).toBe(0)
        const counts = []
        for (let batch = 0; batch < 4; batch += 1)
          counts.push(await stores.revocations.purge(2001, 10))
        expect(counts).toEqual([10, 10, 5, 0])
        expect(await other.revocations.list(0, 10)).toMatchObject([
          { sequence: 26, subject: 'live' },
          { sequence: 27, subject: 'newest' },
        ])
        expect(await other.revocations.purge(9001, 10)).toBe(1)
        await other.revocations.append([entry('next')])
        expect(await stores.revocations.list(0, 10)).toMatchObject([
          { sequence: 27 },
          { sequence: 28, subject: 'next' },
        ])
      }))

    test.each([
      ['behind', -72 * HOUR],
      ['ahead', 72 * HOUR],
    ])(
      'keeps what ends for two days, and all of them, where an instance is three days %s',
      (_, off) =>
        withWorld(async ({ url, stores, clock }) => {
          const { session, grant } = createRows(clock)
          const { models, revocations } = stores
          await models.apply([session('s', 'a'), grant('g')])
          const apart = { now: () => clock.now() + off }
          await using instance = await openStores(url, apart, { databaseClock: clock })
          await instance.models.apply([{ kind: 'end-session', uid: 'u' }, revoke('g')])
          await instance.access.end('token', 'a token')
          await instance.access.end('user', 'alice')
          await instance.access.end('all', '')
          const log = await revocations.list(0, 10)
          expect(log.map(({ kind }) => kind)).toEqual(['session', 'grant', 'token', 'user', 'all'])
          const latest = clock.now() + 48 * HOUR
          for (const { kind, expiresAt } of log) expect([kind, expiresAt]).toEqual([kind, latest])
          expect(await instance.revocations.purge(apart.now(), 10)).toBe(0)
          expect(await revocations.list(0, 10)).toEqual(log)
        }),
    )

    test('keeps its places while it is purged and written at once', () =>
      withWorld(async (world) => {
        await atOnce(world, 60, async ({ revocations }, index) => {
          await revocations.append([entry(`${index}`)])
          if (index % 3 === 0) await revocations.purge(3000, 5)
        })
        const log = await readLog(world.stores)
        const places = log.map(({ sequence }) => sequence)
        expect(places).toEqual([...new Set(places)].toSorted((one, two) => one - two))
        expect(places.at(-1)).toBe(60)
      }))
  })
}

/** Reads on from what it has seen, over and over, until `writing` has ended and nothing is left. */
async function followLog({ revocations }: Stores, writing: Promise<unknown>) {
  let isOver = false
  const ended = writing.finally(() => {
    isOver = true
  })
  const seen = []
  for (let wasOver = false; !wasOver;) {
    wasOver = isOver
    const page = await revocations.list(seen.at(-1)?.sequence ?? 0, 1000)
    seen.push(...page)
    // A read of SQLite ends without the event loop having gone round.
    await new Promise((resolve) => setImmediate(resolve))
  }
  await ended
  return seen
}
