import { describe, expect, test } from 'vitest'
import { chooseEncryptionKey } from './encryption-key.ts'

const EC = {
  kty: 'EC',
  crv: 'P-256',
  x: 'wP8Eb5xbTjYLcYFeXzByQqL8Gp_WBKQ1xHA0qKE6OW4',
  y: 'PgcRWi5YC79vml5aG394FdEChzo4T4X8VCW92ABKssM',
}
const okp = { kty: 'OKP', crv: 'X25519', x: '3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08' }
const choose = (...keys: readonly Record<string, unknown>[]) =>
  chooseEncryptionKey(keys, 'ECDH-ES')?.kid

describe('the key that something is encrypted to', () => {
  test('is the first of those that say most of what they are for', () => {
    const one = { ...EC, kid: 'one' }
    const forEncryption = { ...EC, kid: 'use', use: 'enc' }
    const forThis = { ...okp, kid: 'both', use: 'enc', alg: 'ECDH-ES' }
    expect(choose(one, { ...EC, kid: 'two' })).toBe('one')
    expect(choose(one, forEncryption, { ...forEncryption, kid: 'later' })).toBe('use')
    expect(choose(one, forEncryption, forThis)).toBe('both')
  })

  test('is the next one where a better one is none', () => {
    const broken = { ...EC, kid: 'broken', x: 'AAAA', use: 'enc', alg: 'ECDH-ES' }
    expect(choose(broken, { ...EC, kid: 'good' })).toBe('good')
  })

  test('is given without what others say of it', () => {
    const said = { ...EC, kid: 'one', use: 'enc', alg: 'ECDH-ES', x5c: ['AAAA'], more: 'x' }
    expect(chooseEncryptionKey([said], 'ECDH-ES')).toEqual({ ...EC, kid: 'one' })
  })

  test('is none of those after the hundredth', () => {
    const others = Array.from({ length: 100 }, () => ({ ...EC, use: 'sig' }))
    expect(choose(...others.slice(1), { ...EC, kid: 'last' })).toBe('last')
    expect(choose(...others, { ...EC, kid: 'last' })).toBeUndefined()
  })

  test('is none whose modulus is even', () => {
    const rsa = { kty: 'RSA', e: 'AQAB', n: `${'_'.repeat(341)}w` }
    expect(chooseEncryptionKey([rsa], 'RSA-OAEP-256')).toEqual(rsa)
    const even = { ...rsa, n: Buffer.alloc(256, 0xfe).toString('base64url') }
    expect(chooseEncryptionKey([even], 'RSA-OAEP-256')).toBeUndefined()
  })

  test.each([
    ['with an id that is no text', { ...EC, kid: 1 }],
    ['of RSA', { kty: 'RSA', n: 'AQAB', e: 'AQAB' }],
    ['of an oct', { kty: 'oct', k: 'AAAA' }],
    ['of a point that agrees with nobody', { ...okp, x: 'A'.repeat(43) }],
    ['with its private half', { ...EC, d: 'AAAA' }],
    ['of nothing', {}],
  ])('is none %s', (_what, key) => {
    expect(chooseEncryptionKey([key], 'ECDH-ES')).toBeUndefined()
  })
})
