import { randomBytes } from 'node:crypto'
import { beforeAll, describe, expect, test } from 'vitest'
import { createTestClock } from '../../test/support/clock.ts'
import { createLog } from '../log.ts'
import { createKeyRingSource, type KeyRing } from './keyring.ts'
import { createSigningKeys, toState, type KeyTimes, type StoredKey } from './keyset.ts'
import { deriveKey, seal, unseal } from './seal.ts'

const NOW = 1_750_000_000_000
const SEAL_KEY = deriveKey(randomBytes(32), 'seal')
const OTHER_KEY = deriveKey(randomBytes(32), 'seal')
const TIMES = { announcedAt: 0, activeAt: 0, retiredAt: undefined, purgedAt: undefined }

let made: readonly StoredKey[]
beforeAll(async () => {
  made = await createSigningKeys(['ES256', 'ES256', 'ES256', 'EdDSA'], SEAL_KEY, TIMES)
})

function stored(index: number, times: Partial<KeyTimes> = {}): StoredKey {
  const key = made[index]
  if (!key) throw new Error('no such key')
  return { ...key, ...times }
}

const active = () => stored(0, { activeAt: NOW - 10 })
const announced = () => stored(1, { activeAt: NOW + 10 })
const retired = () => stored(2, { retiredAt: NOW - 1, purgedAt: NOW + 20 })
const erased = (key: StoredKey) => ({ ...key, sealedPrivateJwk: undefined })
const resealed = (key: StoredKey, from = SEAL_KEY, to = OTHER_KEY) => ({
  ...key,
  sealedPrivateJwk: seal(to, unseal(from, key.sealedPrivateJwk ?? '', key.kid), key.kid),
})

/** A source over keys that the test changes. */
function createSource(...keys: readonly StoredKey[]) {
  const clock = createTestClock(NOW)
  const store = { keys }
  const lines: string[] = []
  const log = createLog('error', { write: (line) => void lines.push(line) })
  const list = () => Promise.resolve(store.keys)
  const source = createKeyRingSource({ list }, SEAL_KEY, { clock, log })
  const load = () => source.load((ring) => ring)
  const isCurrent = () => source.isCurrent(store.keys.map(toState))
  return { store, clock, load, isCurrent, source, logged: () => lines.join('') }
}

const ids = (keys: readonly { kid: string }[]) => keys.map(({ kid }) => kid).toSorted()
const signs = ({ signing }: KeyRing) => signing.map(({ kid, d }) => [kid, typeof d])

describe('the key ring', () => {
  test('has one key that signs for each algorithm, and publishes the others', async () => {
    const keys = [announced(), erased(retired()), active(), stored(3)]
    const { load } = createSource(...keys)
    const ring = await load()
    expect(signs(ring)).toEqual([
      [active().kid, 'string'],
      [stored(3).kid, 'string'],
    ])
    expect(ids(ring.published)).toEqual(ids(keys))
    expect(JSON.stringify(ring.published)).not.toContain('"d"')
    expect(ring.former).toEqual([])
  })

  test('keeps what was purged for old ID tokens, and nothing that was withdrawn', async () => {
    const purged = stored(1, { retiredAt: NOW - 9, purgedAt: NOW })
    const withdrawn = stored(2, { retiredAt: NOW, purgedAt: NOW })
    const ring = await createSource(active(), erased(purged), erased(withdrawn)).load()
    expect(ids(ring.published)).toEqual([active().kid])
    expect(ids(ring.former)).toEqual([purged.kid])
  })

  test('signs by the next key from the moment when it is active', async () => {
    const leaving = { ...active(), retiredAt: NOW + 10, purgedAt: NOW + 99 }
    const { load, clock, isCurrent } = createSource(leaving, announced())
    expect(signs(await load())).toEqual([[leaving.kid, 'string']])
    clock.advance(9)
    expect(isCurrent()).toBe(true)
    clock.advance(1)
    expect(isCurrent()).toBe(false)
    expect(signs(await load())).toEqual([[announced().kid, 'string']])
    expect(isCurrent()).toBe(true)
  })

  test.each([
    ['a key comes', () => [active(), announced()]],
    ['a key goes', () => []],
    ['a private half is erased', () => [erased(active())]],
    ['a seal changes', () => [resealed(active())]],
    ['a key ends', () => [{ ...active(), retiredAt: NOW, purgedAt: NOW }]],
  ])('is no longer current when %s', async (_case, change) => {
    const { load, store, isCurrent } = createSource(active())
    expect(isCurrent()).toBe(false)
    await load()
    expect(isCurrent()).toBe(true)
    store.keys = change()
    expect(isCurrent()).toBe(false)
  })

  test('is current whatever the order, and while a time has not come', async () => {
    const { load, store, isCurrent } = createSource(active(), stored(3))
    await load()
    store.keys = [stored(3), { ...active(), retiredAt: NOW + 10, purgedAt: NOW + 20 }]
    expect(isCurrent()).toBe(true)
  })

  test('is not current while nobody could put it to use', async () => {
    const { load, source, store, isCurrent } = createSource(active())
    await load()
    store.keys = [active(), announced()]
    const refuse = () => {
      throw new Error('no engine')
    }
    await expect(source.load(refuse)).rejects.toThrow('no engine')
    expect(isCurrent()).toBe(false)
  })

  test.each([
    ['signs', () => [resealed(active())]],
    ['is announced', () => [active(), resealed(announced())]],
  ])('is refused at first where a key that %s does not open', async (_case, keys) => {
    const { load } = createSource(...keys())
    await expect(load()).rejects.toMatchObject({
      code: 'misconfigured',
      message: expect.stringContaining('keys.encryptionKey'),
    })
  })

  test('goes on with the keys that it has opened when they are sealed anew', async () => {
    const { load, store, logged } = createSource(active(), announced())
    await load()
    store.keys = [resealed(active()), resealed(announced())]
    expect(signs(await load())).toEqual([[active().kid, 'string']])
    expect(logged()).toBe('')
  })

  test('goes on with a key that verifiers know where it cannot open the next one', async () => {
    const { load, store, logged, clock } = createSource(active())
    await load()
    const next = resealed(announced())
    store.keys = [{ ...active(), retiredAt: NOW + 10, purgedAt: NOW + 20 }, next]
    const ring = await load()
    expect(ids(ring.published)).toEqual(ids([active(), next]))
    expect(logged()).toContain(`"kid":"${next.kid}"`)
    clock.advance(10)
    expect(signs(await load())).toEqual([[active().kid, 'string']])
    clock.advance(10)
    // Nobody would take what a purged key signs.
    expect(signs(await load())).toEqual([])
  })

  test('never signs with a withdrawn key, even where nothing else could', async () => {
    const { load, store } = createSource(active())
    await load()
    const next = resealed(stored(1, { activeAt: NOW }))
    store.keys = [{ ...active(), retiredAt: NOW, purgedAt: NOW, sealedPrivateJwk: undefined }, next]
    const ring = await load()
    expect(signs(ring)).toEqual([])
    expect(ids(ring.published)).toEqual([next.kid])
    expect(ring.former).toEqual([])
  })

  test('signs with the next key when the clock is turned back to before it', async () => {
    const before = { ...active(), retiredAt: NOW + 10, purgedAt: NOW + 20 }
    const { load } = createSource(erased(before), announced())
    expect(signs(await load())).toEqual([[announced().kid, 'string']])
  })
})
