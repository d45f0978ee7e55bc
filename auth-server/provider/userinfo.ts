import { createLocalJWKSet, jwtVerify, type JWTPayload } from 'jose'
import { isOidcScope } from '../scopes/catalogue.ts'
import type { PublicJwk } from '../keys/keyset.ts'
import { reattach } from './identifiers.ts'
import type { RevocationStore } from '../revocation/revocation.ts'

export interface UserinfoOptions {
  readonly issuer: string
  /** The `aud` that a token must list to be good at userinfo. */
  readonly audience: string
  readonly keys: readonly PublicJwk[]
}

/** What a JWT that serves userinfo becomes for the engine: the opaque token it would have been. */
export interface UserinfoToken {
  readonly jti: string
  readonly accountId: string
  readonly clientId: string
  /** The grant by its row key, because the claim `grant_id` is that key. */
  readonly grantId: string
  readonly scope: string
  readonly iat: number
  readonly exp: number
}

/**
 * Reads an access token of this issuer that lists userinfo in its audience, or answers `undefined`.
 *
 * Checks signature, `typ`, issuer, audience and times, and that the session was not ended that the token
 * hangs on (`sid`). Does not check that grant, account and client still live: the engine does, for these
 * tokens as for its own. A token bound to a key (`cnf`) is refused: its proof cannot be checked here.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9068.html#section-4 RFC 9068 §4}
 */
export function createUserinfoTokenReader(
  revocations: Pick<RevocationStore, 'isRevoked'>,
  options: UserinfoOptions,
): (token: string) => Promise<UserinfoToken | undefined> {
  const keys = createLocalJWKSet({ keys: options.keys.map((key) => ({ ...key })) })
  const verification = {
    issuer: options.issuer,
    audience: options.audience,
    algorithms: [...new Set(options.keys.map(({ alg }) => alg))],
    requiredClaims: ['sub', 'client_id', 'grant_id', 'scope', 'jti', 'iat', 'exp'],
  }
  const verify = async (token: string): Promise<JWTPayload | undefined> => {
    try {
      const { payload, protectedHeader } = await jwtVerify(token, keys, verification)
      const isAccessToken = protectedHeader.typ === 'at+jwt' || protectedHeader.typ === 'JWT'
      return isAccessToken && payload['cnf'] === undefined ? payload : undefined
    } catch {
      // Whatever is wrong with it, it is no token that serves userinfo: the engine answers that.
      return undefined
    }
  }
  return async (token) => {
    const payload = await verify(token)
    if (!payload) return undefined
    const { sid } = payload
    // A token of an offline grant has none.
    const ended = typeof sid === 'string' && (await revocations.isRevoked('session', sid))
    return ended ? undefined : toToken(payload)
  }
}

function toToken(payload: JWTPayload): UserinfoToken | undefined {
  const { jti, sub, client_id: clientId, grant_id: grantId, scope, iat, exp } = payload
  const texts = [jti, sub, clientId, grantId, scope]
  if (!texts.every((value) => typeof value === 'string')) return undefined
  return {
    jti: jti as string,
    accountId: sub as string,
    clientId: clientId as string,
    grantId: reattach(grantId as string),
    scope: (scope as string).split(' ').filter(isOidcScope).join(' '),
    iat: iat as number,
    exp: exp as number,
  }
}

/** True for what can only be a JWT: the engine's own tokens have no dots. */
export function looksLikeJwt(token: unknown): token is string {
  return typeof token === 'string' && token.length <= 8192 && token.split('.').length === 3
}
