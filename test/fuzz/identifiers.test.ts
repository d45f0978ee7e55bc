import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createIdentifiers, isForged, reattach } from '../../auth-server/provider/identifiers.ts'
import { tryOut } from './seed.ts'

const RUNS = 1000
const identifiers = createIdentifiers({
  grantId: Buffer.alloc(32, 1),
  userCode: Buffer.alloc(32, 2),
  refreshSuccessor: Buffer.alloc(32, 3),
})
const model = fc.constantFrom(
  'Session',
  'AuthorizationCode',
  'RefreshToken',
  'Interaction',
  'Grant',
)
/** What the engine makes, and whatever else may be sent. */
const id = fc
  .oneof(fc.base64String(), fc.string({ unit: 'binary' }))
  .filter((text) => !isForged(text))

describe('the row key of an identifier', () => {
  test('is a hash in which the identifier cannot be seen', () =>
    tryOut(
      fc.property(model, id, (name, secret) => {
        const key = identifiers.key(name, secret)
        expect(key).toMatch(/^[\w-]{43}$/)
        expect(secret.length > 3 && key.includes(secret)).toBe(false)
      }),
      RUNS,
    ))

  test('is another one for another identifier or another model', () =>
    tryOut(
      fc.property(model, id, model, id, (oneModel, one, otherModel, other) => {
        fc.pre(oneModel !== otherModel || one !== other)
        expect(identifiers.key(oneModel, one)).not.toBe(identifiers.key(otherModel, other))
      }),
      RUNS,
    ))

  test('is found again by what stands for it, which nobody can send', () =>
    tryOut(
      fc.property(model, id, (name, secret) => {
        const key = identifiers.key(name, secret)
        expect(identifiers.key(name, reattach(key))).toBe(key)
        expect(isForged(reattach(key))).toBe(true)
        expect(isForged(key)).toBe(false)
      }),
      RUNS,
    ))

  test('of a refresh token does not give away its successor', () =>
    tryOut(
      fc.property(id, (token) => {
        const successor = identifiers.successor(token)
        expect(successor).toBe(identifiers.successor(token))
        expect(successor).not.toBe(identifiers.key('RefreshToken', token))
        expect(isForged(successor)).toBe(false)
      }),
      RUNS,
    ))
})
