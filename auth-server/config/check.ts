import { isIP } from 'node:net'
import { EVERYONE, OIDC_SCOPE_NAMES, REVOCATIONS_SCOPE, revocationsOf } from './built-in.ts'
import { checkClient } from './check-client.ts'
import { checkDirectAccess, type DirectAccessSurroundings } from './check-direct-access.ts'
import { checkTrustedIssuers } from './check-issuers.ts'
import { checkClientDocuments, checkRegistration } from './check-registration.ts'
import { checkResource, type ResourceSurroundings } from './check-resource.ts'
import { checkCertificateUse, checkMtls, type MtlsSurroundings } from './check-mtls.ts'
import { echo } from './echo.ts'
import type { Finding, Path, RuleId } from './rules.ts'
import type { Config, ResourceConfig, UserConfig } from './schema.ts'
import { isExactOrigin, isLoopback } from './uri-rules.ts'
import { normalizeUsername } from './username.ts'

const OIDC: ReadonlySet<string> = new Set(OIDC_SCOPE_NAMES)
const LONG_ACCESS_SECONDS = 3600
const LONG_LIFE_SECONDS = 90 * 86_400
/** NIST SP 800-63B §3.1.1.2. */
const SHORT_PASSWORD = 8

const DIRECT_ACCESS_SURROUNDINGS = [
  'issuer',
  'listen',
  'metrics',
  'resources',
  'clients',
  'users',
] as const

type Report = (rule: RuleId, path: Path, message: string) => void

/** A top-level member of the configuration. */
export type Section = keyof Config

/**
 * Every rule that reads more than one value. Pure: nothing is read or resolved.
 *
 * `unknown`: sections that were mistaken already and hold defaults here. No rule that reads them is
 * applied, so that one mistake is not reported as many.
 */
export function checkConfig(config: Config, unknown: ReadonlySet<Section> = new Set()): Finding[] {
  const findings: Finding[] = []
  const report: Report = (rule, path, message) => findings.push({ rule, path, message })
  const knows = (...sections: Section[]) => sections.every((section) => !unknown.has(section))
  const issuer = knows('issuer') ? checkIssuer(config.issuer, report) : undefined
  if (issuer && knows('listen')) checkListen(config, issuer, report)
  if (issuer && knows('trustedProxies')) checkProxyIsTrusted(config, issuer, report)
  if (knows('trustedProxies')) checkProxies(config.trustedProxies, report)
  if (knows('outbound')) checkNetworks(config.outbound.networks, report)
  if (knows('listen', 'metrics')) checkMetrics(config, report)
  if (knows('database')) checkDatabase(config.database.url, report)
  if (config.redis && knows('redis')) checkRedis(config.redis.url, report)
  if (knows('tokens')) checkLives(config.tokens, report)
  if (knows('signIn') && issuer) checkPasswords(config, issuer, report)
  if (knows('resources')) {
    const roles = knows('roles') ? config.roles : undefined
    checkResources(config.resources, { issuer: issuer?.origin, roles }, report)
  }
  if (config.directAccess && knows('directAccess')) {
    const known = Object.fromEntries(
      DIRECT_ACCESS_SURROUNDINGS.map((name) => [name, knows(name) ? config[name] : undefined]),
    ) as DirectAccessSurroundings
    for (const { rule, path, message } of checkDirectAccess(config.directAccess, known)) {
      report(rule, ['directAccess', ...path], message)
    }
  }
  if (knows('roles', 'resources')) checkRoles(config, report)
  if (knows('clients')) checkClients(config, knows('resources'), report)
  if (config.mtls && knows('mtls')) {
    const known = describeMtlsSurroundings(config, issuer, knows)
    for (const { rule, path, message } of checkMtls(config.mtls, known)) {
      report(rule, ['mtls', ...path], message)
    }
  }
  if (knows('clients', 'mtls')) {
    for (const [index, client] of config.clients.entries()) {
      for (const { rule, path, message } of checkCertificateUse(client, config.mtls)) {
        report(rule, ['clients', index, ...path], message)
      }
    }
  }
  if (config.registration && knows('registration')) {
    const known = {
      issuer: issuer?.origin,
      resources: knows('resources') ? config.resources : undefined,
    }
    for (const { rule, path, message } of checkRegistration(config.registration, known)) {
      report(rule, ['registration', ...path], message)
    }
  }
  if (config.clientDocuments && knows('clientDocuments')) {
    const known = knows('resources') ? config.resources : undefined
    for (const { rule, path, message } of checkClientDocuments(config.clientDocuments, known)) {
      report(rule, ['clientDocuments', ...path], message)
    }
  }
  if (knows('trustedIssuers')) {
    const broken = checkTrustedIssuers(config.trustedIssuers, issuer?.origin)
    for (const { rule, path, message } of broken) {
      report(rule, ['trustedIssuers', ...path], message)
    }
  }
  if (knows('clients', 'trustedIssuers')) checkAssertionIssuers(config, report)
  if (knows('users')) checkUsers(config.users, knows('roles') ? config.roles : undefined, report)
  return findings
}

