import { describe, expect, test } from 'vitest'
import type { ModelWrite } from '../../auth-server/provider/model-store.ts'
import { openStores, type Stores } from '../../auth-server/storage/stores.ts'
import { createTestClock } from '../support/clock.ts'
import { makeFolder } from '../support/folder.ts'

const HOUR = 3_600_000
const clock = createTestClock()

type Put = Extract<ModelWrite, { kind: 'put' }>

function put(model: string, key: string, more: Partial<Put> = {}): Put {
  return { kind: 'put', model, key, payload: {}, expiresAt: clock.now() + HOUR, ...more }
}

function consume(model: string, key: string): ModelWrite {
  return { kind: 'consume', model, key }
}

async function withStores(work: (stores: Stores, other: Stores) => Promise<void>): Promise<void> {
  using folder = makeFolder()
  const url = `sqlite:${folder.file('test.sqlite')}`
  // Two connections to one file: what holds between them holds between two processes.
  await using stores = await openStores(url, clock)
  await using other = await openStores(url, clock)
  await work(stores, other)
}

describe('the model store', () => {
  test('lets one of fifty consume a key, and revokes its family for the others', () =>
    withStores(async ({ models }, other) => {
      await models.apply([put('Grant', 'g', { grantId: 'g' })])
      await models.apply([put('AuthorizationCode', 'code', { grantId: 'g' })])
      const results = await Promise.all(
        Array.from({ length: 50 }, (_, index) =>
          (index % 2 === 0 ? models : other.models).apply([
            consume('AuthorizationCode', 'code'),
            put('RefreshToken', `token-${index}`, { grantId: 'g' }),
          ]),
        ),
      )
      expect(results.filter(({ outcome }) => outcome === 'applied')).toHaveLength(1)
      const winner = results.findIndex(({ outcome }) => outcome === 'applied')
      expect(await models.find('RefreshToken', `token-${winner}`)).toBeUndefined()
      expect(await models.find('Grant', 'g')).toBeUndefined()
    }))

  test('loses the consumption of a key that is not there', () =>
    withStores(async ({ models }) => {
      const result = await models.apply([consume('RefreshToken', 'gone')])
      expect(result).toMatchObject({ outcome: 'lost', grantId: undefined })
    }))

  test('changes nothing of a batch whose consumption is lost', () =>
    withStores(async ({ models }) => {
      await models.apply([put('RefreshToken', 'old', { grantId: 'g' })])
      await models.apply([consume('RefreshToken', 'old')])
      await models.apply([put('Session', 's', { uid: 'u' }), consume('RefreshToken', 'old')])
      expect(await models.find('Session', 's')).toBeUndefined()
    }))

  test('keeps a revoked grant dead for whoever still writes to it', () =>
    withStores(async ({ models }, other) => {
      await models.apply([put('Grant', 'g', { grantId: 'g' })])
      await other.models.apply([{ kind: 'revoke-grant', grantId: 'g' }])
      const late = await models.apply([put('RefreshToken', 'late', { grantId: 'g' })])
      expect(late).toMatchObject({ outcome: 'lost', grantId: 'g' })
      expect(await models.find('RefreshToken', 'late')).toBeUndefined()
      expect(await models.apply([put('Grant', 'g', { grantId: 'g' })])).toMatchObject({
        outcome: 'lost',
      })
    }))

  test('leaves consumed rows consumed when they are written again', () =>
    withStores(async ({ models }) => {
      await models.apply([put('DeviceCode', 'd')])
      await models.apply([consume('DeviceCode', 'd')])
      await models.apply([put('DeviceCode', 'd', { payload: { changed: true } })])
      const row = await models.find('DeviceCode', 'd')
      expect(row).toMatchObject({ payload: { changed: true }, consumedAt: clock.now() })
    }))

  test('writes a replay record once', () =>
    withStores(async ({ models }, other) => {
      const record = { ...put('ReplayDetection', 'proof'), kind: 'insert' } as const
      const results = await Promise.all(
        Array.from({ length: 20 }, (_, index) =>
          (index % 2 === 0 ? models : other.models).apply([record]),
        ),
      )
      expect(results.filter(({ outcome }) => outcome === 'applied')).toHaveLength(1)
    }))

  test('keeps a grant for as long as what is put under it', () =>
    withStores(async ({ models }) => {
      const expiryOf = async () => (await models.find('Grant', 'g'))?.expiresAt
      const later = clock.now() + 2 * HOUR
      await models.apply([put('Grant', 'g', { grantId: 'g' })])
      await models.apply([put('RefreshToken', 'long', { grantId: 'g', expiresAt: later })])
      expect(await expiryOf()).toBe(later)
      await models.apply([put('AuthorizationCode', 'short', { grantId: 'g' })])
      expect(await expiryOf()).toBe(later)
      await models.apply([put('RefreshToken', 'other', { grantId: 'h', expiresAt: later + 1 })])
      expect(await expiryOf()).toBe(later)
    }))

  test('answers deep copies', () =>
    withStores(async ({ models }) => {
      await models.apply([put('Grant', 'g', { payload: { openid: { scope: 'openid' } } })])
      const first = await models.find('Grant', 'g')
      Object.assign(first?.payload['openid'] ?? {}, { scope: 'changed' })
      const second = await models.find('Grant', 'g')
      expect(second?.payload).toEqual({ openid: { scope: 'openid' } })
    }))
})

