import { buildEndSessionUrl, None, type Configuration } from 'openid-client'
import { createBrowser, type Browser } from '../browser.ts'
import { callApi, checkRefusal, INVALID_TOKEN } from '../call-api.ts'
import { NOTES } from '../configuration.ts'
import type { Flow, Step } from '../flow.ts'
import { ask, noteMoments, type Door } from '../moment.ts'
import {
  checkRefreshRefused,
  createNeighbour,
  discoverServer,
  makeRequest,
  redeem,
  refresh,
  type Tokens,
} from '../oauth.ts'
import { visit } from '../people.ts'
import { ERIN, LAPTOP_CLIENT, PHONE_CLIENT, PLANNER_SCOPES } from '../planner.ts'
import { nameApi, type ApiName } from '../programs.ts'
import { createSlot, type Slot } from '../slot.ts'
import { INVOICES, ORDERS } from '../small-systems.ts'
import type { World } from '../world.ts'

interface RevokeStage {
  readonly world: World
  readonly stopped: AbortSignal
  readonly browser: Browser
  readonly phone: Slot<App>
  readonly laptop: Slot<App>
}

/** An app that Erin uses. */
interface App {
  readonly client: Configuration
  /** The newest of each, and for each API an access token of its own. */
  readonly tokens: Tokens
  readonly access: readonly string[]
}

type RevokeStep = Step<RevokeStage>

/** @see docs/revocation.md */
export const revokeFlow: Flow<RevokeStage> = {
  name: 'revoke',
  summary: 'one click, and the moment at which each of three APIs refuses what was good until then',
  needs: ['notes', 'orders', 'billing'],
  createStage(world, stopped) {
    const browser = createBrowser(world.wire)
    const [phone, laptop] = [
      createSlot<App>('app on the phone'),
      createSlot<App>('app on the laptop'),
    ]
    return { world, stopped, browser, phone, laptop }
  },
  listSteps: () => [signInOnPhone, signInOnLaptop, useBoth, signOut, askAgain, goOn],
}

/** In the order in which an app holds its tokens. */
const APIS: readonly { readonly api: ApiName; readonly resource: string; readonly path: string }[] =
  [
    { api: 'notes', resource: NOTES, path: '/notes' },
    { api: 'orders', resource: ORDERS, path: '/orders' },
    { api: 'billing', resource: INVOICES, path: '/invoices' },
  ]
const SCOPE = ['openid', ...PLANNER_SCOPES].join(' ')

const signInOnPhone: RevokeStep = {
  title: 'Erin signs in to an app on her phone, which uses three APIs',
  why: 'One consent, and an access token for each API: none is good at another.',
  async run({ world, browser, phone }, { check }) {
    const client = await discoverServer(world, PHONE_CLIENT, None(), [
      'token_endpoint',
      'portreeve_revocation_feed',
    ])
    const { app, asked } = await obtainApp(world, client, browser, { scope: SCOPE })
    check('she is asked for', 'sign-in, consent', asked.join(', '))
    phone.set(app)
  },
}

const signInOnLaptop: RevokeStep = {
  title: 'And to another on her laptop, which may go on without her',
  why: 'She is signed in already. With offline_access its tokens hang on her consent alone.',
  async run({ world, browser, phone, laptop }, { check }) {
    const client = createNeighbour(world, phone.get().client, LAPTOP_CLIENT)
    const parameters = { scope: `${SCOPE} offline_access`, prompt: 'consent' }
    const { app, asked } = await obtainApp(world, client, browser, parameters)
    check('she is asked for', 'consent', asked.join(', '))
    laptop.set(app)
  },
}

async function obtainApp(
  world: World,
  client: Configuration,
  browser: Browser,
  parameters: Readonly<Record<string, string>>,
): Promise<{ readonly app: App; readonly asked: readonly string[] }> {
  const request = await makeRequest(world, client, parameters)
  for (const { resource } of APIS) request.url.searchParams.append('resource', resource)
  const { answer, asked } = await visit(world, browser, request.url, ERIN.username)
  const [first, ...others] = APIS
  let tokens = await redeem(client, request, answer, first)
  const access = [tokens.access]
  for (const { resource } of others) {
    tokens = await refresh(client, tokens, { resource })
    access.push(tokens.access)
  }
  return { app: { client, tokens, access }, asked }
}

const useBoth: RevokeStep = {
  title: 'All three APIs answer both of them',
  why:
    'They check signatures with the server’s keys and ask nobody. What the server revokes, they hear: ' +
    'each follows its feed.',
  async run(stage, { check, table }) {
    const [phone, laptop] = await Promise.all(
      [stage.phone, stage.laptop].map((app) =>
        Promise.all(listDoors(stage, app.get()).map((door) => ask(door, stage.stopped))),
      ),
    )
    table(
      ['API', 'phone', 'laptop'],
      APIS.map(({ api }, at) => [nameApi(api), phone?.[at] ?? null, laptop?.[at] ?? null]),
    )
    check('status at each, with the token from the phone', [200, 200, 200], phone)
    check('and with that from the laptop', [200, 200, 200], laptop)
  },
}

function listDoors({ world }: RevokeStage, { access }: App): Door[] {
  return APIS.map(({ api, path }, at) => ({
    name: nameApi(api),
    url: `${world.locate(api)}${path}`,
    token: access[at] ?? '',
  }))
}

async function callAll({ world }: RevokeStage, { access }: App, purpose: string) {
  const answers = []
  for (const [index, { api, path }] of APIS.entries()) {
    world.wire.announce(purpose)
    answers.push(await callApi(world, { at: world.locate(api), path, token: access[index] ?? '' }))
  }
  return answers
}

const signOut: RevokeStep = {
  title: 'One click: Erin signs out, while the phone asks all the time',
  why:
    'Times are counted from the answer to her click. What is less than nothing was before the answer, ' +
    'and after the click. The requests are too many to show.',
  async run(stage, notes) {
    const { browser, stopped } = stage
    const { client, tokens } = stage.phone.get()
    const url = buildEndSessionUrl(client, { id_token_hint: tokens.id })
    const page = await browser.get(url.href)
    const click = async () => {
      await browser.submit(page, '/session/end/confirm', { logout: 'yes' })
      return browser.answeredAt()
    }
    await noteMoments(notes, listDoors(stage, stage.phone.get()), click, stopped)
  },
}

const askAgain: RevokeStep = {
  title: 'What the phone has is good for nothing',
  why:
    'The access tokens had minutes to live, and their signatures still hold. With the refresh token ' +
    'the app would get others.',
  async run(stage, notes) {
    const app = stage.phone.get()
    for (const [index, answer] of (await callAll(stage, app, 'from the phone')).entries()) {
      checkRefusal(notes, answer, INVALID_TOKEN, `${nameApi(APIS[index]?.api ?? 'notes')}: `)
    }
    await checkRefreshRefused(notes, app.client, app.tokens, 'the refresh token')
  },
}

const goOn: RevokeStep = {
  title: 'The laptop goes on',
  why: 'A sign-out ends what hangs on the sign-in. Her consent to the other app is as it was.',
  async run(stage, { check }) {
    const { client, tokens } = stage.laptop.get()
    const answers = await callAll(stage, stage.laptop.get(), 'from the laptop')
    check(
      'status at each API',
      [200, 200, 200],
      answers.map(({ status }) => status),
    )
    const renewed = await refresh(client, tokens, { resource: NOTES })
    check('its refresh token gives another one', true, renewed.refresh !== tokens.refresh)
  },
}
