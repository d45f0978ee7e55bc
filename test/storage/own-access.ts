import { describe, expect, test } from 'vitest'
import type { LastUse } from '../../auth-server/provider/own-access-store.ts'
import { client } from './records.ts'
import { atOnce, createRows, HOUR, readLog, type WithWorld } from './world.ts'

const useAt = (at: number, from = '192.0.2.7', agent?: string): LastUse => ({
  at,
  from,
  with: agent,
})

export function testOwnAccess(withWorld: WithWorld): void {
  describe('what people have open and have allowed', () => {
    test('lists each session once, the newest first, and nobody else’s', () =>
      withWorld(async ({ stores, other, clock }) => {
        const { session } = createRows(clock)
        const uids = ['u1', 'u2', 'u3']
        for (const uid of uids) {
          await stores.models.apply([session(`${uid} tab`, 'a', { uid })])
          clock.advance(10)
        }
        await stores.models.apply([session('u2 again', 'b', { uid: 'u2' })])
        await stores.models.apply([session('o', 'a', { uid: 'o', accountId: 'bob' })])
        const old = session('gone', 'a', { uid: 'old', expiresAt: clock.now() - 1 })
        await stores.models.apply([old])
        const listed = await other.ownAccess.listSessions('alice', 10)
        expect(listed.more).toBe(false)
        expect(listed.sessions.map(({ uid, key }) => [uid, key])).toEqual([
          ['u2', 'u2 again'],
          ['u3', 'u3 tab'],
          ['u1', 'u1 tab'],
        ])
        const fewer = await other.ownAccess.listSessions('alice', 1)
        expect([fewer.sessions.length, fewer.more]).toEqual([1, true])
        expect((await other.ownAccess.listSessions('al\0ice', 10)).sessions).toEqual([])
      }))

    test('lists grants of living consents, without those of one client', () =>
      withWorld(async ({ stores: { models, ownAccess: access }, clock }) => {
        const { grant } = createRows(clock)
        const of = (id: string, accountId: string, clientId: string, more = {}) =>
          grant(id, { accountId, clientId, payload: { clientId }, ...more })
        await models.apply([of('g1', 'alice', 'web')])
        clock.advance(10)
        await models.apply([
          of('g2', 'alice', 'spa'),
          of('g3', 'alice', 'own'),
          of('g4', 'bob', 'web'),
          of('g5', 'alice', 'web', { expiresAt: clock.now() - 1 }),
        ])
        const listed = await access.listGrants('alice', 10, 'own')
        expect(listed.map(({ id, clientId, payload }) => [id, clientId, payload])).toEqual([
          ['g2', 'spa', { clientId: 'spa' }],
          ['g1', 'web', { clientId: 'web' }],
        ])
      }))

    test('remembers the last use, for all rows of a session, unless a later one is remembered', () =>
      withWorld(async ({ stores, other, clock }) => {
        const { session, grant } = createRows(clock)
        await stores.models.apply([
          session('s', 'a'),
          session('t', 'b'),
          grant('g', { accountId: 'alice', clientId: 'web' }),
        ])
        const read = async () => [
          (await stores.ownAccess.listSessions('alice', 9)).sessions[0]?.lastUse,
          (await stores.ownAccess.listGrants('alice', 9, ''))[0]?.lastUse,
        ]
        const use = async (one: LastUse, notSince: number) => {
          await other.ownAccess.recordUse({ kind: 'session', id: 'u' }, one, notSince)
          await other.ownAccess.recordUse({ kind: 'grant', id: 'g' }, one, notSince)
          return read()
        }
        expect(await read()).toEqual([undefined, undefined])
        const first = useAt(1000, '192.0.2.7', 'Firefox on Linux')
        expect(await use(first, 0)).toEqual([first, first])
        expect(await use(useAt(1500), 999)).toEqual([first, first])
        const second = useAt(2000, '2001:db8::7')
        expect(await use(second, 1000)).toEqual([second, second])
        await other.ownAccess.recordUse({ kind: 'session', id: 'nobody' }, first, 0)
        await other.ownAccess.recordUse({ kind: 'grant', id: 'nobody' }, first, 0)
        expect(await stores.models.findByUid('Session', 'nobody')).toBeUndefined()
      }))

    test('keeps the last use while the session goes on under other keys and the grant grows', () =>
      withWorld(async ({ stores, clock }) => {
        const { session, grant, put } = createRows(clock)
        const { ownAccess: access, models } = stores
        const given = grant('g', { accountId: 'alice', clientId: 'web' })
        await models.apply([session('old', 'a'), given])
        const use = useAt(1000)
        await access.recordUse({ kind: 'session', id: 'u' }, use, 0)
        await access.recordUse({ kind: 'grant', id: 'g' }, use, 0)
        await models.apply([session('new', 'a', { replaces: 'old' })])
        await models.apply([{ kind: 'settle', key: 'new', uid: 'u' }])
        await models.apply([session('new', 'b')])
        await models.apply([{ ...given, payload: { more: true } }])
        await models.apply([put('RefreshToken', 'r', { grantId: 'g', expiresAt: 9e15 })])
        expect((await access.listSessions('alice', 9)).sessions[0]).toMatchObject({
          key: 'new',
          lastUse: use,
        })
        expect((await access.listGrants('alice', 9, ''))[0]).toMatchObject({ lastUse: use })
      }))

    test('forgets a use with what was used', () =>
      withWorld(async ({ stores: { ownAccess: access, models }, clock }) => {
        const { session, grant } = createRows(clock)
        const rows = [session('s', 'a'), grant('g', { accountId: 'alice', clientId: 'web' })]
        await models.apply(rows)
        await access.recordUse({ kind: 'session', id: 'u' }, useAt(1000), 0)
        await access.recordUse({ kind: 'grant', id: 'g' }, useAt(1000), 0)
        clock.advance(2 * HOUR)
        await models.purge(clock.now(), 100)
        await models.apply([
          session('s', 'a', { expiresAt: clock.now() + HOUR }),
          grant('g', { accountId: 'alice', clientId: 'web', expiresAt: clock.now() + HOUR }),
        ])
        const [again] = (await access.listSessions('alice', 9)).sessions
        expect(again).toMatchObject({ lastUse: undefined })
        expect((await access.listGrants('alice', 9, ''))[0]).toMatchObject({ lastUse: undefined })
      }))

    test('ends all sessions of a person but one, and nobody else’s', () =>
      withWorld(async ({ stores, other, clock }) => {
        const { session } = createRows(clock)
        for (const uid of ['u1', 'u2', 'kept']) {
          const authorizations = { web: { sid: `sid ${uid}` } }
          const payload = { accountId: 'alice', uid, authorizations }
          await stores.models.apply([session(`${uid} tab`, 'a', { uid, payload })])
        }
        await stores.models.apply([session('o', 'a', { uid: 'o', accountId: 'bob' })])
        expect(await other.ownAccess.endOtherSessions('alice', 'kept')).toBe(2)
        expect(await other.ownAccess.endOtherSessions('alice', 'kept')).toBe(0)
        const { sessions: left } = await stores.ownAccess.listSessions('alice', 9)
        expect(left.map(({ uid }) => uid)).toEqual(['kept'])
        expect(await stores.models.findByUid('Session', 'o')).toBeDefined()
        const log = await readLog(stores)
        expect(log.map(({ subject, reason }) => `${subject} ${reason}`).toSorted()).toEqual([
          'sid u1 signed_out',
          'sid u2 signed_out',
        ])
        // A request that still held it does not raise it.
        await stores.models.apply([session('u1 late', 'a', { uid: 'u1' })])
        expect(await stores.models.findByUid('Session', 'u1')).toBeUndefined()
      }))

    test('ends very many sessions of a person, and writes and queues each once', () =>
      withWorld(async ({ stores, other, clock }) => {
        const { session } = createRows(clock)
        const backchannelLogoutUri = 'https://app.example/logout'
        await stores.clients.insert(client({ id: 'told', backchannelLogoutUri }))
        const uids = Array.from({ length: 1001 }, (_, index) => `u${index}`)
        const write = (uid: string) => {
          const authorizations = { told: { sid: `sid ${uid}` }, web: { sid: `other ${uid}` } }
          const payload = { accountId: 'alice', uid, authorizations }
          return session(`${uid} tab`, 'a', { uid, payload })
        }
        await stores.models.apply(uids.map(write))
        await stores.models.apply([{ kind: 'leave-session', uid: 'u7', clientId: 'told' }])
        expect(await other.ownAccess.endOtherSessions('alice', 'u0')).toBe(1000)
        const expected = uids.slice(1).flatMap((uid) => [`other ${uid}`, `sid ${uid}`])
        const log = await stores.revocations.list(0, 3000)
        expect(log.map(({ subject }) => subject).toSorted()).toEqual(expected.toSorted())
        expect(log.map(({ sequence }) => sequence)).toEqual(log.map((_, index) => index + 1))
        const queued = await stores.logouts.listDue('told', clock.now(), 3000)
        expect(queued.map(({ sid }) => sid).toSorted()).toEqual(
          uids
            .slice(1)
            .map((uid) => `sid ${uid}`)
            .toSorted(),
        )
        await stores.models.apply(uids.slice(1).map(write))
        expect((await stores.ownAccess.listSessions('alice', 9)).sessions).toHaveLength(1)
      }))

    test('withdraws what one person has given one client, offline too, and tells the client', () =>
      withWorld(async ({ stores, other, clock }) => {
        const { session, grant, put } = createRows(clock)
        const { models } = stores
        const own = { accountId: 'alice', clientId: 'web' }
        await models.apply([
          grant('g1', own),
          grant('g2', own),
          put('RefreshToken', 'r', { grantId: 'g2', ...own }),
          put('DeviceCode', 'waits', own),
          grant('of bob', { ...own, accountId: 'bob' }),
          grant('of spa', { ...own, clientId: 'spa' }),
          session('s', 'web'),
          session('t', 'spa'),
        ])
        expect(await other.ownAccess.withdrawConsent('alice', 'web')).toBe(true)
        expect(await other.ownAccess.withdrawConsent('alice', 'web')).toBe(false)
        expect(await other.ownAccess.withdrawConsent('nobody', 'web')).toBe(false)
        for (const [model, key] of [
          ['Grant', 'g1'],
          ['Grant', 'g2'],
          ['RefreshToken', 'r'],
          ['DeviceCode', 'waits'],
        ] as const) {
          expect(await models.find(model, key)).toBeUndefined()
        }
        expect(await models.find('Grant', 'of bob')).toBeDefined()
        expect(await models.find('Grant', 'of spa')).toBeDefined()
        const left = (await models.findByUid('Session', 'u'))?.payload['authorizations']
        expect(Object.keys(left ?? {})).toEqual(['spa'])
        const log = await readLog(stores)
        expect(log.map(({ kind, subject, reason }) => [kind, subject, reason])).toEqual([
          ['grant', 'g1', 'consent_withdrawn'],
          ['grant', 'g2', 'consent_withdrawn'],
          ['session', 'sid of web', 'consent_withdrawn'],
        ])
        const late = put('RefreshToken', 'late', { grantId: 'g2', ...own })
        expect(await models.apply([late])).toMatchObject({ outcome: 'lost' })
      }))

    test('ends others’ sessions while they are written and used, and nobody waits in a circle', () =>
      withWorld(async (world) => {
        const { session } = createRows(world.clock)
        const uids = Array.from({ length: 5 }, (_, index) => `u${index}`)
        const write = (uid: string, tab: number) =>
          session(`${uid} tab ${tab}`, 'web', {
            uid,
            payload: { accountId: 'alice', uid, authorizations: { web: { sid: `sid ${uid}` } } },
          })
        await world.stores.models.apply(uids.map((uid) => write(uid, 0)))
        await atOnce(world, 30, async ({ models, ownAccess }, index) => {
          const uid = uids[index % 5] ?? ''
          if (index === 15) return ownAccess.endOtherSessions('alice', 'u0')
          if (index % 3 > 0) return models.apply([write(uid, index)])
          const used = { kind: 'session', id: uid } as const
          return ownAccess.recordUse(used, useAt(world.clock.now()), 0)
        })
        const { sessions: left } = await world.stores.ownAccess.listSessions('alice', 99)
        expect(left.map(({ uid }) => uid)).toEqual(['u0'])
        const log = await readLog(world.stores)
        expect(log.map(({ subject }) => subject).toSorted()).toEqual(
          uids.slice(1).map((uid) => `sid ${uid}`),
        )
      }))

    test('leaves nothing of a consent, whatever is written under it at once', () =>
      withWorld(async (world) => {
        const { grant, put } = createRows(world.clock)
        const own = { accountId: 'alice', clientId: 'web' }
        await world.stores.models.apply([grant('g', own)])
        await atOnce(world, 12, async ({ models, ownAccess: access }, index) => {
          if (index === 6) return access.withdrawConsent('alice', 'web')
          if (index % 3 === 0) {
            const used = { kind: 'grant', id: 'g' } as const
            return access.recordUse(used, useAt(world.clock.now()), 0)
          }
          return models.apply([put('RefreshToken', `r${index}`, { grantId: 'g', ...own })])
        })
        expect(await world.stores.models.listByAccount('RefreshToken', 'alice', 99)).toEqual([])
        expect(await world.stores.ownAccess.listGrants('alice', 9, '')).toEqual([])
        expect(await readLog(world.stores)).toHaveLength(1)
      }))
  })
}
