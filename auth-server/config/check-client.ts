import {
  ACCOUNT_ID_PREFIX,
  FAPI2_ALGORITHMS,
  FAPI2_KEY_ALGORITHMS,
  OIDC_SCOPE_NAMES,
  OWN_CLIENT_ID,
  REVOCATIONS_SCOPE,
  usesSecret,
} from './built-in.ts'
import { checkSubjects } from './check-subjects.ts'
import { checkCertificate } from './check-mtls.ts'
import { echo } from './echo.ts'
import { checkEncryption } from './check-encryption.ts'
import { checkPublicKeys } from './public-jwk.ts'
import type { Finding, Path, Report } from './rules.ts'
import type { CheckedClient, ResourceConfig } from './schema.ts'
import {
  isExactOrigin,
  isLoopback,
  isUnprovenPlace,
  judgeCallUri,
  judgePage,
  judgeRedirectUri,
} from './uri-rules.ts'

const OIDC: ReadonlySet<string> = new Set(OIDC_SCOPE_NAMES)

/** Those whose tokens are for APIs and nothing else. */
const MACHINE_GRANTS: ReadonlySet<string> = new Set(['client_credentials', 'api_key', 'jwt_bearer'])

/**
 * Every rule of one client, those about its fellows left out. Paths start at the client. Where
 * `resources` is `undefined` they are not known, and no rule that reads them is applied.
 */
export function checkClient(
  client: CheckedClient,
  resources: readonly ResourceConfig[] | undefined,
): Finding[] {
  const findings = [...checkPublicKeys(client), ...checkEncryption(client)]
  const report: Report = (rule, path, message) => findings.push({ rule, path, message })
  checkIdentity(client, resources, report)
  checkAuthentication(client, report)
  checkKeys(client, report)
  checkCertificate(client, report)
  checkGrants(client, report)
  checkUris(client, report)
  checkScopes(client, resources, report)
  checkIntrospection(client, resources, report)
  checkExchange(client, resources, report)
  checkDetails(client, resources, report)
  if (client.profile === 'fapi2') checkFapi(client, resources, report)
  checkAssertions(client, report)
  checkCiba(client, report)
  checkSubjects(client, report)
  return findings
}

function checkIdentity(
  { id }: CheckedClient,
  resources: readonly ResourceConfig[] | undefined,
  report: Report,
): void {
  if (id.startsWith(ACCOUNT_ID_PREFIX)) {
    report('PR302', ['id'], `ids of accounts start with ${ACCOUNT_ID_PREFIX}, got ${echo(id)}`)
  }
  if (id === OWN_CLIENT_ID) {
    report('PR329', ['id'], `${echo(id)} is this server itself: choose another id`)
  }
  if (resources?.some(({ identifier, audience }) => id === identifier || id === audience)) {
    report('PR303', ['id'], `${echo(id)} is a resource's identifier or audience already`)
  }
}

function checkAuthentication(client: CheckedClient, report: Report): void {
  const { authMethod, hasSecret, pkce, applicationType, grants } = client
  if (hasSecret && !usesSecret(authMethod)) {
    report('PR304', ['secret'], `expected no secret, because authMethod is ${echo(authMethod)}`)
  }
  if (authMethod === 'none') {
    if (grants.includes('client_credentials')) {
      const message = 'client_credentials needs a secret: expected another authMethod than "none"'
      report('PR305', ['grants'], message)
    }
    if (pkce === 'exempt') {
      report('PR307', ['pkce'], 'expected "required", because authMethod is "none"')
    }
    return
  }
  if (!hasSecret && usesSecret(authMethod)) {
    const message = `authMethod ${echo(authMethod)} needs a secret: { env: "NAME" } or { file: "path" }, or authMethod "none"`
    report('PR306', ['secret'], message)
  }
  if (pkce === 'exempt') {
    const message = "without PKCE only the client's own nonce or state protects a stolen code"
    report('PR350', ['pkce'], message)
  }
  if (applicationType === 'native') {
    const message = 'whoever has the app has the secret inside it: consider authMethod "none"'
    report('PR352', ['authMethod'], message)
  }
}

