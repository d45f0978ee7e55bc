import { createSecretKey, type KeyObject } from 'node:crypto'
import { EVERYONE, REVOCATIONS_SCOPE, revocationsOf, type OidcScope } from '../config/built-in.ts'
import {
  isSecretAlgorithm,
  type Config,
  type ResourceConfig,
  type SecretAlgorithm,
  type SigningAlgorithm,
} from '../config/schema.ts'
import type { DetailType } from './details.ts'
import type { OwnClaims } from './own-claims.ts'

/** The scopes of OpenID Connect that this server knows, with the words people read. */
export const OIDC_SCOPES: Readonly<Record<OidcScope, string>> = {
  openid: 'Know who you are (an identifier made for this server)',
  profile: 'See your name, username, picture and language',
  email: 'See your e-mail address',
  groups: 'See the groups you belong to',
  offline_access: 'Keep access while you are away, until you withdraw it',
}

/** An API that tokens are for (RFC 8707). */
export interface Resource {
  /** An absolute URI without a fragment: what a client names as `resource`. */
  readonly identifier: string
  /** The `aud` of its tokens. */
  readonly audience: string
  /** What people read on the consent page. */
  readonly name: string
  readonly scopes: ReadonlyMap<string, ResourceScope>
  readonly accessTokenTtlSeconds: number
  readonly signing: Signing
  /** `JWT` for a decoder that refuses RFC 9068's `at+jwt`. */
  readonly tokenType: 'at+jwt' | 'JWT'
  /** Whether its tokens carry a `roles` claim. */
  readonly rolesClaim: boolean
  readonly claims: OwnClaims
}

/** What the tokens of a resource are signed with. */
export type Signing =
  /** A key of this server, which everybody can check. */
  | { readonly kind: 'key'; readonly algorithm: SigningAlgorithm }
  /** A secret that the API has, too: it could make such a token itself. */
  | {
      readonly kind: 'secret'
      readonly algorithm: SecretAlgorithm
      /** The `iss` of its tokens, never this server's own. */
      readonly issuer: string
      /** Prints as nothing, wherever it might be logged. Throws where only the scopes were wanted. */
      readonly key: () => KeyObject
    }

export interface ResourceScope {
  /** What people read on the consent page. */
  readonly description: string
}

/** Everything that can be asked for, made once from the configuration. */
export interface Catalogue {
  readonly resources: ReadonlyMap<string, Resource>
  /** The types of `authorization_details` of all resources, by name (RFC 9396). */
  readonly details: ReadonlyMap<string, DetailType>
  /** Role name to the scopes it carries. `everyone` is carried by every account. */
  readonly roles: ReadonlyMap<string, ReadonlySet<string>>
}

export function isOidcScope(scope: string): scope is OidcScope {
  return Object.hasOwn(OIDC_SCOPES, scope)
}

/** Every scope that the given roles carry. A role the catalogue does not know carries none. */
export function scopesOfRoles(catalogue: Catalogue, roles: readonly string[]): ReadonlySet<string> {
  const carried = new Set<string>()
  for (const role of [EVERYONE, ...roles]) {
    for (const scope of catalogue.roles.get(role) ?? []) carried.add(scope)
  }
  return carried
}

/**
 * The catalogue of a configuration that was found right. `secrets`: those of the resources that share
 * one, by identifier. Only who signs needs them.
 */
export function createCatalogue(
  { resources, roles }: Pick<Config, 'resources' | 'roles'>,
  secrets: ReadonlyMap<string, string> = new Map(),
): Catalogue {
  const known = resources.map((resource): Resource => {
    const { identifier, audience, name, scopes, claims } = resource
    const { accessTokenTtlSeconds, tokenType, rolesClaim } = resource
    return {
      identifier,
      audience: audience ?? identifier,
      name,
      scopes: new Map(Object.entries(scopes)),
      accessTokenTtlSeconds,
      signing: describeSigning(resource, secrets.get(identifier)),
      tokenType,
      rolesClaim,
      claims,
    }
  })
  return {
    resources: new Map(known.map((resource) => [resource.identifier, resource])),
    details: new Map(resources.flatMap(listDetailTypes)),
    roles: new Map(Object.entries(roles).map(([role, { scopes }]) => [role, new Set(scopes)])),
  }
}

const REVOCATIONS_TTL_SECONDS = 600

/**
 * The same, with the API of this server that tells what is revoked. No role carries its scope: people
 * cannot give it to an app.
 */
export function withRevocations(catalogue: Catalogue, issuer: string): Catalogue {
  const identifier = revocationsOf(issuer)
  const resource: Resource = {
    identifier,
    audience: identifier,
    name: 'Revocations',
    scopes: new Map([[REVOCATIONS_SCOPE, { description: 'Learn what access has been revoked' }]]),
    accessTokenTtlSeconds: REVOCATIONS_TTL_SECONDS,
    signing: { kind: 'key', algorithm: 'ES256' },
    tokenType: 'at+jwt',
    rolesClaim: false,
    claims: {},
  }
  return { ...catalogue, resources: new Map([...catalogue.resources, [identifier, resource]]) }
}

function listDetailTypes({ identifier, name, authorizationDetails = {} }: ResourceConfig) {
  return Object.entries(authorizationDetails).map(
    ([type, { members, ...words }]): [string, DetailType] => [
      type,
      {
        ...words,
        type,
        resource: identifier,
        resourceName: name,
        members: new Map(Object.entries(members)),
      },
    ],
  )
}

function describeSigning(
  { identifier, algorithm, issuer }: ResourceConfig,
  secret: string | undefined,
): Signing {
  if (!isSecretAlgorithm(algorithm)) return { kind: 'key', algorithm }
  if (issuer === undefined) throw new TypeError(`${identifier} has no issuer name`)
  const key = secret === undefined ? undefined : createSecretKey(secret, 'utf8')
  return {
    kind: 'secret',
    algorithm,
    issuer,
    key() {
      if (key) return key
      throw new TypeError(`the secret of ${identifier} has not been read`)
    },
  }
}
