import { z } from 'zod'
import type { Client } from '../clients/client.ts'
import { ENCRYPTED_RESPONSES } from '../clients/client-metadata.ts'
import {
  ACR_VALUES,
  ASSERTION_ALGORITHMS,
  CLIENT_ENCRYPTION_ALGORITHMS,
  CLIENT_SIGNING_ALGORITHMS,
  CONTENT_ENCRYPTIONS,
  ENCRYPTED_KINDS,
  GRANT_TYPES,
  OIDC_SCOPE_NAMES,
  REQUEST_ALGORITHMS,
  usesSecret,
  type ClientAuthMethod,
  type GrantType,
} from '../config/built-in.ts'
import { checkClient } from '../config/check-client.ts'
import { isHostAmong } from '../config/check-registration.ts'
import { echo } from '../config/echo.ts'
import { looksLike, mixesScripts } from '../config/likeness.ts'
import { isRefusal, type Path } from '../config/rules.ts'
import {
  clientSchema,
  type ClientConfig,
  type RegistrationConfig,
  type ResourceConfig,
} from '../config/schema.ts'
import { isLoopback, isWebUri } from '../config/uri-rules.ts'
import { describeIssues } from '../config/validate.ts'
import type { Result } from '../errors.ts'
import {
  describeItself,
  describeLinks,
  readTranslations,
  SELF_DESCRIPTION,
  UNREAD,
} from './self-description.ts'

/** @see {@link https://www.rfc-editor.org/rfc/rfc7591.html#section-3.2.2 RFC 7591 §3.2.2} */
export interface MetadataFault {
  readonly error:
    | 'invalid_redirect_uri'
    | 'invalid_client_metadata'
    | 'invalid_software_statement'
    | 'unapproved_software_statement'
  readonly description: string
}

/** What a client asks to be, by our rules: with every default, and nothing that only operators give. */
export type RequestedClient = Omit<ClientConfig, 'secret' | 'name'> &
  Pick<Client, 'name' | 'selfDescription'>

/** What the operator allows those who describe themselves. */
export type MetadataPolicy = Readonly<
  Pick<RegistrationConfig, 'grants' | 'applicationTypes' | 'scopes' | 'redirectHosts'>
> & { readonly authMethods: readonly ClientAuthMethod[] }

export interface MetadataRules {
  readonly policy: MetadataPolicy
  readonly resources: readonly ResourceConfig[]
  /** Of apps that somebody has vouched for: no other may look like them. */
  readonly takenNames: readonly string[]
}

const list = z.array(z.string().max(2048)).max(20)
const flag = z.boolean().default(false)
const text = z.string().max(2048)
const algorithm = z.enum(CLIENT_SIGNING_ALGORITHMS).optional()
const keyEncryption = z.enum(CLIENT_ENCRYPTION_ALGORITHMS).optional()
const content = z.enum(CONTENT_ENCRYPTIONS).optional()

/** Those members that mean something here. All others are ignored, as RFC 7591 §2 has it. */
const wireSchema = z.object({
  redirect_uris: list.default([]),
  token_endpoint_auth_method: text.default('client_secret_basic'),
  grant_types: list.default(['authorization_code']),
  response_types: list.optional(),
  ...SELF_DESCRIPTION,
  scope: text.optional(),
  jwks: z.unknown().optional(),
  jwks_uri: text.optional(),
  application_type: z.enum(['web', 'native']).optional(),
  post_logout_redirect_uris: list.default([]),
  backchannel_logout_uri: text.optional(),
  dpop_bound_access_tokens: flag,
  require_pushed_authorization_requests: flag,
  require_signed_request_object: flag,
  subject_type: z.enum(['public', 'pairwise']).optional(),
  sector_identifier_uri: text.optional(),
  id_token_signed_response_alg: algorithm,
  userinfo_signed_response_alg: algorithm,
  authorization_signed_response_alg: algorithm,
  request_object_signing_alg: z.enum(REQUEST_ALGORITHMS).optional(),
  token_endpoint_auth_signing_alg: z.enum(ASSERTION_ALGORITHMS).optional(),
  default_max_age: z.number().optional(),
  default_acr_values: list.optional(),
  require_auth_time: flag,
  introspection_signed_response_alg: algorithm,
  id_token_encrypted_response_alg: keyEncryption,
  id_token_encrypted_response_enc: content,
  userinfo_encrypted_response_alg: keyEncryption,
  userinfo_encrypted_response_enc: content,
  authorization_encrypted_response_alg: keyEncryption,
  authorization_encrypted_response_enc: content,
  introspection_encrypted_response_alg: keyEncryption,
  introspection_encrypted_response_enc: content,
})