/** What it signs with, or is encrypted to. */
function checkKeys(
  { authMethod, jwks, jwksUri, signedRequests, algorithms }: CheckedClient,
  report: Report,
): void {
  const places = [jwks, jwksUri].filter((place) => place !== undefined).length
  if (places > 1 || (places === 0 && authMethod === 'private_key_jwt')) {
    const message =
      places > 1
        ? 'expected jwks or jwksUri, got both'
        : 'authMethod "private_key_jwt" needs its public keys: expected jwks or jwksUri'
    report('PR337', ['jwks'], message)
  }
  if (places === 0 && signedRequests === 'required') {
    report('PR340', ['signedRequests'], 'it needs keys to sign with: expected jwks or jwksUri')
  }
  if (algorithms?.assertion !== undefined && authMethod !== 'private_key_jwt') {
    const message = `authMethod ${echo(authMethod)} signs nothing: expected none, or "private_key_jwt"`
    report('PR511', ['algorithms', 'assertion'], message)
  }
}

function checkGrants({ grants, redirectUris }: CheckedClient, report: Report): void {
  const hasCode = grants.includes('authorization_code')
  if (hasCode && redirectUris.length === 0) {
    report(
      'PR308',
      ['redirectUris'],
      'the authorization_code grant needs at least one redirect URI',
    )
  }
  const isForPeople = hasCode || grants.includes('device_code') || grants.includes('ciba')
  if (grants.includes('refresh_token') && !isForPeople) {
    const message = 'refresh_token needs authorization_code, device_code or ciba beside it'
    report('PR309', ['grants'], message)
  }
}

function checkUris(client: CheckedClient, report: Report): void {
  for (const member of ['redirectUris', 'postLogoutRedirectUris'] as const) {
    for (const [index, uri] of client[member].entries()) {
      const fault = judgeRedirectUri(uri, client.applicationType)
      if (fault) report(fault.rule, [member, index], fault.message)
    }
  }
  const { backchannelLogoutUri } = client
  const fault = backchannelLogoutUri === undefined ? undefined : judgeCallUri(backchannelLogoutUri)
  if (fault !== undefined) report('PR336', ['backchannelLogoutUri'], fault)
  const { frontchannelLogoutUri } = client
  const problem = frontchannelLogoutUri && judgeFrameUri(frontchannelLogoutUri, client.redirectUris)
  if (problem) report('PR380', ['frontchannelLogoutUri'], problem)
  for (const [name, link] of Object.entries(client.links ?? {})) {
    const mistake = link === undefined ? undefined : judgePage(link)
    if (mistake !== undefined) report('PR510', ['links', name], mistake)
  }
  for (const [index, origin] of client.origins.entries()) {
    if (!isAllowedOrigin(origin)) {
      const expected = 'an origin such as https://app.example (http on loopback only)'
      report('PR320', ['origins', index], `expected ${expected}, got ${echo(origin)}`)
    }
  }
  if (!client.firstParty) return
  const index = client.redirectUris.findIndex(isUnprovenPlace)
  if (index === -1) return
  const message = `anyone's program may stand behind ${echo(client.redirectUris[index])}: people are asked for consent there`
  report('PR351', ['firstParty'], message)
}

/** @see {@link https://openid.net/specs/openid-connect-frontchannel-1_0.html#RPLogout Front-Channel Logout §2} */
function judgeFrameUri(uri: string, redirectUris: readonly string[]): string | undefined {
  const fault = judgeCallUri(uri)
  if (fault !== undefined) return fault
  const { origin, hostname } = new URL(uri)
  // It goes into a policy, where other signs would say more than a host.
  if (!/^(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])$/.test(hostname)) {
    return `expected a host of a-z 0-9 . -, got ${echo(uri)}`
  }
  if (redirectUris.some((redirectUri) => new URL(redirectUri).origin === origin)) return undefined
  return `expected the origin of one of redirectUris, got ${echo(uri)}`
}

function isAllowedOrigin(origin: string): boolean {
  if (!isExactOrigin(origin)) return false
  const { protocol, hostname } = new URL(origin)
  return protocol === 'https:' || isLoopback(hostname)
}

