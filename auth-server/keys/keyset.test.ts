import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { makeFolder } from '../../test/support/folder.ts'
import {
  createSigningKeys,
  keyPhase,
  listPublicKeys,
  openSigningKeys,
  type StoredKey,
} from './keyset.ts'
import { deriveKey, parseRootKey, readOrCreateRootKeyFile, seal, unseal } from './seal.ts'

const NOW = 1_750_000_000_000
const clock = { now: () => NOW }
const SEAL_KEY = deriveKey(randomBytes(32), 'seal')
const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k']

describe('signing keys', () => {
  test('are made for each algorithm, published without their private half', async () => {
    const stored = await createSigningKeys(['ES256', 'RS256', 'EdDSA', 'PS256'], SEAL_KEY, clock)
    const published = listPublicKeys(stored, NOW)
    expect(published.map(({ alg }) => alg)).toEqual(['ES256', 'RS256', 'EdDSA', 'PS256'])
    expect(new Set(published.map(({ kid }) => kid)).size).toBe(4)
    for (const key of published) {
      expect(PRIVATE_MEMBERS.filter((member) => Object.hasOwn(key, member))).toEqual([])
    }
    const opened = openSigningKeys(stored, SEAL_KEY, NOW)
    expect(opened.every((key) => Object.hasOwn(key, 'd'))).toBe(true)
    for (const key of opened) {
      expect(JSON.stringify(stored)).not.toContain(key['d'])
    }
  })

  test('follow from their times into phases, the same on every instance', async () => {
    const [key] = await createSigningKeys(['ES256'], SEAL_KEY, clock)
    if (!key) throw new Error('no key')
    const timed = { ...key, announcedAt: 0, activeAt: 10, retiredAt: 20, purgedAt: 30 }
    const phases = [0, 9, 10, 19, 20, 29, 30].map((now) => keyPhase(timed, now))
    expect(phases).toEqual([
      'announced',
      'announced',
      'active',
      'active',
      'retired',
      'retired',
      'purged',
    ])
  })

  test('sign by the newest active key, never first by one that is only announced', async () => {
    const make = async (name: string, times: Partial<StoredKey>): Promise<StoredKey> => {
      const [key] = await createSigningKeys(['ES256'], SEAL_KEY, clock)
      if (!key) throw new Error('no key')
      const sealedPrivateJwk = seal(SEAL_KEY, JSON.stringify({ kid: name }), name)
      return { ...key, kid: name, sealedPrivateJwk, ...times }
    }
    const stored = [
      await make('next', { activeAt: NOW + 1 }),
      await make('old', { activeAt: NOW - 2 }),
      await make('purged', { activeAt: NOW - 9, retiredAt: NOW - 8, purgedAt: NOW - 7 }),
      await make('current', { activeAt: NOW - 1 }),
      await make('retired', { activeAt: NOW - 5, retiredAt: NOW - 3 }),
    ]
    const kids = openSigningKeys(stored, SEAL_KEY, NOW).map(({ kid }) => kid)
    expect(kids).toEqual(['current', 'old', 'next'])
    expect(listPublicKeys(stored, NOW)).toHaveLength(4)
  })

  test('do not open under another root key, and the refusal says what to do', async () => {
    const stored = await createSigningKeys(['ES256'], SEAL_KEY, clock)
    const other = deriveKey(randomBytes(32), 'seal')
    expect(() => openSigningKeys(stored, other, NOW)).toThrow(/another root key/)
  })
})

describe('the seal', () => {
  test('opens for its key and its context alone', () => {
    const sealed = seal(SEAL_KEY, 'a text', 'key-1')
    expect(unseal(SEAL_KEY, sealed, 'key-1')).toBe('a text')
    expect(() => unseal(SEAL_KEY, sealed, 'key-2')).toThrow(/another root key/)
    expect(seal(SEAL_KEY, 'a text', 'key-1')).not.toBe(sealed)
  })

  test.each([
    ['a changed byte', (sealed: string) => `${sealed.slice(0, -2)}AA`],
    ['a cut end', (sealed: string) => sealed.slice(0, 20)],
    ['nothing', () => ''],
    ['another version', (sealed: string) => sealed.replace('v1.', 'v2.')],
  ])('does not open with %s', (_case, change) => {
    const sealed = seal(SEAL_KEY, 'a text that is long enough', 'key-1')
    expect(() => unseal(SEAL_KEY, change(sealed), 'key-1')).toThrow(
      expect.objectContaining({ code: 'misconfigured' }),
    )
  })

  test('derives another key for each purpose', () => {
    const root = randomBytes(32)
    const purposes = [
      'seal',
      'cookies',
      'refresh-successor',
      'grant-id',
      'user-code',
      'csrf',
    ] as const
    const keys = purposes.map((purpose) => deriveKey(root, purpose).toString('hex'))
    expect(new Set(keys).size).toBe(purposes.length)
  })
})

describe('the root key file', () => {
  test('is made once, readable by its owner alone, whoever starts at the same time', async () => {
    using folder = makeFolder()
    const file = folder.file('portreeve.key')
    const keys = await Promise.all(Array.from({ length: 8 }, () => readOrCreateRootKeyFile(file)))
    expect(new Set(keys.map((key) => key.toString('hex'))).size).toBe(1)
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(parseRootKey(readFileSync(file, 'utf8').trim())).toEqual(keys[0])
  })

  test.each([
    ['is empty', ''],
    ['is too short', randomBytes(31).toString('base64url')],
    ['is no base64url', '*'.repeat(43)],
    ['has bits to spare', `${'A'.repeat(42)}B`],
  ])('is refused, and left as it is, where it %s', async (_case, text) => {
    using folder = makeFolder()
    const file = folder.file('portreeve.key')
    writeFileSync(file, text)
    const error: unknown = await readOrCreateRootKeyFile(file).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'misconfigured' })
    expect(String(error)).not.toContain(text || 'undefined')
    expect(readFileSync(file, 'utf8')).toBe(text)
  })

  test('is not made where its folder is missing', async () => {
    using folder = makeFolder()
    const file = folder.file('nowhere/portreeve.key')
    await expect(readOrCreateRootKeyFile(file)).rejects.toThrow(/cannot be made \(ENOENT\)/)
    expect(existsSync(folder.file('nowhere'))).toBe(false)
  })
})
