import {
  ClientSecretBasic,
  type Configuration,
  type DeviceAuthorizationResponse,
  genericGrantRequest,
  initiateDeviceAuthorization,
  None,
  refreshTokenGrant,
  type TokenEndpointResponse,
} from 'openid-client'
import { createBrowser, hasForm, readAll, type Browser } from '../browser.ts'
import { callApi, checkRefusal, INSUFFICIENT_SCOPE } from '../call-api.ts'
import { ARCHIVE_CLIENT, SCREEN_CLIENT } from '../configuration.ts'
import type { Flow, Step } from '../flow.ts'
import { checkTokenRefused, createNeighbour, discoverServer, INVALID_GRANT } from '../oauth.ts'
import { signIn } from '../people.ts'
import { createSlot, type Slot } from '../slot.ts'
import type { World } from '../world.ts'

interface DeviceStage {
  readonly world: World
  /** On Alice’s phone. */
  readonly browser: Browser
  readonly client: Slot<Configuration>
  readonly codes: Slot<DeviceAuthorizationResponse>
  readonly tokens: Slot<TokenEndpointResponse>
}

type DeviceStep = Step<DeviceStage>

/** @see {@link https://www.rfc-editor.org/rfc/rfc8628.html RFC 8628} */
export const deviceFlow: Flow<DeviceStage> = {
  name: 'device',
  summary: 'a screen without a keyboard shows a code, and a person connects it with their phone',
  needs: ['notes'],
  createStage: (world) => ({
    world,
    browser: createBrowser(world.wire),
    client: createSlot('client'),
    codes: createSlot('pair of codes'),
    tokens: createSlot('tokens'),
  }),
  listSteps: () => [
    discover,
    ask,
    pollTooFast,
    mistype,
    connect,
    collect,
    useToken,
    collectAsAnother,
    decline,
    collectAgain,
  ],
}

const SCOPE = 'openid profile notes:read'
const GRANT = 'urn:ietf:params:oauth:grant-type:device_code'

const discover: DeviceStep = {
  title: 'The screen discovers the authorization server',
  why: 'It hangs on a wall. It can show and send, but nobody can type on it, and it has no browser.',
  async run({ world, client }, { check, fact }) {
    const config = await discoverServer(world, SCREEN_CLIENT, None(), [
      'device_authorization_endpoint',
      'grant_types_supported',
    ])
    const { device_authorization_endpoint: endpoint = '', grant_types_supported: grants = [] } =
      config.serverMetadata()
    fact('device_authorization_endpoint', endpoint, '')
    check('the server has the grant device_code', true, grants.includes(GRANT))
    client.set(config)
  },
}

const ask: DeviceStep = {
  title: 'It asks for two codes, and shows one of them',
  why:
    'The short one is for Alice to type, so it has no letters that look alike. The long one stays in ' +
    'the device, and is what it will get its tokens for.',
  async run({ client, codes }, { check, fact }) {
    const answer = await initiateDeviceAuthorization(client.get(), { scope: SCOPE })
    fact('it shows', `Go to ${answer.verification_uri} and enter ${answer.user_code}`, '')
    check(
      'it is eight letters with a dash between',
      true,
      /^[A-Z]{4}-[A-Z]{4}$/.test(answer.user_code),
    )
    check('good for, in seconds', 600, answer.expires_in)
    check('seconds between two questions', 5, answer.interval)
    codes.set(answer)
  },
}

/** One question; the library’s own loop would wait five seconds first. */
function poll(
  client: Configuration,
  { device_code }: DeviceAuthorizationResponse,
): Promise<TokenEndpointResponse> {
  return genericGrantRequest(client, GRANT, { device_code })
}

const pollTooFast: DeviceStep = {
  title: 'It asks whether she has done so, and is told to wait',
  why:
    'Nobody can call a device, so it asks again and again, every five seconds. One that does not ' +
    'wait is told to slow down.',
  async run({ client, codes }, notes) {
    for (const [what, error] of [
      ['the first time', 'authorization_pending'],
      ['at once again', 'slow_down'],
    ] as const) {
      const asked = poll(client.get(), codes.get())
      await checkTokenRefused(notes, asked, { status: 400, error }, what)
    }
  },
}