function describeMtlsSurroundings(
  { listen, metrics, trustedProxies }: Config,
  issuer: URL | undefined,
  knows: (...sections: Section[]) => boolean,
): MtlsSurroundings {
  return {
    issuer: issuer?.origin,
    trustedProxies: knows('trustedProxies') ? trustedProxies : undefined,
    ports: new Map([
      ...(knows('listen') ? [[listen.port, 'the server itself'] as const] : []),
      ...(metrics && knows('metrics') ? [[metrics.port, 'metrics'] as const] : []),
    ]),
  }
}

/** The rules of one user but those about fellows. Paths start at the user. */
export function checkUser(
  { roles, profile }: Pick<UserConfig, 'roles' | 'profile'>,
  known: Config['roles'] | undefined,
): Finding[] {
  const findings: Finding[] = []
  for (const [index, role] of roles.entries()) {
    if (role === EVERYONE) {
      const message = `each person has the role "${EVERYONE}" without being given it`
      findings.push({ rule: 'PR403', path: ['roles', index], message })
    } else if (known && !Object.hasOwn(known, role)) {
      const message = `${echo(role)} is not among the roles${listNames(known)}`
      findings.push({ rule: 'PR402', path: ['roles', index], message })
    }
  }
  if (profile.emailVerified === true && profile.email === undefined) {
    const message = 'there is no e-mail address that could be verified'
    findings.push({ rule: 'PR404', path: ['profile', 'emailVerified'], message })
  }
  return findings
}

function listNames(roles: Config['roles']): string {
  const names = Object.keys(roles).filter((name) => name !== EVERYONE)
  if (names.length === 0) return ': none is declared'
  return ` (${names.slice(0, 10).join(', ')}${names.length > 10 ? ', …' : ''})`
}

function checkIssuer(issuer: string, report: Report): URL | undefined {
  if (!isExactOrigin(issuer)) {
    const expected = 'an origin such as https://id.example.org, without a slash at the end'
    report('PR101', ['issuer'], `expected ${expected}, got ${echo(issuer)}`)
    return undefined
  }
  const url = new URL(issuer)
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) {
    const message = `expected https, because the host is not loopback, got ${echo(issuer)}`
    report('PR102', ['issuer'], message)
  }
  return url
}

function checkListen({ listen, trustedProxies }: Config, issuer: URL, report: Report): void {
  if (issuer.protocol !== 'http:') return
  if (!isLoopback(listen.host)) {
    const message = `expected a loopback address such as 127.0.0.1, because the issuer is http, got ${echo(listen.host)}`
    report('PR103', ['listen', 'host'], message)
  }
  const port = issuer.port === '' ? 80 : Number(issuer.port)
  if (trustedProxies.length === 0 && listen.port !== 0 && listen.port !== port) {
    const message = `the issuer says port ${port}, but the server listens on ${listen.port}`
    report('PR106', ['issuer'], message)
  }
}

function checkMetrics({ listen, metrics }: Config, report: Report): void {
  if (!metrics || metrics.port === 0 || metrics.port !== listen.port) return
  const message = `the server itself listens on ${listen.port}: the metrics are not for its clients`
  report('PR110', ['metrics', 'port'], message)
}

function checkProxyIsTrusted({ trustedProxies }: Config, issuer: URL, report: Report): void {
  if (issuer.protocol !== 'https:' || trustedProxies.length > 0) return
  const message = "the issuer is https, which is a proxy's work: its address belongs here"
  report('PR107', ['trustedProxies'], message)
}