describe('retries of a refresh', () => {
  const retry = { successorKey: 'new', windowMilliseconds: 30_000 }
  const refresh = (iat: number): ModelWrite[] => [
    { kind: 'consume', model: 'RefreshToken', key: 'old', retry },
    put('RefreshToken', 'new', { grantId: 'g', payload: { iat } }),
  ]

  test('all come to the one successor while it is unused', () =>
    withStores(async ({ models }, other) => {
      await models.apply([put('RefreshToken', 'old', { grantId: 'g' })])
      const results = await Promise.all(
        Array.from({ length: 50 }, (_, index) =>
          (index % 2 === 0 ? models : other.models).apply(refresh(index)),
        ),
      )
      expect(results.every(({ outcome }) => outcome === 'applied')).toBe(true)
      const first = await models.find('RefreshToken', 'new')
      await models.apply(refresh(99))
      expect(await models.find('RefreshToken', 'new')).toEqual(first)
    }))

  test('are reuse once the successor was used', () =>
    withStores(async ({ models }) => {
      await models.apply([put('RefreshToken', 'old', { grantId: 'g' })])
      await models.apply(refresh(1))
      await models.apply([consume('RefreshToken', 'new')])
      expect(await models.apply(refresh(2))).toMatchObject({ outcome: 'lost', grantId: 'g' })
      expect(await models.find('RefreshToken', 'new')).toBeUndefined()
    }))

  test('are reuse once the window has passed', () =>
    withStores(async ({ models }) => {
      await models.apply([put('RefreshToken', 'old', { grantId: 'g' })])
      await models.apply(refresh(1))
      clock.advance(30_000)
      expect(await models.apply(refresh(2))).toMatchObject({ outcome: 'lost', grantId: 'g' })
    }))
})

