import { isOidcScope } from '../scopes/catalogue.ts'
import { reattach } from './identifiers.ts'
import { readBinding, type IssuedClaims, type IssuedTokens } from './issued-token.ts'

/**
 * The claim of a token that serves userinfo which has the names of what was asked for there one by one:
 * the grant only says what was ever agreed to, and not where it was wanted.
 */
export const USERINFO_CLAIMS = 'userinfo_claims'

/** What a JWT that serves userinfo becomes for the engine: the opaque token it would have been. */
export interface UserinfoToken {
  readonly jti: string
  readonly accountId: string
  readonly clientId: string
  /** The grant by its row key, because the claim `grant_id` is that key. */
  readonly grantId: string
  readonly scope: string
  /** Those that were asked for by themselves: what was not granted, the engine leaves out. */
  readonly claims: { readonly userinfo: Readonly<Record<string, null>> }
  readonly iat: number
  readonly exp: number
  /** The thumbprint of the key that has to be proven beside it (RFC 9449 §7). */
  readonly jkt?: string
  /** The certificate that has to be shown beside it (RFC 8705 §3). */
  readonly 'x5t#S256'?: string
}

/**
 * Reads an access token of this issuer that lists userinfo in its audience, or answers `undefined`.
 *
 * Does not check that its grant still lives, nor the proof of the key, or the certificate, that it is bound to: the engine
 * does, for these tokens as for its own. One that is bound to anything else is refused.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9068.html#section-4 RFC 9068 §4}
 */
export function createUserinfoTokenReader(
  issued: IssuedTokens,
  userinfoAudience: string,
): (token: string) => Promise<UserinfoToken | undefined> {
  return async (token) => {
    const known = await issued.verify(token)
    if (!known || ![known.claims.aud].flat().includes(userinfoAudience)) return undefined
    const result = toToken(known.claims)
    return result && (await issued.checkLife(known)).ok ? result : undefined
  }
}

function toToken(claims: IssuedClaims): UserinfoToken | undefined {
  const { jti, sub, client_id: clientId, grant_id: grantId, scope, iat, exp, cnf } = claims
  const binding = readBinding(cnf)
  if (grantId === undefined || binding === false) return undefined
  return {
    jti,
    accountId: sub,
    clientId,
    grantId: reattach(grantId),
    claims: { userinfo: Object.fromEntries(readNames(claims).map((claim) => [claim, null])) },
    scope: scope.split(' ').filter(isOidcScope).join(' '),
    iat,
    exp,
    ...(binding && { [binding.kind]: binding.thumbprint }),
  }
}

function readNames(claims: IssuedClaims): readonly string[] {
  const names = claims[USERINFO_CLAIMS]
  return Array.isArray(names) ? names.filter((name) => typeof name === 'string') : []
}
