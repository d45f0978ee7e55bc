import { echo } from './echo.ts'
import { checkPublicKeys, type PublicKeys } from './public-jwk.ts'
import type { Finding, Path } from './rules.ts'

type DeclaredIssuer = PublicKeys & { readonly issuer: string }

/**
 * The rules of other servers whose word is taken, whatever it is about. Paths start at the list. `own`:
 * the origin of this server, where it is known.
 */
export function checkTrustedIssuers(
  trusted: readonly DeclaredIssuer[],
  own: string | undefined,
): Finding[] {
  const findings: Finding[] = []
  for (const [index, { issuer, jwks, jwksUri }] of trusted.entries()) {
    const report = (path: Path, message: string) =>
      findings.push({ rule: 'PR373', path: [index, ...path], message })
    if (issuer === own) report(['issuer'], `${echo(issuer)} is this server itself`)
    if (trusted.findIndex((other) => other.issuer === issuer) !== index) {
      report(['issuer'], `${echo(issuer)} is declared twice`)
    }
    if ((jwks === undefined) === (jwksUri === undefined)) {
      report(['jwks'], 'expected either jwks or jwksUri')
    }
    for (const finding of checkPublicKeys({ jwks, jwksUri })) {
      findings.push({ ...finding, path: [index, ...finding.path] })
    }
  }
  return findings
}
