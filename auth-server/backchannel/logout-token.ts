import { randomBytes } from 'node:crypto'
import type { ClientSigningAlgorithm } from '../config/built-in.ts'
import { PortreeveError } from '../errors.ts'
import type { PrivateJwk } from '../keys/keyset.ts'
import { signToken } from '../keys/sign.ts'
import type { LogoutDelivery } from './logout-queue.ts'

const TTL_SECONDS = 120
const EVENT = 'http://schemas.openid.net/event/backchannel-logout'

/**
 * A logout token for one attempt: who has seen one cannot use it at another client, and not for long.
 * `sub` is what the client knows the person by, and `algorithm` that of the client's ID tokens (§2.6, 1). It has no `nonce`, and a type of its own, so that it is nowhere taken for an ID token.
 *
 * @see {@link https://openid.net/specs/openid-connect-backchannel-1_0.html#LogoutToken OpenID Connect Back-Channel Logout 1.0 §2.4}
 */
export async function signLogoutToken(
  { clientId, sid }: LogoutDelivery,
  sub: string,
  keys: readonly PrivateJwk[],
  algorithm: ClientSigningAlgorithm,
  issuer: string,
  now: number,
): Promise<string> {
  const key = keys.find(({ alg }) => alg === algorithm)
  if (!key) {
    const message = `No key of ${algorithm} can be opened: the server has to be started with the key that sealed them.`
    throw new PortreeveError('misconfigured', message)
  }
  const iat = Math.floor(now / 1000)
  return signToken({ kind: 'key', key }, 'logout+jwt', {
    iss: issuer,
    aud: clientId,
    iat,
    exp: iat + TTL_SECONDS,
    jti: randomBytes(16).toString('base64url'),
    sub,
    sid,
    events: { [EVENT]: {} },
  })
}
