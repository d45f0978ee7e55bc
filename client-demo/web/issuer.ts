import { createRemoteJWKSet, type JWTVerifyGetKey } from 'jose'
import * as oauth from 'openid-client'
import type { Clock } from './clock.ts'
import { verifyLogoutToken } from './logout-token.ts'
import { Problem, SessionOver } from './problem.ts'
import type { Send } from './recorder.ts'

const SCOPE = 'openid profile notes:read notes:write'
const TIMEOUT_SECONDS = 5
const ASSUMED_LIFE_SECONDS = 60

export interface Person {
  readonly subject: string
  readonly name: string
  readonly username: string | undefined
}

/** Stays on this side: none of it is ever sent to the browser. */
export interface Tokens {
  readonly accessToken: string
  readonly refreshToken: string | undefined
  readonly expiresAt: number
}

export interface SignedIn {
  readonly person: Person
  /** What the authorization server calls this sign-in. */
  readonly sid: string | undefined
  readonly tokens: Tokens
}

export interface SignIn {
  readonly state: string
  readonly nonce: string
  readonly verifier: string
}

/** The authorization server as this application uses it. Failures are thrown as `Problem`. */
export interface Issuer {
  startSignIn(signIn: SignIn): Promise<string>
  /** Redeems the answer in `url`, whose state the caller has compared. */
  finishSignIn(url: URL, signIn: SignIn): Promise<SignedIn>
  refresh(tokens: Tokens, subject: string): Promise<Tokens>
  startSignOut(state: string): Promise<string>
  /** The `sid` of a sign-in that the server says is over; a `Problem` of 400 if it is not from there. */
  readLogoutToken(token: string): Promise<string>
}

export interface IssuerOptions {
  readonly issuer: string
  readonly clientId: string
  /** A client without one is public. */
  readonly clientSecret: string | undefined
  /** Where this application is, without a slash at the end. */
  readonly publicUrl: string
}

/** Nothing is fetched before it is needed; a failed discovery is tried again by the next request. */
export function createIssuer(clock: Clock, send: Send, options: IssuerOptions): Issuer {
  const { clientId, publicUrl } = options
  let discovered: Promise<oauth.Configuration> | undefined
  let keys: JWTVerifyGetKey | undefined
  const discover = () => {
    discovered ??= discoverIssuer(send, options).catch((error: unknown) => {
      discovered = undefined
      throw error
    })
    return discovered
  }
  const ask = async <T>(
    question: (config: oauth.Configuration) => Promise<T> | T,
    isRepeatable = false,
  ): Promise<T> => {
    try {
      return await question(await discover())
    } catch (error) {
      // The library fetches keys once a minute at most: they go with all that was discovered.
      if (isOtherKey(error)) {
        discovered = undefined
        if (isRepeatable) return ask(question)
      }
      throw explainFailure(error, options.issuer)
    }
  }
  const keep = (answer: oauth.TokenEndpointResponse, refreshToken?: string): Tokens => ({
    accessToken: answer.access_token,
    refreshToken: answer.refresh_token ?? refreshToken,
    expiresAt: clock.now() + (answer.expires_in ?? ASSUMED_LIFE_SECONDS) * 1000,
  })

  return {
    startSignIn: ({ state, nonce, verifier }) =>
      ask(async (config) => {
        const parameters = {
          redirect_uri: `${publicUrl}/callback`,
          scope: SCOPE,
          state,
          nonce,
          code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
          code_challenge_method: 'S256',
        }
        return oauth.buildAuthorizationUrl(config, parameters).href
      }),
    finishSignIn: (url, { state, nonce, verifier }) =>
      ask(async (config) => {
        const answer = await oauth.authorizationCodeGrant(config, url, {
          pkceCodeVerifier: verifier,
          expectedState: state,
          expectedNonce: nonce,
          idTokenExpected: true,
        })
        const { sub = '', sid }: Partial<oauth.IDToken> = answer.claims() ?? {}
        const claims = await oauth.fetchUserInfo(config, answer.access_token, sub)
        return {
          person: toPerson(claims),
          sid: typeof sid === 'string' ? sid : undefined,
          tokens: keep(answer),
        }
      }),
    refresh(tokens, subject) {
      const exchange = async (config: oauth.Configuration) => {
        if (tokens.refreshToken === undefined) throw over('There is no refresh token.')
        const answer = await oauth
          .refreshTokenGrant(config, tokens.refreshToken)
          .catch(endIfRefused)
        const claims = answer.claims()
        if (claims && claims.sub !== subject) throw over('Its answer was about somebody else.')
        return keep(answer, tokens.refreshToken)
      }
      // Who comes again at once gets the same successor: an answer that was thrown away is no loss.
      return ask(exchange, true)
    },
    // By `client_id` rather than `id_token_hint`, which would put a token into the address bar.
    startSignOut: (state) =>
      ask((config) => {
        const parameters = { client_id: clientId, post_logout_redirect_uri: `${publicUrl}/`, state }
        return oauth.buildEndSessionUrl(config, parameters).href
      }),
    readLogoutToken: (token) =>
      ask((config) => {
        const { jwks_uri: uri = '' } = config.serverMetadata()
        keys ??= createRemoteJWKSet(new URL(uri), { timeoutDuration: TIMEOUT_SECONDS * 1000 })
        return verifyLogoutToken(token, keys, options)
      }),
  }
}