function checkScopes(
  client: CheckedClient,
  resources: readonly ResourceConfig[] | undefined,
  report: Report,
): void {
  const listens = client.scopes.indexOf(REVOCATIONS_SCOPE)
  const mayListen = client.authMethod !== 'none' && client.grants.includes('client_credentials')
  if (listens !== -1 && !mayListen) {
    const expected = 'the grant client_credentials, and another authMethod than "none"'
    report('PR328', ['scopes', listens], `${echo(REVOCATIONS_SCOPE)} needs ${expected}`)
  }
  for (const [index, scope] of client.defaultScopes.entries()) {
    if (client.scopes.includes(scope)) continue
    const message = `${echo(scope)} is not among the client's scopes`
    report('PR317', ['defaultScopes', index], message)
  }
  if (!resources) return
  const known = new Set(resources.flatMap(({ scopes }) => Object.keys(scopes)))
  for (const [index, scope] of client.scopes.entries()) {
    if (known.has(scope) || OIDC.has(scope) || scope === REVOCATIONS_SCOPE) continue
    const message = `${echo(scope)} is a scope of no resource, nor of OpenID Connect`
    report('PR316', ['scopes', index], message)
  }
  const { defaultResource, grants } = client
  if (defaultResource !== undefined && !isResource(defaultResource, resources)) {
    const message = `${echo(defaultResource)} is the identifier of no resource`
    report('PR318', ['defaultResource'], message)
  }
  const isMachine = grants.every((grant) => MACHINE_GRANTS.has(grant))
  if (isMachine && client.scopes.every((scope) => OIDC.has(scope))) {
    const message = `${grants.join(' and ')} alone needs a scope of a resource, or no token can be had`
    report('PR319', ['scopes'], message)
  }
}

function checkDetails(
  { authorizationDetails = [], scopes }: CheckedClient,
  resources: readonly ResourceConfig[] | undefined,
  report: Report,
): void {
  if (!resources) return
  const types = new Map(
    resources.flatMap((resource) => Object.entries(resource.authorizationDetails ?? {})),
  )
  for (const [index, type] of authorizationDetails.entries()) {
    const known = types.get(type)
    const message = known
      ? `it needs the scope ${echo(known.scope)}, which is not among the client's scopes`
      : `${echo(type)} is a type of no resource`
    if (known && scopes.includes(known.scope)) continue
    report('PR342', ['authorizationDetails', index], message)
  }
}

/** Codes go through the front channel alone, and tokens are bound: see `docs/conformance/fapi2.md`. */
const FAPI2_GRANTS: ReadonlySet<string> = new Set([
  'authorization_code',
  'refresh_token',
  'client_credentials',
  'token_exchange',
])

/** @see {@link https://openid.net/specs/fapi-security-profile-2_0-final.html#section-5.3.2 FAPI 2.0 Security Profile §5.3.2} */
function checkFapi(
  client: CheckedClient,
  resources: readonly ResourceConfig[] | undefined,
  report: Report,
): void {
  const { authMethod, dpop, certificateBound, par, pkce, grants, redirectUris } = client
  const { algorithms, jwks } = client
  const expect = (isMet: boolean, path: Path, expected: string) => {
    if (!isMet) report('PR343', path, `expected ${expected}, because the profile is "fapi2"`)
  }
  const isPublic = authMethod === 'none'
  const proven = '"private_key_jwt", "tls_client_auth" or "self_signed_tls_client_auth"'
  expect(!isPublic && !usesSecret(authMethod), ['authMethod'], proven)
  const isBound = dpop === 'required' || certificateBound === true
  expect(isBound, ['dpop'], '"required", or certificateBound')
  const usesFrontChannel = grants.includes('authorization_code')
  expect(par === 'required' || !usesFrontChannel, ['par'], '"required"')
  expect(pkce === 'required', ['pkce'], '"required"')
  for (const [index, grant] of grants.entries()) {
    expect(FAPI2_GRANTS.has(grant), ['grants', index], [...FAPI2_GRANTS].join(', '))
  }
  for (const [index, uri] of redirectUris.entries()) {
    const isHttps = URL.parse(uri)?.protocol === 'https:'
    expect(
      isHttps || client.applicationType === 'native',
      ['redirectUris', index],
      'https, or a native app on loopback',
    )
  }
  for (const [name, algorithm] of Object.entries(algorithms ?? {})) {
    const isStrong = algorithm === undefined || FAPI2_ALGORITHMS.has(algorithm)
    expect(isStrong, ['algorithms', name], '"ES256"')
  }
  for (const [index, { alg }] of (jwks?.keys ?? []).entries()) {
    const isStrong = alg === undefined || FAPI2_KEY_ALGORITHMS.has(alg)
    expect(isStrong, ['jwks', 'keys', index], 'alg PS256, ES256 or EdDSA')
  }
  for (const [index, scope] of client.scopes.entries()) {
    const weak = resources?.find(
      ({ scopes, algorithm }) => Object.hasOwn(scopes, scope) && !FAPI2_ALGORITHMS.has(algorithm),
    )
    if (!weak) continue
    report(
      'PR344',
      ['scopes', index],
      `tokens of ${echo(weak.identifier)} are signed with ${weak.algorithm}`,
    )
  }
}

