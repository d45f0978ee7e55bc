import { describe, expect, test } from 'vitest'
import type { ModelWrite } from '../../auth-server/provider/model-store.ts'
import type { Stores } from '../../auth-server/storage/stores.ts'
import { atOnce, createRows, HOUR, revoke, type WithWorld } from './world.ts'

const authorised = (row: { payload: Record<string, unknown> } | undefined) =>
  Object.keys((row?.payload['authorizations'] as object | undefined) ?? {}).toSorted()

const endedOf = async ({ revocations }: Stores, sids: readonly string[]) => {
  const ended = await Promise.all(sids.map((sid) => revocations.isRevoked('session', sid)))
  return sids.filter((_sid, index) => ended[index])
}

const row = (world: { clock: { now(): number } }, key: string, accountId?: string) =>
  createRows(world.clock).put('Session', key, {
    uid: 'u',
    accountId,
    payload: { accountId },
    ...(key === 'new' ? { replaces: 'old' } : {}),
  })

export function testSessions(withWorld: WithWorld): void {
  describe('sessions', () => {
    const clients = Array.from({ length: 20 }, (_, index) => `client-${index}`)

    test('merge what tabs authorise at once under one id', () =>
      withWorld(async (world) => {
        const { session } = createRows(world.clock)
        await atOnce(world, clients.length, ({ models }, index) =>
          models.apply([session('s', clients[index] ?? '')]),
        )
        expect(authorised(await world.stores.models.find('Session', 's'))).toEqual(
          clients.toSorted(),
        )
      }))

    test('merge what tabs authorise at once under ids of their own, in the newest of them', () =>
      withWorld(async (world) => {
        const { session } = createRows(world.clock)
        await atOnce(world, clients.length, ({ models }, index) =>
          models.apply([session(`tab-${index}`, clients[index] ?? '')]),
        )
        const newest = await world.stores.models.findByUid('Session', 'u')
        expect(authorised(newest)).toEqual(clients.toSorted())
      }))

    test('are known by the row that was written last, whatever the clocks of two servers say', () =>
      withWorld(async ({ stores, clock }) => {
        const { session } = createRows(clock)
        clock.advance(50)
        await stores.models.apply([session('first', 'a')])
        clock.advance(-50)
        await stores.models.apply([session('second', 'b')])
        const newest = await stores.models.findByUid('Session', 'u')
        expect(newest).toMatchObject({ key: 'second' })
        expect(authorised(newest)).toEqual(['a', 'b'])
      }))

    test('keep nothing of what another person authorised in the same browser', () =>
      withWorld(async ({ stores: { models }, clock }) => {
        const { session } = createRows(clock)
        await models.apply([session('s', 'a')])
        await models.apply([
          session('s', 'b', {
            accountId: 'bob',
            payload: { accountId: 'bob', uid: 'u', authorizations: {} },
          }),
        ])
        expect(authorised(await models.find('Session', 's'))).toEqual([])
      }))

    test('stay ended for a request that still held them', () =>
      withWorld(async ({ stores, other, clock }) => {
        const { session } = createRows(clock)
        await stores.models.apply([session('s', 'a')])
        await stores.models.apply([{ kind: 'destroy', model: 'Session', key: 's' }])
        await other.models.apply([session('s', 'a')])
        expect(await stores.models.find('Session', 's')).toBeUndefined()
      }))

    test('stay ended whichever came first, the end or the last of many writes', () =>
      withWorld(async (world) => {
        const { session } = createRows(world.clock)
        for (let round = 0; round < 10; round += 1) {
          const uid = `u${round}`
          const keys = Array.from({ length: 8 }, (_, index) => `${uid} tab ${index}`)
          await atOnce(world, 9, async ({ models }, index) => {
            const key = keys[index]
            if (key === undefined) return models.apply([{ kind: 'end-session', uid }])
            return models.apply([session(key, 'a', { uid })])
          })
          expect(await world.stores.models.findByUid('Session', uid)).toBeUndefined()
          for (const key of keys) {
            expect(await world.stores.models.find('Session', key)).toBeUndefined()
          }
        }
      }))

    test('stay ended for longer than a request may hold them', () =>
      withWorld(async ({ stores: { models }, clock }) => {
        const { session } = createRows(clock)
        await models.apply([session('s', 'a')])
        await models.apply([{ kind: 'end-session', uid: 'u' }])
        clock.advance(24 * HOUR)
        await models.purge(clock.now(), 100)
        await models.apply([session('s', 'a'), session('t', 'b')])
        expect(await models.findByUid('Session', 'u')).toBeUndefined()
      }))

    test('end in every tab at once', () =>
      withWorld(async ({ stores: { models }, clock }) => {
        const { session } = createRows(clock)
        await models.apply([session('s', 'a'), session('second-tab', 'b')])
        await models.apply([{ kind: 'end-session', uid: 'u' }])
        await models.apply([session('third-tab', 'c')])
        expect(await models.findByUid('Session', 'u')).toBeUndefined()
      }))

    test('end under every name that clients have for them, for as long as a token may live', () =>
      withWorld(async ({ stores, other, clock }) => {
        const { session } = createRows(clock)
        await stores.models.apply([session('s', 'a'), session('second-tab', 'b')])
        await stores.models.apply([session('o', 'c', { uid: 'another' })])
        const sids = ['sid of a', 'sid of b', 'told', 'sid of c', '']
        expect(await endedOf(stores, sids)).toEqual([])
        const told = { clientId: 'd', sid: 'told', accountId: 'alice' }
        await stores.models.apply([{ kind: 'end-session', uid: 'u', clients: [told] }])
        clock.advance(24 * HOUR)
        await stores.models.purge(clock.now(), 100)
        await stores.revocations.purge(clock.now(), 100)
        expect(await endedOf(other, sids)).toEqual(['sid of a', 'sid of b', 'told'])
      }))

    test('are in the log for as long as a token may live, however long they would have lived', () =>
      withWorld(async ({ stores, clock }) => {
        const { session, grant } = createRows(clock)
        const long = { expiresAt: clock.now() + 1000 * HOUR }
        await stores.models.apply([session('s', 'a', long), grant('g', long), grant('h', long)])
        await stores.models.apply([session('o', 'a', { ...long, uid: 'another' })])
        await stores.models.apply([{ kind: 'end-session', uid: 'u' }, revoke('g')])
        await stores.access.end('user', 'alice')
        const log = await stores.revocations.list(0, 10)
        expect(log.map(({ kind }) => kind)).toEqual(['session', 'grant', 'user'])
        const latest = clock.now() + 48 * HOUR
        for (const { kind, expiresAt } of log) expect([kind, expiresAt]).toEqual([kind, latest])
      }))

    test('say in the log why they ended', () =>
      withWorld(async ({ stores, clock }) => {
        const { session } = createRows(clock)
        await stores.models.apply([session('s', 'a')])
        await stores.models.apply([{ kind: 'end-session', uid: 'u', reason: 'session_deleted' }])
        expect(await stores.revocations.list(0, 10)).toMatchObject([
          { kind: 'session', subject: 'sid of a', reason: 'session_deleted' },
        ])
      }))

    test('are left by one client in every row, and the others go on', () =>
      withWorld(async ({ stores, other, clock }) => {
        const { session } = createRows(clock)
        const { models } = stores
        await models.apply([session('s', 'a')])
        await models.apply([session('second-tab', 'b')])
        await models.apply([session('elsewhere', 'a', { uid: 'another' })])
        await models.apply([
          { kind: 'leave-session', uid: 'u', clientId: 'a' },
          { kind: 'destroy', model: 'Session', key: 's' },
          session('new', 'b'),
        ])
        expect(authorised(await models.find('Session', 'new'))).toEqual(['b'])
        expect(authorised(await models.find('Session', 'second-tab'))).toEqual(['b'])
        expect(authorised(await models.find('Session', 'elsewhere'))).toEqual(['a'])
        expect(await endedOf(other, ['sid of a', 'sid of b'])).toEqual(['sid of a'])
        expect(await stores.revocations.list(0, 10)).toMatchObject([
          { kind: 'session', subject: 'sid of a', reason: 'signed_out' },
        ])
      }))

    test('are not joined again by a request that still held the client that left', () =>
      withWorld(async ({ stores, other, clock }) => {
        const { session } = createRows(clock)
        await stores.models.apply([session('s', 'a'), session('second-tab', 'b')])
        await stores.models.apply([{ kind: 'leave-session', uid: 'u', clientId: 'a' }])
        await other.models.apply([session('second-tab', 'a')])
        expect(authorised(await stores.models.findByUid('Session', 'u'))).toEqual(['b'])
        const authorizations = { a: { sid: 'a new sid' } }
        const payload = { accountId: 'alice', uid: 'u', authorizations }
        await other.models.apply([session('second-tab', 'a', { payload })])
        expect(authorised(await stores.models.findByUid('Session', 'u'))).toEqual(['a', 'b'])
        expect(await endedOf(stores, ['a new sid'])).toEqual([])
      }))

    test('are left by a client while tabs write them', () =>
      withWorld(async (world) => {
        const { session } = createRows(world.clock)
        await world.stores.models.apply([session('s', 'a')])
        await atOnce(world, 9, ({ models }, index) =>
          index === 4
            ? models.apply([{ kind: 'leave-session', uid: 'u', clientId: 'a' }])
            : models.apply([session(`tab ${index}`, 'a')]),
        )
        const rows = await Promise.all(
          [0, 1, 2, 3, 5, 6, 7, 8].map((n) => world.stores.models.find('Session', `tab ${n}`)),
        )
        expect(rows.flatMap(authorised)).toEqual([])
        expect(await world.stores.models.findByUid('Session', 'u')).toBeDefined()
      }))

    test('go on when their key changes', () =>
      withWorld(async ({ stores, clock }) => {
        const { session } = createRows(clock)
        await stores.models.apply([session('old', 'a')])
        await stores.models.apply([{ kind: 'destroy', model: 'Session', key: 'old' }])
        await stores.models.apply([session('new', 'a')])
        expect(await endedOf(stores, ['sid of a'])).toEqual([])
        expect(await stores.models.findByUid('Session', 'u')).toMatchObject({ key: 'new' })
      }))

    test('have so many rows and no more, and what the first ones gave out is ended', () =>
      withWorld(async ({ stores, clock }) => {
        const { session } = createRows(clock)
        const keys = Array.from({ length: 40 }, (_, index) => `tab-${index}`)
        for (const key of keys) {
          clock.advance(1)
          const authorizations = { app: { sid: `sid of ${key}` } }
          const payload = { accountId: 'alice', authorizations }
          await stores.models.apply([{ ...session(key, 'app'), payload }])
        }
        const rows = await Promise.all(keys.map((key) => stores.models.find('Session', key)))
        const alive = keys.filter((_key, index) => rows[index] !== undefined)
        expect(alive).toEqual(keys.slice(-alive.length))
        expect(alive.length).toBeGreaterThan(20)
        expect(alive.length).toBeLessThan(keys.length)
        const gone = keys.filter((key) => !alive.includes(key)).map((key) => `sid of ${key}`)
        expect(await endedOf(stores, gone)).toEqual(gone)
        const sids = alive.map((key) => `sid of ${key}`)
        expect(await endedOf(stores, sids)).toEqual([])
        await stores.models.apply([{ kind: 'end-session', uid: 'u' }])
        expect(await endedOf(stores, sids)).toEqual(sids)
      }))

    test('end although a crowd wants to write them', () =>
      withWorld(async ({ stores: { models }, clock }) => {
        const { session } = createRows(clock)
        await models.apply([session('s', 'app')])
        const crowd = Promise.allSettled(
          Array.from({ length: 150 }, (_, index) => models.apply([session('s', `app ${index}`)])),
        )
        await models.apply([{ kind: 'end-session', uid: 'u' }])
        const refused = (await crowd).filter(({ status }) => status === 'rejected')
        expect(refused.length).toBeGreaterThan(0)
        expect(await models.find('Session', 's')).toBeUndefined()
      }))

    test('are removed while they are first written, and nobody waits in a circle', () =>
      withWorld(async ({ stores, other, clock }) => {
        const { grant, session } = createRows(clock)
        for (let round = 0; round < 60; round += 1) {
          const [uid, key] = [`u${round}`, `key ${round}`]
          const grants = [`a${round}`, `b${round}`, `c${round}`] as const
          await stores.models.apply(grants.map((id) => grant(id)))
          const destroy: ModelWrite = { kind: 'destroy', model: 'Session', key }
          const end: ModelWrite = { kind: 'end-session', uid }
          await Promise.all([
            stores.models.apply([session(key, 'web', { uid })]),
            other.models.apply([destroy, revoke(grants[0])]),
            stores.models.apply([session(key, 'spa', { uid }), revoke(grants[1])]),
            other.models.apply([revoke(grants[2]), end]),
          ])
          expect(await stores.models.findByUid('Session', uid)).toBeUndefined()
        }
      }))

    describe('that replace a key', () => {
      test('leave it until they are settled', () =>
        withWorld(async (world) => {
          const { stores, other, clock } = world
          await stores.models.apply([row(world, 'old', 'alice')])
          clock.advance(1)
          await stores.models.apply([row(world, 'new', 'alice')])
          expect(await stores.models.find('Session', 'old')).toBeDefined()
          expect(await stores.models.find('Session', 'new')).toMatchObject({ replaces: 'old' })
          expect(await stores.models.findByUid('Session', 'u')).toMatchObject({ key: 'new' })
          await atOnce(world, 10, ({ models }) => models.apply([{ kind: 'settle', key: 'new' }]))
          expect(await stores.models.find('Session', 'new')).toMatchObject({ replaces: undefined })
          await other.models.apply([row(world, 'old', 'alice')])
          expect(await stores.models.find('Session', 'old')).toBeUndefined()
        }))

      test.each([
        ['an anonymous', undefined, 'alice'],
        ["another person's", 'bob', 'alice'],
        ["a person's, anonymously", 'alice', undefined],
      ])('leave nothing of %s', async (_case, old, next) =>
        withWorld(async (world) => {
          const { models } = world.stores
          await models.apply([row(world, 'old', old)])
          await models.apply([row(world, 'new', next)])
          expect(await models.find('Session', 'old')).toBeUndefined()
          await models.apply([row(world, 'old', old)])
          expect(await models.find('Session', 'old')).toBeUndefined()
        }),
      )

      test('end with it', () =>
        withWorld(async (world) => {
          const { models } = world.stores
          await models.apply([row(world, 'old', 'alice')])
          await models.apply([row(world, 'new', 'alice'), { kind: 'end-session', uid: 'u' }])
          expect(await models.find('Session', 'old')).toBeUndefined()
          expect(await models.find('Session', 'new')).toBeUndefined()
        }))

      test('have nothing to settle where there is nothing', () =>
        withWorld(async (world) => {
          const { models } = world.stores
          await models.apply([row(world, 'plain', 'alice')])
          for (const key of ['plain', 'unknown']) {
            expect(await models.apply([{ kind: 'settle', key }])).toEqual({ outcome: 'applied' })
          }
          expect(await models.find('Session', 'plain')).toBeDefined()
        }))
    })
  })
}
