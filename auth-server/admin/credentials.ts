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
  /** Whether it is an API key: its grant is nothing else. */
  readonly isApiKey: boolean
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
  if (/\s/.test(text)) throw new PortreeveError('invalid_input', SEVERAL)
  const claims = decode(text)
  if (typeof claims?.jti === 'string') {
    // Whoever made the JWT may have written what is to be typed into a shell.
    const { grant_id: named } = claims
    const grant = typeof named === 'string' && isName(named) ? named : undefined
    return { kind: 'token', subject: claims.jti, issuer: claims.iss, grant, isApiKey: false }
  }
  if (claims?.sub !== undefined) throw refuseIdToken(claims.sid)
  const hold = await findHold(collaborators, text)
  if (!hold) throw new PortreeveError('invalid_input', UNKNOWN)
  const { grant: subject, isApiKey } = hold
  return { kind: 'grant', subject, issuer: undefined, grant: undefined, isApiKey }
}

/** What a refresh token, an opaque token, a code or an API key hangs on, if `text` is one. */
export async function findGrantOf(
  collaborators: CredentialCollaborators,
  text: string,
): Promise<string | undefined> {
  return (await findHold(collaborators, text))?.grant
}

async function findHold({ access, apiKeys }: CredentialCollaborators, text: string) {
  const apiKey = await apiKeys.findByHash(hashApiKey(text))
  if (apiKey) return { grant: apiKey.id, isApiKey: true }
  const grant = await access.findGrant(MODELS.map((model) => hashToken(model, text)))
  return grant === undefined ? undefined : { grant, isApiKey: false }
}

/** As this server makes `jti`, `grant_id` and `sid`, with room for what it may make one day. */
export function isName(claim: string): boolean {
  return /^[\w~-]{8,128}$/.test(claim)
}

/** What says whose it is, and has no id of its own. */
function refuseIdToken(sid: unknown): PortreeveError {
  const name = typeof sid === 'string' && isName(sid) ? sid : undefined
  const message = `That is an ID token, or something like it without a jti. An ID token lets nobody in, and cannot be revoked. To end what its client has from that sign-in: npx portreeve revoke --session ${name ?? 'SID, with the sid of an access token'}`
  return new PortreeveError('invalid_input', message)
}

const SEVERAL =
  'That is more than one: one token or API key at a time was expected, without a word or a line beside it.'
const UNKNOWN =
  'That has ended already, or was never ours: this server knows nothing of it. A JWT with a jti was expected, or a refresh token, opaque token, code or API key. What has ended lets nobody in. A cookie, a secret of a client, an invite and a registration token are none of these: for them there are revoke --user, clients rotate-secret, clients withdraw and clients remove.'

function decode(text: string) {
  try {
    return decodeJwt<{ readonly grant_id?: unknown; readonly sid?: unknown }>(text)
  } catch (error) {
    if (error instanceof errors.JWTInvalid) return undefined
    throw error
  }
}
