import { describe, expect, test } from 'vitest'
import { decideExchange, type ExchangeQuestion, type ShownToken } from './exchange.ts'

const ISSUER = 'https://id.example'
const [GATEWAY, NOTES, BILLING] = ['https://gateway/', 'https://notes/', 'https://billing/']

const subject: ShownToken = {
  kind: 'person',
  subject: 'acc_ann',
  clientId: 'web',
  resource: GATEWAY,
  scopes: ['notes:read', 'notes:write', 'openid'],
  expiresAt: 1000,
  boundTo: undefined,
  act: undefined,
  mayAct: undefined,
}
const actor: ShownToken = {
  ...subject,
  kind: 'service',
  subject: 'worker',
  clientId: 'gateway',
  expiresAt: 900,
}
const rule = {
  resource: NOTES,
  subjects: ['person' as const],
  from: [GATEWAY],
  mode: ['impersonation' as const, 'delegation' as const],
}
const good: ExchangeQuestion = {
  issuer: ISSUER,
  clientId: 'gateway',
  introspects: [GATEWAY],
  rules: [rule],
  targets: [NOTES],
  requestedScopes: undefined,
  listAllowed: () => new Set(['notes:read', 'notes:write', 'notes:delete']),
  subject,
  actor: undefined,
  proven: [],
}

function ask(change: Partial<ExchangeQuestion>) {
  const decided = decideExchange({ ...good, ...change })
  return decided.ok ? decided.value : decided.reason
}
const askAbout = (change: Partial<ShownToken>, more: Partial<ExchangeQuestion> = {}) =>
  ask({ subject: { ...subject, ...change }, ...more })
const delegating = { rules: [{ ...rule, mode: ['delegation' as const] }] }

/** Who acts now, and who did before. */
function chain(...names: readonly string[]): unknown {
  const nest = (act: object | undefined, sub: string) => (act ? { sub, act } : { sub })
  return names.reduceRight<object | undefined>(nest, undefined)
}

test('an exchange is decided', () => {
  expect(ask({})).toEqual({
    resource: NOTES,
    mode: 'impersonation',
    scopes: ['notes:read', 'notes:write'],
    notAfter: 1000,
    actor: undefined,
    act: undefined,
  })
})

describe('the target', () => {
  test('is the only one that there are rules for, where none is named', () => {
    expect(ask({ targets: [] })).toMatchObject({ resource: NOTES })
    const rules = [rule, { ...rule, resource: BILLING }]
    expect(ask({ targets: [], rules })).toEqual({ kind: 'target', targets: [] })
  })

  test.each([[[BILLING]], [[NOTES, BILLING]], [['']]])('is refused: %j', (targets) => {
    expect(ask({ targets })).toEqual({ kind: 'target', targets })
  })

  test('may be named twice', () => {
    expect(ask({ targets: [NOTES, NOTES] })).toMatchObject({ resource: NOTES })
  })
})

describe('the rules', () => {
  test.each<[string, Partial<ExchangeQuestion>]>([
    ['a service', { subject: { ...subject, kind: 'service', subject: 'robot' } }],
    [
      'a token for another API',
      { introspects: [GATEWAY, NOTES], subject: { ...subject, resource: NOTES } },
    ],
    [
      'an actor token for another API',
      { introspects: [GATEWAY, NOTES], actor: { ...actor, resource: NOTES } },
    ],
    ['an actor token', { actor, rules: [{ ...rule, mode: ['impersonation'] }] }],
  ])('do not allow %s', (_case, change) => {
    expect(ask(change)).toEqual({ kind: 'policy' })
  })

  test('are none: nothing is allowed', () => {
    expect(ask({ rules: [] })).toMatchObject({ kind: 'target' })
  })
})

describe('a token', () => {
  test('is exchanged by the client that it was issued to, and by its API', () => {
    expect(ask({ clientId: 'web', introspects: [] })).toMatchObject({ resource: NOTES })
    expect(ask({ clientId: 'other', introspects: [GATEWAY] })).toMatchObject({ resource: NOTES })
  })

  test('is refused to anybody else', () => {
    expect(ask({ introspects: [] })).toEqual({ kind: 'holder', role: 'subject' })
    expect(ask({ introspects: [NOTES] })).toEqual({ kind: 'holder', role: 'subject' })
    expect(
      ask({ introspects: [GATEWAY], actor: { ...actor, clientId: 'x', resource: NOTES } }),
    ).toEqual({
      kind: 'holder',
      role: 'actor',
    })
  })

  test('that is bound needs its key', () => {
    expect(askAbout({ boundTo: 'key' }, { proven: ['other', 'key'] })).toMatchObject({
      resource: NOTES,
    })
    for (const proven of [[], ['other']]) {
      expect(askAbout({ boundTo: 'key' }, { proven })).toEqual({
        kind: 'proof',
        role: 'subject',
      })
      const bound = { ...actor, boundTo: 'key' }
      expect(ask({ actor: bound, proven })).toEqual({ kind: 'proof', role: 'actor' })
    }
    expect(askAbout({ boundTo: false })).toEqual({ kind: 'proof', role: 'subject' })
  })

  test('is not outlived, nor is the actor token', () => {
    expect(ask({ actor })).toMatchObject({ notAfter: 900 })
    expect(ask({ actor: { ...actor, expiresAt: 2000 } })).toMatchObject({ notAfter: 1000 })
  })
})

