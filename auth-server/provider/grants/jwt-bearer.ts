import { errors, type KoaContextWithOIDC } from 'oidc-provider'
import { isSignInOver, type Account, type AccountStore } from '../../accounts/account.ts'
import { GRANT_TYPES } from '../../config/built-in.ts'
import { normalizeUsername } from '../../config/username.ts'
import type { TakeOnce } from '../adapter.ts'
import type { AssertionReader, VerifiedAssertion } from '../assertions.ts'
import { clientOf } from '../clients.ts'
import { TOLERANCE_SECONDS } from '../foreign-jwt.ts'
import type { CustomGrant } from './grants.ts'
import { issueToken, type IssueCollaborators } from './issue-token.ts'

export interface JwtBearerCollaborators extends IssueCollaborators {
  readonly assertions: AssertionReader
  readonly accounts: Pick<AccountStore, 'findByUsername'>
  readonly takeOnce: TakeOnce
}

/**
 * Gives an access token for what a trusted issuer says about a person (RFC 7523 §2.1), once for each
 * assertion, and without a refresh token: the client asks the issuer again. What the person may do is
 * decided here as for any other token; the issuer can only ask for less.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc7521.html#section-5.2 RFC 7521 §5.2}
 */
export function createJwtBearerGrant(collaborators: JwtBearerCollaborators): CustomGrant {
  const { assertions, takeOnce } = collaborators
  return {
    name: GRANT_TYPES.jwt_bearer,
    parameters: ['assertion', 'scope', 'resource'],
    async handle(ctx) {
      const client = clientOf(ctx)
      const assertion = ctx.oidc.params?.['assertion']
      if (!client) throw new TypeError('no client has been authenticated')
      if (typeof assertion !== 'string' || assertion === '') {
        throw new errors.InvalidRequest("missing required parameter 'assertion'")
      }
      const accepted = { issuers: client.assertionIssuers, clientId: client.id }
      const read = await assertions.read(assertion, accepted)
      if (!read.ok) throw refuse(read.reason)
      const { claims } = read.value
      const account = await findPerson(collaborators, read.value)
      // For as long as the clocks may be apart, one that has expired may still be shown.
      const isFirst = await takeOnce(claims.iss, claims.jti, claims.exp + TOLERANCE_SECONDS)
      if (!isFirst) throw refuse('it was used already')
      await issueToken(collaborators, ctx, {
        account,
        scopes: listScopes(read.value),
        resource: nameResource(ctx, claims['resource']),
        claims: carryOn(claims),
      })
    },
  }
}

/** What is wrong with the assertion itself its holder may know (RFC 7521 §4.1.1). */
function refuse(fault: string): Error {
  return new errors.CustomOIDCProviderError('invalid_grant', `the assertion is not good: ${fault}`)
}

/** Of people here whoever shows it learns nothing. */
function refuseQuietly(detail: string): Error {
  return new errors.InvalidGrant(detail)
}

async function findPerson(
  { accounts }: JwtBearerCollaborators,
  { issuer, claims }: VerifiedAssertion,
): Promise<Account> {
  const name = claims[issuer.accountClaim]
  const isUnproven = issuer.accountClaim === 'email' && claims['email_verified'] !== true
  // Case and form of a `sub` count (OpenID Connect Core §2): two people there are not one here.
  const isOther =
    issuer.accountClaim === 'sub' && typeof name === 'string' && name !== normalizeUsername(name)
  const account =
    typeof name === 'string' && !isUnproven && !isOther
      ? await accounts.findByUsername(normalizeUsername(name))
      : undefined
  // Whoever had it before the person was disabled, or the password changed, has to get another one.
  if (account && !account.disabled && !isSignInOver(account, claims.iat)) return account
  throw refuseQuietly(`no account that has not ended is named by ${issuer.accountClaim}`)
}

/** An issuer that names scopes asks for less than it may have. */
function listScopes({ issuer, claims }: VerifiedAssertion): readonly string[] {
  const { scope } = claims
  if (scope === undefined) return issuer.scopes
  // Some write a list. What it would narrow is not to be guessed.
  if (typeof scope !== 'string') throw refuse('its scope is no text')
  return scope.split(' ').filter((one) => issuer.scopes.includes(one))
}

/** The client may not go elsewhere than the issuer has said. */
function nameResource(ctx: KoaContextWithOIDC, resource: unknown): string | undefined {
  if (resource === undefined) return undefined
  const [named, ...others] = [resource].flat()
  const asked = ctx.oidc.params?.['resource']
  if (typeof named === 'string' && others.length === 0 && (asked ?? named) === named) return named
  throw new errors.InvalidTarget('the assertion is for another resource')
}

/** How the person signed in there, for the APIs here: names of others mean nothing here. */
function carryOn({ auth_time, iat, amr }: VerifiedAssertion['claims']): Record<string, unknown> {
  return {
    ...(isPast(auth_time, iat) ? { auth_time } : {}),
    ...(Array.isArray(amr) && amr.every((one) => typeof one === 'string') ? { amr } : {}),
  }
}

/** Nobody has signed in after it was said: an API would take that for fresh for as long as it lasts. */
function isPast(time: unknown, iat: number): boolean {
  return typeof time === 'number' && time >= 0 && time <= iat
}
