import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { makeFolder } from '../../test/support/folder.ts'
import { deriveKey, parseRootKey, readOrCreateRootKeyFile, seal, unseal } from './seal.ts'

const SEAL_KEY = deriveKey(randomBytes(32), 'seal')

describe('the seal', () => {
  test('opens for its key and its context alone', () => {
    const sealed = seal(SEAL_KEY, 'a text', 'key-1')
    expect(unseal(SEAL_KEY, sealed, 'key-1')).toBe('a text')
    expect(() => unseal(SEAL_KEY, sealed, 'key-2')).toThrow(/sealed under another key/)
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
