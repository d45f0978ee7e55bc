import { describe, expect, test } from 'vitest'
import { client } from './records.ts'
import { atOnce, createRows, type WithWorld } from './world.ts'

export function testClients(withWorld: WithWorld): void {
  describe('the client store', () => {
    test('answers a client as it was given', () =>
      withWorld(async ({ stores, other }) => {
        const web = client({ defaultResource: 'https://notes.example/', disabled: true })
        const spa = client({ id: 'spa', authMethod: 'none', secretHash: undefined, name: 'Åpp 🦉' })
        expect(await stores.clients.insert(web)).toBe(true)
        expect(await stores.clients.insert(spa)).toBe(true)
        expect(await other.clients.findById('web')).toEqual(web)
        expect(await other.clients.findById('spa')).toEqual(spa)
        expect(await other.clients.findById('WEB')).toBeUndefined()
        expect(await other.clients.list()).toEqual([spa, web])
      }))

    test('refuses a second client with the same id, and leaves the first', () =>
      withWorld(async ({ stores, other }) => {
        await stores.clients.insert(client())
        expect(await other.clients.insert(client({ name: 'Another' }))).toBe(false)
        expect(await stores.clients.list()).toEqual([client()])
      }))

    test('lists by id, in one order everywhere', () =>
      withWorld(async ({ stores: { clients } }) => {
        const ids = [
          'web',
          'Web',
          'a-b',
          'ab',
          'a_b',
          'a.b',
          'é',
          'https://app.example/',
          '1',
          '10',
        ]
        for (const id of ids) await clients.insert(client({ id }))
        const listed = await clients.list()
        expect(listed.map(({ id }) => id)).toEqual(ids.toSorted())
      }))

    test('replaces a client that is there, and makes none that is not', () =>
      withWorld(async ({ stores, other }) => {
        await stores.clients.insert(client())
        const changed = client({ name: 'Changed', scopes: [], disabled: true, updatedAt: 9 })
        expect(await other.clients.update(changed)).toBe(true)
        expect(await stores.clients.findById('web')).toEqual(changed)
        expect(await other.clients.update(client({ id: 'gone' }))).toBe(false)
        expect(await stores.clients.list()).toEqual([changed])
      }))

    test('gives a change to one of many that have seen the same client', () =>
      withWorld(async (world) => {
        const { stores, other } = world
        await stores.clients.insert(client())
        const outcomes = await atOnce(world, 10, async ({ clients }, index) => {
          const changed = client({ name: `name ${index}`, updatedAt: 10 + index })
          return (await clients.update(changed, 2)) ? changed : undefined
        })
        const won = outcomes.filter((one) => one !== undefined)
        expect(won).toHaveLength(1)
        expect(await other.clients.findById('web')).toEqual(won[0])
        expect(await other.clients.update(client({ id: 'gone' }), 2)).toBe(false)
      }))

    test('ends what a client was issued with a change of it, or does neither', () =>
      withWorld(async ({ stores, other, clock }) => {
        const { put, grant } = createRows(clock)
        await stores.clients.insert(client())
        await stores.models.apply([
          grant('g', { clientId: 'web', accountId: 'alice' }),
          put('RefreshToken', 'r', { clientId: 'web', grantId: 'g' }),
        ])
        const changed = client({ secretHash: 'another', updatedAt: 9 })
        expect(await other.clients.updateAndEndAccess(changed, 1)).toBe(false)
        expect(await stores.revocations.head()).toBe(0)
        expect(await stores.models.find('RefreshToken', 'r')).toBeDefined()
        expect(await other.clients.updateAndEndAccess(changed, 2)).toBe(true)
        expect(await stores.clients.findById('web')).toEqual(changed)
        expect(await stores.models.find('RefreshToken', 'r')).toBeUndefined()
        const log = await stores.revocations.list(0, 10)
        expect(log.map(({ kind, subject, reason }) => [kind, subject, reason])).toEqual([
          ['grant', 'g', 'client_changed'],
          ['client', 'web', 'client_changed'],
        ])
      }))

    test('ends the grants of a client that is removed, and no session of its people', () =>
      withWorld(async ({ stores, other, clock }) => {
        const { put, grant, session } = createRows(clock)
        await stores.clients.insert(client())
        await stores.clients.insert(client({ id: 'spa' }))
        for (const clientId of ['web', 'spa']) {
          await stores.models.apply([
            grant(clientId, { clientId, accountId: 'alice' }),
            put('RefreshToken', clientId, { clientId, grantId: clientId }),
            put('ClientCredentials', clientId, { clientId }),
          ])
        }
        await stores.models.apply([session('s', 'web')])
        expect(await other.clients.remove('web')).toBe(true)
        for (const model of ['Grant', 'RefreshToken', 'ClientCredentials']) {
          expect(await stores.models.find(model, 'web')).toBeUndefined()
          expect(await stores.models.find(model, 'spa')).toBeDefined()
        }
        expect(await stores.models.find('Session', 's')).toBeDefined()
        const log = await stores.revocations.list(0, 10)
        expect(log.map(({ kind, subject, reason }) => [kind, subject, reason])).toEqual([
          ['grant', 'web', 'client_removed'],
          ['client', 'web', 'client_removed'],
        ])
        expect(await stores.clients.list()).toEqual([client({ id: 'spa' })])
        expect(await other.clients.remove('web')).toBe(false)
      }))
  })
}
