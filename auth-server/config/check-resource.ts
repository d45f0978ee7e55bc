import { RESERVED_CLAIMS } from './built-in.ts'
import { echo } from './echo.ts'
import type { Finding, Path, RuleId } from './rules.ts'
import { isSecretAlgorithm, type Config, type ResourceConfig } from './schema.ts'

type Report = (rule: RuleId, member: Path, message: string) => void

/** What the rules of a resource read beside it; `undefined` where that is not known. */
export interface ResourceSurroundings {
  readonly issuer: string | undefined
  readonly roles: Config['roles'] | undefined
}

/** The rules of one resource about what its tokens are signed with and say. Paths start at it. */
export function checkResource(
  resource: ResourceConfig,
  { issuer, roles }: ResourceSurroundings,
): Finding[] {
  const findings: Finding[] = []
  const report: Report = (rule, path, message) => findings.push({ rule, path, message })
  checkSecret(resource, issuer, report)
  for (const [claim, source] of Object.entries(resource.claims)) {
    if (RESERVED_CLAIMS.includes(claim)) {
      report('PR213', ['claims', claim], `${echo(claim)} is written by the server, or read by APIs`)
    }
    for (const [index, role] of ('firstRoleOf' in source ? source.firstRoleOf : []).entries()) {
      if (!roles || Object.hasOwn(roles, role)) continue
      const path = ['claims', claim, 'firstRoleOf', index]
      report('PR214', path, `${echo(role)} is not among the roles`)
    }
  }
  checkDetails(resource, report)
  return findings
}

/** Members that RFC 9396 §2.2 has a meaning for: the engine wants lists there. */
const LISTS: ReadonlySet<string> = new Set(['locations', 'actions', 'datatypes', 'privileges'])

function checkDetails({ authorizationDetails = {}, scopes }: ResourceConfig, report: Report): void {
  for (const [type, { scope, members }] of Object.entries(authorizationDetails)) {
    const at = ['authorizationDetails', type]
    if (!Object.hasOwn(scopes, scope)) {
      report('PR341', [...at, 'scope'], `${echo(scope)} is no scope of this resource`)
    }
    for (const [name, { type: kind, values }] of Object.entries(members)) {
      const path = [...at, 'members', name]
      const isChosen = kind === 'enum' || kind === 'list'
      if (name === 'type') report('PR341', path, 'type is the name of the type itself')
      if (isChosen !== (values !== undefined)) {
        const message = isChosen
          ? `${kind} needs values`
          : `expected no values, because it is a ${kind}`
        report('PR341', [...path, 'values'], message)
      }
      if ((LISTS.has(name) && kind !== 'list') || (name === 'identifier' && kind !== 'text')) {
        const expected = name === 'identifier' ? 'text' : 'list'
        report('PR341', [...path, 'type'], `expected ${expected}, as RFC 9396 has it for ${name}`)
      }
    }
  }
}

function checkSecret(
  { algorithm, secret, issuer: name }: ResourceConfig,
  issuer: string | undefined,
  report: Report,
): void {
  if (!isSecretAlgorithm(algorithm)) {
    const expected = `expected none, because the algorithm is ${algorithm}`
    if (secret !== undefined) report('PR211', ['secret'], expected)
    if (name !== undefined) report('PR211', ['issuer'], expected)
    return
  }
  if (secret === undefined) {
    report('PR210', ['secret'], `${algorithm} needs a secret: { env: "NAME" } or { file: "path" }`)
  }
  if (name === undefined) {
    report('PR210', ['issuer'], `${algorithm} needs a name that its tokens have as iss`)
  } else if (issuer !== undefined && name.replace(/\/$/, '') === issuer) {
    const message = `${echo(name)} is this server, whose tokens are checked with its keys`
    report('PR212', ['issuer'], message)
  }
  const message = `with ${algorithm} whoever holds the secret can make tokens, and who has one can guess at it`
  report('PR215', ['algorithm'], message)
}
