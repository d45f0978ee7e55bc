import { assert, property, string } from 'fast-check'
import { expect, test } from 'vitest'
import { generateApiKey, hashApiKey, judgeApiKey, judgeState } from './api-key.ts'

const MISTYPED = { ok: false, reason: 'mistyped' }
const NOT_A_KEY = { ok: false, reason: 'not_a_key' }
const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

test('a key is found by its pattern, is one word, and no two are alike', () => {
  const keys = Array.from({ length: 1000 }, generateApiKey)
  for (const key of keys) expect(key).toMatch(/^prk_[0-9A-Za-z]{49}$/)
  expect(new Set(keys).size).toBe(keys.length)
  // Every place takes every letter: nothing of the alphabet or of the length is lost.
  const places = Array.from(
    { length: 43 },
    (_, place) => new Set(keys.map((key) => key[4 + place])),
  )
  for (const letters of places) expect(letters.size).toBe(62)
})

test('a key that was made has the form of one', () => {
  const key = generateApiKey()
  expect(judgeApiKey(key)).toEqual({ ok: true, value: key })
})

test('its checksum is what it always was: keys outlive versions', () => {
  const key = 'prk_00000000000000000000000000000000000000000002htIMu'
  expect(judgeApiKey(key)).toEqual({ ok: true, value: key })
})

test('any one wrong character is told, and any two neighbours that change places', () => {
  const key = generateApiKey()
  const places = Array.from({ length: key.length - 4 }, (_, index) => index + 4)
  const typed = places.flatMap((place) => {
    const [before, after] = [key.slice(0, place), key.slice(place + 1)]
    const wrong = Array.from(ALPHABET, (letter) => `${before}${letter}${after}`)
    return [...wrong, `${before}${after.slice(0, 1)}${key[place]}${after.slice(1)}`]
  })
  const others = typed.filter((text) => text !== key)
  expect(others.length).toBeGreaterThan(49 * 61)
  expect(others.filter((text) => judgeApiKey(text).ok)).toEqual([])
})

test.each([
  ['a key that was cut off', (key: string) => key.slice(0, -1), MISTYPED],
  ['a key with something behind it', (key: string) => `${key}0`, MISTYPED],
  ['a key and a line break', (key: string) => `${key}\n`, MISTYPED],
  ['a key after a space', (key: string) => ` ${key}`, NOT_A_KEY],
  ['a key in capitals', (key: string) => key.toUpperCase(), NOT_A_KEY],
  ['the prefix alone', () => 'prk_', MISTYPED],
  ['nothing', () => '', NOT_A_KEY],
  ['a key of somebody else', () => `ghp_${'a'.repeat(36)}`, NOT_A_KEY],
  ['a megabyte', () => `prk_${'a'.repeat(1_000_000)}`, MISTYPED],
])('%s is not taken for a key', (_what, change, expected) => {
  expect(judgeApiKey(change(generateApiKey()))).toEqual(expected)
})

test('no other text is taken for a key', () => {
  assert(
    property(string({ maxLength: 80 }), (text) => {
      expect(judgeApiKey(text).ok).toBe(false)
      expect(judgeApiKey(`prk_${text}`).ok).toBe(false)
    }),
  )
})

test('what is kept of a key is its SHA-256', () => {
  expect(hashApiKey('abc')).toBe('ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0')
})

test.each([
  ['active', { expiresAt: undefined, revokedAt: undefined }],
  ['active', { expiresAt: 11, revokedAt: undefined }],
  ['expired', { expiresAt: 10, revokedAt: undefined }],
  ['revoked', { expiresAt: 11, revokedAt: 5 }],
  ['revoked', { expiresAt: 9, revokedAt: 9 }],
] as const)('a key is %s at ten: %j', (state, key) => {
  expect(judgeState(key, 10)).toBe(state)
})
