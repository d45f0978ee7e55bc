import { errors, jwtVerify, type JWTVerifyGetKey } from 'jose'
import { Problem } from './problem.ts'

const EVENT = 'http://schemas.openid.net/event/backchannel-logout'

/** What clocks may be apart. */
const TOLERANCE_SECONDS = 60

interface Parties {
  readonly issuer: string
  readonly clientId: string
}

/**
 * The `sid` of a logout token, whose type, signature, parties, times and event are verified. Throws a
 * `Problem` of 400 for one that is not good, and what went wrong where the keys cannot be had.
 *
 * One that is sent again is taken again: it ends what has ended. One without a `sid` is refused, since
 * this server names the session in each.
 *
 * @see {@link https://openid.net/specs/openid-connect-backchannel-1_0.html#Validation OpenID Connect Back-Channel Logout 1.0 §2.6}
 */
export async function verifyLogoutToken(
  token: string,
  keys: JWTVerifyGetKey,
  { issuer, clientId }: Parties,
): Promise<string> {
  const { payload } = await jwtVerify(token, keys, {
    issuer,
    audience: clientId,
    typ: 'logout+jwt',
    algorithms: ['RS256'],
    clockTolerance: TOLERANCE_SECONDS,
    requiredClaims: ['iat', 'exp', 'jti', 'events', 'sid'],
  }).catch(refuse)
  const { sid, events } = payload
  if ('nonce' in payload) throw notGood('it has a nonce, as an ID token has')
  if (!isRecord(events) || !isRecord(events[EVENT])) throw notGood('its event is another one')
  if (typeof sid !== 'string') throw notGood('sid is no text')
  return sid
}

function refuse(error: unknown): never {
  // The rest of them say that the server has not given its keys.
  // A key that is not known may be a new one: keys are not asked for again at once.
  const isAway =
    error instanceof errors.JWKSTimeout ||
    error instanceof errors.JWKSNoMatchingKey ||
    !(error instanceof errors.JOSEError)
  if (isAway || error.constructor === errors.JOSEError) throw error
  throw notGood(error.message, error)
}

function notGood(reason: string, cause?: unknown): Problem {
  const text = `The logout token is not good: ${reason}.`
  return new Problem(400, 'Nobody is signed out by that', text, 'invalid_request', cause)
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
