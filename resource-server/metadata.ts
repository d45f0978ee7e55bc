import { IssuerError } from './errors.ts'
import type { FetchJson } from './fetch-json.ts'
import { deepFreeze } from './json.ts'
import { readNames, refuseUnknownOptions } from './options.ts'

/** What an issuer's metadata name, and this toolkit asks for. */
export type IssuerPlace = 'jwks_uri' | 'introspection_endpoint' | 'token_endpoint'

/** Metadata of which it is known that they are the issuer's. */
export interface IssuerMetadata {
  /** Where they were found. */
  readonly url: string
  readonly members: { readonly [member: string]: unknown }
}

/** Finds where an issuer publishes its keys. */
export function discoverKeySetUrl(issuer: string, fetchJson: FetchJson): Promise<string> {
  return discoverUrl(issuer, 'jwks_uri', fetchJson)
}

/**
 * Finds a place of an issuer: in its OpenID Connect discovery document, or, where it has none, in that
 * of RFC 8414. The document must name the issuer exactly as the API does, or anyone
 * whose document could be put in its place would choose the keys.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc8414.html#section-3.3 RFC 8414 §3.3}
 */
export async function discoverUrl(
  issuer: string,
  place: IssuerPlace,
  fetchJson: FetchJson,
): Promise<string> {
  return readPlace(issuer, place, await discoverMetadata(issuer, fetchJson))
}

/** As `discoverUrl`, for who needs several places. */
export async function discoverMetadata(
  issuer: string,
  fetchJson: FetchJson,
): Promise<IssuerMetadata> {
  let status = 0
  for (const url of listMetadataUrls(issuer)) {
    const answer = await fetchJson(url)
    if (answer.status === 200) return readMetadata(issuer, url, answer.body)
    status = answer.status
    // Only "there is no such document" leads to the next place; a sick issuer is not two.
    if (status < 400 || status > 499) break
  }
  throw new IssuerError('bad_answer', `${issuer} has no metadata: it answered ${status}`, {
    cause: { expected: 200, actual: status },
  })
}

/** OpenID Connect appends to the issuer's path (Discovery §4), RFC 8414 puts itself before it (§3.1). */
function listMetadataUrls(issuer: string): readonly string[] {
  const { origin, pathname } = new URL(issuer)
  const path = pathname.replace(/\/$/, '')
  return [
    `${origin}${path}/.well-known/openid-configuration`,
    `${origin}/.well-known/oauth-authorization-server${path}`,
  ]
}

function readMetadata(issuer: string, url: string, body: unknown): IssuerMetadata {
  const members = (body ?? {}) as IssuerMetadata['members']
  const { issuer: actual } = members
  if (actual === issuer) return { url, members }
  const message = `${url} is the metadata of ${JSON.stringify(actual)}, not of ${JSON.stringify(issuer)}`
  throw new IssuerError('issuer_mismatch', message, { cause: { expected: issuer, actual } })
}

/** A place that the metadata name. */
export function readPlace(
  issuer: string,
  place: IssuerPlace,
  { url, members: { [place]: found } }: IssuerMetadata,
): string {
  const instead = place === 'introspection_endpoint' ? ': name it as endpoint, if there is one' : ''
  return requirePlace(issuer, place, found, `${url} names no ${place}${instead}`)
}

/** Throws an `IssuerError` for what is no URL (`lack` says so), and for one that is not safe. */
export function requirePlace(issuer: string, place: string, found: unknown, lack: string): string {
  if (typeof found !== 'string' || !URL.canParse(found)) throw new IssuerError('bad_answer', lack)
  if (!isTrustworthy(found, isLoopback(issuer))) {
    throw new IssuerError('insecure_url', `the ${place} ${found} is not https`)
  }
  return found
}

/** https; plain http only on this machine, and only for an issuer that is on it too. */
export function isTrustworthy(url: string, onLoopback: boolean): boolean {
  const { protocol, username, password } = new URL(url)
  if (username !== '' || password !== '') return false
  return protocol === 'https:' || (protocol === 'http:' && onLoopback && isLoopback(url))
}

export function isLoopback(url: string): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(new URL(url).hostname)
}

