import {
  buildAuthorizationUrlWithJAR,
  buildAuthorizationUrlWithPAR,
  fetchProtectedResource,
  getDPoPHandle,
  modifyAssertion,
  PrivateKeyJwt,
  randomDPoPKeyPair,
  useJwtResponseMode,
  type Configuration,
  type DPoPHandle,
} from 'openid-client'
import { createBrowser, type Browser } from '../browser.ts'
import { callApi, checkRefusal, INVALID_TOKEN } from '../call-api.ts'
import { decodeJwt } from '../claims.ts'
import { conceal } from '../conceal.ts'
import { BANK_CLIENT } from '../configuration.ts'
import { checkErrorPage } from '../error-page.ts'
import type { Flow, Step } from '../flow.ts'
import {
  checkTokenRefused,
  createNeighbour,
  discoverServer,
  INVALID_GRANT,
  makeParameters,
  redeem,
  refresh,
  type AuthorizationRequest,
  type Tokens,
} from '../oauth.ts'
import { visit } from '../people.ts'
import { createSlot, type Slot } from '../slot.ts'
import type { World } from '../world.ts'

interface Fapi2Stage {
  readonly world: World
  readonly browser: Browser
  readonly client: Slot<Configuration>
  readonly dpop: Slot<DPoPHandle>
  readonly request: Slot<AuthorizationRequest>
  readonly answer: Slot<URL>
  readonly tokens: Slot<Tokens>
}

type Fapi2Step = Step<Fapi2Stage>

/**
 * @see {@link https://openid.net/specs/fapi-security-profile-2_0-final.html FAPI 2.0 Security Profile}
 * @see {@link https://openid.net/specs/fapi-message-signing-2_0.html FAPI 2.0 Message Signing}
 */
export const fapi2Flow: Flow<Fapi2Stage> = {
  name: 'fapi2',
  summary: 'a client is held to the profile that banks use: nothing weaker is taken at any step',
  needs: ['notes'],
  createStage: (world) => ({
    world,
    browser: createBrowser(world.wire),
    client: createSlot('client'),
    dpop: createSlot('key'),
    request: createSlot('authorization request'),
    answer: createSlot('answer'),
    tokens: createSlot('tokens'),
  }),
  listSteps: () => [
    discover,
    push,
    signIn,
    obtain,
    useToken,
    renew,
    askInTheOpen,
    pushUnsigned,
    pushWithoutChallenge,
    assertForAnother,
    comeWithoutProof,
    sendAlone,
  ],
}

const SCOPE = 'openid offline_access notes:read'

const discover: Fapi2Step = {
  title: 'The client has a key to sign with, and another one that its tokens are bound to',
  why:
    'No secret is shared with anybody. The registration says profile: "fapi2", and the server holds ' +
    'the client to it: whatever is weaker would not even start.',
  async run({ world, client, dpop }, { check, fact }) {
    const config = await discoverServer(
      world,
      BANK_CLIENT,
      PrivateKeyJwt(world.keys.bank.signing),
      ['authorization_response_iss_parameter_supported', 'code_challenge_methods_supported'],
    )
    useJwtResponseMode(config)
    const metadata = config.serverMetadata()
    const names = metadata.authorization_response_iss_parameter_supported
    check('the server says who answers', true, names)
    check('PKCE with S256', true, config.serverMetadata().supportsPKCE('S256'))
    const handle = getDPoPHandle(config, await randomDPoPKeyPair('ES256'))
    fact('thumbprint of the key', conceal('jkt', await handle.calculateThumbprint()), '')
    client.set(config)
    dpop.set(handle)
  },
}

type Parameters = Readonly<Record<string, string>>

/** Signed, and pushed: the browser carries a name. */
async function pushRequest(
  world: World,
  client: Configuration,
  change: Parameters = {},
  without: readonly string[] = [],
): Promise<AuthorizationRequest> {
  const { parameters, secrets } = await makeParameters(world, { scope: SCOPE, ...change })
  const kept = Object.entries(parameters).filter(([name]) => !without.includes(name))
  const { signing } = world.keys.bank
  const signed = await buildAuthorizationUrlWithJAR(client, Object.fromEntries(kept), signing)
  return { url: await buildAuthorizationUrlWithPAR(client, signed.searchParams), ...secrets }
}

const push: Fapi2Step = {
  title: 'It signs its request, and pushes it',
  why:
    'Signed, so that the bank can show later who asked for what. Pushed, so that nothing of it goes ' +
    'through a browser: that carries a name which is good once, for a minute.',
  async run({ world, client, request }, { check }) {
    const pushed = await pushRequest(world, client.get())
    const parameters = [...pushed.url.searchParams.keys()].toSorted()
    check('the browser carries', 'client_id, request_uri', parameters.join(', '))
    request.set(pushed)
  },
}

const signIn: Fapi2Step = {
  title: 'Alice signs in and agrees, and brings back a signed answer',
  why: 'It says who answers and for whom, so a code of another server cannot be slipped in.',
  async run({ world, browser, request, answer: answered }, { check }) {
    const { answer, asked } = await visit(world, browser, request.get().url, 'alice')
    check('what she is asked', ['sign-in', 'consent'], asked)
    check('the browser carries', 'response', [...answer.searchParams.keys()].join(', '))
    answered.set(answer)
  },
}

