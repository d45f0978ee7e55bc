import { echo } from './echo.ts'
import type { Finding, Report } from './rules.ts'
import { isSecretAlgorithm, type Config, type DirectAccessConfig } from './schema.ts'
import { isLoopback } from './uri-rules.ts'
import { normalizeUsername } from './username.ts'

/** The sections that the rules of direct access read beside it; `undefined` where one is not known. */
export type DirectAccessSurroundings = {
  readonly [Name in 'issuer' | 'listen' | 'metrics' | 'resources' | 'clients' | 'users']:
    | Config[Name]
    | undefined
}

/** The rules of tokens without OAuth. Paths start at `directAccess`. */
export function checkDirectAccess(
  direct: DirectAccessConfig,
  known: DirectAccessSurroundings,
): Finding[] {
  const findings: Finding[] = []
  const report: Report = (rule, path, message) => findings.push({ rule, path, message })
  checkResources(direct, known, report)
  checkPlaces(direct, known, report)
  checkDemonstrationKeys(direct, known, report)
  checkUnauthenticated(direct, known, report)
  if (direct.password?.revealUnknownUsers === true) {
    const message = 'strangers learn which usernames there are: only for programs that need it'
    report('PR550', ['password', 'revealUnknownUsers'], message)
  }
  return findings
}

function checkResources(
  direct: DirectAccessConfig,
  { resources }: DirectAccessSurroundings,
  report: Report,
): void {
  for (const way of ['password', 'apiKey', 'unauthenticated'] as const) {
    const identifier = direct[way]?.resource
    if (!resources || identifier === undefined) continue
    if (resources.some((resource) => resource.identifier === identifier)) continue
    report('PR501', [way, 'resource'], `${echo(identifier)} is the identifier of no resource`)
  }
}

function checkPlaces(
  { listen, password, apiKey, unauthenticated }: DirectAccessConfig,
  known: DirectAccessSurroundings,
  report: Report,
): void {
  const takesSecrets = password !== undefined || apiKey !== undefined
  const { issuer } = known
  if (takesSecrets && issuer?.startsWith('http:') === true && !isLoopback(listen.host)) {
    const message = `expected a loopback address such as 127.0.0.1, because the issuer is http, got ${echo(listen.host)}`
    report('PR502', ['listen', 'host'], message)
  }
  const taken = new Map<number, string>()
  if (known.listen) taken.set(known.listen.port, 'the server itself')
  if (known.metrics) taken.set(known.metrics.port, 'metrics')
  const places = [
    ...(takesSecrets ? [{ path: ['listen', 'port'], port: listen.port }] : []),
    ...(unauthenticated
      ? [{ path: ['unauthenticated', 'listen', 'port'], port: unauthenticated.listen.port }]
      : []),
  ]
  for (const { path, port } of places) {
    const other = taken.get(port)
    if (port !== 0 && other !== undefined) report('PR506', path, `${port} is taken by ${other}`)
    taken.set(port, ['directAccess', ...path].join('.'))
  }
}

function checkDemonstrationKeys(
  { listen, apiKey }: DirectAccessConfig,
  { issuer, users }: DirectAccessSurroundings,
  report: Report,
): void {
  const keys = apiKey?.demonstrationKeys ?? []
  if (keys.length > 0 && !(isLoopback(listen.host) && isOnLoopback(issuer))) {
    const message = 'anyone could guess them: expected listen.host and the issuer on loopback'
    report('PR507', ['apiKey', 'demonstrationKeys'], message)
  }
  const names = users?.map(({ username }) => normalizeUsername(username))
  for (const [index, { user }] of keys.entries()) {
    if (!names || names.includes(normalizeUsername(user))) continue
    const path = ['apiKey', 'demonstrationKeys', index, 'user']
    report('PR508', path, `${echo(user)} is not among the users`)
  }
}

function checkUnauthenticated(
  { unauthenticated }: DirectAccessConfig,
  { issuer, resources, clients }: DirectAccessSurroundings,
  report: Report,
): void {
  if (!unauthenticated) return
  const { listen, client: id } = unauthenticated
  if (!isLoopback(listen.host)) {
    const message = `nobody is asked who they are: expected a loopback address such as 127.0.0.1, got ${echo(listen.host)}`
    report('PR503', ['unauthenticated', 'listen', 'host'], message)
  } else if (!isOnLoopback(issuer)) {
    const message = 'nobody is asked who they are: expected an issuer on loopback'
    report('PR503', ['unauthenticated'], message)
  } else {
    const message = 'nobody is asked who they are, on this machine'
    report('PR551', ['unauthenticated'], message)
  }
  const resource = resources?.find(({ identifier }) => identifier === unauthenticated.resource)
  if (resource && !isSecretAlgorithm(resource.algorithm)) {
    const message = `expected a resource with a secret, because its tokens are the only ones to be had so; this one has ${resource.algorithm}`
    report('PR504', ['unauthenticated', 'resource'], message)
  }
  if (!clients) return
  const client = clients.find((one) => one.id === id)
  const scopes = Object.keys(resource?.scopes ?? {})
  if (!client) {
    report('PR505', ['unauthenticated', 'client'], `${echo(id)} is the id of no client`)
  } else if (scopes.length > 0 && !scopes.some((scope) => client.scopes.includes(scope))) {
    report(
      'PR505',
      ['unauthenticated', 'client'],
      `the client ${echo(id)} has no scope of this resource`,
    )
  }
}

/** Where the issuer is not known, no rule says that it is wrong. */
function isOnLoopback(issuer: string | undefined): boolean {
  const hostname = issuer === undefined ? 'localhost' : URL.parse(issuer)?.hostname
  return hostname === undefined || isLoopback(hostname)
}
