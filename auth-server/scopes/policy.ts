import type { Result } from '../errors.ts'
import { isOidcScope, type Resource } from './catalogue.ts'

/** Why a scope is refused: the first rule that does so. */
export type ScopeRefusal = 'resource' | 'client' | 'role' | 'consent'

/** Whose roles count: nobody's before the sign-in, and none for a service. */
export type ScopeSubject =
  | { readonly kind: 'service' }
  | { readonly kind: 'person'; readonly roleScopes: ReadonlySet<string> }
  | { readonly kind: 'unknown' }

export interface ScopeQuestion {
  readonly requested: readonly string[]
  readonly resourceScopes: ReadonlySet<string>
  readonly clientScopes: ReadonlySet<string>
  readonly subject: ScopeSubject
  /** Absent while consent is not decided. */
  readonly consented?: ReadonlySet<string> | undefined
}

export interface ScopeDecision {
  readonly granted: readonly string[]
  readonly refused: readonly { readonly scope: string; readonly reason: ScopeRefusal }[]
}

/** Granted = requested ∩ resource ∩ client ∩ roles ∩ consent, with the reason for the rest. */
export function decideScopes(question: ScopeQuestion): ScopeDecision {
  const judged = [...new Set(question.requested)].map((scope) => ({
    scope,
    reason: refuseScope(scope, question),
  }))
  return {
    granted: judged.flatMap(({ scope, reason }) => (reason === undefined ? [scope] : [])),
    refused: judged.flatMap(({ scope, reason }) =>
      reason === undefined ? [] : [{ scope, reason }],
    ),
  }
}

function refuseScope(
  scope: string,
  { resourceScopes, clientScopes, subject, consented }: ScopeQuestion,
): ScopeRefusal | undefined {
  if (!resourceScopes.has(scope)) return 'resource'
  if (!clientScopes.has(scope)) return 'client'
  if (subject.kind === 'person' && !subject.roleScopes.has(scope)) return 'role'
  return consented && !consented.has(scope) ? 'consent' : undefined
}

export type ResourceRefusal =
  | { readonly kind: 'ambiguous'; readonly candidates: readonly string[] }
  | { readonly kind: 'several'; readonly resources: readonly string[] }

export interface ResourceQuestion {
  readonly requestedScopes: readonly string[]
  readonly resources: ReadonlyMap<string, Resource>
  readonly defaultResource: string | undefined
}

export function chooseResource({
  requestedScopes,
  resources,
  defaultResource,
}: ResourceQuestion): Result<string | undefined, ResourceRefusal> {
  const owners = (scope: string) =>
    [...resources.values()].filter(({ scopes }) => scopes.has(scope)).map((r) => r.identifier)
  const wanted = requestedScopes.filter((scope) => !isOidcScope(scope) && owners(scope).length > 0)
  if (wanted.length === 0) {
    const value = requestedScopes.some(isOidcScope) ? undefined : defaultResource
    return { ok: true, value }
  }
  const candidates = owners(wanted[0] ?? '').filter((id) =>
    wanted.every((scope) => owners(scope).includes(id)),
  )
  const [only, ...others] = candidates
  if (only === undefined) {
    return {
      ok: false,
      reason: { kind: 'several', resources: [...new Set(wanted.flatMap(owners))] },
    }
  }
  if (others.length === 0) return { ok: true, value: only }
  if (defaultResource !== undefined && candidates.includes(defaultResource)) {
    return { ok: true, value: defaultResource }
  }
  return { ok: false, reason: { kind: 'ambiguous', candidates } }
}
