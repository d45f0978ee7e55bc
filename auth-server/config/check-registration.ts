import { OIDC_SCOPE_NAMES } from './built-in.ts'
import { echo } from './echo.ts'
import { checkTrustedIssuers } from './check-issuers.ts'
import type { Finding, Path, RuleId } from './rules.ts'
import type { ClientDocumentsConfig, RegistrationConfig, ResourceConfig } from './schema.ts'

export interface RegistrationSurroundings {
  /** The origin of this server, where it is known. */
  readonly issuer: string | undefined
  readonly resources: readonly ResourceConfig[] | undefined
}

const OIDC: ReadonlySet<string> = new Set(OIDC_SCOPE_NAMES)

type Report = (rule: RuleId, path: Path, message: string) => void

/** The rules of what may be registered. Paths start there. */
export function checkRegistration(
  { access, grants, scopes, redirectHosts = [], softwareStatements }: RegistrationConfig,
  { issuer: own, resources }: RegistrationSurroundings,
): Finding[] {
  const findings: Finding[] = []
  const report: Report = (rule, path, message) => findings.push({ rule, path, message })
  checkScopes('PR360', scopes, resources, report)
  const { issuers = [], required = false } = softwareStatements ?? {}
  const place = ['softwareStatements', 'issuers'] as const
  for (const finding of checkTrustedIssuers(issuers, own)) {
    report(finding.rule, [...place, ...finding.path], finding.message)
  }
  for (const [index, issuer] of issuers.entries()) {
    const within: Report = (rule, path, message) =>
      report(rule, [...place, index, ...path], message)
    checkScopes('PR360', issuer.scopes, resources, within)
  }
  checkHosts('PR361', 'redirectHosts', redirectHosts, report)
  if (access === 'stated' && issuers.length === 0) {
    report('PR509', ['softwareStatements'], 'access "stated" needs issuers whose statements count')
  }
  if (access === 'invited') return findings
  if (grants.includes('client_credentials')) {
    const message = 'anybody would get tokens for the asking: expected access "invited"'
    report('PR362', ['grants'], message)
  }
  if (access === 'open' && !required) {
    report('PR363', ['access'], 'anybody can have an app of any name ask your people for access')
  }
  return findings
}

/** The rules of clients that are described by documents. Paths start there. */
export function checkClientDocuments(
  { grants, scopes, hosts, redirectHosts = [] }: ClientDocumentsConfig,
  resources: readonly ResourceConfig[] | undefined,
): Finding[] {
  const findings: Finding[] = []
  const report: Report = (rule, path, message) => findings.push({ rule, path, message })
  checkScopes('PR381', scopes, resources, report)
  checkHosts('PR382', 'hosts', hosts ?? [], report)
  checkHosts('PR382', 'redirectHosts', redirectHosts, report)
  if (!grants.includes('authorization_code')) {
    report(
      'PR383',
      ['grants'],
      'there is no other beginning: expected authorization_code among them',
    )
  }
  if (hosts === undefined) {
    const message = 'whoever has a web site can have an app of any name ask your people for access'
    report('PR384', ['hosts'], message)
  }
  return findings
}

function checkScopes(
  rule: RuleId,
  scopes: readonly string[],
  resources: readonly ResourceConfig[] | undefined,
  report: Report,
): void {
  for (const [index, scope] of scopes.entries()) {
    const isKnown = resources?.some((resource) => Object.hasOwn(resource.scopes, scope)) ?? true
    if (isKnown || OIDC.has(scope)) continue
    const message = `${echo(scope)} is a scope of no resource, nor of OpenID Connect`
    report(rule, ['scopes', index], message)
  }
}

function checkHosts(
  rule: RuleId,
  member: 'hosts' | 'redirectHosts',
  hosts: readonly string[],
  report: Report,
): void {
  for (const [index, host] of hosts.entries()) {
    if (isHostPattern(host)) continue
    const message = `expected a host such as app.example or *.example.org, in small letters, got ${echo(host)}`
    report(rule, [member, index], message)
  }
}

function isHostPattern(pattern: string): boolean {
  const host = pattern.replace(/^\*\./, '')
  return !/[/?#@:*\s\\]/.test(host) && URL.parse(`https://${host}`)?.hostname === host
}

/** Whether a host is one of those that `patterns` name. */
export function isHostAmong(host: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) =>
    pattern.startsWith('*.') ? host.endsWith(pattern.slice(1)) : host === pattern,
  )
}
