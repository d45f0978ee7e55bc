import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { createVerifier } from '../../resource-server/index.ts'
import { API, createKey, signToken, startIssuer } from '../support/issuer.ts'
import { createTurnableClock } from '../support/turnable-clock.ts'

const key = await createKey('ES256')

test('no token is accepted after any change of it, and none makes the verifier throw', async () => {
  const clock = createTurnableClock()
  await using issuer = await startIssuer(clock, key)
  await using verifier = createVerifier({ issuer: issuer.url, audience: API, clock })
  const good = signToken(key, issuer.claims())
  expect(await verifier.verify(good)).toMatchObject({ ok: true })
  const change = fc.record({
    at: fc.nat({ max: good.length }),
    cut: fc.nat({ max: 3 }),
    put: fc.oneof(fc.string({ maxLength: 4 }), fc.stringMatching(/^[\w.-]{1,4}$/)),
  })
  const property = fc.asyncProperty(
    fc.array(change, { minLength: 1, maxLength: 3 }),
    async (changes) => {
      const changed = changes.reduce(
        (token, { at, cut, put }) => token.slice(0, at) + put + token.slice(at + cut),
        good,
      )
      fc.pre(changed !== good)
      expect(await verifier.verify(changed)).toMatchObject({ ok: false })
    },
  )
  await fc.assert(property, { numRuns: 2000 })
})

test('no text makes the verifier throw', async () => {
  const clock = createTurnableClock()
  await using issuer = await startIssuer(clock, key)
  await using verifier = createVerifier({ issuer: issuer.url, audience: API, clock })
  const part = fc.oneof(
    fc.json().map((text) => Buffer.from(text).toString('base64url')),
    fc.base64String(),
    fc.string({ unit: 'binary' }),
  )
  const property = fc.asyncProperty(fc.array(part, { maxLength: 5 }), async (parts) => {
    expect(await verifier.verify(parts.join('.'))).toMatchObject({ ok: false })
  })
  await fc.assert(property, { numRuns: 300 })
})
