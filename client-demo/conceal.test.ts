import { expect, test } from 'vitest'
import { conceal, concealText, concealTexts, concealUrl } from './conceal.ts'

const JWT = 'eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhY2NfMTIzNDU2Nzg5MCJ9.c2lnbmF0dXJlLXNpZ25hdHVyZQ'

test.each([
  ['access_token', JWT, 'eyJhbGciOiJF…'],
  ['refresh_token', 'abcdefghijklMNOPqrstuvwxyz0123456789_-ABCDE', 'abcdefghijkl…'],
  ['password', 'short', '(hidden)'],
  ['authorization', `Bearer ${JWT}`, 'Bearer eyJhbGciOiJF…'],
  ['authorization', `Basic ${btoa('robot:a-secret')}`, 'Basic (robot:…)'],
  ['request_uri', `urn:x:request_uri:${'a1B2'.repeat(11)}`, 'urn:x:request_uri:a1B2a1B2a1B2…'],
  ['location', `/callback?code=${JWT}&state=s`, '/callback?code=eyJhbGciOiJF…&state=s'],
])('shows of %s no more than it may', (name, value, shown) => {
  expect(conceal(name, value)).toBe(shown)
})

test.each([
  ['scope', 'openid profile email notes:read notes:write'],
  ['aud', 'https://notes.example/'],
  ['error_description', 'a text in words, however long it may be, is what helps'],
  ['expires_in', 600],
])('shows %s as it is', (name, value) => {
  expect(conceal(name, value)).toBe(value)
})

test('shortens what is inside lists and objects, however deep, and keeps their form', () => {
  const kid = 'k'.repeat(20) + 'K12345'
  const hidden = { password: ['short', 1234], authorization: [`Bearer ${JWT}`], ends: null }
  expect(conceal('keys', [{ kid, alg: 'ES256', tokens: [[JWT]], use: 1 }, hidden])).toEqual([
    { kid: 'kkkkkkkkkkkk…', alg: 'ES256', tokens: [['eyJhbGciOiJF…']], use: 1 },
    { password: ['(hidden)', '(hidden)'], authorization: ['Bearer eyJhbGciOiJF…'], ends: null },
  ])
})

test('shortens tokens inside what was compared', () => {
  expect(concealTexts({ list: [`of ${JWT}`, true] })).toEqual({ list: ['of eyJhbGciOiJF…', true] })
})

test('shortens identifiers in the path of a URL, and no words', () => {
  const url = 'http://127.0.0.1:1/interaction/AbcdefghijklMnopqrst1/sign-in'
  expect(concealUrl(url)).toBe('http://127.0.0.1:1/interaction/Abcdefghijkl…/sign-in')
  const words = 'http://127.0.0.1:1/.well-known/openid-configuration'
  expect(concealUrl(words)).toBe(words)
})

test('shortens tokens inside a text that somebody else wrote', () => {
  expect(concealText(`no good: ${JWT}!`)).toBe('no good: eyJhbGciOiJF…!')
})
