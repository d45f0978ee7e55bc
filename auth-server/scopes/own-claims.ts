import type { ResourceConfig } from '../config/schema.ts'

/** The claims that an API wants beyond those that every token has, by name. */
export type OwnClaims = ResourceConfig['claims']

/** Whom a token is about, and for whom it is. */
export interface TokenHolder {
  /** `undefined` for a service. */
  readonly account: { readonly username: string; readonly roles: readonly string[] } | undefined
  /** `undefined` where no client has asked. */
  readonly client: { readonly id: string; readonly name: string } | undefined
}

/** Fills the claims in. One that says nothing of this holder is left out. */
export function fillOwnClaims(
  claims: OwnClaims,
  holder: TokenHolder,
): Readonly<Record<string, string | number | boolean>> {
  const filled = Object.entries(claims).map(
    ([name, source]) => [name, fillClaim(source, holder)] as const,
  )
  return Object.fromEntries(
    filled.filter((entry): entry is readonly [string, string | number | boolean] => {
      return entry[1] !== undefined
    }),
  )
}

function fillClaim(
  source: OwnClaims[string],
  { account, client }: TokenHolder,
): string | number | boolean | undefined {
  if ('value' in source) return source.value
  if ('firstRoleOf' in source) {
    return source.firstRoleOf.find((role) => account?.roles.includes(role))
  }
  switch (source.from) {
    case 'username':
      return account?.username
    case 'client_id':
      return client?.id
    case 'client_name':
      return client?.name
  }
}
