import { decodeJwt, errors } from 'jose'
import { hashApiKey, type ApiKeyStore } from '../api-keys/api-key.ts'
import { PortreeveError } from '../errors.ts'
import { hashToken } from '../provider/identifiers.ts'
import type { AccessStore } from '../revocation/access.ts'

/** What ends a credential, by what the log of revocations calls it. */
export interface CredentialEnd {
  readonly kind: 'token' | 'grant'
  readonly subject: string
  /** Of a JWT, as it says itself: nobody has checked that it was ever issued. */
  readonly issuer: string | undefined
  /** What a JWT hangs on, which goes on without it. */
  readonly grant: string | undefined
}

export interface CredentialCollaborators {
  readonly access: Pick<AccessStore, 'findGrant'>
  readonly apiKeys: Pick<ApiKeyStore, 'findByHash'>
}

/** What somebody may come with, and is looked up by itself. */
const MODELS = [
  'RefreshToken',
  'AccessToken',
  'AuthorizationCode',
  'DeviceCode',
  'BackchannelAuthenticationRequest',
]

/**
 * Finds out what a credential is: a JWT, which ends by itself, or a refresh token, an opaque token, a code
 * or an API key, which end with all that hangs on the same grant. Throws `invalid_input` for anything else,
 * and never quotes it: until it has ended, it is a secret.
 */
export async function identifyCredential(
  collaborators: CredentialCollaborators,
  text: string,
): Promise<CredentialEnd> {
  const claims = decode(text)
  if (typeof claims?.jti === 'string') {
    // Whoever made the JWT may have written what is to be typed into a shell.
    const { grant_id: named } = claims
    const grant = typeof named === 'string' && isName(named) ? named : undefined
    return { kind: 'token', subject: claims.jti, issuer: claims.iss, grant }
  }
  const grant = await findGrantOf(collaborators, text)
  if (grant !== undefined)
    return { kind: 'grant', subject: grant, issuer: undefined, grant: undefined }
  throw new PortreeveError('invalid_input', UNKNOWN)
}

/** What a refresh token, an opaque token, a code or an API key hangs on, if `text` is one. */
export async function findGrantOf(
  { access, apiKeys }: CredentialCollaborators,
  text: string,
): Promise<string | undefined> {
  return (
    (await apiKeys.findByHash(hashApiKey(text)))?.id ??
    (await access.findGrant(MODELS.map((model) => hashToken(model, text))))
  )
}

/** As this server makes `jti`, `grant_id` and `sid`, with room for what it may make one day. */
export function isName(claim: string): boolean {
  return /^[\w~-]{8,128}$/.test(claim)
}

const UNKNOWN =
  'That is nothing which this server has given out, or nothing is left of it: a JWT with a jti was expected, or a refresh token, opaque token, code or API key that is not long expired.'

function decode(text: string) {
  try {
    return decodeJwt<{ readonly grant_id?: unknown }>(text)
  } catch (error) {
    if (error instanceof errors.JWTInvalid) return undefined
    throw error
  }
}
