import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decideScopes, type ScopeQuestion } from '../../auth-server/scopes/policy.ts'
import { tryOut } from './seed.ts'

const RUNS = 2000

/** Few names, so that the sets meet; among them what objects have of their own. */
const scope = fc.constantFrom('read', 'write', 'admin', 'openid', '__proto__', 'constructor', '')
const scopes = fc.array(scope, { maxLength: 8 })
const scopeSet = scopes.map((list) => new Set(list))
const subject = fc.oneof(
  fc.constant({ kind: 'service' } as const),
  fc.constant({ kind: 'unknown' } as const),
  scopeSet.map((roleScopes) => ({ kind: 'person', roleScopes }) as const),
)
const question: fc.Arbitrary<ScopeQuestion> = fc.record({
  requested: scopes,
  resourceScopes: scopeSet,
  clientScopes: scopeSet,
  subject,
  consented: fc.option(scopeSet, { nil: undefined }),
})

/** The sets that bound what may be granted. */
function boundsOf({ resourceScopes, clientScopes, subject: who, consented }: ScopeQuestion) {
  return [
    resourceScopes,
    clientScopes,
    ...(who.kind === 'person' ? [who.roleScopes] : []),
    ...(consented ? [consented] : []),
  ]
}

describe('the scope policy', () => {
  test('grants exactly what every set has', () =>
    tryOut(
      fc.property(question, (asked) => {
        const bounds = boundsOf(asked)
        const expected = new Set(
          asked.requested.filter((one) => bounds.every((bound) => bound.has(one))),
        )
        expect(new Set(decideScopes(asked).granted)).toEqual(expected)
      }),
      RUNS,
    ))

  test('says of each scope that was requested once whether it is granted or refused', () =>
    tryOut(
      fc.property(question, (asked) => {
        const { granted, refused } = decideScopes(asked)
        const judged = [...granted, ...refused.map((one) => one.scope)]
        expect(judged).toHaveLength(new Set(judged).size)
        expect(new Set(judged)).toEqual(new Set(asked.requested))
      }),
      RUNS,
    ))

  test('decides the same in whatever order the scopes are requested', () =>
    tryOut(
      fc.property(
        question.chain((asked) =>
          fc.tuple(
            fc.constant(asked),
            fc.shuffledSubarray([...asked.requested], { minLength: asked.requested.length }),
          ),
        ),
        ([asked, requested]) => {
          const one = decideScopes(asked)
          const other = decideScopes({ ...asked, requested })
          expect(new Set(other.granted)).toEqual(new Set(one.granted))
          const reasons = ({ refused }: typeof one) =>
            new Map(refused.map((entry) => [entry.scope, entry.reason]))
          expect(reasons(other)).toEqual(reasons(one))
        },
      ),
      RUNS,
    ))

  test('never grants less because a set has more', () =>
    tryOut(
      fc.property(question, scope, (asked, more) => {
        const add = (set: ReadonlySet<string>) => new Set([...set, more])
        const { subject: who, consented } = asked
        const wider: ScopeQuestion = {
          requested: [...asked.requested, more],
          resourceScopes: add(asked.resourceScopes),
          clientScopes: add(asked.clientScopes),
          subject: who.kind === 'person' ? { ...who, roleScopes: add(who.roleScopes) } : who,
          consented: consented && add(consented),
        }
        expect(decideScopes(wider).granted).toEqual(
          expect.arrayContaining([...decideScopes(asked).granted]),
        )
      }),
      RUNS,
    ))
})
