import { REVOCATIONS_SCOPE, revocationsOf } from '../config/built-in.ts'
import type { Result } from '../errors.ts'
import type { Revocation } from '../revocation/revocation.ts'

/** An API that follows the feed, by the access token that it came with. */
export interface Listener {
  readonly clientId: string
  readonly tokenId: string
  /** The key that the token is signed with. */
  readonly keyId: string
  /** Seconds since the epoch. */
  readonly issuedAt: number
  readonly expiresAt: number
}

export type ListenerRefusal = 'no_token' | 'invalid_token' | 'insufficient_scope'

/** Judges the access token of whoever wants to know what is revoked. */
export type AdmitListener = (
  token: string | undefined,
) => Promise<Result<Listener, ListenerRefusal>>

/** Whether the entry ends the token that the listener came with. */
export function concerns(
  { kind, subject, revokedAt }: Revocation,
  { clientId, tokenId, keyId, issuedAt }: Listener,
): boolean {
  switch (kind) {
    case 'token':
      return subject === tokenId
    case 'key':
      return subject === keyId
    case 'client':
      return subject === clientId && issuedAt * 1000 <= revokedAt
    case 'all':
      return issuedAt * 1000 <= revokedAt
    // It is a service's, and hangs on nobody.
    case 'grant':
    case 'session':
    case 'user':
      return false
  }
}

/** Reads access tokens of this server. */
export interface TokenReader<Known extends KnownToken> {
  verify(token: string): Promise<Known | undefined>
  checkLife(token: Known): Promise<{ readonly ok: boolean }>
}

interface KnownToken {
  readonly claims: ListenerClaims
  readonly resource: { readonly identifier: string }
  readonly keyId: string | undefined
}

interface ListenerClaims {
  readonly client_id: string
  readonly jti: string
  readonly scope: string
  readonly iat: number
  readonly exp: number
  readonly cnf?: unknown
}

/**
 * Takes access tokens for the feed, which a service has got for itself. One that is bound to a key is
 * refused, because nobody here looks at proofs.
 *
 * `tokens` answers the reader of now: it changes with the keys.
 */
export function createAdmission<Known extends KnownToken>(
  tokens: () => TokenReader<Known>,
  resource: string,
): AdmitListener {
  return async (token) => {
    if (token === undefined) return { ok: false, reason: 'no_token' }
    const reader = tokens()
    const known = await reader.verify(token)
    if (known?.resource.identifier !== resource || known.claims.cnf !== undefined) {
      return { ok: false, reason: 'invalid_token' }
    }
    const { claims, keyId = '' } = known
    if (!(await reader.checkLife(known)).ok) return { ok: false, reason: 'invalid_token' }
    if (!claims.scope.split(' ').includes(REVOCATIONS_SCOPE)) {
      return { ok: false, reason: 'insufficient_scope' }
    }
    const { client_id: clientId, jti: tokenId, iat: issuedAt, exp: expiresAt } = claims
    return { ok: true, value: { clientId, tokenId, keyId, issuedAt, expiresAt } }
  }
}

/** What the metadata say of the feed. */
export function describeFeed(issuer: string) {
  const resource = revocationsOf(issuer)
  return {
    stream_endpoint: `${resource}/stream`,
    pages_endpoint: `${resource}/pages`,
    poll_endpoint: `${resource}/poll`,
    applied_endpoint: `${resource}/applied`,
    resource,
    scope: REVOCATIONS_SCOPE,
  }
}
