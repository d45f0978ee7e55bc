import {
  ClientSecretBasic,
  genericGrantRequest,
  initiateBackchannelAuthentication,
  refreshTokenGrant,
  type BackchannelAuthenticationResponse,
  type Configuration,
  type TokenEndpointResponse,
} from 'openid-client'
import { createBrowser, readAll, type Browser } from '../browser.ts'
import { callApi, checkRefusal, INSUFFICIENT_SCOPE } from '../call-api.ts'
import { ARCHIVE_CLIENT, DESK_CLIENT } from '../configuration.ts'
import type { Flow, Step } from '../flow.ts'
import { checkTokenRefused, createNeighbour, discoverServer, INVALID_GRANT } from '../oauth.ts'
import { signIn } from '../people.ts'
import { createSlot, type Slot } from '../slot.ts'
import type { World } from '../world.ts'

interface CibaStage {
  readonly world: World
  /** On Alice’s phone. */
  readonly browser: Browser
  readonly client: Slot<Configuration>
  readonly request: Slot<BackchannelAuthenticationResponse>
  readonly tokens: Slot<TokenEndpointResponse>
}

type CibaStep = Step<CibaStage>

/** @see {@link https://openid.net/specs/openid-client-initiated-backchannel-authentication-core-1_0.html CIBA Core 1.0} */
export const cibaFlow: Flow<CibaStage> = {
  name: 'ciba',
  summary: 'a help desk asks for a person by their username, and they approve on their phone',
  needs: ['notes'],
  createStage: (world) => ({
    world,
    browser: createBrowser(world.wire),
    client: createSlot('client'),
    request: createSlot('request'),
    tokens: createSlot('tokens'),
  }),
  listSteps: () => [
    discover,
    ask,
    pollTooFast,
    approve,
    collect,
    useToken,
    askForNobody,
    refuse,
    collectAsAnother,
    collectAgain,
  ],
}

const SCOPE = 'openid profile notes:read'
const GRANT = 'urn:openid:params:grant-type:ciba'
const PENDING = { status: 400, error: 'authorization_pending' }

const discover: CibaStep = {
  title: 'The desk discovers the authorization server',
  why: 'Alice is on the telephone with it. She has no browser there, and would not type into one.',
  async run({ world, client }, { check, fact }) {
    const secret = ClientSecretBasic(world.secrets.DESK_SECRET)
    const config = await discoverServer(world, DESK_CLIENT, secret, [
      'backchannel_authentication_endpoint',
      'backchannel_token_delivery_modes_supported',
    ])
    const {
      backchannel_authentication_endpoint: endpoint = '',
      backchannel_token_delivery_modes_supported: modes = [],
    } = config.serverMetadata()
    fact('backchannel_authentication_endpoint', endpoint, '')
    check('how answers get to a client', 'poll, ping', modes.join(', '))
    client.set(config)
  },
}

const ask: CibaStep = {
  title: 'It has Alice asked, and tells her what she will read',
  why:
    'Her username is enough to ask, so it must not be enough to be believed: by the words that it says ' +
    'on the telephone she knows the request from one of somebody else.',
  async run({ client, request }, { check }) {
    const answer = await askFor(client.get(), 'alice', 'blue kite 42')
    check('good for, in seconds', 600, answer.expires_in)
    check('seconds between two questions', 5, answer.interval)
    request.set(answer)
  },
}

function askFor(
  client: Configuration,
  username: string,
  message: string,
): Promise<BackchannelAuthenticationResponse> {
  const parameters = { scope: SCOPE, login_hint: username, binding_message: message }
  return initiateBackchannelAuthentication(client, parameters)
}

/** One question; the library’s own loop would wait five seconds first. */
function poll(
  client: Configuration,
  { auth_req_id }: BackchannelAuthenticationResponse,
): Promise<TokenEndpointResponse> {
  return genericGrantRequest(client, GRANT, { auth_req_id })
}

const pollTooFast: CibaStep = {
  title: 'It asks whether she has answered, and is told to wait',
  why: 'A client may be called instead, where it has an address (`ping`). This one asks.',
  async run({ client, request }, notes) {
    await checkTokenRefused(notes, poll(client.get(), request.get()), PENDING, 'the first time')
    const tooFast = { status: 400, error: 'slow_down' }
    await checkTokenRefused(notes, poll(client.get(), request.get()), tooFast, 'at once again')
  },
}