function checkProxies(proxies: readonly string[], report: Report): void {
  for (const [index, proxy] of proxies.entries()) {
    if (isAddressRange(proxy)) continue
    const expected = 'an address or a range such as 10.0.0.0/8 or fd00::/8'
    report('PR104', ['trustedProxies', index], `expected ${expected}, got ${echo(proxy)}`)
  }
}

function checkNetworks(networks: readonly string[], report: Report): void {
  for (const [index, network] of networks.entries()) {
    if (network.includes('/') && isAddressRange(network)) continue
    const expected = 'a range such as 10.0.0.0/8 or fd00::/8'
    report('PR113', ['outbound', 'networks', index], `expected ${expected}, got ${echo(network)}`)
  }
}

/** A range that holds every address would let anyone say where they come from. */
function isAddressRange(text: string): boolean {
  const [address = '', prefix, ...rest] = text.split('/')
  const version = isIP(address)
  if (version === 0 || rest.length > 0) return false
  if (prefix === undefined) return true
  return /^[1-9]\d{0,2}$/.test(prefix) && Number(prefix) <= (version === 4 ? 32 : 128)
}

function checkDatabase(url: string, report: Report): void {
  const path: Path = ['database', 'url']
  if (/^postgres(?:ql)?:/i.test(url)) {
    checkDatabaseServer(url, path, report)
    return
  }
  if (/^sqlite:(?!$|\/\/)[^\p{C}]+$/u.test(url)) return
  const hint = url.startsWith('sqlite://') ? ' (a path of its own follows sqlite: at once)' : ''
  const expected = 'sqlite:PATH, sqlite::memory: or postgres://USER@HOST/DATABASE'
  report('PR105', path, `expected ${expected}${hint}`)
}

function checkDatabaseServer(text: string, path: Path, report: Report): void {
  const url = URL.parse(text)
  const isSocket = url?.searchParams.get('host')?.startsWith('/') === true
  if (!url || (url.hostname === '' && !isSocket) || url.pathname.length < 2) {
    report('PR105', path, 'expected postgres://USER@HOST:PORT/DATABASE')
    return
  }
  if (isSocket || isLoopback(url.hostname) || url.searchParams.get('sslmode') === 'verify-full')
    return
  report('PR109', path, 'add ?sslmode=verify-full, or whoever is in between reads and changes it')
}

function checkRedis(text: string, report: Report): void {
  const path: Path = ['redis', 'url']
  const url = URL.parse(text)
  const isWellFormed =
    /^rediss?:$/.test(url?.protocol ?? '') &&
    url?.hostname !== '' &&
    /^\/?\d*$/.test(url?.pathname ?? 'x')
  if (!url || !isWellFormed) {
    report('PR111', path, 'expected redis://HOST:PORT/NUMBER or rediss://HOST:PORT/NUMBER')
    return
  }
  if (url.protocol === 'rediss:' || isLoopback(url.hostname)) return
  report('PR112', path, 'use rediss:, or whoever is in between reads sessions and makes them')
}

function checkLives(tokens: Config['tokens'], report: Report): void {
  for (const member of ['refreshTokenTtlSeconds', 'sessionTtlSeconds'] as const) {
    const days = Math.floor(tokens[member] / 86_400)
    if (tokens[member] <= LONG_LIFE_SECONDS) continue
    report('PR108', ['tokens', member], `${days} days is long for what a thief can use`)
  }
}

function checkPasswords({ signIn }: Config, issuer: URL, report: Report): void {
  if (signIn.shortestPassword >= SHORT_PASSWORD || isLoopback(issuer.hostname)) return
  const message = `${signIn.shortestPassword} characters are too easily guessed: expected at least ${SHORT_PASSWORD}`
  report('PR120', ['signIn', 'shortestPassword'], message)
}