type Wire = z.output<typeof wireSchema>

/** Its id is made here, or judged by whoever has it read. */
const settingsSchema = clientSchema.extend({ id: z.string() })

/** Those members of metadata that somebody here reads: two with the same are one client. */
export function pickMembers(metadata: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const names = Object.keys(wireSchema.shape).filter((name) => !UNREAD.has(name))
  const given = names.filter((name) => (metadata[name] ?? null) !== null)
  return Object.fromEntries(given.map((name) => [name, metadata[name]]))
}

/** How the wire calls what the rules speak of. */
const WIRE_NAMES: Readonly<Record<string, string>> = {
  name: 'client_name',
  applicationType: 'application_type',
  grants: 'grant_types',
  authMethod: 'token_endpoint_auth_method',
  redirectUris: 'redirect_uris',
  postLogoutRedirectUris: 'post_logout_redirect_uris',
  backchannelLogoutUri: 'backchannel_logout_uri',
  scopes: 'scope',
  jwksUri: 'jwks_uri',
  signedRequests: 'require_signed_request_object',
  sectorIdentifierUri: 'sector_identifier_uri',
  defaultMaxAgeSeconds: 'default_max_age',
  defaultAcrValues: 'default_acr_values',
}

/**
 * Reads the metadata of a client that registers itself, by the rules of every client and by what the
 * operator allows. What is not allowed is refused, but for scopes: those are left out.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc7591.html#section-2 RFC 7591 §2}
 */
export function readMetadata(
  id: string,
  metadata: Readonly<Record<string, unknown>>,
  rules: MetadataRules,
): Result<RequestedClient, MetadataFault> {
  const given = Object.entries(metadata).filter(([, value]) => value !== null)
  const wire = wireSchema.safeParse(Object.fromEntries(given))
  if (!wire.success) {
    const [issue] = wire.error.issues
    const path = (issue?.path ?? []).map((part) => (typeof part === 'number' ? part : String(part)))
    return refuse(path, issue?.message ?? '')
  }
  const translations = readTranslations(metadata)
  if (!translations.ok) return refuse([translations.reason.member], translations.reason.message)
  const grants = readGrants(wire.data, rules.policy)
  if (!grants.ok) return grants
  const parsed = settingsSchema.safeParse(toSettings(id, wire.data, grants.value, rules.policy), {
    reportInput: true,
  })
  if (!parsed.success) {
    const [mistake] = describeIssues(parsed.error.issues, ['clients', 0])
    return refuse((mistake?.path ?? []).slice(2), mistake?.message ?? '')
  }
  const { secret: _none, ...settings } = parsed.data
  const name = chooseName(settings, wire.data, rules)
  const selfDescription = describeItself(wire.data, translations.value)
  return judge({ ...settings, name, selfDescription }, rules)
}

function readGrants(
  { grant_types: wanted, response_types: responses }: Wire,
  { grants: allowed }: MetadataPolicy,
): Result<GrantType[], MetadataFault> {
  const grants: GrantType[] = []
  for (const [index, name] of wanted.entries()) {
    const grant = allowed.find((known) => GRANT_TYPES[known] === name)
    if (grant === undefined) {
      const names = allowed.map((known) => GRANT_TYPES[known]).join(', ')
      return refuse(['grant_types', index], `expected one of ${names}, got ${echo(name)}`)
    }
    if (!grants.includes(grant)) grants.push(grant)
  }
  // RFC 7591 §2.1: the one comes with the other.
  const expected = grants.includes('authorization_code') ? ['code'] : []
  if (responses === undefined || String(responses) === String(expected)) {
    return { ok: true, value: grants }
  }
  return refuse(['response_types'], `expected ${JSON.stringify(expected)} with these grant_types`)
}

