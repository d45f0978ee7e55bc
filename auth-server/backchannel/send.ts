import type { Attempt } from './attempt.ts'

const TIMEOUT_MS = 5000

/**
 * Posts a logout token to a client. A redirect is not followed: the token is for the address that was
 * registered. What the client answers with is not read: it may be endless.
 *
 * `stop` cuts it off. Never throws for what the client does.
 *
 * @see {@link https://openid.net/specs/openid-connect-backchannel-1_0.html#BCRequest OpenID Connect Back-Channel Logout 1.0 §2.5}
 */
export async function sendLogoutToken(
  uri: string,
  token: string,
  stop: AbortSignal,
): Promise<Attempt> {
  const late = AbortSignal.timeout(TIMEOUT_MS)
  try {
    const response = await fetch(uri, {
      method: 'POST',
      body: new URLSearchParams({ logout_token: token }),
      redirect: 'manual',
      signal: AbortSignal.any([late, stop]),
    })
    // The answer counts, whatever becomes of the rest of it.
    await response.body?.cancel().catch(() => {})
    return { kind: 'answered', status: response.status }
  } catch {
    return { kind: 'unreachable', reason: late.aborted ? 'timeout' : 'network' }
  }
}