function discoverIssuer(send: Send, options: IssuerOptions): Promise<oauth.Configuration> {
  const { issuer, clientId, clientSecret } = options
  const auth = clientSecret === undefined ? oauth.None() : oauth.ClientSecretBasic(clientSecret)
  const execute = [oauth.enableNonRepudiationChecks]
  if (issuer.startsWith('http:')) execute.push(oauth.allowInsecureRequests)
  return oauth.discovery(new URL(issuer), clientId, undefined, auth, {
    [oauth.customFetch]: (url, init) => send(url, init as RequestInit),
    execute,
    timeout: TIMEOUT_SECONDS,
  })
}

function toPerson(claims: oauth.UserInfoResponse): Person {
  const { sub, name, preferred_username: username } = claims
  return { subject: sub, name: name ?? username ?? sub, username }
}

function over(reason: string, code?: string, cause?: unknown): SessionOver {
  const text = `The authorization server would not renew your access. ${reason} Sign in again to go on.`
  return new SessionOver(401, 'Your sign-in is over', text, code, cause)
}

function endIfRefused(error: unknown): never {
  if (error instanceof oauth.ResponseBodyError && error.error === 'invalid_grant') {
    throw over('What this application holds is no longer good.', error.error, error)
  }
  throw error
}

function explainFailure(error: unknown, issuer: string): Problem {
  if (error instanceof Problem) return error
  if (error instanceof oauth.AuthorizationResponseError) {
    const said = error.error === 'access_denied' ? 'You said no' : 'You are not signed in'
    const text = error.error_description ?? 'The authorization server gave no reason.'
    return new Problem(403, said, text, error.error, error)
  }
  if (error instanceof oauth.ResponseBodyError) {
    const text = error.error_description ?? `It answered ${error.status}.`
    return new Problem(502, 'The authorization server refused', text, error.error, error)
  }
  if (isSilence(error)) {
    const text = `Nothing answers at ${issuer}. Is it running? Try again in a moment.`
    return new Problem(503, 'The authorization server is not there', text, undefined, error)
  }
  const code = error instanceof oauth.ClientError ? error.code : undefined
  if (isOtherKey(error)) {
    const text =
      'Its answer was signed with a key that was not known here, and has been thrown away. Sign in ' +
      'again: its keys are fetched anew.'
    return new Problem(503, 'The authorization server has other keys', text, code, error)
  }
  const text = 'Its answer was not what it should be, and has been thrown away.'
  return new Problem(502, 'The authorization server is not understood', text, code, error)
}

/** Keys were changed at once, which `portreeve keys rotate --now` does. */
function isOtherKey(error: unknown): boolean {
  return error instanceof oauth.ClientError && error.code === 'OAUTH_KEY_SELECTION_FAILED'
}

/** `fetch` rejects with a `TypeError` when there is no connection, whatever the reason. */
function isSilence(error: unknown): boolean {
  const isTimeout = error instanceof oauth.ClientError && error.code === 'OAUTH_TIMEOUT'
  return isTimeout || error instanceof TypeError
}
