import { describe, expect, test } from 'vitest'
import { createLog } from '../log.ts'
import { openStores } from '../storage/stores.ts'
import { createTestClock } from '../../test/support/clock.ts'
import { createLastUses } from './last-use.ts'
import type { OwnAccessStore } from './own-access-store.ts'

const ALICE = { address: '192.0.2.7', userAgent: 'Firefox/140.0 (Windows)' }
const GRANT = { kind: 'grant', id: 'g' } as const

async function start() {
  const clock = createTestClock()
  const stores = await openStores('sqlite::memory:', clock)
  const { ownAccess, models } = stores
  const row = { model: 'Grant', key: 'g', grantId: 'g', accountId: 'alice', clientId: 'web' }
  const expiresAt = clock.now() + 86_400_000
  await models.apply([{ kind: 'put', ...row, payload: {}, expiresAt }])
  const lines: string[] = []
  const log = createLog('info', { write: (line) => void lines.push(line) })
  const follow = (access: Pick<OwnAccessStore, 'recordUse'>) =>
    createLastUses({ access, clock, log })
  return {
    clock,
    ownAccess,
    follow,
    lines,
    read: async () => (await ownAccess.listGrants('alice', 1, ''))[0]?.lastUse,
    [Symbol.asyncDispose]: () => stores[Symbol.asyncDispose](),
  }
}

describe('the last use of something', () => {
  test('is written at most once a minute, by each process and by all of them', async () => {
    await using it = await start()
    let asked = 0
    const counting: Pick<OwnAccessStore, 'recordUse'> = {
      recordUse(...how) {
        asked += 1
        return it.ownAccess.recordUse(...how)
      },
    }
    const uses = it.follow(counting)
    const another = it.follow(counting)
    const first = { at: it.clock.now(), from: '192.0.2.7', with: 'Firefox on Windows' }
    for (let count = 0; count < 50; count += 1) await uses.record(GRANT, ALICE)
    expect([asked, await it.read()]).toEqual([1, first])
    it.clock.advance(59_999)
    await uses.record(GRANT, ALICE)
    await another.record(GRANT, { address: '192.0.2.8', userAgent: undefined })
    expect([asked, await it.read()]).toEqual([2, first])
    it.clock.advance(1)
    await uses.record(GRANT, { address: '2001:db8::9', userAgent: undefined })
    const second = { at: first.at + 60_000, from: '2001:db8::9', with: undefined }
    expect([asked, await it.read()]).toEqual([3, second])
  })

  test('is of no account to whoever uses it: a store that fails is told of, and asked again', async () => {
    await using it = await start()
    let fails = true
    const uses = it.follow({
      async recordUse(...how) {
        if (fails) throw new Error('no such store')
        await it.ownAccess.recordUse(...how)
      },
    })
    await uses.record(GRANT, ALICE)
    expect(it.lines.join('')).toMatch(/"event":"use_not_recorded".*no such store/)
    fails = false
    await uses.record(GRANT, ALICE)
    expect(await it.read()).toMatchObject({ from: '192.0.2.7' })
  })

  test('is kept in bounds, whatever comes', async () => {
    await using it = await start()
    let asked = 0
    const uses = it.follow({
      async recordUse() {
        asked += 1
      },
    })
    const use = (id: string) => uses.record({ kind: 'session', id }, ALICE)
    for (let count = 0; count < 10_001; count += 1) await use(`${count}`)
    // The oldest was forgotten, and the newest was not.
    await use('10000')
    expect(asked).toBe(10_001)
    await use('0')
    expect(asked).toBe(10_002)
    await it.follow(it.ownAccess).record(GRANT, { ...ALICE, address: 'x'.repeat(100_000) })
    expect((await it.read())?.from).toHaveLength(64)
  })
})
