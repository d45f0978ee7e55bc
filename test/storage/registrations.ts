import { describe, expect, test } from 'vitest'
import type { Admission, Invite } from '../../auth-server/clients/registration.ts'
import { client } from './records.ts'
import { atOnce, createRows, type WithWorld } from './world.ts'

const INVITE: Invite = {
  id: 'inv_1',
  label: 'The crew 🦉',
  usesLeft: 2,
  createdAt: 1,
  expiresAt: 99,
}
const HASH = 'hash of the invite'
const OPEN: Admission = { inviteHash: undefined, most: 10, now: 5 }
const INVITED: Admission = { ...OPEN, inviteHash: HASH }

function dynamic(id: string, more = {}) {
  return client({ id, owner: 'dynamic', secretHash: undefined, authMethod: 'none', ...more })
}

export function testRegistrations(withWorld: WithWorld): void {
  describe('the store of registrations', () => {
    test('answers an invite as it was given, until it is removed', () =>
      withWorld(async ({ stores, other }) => {
        const later = { ...INVITE, id: 'inv_0', createdAt: 2 }
        await stores.registrations.addInvite(later, 'another hash')
        await stores.registrations.addInvite(INVITE, HASH)
        expect(await other.registrations.findInvite(HASH)).toEqual(INVITE)
        expect(await other.registrations.findInvite('inv_1')).toBeUndefined()
        expect(await other.registrations.listInvites()).toEqual([INVITE, later])
        expect(await stores.registrations.removeInvite('inv_1')).toBe(true)
        expect(await stores.registrations.removeInvite('inv_1')).toBe(false)
        expect(await other.registrations.findInvite(HASH)).toBeUndefined()
      }))

    test('registers a client with its token, and forgets the token with the client', () =>
      withWorld(async ({ stores, other }) => {
        const one = dynamic('dyn_1')
        expect(await stores.registrations.register(one, 'token hash', OPEN)).toBe('registered')
        expect(await other.clients.findById('dyn_1')).toEqual(one)
        expect(await other.registrations.findTokenHash('dyn_1')).toBe('token hash')
        expect(await other.registrations.findTokenHash('web')).toBeUndefined()
        expect(await stores.clients.remove('dyn_1')).toBe(true)
        expect(await other.registrations.findTokenHash('dyn_1')).toBeUndefined()
      }))

    test('an invite is used as often as it says, by however many at once', () =>
      withWorld(async (world) => {
        const { stores } = world
        await stores.registrations.addInvite(INVITE, HASH)
        const outcomes = await atOnce(world, 10, ({ registrations }, index) => {
          return registrations.register(dynamic(`dyn_${index}`), `hash ${index}`, INVITED)
        })
        expect(outcomes.filter((outcome) => outcome === 'registered')).toHaveLength(2)
        expect(outcomes.filter((outcome) => outcome === 'no_invite')).toHaveLength(8)
        expect(await stores.clients.list()).toHaveLength(2)
        expect(await stores.registrations.findInvite(HASH)).toMatchObject({ usesLeft: 0 })
      }))

    test('an invite that has expired, or is none, lets nobody in', () =>
      withWorld(async ({ stores: { registrations, clients } }) => {
        await registrations.addInvite(INVITE, HASH)
        const one = dynamic('dyn_1')
        expect(await registrations.register(one, 'a', { ...INVITED, now: 99 })).toBe('no_invite')
        expect(await registrations.register(one, 'a', { ...OPEN, inviteHash: 'x' })).toBe(
          'no_invite',
        )
        expect(await clients.list()).toEqual([])
      }))

    test('takes as many clients as it may by however many at once, and takes no use for others', () =>
      withWorld(async (world) => {
        const { stores } = world
        await stores.registrations.addInvite({ ...INVITE, usesLeft: 100 }, HASH)
        await stores.clients.insert(client())
        const outcomes = await atOnce(world, 10, ({ registrations }, index) => {
          const admission = { ...INVITED, most: 3 }
          return registrations.register(dynamic(`dyn_${index}`), `hash ${index}`, admission)
        })
        expect(outcomes.filter((outcome) => outcome === 'registered')).toHaveLength(3)
        expect(outcomes.filter((outcome) => outcome === 'too_many')).toHaveLength(7)
        expect(await stores.registrations.findInvite(HASH)).toMatchObject({ usesLeft: 97 })
      }))

    test('replaces a client only as it was', () =>
      withWorld(async ({ stores, other }) => {
        const before = dynamic('dyn_1')
        await stores.registrations.register(before, 'hash', OPEN)
        const after = { ...before, name: 'After', updatedAt: before.updatedAt + 1 }
        const late = { ...before, name: 'Late', updatedAt: before.updatedAt + 2 }
        expect(await stores.registrations.replace(before, after)).toBe(true)
        expect(await other.registrations.replace(before, late)).toBe(false)
        expect(await other.clients.findById('dyn_1')).toEqual(after)
        await stores.clients.remove('dyn_1')
        expect(await stores.registrations.replace(after, late)).toBe(false)
        expect(await stores.clients.list()).toEqual([])
      }))

    test('removes those that never got a token, with all that hangs on them', () =>
      withWorld(async ({ stores, other, clock }) => {
        const { grant } = createRows(clock)
        const { registrations } = stores
        for (const id of ['dyn_used', 'dyn_unused', 'dyn_young']) {
          const now = id === 'dyn_young' ? 50 : 5
          await registrations.register(dynamic(id), `hash of ${id}`, { ...OPEN, now })
        }
        await stores.clients.insert(client())
        await stores.models.apply([grant('g', { clientId: 'dyn_unused' })])
        await registrations.recordUse('dyn_used', 20, 0)
        expect(await other.registrations.removeUnused(50, 10)).toEqual(['dyn_unused'])
        expect(await registrations.removeUnused(50, 10)).toEqual([])
        const left = (await stores.clients.list()).map(({ id }) => id)
        expect(left).toEqual(['dyn_used', 'dyn_young', 'web'])
        expect(await registrations.findTokenHash('dyn_unused')).toBeUndefined()
        expect(await stores.revocations.isRevoked('client', 'dyn_unused')).toBe(true)
        expect(await stores.models.find('Grant', 'g')).toBeUndefined()
      }))

    test('removes no more of them at once than it is told to', () =>
      withWorld(async ({ stores: { registrations } }) => {
        for (const id of ['dyn_1', 'dyn_2', 'dyn_3']) {
          await registrations.register(dynamic(id), `hash of ${id}`, OPEN)
        }
        expect(await registrations.removeUnused(50, 2)).toHaveLength(2)
        expect(await registrations.removeUnused(50, 2)).toHaveLength(1)
      }))

    test('purges invites that have expired', () =>
      withWorld(async ({ stores: { registrations } }) => {
        await registrations.addInvite(INVITE, HASH)
        await registrations.addInvite({ ...INVITE, id: 'inv_2', expiresAt: 200 }, 'another hash')
        expect(await registrations.purgeInvites(100, 10)).toBe(1)
        expect((await registrations.listInvites()).map(({ id }) => id)).toEqual(['inv_2'])
      }))
  })
}
