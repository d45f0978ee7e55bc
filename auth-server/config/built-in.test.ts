import { expect, test } from 'vitest'
import { EVERYONE as ROLE, OIDC_SCOPES } from '../scopes/catalogue.ts'
import { EVERYONE, OIDC_SCOPE_NAMES } from './built-in.ts'

test('names what the catalogue has words for', () => {
  expect([...OIDC_SCOPE_NAMES].toSorted()).toEqual(Object.keys(OIDC_SCOPES).toSorted())
  expect(ROLE).toBe(EVERYONE)
})
