import type { OutboundFetch } from '../outbound.ts'
import type { Attempt } from './attempt.ts'

const TIMEOUT_MS = 5000
const FORM = { 'content-type': 'application/x-www-form-urlencoded' }

/**
 * Posts a logout token to a client. A redirect is not followed: the token is for the address that was
 * registered. What the client answers with is not read: it may be endless.
 *
 * `guard` calls an address that a stranger has chosen. `stop` cuts it off. Never throws for what the client does.
 *
 * @see {@link https://openid.net/specs/openid-connect-backchannel-1_0.html#BCRequest OpenID Connect Back-Channel Logout 1.0 §2.5}
 */
export async function sendLogoutToken(
  uri: string,
  token: string,
  stop: AbortSignal,
  guard?: OutboundFetch,
): Promise<Attempt> {
  const late = AbortSignal.timeout(TIMEOUT_MS)
  try {
    const body = new URLSearchParams({ logout_token: token })
    const signal = AbortSignal.any([late, stop])
    const response = guard
      ? await guard(uri, {
          method: 'POST',
          headers: FORM,
          body: String(body),
          signal,
          isStatusEnough: true,
        })
      : await fetch(uri, { method: 'POST', body, redirect: 'manual', signal })
    // The answer counts, whatever becomes of the rest of it.
    await response.body?.cancel().catch(() => {})
    return { kind: 'answered', status: response.status }
  } catch {
    return { kind: 'unreachable', reason: late.aborted ? 'timeout' : 'network' }
  }
}
