import { describe, expect, test } from 'vitest'
import { readDistinguishedName, writeAddress } from './subject.ts'

describe('a distinguished name', () => {
  test.each([
    ['CN=robot,O=Example,C=DE', [['cn=robot'], ['o=Example'], ['c=DE']]],
    ['CN = robot , O=Example', [['cn=robot'], ['o=Example']]],
    [
      '2.5.4.3=robot,1.2.840.113549.1.9.1=a@b.example',
      [['cn=robot'], ['emailaddress=a@b.example']],
    ],
    ['UID=7+CN=robot', [['cn=robot', 'uid=7']]],
    ['O=Ex\\, \\"Inc\\"\\; \\<x\\>\\\\', [['o=Ex, "Inc"; <x>\\']]],
    ['CN=\\ robot\\ ', [['cn= robot ']]],
    ['CN=\\C3\\A9t\\C3\\A9', [['cn=été']]],
    ['CN=été', [['cn=été']]],
    ['OU=\\#2', [['ou=#2']]],
    ['CN=', [['cn=']]],
  ])('%s is read part by part', (text, parts) => {
    expect(readDistinguishedName(text)).toEqual(parts)
  })

  test.each([
    '',
    ' ',
    'robot',
    'CN=robot,',
    ',CN=robot',
    'CN=robot;O=Example',
    'CN="robot"',
    'CN=ro\\bot',
    'CN=\\C3',
    'CN=robot\\',
    '=robot',
    'C N=robot',
  ])('%j is none', (text) => {
    expect(readDistinguishedName(text)).toBeUndefined()
  })
})

test('an address has one spelling', () => {
  expect(writeAddress('2001:DB8:0:0:0:0:0:1')).toBe(writeAddress('2001:db8::1'))
  expect(writeAddress('127.0.0.1')).toBe('127.0.0.1')
  for (const text of ['', '127.1', '::1%eth0', 'localhost', '[::1]']) {
    expect(writeAddress(text)).toBeUndefined()
  }
})
