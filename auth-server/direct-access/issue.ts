import { randomBytes } from 'node:crypto'
import type { Account } from '../accounts/account.ts'
import type { Client } from '../clients/client.ts'
import type { Clock } from '../clock.ts'
import { DIRECT_ACCESS_CLIENT } from '../config/built-in.ts'
import { PortreeveError } from '../errors.ts'
import type { Events } from '../events.ts'
import type { PrivateJwk } from '../keys/keyset.ts'
import { signToken, type Signer } from '../keys/sign.ts'
import type { Issuance } from '../revocation/issuance.ts'
import type { Revocable } from '../revocation/revocation.ts'
import { scopesOfRoles, type Catalogue, type Resource } from '../scopes/catalogue.ts'
import { fillOwnClaims } from '../scopes/own-claims.ts'
import { decideScopes } from '../scopes/policy.ts'

/** Who has proven to be somebody, and how. */
export type Holder =
  | { readonly kind: 'password'; readonly account: Account; /** ms */ readonly at: number }
  /** `scopes`: those of the key. */
  | {
      readonly kind: 'api_key'
      readonly account: Account
      readonly keyId: string
      readonly scopes: readonly string[]
      /** Milliseconds since the epoch: when the key itself expires. */
      readonly notAfter: number | undefined
    }
  | { readonly kind: 'nobody'; readonly client: Client }

export interface DirectToken {
  readonly token: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

export interface DirectIssuerCollaborators {
  readonly catalogue: Catalogue
  /** Those that sign now, one for each algorithm. */
  readonly signingKeys: () => readonly PrivateJwk[]
  readonly events: Pick<Events, 'tokenIssued'>
  readonly clock: Clock
}

/**
 * Answers `undefined` for a holder who may do nothing at the resource. `issuance` began before anything
 * was read about them: throws `busy` where their access was taken away since.
 */
export type IssueDirectly = (
  resource: Resource,
  holder: Holder,
  issuance: Issuance,
) => Promise<DirectToken | undefined>

/**
 * Issues tokens outside of OAuth. They say no more than the API asks for; where it checks them with our
 * keys they are what RFC 9068 wants, so that no API has to know how they were come by.
 *
 * Does not check the credential itself.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9068.html#section-2.2 RFC 9068 §2.2}
 */
export function createDirectIssuer(
  { catalogue, signingKeys, events, clock }: DirectIssuerCollaborators,
  issuer: string,
): IssueDirectly {
  return async (resource, holder, issuance) => {
    const scopes = grantScopes(catalogue, resource, holder)
    if (resource.scopes.size > 0 && scopes.length === 0) return undefined
    const iat = issuance.dateBack(Math.floor(clock.now() / 1000))
    const exp = boundLife(iat + resource.accessTokenTtlSeconds, holder)
    if (exp <= iat) return undefined
    const own = resource.signing.kind === 'key' ? describeForKeys(holder) : {}
    const claims = {
      ...fillOwnClaims(resource.claims, describeHolder(holder)),
      ...describePerson(resource, holder),
      ...own,
      ...(scopes.length === 0 ? {} : { scope: scopes.join(' ') }),
      iss: resource.signing.kind === 'secret' ? resource.signing.issuer : issuer,
      aud: resource.audience,
      iat,
      exp,
    }
    const signer = chooseSigner(resource, signingKeys())
    const token = await signToken(signer, resource.tokenType, claims)
    const end = await issuance.findEnd(listSubjects(holder, signer, own.jti), iat)
    if (end) {
      const message = `What the token was to say was revoked while it was issued: ${end.kind}.`
      throw new PortreeveError('busy', message)
    }
    events.tokenIssued({
      grantType: `direct:${holder.kind}`,
      clientId: holder.kind === 'nobody' ? holder.client.id : DIRECT_ACCESS_CLIENT,
      accountId: holder.kind === 'nobody' ? undefined : holder.account.id,
      scope: scopes.join(' '),
    })
    return { token, expiresAt: exp * 1000 }
  }
}

function grantScopes(catalogue: Catalogue, resource: Resource, holder: Holder): readonly string[] {
  const all = [...resource.scopes.keys()]
  const { granted } = decideScopes({
    requested: holder.kind === 'api_key' ? holder.scopes : all,
    resourceScopes: new Set(all),
    // No client has asked for a person: what the person may do is what counts.
    clientScopes: new Set(holder.kind === 'nobody' ? holder.client.scopes : all),
    subject:
      holder.kind === 'nobody'
        ? { kind: 'service' }
        : { kind: 'person', roleScopes: scopesOfRoles(catalogue, holder.account.roles) },
  })
  return granted
}

/** No token outlives the key that it was given for. */
function boundLife(exp: number, holder: Holder): number {
  if (holder.kind !== 'api_key' || holder.notAfter === undefined) return exp
  return Math.min(exp, Math.floor(holder.notAfter / 1000))
}

function describeHolder(holder: Holder): Parameters<typeof fillOwnClaims>[1] {
  return holder.kind === 'nobody'
    ? { account: undefined, client: holder.client }
    : { account: holder.account, client: undefined }
}

function describePerson(resource: Resource, holder: Holder): Record<string, unknown> {
  if (holder.kind === 'nobody') return {}
  const { id, roles } = holder.account
  return { sub: id, ...(resource.rolesClaim ? { roles } : {}) }
}

/** Also what the token does not say: nobody who takes it could look for that. */
function listSubjects(holder: Holder, signer: Signer, jti: string | undefined): Revocable[] {
  const client = holder.kind === 'nobody' ? holder.client.id : DIRECT_ACCESS_CLIENT
  return [
    ['client', client],
    ['all', ''],
    ...(jti === undefined ? [] : [['token', jti] as const]),
    ...(holder.kind === 'nobody' ? [] : [['user', holder.account.id] as const]),
    ...(holder.kind === 'api_key' ? [['grant', holder.keyId] as const] : []),
    ...(signer.kind === 'key' ? [['key', signer.key.kid] as const] : []),
  ]
}

function describeForKeys(holder: Holder): { readonly jti?: string } & Record<string, unknown> {
  const jti = randomBytes(16).toString('base64url')
  const common = { jti, client_id: DIRECT_ACCESS_CLIENT }
  switch (holder.kind) {
    case 'password':
      return { ...common, auth_time: Math.floor(holder.at / 1000), amr: ['pwd'] }
    case 'api_key':
      return { ...common, grant_id: holder.keyId }
    case 'nobody':
      return { ...common, client_id: holder.client.id }
  }
}

function chooseSigner({ signing }: Resource, keys: readonly PrivateJwk[]): Signer {
  if (signing.kind === 'secret') {
    return { kind: 'secret', algorithm: signing.algorithm, key: signing.key() }
  }
  const key = keys.find(({ alg }) => alg === signing.algorithm)
  if (key) return { kind: 'key', key }
  const message = `No key of ${signing.algorithm} can be opened: the server has to be started with the key that sealed them.`
  throw new PortreeveError('misconfigured', message)
}
