import type { Account } from '../accounts/account.ts'
import type { Client } from '../clients/client.ts'
import type { OidcScope } from '../config/built-in.ts'
import { isOidcScope, OIDC_SCOPES, type Catalogue, type Resource } from '../scopes/catalogue.ts'
import { decideScopes } from '../scopes/policy.ts'
import type { ScopeInWords } from './interaction.ts'
import { toSubject } from './resources.ts'

/** Into what may be granted and what the person's roles do not carry, each in words. */
export function sortScopes(
  catalogue: Catalogue,
  params: Readonly<Record<string, unknown>>,
  client: Pick<Client, 'scopes'>,
  account: Account | undefined,
): { asked: ScopeInWords[]; leftOut: ScopeInWords[] } {
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
  return { asked, leftOut }
}

function describeOidcScope(scope: OidcScope): ScopeInWords {
  return { scope, description: OIDC_SCOPES[scope], resourceName: undefined, resource: undefined }
}

function describeScope(resource: Resource, scope: string): ScopeInWords {
  const { description = scope } = resource.scopes.get(scope) ?? {}
  return { scope, description, resourceName: resource.name, resource: resource.identifier }
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}
