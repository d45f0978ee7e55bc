import { buildAuthorizationUrlWithPAR, ClientSecretBasic, type Configuration } from 'openid-client'
import { createBrowser, readAll, type Browser } from '../browser.ts'
import { callApi, checkRefusal, INSUFFICIENT_SCOPE } from '../call-api.ts'
import { ARCHIVE_CLIENT, DEMO_CLIENT } from '../configuration.ts'
import { checkErrorPage } from '../error-page.ts'
import type { Flow, Step } from '../flow.ts'
import {
  checkAnswerRefused,
  checkTokenRefused,
  createNeighbour,
  discoverServer,
  makeParameters,
  makeRequest,
  redeem,
  type AuthorizationRequest,
} from '../oauth.ts'
import { visit } from '../people.ts'
import { createSlot, type Slot } from '../slot.ts'
import type { World } from '../world.ts'

interface ParStage {
  readonly world: World
  readonly browser: Browser
  readonly client: Slot<Configuration>
  /** What Alice is asked. */
  readonly request: Slot<AuthorizationRequest>
  readonly answer: Slot<URL>
}

type ParStep = Step<ParStage>

/** @see {@link https://www.rfc-editor.org/rfc/rfc9126.html RFC 9126} */
export const parFlow: Flow<ParStage> = {
  name: 'par',
  summary: 'a client hands its request to the server first, and the browser carries a name for it',
  needs: ['notes'],
  createStage: (world) => ({
    world,
    browser: createBrowser(world.wire),
    client: createSlot('client'),
    request: createSlot('authorization request'),
    answer: createSlot('answer'),
  }),
  listSteps: () => [
    discover,
    push,
    tamper,
    redeemCode,
    pushMistakes,
    pushAsSomebody,
    visitAgain,
    visitAsAnother,
    visitWithoutPush,
  ],
}

const SCOPE = 'openid profile notes:read'
const ELSEWHERE = 'https://elsewhere.example/'

const discover: ParStep = {
  title: 'The client discovers where requests are pushed to',
  why:
    'It runs on a server of its own, so it can keep a secret. Its registration says that it must ' +
    'push its requests.',
  async run({ world, client }, { check, fact }) {
    const secret = ClientSecretBasic(world.secrets.ARCHIVE_SECRET)
    const config = await discoverServer(world, ARCHIVE_CLIENT, secret, [
      'pushed_authorization_request_endpoint',
      'require_pushed_authorization_requests',
    ])
    const endpoint = config.serverMetadata().pushed_authorization_request_endpoint ?? ''
    fact('pushed_authorization_request_endpoint', endpoint, '')
    check('it is at the server', true, endpoint.startsWith(`${world.issuer}/`))
    client.set(config)
  },
}

const push: ParStep = {
  title: 'It pushes its request, and gets a name for it',
  why:
    'This goes to the server directly, and the client proves who it is. The browser is then sent ' +
    'there with the name: nothing to read on the way, and nothing to change.',
  async run({ world, client, request }, { check }) {
    const pushed = await pushRequest(world, client.get())
    const parameters = [...pushed.url.searchParams.keys()].toSorted()
    check('the browser carries', 'client_id, request_uri', parameters.join(', '))
    request.set(pushed)
  },
}

async function pushRequest(
  world: World,
  client: Configuration,
  more: Readonly<Record<string, string>> = {},
): Promise<AuthorizationRequest> {
  const { parameters, secrets } = await makeParameters(world, { scope: SCOPE, ...more })
  return { url: await buildAuthorizationUrlWithPAR(client, parameters), ...secrets }
}

const tamper: ParStep = {
  title: 'Somebody adds parameters on the way, and they count for nothing',
  why:
    'The server goes by what was pushed. Alice is not asked for more, and her browser is not sent ' +
    'elsewhere.',
  async run({ world, browser, request, answer: answered }, { check, fact }) {
    const url = new URL(request.get().url)
    url.searchParams.set('scope', `${SCOPE} notes:write`)
    url.searchParams.set('redirect_uri', ELSEWHERE)
    const { answer, consent } = await visit(world, browser, url, 'alice')
    const asked = consent ? readAll(consent, '.scopes li') : []
    fact('the page asks', asked.join(' · '), '')
    check(
      'question about reading',
      true,
      asked.some((scope) => scope.startsWith('Read')),
    )
    check(
      'question about writing',
      false,
      asked.some((scope) => scope.startsWith('Write')),
    )
    check('she is back at', world.callback.redirectUri, `${answer.origin}${answer.pathname}`)
    answered.set(answer)
  },
}

const redeemCode: ParStep = {
  title: 'The client gets tokens for what it has pushed, and an API takes them',
  why: 'From here on all is as ever. The token reads, and does not write.',
  async run({ world, client, request, answer }, notes) {
    const tokens = await redeem(client.get(), request.get(), answer.get())
    notes.check('granted scope', SCOPE, tokens.scope)
    const { status } = await callApi(world, { token: tokens.access })
    notes.check('reading: status', 200, status)
    const body = { text: 'Nobody has asked me' }
    const written = await callApi(world, { method: 'POST', token: tokens.access, body })
    checkRefusal(notes, written, INSUFFICIENT_SCOPE, 'writing: ')
  },
}

const pushMistakes: ParStep = {
  title: 'What is wrong with a request, the client is told before it bothers anybody',
  why: 'A pushed request is checked as it comes: nobody has signed in to learn that it is no good.',
  async run({ world, client }, notes) {
    const refused = [
      ['an address that it has not registered', { redirect_uri: ELSEWHERE }, 'invalid_request'],
      ['an unknown API', { resource: 'https://unknown.example/' }, 'invalid_target'],
    ] as const
    for (const [what, change, error] of refused) {
      const asked = pushRequest(world, client.get(), change)
      await checkTokenRefused(notes, asked, { status: 400, error }, what)
    }
  },
}

const pushAsSomebody: ParStep = {
  title: 'Somebody who knows its id, and not its secret, cannot push',
  why: 'So no page of the server ever speaks in the name of this client for anybody else.',
  async run({ world, client }, notes) {
    const guess = ClientSecretBasic('a guess')
    const asked = pushRequest(world, createNeighbour(world, client.get(), ARCHIVE_CLIENT, guess))
    await checkTokenRefused(notes, asked, { status: 401, error: 'invalid_client' }, 'a guess')
  },
}

const visitAgain: ParStep = {
  title: 'A name is good once',
  why: 'Whoever finds it later, in a history or in a log, has nothing. It ends in a minute anyway.',
  async run({ browser, request }, notes) {
    checkErrorPage(notes, await browser.get(request.get().url.href), 'invalid_request_uri')
  },
}

const visitAsAnother: ParStep = {
  title: 'Another client cannot use it',
  why: 'A request belongs to the client that has pushed it.',
  async run({ world, browser, client }, notes) {
    const { url } = await pushRequest(world, client.get())
    url.searchParams.set('client_id', DEMO_CLIENT)
    checkErrorPage(notes, await browser.get(url.href), 'invalid_request_object')
  },
}

const visitWithoutPush: ParStep = {
  title: 'This client cannot go without',
  why:
    'A request in the URL, as other clients send it, could be anybody’s. The server sends the ' +
    'browser back with an error, and asks Alice nothing.',
  async run({ world, browser, client }, notes) {
    const request = await makeRequest(world, client.get(), { scope: SCOPE })
    const { answer, asked } = await visit(world, browser, request.url, 'alice')
    notes.check('what she is asked', [], asked)
    await checkAnswerRefused(notes, client.get(), request, answer, 'invalid_request')
  },
}
