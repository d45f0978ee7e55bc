import { expect, test } from 'vitest'
import { listDetails, type AccessTokenClaims } from './index.ts'

const CLAIMS: AccessTokenClaims = {
  iss: 'https://id.example',
  sub: 'acc_alice',
  aud: 'https://api.example/',
  exp: 2,
  iat: 1,
  jti: 'one',
  client_id: 'web',
}
const list = (details: unknown, type = 'payment') =>
  listDetails({ claims: { ...CLAIMS, authorization_details: details } }, type)

test('what a token says of a type is found, in its order', () => {
  const [first, other, second] = [
    { type: 'payment', amount: 1 },
    { type: 'sharing', notebook: 'x' },
    { type: 'payment', amount: 2 },
  ]
  expect(list([first, other, second])).toEqual([first, second])
  expect(list([first, other], 'sharing')).toEqual([other])
})

test.each([
  ['nothing', undefined],
  ['no list', { type: 'payment' }],
  ['a text', '[{"type":"payment"}]'],
  ['one without a type beside it', [{ type: 'payment' }, { amount: 1 }]],
  ['one whose type is no text', [{ type: 'payment' }, { type: ['payment'] }]],
  ['null beside it', [{ type: 'payment' }, null]],
])('%s says nothing', (_what, details) => {
  expect(list(details)).toEqual([])
})

test('a type is not found in what objects inherit', () => {
  expect(listDetails({ claims: CLAIMS }, 'payment')).toEqual([])
  expect(list([Object.create({ type: 'payment' })])).toEqual([])
})
