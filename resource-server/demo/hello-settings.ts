import { parseArgs } from 'node:util'
import { createSharedSecretVerifier } from '../index.ts'
import { readEnvironment, readSecret, type Environment } from './environment.ts'
import type { HelloVerifiers } from './hello-api.ts'
import type { ServeSettings } from './serve.ts'
import { describeServeOptions, readServeSettings, SERVE_OPTIONS } from './serve-settings.ts'
import { readAlgorithm } from './token-settings.ts'

const DEFAULT_PORT = 8000
const DEFAULTS = {
  issuer: 'http://127.0.0.1:3000',
  'session-audience': 'http://127.0.0.1:8000/healthcheck',
  'v3-audience': 'http://127.0.0.1:8000/api/v3',
  'v3-algorithm': 'HS256',
}

export const USAGE: string = `Usage: SESSION_SECRET=… API_V3_SECRET=… node hello.ts [options]

  The environment holds the secrets that tokens are signed with, at least 32 bytes each (64 for HS512):
  SESSION_SECRET for /healthcheck, API_V3_SECRET for /api/v3.

  --issuer NAME              the iss of the tokens (default ${DEFAULTS.issuer})
  --session-audience URI     the aud for /healthcheck (default ${DEFAULTS['session-audience']})
  --v3-audience URI          the aud for /api/v3 (default ${DEFAULTS['v3-audience']})
  --v3-algorithm ALG         HS256 (default) or HS512
${describeServeOptions(DEFAULT_PORT)}`
const OPTIONS = {
  ...SERVE_OPTIONS,
  issuer: { type: 'string', default: DEFAULTS.issuer },
  'session-audience': { type: 'string', default: DEFAULTS['session-audience'] },
  'v3-audience': { type: 'string', default: DEFAULTS['v3-audience'] },
  'v3-algorithm': { type: 'string', default: DEFAULTS['v3-algorithm'] },
} as const

export interface HelloSettings extends ServeSettings {
  readonly verifiers: HelloVerifiers
}

/** Answers `undefined` where help was asked for. Throws a `TypeError` for wrong usage. */
export function readSettings(
  argv: readonly string[],
  environment: Environment = readEnvironment(),
): HelloSettings | undefined {
  const { values } = parseArgs({ args: [...argv], options: OPTIONS })
  if (values.help) return undefined
  const { issuer } = values
  const algorithm = readAlgorithm('--v3-algorithm', values['v3-algorithm'])
  const secrets = {
    session: readSecret('SESSION_SECRET', 'HS256', environment),
    apiKey: readSecret('API_V3_SECRET', algorithm, environment),
  }
  // Whoever may make tokens for one of them is not to make any for the other.
  if (secrets.session === secrets.apiKey) {
    throw new TypeError('SESSION_SECRET and API_V3_SECRET are the same: each needs its own')
  }
  const verifiers = {
    session: createSharedSecretVerifier({
      issuer,
      audience: values['session-audience'],
      algorithm: 'HS256',
      secret: secrets.session,
      requiredClaims: ['iat', 'username'],
    }),
    apiKey: createSharedSecretVerifier({
      issuer,
      audience: values['v3-audience'],
      algorithm,
      secret: secrets.apiKey,
      requiredClaims: ['iat'],
      subject: { claim: 'user', kind: 'service' },
    }),
  }
  return { ...readServeSettings(values, DEFAULT_PORT), verifiers }
}