function checkIntrospection(
  { introspects, authMethod }: CheckedClient,
  resources: readonly ResourceConfig[] | undefined,
  report: Report,
): void {
  if (introspects.length > 0 && authMethod === 'none') {
    const message =
      'whoever asks about tokens needs a secret: expected another authMethod than "none"'
    report('PR330', ['introspects'], message)
  }
  for (const [index, identifier] of introspects.entries()) {
    if (!resources || isResource(identifier, resources)) continue
    report('PR331', ['introspects', index], `${echo(identifier)} is the identifier of no resource`)
  }
}

function isResource(identifier: string, resources: readonly ResourceConfig[]): boolean {
  return resources.some((resource) => resource.identifier === identifier)
}

function checkExchange(
  { exchange, grants, authMethod }: CheckedClient,
  resources: readonly ResourceConfig[] | undefined,
  report: Report,
): void {
  const hasGrant = grants.includes('token_exchange')
  if (hasGrant && authMethod === 'none') {
    const message = 'token_exchange needs a secret: expected another authMethod than "none"'
    report('PR332', ['grants'], message)
  }
  if (hasGrant !== exchange.length > 0) {
    const message = hasGrant
      ? 'token_exchange needs at least one rule in exchange'
      : 'rules are of no use without the grant token_exchange'
    report('PR333', ['exchange'], message)
  }
  if (!resources) return
  for (const [index, rule] of exchange.entries()) {
    const at = ['exchange', index]
    const target = resources.find(({ identifier }) => identifier === rule.resource)
    if (!target) {
      const message = `${echo(rule.resource)} is the identifier of no resource`
      report('PR334', [...at, 'resource'], message)
    }
    for (const [place, scope] of (rule.scopes ?? []).entries()) {
      if (!target || Object.hasOwn(target.scopes, scope)) continue
      report('PR334', [...at, 'scopes', place], `${echo(scope)} is no scope of ${rule.resource}`)
    }
    for (const [place, identifier] of rule.from.entries()) {
      const source = resources.find((resource) => resource.identifier === identifier)
      if (!source) {
        report(
          'PR334',
          [...at, 'from', place],
          `${echo(identifier)} is the identifier of no resource`,
        )
      } else if (source.secret !== undefined) {
        const message = `the API of ${echo(identifier)} could make such tokens itself`
        report('PR335', [...at, 'from', place], message)
      }
    }
  }
}

function checkAssertions(
  { assertionIssuers, grants, authMethod }: CheckedClient,
  report: Report,
): void {
  const hasGrant = grants.includes('jwt_bearer')
  if (hasGrant && authMethod === 'none') {
    const message =
      'jwt_bearer needs a client that proves who it is: expected another authMethod than "none"'
    report('PR371', ['grants'], message)
  }
  if (hasGrant !== assertionIssuers.length > 0) {
    const message = hasGrant
      ? 'jwt_bearer needs at least one issuer in assertionIssuers'
      : 'issuers are of no use without the grant jwt_bearer'
    report('PR370', ['assertionIssuers'], message)
  }
}

function checkCiba({ ciba, grants, authMethod }: CheckedClient, report: Report): void {
  const hasGrant = grants.includes('ciba')
  if (hasGrant && authMethod === 'none') {
    const message =
      'ciba needs a client that proves who it is: expected another authMethod than "none"'
    report('PR374', ['grants'], message)
  }
  if (!ciba) return
  if (!hasGrant) report('PR375', ['ciba'], 'its settings are of no use without the grant ciba')
  const { mode, notificationUri: uri } = ciba
  if ((mode === 'ping') !== (uri !== undefined)) {
    const message =
      mode === 'ping'
        ? 'the mode "ping" needs a notificationUri'
        : 'with the mode "poll" nothing is called: expected no notificationUri, or "ping"'
    report('PR376', ['ciba', 'notificationUri'], message)
  }
  const fault = uri === undefined ? undefined : judgeCallUri(uri)
  if (fault !== undefined) report('PR377', ['ciba', 'notificationUri'], fault)
}
