import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { judge, startOpaqueIssuer } from '../support/introspection.ts'
import { API, fail } from '../support/issuer.ts'
import { tryOut } from './seed.ts'

test('whatever is answered, a token is refused, let in or put off, and nothing breaks', async () => {
  await using issuer = await startOpaqueIssuer()
  const verifier = issuer.verifier({ cache: false })
  const members = Object.keys(
    issuer.describe({ nbf: 1, cnf: {}, roles: [], typ: 'x', token_use: 'x' }),
  )
  const odd = fc.oneof(
    fc.jsonValue({ maxDepth: 3 }),
    fc.constantFrom<unknown>('Bearer', 'DPoP', API, [API], { jkt: 'x' }, 0, 2 ** 53, '', null),
  )
  const change = fc.dictionary(fc.oneof(fc.constantFrom(...members), fc.string()), odd, {
    maxKeys: 4,
  })
  let letIn = 0
  await tryOut(
    fc.asyncProperty(change, async (changes) => {
      const answer = Object.assign(issuer.describe(), changes)
      const token = issuer.issue()
      issuer.tokens.set(token, answer)
      const outcome = await verifier.verify(token)
      await issuer.clock.advance(31_000)
      if (!outcome.ok) return
      letIn += 1
      const { active, aud, exp, token_type: type, cnf } = answer
      expect(active).toBe(true)
      expect([aud].flat()).toContain(API)
      expect(Number(exp) * 1000).toBeGreaterThan(issuer.clock.now() - 31_000 - 5000)
      expect(String(type).toLowerCase()).toBe('bearer')
      expect(cnf).toBeUndefined()
    }),
    500,
  )
  expect(letIn).toBeGreaterThan(10)
  issuer.answerAll = fail(404)
  expect(await judge(verifier, issuer.issue())).toBe('introspection_unavailable')
})
