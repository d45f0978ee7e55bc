import { setTimeout as wait } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { createTestClock } from '../../test/support/clock.ts'
import { createLog } from '../log.ts'
import { purgeExpired, startPurge, type Purgeable } from './purge.ts'
import { openStores, type Stores } from './stores.ts'

const MINUTE = 60_000

async function fill({ models, revocations }: Stores, expiresAt: number, count: number) {
  const numbers = Array.from({ length: count }, (_, index) => index)
  await models.apply(
    numbers.map((index) => ({
      kind: 'put',
      model: 'AccessToken',
      key: `${expiresAt} ${index}`,
      payload: {},
      expiresAt,
    })),
  )
  await revocations.append(
    numbers.map((index) => ({
      kind: 'token',
      subject: `${expiresAt} ${index}`,
      reason: 'grant_revoked',
      revokedAt: 0,
      expiresAt,
    })),
  )
}

/** Every few milliseconds, and not for ever. */
async function waitUntil(isTrue: () => Promise<boolean>): Promise<void> {
  for (let count = 0; count < 500; count += 1) {
    if (await isTrue()) return
    await wait(10)
  }
  throw new Error('it has not come true')
}

/** Passes on, and notes how much was asked for. */
function watch(store: Purgeable) {
  const limits: number[] = []
  return {
    limits,
    purge(before: number, limit: number) {
      limits.push(limit)
      return store.purge(before, limit)
    },
  }
}

test('keeps what has expired for a minute, and then removes it and nothing else', async () => {
  const clock = createTestClock()
  await using stores = await openStores('sqlite::memory:', clock)
  const start = clock.now()
  await fill(stores, start, 300)
  await fill(stores, start + 1, 10)
  const isThere = async (key: string) =>
    (await stores.models.find('AccessToken', key)) !== undefined
  const log = createLog('info', { write: () => {} })
  const models = watch(stores.models)
  clock.advance(MINUTE)
  const running = startPurge([models, stores.revocations], clock, log, { everyMilliseconds: 1 })
  await waitUntil(async () => models.limits.length > 3)
  expect(await isThere(`${start} 0`)).toBe(true)
  clock.advance(1)
  await waitUntil(async () => (await stores.revocations.list(0, 1))[0]?.sequence === 301)
  await running[Symbol.asyncDispose]()
  const asked = models.limits.length
  expect(await isThere(`${start} 299`)).toBe(false)
  expect(await isThere(`${start + 1} 0`)).toBe(true)
  expect(await stores.revocations.list(0, 100)).toHaveLength(10)
  await wait(10)
  expect(models.limits).toHaveLength(asked)
})

test('removes as many at once as the disk and the time allow', async () => {
  const clock = createTestClock()
  await using stores = await openStores('sqlite::memory:', clock)
  await fill(stores, clock.now() - 1, 2000)
  const models = watch(stores.models)
  const { signal } = new AbortController()
  expect(await purgeExpired(models, clock.now(), signal)).toBe(2000)
  const slow = {
    left: 5,
    async purge(_before: number, limit: number) {
      await wait(50)
      slow.left -= 1
      return slow.left > 0 ? limit : 0
    },
  }
  const patient = watch(slow)
  await purgeExpired(patient, clock.now(), signal)
  expect(Math.max(...models.limits)).toBeGreaterThan(50)
  expect(patient.limits).toEqual([50, 25, 25, 25, 25])
})

test('logs what fails, and tries again', async () => {
  const clock = createTestClock()
  const lines: string[] = []
  const log = createLog('info', { write: (line) => void lines.push(line) })
  const broken = { purge: () => Promise.reject(new Error('the disk is full')) }
  const models = watch(broken)
  await using running = startPurge([models], clock, log, { everyMilliseconds: 1 })
  await waitUntil(async () => models.limits.length > 2)
  expect(running).toBeDefined()
  expect(lines[0]).toContain('purge_failed')
  expect(lines[0]).toContain('the disk is full')
})
