import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { createSigningKeys, keyPhase, listPublicKeys, toState } from './keyset.ts'
import { deriveKey, seal } from './seal.ts'

const NOW = 1_750_000_000_000
const TIMES = { announcedAt: NOW, activeAt: NOW, retiredAt: undefined, purgedAt: undefined }
const SEAL_KEY = deriveKey(randomBytes(32), 'seal')
const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k']

describe('signing keys', () => {
  test('are made for each algorithm, published without their private half', async () => {
    const stored = await createSigningKeys(['ES256', 'RS256', 'EdDSA', 'PS256'], SEAL_KEY, TIMES)
    const published = listPublicKeys(stored, NOW)
    expect(published.map(({ alg }) => alg)).toEqual(['ES256', 'EdDSA', 'PS256', 'RS256'])
    expect(new Set(published.map(({ kid }) => kid)).size).toBe(4)
    for (const key of published) {
      expect(PRIVATE_MEMBERS.filter((member) => Object.hasOwn(key, member))).toEqual([])
    }
  })

  test('follow from their times into phases, the same on every instance', () => {
    const times = { announcedAt: 0, activeAt: 10, retiredAt: 20, purgedAt: 30 }
    const phases = [-1, 0, 9, 10, 19, 20, 29, 30].map((now) => [now, keyPhase(times, now)])
    expect(phases).toEqual([
      // What another instance has announced is published, whatever the clock here says.
      [-1, 'announced'],
      [0, 'announced'],
      [9, 'announced'],
      [10, 'active'],
      [19, 'active'],
      [20, 'retired'],
      [29, 'retired'],
      [30, 'purged'],
    ])
  })

  test('go on for ever where no time says that they end', () => {
    expect(keyPhase(TIMES, Number.MAX_SAFE_INTEGER)).toBe('active')
  })

  test('are over, whenever they would have begun', () => {
    const over = { announcedAt: 0, activeAt: 100, retiredAt: 50, purgedAt: 60 }
    expect([49, 50, 60, 100].map((now) => keyPhase(over, now))).toEqual([
      'announced',
      'retired',
      'purged',
      'purged',
    ])
  })

  test('that were withdrawn are purged where the clock is behind as well', () => {
    const withdrawn = { announcedAt: 0, activeAt: 0, retiredAt: 5000, purgedAt: 5000 }
    expect([0, 4999, 5000].map((now) => keyPhase(withdrawn, now))).toEqual(
      Array<string>(3).fill('purged'),
    )
    expect(keyPhase({ ...withdrawn, purgedAt: 5001 }, 4999)).toBe('active')
  })

  test('show a mark of their seal that is another one for each sealing', async () => {
    const [key] = await createSigningKeys(['ES256'], SEAL_KEY, TIMES)
    if (!key) throw new Error('no key')
    const again = { ...key, sealedPrivateJwk: seal(SEAL_KEY, 'the same', key.kid) }
    const marks = [key, again, again].map((one) => toState(one).seal)
    expect(marks[0]).not.toBe(marks[1])
    expect(marks[1]).toBe(marks[2])
    expect(toState({ ...key, sealedPrivateJwk: undefined }).seal).toBeUndefined()
    expect(toState(key)).not.toHaveProperty('sealedPrivateJwk')
  })
})
