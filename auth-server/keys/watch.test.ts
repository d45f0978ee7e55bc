import { describe, expect, test, vi } from 'vitest'
import { createTestClock } from '../../test/support/clock.ts'
import { createLog } from '../log.ts'
import type { KeyState } from './keyset.ts'
import { startKeyWatch } from './watch.ts'

const NOW = 1_750_000_000_000
const KEY: KeyState = {
  kid: 'key',
  algorithm: 'ES256',
  announcedAt: 0,
  activeAt: 0,
  retiredAt: undefined,
  purgedAt: undefined,
  seal: 'seal',
}
const PATIENCE = { timeout: 5000, interval: 10 }

/** A store, an engine and an upkeep that do as the test says, and what was asked of them. */
function createWorld() {
  const clock = createTestClock(NOW)
  const lines: string[] = []
  const log = createLog('info', { write: (line) => void lines.push(line) })
  const ok = () => Promise.resolve()
  const world = {
    clock,
    keys: [KEY],
    inForce: [KEY] as readonly KeyState[],
    asked: { looks: 0, applied: 0, tended: 0 },
    listing: ok,
    applying: ok,
    tending: ok,
    logged: () => lines.map((line) => (JSON.parse(line) as { event: string }).event),
  }
  const watches: AsyncDisposable[] = []
  const start = () => {
    const watch = startKeyWatch({
      keys: {
        async listStates() {
          world.asked.looks += 1
          await world.listing()
          return world.keys
        },
      },
      isCurrent: (states) => states === world.inForce,
      async apply() {
        world.asked.applied += 1
        await world.applying()
        world.inForce = world.keys
      },
      async tend() {
        world.asked.tended += 1
        await world.tending()
      },
      clock,
      log,
    })
    watches.push(watch)
    return watch
  }
  world.inForce = world.keys
  return Object.assign(world, {
    start,
    async [Symbol.asyncDispose]() {
      for (const watch of watches) await watch[Symbol.asyncDispose]()
    },
  })
}

/** Whether it comes to be within so many milliseconds. */
function comesTrue(check: () => boolean, timeout: number): Promise<boolean> {
  const wait = vi.waitFor(() => expect(check()).toBe(true), { timeout, interval: 10 })
  return wait.then(
    () => true,
    () => false,
  )
}

const fail = () => Promise.reject(new Error('the disk is full'))

describe.concurrent('the watch over the keys', () => {
  test('applies a change within half a second, and nothing where nothing has changed', async () => {
    await using world = createWorld()
    world.start()
    await vi.waitFor(() => expect(world.asked.looks).toBe(2), PATIENCE)
    expect(world.asked.applied).toBe(0)
    world.keys = [KEY, KEY]
    await vi.waitFor(() => expect(world.inForce).toHaveLength(2), { timeout: 700, interval: 10 })
    expect(world.asked.applied).toBe(1)
  })

  test('looks at the moment when a phase begins', async () => {
    await using world = createWorld()
    world.keys = [{ ...KEY, retiredAt: NOW + 30 }]
    world.inForce = world.keys
    world.start()
    await vi.waitFor(() => expect(world.asked.looks).toBe(1), PATIENCE)
    await vi.waitFor(() => expect(world.asked.looks).toBe(2), { timeout: 200, interval: 5 })
  })

  test('goes on when the store does not answer, and says so once', async () => {
    await using world = createWorld()
    world.listing = fail
    world.start()
    await vi.waitFor(() => expect(world.asked.looks).toBe(3), PATIENCE)
    expect(world.logged()).toEqual(['keys_not_watched'])
    world.listing = () => Promise.resolve()
    await vi.waitFor(() => expect(world.asked.tended).toBe(1), PATIENCE)
    expect(world.logged()).toEqual(['keys_not_watched', 'keys_not_watched_over'])
  })

  test('does not look faster where a phase has begun and the store does not answer', async () => {
    await using world = createWorld()
    world.keys = [{ ...KEY, retiredAt: NOW + 1 }]
    world.inForce = world.keys
    world.start()
    await vi.waitFor(() => expect(world.asked.looks).toBeGreaterThan(0), PATIENCE)
    world.listing = fail
    world.clock.advance(10)
    await vi.waitFor(() => expect(world.logged()).toHaveLength(1), PATIENCE)
    const { looks } = world.asked
    expect(await comesTrue(() => world.asked.looks > looks + 1, 400)).toBe(false)
  })

  test('asks a store that hangs only once', async () => {
    await using world = createWorld()
    const { promise, resolve } = Promise.withResolvers<void>()
    world.listing = () => promise
    world.start()
    await vi.waitFor(() => expect(world.asked.looks).toBe(1), PATIENCE)
    expect(await comesTrue(() => world.asked.looks > 1, 1200)).toBe(false)
    resolve()
    await vi.waitFor(() => expect(world.asked.looks).toBe(2), PATIENCE)
  })

  test('tries again what could not be put in force', async () => {
    await using world = createWorld()
    world.keys = [KEY, KEY]
    world.applying = fail
    world.start()
    await vi.waitFor(() => expect(world.asked.applied).toBe(2), PATIENCE)
    expect(world.logged()).toEqual(['keys_not_watched'])
    world.applying = () => Promise.resolve()
    await vi.waitFor(() => expect(world.inForce).toHaveLength(2), PATIENCE)
  })

  test('rests after an upkeep that failed, and watches on', async () => {
    await using world = createWorld()
    world.tending = fail
    world.start()
    await vi.waitFor(() => expect(world.asked.looks).toBe(3), PATIENCE)
    expect(world.asked.tended).toBe(1)
    expect(world.logged()).toEqual(['keys_not_tended'])
  })

  test('ends with its disposal, after what is under way', async () => {
    await using world = createWorld()
    const watch = world.start()
    await vi.waitFor(() => expect(world.asked.looks).toBe(1), PATIENCE)
    await watch[Symbol.asyncDispose]()
    const { looks } = world.asked
    expect(await comesTrue(() => world.asked.looks > looks, 700)).toBe(false)
  })
})
