import { describe, expect, test } from 'vitest'
import type { Whose } from '../../auth-server/backchannel/logout-queue.ts'
import type { Stores } from '../../auth-server/storage/stores.ts'
import { account, client } from './records.ts'
import { atOnce, createRows, HOUR, type World, type WithWorld } from './world.ts'

const TOLD = 'https://app.example/logout'

/** Clients that want to be told, and one that does not. */
async function addClients({ stores }: World, ...ids: readonly string[]): Promise<void> {
  for (const id of ids) await stores.clients.insert(client({ id, backchannelLogoutUri: TOLD }))
  await stores.clients.insert(client({ id: 'silent' }))
}

async function listQueue({ logouts }: Stores, now: number) {
  const found = []
  for (const whose of ['operator', 'stranger'] as const) {
    for (let place: string | undefined = ''; ;) {
      place = await logouts.nextClient(whose, place)
      if (place === undefined) break
      found.push(...(await logouts.listDue(place, now, 1000)))
    }
  }
  return found
}

const namesOf = (queue: Awaited<ReturnType<typeof listQueue>>) =>
  queue.map(({ clientId, sid }) => `${clientId}: ${sid}`).toSorted()

const END = { kind: 'end-session', uid: 'u' } as const

export function testLogouts(withWorld: WithWorld): void {
  describe('the queue of logouts', () => {
    test('has every client of a session that ends in any tab, which wants to be told', () =>
      withWorld(async (world) => {
        const { stores, other, clock } = world
        const { session } = createRows(clock)
        await addClients(world, 'a', 'b', 'c', 'd')
        await stores.clients.insert(
          client({ id: 'off', backchannelLogoutUri: TOLD, disabled: true }),
        )
        for (const [index, id] of ['a', 'b', 'silent', 'off', 'unknown'].entries()) {
          await stores.models.apply([session(`tab ${index}`, id)])
        }
        await stores.models.apply([session('o', 'c', { uid: 'another' })])
        expect(await listQueue(stores, clock.now())).toEqual([])
        const told = { clientId: 'd', sid: 'told', accountId: 'alice' }
        await stores.models.apply([{ ...END, clients: [told] }])
        const queue = await listQueue(other, clock.now())
        // One that is disabled may be enabled again before the entry ends.
        expect(namesOf(queue)).toEqual(['a: sid of a', 'b: sid of b', 'd: told', 'off: sid of off'])
        for (const one of queue) {
          expect(one).toMatchObject({ accountId: 'alice', queuedAt: clock.now(), attempts: 0 })
        }
      }))

    test('has the client that is left in any tab, and no other', () =>
      withWorld(async (world) => {
        const { stores, other, clock } = world
        const { session } = createRows(clock)
        await addClients(world, 'a', 'b')
        await stores.models.apply([session('tab', 'a'), session('second tab', 'b')])
        const leave = { kind: 'leave-session', uid: 'u', clientId: 'a' } as const
        await stores.models.apply([leave])
        await other.models.apply([leave])
        const queue = await listQueue(other, clock.now())
        expect(namesOf(queue)).toEqual(['a: sid of a'])
      }))

    test('has the client that a request gives the session when it has just ended', () =>
      withWorld(async (world) => {
        const { stores, clock } = world
        const { session } = createRows(clock)
        await addClients(world, 'a', 'b')
        await stores.models.apply([session('tab', 'a')])
        await stores.models.apply([END])
        await stores.models.apply([session('second tab', 'b')])
        await stores.models.apply([session('second tab', 'b')])
        const queue = await listQueue(stores, clock.now())
        expect(namesOf(queue)).toEqual(['a: sid of a', 'b: sid of b'])
        expect(await stores.revocations.isRevoked('session', 'sid of b')).toBe(true)
        expect(await stores.models.find('Session', 'second tab')).toBeUndefined()
      }))

    test('has the client of a tab that nobody would know of at the end', () =>
      withWorld(async (world) => {
        const { stores, clock } = world
        await addClients(world, 'a')
        const { session } = createRows(clock)
        for (let index = 0; index < 40; index += 1) {
          clock.advance(1)
          const authorizations = { a: { sid: `sid ${index}` } }
          const payload = { accountId: 'alice', uid: 'u', authorizations }
          await stores.models.apply([session(`tab ${index}`, 'a', { payload })])
        }
        const sids = Array.from({ length: 40 }, (_, index) => `sid ${index}`)
        const forgotten = (await listQueue(stores, clock.now())).map(({ sid }) => sid)
        expect(forgotten).toEqual(sids.slice(0, forgotten.length))
        expect(forgotten.length).toBeGreaterThan(0)
        await stores.models.apply([END])
        const all = (await listQueue(stores, clock.now())).map(({ sid }) => sid)
        expect(all.toSorted()).toEqual(sids.toSorted())
      }))

    test('has nobody twice, however often and by whomever the session is ended', () =>
      withWorld(async (world) => {
        const { stores, clock } = world
        await addClients(world, 'a')
        await stores.models.apply([createRows(clock).session('s', 'a')])
        const known = { clientId: 'a', sid: 'sid of a', accountId: 'alice' }
        await atOnce(world, 10, ({ models }) => models.apply([{ ...END, clients: [known] }]))
        expect(namesOf(await listQueue(stores, clock.now()))).toEqual(['a: sid of a'])
      }))

    test('has nobody where nobody was signed in, or the key of a session only changes', () =>
      withWorld(async (world) => {
        const { stores, clock } = world
        const { session } = createRows(clock)
        await addClients(world, 'a')
        const anonymous = { clientId: 'a', sid: 'x', accountId: undefined }
        await stores.models.apply([{ ...END, uid: 'nobody', clients: [anonymous] }])
        await stores.models.apply([session('old', 'a')])
        await stores.models.apply([{ kind: 'destroy', model: 'Session', key: 'old' }])
        expect(await listQueue(stores, clock.now())).toEqual([])
      }))

    test('has nobody where the batch that ends the session is lost', () =>
      withWorld(async (world) => {
        const { stores, clock } = world
        await addClients(world, 'a')
        await stores.models.apply([createRows(clock).session('s', 'a')])
        const lost = { kind: 'consume', model: 'RefreshToken', key: 'none' } as const
        expect(await stores.models.apply([END, lost])).toMatchObject({ outcome: 'lost' })
        expect(await listQueue(stores, clock.now())).toEqual([])
      }))

    test('has the clients of whoever is disabled', () =>
      withWorld(async (world) => {
        const { stores, clock } = world
        await addClients(world, 'a')
        await stores.accounts.insert(account())
        await stores.models.apply([createRows(clock).session('s', 'a')])
        await stores.accounts.updateAndEndAccess(account({ disabled: true }))
        expect(namesOf(await listQueue(stores, clock.now()))).toEqual(['a: sid of a'])
      }))

    test('gives an entry to one of many that want it, for a while', () =>
      withWorld(async (world) => {
        const { stores, other, clock } = world
        await addClients(world, 'a')
        await stores.models.apply([createRows(clock).session('s', 'a'), END])
        const [entry] = await stores.logouts.listDue('a', clock.now(), 1)
        if (!entry) throw new Error('nothing is due')
        const lease = clock.now() + 1000
        const claims = await atOnce(world, 12, ({ logouts }) => logouts.claim(entry, lease))
        const [won, ...more] = claims.filter((claim) => claim !== undefined)
        expect([won, more]).toEqual([{ ...entry, attempts: 1 }, []])
        clock.advance(999)
        expect(await listQueue(other, clock.now())).toEqual([])
        clock.advance(1)
        expect(await listQueue(other, clock.now())).toEqual([won])
      }))

    test('has an entry again when it was postponed, and no more when it was removed', () =>
      withWorld(async (world) => {
        const { stores, other, clock } = world
        await addClients(world, 'a')
        await stores.models.apply([createRows(clock).session('s', 'a'), END])
        const [entry] = await stores.logouts.listDue('a', clock.now(), 1)
        const first = entry && (await stores.logouts.claim(entry, clock.now() + 1000))
        if (!first) throw new Error('not claimed')
        await stores.logouts.postpone(first, clock.now() + HOUR)
        clock.advance(HOUR - 1)
        expect(await listQueue(other, clock.now())).toEqual([])
        expect(await other.logouts.nextClient('operator', '')).toBe('a')
        clock.advance(1)
        const second = await other.logouts.claim(first, clock.now() + 1000)
        // Whoever had it before and comes late moves nothing.
        await stores.logouts.postpone(first, clock.now())
        expect(await listQueue(stores, clock.now())).toEqual([])
        await other.logouts.remove(second?.id ?? '')
        expect(await stores.logouts.nextClient('operator', '')).toBeUndefined()
      }))

    test('goes from client to client, and gives what waits longest first', () =>
      withWorld(async (world) => {
        const { stores, clock } = world
        await addClients(world, 'a', 'b')
        const { session } = createRows(clock)
        for (let index = 0; index < 5; index += 1) {
          clock.advance(1)
          const uid = `u${index}`
          const authorizations = { a: { sid: `a${index}` }, b: { sid: `b${index}` } }
          const payload = { accountId: 'alice', uid, authorizations }
          await stores.models.apply([session(uid, 'a', { uid, payload }), { ...END, uid }])
        }
        const places = ['', 'a', 'b']
        const next = (whose: Whose) =>
          Promise.all(places.map((place) => stores.logouts.nextClient(whose, place)))
        expect(await next('operator')).toEqual(['a', 'b', undefined])
        expect(await next('stranger')).toEqual([undefined, undefined, undefined])
        // Whoever has described it, or has removed it, it is none of the operator's.
        await stores.clients.update(client({ id: 'a', owner: 'dynamic' }))
        await stores.clients.remove('b')
        expect(await next('operator')).toEqual([undefined, undefined, undefined])
        expect(await next('stranger')).toEqual(['a', 'b', undefined])
        const due = await stores.logouts.listDue('b', clock.now(), 3)
        expect(due.map(({ sid }) => sid)).toEqual(['b0', 'b1', 'b2'])
      }))
  })
}
