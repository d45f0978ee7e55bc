import { describe, expect, test } from 'vitest'
import { consume, createRows, HOUR, revoke, type WithWorld } from './world.ts'

export function testModels(withWorld: WithWorld): void {
  describe('the model store', () => {
    test('answers what was written, on every connection as soon as it was', () =>
      withWorld(async ({ stores, other, clock }) => {
        const { put } = createRows(clock)
        const expiresAt = clock.now() + 1
        for (let round = 0; round < 20; round += 1) {
          const payload = { round, nested: { list: [1, null, 'two'] } }
          await stores.models.apply([put('Interaction', 'i', { payload, expiresAt })])
          const expected = { key: 'i', payload, consumedAt: undefined, expiresAt }
          expect(await other.models.find('Interaction', 'i')).toEqual(expected)
          expect(await stores.models.find('Interaction', 'i')).toEqual(expected)
        }
      }))

    test('knows a key only under its model', () =>
      withWorld(async ({ stores: { models }, clock }) => {
        const { put } = createRows(clock)
        await models.apply([put('RefreshToken', 'k', { payload: { a: 1 } })])
        await models.apply([put('AccessToken', 'k', { payload: { a: 2 } })])
        await models.apply([{ kind: 'destroy', model: 'AccessToken', key: 'k' }])
        expect(await models.find('RefreshToken', 'k')).toMatchObject({ payload: { a: 1 } })
        expect(await models.find('AccessToken', 'k')).toBeUndefined()
        expect(await models.find('refreshtoken', 'k')).toBeUndefined()
        expect(await models.find('RefreshToken', 'K')).toBeUndefined()
      }))

    test('answers the newest of those that have a uid or a user code', () =>
      withWorld(async ({ stores, other, clock }) => {
        const { put, session } = createRows(clock)
        await stores.models.apply([put('DeviceCode', 'd1', { userCode: 'code' })])
        await stores.models.apply([session('s1', 'a')])
        clock.advance(1)
        await other.models.apply([put('DeviceCode', 'd2', { userCode: 'code' })])
        await other.models.apply([session('s2', 'b')])
        await other.models.apply([put('Other', 'o', { uid: 'u', userCode: 'code' })])
        expect(await stores.models.findByUserCode('DeviceCode', 'code')).toMatchObject({
          key: 'd2',
        })
        expect(await stores.models.findByUid('Session', 'u')).toMatchObject({ key: 's2' })
        expect(await stores.models.findByUserCode('DeviceCode', 'other')).toBeUndefined()
        expect(await stores.models.findByUid('Session', 'other')).toBeUndefined()
      }))

    test('lists what an account has of a model that can be used still, the newest first', () =>
      withWorld(async ({ stores, other, clock }) => {
        const { put } = createRows(clock)
        const alice = { accountId: 'alice' }
        const expiresAt = clock.now() + 10
        for (const key of ['r1', 'r2', 'r3', 'r4']) {
          await stores.models.apply([put('Asked', key, { ...alice, payload: { key } })])
          clock.advance(1)
        }
        await other.models.apply([
          put('Asked', 'expired', { ...alice, expiresAt }),
          put('Asked', 'of bob', { accountId: 'bob' }),
          put('Else', 'else', alice),
          consume('Asked', 'r3'),
        ])
        const list = async (id: string, limit = 10) =>
          (await stores.models.listByAccount('Asked', id, limit)).map(({ key }) => key)
        expect(await list('alice')).toEqual(['expired', 'r4', 'r2', 'r1'])
        clock.advance(10)
        expect(await list('alice')).toEqual(['r4', 'r2', 'r1'])
        expect(await list('alice', 2)).toEqual(['r4', 'r2'])
        expect(await list('ALICE')).toEqual([])
        expect(await list('a\0')).toEqual([])
        expect(await stores.models.listByAccount('Asked', 'bob', 1)).toEqual([
          expect.objectContaining({ key: 'of bob', payload: {}, consumedAt: undefined }),
        ])
      }))

    test('answers deep copies, and keeps one', () =>
      withWorld(async ({ stores: { models }, clock }) => {
        const { put } = createRows(clock)
        const written = { openid: { scope: 'openid' } }
        await models.apply([put('Session', 's', { payload: written, uid: 'u', userCode: 'c' })])
        written.openid.scope = 'changed by its writer'
        const look = [
          () => models.find('Session', 's'),
          () => models.findByUid('Session', 'u'),
          () => models.findByUserCode('Session', 'c'),
        ]
        for (const find of look) {
          const first = await find()
          expect(first?.payload).toEqual({ openid: { scope: 'openid' } })
          Object.assign(first?.payload['openid'] ?? {}, { scope: 'changed by its reader' })
          expect((await find())?.payload).toEqual({ openid: { scope: 'openid' } })
        }
      }))

    test('loses the consumption of a key that is not there', () =>
      withWorld(async ({ stores: { models } }) => {
        const result = await models.apply([consume('RefreshToken', 'gone')])
        expect(result).toMatchObject({ outcome: 'lost', grantId: undefined })
      }))

    test('changes nothing of a batch whose consumption is lost, wherever it stands', () =>
      withWorld(async ({ stores: { models }, clock }) => {
        const { put, session } = createRows(clock)
        await models.apply([put('RefreshToken', 'old')])
        await models.apply([consume('RefreshToken', 'old')])
        const lost = consume('RefreshToken', 'old')
        const change = [session('s', 'a'), put('Interaction', 'i'), revoke('untouched')]
        expect(await models.apply([...change, lost])).toMatchObject({ outcome: 'lost' })
        expect(await models.apply([lost, ...change])).toMatchObject({ outcome: 'lost' })
        expect(await models.find('Session', 's')).toBeUndefined()
        expect(await models.find('Interaction', 'i')).toBeUndefined()
      }))

    test('changes nothing of a batch that fails', () =>
      withWorld(async ({ stores, clock }) => {
        const { put, grant } = createRows(clock)
        await stores.models.apply([grant('g'), put('RefreshToken', 'r', { grantId: 'g' })])
        const failing = put('Interaction', 'not\0text')
        await expect(
          stores.models.apply([
            consume('RefreshToken', 'r'),
            put('RefreshToken', 'next', { grantId: 'g' }),
            revoke('other'),
            failing,
          ]),
        ).rejects.toMatchObject({ code: 'invalid_input' })
        expect(await stores.models.find('RefreshToken', 'r')).toMatchObject({
          consumedAt: undefined,
        })
        expect(await stores.models.find('RefreshToken', 'next')).toBeUndefined()
        expect(await stores.revocations.list(0, 10)).toEqual([])
        expect(await stores.models.apply([consume('RefreshToken', 'r')])).toEqual({
          outcome: 'applied',
        })
      }))

    test('leaves consumed rows consumed when they are written again', () =>
      withWorld(async ({ stores: { models }, clock }) => {
        const { put } = createRows(clock)
        await models.apply([put('DeviceCode', 'd')])
        await models.apply([consume('DeviceCode', 'd')])
        await models.apply([put('DeviceCode', 'd', { payload: { changed: true } })])
        const row = await models.find('DeviceCode', 'd')
        expect(row).toMatchObject({ payload: { changed: true }, consumedAt: clock.now() })
      }))

    test('leaves a refresh token that exists as it is', () =>
      withWorld(async ({ stores: { models }, clock }) => {
        const { put } = createRows(clock)
        await models.apply([put('RefreshToken', 'r', { payload: { first: true } })])
        await models.apply([put('RefreshToken', 'r', { payload: { first: false } })])
        expect(await models.find('RefreshToken', 'r')).toMatchObject({ payload: { first: true } })
      }))

    test('takes an empty batch for done', () =>
      withWorld(async ({ stores: { models } }) => {
        expect(await models.apply([])).toEqual({ outcome: 'applied' })
      }))
  })

  describe('a grant', () => {
    test('that was revoked is dead for whoever still writes to it', () =>
      withWorld(async ({ stores, other, clock }) => {
        const { put, insert, grant } = createRows(clock)
        await stores.models.apply([grant('g')])
        await other.models.apply([revoke('g')])
        const late = [
          put('RefreshToken', 'late', { grantId: 'g' }),
          put('AccessToken', 'late', { grantId: 'g' }),
          insert('InitialAccessToken', 'late', { grantId: 'g' }),
          grant('g'),
        ]
        for (const write of late) {
          expect(await stores.models.apply([write])).toMatchObject({
            outcome: 'lost',
            grantId: 'g',
          })
          expect(await stores.models.find(write.model, write.key)).toBeUndefined()
        }
      }))

    test('takes with it all that hangs on it, and nothing else', () =>
      withWorld(async ({ stores: { models, revocations }, clock }) => {
        const { put, grant } = createRows(clock)
        const kinds = ['AuthorizationCode', 'RefreshToken', 'AccessToken', 'DeviceCode']
        for (const grantId of ['g', 'h']) {
          const hanging = kinds.map((model) => put(model, `of ${grantId}`, { grantId }))
          await models.apply([grant(grantId), ...hanging])
        }
        await models.apply([revoke('g')])
        for (const model of kinds) {
          expect(await models.find(model, 'of g')).toBeUndefined()
          expect(await models.find(model, 'of h')).toBeDefined()
        }
        expect(await models.find('Grant', 'g')).toBeUndefined()
        expect(await models.find('Grant', 'h')).toBeDefined()
        expect(await revocations.isRevoked('grant', 'g')).toBe(true)
        expect(await revocations.isRevoked('grant', 'h')).toBe(false)
      }))

    test('is revoked once, however often and in whatever way', () =>
      withWorld(async ({ stores, other, clock }) => {
        const { grant } = createRows(clock)
        await stores.models.apply([grant('g')])
        await stores.models.apply([revoke('g'), revoke('g')])
        await other.models.apply([{ kind: 'destroy', model: 'Grant', key: 'g' }])
        await other.models.apply([revoke('g')])
        expect(await stores.revocations.list(0, 10)).toMatchObject([
          { sequence: 1, kind: 'grant', subject: 'g', reason: 'grant_revoked' },
        ])
      }))

    test('that is destroyed takes with it all that hangs on it', () =>
      withWorld(async ({ stores: { models }, clock }) => {
        const { put, grant } = createRows(clock)
        await models.apply([grant('g'), put('RefreshToken', 'r', { grantId: 'g' })])
        await models.apply([{ kind: 'destroy', model: 'Grant', key: 'g' }])
        expect(await models.find('RefreshToken', 'r')).toBeUndefined()
        expect(await models.apply([grant('g')])).toMatchObject({ outcome: 'lost' })
      }))

    test('leaves nothing of a batch that revokes it on its way', () =>
      withWorld(async ({ stores: { models }, clock }) => {
        const { put, grant } = createRows(clock)
        const result = await models.apply([
          grant('g'),
          put('RefreshToken', 'before', { grantId: 'g' }),
          revoke('g'),
          put('RefreshToken', 'after', { grantId: 'g' }),
        ])
        expect(result).toMatchObject({ outcome: 'lost', grantId: 'g' })
        expect(await models.find('RefreshToken', 'before')).toBeUndefined()
        expect(await models.find('RefreshToken', 'after')).toBeUndefined()
      }))

    test('is kept for as long as what is put under it', () =>
      withWorld(async ({ stores: { models }, clock }) => {
        const { put, grant } = createRows(clock)
        const expiryOf = async () => (await models.find('Grant', 'g'))?.expiresAt
        const later = clock.now() + 2 * HOUR
        await models.apply([grant('g')])
        await models.apply([put('RefreshToken', 'long', { grantId: 'g', expiresAt: later })])
        expect(await expiryOf()).toBe(later)
        await models.apply([put('AuthorizationCode', 'short', { grantId: 'g' })])
        expect(await expiryOf()).toBe(later)
        await models.apply([put('RefreshToken', 'other', { grantId: 'h', expiresAt: later + 1 })])
        expect(await expiryOf()).toBe(later)
      }))

    test('is remembered as revoked for as long as an access token of it may live, and no longer', () =>
      withWorld(async ({ stores: { models, revocations }, clock }) => {
        const { put, grant } = createRows(clock)
        const expiresAt = clock.now() + 30 * 24 * HOUR
        await models.apply([grant('g'), put('RefreshToken', 'r', { grantId: 'g', expiresAt })])
        await models.apply([revoke('g')])
        await models.apply([revoke('newer')])
        clock.advance(2 * 24 * HOUR)
        expect(await revocations.purge(clock.now(), 10)).toBe(0)
        expect(await models.apply([grant('g')])).toMatchObject({ outcome: 'lost' })
        expect(await models.find('RefreshToken', 'r')).toBeUndefined()
        clock.advance(1)
        expect(await revocations.purge(clock.now(), 10)).toBe(1)
      }))
  })

  describe('retries of a refresh', () => {
    const retry = { successorKey: 'new', windowMilliseconds: 30_000 }

    test('are reuse once the successor was used', () =>
      withWorld(async ({ stores: { models }, clock }) => {
        const { put } = createRows(clock)
        const refresh = createRefresh(put)
        await models.apply([put('RefreshToken', 'old', { grantId: 'g' })])
        await models.apply(refresh(1))
        await models.apply([consume('RefreshToken', 'new')])
        expect(await models.apply(refresh(2))).toMatchObject({ outcome: 'lost', grantId: 'g' })
        expect(await models.find('RefreshToken', 'new')).toBeUndefined()
      }))

    test.each([
      [29_999, 'applied'],
      [30_000, 'lost'],
    ])('%i ms after the first use are %s', (milliseconds, outcome) =>
      withWorld(async ({ stores: { models }, clock }) => {
        const { put } = createRows(clock)
        const refresh = createRefresh(put)
        await models.apply([put('RefreshToken', 'old', { grantId: 'g' })])
        await models.apply(refresh(1))
        clock.advance(milliseconds)
        expect(await models.apply(refresh(2))).toMatchObject({ outcome })
      }),
    )

    test('are reuse where the successor is gone', () =>
      withWorld(async ({ stores: { models }, clock }) => {
        const { put } = createRows(clock)
        const refresh = createRefresh(put)
        await models.apply([put('RefreshToken', 'old', { grantId: 'g' })])
        await models.apply(refresh(1))
        await models.apply([{ kind: 'destroy', model: 'RefreshToken', key: 'new' }])
        expect(await models.apply(refresh(2))).toMatchObject({ outcome: 'lost', grantId: 'g' })
      }))

    function createRefresh(put: ReturnType<typeof createRows>['put']) {
      return (iat: number) => [
        { kind: 'consume', model: 'RefreshToken', key: 'old', retry } as const,
        put('RefreshToken', 'new', { grantId: 'g', payload: { iat } }),
      ]
    }
  })

  describe('the purge of models', () => {
    test('removes what has expired, in bounded batches, and nothing else', () =>
      withWorld(async ({ stores: { models }, clock }) => {
        const { put } = createRows(clock)
        const writes = Array.from({ length: 25 }, (_, index) =>
          put('AuthorizationCode', `code-${index}`, { expiresAt: clock.now() + 1000 }),
        )
        await models.apply([
          ...writes,
          put('AuthorizationCode', 'live'),
          put('Client', 'forever', { expiresAt: undefined }),
        ])
        clock.advance(2000)
        const counts = []
        for (let batch = 0; batch < 4; batch += 1) counts.push(await models.purge(clock.now(), 10))
        expect(counts).toEqual([10, 10, 5, 0])
        expect(await models.find('AuthorizationCode', 'live')).toBeDefined()
        expect(await models.find('Client', 'forever')).toMatchObject({ expiresAt: undefined })
      }))

    test('is the end of a row; its expiry is not', () =>
      withWorld(async ({ stores: { models }, clock }) => {
        const { put } = createRows(clock)
        const expiresAt = clock.now() + 1000
        await models.apply([put('AuthorizationCode', 'code', { expiresAt })])
        clock.advance(2000)
        expect(await models.purge(expiresAt, 10)).toBe(0)
        expect(await models.find('AuthorizationCode', 'code')).toMatchObject({ expiresAt })
        expect(await models.purge(expiresAt + 1, 10)).toBe(1)
        expect(await models.find('AuthorizationCode', 'code')).toBeUndefined()
      }))

    test('on two connections at once removes each row once', () =>
      withWorld(async ({ stores, other, clock }) => {
        const { put } = createRows(clock)
        const expiresAt = clock.now() - 1
        const rows = Array.from({ length: 200 }, (_, index) =>
          put('AuthorizationCode', `code-${index}`, { expiresAt }),
        )
        await stores.models.apply(rows)
        const drain = async ({ models }: typeof stores) => {
          let total = 0
          for (let last = 1; last > 0; total += last) last = await models.purge(clock.now(), 10)
          return total
        }
        const counts = await Promise.all([drain(stores), drain(other)])
        expect(counts[0] + counts[1]).toBe(200)
      }))
  })
}
