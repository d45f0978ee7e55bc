import {
  authorizationCodeGrant,
  buildAuthorizationUrl,
  calculatePKCECodeChallenge,
  randomNonce,
  randomPKCECodeVerifier,
  randomState,
  type TokenEndpointResponse,
  type TokenEndpointResponseHelpers,
} from 'openid-client'
import { hasForm, type Page } from '../../browser.ts'
import { PEOPLE, type Username } from '../../configuration.ts'
import type { AuthorizationRequest, CodeStage, Tokens } from './stage.ts'

export const SCOPES = 'openid profile email notes:read notes:write'

const PATIENCE_SECONDS = 10
const PATIENCE_WITH_A_PERSON_SECONDS = 300

export async function makeRequest(
  { client, world }: CodeStage,
  more: Readonly<Record<string, string>> = {},
): Promise<AuthorizationRequest> {
  const verifier = randomPKCECodeVerifier()
  const state = randomState()
  const nonce = randomNonce()
  const url = buildAuthorizationUrl(client.get(), {
    redirect_uri: world.callback.redirectUri,
    scope: SCOPES,
    code_challenge: await calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state,
    nonce,
    ...more,
  })
  return { url, verifier, state, nonce }
}

export function passwordOf({ world }: CodeStage, username: Username): string {
  const secret = PEOPLE.find((person) => person.username === username)?.secret
  return secret === undefined ? '' : world.secrets[secret]
}

export function signIn(stage: CodeStage, page: Page, username: Username): Promise<Page> {
  const password = passwordOf(stage, username)
  return stage.browsers[username].submit(page, '/sign-in', { username, password })
}

/** Where the server sent the browser back to the client. */
export function receiveAnswer({ world, openBrowser, stopped }: CodeStage): Promise<URL> {
  const seconds = openBrowser ? PATIENCE_WITH_A_PERSON_SECONDS : PATIENCE_SECONDS
  return world.callback.next(seconds, stopped)
}

/** Code for tokens. The library compares state and `iss`, and checks the ID token and its nonce. */
export async function redeem(
  { client }: CodeStage,
  request: AuthorizationRequest,
  answer: URL,
): Promise<Tokens> {
  return readTokens(
    await authorizationCodeGrant(client.get(), answer, {
      pkceCodeVerifier: request.verifier,
      expectedState: request.state,
      expectedNonce: request.nonce,
      idTokenExpected: true,
    }),
  )
}

export function readTokens(response: TokenEndpointResponse & TokenEndpointResponseHelpers): Tokens {
  const { access_token, refresh_token = '', id_token = '', scope = '' } = response
  const claims = response.claims()
  if (!claims) throw new TypeError('the answer holds no ID token')
  return { access: access_token, refresh: refresh_token, id: id_token, claims, scope }
}

/** From nothing to tokens, for somebody whom the flow plays. Answers the consent page too. */
export async function obtainTokens(
  stage: CodeStage,
  username: Exclude<Username, 'alice'>,
): Promise<{ readonly tokens: Tokens; readonly consent: Page }> {
  const request = await makeRequest(stage)
  const browser = stage.browsers[username]
  const consent = await signIn(stage, await browser.get(request.url.href), username)
  await browser.submit(consent, '/consent')
  return { tokens: await redeem(stage, request, await receiveAnswer(stage)), consent }
}

/** Sends Alice to the server and back, once she has a session there. */
export async function askAgain(
  stage: CodeStage,
  more: Readonly<Record<string, string>> = {},
): Promise<{ readonly request: AuthorizationRequest; readonly answer: URL; asked: string[] }> {
  const request = await makeRequest(stage, more)
  const asked: string[] = []
  if (stage.openBrowser) {
    await stage.openBrowser(
      request.url.href,
      more['prompt'] === 'none' ? 'It comes back by itself.' : 'Agree once more.',
    )
  } else {
    const page = await stage.browsers.alice.get(request.url.href)
    if (hasForm(page, '/sign-in')) asked.push('sign-in')
    if (hasForm(page, '/consent')) {
      asked.push('consent')
      await stage.browsers.alice.submit(page, '/consent')
    }
  }
  return { request, answer: await receiveAnswer(stage), asked }
}
