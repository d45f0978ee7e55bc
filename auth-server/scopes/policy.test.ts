import { describe, expect, test } from 'vitest'
import { createCatalogue, scopesOfRoles } from './catalogue.ts'
import {
  chooseResource,
  decideScopes,
  type ResourceQuestion,
  type ScopeQuestion,
} from './policy.ts'

/** Each of the five conditions on one scope, held or not: every combination is in the table. */
interface Row {
  readonly requested: boolean
  readonly resource: boolean
  readonly client: boolean
  /** `undefined`: nobody has signed in yet. `'service'`: there is no person. */
  readonly role: boolean | undefined | 'service'
  /** `undefined`: consent is not decided yet. */
  readonly consent: boolean | undefined
}

const YES_NO = [true, false] as const

const ROWS: readonly Row[] = YES_NO.flatMap((requested) =>
  YES_NO.flatMap((resource) =>
    YES_NO.flatMap((client) =>
      ([true, false, undefined, 'service'] as const).flatMap((role) =>
        ([true, false, undefined] as const).map((consent) => ({
          requested,
          resource,
          client,
          role,
          consent,
        })),
      ),
    ),
  ),
)

function scopesIf(held: boolean): ReadonlySet<string> {
  return new Set(held ? ['wanted', 'other'] : ['other'])
}

function ask(row: Row): ScopeQuestion {
  return {
    requested: row.requested ? ['wanted'] : [],
    resourceScopes: scopesIf(row.resource),
    clientScopes: scopesIf(row.client),
    subject: toSubject(row.role),
    consented: row.consent === undefined ? undefined : scopesIf(row.consent),
  }
}

function toSubject(role: Row['role']): ScopeQuestion['subject'] {
  if (role === 'service') return { kind: 'service' }
  if (role === undefined) return { kind: 'unknown' }
  return { kind: 'person', roleScopes: scopesIf(role) }
}

/** The rule in other words than the code's: the first condition that does not hold is the reason. */
function expected(row: Row) {
  if (!row.requested) return { granted: [], refused: [] }
  const conditions = [
    ['resource', row.resource],
    ['client', row.client],
    ['role', row.role !== false],
    ['consent', row.consent !== false],
  ] as const
  const broken = conditions.find(([, holds]) => !holds)
  return broken
    ? { granted: [], refused: [{ scope: 'wanted', reason: broken[0] }] }
    : { granted: ['wanted'], refused: [] }
}

describe('what is granted', () => {
  test('the table holds every combination once', () => {
    expect(new Set(ROWS.map((row) => JSON.stringify(Object.entries(row)))).size).toBe(96)
  })

  test.each(ROWS.map((row) => [describeRow(row), row] as const))('%s', (_name, row) => {
    expect(decideScopes(ask(row))).toEqual(expected(row))
  })

  test('keeps the order that was asked for, and each scope once', () => {
    const all = new Set(['a', 'b', 'c'])
    const question: ScopeQuestion = {
      requested: ['c', 'a', 'c', 'x', 'a'],
      resourceScopes: all,
      clientScopes: all,
      subject: { kind: 'service' },
    }
    expect(decideScopes(question)).toEqual({
      granted: ['c', 'a'],
      refused: [{ scope: 'x', reason: 'resource' }],
    })
  })
})

function describeRow({ requested, resource, client, role, consent }: Row): string {
  const say = (name: string, held: boolean | undefined | 'service') =>
    held === 'service' ? 'a service' : held === undefined ? `no ${name} yet` : `${name} ${held}`
  return [
    say('requested', requested),
    say('resource', resource),
    say('client', client),
    say('role', role),
    say('consent', consent),
  ].join(', ')
}

const describeScope = (scope: string) => [scope, { description: scope }] as const

function makeResource(identifier: string, ...scopes: string[]) {
  return {
    identifier,
    audience: undefined,
    name: identifier,
    scopes: Object.fromEntries(scopes.map(describeScope)),
    accessTokenTtlSeconds: 600,
    algorithm: 'ES256' as const,
    tokenType: 'at+jwt' as const,
    rolesClaim: false,
    claims: {},
  }
}

const CATALOGUE = createCatalogue({
  resources: [
    makeResource('urn:notes', 'notes:read', 'shared:read'),
    makeResource('urn:billing', 'billing:read', 'shared:read'),
  ],
  roles: {
    everyone: { scopes: ['shared:read'] },
    reader: { scopes: ['notes:read'] },
    clerk: { scopes: ['billing:read'] },
  },
})

describe('the resource of a request that names none', () => {
  const choose = (scopes: string, defaultResource?: string) => {
    const question: ResourceQuestion = {
      requestedScopes: scopes.split(' ').filter(Boolean),
      resources: CATALOGUE.resources,
      defaultResource,
    }
    return chooseResource(question)
  }

  test.each([
    ['the owner of the scope', 'notes:read', undefined, 'urn:notes'],
    ['the owner beside OpenID Connect', 'openid email notes:read', undefined, 'urn:notes'],
    ['the owner and not the default', 'notes:read', 'urn:billing', 'urn:notes'],
    ['the only one that has all', 'shared:read billing:read', undefined, 'urn:billing'],
    ['the default, of two that have it', 'shared:read', 'urn:billing', 'urn:billing'],
    ['the default, where no scope tells', '', 'urn:notes', 'urn:notes'],
    ['none for openid alone', 'openid', 'urn:notes', undefined],
    ['the default for scopes nobody has', 'unheard:of', 'urn:notes', 'urn:notes'],
    ['none without a default', '', undefined, undefined],
  ])('is %s', (_case, scopes, standard, value) => {
    expect(choose(scopes, standard)).toEqual({ ok: true, value })
  })

  test.each([
    [
      'belong to two resources',
      'notes:read billing:read',
      { kind: 'several', resources: ['urn:notes', 'urn:billing'] },
    ],
    [
      'could be either’s',
      'shared:read',
      { kind: 'ambiguous', candidates: ['urn:notes', 'urn:billing'] },
    ],
  ])('is refused where the scopes %s', (_case, scopes, reason) => {
    expect(choose(scopes)).toEqual({ ok: false, reason })
  })
})

describe('the scopes of roles', () => {
  test.each([
    ['no role', [], ['shared:read']],
    ['one role', ['reader'], ['shared:read', 'notes:read']],
    ['two roles', ['reader', 'clerk'], ['shared:read', 'notes:read', 'billing:read']],
    ['a role that is gone', ['ghost'], ['shared:read']],
    ['a role named like a member of every object', ['constructor', '__proto__'], ['shared:read']],
  ])('of %s', (_case, roles, scopes) => {
    expect([...scopesOfRoles(CATALOGUE, roles)].toSorted()).toEqual(scopes.toSorted())
  })
})