const obtain: Fapi2Step = {
  title: 'The client proves who it is, and that it has its key, and gets tokens',
  why: 'The tokens name that key: whoever steals them has nothing.',
  async run({ client, dpop, request, answer, tokens }, { check }) {
    const handle = dpop.get()
    const obtained = await redeem(client.get(), request.get(), answer.get(), { DPoP: handle })
    const { header, claims } = decodeJwt(obtained.access)
    check('alg of the access token', 'ES256', header['alg'])
    check('alg of the ID token', 'ES256', decodeJwt(obtained.id).header['alg'])
    check('cnf', { jkt: await handle.calculateThumbprint() }, claims['cnf'])
    tokens.set(obtained)
  },
}

const useToken: Fapi2Step = {
  title: 'The API takes the token, with a proof',
  why: 'As in the flow “dpop”.',
  async run({ world, client, dpop, tokens }, { check }) {
    const url = new URL(`${world.api}/notes`)
    const options = { DPoP: dpop.get() }
    const { access } = tokens.get()
    const answer = await fetchProtectedResource(
      client.get(),
      access,
      url,
      'GET',
      null,
      undefined,
      options,
    )
    check('status', 200, answer.status)
  },
}

const renew: Fapi2Step = {
  title: 'It refreshes, and its refresh token stays as it is',
  why:
    'A refresh token that changes each time gets lost when an answer does. This one is of no use to ' +
    'anybody who cannot sign as the client, so it need not change.',
  async run({ client, dpop, tokens }, { check }) {
    const renewed = await refresh(client.get(), tokens.get(), { DPoP: dpop.get() })
    check('granted scope', tokens.get().scope, renewed.scope)
    const isSame = renewed.refresh === '' || renewed.refresh === tokens.get().refresh
    check('the refresh token is still the same', true, isSame)
  },
}

const askInTheOpen: Fapi2Step = {
  title: 'A request that was not pushed is refused',
  why: 'Whatever it says, and although it is signed. This is where the weaker ways begin.',
  async run({ world, browser, client }, notes) {
    const { parameters } = await makeParameters(world, { scope: SCOPE })
    const { signing } = world.keys.bank
    const signed = await buildAuthorizationUrlWithJAR(client.get(), parameters, signing)
    checkErrorPage(notes, await browser.get(signed.href), 'invalid_request')
  },
}

const INVALID_REQUEST = { status: 400, error: 'invalid_request' }

const pushUnsigned: Fapi2Step = {
  title: 'So is one that was pushed and is not signed',
  why: 'The client has proven who it is. Nobody could prove later what it has asked for.',
  async run({ world, client }, notes) {
    const { parameters } = await makeParameters(world, { scope: SCOPE })
    const asked = buildAuthorizationUrlWithPAR(client.get(), parameters)
    await checkTokenRefused(notes, asked, INVALID_REQUEST, 'unsigned')
  },
}

const pushWithoutChallenge: Fapi2Step = {
  title: 'And one without a challenge, or with one that hides nothing',
  why: 'PKCE ties the code to who has asked for it, whoever else gets hold of it.',
  async run({ world, client }, notes) {
    const names = ['code_challenge', 'code_challenge_method']
    world.wire.announce('without a challenge')
    const none = pushRequest(world, client.get(), {}, names)
    await checkTokenRefused(notes, none, INVALID_REQUEST, 'without a challenge')
    world.wire.announce('with a plain one')
    const plain = pushRequest(world, client.get(), { code_challenge_method: 'plain' })
    await checkTokenRefused(notes, plain, INVALID_REQUEST, 'with a plain one')
  },
}

const INVALID_CLIENT = { status: 401, error: 'invalid_client' }

const assertForAnother: Fapi2Step = {
  title: 'What the client signs for somebody else is no good here',
  why:
    'An assertion has to name this server, by its own name and no other. A server that took its ' +
    'endpoints for names could be shown what was meant for another one.',
  async run({ world, client }, notes) {
    const { token_endpoint: endpoint = '' } = client.get().serverMetadata()
    for (const [what, aud] of [
      ['for another server', 'https://other.example'],
      ['for the token endpoint', endpoint],
    ] as const) {
      const auth = PrivateKeyJwt(world.keys.bank.signing, {
        [modifyAssertion]: (_header, payload) => {
          payload['aud'] = aud
        },
      })
      const other = createNeighbour(world, client.get(), BANK_CLIENT, auth)
      world.wire.announce(`an assertion ${what}`)
      await checkTokenRefused(notes, pushRequest(world, other), INVALID_CLIENT, what)
    }
  },
}

const comeWithoutProof: Fapi2Step = {
  title: 'Without a proof of its key there are no tokens',
  why: 'There are none that are bound to nothing. The code is as good as before.',
  async run({ world, browser, client, dpop }, notes) {
    const request = await pushRequest(world, client.get())
    const { answer } = await visit(world, browser, request.url, 'alice')
    const bare = redeem(client.get(), request, answer)
    await checkTokenRefused(notes, bare, INVALID_GRANT, 'without a proof')
    const tokens = await redeem(client.get(), request, answer, { DPoP: dpop.get() })
    notes.check('with one: granted scope', true, tokens.scope.includes('notes:read'))
    checkErrorPage(notes, await browser.get(request.url.href), 'invalid_request_uri')
  },
}

const sendAlone: Fapi2Step = {
  title: 'And a stolen token is worth nothing',
  why: 'As a bearer of it you are nobody.',
  async run({ world, tokens }, notes) {
    const answer = await callApi(world, { token: tokens.get().access })
    checkRefusal(notes, answer, INVALID_TOKEN)
  },
}
