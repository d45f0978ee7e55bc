import { describe, expect, test } from 'vitest'
import type { Account } from '../../auth-server/accounts/account.ts'
import { account } from './records.ts'
import { atOnce, createRows, hanging, type WithWorld } from './world.ts'

export function testAccounts(withWorld: WithWorld): void {
  describe('the account store', () => {
    const full: Account = account({
      passwordHash: '$argon2id$v=19$m=1,t=1,p=1$c2FsdA$aGFzaA',
      roles: ['editor', 'reader'],
      groups: ['staff'],
      profile: { name: 'Älice 🦉', email: 'alice@example.com', emailVerified: true },
      disabled: true,
      accessEndedAt: 5,
      owner: 'file',
      createdAt: 1_750_000_000_001,
      updatedAt: 1_750_000_000_002,
    })

    test('answers an account as it was given, by id and by username', () =>
      withWorld(async ({ stores, other }) => {
        const bare = account({ id: 'acc_2', username: 'bob' })
        expect(await stores.accounts.insert(full)).toBe(true)
        expect(await stores.accounts.insert(bare)).toBe(true)
        expect(await other.accounts.findById('alice')).toEqual(full)
        expect(await other.accounts.findByUsername('bob')).toEqual(bare)
        expect(await other.accounts.list()).toEqual([full, bare])
        expect(await stores.accounts.findById('bob')).toBeUndefined()
        expect(await stores.accounts.findByUsername('acc_2')).toBeUndefined()
      }))

    test.each([
      ['id', account({ username: 'other' })],
      ['username', account({ id: 'other' })],
    ])('refuses a second account with the same %s, and leaves the first', (_what, second) =>
      withWorld(async ({ stores, other }) => {
        await stores.accounts.insert(full)
        expect(await other.accounts.insert(second)).toBe(false)
        expect(await stores.accounts.list()).toEqual([full])
      }),
    )

    test('lists by username, in one order everywhere', () =>
      withWorld(async ({ stores: { accounts } }) => {
        const names = ['b', 'a-c', 'ab', 'a_c', 'a', 'a.b', 'ä', 'z', 'a b', 'B', '🦉', 'a1', 'a10']
        for (const username of names) await accounts.insert(account({ id: username, username }))
        const listed = await accounts.list()
        expect(listed.map(({ username }) => username)).toEqual(names.toSorted())
      }))

    test('replaces an account that is there, and makes none that is not', () =>
      withWorld(async ({ stores, other }) => {
        await stores.accounts.insert(full)
        const changed = account({ username: 'alicia', updatedAt: 9 })
        expect(await other.accounts.update(changed)).toBe(true)
        expect(await stores.accounts.list()).toEqual([changed])
        expect(await stores.accounts.findByUsername('alice')).toBeUndefined()
        expect(await other.accounts.update(account({ id: 'gone', username: 'x' }))).toBe(false)
        expect(await stores.accounts.findById('gone')).toBeUndefined()
      }))

    test('changes no member that was not named, whatever others change at once', () =>
      withWorld(async (world) => {
        const { stores, clock } = world
        await stores.accounts.insert(full)
        for (let round = 1; round <= 10; round += 1) {
          const changes = [
            { roles: [`role ${round}`] },
            { groups: [`group ${round}`] },
            { passwordHash: `hash ${round}` },
            { profile: { name: `name ${round}` } },
            { disabled: round % 2 === 0 },
          ]
          clock.advance(1000)
          await atOnce(world, changes.length, ({ accounts }, index) => {
            const update = index === 2 ? accounts.updateAndEndAccess : accounts.update
            return update({ id: full.id, ...changes[index] })
          })
          expect(await stores.accounts.findById(full.id)).toEqual({
            ...full,
            ...Object.assign({}, ...changes),
            accessEndedAt: clock.now(),
          })
        }
      }))

    test('revokes what was issued about who loses a role, whoever else changes them', () =>
      withWorld(async (world) => {
        const { stores, other } = world
        await stores.accounts.insert(account({ roles: ['editor', 'reader'] }))
        const isRevoked = () => other.revocations.isRevoked('user', 'alice')
        await other.accounts.update({ id: 'alice', roles: ['reader', 'editor', 'boss'] })
        await other.accounts.update({ id: 'alice', groups: ['staff'], profile: { name: 'A' } })
        expect(await other.accounts.update({ id: 'gone', roles: [] })).toBe(false)
        expect(await isRevoked()).toBe(false)
        // One of them takes one away that the other has given.
        await atOnce(world, 2, ({ accounts }, index) =>
          accounts.update({ id: 'alice', roles: index === 0 ? ['reader'] : ['reader', 'editor'] }),
        )
        expect(await isRevoked()).toBe(true)
        expect((await stores.accounts.findById('alice'))?.accessEndedAt).toBeUndefined()
      }))

    test('takes away what is named with no value', () =>
      withWorld(async ({ stores, other }) => {
        await stores.accounts.insert(full)
        const gone = { passwordHash: undefined, accessEndedAt: undefined }
        expect(await stores.accounts.update({ id: full.id, ...gone })).toBe(true)
        expect(await other.accounts.findById(full.id)).toEqual({ ...full, ...gone })
      }))

    test.each([
      ['is changed so that its access ends', 'user_changed'],
      ['is removed', 'user_removed'],
    ] as const)('ends everything of an account that %s, and nothing of another', (_how, reason) =>
      withWorld(async ({ stores, other, clock }) => {
        const rows = createRows(clock)
        for (const id of ['alice', 'bob']) {
          await stores.accounts.insert(account({ id, username: id }))
          await stores.models.apply(hanging(rows, id))
        }
        clock.advance(1000)
        const result =
          reason === 'user_removed'
            ? await other.accounts.remove('alice')
            : await other.accounts.updateAndEndAccess(account({ roles: ['new'] }))
        expect(result).toBe(true)
        for (const { model, key } of hanging(rows, 'alice')) {
          expect(await stores.models.find(model, key)).toBeUndefined()
        }
        for (const { model, key } of hanging(rows, 'bob')) {
          expect(await stores.models.find(model, key)).toBeDefined()
        }
        const log = await stores.revocations.list(0, 10)
        const named = log.map((one) => [one.kind, one.subject, one.reason, one.revokedAt])
        expect(named).toEqual([
          ['grant', 'grant of alice', reason, clock.now()],
          ['session', 'sid of client of alice', reason, clock.now()],
          ['user', 'alice', reason, clock.now()],
        ])
        expect(await stores.accounts.findById('alice')).toEqual(
          reason === 'user_removed'
            ? undefined
            : account({ roles: ['new'], accessEndedAt: clock.now() }),
        )
        const again = await stores.models.apply([rows.grant('grant of alice')])
        expect(again).toMatchObject({ outcome: 'lost' })
        await stores.models.apply([rows.session('session of alice', 'x', { uid: 'alice' })])
        expect(await stores.models.findByUid('Session', 'alice')).toBeUndefined()
      }),
    )

    test('dates each end in a later second than the one before, whoever ends', () =>
      withWorld(async ({ stores, other, clock }) => {
        const first = clock.now() + 250
        clock.advance(250)
        await stores.accounts.insert(account())
        const ends = [
          () => stores.accounts.updateAndEndAccess({ id: 'alice' }),
          () => other.access.end('user', 'alice'),
          () => stores.access.end('all', ''),
          // What somebody has read before does not undo it.
          () => other.accounts.updateAndEndAccess(account()),
        ]
        const dates = []
        for (const end of ends) {
          await end()
          dates.push((await stores.accounts.findById('alice'))?.accessEndedAt)
        }
        const second = first - 250
        expect(dates).toEqual([first, second + 1000, second + 2000, second + 3000])
        clock.advance(10_000)
        await other.access.end('all', '')
        expect((await stores.accounts.findById('alice'))?.accessEndedAt).toBe(clock.now())
      }))

    test('says where there is nothing to change or remove', () =>
      withWorld(async ({ stores: { accounts } }) => {
        expect(await accounts.updateAndEndAccess(account())).toBe(false)
        expect(await accounts.remove('alice')).toBe(false)
        expect(await accounts.list()).toEqual([])
      }))

    test('ends thousands of grants of one account in one go', { timeout: 180_000 }, () =>
      withWorld(async ({ stores, clock }) => {
        const { grant, put } = createRows(clock)
        await stores.accounts.insert(account())
        const grants = 5500
        for (let first = 0; first < grants; first += 500) {
          const names = Array.from({ length: 500 }, (_, index) => `g${first + index}`)
          await stores.models.apply(
            names.map((grantId) => grant(grantId, { accountId: 'alice', clientId: 'web' })),
          )
        }
        await stores.models.apply([put('RefreshToken', 'r', { grantId: 'g7', accountId: 'alice' })])
        expect(await stores.accounts.updateAndEndAccess(account())).toBe(true)
        expect(await stores.models.find('RefreshToken', 'r')).toBeUndefined()
        expect(await stores.models.find('Grant', 'g5499')).toBeUndefined()
        expect(await stores.revocations.isRevoked('grant', 'g0')).toBe(true)
        const last = await stores.revocations.list(grants - 1, 10)
        expect(last.map(({ sequence }) => sequence)).toEqual([grants, grants + 1])
      }),
    )
  })
}
