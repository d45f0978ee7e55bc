import { describe, expect, test } from 'vitest'
import type { DocumentClient } from '../../auth-server/clients/document.ts'
import { client } from './records.ts'
import { atOnce, createRows, HOUR, type WithWorld } from './world.ts'

const URL = 'https://app.example/client'

function described(hash: string, more: Partial<DocumentClient> = {}): DocumentClient {
  const base = client({ id: URL, owner: 'document', secretHash: undefined, authMethod: 'none' })
  return { ...base, document: { hash }, ...more }
}

export function testClientDocuments(withWorld: WithWorld): void {
  describe('the store of clients that are described by documents', () => {
    test('keeps a client as it was agreed to', () =>
      withWorld(async ({ stores, other }) => {
        expect(await stores.documents.keep(described('one'))).toBe('kept')
        expect(await other.documents.keep(described('one', { name: 'Later' }))).toBe('known')
        expect(await other.clients.findById(URL)).toEqual(described('one'))
        expect(await other.clients.list()).toEqual([described('one')])
      }))

    test('of another document ends what was given to the first, and nothing else', () =>
      withWorld(async ({ stores, other, clock }) => {
        const { put } = createRows(clock)
        const granted = (key: string, clientId: string) =>
          put('Grant', key, { grantId: key, clientId, accountId: 'alice' })
        await stores.documents.keep(described('one'))
        await stores.models.apply([granted('theirs', URL), granted('of web', 'web')])
        expect(await other.documents.keep(described('two'))).toBe('replaced')
        expect(await stores.clients.findById(URL)).toEqual(described('two'))
        expect(await stores.models.find('Grant', 'theirs')).toBeUndefined()
        expect(await stores.models.find('Grant', 'of web')).toBeDefined()
        expect(await other.revocations.isRevoked('grant', 'theirs')).toBe(true)
        expect(await other.revocations.isRevoked('client', URL, clock.now())).toBe(false)
        expect(await stores.models.apply([granted('theirs', URL)])).toMatchObject({
          outcome: 'lost',
        })
        expect(await stores.models.apply([granted('new', URL)])).toEqual({ outcome: 'applied' })
      }))

    test('ends a client while it has the document that is meant', () =>
      withWorld(async ({ stores, other, clock }) => {
        const { put } = createRows(clock)
        await stores.documents.keep(described('two'))
        await stores.models.apply([put('Grant', 'g', { grantId: 'g', clientId: URL })])
        expect(await other.documents.end(URL, 'one')).toBe(false)
        expect(await stores.models.find('Grant', 'g')).toBeDefined()
        expect(await other.documents.end(URL, 'two')).toBe(true)
        expect(await other.documents.end(URL, 'two')).toBe(false)
        expect(await stores.clients.findById(URL)).toBeUndefined()
        expect(await stores.models.find('Grant', 'g')).toBeUndefined()
      }))

    test('keeps one out that is disabled, whatever its document says by now', () =>
      withWorld(async ({ stores, other }) => {
        await stores.documents.keep(described('one'))
        const disabled = described('one', { disabled: true, updatedAt: 3 })
        expect(await stores.clients.updateAndEndAccess(disabled, 2)).toBe(true)
        expect(await other.documents.keep(described('one'))).toBe('known')
        expect(await other.documents.keep(described('two'))).toBe('known')
        expect(await other.documents.end(URL, 'one')).toBe(false)
        expect(await other.documents.removeUnused(9, 9)).toEqual([])
        expect(await stores.clients.findById(URL)).toEqual(disabled)
      }))

    test('of many at once that keep different documents one is there in the end', () =>
      withWorld(async (world) => {
        const outcomes = await atOnce(world, 8, ({ documents }, index) =>
          documents.keep(described(`hash ${index}`)),
        )
        expect(outcomes.filter((outcome) => outcome === 'kept')).toHaveLength(1)
        expect(outcomes.filter((outcome) => outcome === 'replaced')).toHaveLength(7)
        expect(await world.stores.clients.list()).toHaveLength(1)
      }))

    test('of many at once that end one client one does', () =>
      withWorld(async (world) => {
        await world.stores.documents.keep(described('one'))
        const outcomes = await atOnce(world, 8, ({ documents }) => documents.end(URL, 'one'))
        expect(outcomes.filter(Boolean)).toHaveLength(1)
      }))

    test('removes those that nobody has granted anything, the oldest first', () =>
      withWorld(async ({ stores, other, clock }) => {
        const { put } = createRows(clock)
        const names = ['a', 'b', 'c', 'd']
        for (const [index, name] of names.entries()) {
          await stores.documents.keep(described('x', { id: name, createdAt: index }))
        }
        await stores.clients.insert(client({ id: 'web', createdAt: 0 }))
        await stores.models.apply([put('Grant', 'g', { grantId: 'g', clientId: 'b' })])
        expect(await other.documents.removeUnused(3, 1)).toEqual(['a'])
        expect(await other.documents.removeUnused(3, 10)).toEqual(['c'])
        clock.advance(2 * HOUR)
        const left = await stores.clients.list()
        expect(left.map(({ id }) => id)).toEqual(['b', 'd', 'web'])
      }))
  })
}