describe('the scope', () => {
  test.each([
    [['notes:read'], ['notes:read']],
    [['notes:read', 'notes:read'], ['notes:read']],
    [['notes:read', 'notes:delete'], ['notes:read']],
  ])('never grows: %j comes to %j', (requestedScopes, scopes) => {
    expect(ask({ requestedScopes })).toMatchObject({ scopes })
  })

  test('is what everybody allows', () => {
    expect(ask({ listAllowed: () => new Set(['notes:read']) })).toMatchObject({
      scopes: ['notes:read'],
    })
    expect(ask({ rules: [{ ...rule, scopes: ['notes:write'] }] })).toMatchObject({
      scopes: ['notes:write'],
    })
  })

  test.each<Partial<ExchangeQuestion>>([
    { requestedScopes: ['notes:delete'] },
    { requestedScopes: [] },
    { listAllowed: () => new Set() },
    { rules: [{ ...rule, scopes: [] }] },
  ])('is refused where nothing is left', (change) => {
    expect(ask(change)).toEqual({ kind: 'scope' })
  })
})

describe('who acts', () => {
  test('is the actor of the actor token', () => {
    expect(ask({ actor })).toMatchObject({
      mode: 'delegation',
      actor: 'worker',
      act: chain('worker'),
    })
  })

  test('is the client where only delegation is allowed', () => {
    expect(ask(delegating)).toMatchObject({ mode: 'delegation', act: chain('gateway') })
  })

  test('is said before who has acted', () => {
    const act = chain('second', 'first')
    expect(askAbout({ act }, delegating)).toMatchObject({
      act: chain('gateway', 'second', 'first'),
    })
    expect(askAbout({ act })).toMatchObject({ mode: 'impersonation', act })
  })

  test('is a chain of five at most', () => {
    const act = chain('4', '3', '2', '1')
    expect(askAbout({ act }, delegating)).toMatchObject({
      act: chain('gateway', '4', '3', '2', '1'),
    })
    const full = chain('5', '4', '3', '2', '1')
    expect(askAbout({ act: full }, delegating)).toEqual({ kind: 'actors', fault: 'too_many' })
    const endless: Record<string, unknown> = { sub: 'x' }
    endless['act'] = endless
    expect(askAbout({ act: endless })).toEqual({ kind: 'actors', fault: 'too_many' })
  })

  test.each([['x'], [{}], [{ sub: 7 }], [{ sub: 'x', act: null }], [[]], [null]])(
    'is unclear in %j',
    (act) => {
      expect(askAbout({ act })).toEqual({ kind: 'actors', fault: 'malformed' })
    },
  )

  test('cannot be somebody for whom another acts', () => {
    expect(ask({ actor: { ...actor, act: chain('x') } })).toEqual({
      kind: 'actors',
      fault: 'of_actor',
    })
  })

  test.each([
    [{ sub: 'gateway' }],
    [{ sub: 'gateway', iss: ISSUER }],
    [{ sub: 'gateway', client_id: 'gateway' }],
  ])('may be whom may_act names: %j', (mayAct) => {
    expect(askAbout({ mayAct })).toMatchObject({ resource: NOTES })
    expect(askAbout({ mayAct }, delegating)).toMatchObject({ resource: NOTES })
  })

  test.each([
    [{ sub: 'other' }],
    [{ sub: 'gateway', iss: 'https://other' }],
    [{ sub: 'gateway', email: 'x' }],
    [{ client_id: 'gateway' }],
    [{}],
    ['gateway'],
    [['gateway']],
    [null],
  ])('may be nobody else: %j', (mayAct) => {
    expect(askAbout({ mayAct })).toEqual({ kind: 'may_act' })
    expect(askAbout({ mayAct }, delegating)).toEqual({ kind: 'may_act' })
  })

  test('may_act is about the actor, not about who asks for it', () => {
    expect(askAbout({ mayAct: { sub: 'worker' } }, { actor })).toMatchObject({ actor: 'worker' })
    expect(askAbout({ mayAct: { sub: 'gateway' } }, { actor })).toEqual({ kind: 'may_act' })
  })
})
