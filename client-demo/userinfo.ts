import { fetchUserInfo, WWWAuthenticateChallengeError, type Configuration } from 'openid-client'
import type { StepNotes } from './flow.ts'
import type { Tokens } from './oauth.ts'

/** The one place where the authorization server itself is shown an access token. */

interface UserinfoRefusal {
  readonly status: number
  readonly error: string | undefined
}

async function askUserinfo(
  client: Configuration,
  { access, claims }: Tokens,
): Promise<UserinfoRefusal | undefined> {
  try {
    await fetchUserInfo(client, access, claims.sub)
    return undefined
  } catch (error) {
    if (!(error instanceof WWWAuthenticateChallengeError)) throw error
    const { status, cause } = error
    return { status, error: cause[0]?.parameters.error }
  }
}

/** @see {@link https://openid.net/specs/openid-connect-core-1_0.html#UserInfoError OpenID Connect Core §5.3.3} */
export async function checkUserinfoRefused(
  client: Configuration,
  tokens: Tokens,
  { check }: StepNotes,
): Promise<void> {
  const refusal = await askUserinfo(client, tokens)
  check('the access token at userinfo: status', 401, refusal?.status ?? 200)
  check('the access token at userinfo: error', 'invalid_token', refusal?.error)
}