describe('sessions', () => {
  const authorize = (client: string, key = 's') =>
    put('Session', key, {
      uid: 'u',
      accountId: 'alice',
      payload: { accountId: 'alice', uid: 'u', authorizations: { [client]: { grantId: client } } },
    })

  test('merge what two tabs authorise at once, under one id and under two', () =>
    withStores(async ({ models }, other) => {
      await Promise.all([
        models.apply([authorize('a')]),
        other.models.apply([authorize('b')]),
        models.apply([authorize('c', 'second-tab')]),
      ])
      const newest = await models.findByUid('Session', 'u')
      const all = await models.find('Session', 's')
      expect(Object.keys(all?.payload['authorizations'] as object)).toEqual(
        expect.arrayContaining(['a', 'b']),
      )
      expect(newest).toBeDefined()
    }))

  test('keep nothing of what another person authorised in the same browser', () =>
    withStores(async ({ models }) => {
      await models.apply([authorize('a')])
      const next = {
        ...authorize('b'),
        payload: { accountId: 'bob', uid: 'u', authorizations: {} },
      }
      await models.apply([next])
      const row = await models.find('Session', 's')
      expect(row?.payload['authorizations'] ?? {}).toEqual({})
    }))

  test('stay ended for a request that still held them', () =>
    withStores(async ({ models }, other) => {
      await models.apply([authorize('a')])
      await models.apply([{ kind: 'destroy', model: 'Session', key: 's' }])
      await other.models.apply([authorize('a')])
      expect(await models.find('Session', 's')).toBeUndefined()
    }))

  test('end in every tab at once', () =>
    withStores(async ({ models }) => {
      await models.apply([authorize('a'), authorize('b', 'second-tab')])
      await models.apply([{ kind: 'end-session', uid: 'u' }])
      await models.apply([authorize('c', 'third-tab')])
      expect(await models.findByUid('Session', 'u')).toBeUndefined()
    }))

  const known = (sid: string, key: string, uid = 'u') =>
    put('Session', key, {
      uid,
      accountId: 'alice',
      payload: { accountId: 'alice', uid, authorizations: { web: { sid } } },
    })
  const endedOf = async ({ revocations }: Stores, sids: readonly string[]) => {
    const ended = await Promise.all(sids.map((sid) => revocations.isRevoked('session', sid)))
    return sids.filter((_sid, index) => ended[index])
  }

  test('end under every name that clients have for them, for as long as a token may live', () =>
    withStores(async (stores, other) => {
      const { models } = stores
      await models.apply([known('first', 's'), known('second', 'second-tab')])
      await models.apply([known('other', 'o', 'another')])
      const sids = ['first', 'second', 'told', 'other', '']
      expect(await endedOf(stores, sids)).toEqual([])
      await models.apply([{ kind: 'end-session', uid: 'u', sids: ['told'] }])
      clock.advance(24 * HOUR)
      await models.purge(clock.now(), 100)
      expect(await endedOf(other, sids)).toEqual(['first', 'second', 'told'])
    }))

  test('go on when their key changes', () =>
    withStores(async (stores) => {
      const { models } = stores
      await models.apply([known('sid', 'old')])
      await models.apply([{ kind: 'destroy', model: 'Session', key: 'old' }])
      await models.apply([known('sid', 'new')])
      expect(await endedOf(stores, ['sid'])).toEqual([])
      expect(await models.findByUid('Session', 'u')).toMatchObject({ key: 'new' })
    }))

  describe('that replace a key', () => {
    const replacing = (accountId: string | undefined) =>
      put('Session', 'new', { uid: 'u', accountId, payload: { accountId }, replaces: 'old' })
    const before = (accountId: string | undefined) =>
      put('Session', 'old', { uid: 'u', accountId, payload: { accountId } })

    test('leave it until they are settled', () =>
      withStores(async ({ models }, other) => {
        await models.apply([before('alice')])
        clock.advance(1)
        await models.apply([replacing('alice')])
        expect(await models.find('Session', 'old')).toBeDefined()
        expect(await models.findByUid('Session', 'u')).toMatchObject({ key: 'new' })
        const settle = { kind: 'settle', key: 'new' } as const
        await Promise.all([models.apply([settle]), other.models.apply([settle])])
        expect(await models.find('Session', 'new')).toMatchObject({ replaces: undefined })
        await other.models.apply([before('alice')])
        expect(await models.find('Session', 'old')).toBeUndefined()
      }))

    test.each([
      ['an anonymous', undefined, 'alice'],
      ["another person's", 'bob', 'alice'],
      ["a person's, anonymously", 'alice', undefined],
    ])('leave nothing of %s', async (_case, old, next) =>
      withStores(async ({ models }) => {
        await models.apply([before(old)])
        await models.apply([replacing(next)])
        expect(await models.find('Session', 'old')).toBeUndefined()
      }),
    )

    test('end with it', () =>
      withStores(async ({ models }) => {
        await models.apply([before('alice')])
        await models.apply([replacing('alice'), { kind: 'end-session', uid: 'u' }])
        expect(await models.find('Session', 'old')).toBeUndefined()
        expect(await models.find('Session', 'new')).toBeUndefined()
      }))
  })

  test('end with the account', () =>
    withStores(async (stores) => {
      const { models, accounts } = stores
      await accounts.insert({
        id: 'alice',
        username: 'alice',
        passwordHash: undefined,
        roles: [],
        groups: [],
        profile: {},
        disabled: false,
        accessEndedAt: undefined,
        owner: 'operator',
        createdAt: 0,
        updatedAt: 0,
      })
      await models.apply([known('sid', 's')])
      await accounts.remove('alice')
      expect(await endedOf(stores, ['sid'])).toEqual(['sid'])
    }))
})

describe('the purge', () => {
  test('removes what has expired, in bounded batches, and nothing else', () =>
    withStores(async ({ models }) => {
      const writes = Array.from({ length: 25 }, (_, index) =>
        put('AuthorizationCode', `code-${index}`, { expiresAt: clock.now() + 1000 }),
      )
      await models.apply([...writes, put('AuthorizationCode', 'live')])
      clock.advance(2000)
      expect(await models.purge(clock.now(), 10)).toBe(10)
      expect(await models.purge(clock.now(), 10)).toBe(10)
      expect(await models.purge(clock.now(), 10)).toBe(5)
      expect(await models.purge(clock.now(), 10)).toBe(0)
      expect(await models.find('AuthorizationCode', 'live')).toBeDefined()
    }))
})
