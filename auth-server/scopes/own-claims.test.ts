import { expect, test } from 'vitest'
import { fillOwnClaims, type OwnClaims } from './own-claims.ts'

const CLAIMS: OwnClaims = {
  authorized: { value: true },
  username: { from: 'username' },
  client: { from: 'client_name' },
  id: { from: 'client_id' },
  role: { firstRoleOf: ['admin', 'editor'] },
}
const client = { id: 'shop', name: 'The Shop' }

test('says of a person and of a client what the API wants to know', () => {
  const account = { username: 'naren', roles: ['reader', 'editor', 'admin'] }
  expect(fillOwnClaims(CLAIMS, { account, client })).toEqual({
    authorized: true,
    username: 'naren',
    client: 'The Shop',
    id: 'shop',
    role: 'admin',
  })
})

test('leaves out what there is not: of a service the person, of a person a role or a client', () => {
  expect(fillOwnClaims(CLAIMS, { account: undefined, client })).toEqual({
    authorized: true,
    client: 'The Shop',
    id: 'shop',
  })
  const account = { username: 'naren', roles: ['reader'] }
  expect(fillOwnClaims(CLAIMS, { account, client: undefined })).toEqual({
    authorized: true,
    username: 'naren',
  })
})

test('gives no role that the person has not, whatever it is called', () => {
  const claims: OwnClaims = { role: { firstRoleOf: ['constructor', 'admin'] } }
  const account = { username: 'naren', roles: [] }
  expect(fillOwnClaims(claims, { account, client: undefined })).toEqual({})
})
