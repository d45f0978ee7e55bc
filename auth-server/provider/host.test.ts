import { describe, expect, test } from 'vitest'
import type Provider from 'oidc-provider'
import { createEngineHost } from './host.ts'

/** An engine that is known by its number; each build waits until the test lets it go on. */
async function createWorld() {
  const engines: { number: number; finish: () => void; fail: () => void }[] = []
  let atOnce = 0
  let mostAtOnce = 0
  const build = async (): Promise<Provider> => {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const number = engines.length
    engines.push({ number, finish: resolve, fail: () => reject(new Error('no engine')) })
    atOnce += 1
    mostAtOnce = Math.max(mostAtOnce, atOnce)
    await promise.finally(() => {
      atOnce -= 1
    })
    return { number, callback: () => () => {} } as unknown as Provider
  }
  const starting = createEngineHost(build)
  engines[0]?.finish()
  const host = await starting
  const current = () => (host.provider() as unknown as { number: number }).number
  /** Lets everything happen that does not wait for an engine. */
  const settle = () => new Promise((resolve) => setImmediate(resolve))
  return { host, engines, current, settle, mostAtOnce: () => mostAtOnce }
}

describe('the host of the engine', () => {
  test('goes on with the engine that there is until the new one is ready', async () => {
    const { host, engines, current, settle } = await createWorld()
    const rebuilding = host.rebuild()
    await settle()
    expect([engines.length, current()]).toEqual([2, 0])
    engines[1]?.finish()
    await rebuilding
    expect(current()).toBe(1)
  })

  test('builds once more for all who come during a build, one engine at a time', async () => {
    const { host, engines, current, settle, mostAtOnce } = await createWorld()
    const first = host.rebuild()
    await settle()
    const later = [host.rebuild(), host.rebuild(), host.rebuild()]
    await settle()
    expect(engines).toHaveLength(2)
    engines[1]?.finish()
    await first
    await settle()
    expect([engines.length, current()]).toEqual([3, 1])
    engines[2]?.finish()
    await Promise.all(later)
    expect([engines.length, current(), mostAtOnce()]).toEqual([3, 2, 1])
  })

  test('keeps the engine that there is where a build fails, and builds again when asked', async () => {
    const { host, engines, current, settle } = await createWorld()
    const failing = host.rebuild()
    await settle()
    const later = host.rebuild()
    engines[1]?.fail()
    await expect(failing).rejects.toThrow('no engine')
    expect(current()).toBe(0)
    await settle()
    engines[2]?.finish()
    await later
    expect(current()).toBe(2)
  })
})
