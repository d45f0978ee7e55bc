import { OIDC_SCOPE_NAMES } from './built-in.ts'
import { echo } from './echo.ts'
import type { Path, Report } from './rules.ts'
import type { CheckedClient } from './schema.ts'
import { findSector } from './sector.ts'
import { judgeCallUri } from './uri-rules.ts'

const OIDC: ReadonlySet<string> = new Set(OIDC_SCOPE_NAMES)
/** What signs people in, and does no more. */
const PAIRWISE_GRANTS: ReadonlySet<string> = new Set(['authorization_code', 'refresh_token'])

/**
 * Tokens of APIs name people by their accounts, as the log of what was revoked does: an API could neither
 * match a pairwise subject to a revocation nor keep a client from comparing it with another's.
 */
export function checkSubjects(client: CheckedClient, report: Report): void {
  const { subjectType, sectorIdentifierUri: uri, grants, scopes, introspects } = client
  const fault = uri === undefined ? undefined : judgeCallUri(uri)
  if (fault !== undefined) report('PR347', ['sectorIdentifierUri'], fault)
  if (subjectType !== 'pairwise') return
  if (findSector(client) === undefined) {
    const message =
      'expected the one host that its pairwise subjects are for, because redirectUris have several, or none of its own'
    report('PR345', ['sectorIdentifierUri'], message)
  }
  const refuse = (path: Path, what: string) =>
    report('PR346', path, `${what}: an API knows people by their accounts, and so do revocations`)
  for (const [index, grant] of grants.entries()) {
    if (PAIRWISE_GRANTS.has(grant)) continue
    refuse(['grants', index], `pairwise subjects do not go with ${echo(grant)}`)
  }
  for (const [index, scope] of scopes.entries()) {
    if (OIDC.has(scope)) continue
    refuse(['scopes', index], `pairwise subjects do not go with ${echo(scope)}`)
  }
  if (client.defaultResource !== undefined) {
    refuse(['defaultResource'], 'pairwise subjects do not go with a resource')
  }
  if (introspects.length > 0) refuse(['introspects'], 'pairwise subjects do not go with an API')
}
