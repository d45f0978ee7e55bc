import { createSharedSecretVerifier, type Auth, type Verifier } from '../index.ts'
import { readSecret, type Environment } from './environment.ts'
import {
  FOLLOW_OPTIONS,
  FOLLOW_USAGE,
  openVerifier,
  type Followed,
  type FollowValues,
} from './following.ts'

/** How the gateway and the services behind it are told whose tokens they take. */
export const TOKEN_USAGE = `  --issuer URL               whose tokens are accepted, as its metadata writes it
  --audience URI             the audience that a token must be for; may be repeated
${FOLLOW_USAGE}
  Without --issuer, tokens are signed with the secret in the environment variable SECRET_KEY:
  --issuer-name NAME         their iss (default jwtgo.io)
  --audience NAME            their aud (default billing.jwtgo.io)
  --algorithm ALG            HS256 (default) or HS512
`
export const TOKEN_OPTIONS = {
  issuer: { type: 'string' },
  audience: { type: 'string', multiple: true },
  ...FOLLOW_OPTIONS,
  'issuer-name': { type: 'string' },
  algorithm: { type: 'string' },
} as const

export interface TokenValues extends FollowValues {
  readonly issuer?: string | undefined
  readonly audience?: readonly string[] | undefined
  readonly 'issuer-name'?: string | undefined
  readonly algorithm?: string | undefined
}

export interface TokenSettings extends Followed {
  /** Whether tokens are signed with a secret, by an issuer that has no keys. */
  readonly isShared: boolean
}

/** Throws a `TypeError` that names the option. */
export function readTokenSettings(values: TokenValues, environment: Environment): TokenSettings {
  const { issuer, audience, 'issuer-name': name, algorithm } = values
  if (issuer === undefined) {
    // What is signed with a secret is nowhere revoked: it has no `jti` and hangs on nothing.
    for (const option of ['feed-client', 'feed-receiver'] as const) {
      if (values[option] !== undefined) throw new TypeError(`--${option} needs --issuer`)
    }
    const verifier = createSecretVerifier(values, environment)
    return { verifier, feed: undefined, isShared: true }
  }
  // Of two ways, whoever starts the program has meant one.
  if (name !== undefined) throw new TypeError('--issuer-name does not go with --issuer')
  if (algorithm !== undefined) throw new TypeError('--algorithm does not go with --issuer')
  if (audience === undefined) throw new TypeError('--audience is missing')
  return { ...openVerifier({ issuer, audience }, values, environment), isShared: false }
}

/** These tokens name nobody but the service that calls: no `sub`, `jti` or `client_id`. */
function createSecretVerifier(
  {
    audience = ['billing.jwtgo.io'],
    'issuer-name': issuer = 'jwtgo.io',
    algorithm: name = 'HS256',
  }: TokenValues,
  environment: Environment,
): Verifier {
  const algorithm = readAlgorithm('--algorithm', name)
  return createSharedSecretVerifier({
    issuer,
    audience,
    algorithm,
    secret: readSecret('SECRET_KEY', algorithm, environment),
    requiredClaims: ['authorized'],
    subject: { claim: 'client', kind: 'service' },
  })
}

export function readAlgorithm(option: string, text: string): 'HS256' | 'HS512' {
  if (text === 'HS256' || text === 'HS512') return text
  throw new TypeError(`${option}: expected HS256 or HS512, not ${JSON.stringify(text)}`)
}

/** Some tokens say of themselves whether they allow anything. */
export function isAuthorized({ claims }: Auth): boolean {
  const { authorized = true } = claims
  return authorized === true
}
