import type { Account as EngineAccount, KoaContextWithOIDC } from 'oidc-provider'
import type { Account, AccountStore } from '../accounts/account.ts'
import { clientOf } from './clients.ts'

/** The claims that each scope of OpenID Connect opens (OpenID Connect Core §5.4). */
export const CLAIMS_OF_SCOPES: Readonly<Record<string, readonly string[]>> = {
  // Those of the sign-in are in ID tokens alone: userinfo knows of none.
  openid: ['sub', 'auth_time', 'acr', 'amr'],
  profile: [
    'name',
    'given_name',
    'family_name',
    'preferred_username',
    'picture',
    'locale',
    'updated_at',
  ],
  email: ['email', 'email_verified'],
  groups: ['groups'],
}

/** The claims that a client with these scopes may be told. Each has `openid`: see `clients.ts`. */
export function claimsFor(scopes: readonly string[]): ReadonlySet<string> {
  return new Set(['openid', ...scopes].flatMap((scope) => claimsOf(scope)))
}

/** Those that a scope opens; none for a scope of an API. */
export function claimsOf(scope: string): readonly string[] {
  return Object.hasOwn(CLAIMS_OF_SCOPES, scope) ? (CLAIMS_OF_SCOPES[scope] ?? []) : []
}

type AccountLookup = (ctx: KoaContextWithOIDC, id: string) => Promise<Account | undefined>

/**
 * Looks accounts up once per request, and only those that may act: a disabled account is as unknown
 * to the engine as a missing one.
 */
export function createAccountLookup(accounts: AccountStore): AccountLookup {
  const seen = new WeakMap<object, Map<string, Promise<Account | undefined>>>()
  return (ctx, id) => {
    const known = seen.get(ctx) ?? new Map<string, Promise<Account | undefined>>()
    seen.set(ctx, known)
    const found = known.get(id) ?? accounts.findById(id).then((account) => onlyActive(account))
    known.set(id, found)
    return found
  }
}

function onlyActive(account: Account | undefined): Account | undefined {
  return account?.disabled === false ? account : undefined
}

/** An account as the engine wants it: an id and its claims. */
export function toEngineAccount(ctx: KoaContextWithOIDC, account: Account): EngineAccount {
  return {
    accountId: account.id,
    async claims(use, _scope, requested) {
      const { scopes = [], claimsInIdToken } = clientOf(ctx) ?? {}
      // What was granted once is not told to a client that may not have it any more.
      const allowed = claimsFor(scopes)
      const known = Object.entries(listClaims(account)).filter(([claim]) => allowed.has(claim))
      const all = { ...Object.fromEntries(known), sub: account.id }
      if (use === 'userinfo' || claimsInIdToken) return all
      // OpenID Connect Core §5.4: with a code, the claims of scopes are for userinfo. Those that the
      // `claims` parameter names one by one stay.
      const named = Object.entries(all).filter(([claim]) => Object.hasOwn(requested, claim))
      return { ...Object.fromEntries(named), sub: account.id }
    },
  }
}

function listClaims({ id, username, profile, groups, updatedAt }: Account) {
  const claims = {
    sub: id,
    name: profile.name,
    given_name: profile.givenName,
    family_name: profile.familyName,
    preferred_username: profile.preferredUsername ?? username,
    picture: profile.picture,
    locale: profile.locale,
    updated_at: Math.floor(updatedAt / 1000),
    email: profile.email,
    // Never without an address, and never true without somebody's word for it.
    email_verified: profile.email === undefined ? undefined : profile.emailVerified === true,
    groups: [...groups],
  }
  return Object.fromEntries(
    Object.entries(claims).filter(([, value]) => value !== undefined),
  ) as typeof claims & { sub: string }
}