const mistype: DeviceStep = {
  title: 'Alice mistypes the code',
  why: 'There is no such code. Ten wrong ones, and whoever types has to wait for a quarter of an hour.',
  async run({ browser, codes }, { check, fact }) {
    const { verification_uri, user_code } = codes.get()
    // Another letter of the same alphabet in the place of the last one.
    const wrong = user_code.replace(/.$/, (letter) => (letter === 'B' ? 'C' : 'B'))
    const input = await browser.get(verification_uri)
    const page = await browser.submit(input, '/device', { user_code: wrong })
    fact('the page says', readAll(page, '.problem').join(' '), '')
    check('status', 422, page.status)
    check('it asks for a code once more', true, readAll(page, 'label').includes('Code'))
  },
}

const connect: DeviceStep = {
  title: 'She types it as it is shown, compares, signs in and agrees',
  why:
    'The page tells her which device it is, and to go on only if it is one that she can see: the code ' +
    'could be from somebody who wants into her account.',
  async run({ world, browser, codes }, { check, fact }) {
    const { verification_uri, user_code } = codes.get()
    const input = await browser.get(verification_uri)
    const typed = user_code.toLowerCase().replace('-', ' ')
    const compare = await browser.submit(input, '/device', { user_code: typed })
    fact('she typed', typed, '')
    fact('the page asks', readAll(compare, 'h1').join(' '), '')
    check('the page shows her the code', user_code, readAll(compare, '.user-code')[0])
    const password = await browser.submit(compare, '/device', { confirm: 'yes' })
    const consent = await signIn(world, browser, password, 'alice')
    check('it asks for consent', true, hasForm(consent, '/consent'))
    const end = await browser.submit(consent, '/consent')
    check('the last page', 'Your device is connected', readAll(end, 'h1').join(' '))
  },
}

const collect: DeviceStep = {
  title: 'The next time it asks, the screen gets its tokens',
  why: 'Alice’s password was only ever on her phone.',
  async run({ client, codes, tokens }, { check }) {
    const answer = await poll(client.get(), codes.get())
    check('granted scope', SCOPE, answer.scope)
    check('there is a refresh token', true, answer.refresh_token !== undefined)
    tokens.set(answer)
  },
}

const useToken: DeviceStep = {
  title: 'It shows her notes, and can do no more',
  why: 'It is a screen, and has asked for reading alone.',
  async run({ world, tokens }, notes) {
    const token = tokens.get().access_token
    const { status } = await callApi(world, { token })
    notes.check('reading: status', 200, status)
    const body = { text: 'Written by a wall' }
    const written = await callApi(world, { method: 'POST', token, body })
    checkRefusal(notes, written, INSUFFICIENT_SCOPE, 'writing: ')
  },
}

const collectAsAnother: DeviceStep = {
  title: 'The code of another client is none',
  why: 'Here a client that may use such codes, and proves who it is, comes with one of the screen’s.',
  async run({ world, client }, notes) {
    const codes = await initiateDeviceAuthorization(client.get(), { scope: SCOPE })
    const secret = ClientSecretBasic(world.secrets.ARCHIVE_SECRET)
    const archive = createNeighbour(world, client.get(), ARCHIVE_CLIENT, secret)
    await checkTokenRefused(notes, poll(archive, codes), INVALID_GRANT, 'another client')
  },
}

const decline: DeviceStep = {
  title: 'Somebody sends Alice a link with a code of theirs, and she cancels',
  why:
    'A link, or a picture to scan, spares the typing. She is asked all the same, and what stands there ' +
    'is no device of hers. Theirs is told so.',
  async run({ browser, client }, notes) {
    const codes = await initiateDeviceAuthorization(client.get(), { scope: SCOPE })
    const compare = await browser.get(codes.verification_uri_complete ?? '')
    notes.check('the page shows the code', codes.user_code, readAll(compare, '.user-code')[0])
    const end = await browser.submit(compare, '/device', { abort: 'yes' })
    notes.check('the last page', 'You have cancelled', readAll(end, 'h1').join(' '))
    const refusal = { status: 400, error: 'access_denied' }
    await checkTokenRefused(notes, poll(client.get(), codes), refusal, 'that device')
  },
}

const collectAgain: DeviceStep = {
  title: 'A code that comes a second time takes back what it gave',
  why:
    'The screen has its tokens already. Somebody else has come now, or had come before it: nobody can ' +
    'tell, so the refresh token dies as well.',
  async run({ client, codes, tokens }, notes) {
    await checkTokenRefused(notes, poll(client.get(), codes.get()), INVALID_GRANT, 'the code')
    const { refresh_token: token = '' } = tokens.get()
    const asked = refreshTokenGrant(client.get(), token)
    await checkTokenRefused(notes, asked, INVALID_GRANT, 'the refresh token')
  },
}
