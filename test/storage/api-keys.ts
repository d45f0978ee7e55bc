import { describe, expect, test } from 'vitest'
import type { ApiKey, StoredApiKey } from '../../auth-server/api-keys/api-key.ts'
import { account, apiKey } from './records.ts'
import { atOnce, readLog, type WithWorld } from './world.ts'

const DAY = 86_400_000

/** As it is found: without its hash. */
function shown({ hash: _hash, ...key }: StoredApiKey): ApiKey {
  return key
}

export function testApiKeys(withWorld: WithWorld): void {
  describe('the store of API keys', () => {
    test('answers a key as it was given, by id, by hash and by account', () =>
      withWorld(async ({ stores, other }) => {
        await stores.accounts.insert(account())
        await stores.accounts.insert(account({ id: 'bob', username: 'bob' }))
        const first = apiKey({ name: 'Bäckup 🦉', expiresAt: 99, scopes: ['a', 'b'] })
        const second = apiKey({ id: 'key_0', hash: 'other', createdAt: 9 })
        const bobs = apiKey({ id: 'key_b', hash: 'bobs', accountId: 'bob' })
        for (const key of [second, bobs, first]) {
          expect(await stores.apiKeys.insert(key, 2)).toBe('added')
        }
        expect(await other.apiKeys.findById('key_1')).toEqual(shown(first))
        expect(await other.apiKeys.findByHash('other')).toEqual(shown(second))
        expect(await other.apiKeys.listByAccount('alice')).toEqual([first, second].map(shown))
        expect(await other.apiKeys.list()).toEqual([first, bobs, second])
        expect(await other.apiKeys.findByHash('key_1')).toBeUndefined()
        expect(await other.apiKeys.findById('a hash')).toBeUndefined()
        expect(await other.apiKeys.listByAccount('nobody')).toEqual([])
      }))

    test.each([
      ['id', apiKey({ hash: 'other', name: 'Another' })],
      ['hash', apiKey({ id: 'key_2', name: 'Another' })],
    ])('refuses a second key with the same %s, and leaves the first', (_what, second) =>
      withWorld(async ({ stores, other }) => {
        await stores.accounts.insert(account())
        expect(await stores.apiKeys.insert(apiKey(), 9)).toBe('added')
        expect(await other.apiKeys.insert(second, 9)).toBe('taken')
        expect(await stores.apiKeys.list()).toEqual([apiKey()])
      }),
    )

    test.each([
      ['is not there', []],
      ['is disabled', [account({ disabled: true })]],
      ['was signed out since', [account({ accessEndedAt: 3 })]],
    ])('makes no key for an account that %s', (_how, accounts) =>
      withWorld(async ({ stores }) => {
        for (const one of accounts) await stores.accounts.insert(one)
        expect(await stores.apiKeys.insert(apiKey(), 9)).toBe('no_owner')
        expect(await stores.apiKeys.list()).toEqual([])
      }),
    )

    test('makes one for an account that was signed out before', () =>
      withWorld(async ({ stores }) => {
        await stores.accounts.insert(account({ accessEndedAt: 2 }))
        expect(await stores.apiKeys.insert(apiKey(), 9)).toBe('added')
      }))

    test('counts those of one account that are good, and no others', () =>
      withWorld(async ({ stores: { accounts, apiKeys } }) => {
        await accounts.insert(account())
        await accounts.insert(account({ id: 'bob', username: 'bob' }))
        const createdAt = 1000
        const make = (n: number, more: Partial<StoredApiKey> = {}) =>
          apiKeys.insert(apiKey({ id: `key_${n}`, hash: `h${n}`, createdAt, ...more }), 2)
        expect(await make(1, { expiresAt: 1000 })).toBe('added')
        expect(await make(2)).toBe('added')
        expect(await make(3, { expiresAt: 1001 })).toBe('added')
        expect(await make(4)).toBe('too_many')
        expect(await make(5, { accountId: 'bob' })).toBe('added')
        expect(await apiKeys.revoke('key_2')).toBe(true)
        expect(await make(4)).toBe('added')
      }))

    test('keeps the newest hundred of those that have ended', () =>
      withWorld(async ({ stores: { accounts, apiKeys } }) => {
        await accounts.insert(account())
        for (let n = 0; n <= 101; n += 1) {
          const key = apiKey({
            id: `key_${n}`,
            hash: `h${n}`,
            createdAt: 10 + n,
            expiresAt: 10 + n,
          })
          expect(await apiKeys.insert(key, 1)).toBe('added')
        }
        const left = await apiKeys.list()
        expect([left.length, left[0]?.id, left.at(-1)?.id]).toEqual([101, 'key_1', 'key_101'])
      }))

    test('makes no more than there may be, of twenty at once', () =>
      withWorld(async (world) => {
        await world.stores.accounts.insert(account())
        const outcomes = await atOnce(world, 20, ({ apiKeys }, index) =>
          apiKeys.insert(apiKey({ id: `key_${index}`, hash: `h${index}` }), 3),
        )
        expect(outcomes.filter((outcome) => outcome === 'added')).toHaveLength(3)
        expect(await world.stores.apiKeys.list()).toHaveLength(3)
      }))

    test('of twenty that revoke one key at once one does', () =>
      withWorld(async (world) => {
        const { stores, clock } = world
        await stores.accounts.insert(account())
        await stores.apiKeys.insert(apiKey(), 9)
        const revoked = await atOnce(world, 20, ({ apiKeys }) => apiKeys.revoke('key_1'))
        expect(revoked.filter(Boolean)).toHaveLength(1)
        const revokedAt = clock.now()
        expect(await stores.apiKeys.findById('key_1')).toMatchObject({ revokedAt })
        const entry = { kind: 'grant', subject: 'key_1', reason: 'api_key_revoked', revokedAt }
        expect(await readLog(stores)).toMatchObject([entry])
        clock.advance(1000)
        expect(await stores.apiKeys.revoke('key_1')).toBe(false)
        expect(await stores.apiKeys.findById('key_1')).toMatchObject({ revokedAt })
        expect(await stores.apiKeys.revoke('key_9')).toBe(false)
        expect(await readLog(stores)).toHaveLength(1)
      }))

    test('remembers the last use, unless a later one is remembered', () =>
      withWorld(async ({ stores: { accounts, apiKeys }, other }) => {
        await accounts.insert(account())
        await apiKeys.insert(apiKey(), 9)
        const use = async (at: number, notSince: number) => {
          await other.apiKeys.recordUse('key_1', { at, from: `10.0.0.${at}` }, notSince)
          const { lastUsedAt, lastUsedFrom } = (await apiKeys.findById('key_1')) ?? {}
          return [lastUsedAt, lastUsedFrom]
        }
        expect(await use(10, 0)).toEqual([10, '10.0.0.10'])
        expect(await use(15, 9)).toEqual([10, '10.0.0.10'])
        expect(await use(20, 10)).toEqual([20, '10.0.0.20'])
        await apiKeys.recordUse('key_9', { at: 1, from: '10.0.0.1' }, 0)
        expect(await apiKeys.list()).toHaveLength(1)
      }))

    test('forgets where a key was used from when it ends, and learns it no more', () =>
      withWorld(async ({ stores: { accounts, apiKeys }, other }) => {
        await accounts.insert(account())
        for (const id of ['key_1', 'key_2']) await apiKeys.insert(apiKey({ id, hash: id }), 9)
        const use = () =>
          Promise.all(
            ['key_1', 'key_2'].map((id) =>
              apiKeys.recordUse(id, { at: 1000, from: '192.0.2.7' }, 1000),
            ),
          )
        await use()
        await other.apiKeys.revoke('key_1')
        await other.accounts.updateAndEndAccess(account())
        await use()
        const left = await apiKeys.list()
        expect(left.map(({ lastUsedAt }) => lastUsedAt)).toEqual([1000, 1000])
        expect(left.map(({ lastUsedFrom }) => lastUsedFrom)).toEqual([undefined, undefined])
      }))

    test('ends the keys of an account whose access ends, and no others', () =>
      withWorld(async ({ stores, other, clock }) => {
        for (const id of ['alice', 'bob']) {
          await stores.accounts.insert(account({ id, username: id }))
          await stores.apiKeys.insert(apiKey({ id: `key_${id}`, hash: id, accountId: id }), 9)
        }
        clock.advance(1000)
        await other.accounts.updateAndEndAccess(account())
        const revokedAt = clock.now()
        expect(await stores.apiKeys.findById('key_alice')).toMatchObject({ revokedAt })
        expect(await stores.apiKeys.findById('key_bob')).toMatchObject({ revokedAt: undefined })
        expect(await stores.apiKeys.insert(apiKey({ createdAt: revokedAt }), 9)).toBe('no_owner')
        await other.accounts.remove('alice')
        expect(await stores.apiKeys.listByAccount('alice')).toEqual([])
        expect(await stores.apiKeys.listByAccount('bob')).toHaveLength(1)
      }))

    test('leaves no good key of an account that is disabled meanwhile', { timeout: 60_000 }, () =>
      withWorld(async (world) => {
        const { stores, clock } = world
        for (let round = 0; round < 10; round += 1) {
          const id = `person ${round}`
          await stores.accounts.insert(account({ id, username: id }))
          const createdAt = clock.now()
          clock.advance(1)
          const disabled = account({ id, username: id, disabled: true })
          await atOnce<unknown>(world, 8, ({ accounts, apiKeys }, index) =>
            index === 3
              ? accounts.updateAndEndAccess(disabled)
              : apiKeys.insert(
                  apiKey({
                    id: `${id} ${index}`,
                    hash: `${id} ${index}`,
                    accountId: id,
                    createdAt,
                  }),
                  9,
                ),
          )
          const left = await stores.apiKeys.listByAccount(id)
          expect(left.filter(({ revokedAt }) => revokedAt === undefined)).toEqual([])
        }
      }),
    )

    test('forgets keys thirty days after they ended, so many at a time', () =>
      withWorld(async ({ stores: { accounts, apiKeys }, clock }) => {
        await accounts.insert(account())
        const expiresAt = clock.now()
        const make = (id: string, more: Partial<StoredApiKey> = {}) =>
          apiKeys.insert(apiKey({ id, hash: id, ...more }), 9)
        await make('expired', { expiresAt })
        await make('revoked')
        await make('lives')
        await make('expires later', { expiresAt: expiresAt + 40 * DAY })
        await apiKeys.revoke('revoked')
        const ids = async () => (await apiKeys.list()).map(({ id }) => id).toSorted()
        expect(await apiKeys.purge(expiresAt + 30 * DAY, 10)).toBe(0)
        expect(await apiKeys.purge(expiresAt + 30 * DAY + 1, 1)).toBe(1)
        expect(await apiKeys.purge(expiresAt + 30 * DAY + 1, 10)).toBe(1)
        expect(await ids()).toEqual(['expires later', 'lives'])
      }))

    test.each(['nul \0', 'half a pair \ud83e'])('refuses what it could not keep: %j', (name) =>
      withWorld(async ({ stores }) => {
        await stores.accounts.insert(account())
        const made = stores.apiKeys.insert(apiKey({ name }), 9)
        await expect(made).rejects.toMatchObject({ code: 'invalid_input' })
        expect(await stores.apiKeys.findByHash(name)).toBeUndefined()
      }),
    )
  })
}
