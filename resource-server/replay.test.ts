import { describe, expect, test } from 'vitest'
import { createTurnableClock, type TurnableClock } from '../test/support/turnable-clock.ts'
import { createMemoryReplayStore, createRedisReplayStore, type RedisClient } from './replay.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND

/** A clock of which the time of day can be set, and which goes on all the same. */
function createSettableClock(): TurnableClock & { set(milliseconds: number): void } {
  const clock = createTurnableClock()
  let wrong = 0
  return { ...clock, now: () => clock.now() + wrong, set: (by) => void (wrong += by) }
}

describe('used proofs in memory', () => {
  test.each([2, 61, 120, 3600])(
    'are not forgotten while the clock is %d seconds ahead',
    (seconds) => {
      const clock = createSettableClock()
      const store = createMemoryReplayStore({ clock })
      const expiresAt = clock.now() + MINUTE
      expect(store.take('proof', expiresAt, 'a')).toBe(true)
      clock.set(seconds * SECOND)
      expect(store.take('another', clock.now() + MINUTE, 'a')).toBe(true)
      clock.set(-seconds * SECOND)
      expect(store.take('proof', expiresAt, 'a')).toBe(false)
    },
  )

  test('are still known when the clock is set back by a minute after they have expired', async () => {
    const clock = createSettableClock()
    const store = createMemoryReplayStore({ clock })
    const expiresAt = clock.now() + MINUTE
    expect(store.take('proof', expiresAt, 'a')).toBe(true)
    await clock.advance(2 * MINUTE)
    clock.set(-MINUTE)
    expect(store.take('proof', expiresAt, 'a')).toBe(false)
  })

  test('are forgotten in time, whatever expires late', async () => {
    const clock = createTurnableClock()
    const store = createMemoryReplayStore({ clock, maxEntries: 3, maxEntriesPerHolder: 3 })
    expect(store.take('late', Number.MAX_SAFE_INTEGER, 'a')).toBe(true)
    for (let round = 0; round < 10; round += 1) {
      const expiresAt = clock.now() + MINUTE
      expect(store.take(`first ${round}`, expiresAt, 'a')).toBe(true)
      expect(store.take(`second ${round}`, expiresAt, 'a')).toBe(true)
      expect(() => store.take(`third ${round}`, expiresAt, 'a')).toThrow(/^3 used proofs/)
      await clock.advance(2 * MINUTE + SECOND)
    }
    expect(store.take('late', Number.MAX_SAFE_INTEGER, 'a')).toBe(false)
  })

  test('are not forgotten before, be they many', async () => {
    const clock = createTurnableClock()
    const store = createMemoryReplayStore({ clock })
    const taken: (readonly [string, number])[] = []
    for (let count = 0; count < 200; count += 1) {
      const entry = [`proof ${count}`, clock.now() + (count % 7) * 10 * SECOND] as const
      taken.push(entry)
      expect(store.take(...entry, 'a')).toBe(true)
      await clock.advance(317)
      const fresh = taken.filter(([, expiresAt]) => expiresAt >= clock.now())
      expect(fresh.filter(([key, expiresAt]) => store.take(key, expiresAt, 'a'))).toEqual([])
    }
  })

  test('of one client leave room for those of others', async () => {
    const clock = createTurnableClock()
    const store = createMemoryReplayStore({ clock, maxEntries: 100 })
    const takeMany = (holder: string) =>
      Array.from({ length: 100 }, (_, count) => {
        try {
          return store.take(`${holder} ${count}`, clock.now() + MINUTE, holder)
        } catch {
          return undefined
        }
      }).filter(Boolean).length
    expect(takeMany('flood')).toBe(10)
    expect(takeMany('flood')).toBe(0)
    expect(takeMany('honest')).toBe(10)
    // Who was first has what it had, and no more until that is forgotten.
    expect(store.take('flood 1', clock.now() + MINUTE, 'flood')).toBe(false)
    await clock.advance(2 * MINUTE + SECOND)
    expect(takeMany('flood')).toBe(10)
    for (let count = 0; count < 20; count += 1) takeMany(`client ${count}`)
    expect(takeMany('one more')).toBe(0)
  })

  test.each([Number.NaN, Infinity])(
    'need a time until which they are kept, not %d',
    (expiresAt) => {
      const store = createMemoryReplayStore()
      expect(() => store.take('proof', expiresAt, 'a')).toThrow(TypeError)
    },
  )

  test.each<[string, Record<string, unknown>]>([
    ['maxEntries', { maxEntries: 0 }],
    ['maxEntries', { maxEntries: 1.5 }],
    ['maxEntriesPerHolder', { maxEntriesPerHolder: 0 }],
    ['maxEntriesPerHolder', { maxEntriesPerHolder: '10' }],
    ['no option max', { max: 1 }],
  ])('have no bound that cannot be right: %s', (message, options) => {
    expect(() => createMemoryReplayStore(options)).toThrow(TypeError)
    expect(() => createMemoryReplayStore(options)).toThrow(message)
  })
})

describe('used proofs in Redis', () => {
  /** As a client of Redis that has no connection: what it is told to send stays with it. */
  function createAwayClient() {
    const waiting: ((answer: unknown) => void)[] = []
    const client: RedisClient = { set: () => new Promise((resolve) => waiting.push(resolve)) }
    return { client, waiting }
  }

  test('are at most a thousand questions that wait, and nobody is let in meanwhile', async () => {
    const clock = createTurnableClock()
    const { client, waiting } = createAwayClient()
    const store = createRedisReplayStore(client, { clock, timeoutMilliseconds: 500 })
    const ask = async (key: string) => store.take(key, clock.now() + MINUTE, 'a')
    for (let round = 0; round < 3; round += 1) {
      const outcomes = Promise.allSettled(
        Array.from({ length: 800 }, (_, count) => ask(`${round} ${count}`)),
      )
      await clock.advance(500)
      const states = (await outcomes).map(({ status }) => status)
      expect(new Set(states)).toEqual(new Set(['rejected']))
    }
    expect(waiting).toHaveLength(1000)
    // When it is back, it is asked again.
    for (const resolve of waiting.splice(0)) resolve('OK')
    await new Promise(setImmediate)
    const outcome = ask('new')
    await new Promise(setImmediate)
    for (const resolve of waiting.splice(0)) resolve('OK')
    expect(await outcome).toBe(true)
  })

  test('are 503 at once where the client throws', async () => {
    const fail = () => {
      throw new Error('The client is closed')
    }
    const store = createRedisReplayStore({ set: fail })
    for (let count = 0; count < 1001; count += 1) {
      await expect(async () => store.take('a', 0, 'a')).rejects.toThrow('closed')
    }
  })

  test.each<[string, () => unknown]>([
    ['timeoutMilliseconds', () => createRedisReplayStore(GOOD, { timeoutMilliseconds: 0 })],
    ['timeoutMilliseconds', () => createRedisReplayStore(GOOD, { timeoutMilliseconds: 1e9 })],
    ['prefix', () => createRedisReplayStore(GOOD, { prefix: 1 as never })],
    ['no option timeout', () => createRedisReplayStore(GOOD, { timeout: 1 } as never)],
    ['client', () => createRedisReplayStore({} as never)],
    ['client', () => createRedisReplayStore(undefined as never)],
  ])('are not made with a %s that cannot be right', (message, make) => {
    expect(make).toThrow(TypeError)
    expect(make).toThrow(message)
  })
})

const GOOD: RedisClient = { set: async () => 'OK' }
