import { errors, type Configuration, type KoaContextWithOIDC } from 'oidc-provider'
import type { Outbound } from '../clients/outbound.ts'
import type { Clock } from '../clock.ts'
import { FAPI2_ALGORITHMS } from '../config/built-in.ts'
import { clientOf, recordOf } from './clients.ts'

const LONGEST_ASSERTION_SECONDS = 300
/** In characters, of whatever a client signs. */
export const LONGEST_JTI = 256
/** What clocks may be apart (FAPI 2.0 Security Profile §5.3.2.1, 13). */
export const MOST_SECONDS_AHEAD = 60

/**
 * Refuses an assertion that lives for long: whoever gets hold of one may use it as long as nobody has,
 * and that it was used has to be remembered until it ends. What else makes one good the engine checks.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc7523.html#section-3 RFC 7523 §3, 4 and 7}
 */
export function createAssertionCheck(
  clock: Clock,
): NonNullable<Configuration['assertJwtClientAuthClaimsAndHeader']> {
  return (ctx, { exp, iat, jti, aud }, { alg }, client) => {
    if (recordOf(client).profile === 'fapi2') refuseWeak(aud, alg, ctx.oidc.issuer)
    if (typeof jti !== 'string' || jti.length > LONGEST_JTI) {
      const message = `jti must be a text of ${LONGEST_JTI} characters at most`
      throw new errors.InvalidClientAuth(message)
    }
    const now = clock.now() / 1000
    if (typeof iat === 'number' && iat > now + MOST_SECONDS_AHEAD) {
      throw new errors.InvalidClientAuth('iat is to come')
    }
    if (typeof exp === 'number' && exp - now <= LONGEST_ASSERTION_SECONDS) return
    const message = `exp must be a number, ${LONGEST_ASSERTION_SECONDS} seconds from now at most`
    throw new errors.InvalidClientAuth(message)
  }
}

/**
 * Where a server takes its endpoints for its own name, another server can have an assertion made for
 * itself that is good here.
 *
 * @see {@link https://openid.net/specs/fapi-security-profile-2_0-final.html#section-5.3.2.1 FAPI 2.0 Security Profile §5.3.2.1}
 */
function refuseWeak(aud: unknown, alg: unknown, issuer: string): void {
  if (aud !== issuer) throw new errors.InvalidClientAuth('aud must be the issuer, as a text')
  if (FAPI2_ALGORITHMS.has(alg)) return
  throw new errors.InvalidClientAuth('alg must be PS256, ES256 or EdDSA')
}

/** For so long at most an answer is believed without asking again, whatever it says itself. */
const LONGEST_CACHED_SECONDS = 3600

/**
 * The engine's calls to what clients name, by our rules instead of its own. What is fetched has to be
 * there: the engine would take note for how long a refusal may be cached, and go on with what it has.
 */
export function createEngineFetch(
  outbound: Outbound,
  currentContext: () => KoaContextWithOIDC | undefined,
): NonNullable<Configuration['fetch']> {
  return async (input, { method = 'GET', headers, body, signal } = {}) => {
    const ctx = currentContext()
    const client = ctx?.oidc && clientOf(ctx)
    const response = await outbound.of(client)(input instanceof Request ? input.url : input, {
      method,
      headers: new Headers(headers),
      ...(typeof body === 'string' ? { body } : {}),
      ...(signal ? { signal } : {}),
    })
    if (method !== 'GET') return response
    if (response.status !== 200) throw new Error(`expected 200 OK, got ${response.status}`)
    boundCaching(response.headers)
    return response
  }
}

function boundCaching(headers: Headers): void {
  const [, seconds] = /max-age=(\d{1,10})/.exec(headers.get('cache-control') ?? '') ?? []
  headers.delete('expires')
  headers.delete('cache-control')
  if (seconds === undefined) return
  headers.set('cache-control', `max-age=${Math.min(Number(seconds), LONGEST_CACHED_SECONDS)}`)
}
