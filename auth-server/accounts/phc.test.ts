import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { isBearableHash } from './phc.ts'
import { createPasswordHasher } from './password.ts'

const hasher = createPasswordHasher({ concurrency: 2, queue: 10 })
const SALT = 'Ks3tSL/eyp60FD98fCUo/w'
const HASH = 'kdJECPyKGb4NoFnK3w5h5yJfImOQmEUMJlGkMpt62MY'
const phc = (parameters: string, salt = SALT, hash = HASH) =>
  `$argon2id$v=19$${parameters}$${salt}$${hash}`

test('takes the hashes that this server makes', async () => {
  expect(isBearableHash(await hasher.hash('a long password'))).toBe(true)
})

test.each([
  ['OWASP, with little memory', 'm=7168,t=5,p=1'],
  ['OWASP, with much', 'm=47104,t=1,p=1'],
  ['Spring Security', 'm=16384,t=2,p=1'],
  ['argon2-cffi and node-argon2', 'm=65536,t=3,p=4'],
  ['argon2-cffi before 21.2', 'm=102400,t=2,p=8'],
  ['PHP', 'm=65536,t=4,p=1'],
])('takes the parameters of %s', (_name, parameters) => {
  expect(isBearableHash(phc(parameters))).toBe(true)
})

test.each([
  ['much memory', phc('m=131073,t=1,p=1')],
  ['all the memory there is', phc('m=4294967295,t=1,p=1')],
  ['many passes', phc('m=7168,t=42,p=1')],
  ['many lanes', phc('m=19456,t=2,p=9')],
  ['next to nothing to compute', phc('m=8192,t=1,p=1')],
  ['little memory and many passes', phc('m=1024,t=32,p=1')],
  ['nothing to compute', phc('m=0,t=0,p=0')],
  ['a negative', phc('m=-19456,t=-2,p=1')],
  ['a number with a zero before it', phc('m=019456,t=2,p=1')],
  ['other parameters', phc('m=19456,t=2,p=1,keyid=AAAA')],
  ['argon2i', phc('m=19456,t=2,p=1').replace('argon2id', 'argon2i')],
  ['an old version', phc('m=19456,t=2,p=1').replace('v=19', 'v=16')],
  ['a short salt', phc('m=19456,t=2,p=1', 'AAAA')],
  ['a short hash', phc('m=19456,t=2,p=1', SALT, 'AAAA')],
  ['a very long hash', phc('m=19456,t=2,p=1', SALT, 'A'.repeat(10_000))],
  ['another text of the same hash', phc('m=19456,t=2,p=1', `${SALT.slice(0, -1)}x`)],
  ['padding', phc('m=19456,t=2,p=1', `${SALT}==`)],
  ['a line break', `${phc('m=19456,t=2,p=1')}\n`],
  ['a password', 'a long password'],
  ['nothing', ''],
])('refuses %s', (_name, text) => {
  expect(isBearableHash(text)).toBe(false)
})

test('takes nothing that a sign-in would fail on', { timeout: 30_000 }, async () => {
  const base64 = (least: number, most: number) =>
    fc
      .uint8Array({ minLength: least, maxLength: most })
      .map((bytes) => Buffer.from(bytes).toString('base64').replace(/=+$/, ''))
  // The dear ones differ by what they cost alone.
  const parameters = fc
    .record({
      memory: fc.integer({ min: 7168, max: 33_000 }),
      lanes: fc.integer({ min: 1, max: 8 }),
    })
    .map(({ memory, lanes }) => `m=${memory},t=${Math.ceil(32_768 / memory)},p=${lanes}`)
  await fc.assert(
    fc.asyncProperty(parameters, base64(8, 64), base64(16, 64), async (text, salt, hash) => {
      expect(isBearableHash(phc(text, salt, hash))).toBe(true)
      expect(await hasher.verify('a password', phc(text, salt, hash))).toBe(false)
    }),
    { numRuns: 40 },
  )
})