/** What an API says of itself to clients that it has never met. */
export interface ProtectedResourceOptions {
  /** The API's identifier: a URL of https without fragment (http on loopback), as clients have it. */
  readonly resource: string
  /** The issuers whose tokens are taken. */
  readonly authorizationServers: readonly string[]
  /** Scopes that are worth asking for. */
  readonly scopes?: readonly string[]
  /** For people. */
  readonly name?: string
  /** Pages for people: how to use the API, what it does with data, on what terms. */
  readonly documentationUrl?: string
  readonly policyUrl?: string
  readonly termsUrl?: string
  /** What proofs may be signed with, where DPoP is taken. */
  readonly dpopAlgorithms?: readonly string[]
  /** Whether only tokens that are bound to a key by DPoP are taken. */
  readonly isDpopRequired?: boolean
  /** Whether tokens that are bound to a client's certificate are taken (RFC 8705 §3). */
  readonly takesCertificates?: boolean
}

export interface ProtectedResource {
  /** Where the document is to be found: for `resource_metadata` in challenges. */
  readonly url: string
  /** The path of `url` on this API's server. */
  readonly path: string
  /** To be answered as `application/json`, to everybody. */
  readonly document: Readonly<Record<string, unknown>>
}

const RESOURCE_OPTIONS = [
  'resource',
  'authorizationServers',
  'scopes',
  'name',
  'documentationUrl',
  'policyUrl',
  'termsUrl',
  'dpopAlgorithms',
  'isDpopRequired',
  'takesCertificates',
]

/**
 * Makes the metadata of an API, and says where they belong.
 *
 * Throws a `TypeError` that names the option for options that cannot be right.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9728.html#section-2 RFC 9728 §2 and §3.1}
 */
export function describeProtectedResource(options: ProtectedResourceOptions): ProtectedResource {
  refuseUnknownOptions('describeProtectedResource', options, RESOURCE_OPTIONS)
  const { resource, scopes, name, dpopAlgorithms, isDpopRequired, takesCertificates } = options
  requireUrl('resource', resource)
  const authorizationServers = readNames('authorizationServers', options.authorizationServers)
  for (const server of authorizationServers) requireUrl('authorizationServers', server)
  const url = locateMetadata(resource)
  const document = {
    resource,
    authorization_servers: authorizationServers,
    scopes_supported: scopes && readNames('scopes', scopes),
    bearer_methods_supported: ['header'],
    resource_name: name,
    resource_documentation: readPage('documentationUrl', options.documentationUrl),
    resource_policy_uri: readPage('policyUrl', options.policyUrl),
    resource_tos_uri: readPage('termsUrl', options.termsUrl),
    dpop_signing_alg_values_supported:
      dpopAlgorithms && readNames('dpopAlgorithms', dpopAlgorithms),
    dpop_bound_access_tokens_required: isDpopRequired,
    tls_client_certificate_bound_access_tokens: takesCertificates,
  }
  const stated = Object.entries(document).filter(([, value]) => value !== undefined)
  return {
    url: url.href,
    path: url.pathname + url.search,
    document: deepFreeze(Object.fromEntries(stated)),
  }
}

/** §3.1: between the host and what follows it, of which a path of nothing but a slash goes away. */
function locateMetadata(resource: string): URL {
  const { origin, pathname, search } = new URL(resource)
  const path = pathname === '/' ? '' : pathname
  return new URL(`${origin}/.well-known/oauth-protected-resource${path}${search}`)
}

function requireUrl(option: string, url: unknown): void {
  const isUrl = typeof url === 'string' && URL.canParse(url) && !/[#\s]/.test(url)
  if (!isUrl || !isTrustworthy(url, isLoopback(url))) {
    throw new TypeError(
      `${option}: expected a URL of https without fragment (http only on loopback), not ${JSON.stringify(url)}`,
    )
  }
}

/** Clients make links of these, and a link may also be a script. */
function readPage(option: string, url: string | undefined): string | undefined {
  if (url === undefined || /^https?:$/.test(URL.parse(url)?.protocol ?? '')) return url
  throw new TypeError(`${option}: expected a URL of http, not ${JSON.stringify(url)}`)
}
