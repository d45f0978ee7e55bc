import { readDistinguishedName, writeAddress } from '../certificates/subject.ts'
import { usesCertificate } from './built-in.ts'
import { echo } from './echo.ts'
import type { Finding, Path, RuleId } from './rules.ts'
import type { ClientConfig, Config } from './schema.ts'
import { isExactOrigin } from './uri-rules.ts'

type Mtls = Config['mtls']
type Report = (rule: RuleId, member: Path, message: string) => void

/** What the rules read beside it; `undefined` where that is not known. */
export interface MtlsSurroundings {
  readonly issuer: string | undefined
  readonly trustedProxies: readonly string[] | undefined
  /** The ports of the others that listen, by what they are. */
  readonly ports: ReadonlyMap<number, string>
}

/** The rules of how certificates reach this server. Paths start at `mtls`. */
export function checkMtls(mtls: NonNullable<Mtls>, known: MtlsSurroundings): Finding[] {
  const findings: Finding[] = []
  const report: Report = (rule, path, message) => findings.push({ rule, path, message })
  const { origin, listener, proxy } = mtls
  if ((listener === undefined) === (proxy === undefined)) {
    report('PR114', [], 'expected either listener or proxy')
  }
  if (proxy && known.trustedProxies?.length === 0) {
    const message = 'nobody is trusted to say what certificate a client has: name trustedProxies'
    report('PR115', ['proxy'], message)
  }
  if (origin === undefined && proxy) {
    report('PR116', ['origin'], 'expected where clients reach the proxy that asks for certificates')
  }
  if (origin !== undefined && !(isExactOrigin(origin) && origin.startsWith('https:'))) {
    const expected = 'an origin such as https://mtls.id.example, without a slash at the end'
    report('PR116', ['origin'], `expected ${expected}, got ${echo(origin)}`)
  }
  if (origin !== undefined && origin === known.issuer) {
    const message = 'browsers would be asked for certificates: expected another host or port'
    report('PR116', ['origin'], message)
  }
  for (const member of ['listener', 'proxy'] as const) {
    const port = mtls[member]?.port
    const taken = port === undefined || port === 0 ? undefined : known.ports.get(port)
    if (taken !== undefined) report('PR117', [member, 'port'], `${port} is taken by ${taken}`)
  }
  const certificateHeader = proxy?.certificateHeader.toLowerCase()
  for (const member of ['certificateHeader', 'verifiedHeader'] as const) {
    const name = proxy?.[member]?.toLowerCase()
    const isTaken = member === 'verifiedHeader' && name === certificateHeader
    if (name === undefined || !(isTaken || COMMON_HEADERS.test(name))) continue
    report('PR118', ['proxy', member], `${echo(name)} says something else already`)
  }
  return findings
}

const COMMON_HEADERS =
  /^(?:x-forwarded-.*|forwarded|host|authorization|cookie|dpop|content-.*|accept.*|connection|origin|user-agent)$/

/** A client as these rules see it. */
export type CertificateClient = Pick<
  ClientConfig,
  'authMethod' | 'certificate' | 'certificateBound' | 'dpop' | 'jwks' | 'jwksUri'
>

/** The rules of a client's certificate. `mtls`: how certificates reach the server, if they do. */
export function checkCertificate(client: CertificateClient, report: Report): void {
  const { authMethod, certificate, certificateBound, dpop, jwks, jwksUri } = client
  if ((authMethod === 'tls_client_auth') !== (certificate !== undefined)) {
    const message =
      certificate === undefined
        ? 'authMethod "tls_client_auth" needs what the certificate says of the client'
        : `expected none, because authMethod is ${echo(authMethod)}`
    report('PR390', ['certificate'], message)
  }
  const { subjectDn, sanIp } = certificate ?? {}
  const name = subjectDn === undefined ? undefined : readDistinguishedName(subjectDn)
  if (subjectDn !== undefined && name === undefined) {
    const message = `expected a name such as CN=robot,O=Example,C=DE, got ${echo(subjectDn)}`
    report('PR390', ['certificate', 'subjectDn'], message)
  }
  if (name && isWrittenFromOutside(name)) {
    const message = `expected the innermost part first (RFC 4514), such as CN=robot,O=Example,C=DE, got ${echo(subjectDn)}: openssl prints it so with -nameopt RFC2253`
    report('PR394', ['certificate', 'subjectDn'], message)
  }
  if (sanIp !== undefined && writeAddress(sanIp) === undefined) {
    report('PR390', ['certificate', 'sanIp'], `expected an address, got ${echo(sanIp)}`)
  }
  if (authMethod === 'self_signed_tls_client_auth') {
    const hasCertificates = jwks?.keys.some(({ x5c }) => Array.isArray(x5c) && x5c.length > 0)
    if (jwksUri === undefined && hasCertificates !== true) {
      const message = 'its certificates are among its keys: expected jwks with x5c, or jwksUri'
      report('PR392', ['jwks'], message)
    }
  }
  if (certificateBound === true && dpop === 'required') {
    const message = 'a token is bound to one key: expected either this or dpop "required"'
    report('PR393', ['certificateBound'], message)
  }
}

/** Whether it begins with a country, or a domain, and ends with a name of somebody's own. */
function isWrittenFromOutside(parts: readonly (readonly string[])[]): boolean {
  const [first, last] = [parts.at(0)?.[0], parts.at(-1)?.[0]]
  return /^(?:c|dc|o|st)=/.test(first ?? '') && /^(?:cn|uid|serialnumber)=/.test(last ?? '')
}

/** Whether clients can show certificates, as this client has to. */
export function checkCertificateUse(client: CertificateClient, mtls: Mtls): readonly Finding[] {
  const { authMethod, certificateBound } = client
  const isUsed = usesCertificate(authMethod) || certificateBound === true
  const member = usesCertificate(authMethod) ? 'authMethod' : 'certificateBound'
  if (isUsed && !mtls) {
    const message = 'no certificate reaches this server: set mtls in the configuration'
    return [{ rule: 'PR391', path: [member], message }]
  }
  const judgesChains = mtls?.listener?.authorities ?? mtls?.proxy?.verifiedHeader
  if (authMethod !== 'tls_client_auth' || judgesChains !== undefined) return []
  const message =
    'no authority is trusted: set mtls.listener.authorities or mtls.proxy.verifiedHeader'
  return [{ rule: 'PR391', path: ['authMethod'], message }]
}