function toSettings(
  id: string,
  wire: Wire,
  grants: readonly GrantType[],
  policy: MetadataPolicy,
): unknown {
  const wanted =
    wire.scope?.split(' ').filter((scope) => scope !== '') ?? listDefaults(wire, policy)
  const scopes = [...new Set(wanted)].filter((scope) => policy.scopes.includes(scope))
  const applicationType = wire.application_type ?? guessType(wire)
  return {
    id,
    name: wire.client_name,
    applicationType,
    grants,
    authMethod: wire.token_endpoint_auth_method,
    jwks: wire.jwks,
    jwksUri: wire.jwks_uri,
    links: describeLinks(wire),
    redirectUris: wire.redirect_uris,
    postLogoutRedirectUris: wire.post_logout_redirect_uris,
    backchannelLogoutUri: wire.backchannel_logout_uri,
    scopes,
    dpop: wire.dpop_bound_access_tokens ? 'required' : 'allowed',
    par: wire.require_pushed_authorization_requests ? 'required' : 'allowed',
    signedRequests: wire.require_signed_request_object ? 'required' : undefined,
    algorithms: describeAlgorithms(wire),
    defaultMaxAgeSeconds: wire.default_max_age,
    defaultAcrValues: chooseAcrs(wire),
    authTimeInIdToken: wire.require_auth_time || undefined,
    encryption: readEncryption(wire),
    origins: listOrigins(wire, applicationType),
    subjectType: wire.subject_type,
    sectorIdentifierUri: wire.sector_identifier_uri,
  }
}

const OIDC: ReadonlySet<string> = new Set(OIDC_SCOPE_NAMES)

/** One that names no scope gets all that it may have: with pairwise subjects those are no API's. */
function listDefaults(
  { subject_type: subjects }: Wire,
  { scopes }: MetadataPolicy,
): readonly string[] {
  return subjects === 'pairwise' ? scopes.filter((scope) => OIDC.has(scope)) : scopes
}

function describeAlgorithms(wire: Wire): Client['algorithms'] {
  const algorithms = {
    idToken: wire.id_token_signed_response_alg,
    userinfo: wire.userinfo_signed_response_alg,
    response: wire.authorization_signed_response_alg,
    introspection: wire.introspection_signed_response_alg,
    request: wire.request_object_signing_alg,
    // Of other methods it says nothing (OpenID Connect Registration §2).
    assertion:
      wire.token_endpoint_auth_method === 'private_key_jwt'
        ? wire.token_endpoint_auth_signing_alg
        : undefined,
  }
  return Object.values(algorithms).every((one) => one === undefined) ? undefined : algorithms
}

/** Of those that it would like it gets what there is. */
function chooseAcrs({ default_acr_values: wanted }: Wire): readonly string[] | undefined {
  if (wanted === undefined || wanted.length === 0) return undefined
  const known = ACR_VALUES.filter((acr) => wanted.includes(acr))
  return known.length === 0 ? wanted : known
}

function readEncryption(wire: Wire): Record<string, unknown> | undefined {
  const given = ENCRYPTED_KINDS.flatMap((kind) => {
    const value = {
      algorithm: wire[`${ENCRYPTED_RESPONSES[kind]}_alg`],
      content: wire[`${ENCRYPTED_RESPONSES[kind]}_enc`],
    }
    const isGiven = value.algorithm !== undefined || value.content !== undefined
    return isGiven ? [[kind, value] as const] : []
  })
  return given.length === 0 ? undefined : Object.fromEntries(given)
}

/** An app on a person's machine often does not say so: its addresses do. */
function guessType({ redirect_uris: uris }: Wire): 'web' | 'native' {
  const places = uris.flatMap((uri) => URL.parse(uri) ?? [])
  return places.length > 0 && places.every(isLocal) ? 'native' : 'web'
}

