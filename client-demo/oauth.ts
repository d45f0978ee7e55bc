import {
  allowInsecureRequests,
  authorizationCodeGrant,
  AuthorizationResponseError,
  buildAuthorizationUrl,
  calculatePKCECodeChallenge,
  Configuration,
  customFetch,
  discovery,
  enableNonRepudiationChecks,
  None,
  randomNonce,
  randomPKCECodeVerifier,
  randomState,
  refreshTokenGrant,
  ResponseBodyError,
  WWWAuthenticateChallengeError,
  type ClientAuth,
  type DPoPOptions,
  type IDToken,
  type TokenEndpointResponse,
  type TokenEndpointResponseHelpers,
} from 'openid-client'
import type { StepNotes } from './flow.ts'
import type { World } from './world.ts'

/** What every flow asks of the library: openid-client does the protocol, and the wire is recorded. */

export interface AuthorizationRequest {
  readonly url: URL
  readonly verifier: string
  readonly state: string
  readonly nonce: string
}

/** What an authorization server answers for somebody who has signed in. */
export interface Tokens {
  readonly access: string
  readonly refresh: string
  readonly id: string
  readonly claims: IDToken
  readonly scope: string
}

/**
 * A client that has read the server's metadata.
 *
 * @param members What the flow is about in them: shown, in the place of what is there for every flow.
 */
export async function discoverServer(
  world: World,
  clientId: string,
  auth: ClientAuth = None(),
  members: readonly string[] = [],
): Promise<Configuration> {
  if (members.length > 0) world.wire.lookFor(['issuer', ...members])
  const config = await discovery(new URL(world.issuer), clientId, undefined, auth, {
    [customFetch]: (url, options) => world.wire.fetch(url, options),
    execute: [allowInsecureRequests],
  })
  return prepareClient(config, world)
}

/** Another client of the same server, which it need not discover again. */
export function createNeighbour(
  world: World,
  known: Configuration,
  clientId: string,
  auth: ClientAuth = None(),
): Configuration {
  const server = known.serverMetadata()
  return prepareClient(new Configuration(server, clientId, undefined, auth), world)
}

/** How all clients speak: over the recorded wire, and checking signatures even without TLS. */
function prepareClient(config: Configuration, { wire }: World): Configuration {
  config[customFetch] = (url, options) => wire.fetch(url, options)
  allowInsecureRequests(config)
  enableNonRepudiationChecks(config)
  return config
}

/** The parameters that tie a code to this client, this browser and this request, and their secrets. */
export async function makeParameters(
  { callback }: World,
  more: Readonly<Record<string, string>>,
): Promise<{
  readonly parameters: Record<string, string>
  readonly secrets: Omit<AuthorizationRequest, 'url'>
}> {
  const verifier = randomPKCECodeVerifier()
  const state = randomState()
  const nonce = randomNonce()
  const parameters = {
    redirect_uri: callback.redirectUri,
    code_challenge: await calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state,
    nonce,
    ...more,
  }
  return { parameters, secrets: { verifier, state, nonce } }
}

export async function makeRequest(
  world: World,
  client: Configuration,
  more: Readonly<Record<string, string>>,
): Promise<AuthorizationRequest> {
  const { parameters, secrets } = await makeParameters(world, more)
  return { url: buildAuthorizationUrl(client, parameters), ...secrets }
}

export interface TokenOptions extends DPoPOptions {
  /** Which of several APIs the access token is for (RFC 8707 §2.2). */
  readonly resource?: string
}

/** Code for tokens. The library compares state and `iss`, and checks the ID token and its nonce. */
export async function redeem(
  client: Configuration,
  request: AuthorizationRequest,
  answer: URL,
  options: TokenOptions = {},
): Promise<Tokens> {
  const checks = {
    pkceCodeVerifier: request.verifier,
    expectedState: request.state,
    expectedNonce: request.nonce,
    idTokenExpected: true,
  }
  return readTokens(
    await authorizationCodeGrant(client, answer, checks, nameResource(options), options),
  )
}

export async function refresh(
  client: Configuration,
  { refresh: token }: Tokens,
  options: TokenOptions = {},
): Promise<Tokens> {
  return readTokens(await refreshTokenGrant(client, token, nameResource(options), options))
}

function nameResource({ resource }: TokenOptions): Record<string, string> {
  return resource === undefined ? {} : { resource }
}

function readTokens(response: TokenEndpointResponse & TokenEndpointResponseHelpers): Tokens {
  const { access_token, refresh_token = '', id_token = '', scope = '' } = response
  const claims = response.claims()
  if (!claims) throw new TypeError('the answer holds no ID token')
  return { access: access_token, refresh: refresh_token, id: id_token, claims, scope }
}

/** What a token endpoint is to say about a request that it refuses. */
export interface TokenRefusal {
  readonly status: number
  readonly error: string
}

export const INVALID_GRANT: TokenRefusal = { status: 400, error: 'invalid_grant' }

/** Compares a refusal of the token endpoint; whatever else goes wrong is thrown. */
export async function checkTokenRefused(
  { check }: StepNotes,
  asked: Promise<unknown>,
  expected: TokenRefusal,
  what: string,
): Promise<void> {
  const answer = await asked.then(() => ({ status: 200, error: undefined }), readRefusal)
  check(`${what}: status`, expected.status, answer.status)
  check(`${what}: error`, expected.error, answer.error)
}

/** With a challenge (RFC 6749 §5.2) the library does not read the body. */
async function readRefusal(
  error: unknown,
): Promise<{ readonly status: number; readonly error: string | undefined }> {
  if (error instanceof ResponseBodyError) return error
  if (!(error instanceof WWWAuthenticateChallengeError)) throw error
  const body = (await error.response.json()) as { readonly error?: string }
  return { status: error.status, error: body.error }
}

/** Compares what a browser has brought back in the place of a code. */
export async function checkAnswerRefused(
  { check }: StepNotes,
  client: Configuration,
  request: AuthorizationRequest,
  answer: URL,
  expected: string,
): Promise<void> {
  const refusal = await redeem(client, request, answer).catch((error: unknown) => error)
  const isRefusal = refusal instanceof AuthorizationResponseError
  check('error', expected, isRefusal ? refusal.error : String(refusal))
}

/** After a sign-out or a deletion, no refresh. */
export function checkRefreshRefused(
  notes: StepNotes,
  client: Configuration,
  tokens: Tokens,
  what: string,
): Promise<void> {
  return checkTokenRefused(notes, refresh(client, tokens), INVALID_GRANT, what)
}
