import { parseArgs } from 'node:util'
import { readEnvironment, type Environment } from './environment.ts'
import { FOLLOW_OPTIONS, FOLLOW_USAGE, openVerifier, type Followed } from './following.ts'

export const USAGE: string = `Usage: node notes.ts --issuer URL --audience URI [options]

  --issuer URL               whose tokens are accepted, as its metadata writes it
  --audience URI             the audience that a token must be for; may be repeated
  --port N                   the port on 127.0.0.1 (default 3001; 0 takes a free one)
  --database PATH            the SQLite file with the notes (default: in memory)
  --clock-tolerance SECONDS  how far the issuer's clock may differ (default 5)
  --sign-in-max-age SECONDS  how long ago people may have signed in who delete all
                             their notes at once (default 300)
${FOLLOW_USAGE}  --tls-certificate PATH     speak TLS, with this certificate (PEM), and ask clients for theirs
  --tls-key PATH             the private key of the certificate (PEM)
  --json                     answer with one line of JSON when ready
  --help                     show this
`
const OPTIONS = {
  issuer: { type: 'string' },
  audience: { type: 'string', multiple: true },
  port: { type: 'string', default: '3001' },
  database: { type: 'string', default: ':memory:' },
  'clock-tolerance': { type: 'string' },
  'sign-in-max-age': { type: 'string' },
  ...FOLLOW_OPTIONS,
  'tls-certificate': { type: 'string' },
  'tls-key': { type: 'string' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const

export interface Settings extends Followed {
  readonly port: number
  readonly database: string
  /** `undefined` where it was not said. */
  readonly signInMaxAgeSeconds: number | undefined
  /** `undefined` where it speaks plain HTTP. */
  readonly tls: TlsFiles | undefined
  readonly json: boolean
}

export interface TlsFiles {
  readonly certificate: string
  readonly key: string
}

/** Answers `undefined` where help was asked for. Throws a `TypeError` for wrong usage. */
export function readSettings(
  argv: readonly string[],
  environment: Environment = readEnvironment(),
): Settings | undefined {
  const { values } = parseArgs({ args: [...argv], options: OPTIONS })
  if (values.help) return undefined
  const { issuer, audience, port, database, json } = values
  if (issuer === undefined) throw new TypeError('--issuer is missing')
  if (audience === undefined) throw new TypeError('--audience is missing')
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535) {
    throw new TypeError(`--port: expected 0 to 65535, not ${JSON.stringify(port)}`)
  }
  const tolerance = readSeconds('--clock-tolerance', values['clock-tolerance'])
  const options = tolerance === undefined ? {} : { clockToleranceSeconds: tolerance }
  const signInMaxAgeSeconds = readSeconds('--sign-in-max-age', values['sign-in-max-age'])
  const { 'tls-certificate': certificate, 'tls-key': key } = values
  if ((certificate === undefined) !== (key === undefined)) {
    throw new TypeError('--tls-certificate and --tls-key belong together')
  }
  const tls = certificate === undefined || key === undefined ? undefined : { certificate, key }
  const followed = openVerifier({ issuer, audience, ...options }, values, environment)
  return { ...followed, port: Number(port), database, signInMaxAgeSeconds, tls, json }
}

function readSeconds(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  if (/^\d{1,4}$/.test(text)) return Number(text)
  throw new TypeError(`${option}: expected seconds, not ${JSON.stringify(text)}`)
}
