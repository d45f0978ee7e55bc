import type { Account } from '../accounts/account.ts'
import type { Client } from '../clients/client.ts'
import type { OidcScope } from '../config/built-in.ts'
import { isOidcScope, OIDC_SCOPES, type Catalogue, type Resource } from '../scopes/catalogue.ts'
import { decideScopes } from '../scopes/policy.ts'
import { claimsOf } from './claims.ts'
import { listNamedClaims, readClaims } from './claims-parameter.ts'
import type { Asked, ClaimInWords, ScopeInWords } from './interaction.ts'
import { toSubject } from './resources.ts'

/** Into what may be granted and what the person's roles do not carry, each in words. */
export function sortScopes(
  catalogue: Catalogue,
  params: Readonly<Record<string, unknown>>,
  client: Pick<Client, 'scopes'>,
  account: Account | undefined,
): Asked {
  const requested = textOf(params['scope']).split(' ').filter(Boolean)
  const asked = requested.filter(isOidcScope).map((scope) => describeOidcScope(scope))
  const leftOut: ScopeInWords[] = []
  const resources = [params['resource'] ?? []]
    .flat()
    .map((id) => catalogue.resources.get(textOf(id)))
  for (const resource of resources.filter((known) => known !== undefined)) {
    const { granted, refused } = decideScopes({
      requested: requested.filter((scope) => !isOidcScope(scope)),
      resourceScopes: new Set(resource.scopes.keys()),
      clientScopes: new Set(client.scopes),
      subject: toSubject(catalogue, account ?? 'unknown'),
    })
    asked.push(...granted.map((scope) => describeScope(resource, scope)))
    const byRole = refused.filter(({ reason }) => reason === 'role')
    leftOut.push(...byRole.map(({ scope }) => describeScope(resource, scope)))
  }
  return { asked, claims: describeClaims(params, asked), leftOut }
}

/** What grants of a person to one client have in them, in words: each thing once. */
export function describeGranted(
  catalogue: Catalogue,
  grants: readonly Readonly<Record<string, unknown>>[],
): Pick<Asked, 'asked' | 'claims'> {
  const granted = grants.map((grant) => grant as GrantPayload)
  const own = collect(granted.map(({ openid }) => openid?.scope)).filter(isOidcScope)
  const resources = new Set(granted.flatMap((one) => Object.keys(one.resources ?? {})))
  const scopes = [...resources].flatMap((identifier) => {
    // What the configuration no longer has is said by its name.
    const resource = catalogue.resources.get(identifier) ?? {
      identifier,
      name: identifier,
      scopes: new Map(),
    }
    const its = collect(granted.map((one) => one.resources?.[identifier]))
    return its.map((scope) => describeScope(resource, scope))
  })
  const covered = new Set(own.flatMap((scope) => claimsOf(scope)))
  const claims = new Set(granted.flatMap(({ openid }) => openid?.claims ?? []))
  return {
    asked: [...own.map((scope) => describeOidcScope(scope)), ...scopes],
    claims: [...claims].filter((claim) => !covered.has(claim)).map(describeClaim),
  }
}

/** As the engine keeps it. */
interface GrantPayload {
  readonly openid?: { readonly scope?: string; readonly claims?: readonly string[] }
  readonly resources?: Readonly<Record<string, string>>
}

function collect(scopes: readonly (string | undefined)[]): string[] {
  return [...new Set(scopes.flatMap((scope) => scope?.split(' ') ?? []))].filter(Boolean)
}

const CLAIMS_IN_WORDS: Readonly<Record<string, string>> = {
  name: 'See your name',
  given_name: 'See your given name',
  family_name: 'See your family name',
  preferred_username: 'See your username',
  picture: 'See your picture',
  locale: 'See your language',
  updated_at: 'See when your profile was last changed',
  email: 'See your e-mail address',
  email_verified: 'See whether your e-mail address was verified',
  groups: 'See the groups you belong to',
}

/** Those that come with a scope that is asked for are in its words already. */
function describeClaims(
  params: Readonly<Record<string, unknown>>,
  asked: readonly ScopeInWords[],
): ClaimInWords[] {
  const covered = new Set(asked.flatMap(({ scope }) => claimsOf(scope)))
  const named = listNamedClaims(readClaims(params)).filter((claim) => !covered.has(claim))
  return named.map(describeClaim)
}

function describeClaim(claim: string): ClaimInWords {
  return { claim, description: CLAIMS_IN_WORDS[claim] ?? claim }
}

function describeOidcScope(scope: OidcScope): ScopeInWords {
  return { scope, description: OIDC_SCOPES[scope], resourceName: undefined, resource: undefined }
}

type Described = Pick<Resource, 'identifier' | 'name' | 'scopes'>

function describeScope(resource: Described, scope: string): ScopeInWords {
  const { description = scope } = resource.scopes.get(scope) ?? {}
  return { scope, description, resourceName: resource.name, resource: resource.identifier }
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}