const approve: CibaStep = {
  title: 'Alice looks at her account on her phone, compares, and approves',
  why:
    'The page says who asks, for what, and with which words. She must have signed in within the last ' +
    'ten minutes: whoever finds her phone shall not approve for her.',
  async run({ world, browser }, { check, fact }) {
    const password = await browser.get(`${world.issuer}/account/requests`)
    const page = await signIn(world, browser, password, 'alice')
    fact('the page asks', readAll(page, '.scopes li').join(' · '), '')
    check('who asks', 'The help desk asks for access', readAll(page, '.key h2')[0])
    check('the words', 'blue kite 42', readAll(page, '.binding')[0])
    const end = await browser.submit(page, '/approve')
    check('the last page', 'You have approved', readAll(end, 'h1').join(' '))
  },
}

const collect: CibaStep = {
  title: 'The next time it asks, the desk gets its tokens',
  why: 'Alice’s password was only ever on her phone, and the desk has sent her nowhere.',
  async run({ client, request, tokens }, { check }) {
    const answer = await poll(client.get(), request.get())
    check('granted scope', SCOPE, answer.scope)
    check('there is an ID token', true, answer.id_token !== undefined)
    tokens.set(answer)
  },
}

const useToken: CibaStep = {
  title: 'It reads her notes to her, and can do no more',
  why: 'It has asked for reading alone, and she has approved no more.',
  async run({ world, tokens }, notes) {
    const token = tokens.get().access_token
    const { status } = await callApi(world, { token })
    notes.check('reading: status', 200, status)
    const body = { text: 'Written by a desk' }
    const written = await callApi(world, { method: 'POST', token, body })
    checkRefusal(notes, written, INSUFFICIENT_SCOPE, 'writing: ')
  },
}

const askForNobody: CibaStep = {
  title: 'Somebody at the desk tries whether there is a Mallory',
  why: 'There is none, and the answer does not say so: it is that of a request which nobody answers.',
  async run({ client }, notes) {
    const answer = await askFor(client.get(), 'mallory', 'is there one')
    notes.check('good for, in seconds', 600, answer.expires_in)
    await checkTokenRefused(notes, poll(client.get(), answer), PENDING, 'its question')
  },
}

const refuse: CibaStep = {
  title: 'Somebody else has Alice asked, and she refuses',
  why: 'Nobody has told her these words. The desk is told that she does not want it.',
  async run({ world, browser, client }, notes) {
    const answer = await askFor(client.get(), 'alice', 'red door 7')
    const page = await browser.get(`${world.issuer}/account/requests`)
    notes.check('the words', 'red door 7', readAll(page, '.binding')[0])
    const end = await browser.submit(page, '/refuse')
    notes.check('the last page', 'You have refused', readAll(end, 'h1').join(' '))
    const refusal = { status: 400, error: 'access_denied' }
    await checkTokenRefused(notes, poll(client.get(), answer), refusal, 'that request')
  },
}

const collectAsAnother: CibaStep = {
  title: 'The request of another client is none',
  why: 'Here a client that may ask people so, and proves who it is, comes with one of the desk’s.',
  async run({ world, client }, notes) {
    const answer = await askFor(client.get(), 'alice', 'green lamp 3')
    const secret = ClientSecretBasic(world.secrets.ARCHIVE_SECRET)
    const archive = createNeighbour(world, client.get(), ARCHIVE_CLIENT, secret)
    await checkTokenRefused(notes, poll(archive, answer), INVALID_GRANT, 'another client')
  },
}

const collectAgain: CibaStep = {
  title: 'A request that comes a second time takes back what it gave',
  why:
    'The desk has its tokens already. Somebody else has come now, or had come before it: nobody can ' +
    'tell, so the refresh token dies as well.',
  async run({ client, request, tokens }, notes) {
    const again = poll(client.get(), request.get())
    await checkTokenRefused(notes, again, INVALID_GRANT, 'the request')
    const { refresh_token: token = '' } = tokens.get()
    const asked = refreshTokenGrant(client.get(), token)
    await checkTokenRefused(notes, asked, INVALID_GRANT, 'the refresh token')
  },
}