function isLocal({ protocol, hostname }: URL): boolean {
  return protocol === 'http:' ? isLoopback(hostname) : protocol !== 'https:'
}

/** The scripts of a public client in a browser come from where its redirect URIs are. */
function listOrigins(wire: Wire, applicationType: 'web' | 'native'): string[] {
  if (applicationType !== 'web' || wire.token_endpoint_auth_method !== 'none') return []
  const places = wire.redirect_uris.flatMap((uri) => URL.parse(uri) ?? [])
  const origins = places.filter(({ protocol }) => /^https?:$/.test(protocol))
  return [...new Set(origins.map(({ origin }) => origin))]
}

/**
 * One that does not say what it is called is shown by its host, which it cannot choose freely: behind a
 * scheme of its own it could.
 */
function chooseName(
  { id, name, redirectUris }: Omit<ClientConfig, 'secret'>,
  { client_name: given }: Wire,
  { takenNames }: MetadataRules,
): string {
  if (given !== undefined && name !== undefined) return name
  const [first = ''] = redirectUris
  const host = isWebUri(first) ? new URL(first).host : ''
  return host === '' || takenNames.some((taken) => looksLike(taken, host)) ? id : host
}

function judge(
  client: RequestedClient,
  { policy, resources, takenNames }: MetadataRules,
): Result<RequestedClient, MetadataFault> {
  const { name, authMethod, applicationType, scopes } = client
  if (!policy.authMethods.some((method) => method === authMethod)) {
    return refuse(['token_endpoint_auth_method'], `expected ${policy.authMethods.join(' or ')}`)
  }
  if (!policy.applicationTypes.includes(applicationType)) {
    return refuse(['application_type'], `expected ${policy.applicationTypes.join(' or ')}`)
  }
  if (scopes.length === 0) {
    return refuse(['scope'], `expected some of ${policy.scopes.join(' ')}`)
  }
  const fault = findNameFault({ ...client.selfDescription, client_name: name }, takenNames)
  if (fault) return fault
  for (const member of ['redirectUris', 'postLogoutRedirectUris'] as const) {
    const index = client[member].findIndex((uri) => !isAllowedPlace(uri, policy))
    if (index !== -1) return refuse([member, index], 'its host is not among those that may be used')
  }
  const hasSecret = usesSecret(authMethod)
  const broken = checkClient({ ...client, hasSecret }, resources).find(isRefusal)
  return broken ? refuse(broken.path, broken.message) : { ok: true, value: client }
}

/** In every language: nobody knows which one a person is shown. */
function findNameFault(
  description: NonNullable<Client['selfDescription']>,
  takenNames: readonly string[],
) {
  for (const [member, value] of Object.entries(description)) {
    if (!/^client_name(?:#|$)/.test(member) || typeof value !== 'string') continue
    if (mixesScripts(value)) return refuse([member], 'letters of scripts that look alike are mixed')
    if (takenNames.some((taken) => looksLike(taken, value))) {
      return refuse([member], 'another app is called so')
    }
  }
  return undefined
}

function isAllowedPlace(uri: string, { redirectHosts }: MetadataPolicy): boolean {
  if (redirectHosts === undefined) return true
  const { protocol, hostname } = new URL(uri)
  return /^https?:$/.test(protocol) && isHostAmong(hostname, redirectHosts)
}

function refuse(
  [member = '', ...rest]: Path,
  message: string,
): { readonly ok: false; readonly reason: MetadataFault } {
  const kind = member === 'encryption' ? ENCRYPTED_KINDS.find((one) => one === rest[0]) : undefined
  const name = kind ? `${ENCRYPTED_RESPONSES[kind]}_alg` : (WIRE_NAMES[member] ?? String(member))
  const within = kind ? [] : rest
  const place = [
    name,
    ...within.map((part) => (typeof part === 'number' ? `[${part}]` : `.${part}`)),
  ]
  const error = name === 'redirect_uris' ? 'invalid_redirect_uri' : 'invalid_client_metadata'
  return { ok: false, reason: { error, description: `${place.join('')}: ${message}` } }
}