function checkResources(
  resources: readonly ResourceConfig[],
  known: ResourceSurroundings,
  report: Report,
): void {
  const owners = new Map<string, number>()
  const detailOwners = new Map<string, number>()
  for (const [index, resource] of resources.entries()) {
    checkNames(resources, index, known.issuer, report)
    for (const { rule, path, message } of checkResource(resource, known)) {
      report(rule, ['resources', index, ...path], message)
    }
    for (const type of Object.keys(resource.authorizationDetails ?? {})) {
      const path = ['resources', index, 'authorizationDetails', type]
      const owner = detailOwners.get(type)
      if (owner === undefined) detailOwners.set(type, index)
      else report('PR341', path, `resources[${owner}] has the type ${echo(type)} already`)
    }
    for (const scope of Object.keys(resource.scopes)) {
      const path = ['resources', index, 'scopes', scope]
      const owner = owners.get(scope)
      if (OIDC.has(scope)) report('PR204', path, `${echo(scope)} is OpenID Connect's own scope`)
      else if (scope === REVOCATIONS_SCOPE) {
        report('PR204', path, `${echo(scope)} is this server's own scope`)
      } else if (owner === undefined) owners.set(scope, index)
      else {
        const message = `resources[${owner}] has the scope ${echo(scope)} too: requests must name one as resource`
        report('PR206', path, message)
      }
    }
    const seconds = resource.accessTokenTtlSeconds
    if (seconds > LONG_ACCESS_SECONDS) {
      const message = `access tokens that live ${seconds} s outlive what changes meanwhile`
      report('PR207', ['resources', index, 'accessTokenTtlSeconds'], message)
    }
  }
}

function checkNames(
  resources: readonly ResourceConfig[],
  index: number,
  issuer: string | undefined,
  report: Report,
): void {
  const { identifier, audience = identifier } = resources[index] as ResourceConfig
  for (const [other, { identifier: taken, audience: heard = taken }] of resources.entries()) {
    if (other >= index) break
    if (taken === identifier) {
      report('PR201', ['resources', index, 'identifier'], `resources[${other}] has the same`)
      break
    }
    if (audience === heard || audience === taken || identifier === heard) {
      const message = `${echo(audience === taken ? taken : heard)} stands for resources[${other}] already`
      report('PR202', ['resources', index, 'audience'], message)
      break
    }
  }
  const ours = issuer === undefined ? [] : [issuer, revocationsOf(issuer)]
  const own = [identifier, audience].find((text) => ours.includes(text.replace(/\/$/, '')))
  if (own !== undefined) {
    const member = own === identifier ? 'identifier' : 'audience'
    report('PR203', ['resources', index, member], `${echo(own)} is this server itself`)
  }
}

function checkRoles({ roles, resources }: Config, report: Report): void {
  const known = new Set(resources.flatMap(({ scopes }) => Object.keys(scopes)))
  for (const [role, { scopes }] of Object.entries(roles)) {
    for (const [index, scope] of scopes.entries()) {
      if (known.has(scope) || OIDC.has(scope)) continue
      const message = `${echo(scope)} is a scope of no resource, nor of OpenID Connect`
      report('PR205', ['roles', role, 'scopes', index], message)
    }
  }
}

function checkClients(
  { clients, resources }: Config,
  knowsResources: boolean,
  report: Report,
): void {
  for (const [index, { secret, ...client }] of clients.entries()) {
    const first = clients.findIndex(({ id }) => id === client.id)
    if (first !== index) {
      report(
        'PR301',
        ['clients', index, 'id'],
        `${echo(client.id)} is the id of another client already`,
      )
    }
    const checked = { ...client, hasSecret: secret !== undefined }
    for (const { rule, path, message } of checkClient(
      checked,
      knowsResources ? resources : undefined,
    )) {
      report(rule, ['clients', index, ...path], message)
    }
  }
}

function checkAssertionIssuers({ clients, trustedIssuers }: Config, report: Report): void {
  const known = new Set(trustedIssuers.map(({ issuer }) => issuer))
  for (const [index, { assertionIssuers }] of clients.entries()) {
    for (const [place, issuer] of assertionIssuers.entries()) {
      if (known.has(issuer)) continue
      const message = `${echo(issuer)} is not among trustedIssuers`
      report('PR372', ['clients', index, 'assertionIssuers', place], message)
    }
  }
}

function checkUsers(
  users: readonly UserConfig[],
  roles: Config['roles'] | undefined,
  report: Report,
): void {
  const lower = users.map(({ username }) => normalizeUsername(username))
  for (const [index, user] of users.entries()) {
    const first = lower.indexOf(normalizeUsername(user.username))
    if (first !== index) {
      const message = `${echo(user.username)} is the username of another user already`
      report('PR401', ['users', index, 'username'], message)
    }
    for (const { rule, path, message } of checkUser(user, roles)) {
      report(rule, ['users', index, ...path], message)
    }
    if (user.password === undefined) {
      const message = `${echo(user.username)} has no password and cannot sign in`
      report('PR450', ['users', index], message)
    }
  }
}
