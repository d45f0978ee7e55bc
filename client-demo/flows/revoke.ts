import { None, type Configuration } from 'openid-client'
import { createBrowser, hasForm, readAll, type Browser, type Page } from '../browser.ts'
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
import { ERIN, LAPTOP, PHONE, PLANNER_SCOPES } from '../planner.ts'
import { nameApi, type ApiName } from '../programs.ts'
import { createSlot, type Slot } from '../slot.ts'
import { INVOICES, ORDERS } from '../small-systems.ts'
import type { World } from '../world.ts'

interface RevokeStage {
  readonly world: World
  readonly stopped: AbortSignal
  /** The browsers of her phone and of her laptop. */
  readonly browsers: { readonly phone: Browser; readonly laptop: Browser }
  readonly phone: Slot<App>
  readonly laptop: Slot<App>
  /** What the app on the laptop may do without her. */
  readonly offline: Slot<App>
}

/** What an app of Erin's holds. */
interface App {
  readonly client: Configuration
  /** The newest. */
  readonly tokens: Tokens
  /** An access token for each API. */
  readonly access: readonly string[]
}

type RevokeStep = Step<RevokeStage>

/** @see docs/revocation.md */
export const revokeFlow: Flow<RevokeStage> = {
  name: 'revoke',
  summary: 'one click, and the moment at which each of three APIs refuses what was good until then',
  needs: ['notes', 'orders', 'billing'],
  createStage: (world, stopped) => ({
    world,
    stopped,
    browsers: { phone: createBrowser(world.wire), laptop: createBrowser(world.wire) },
    phone: createSlot('app on the phone'),
    laptop: createSlot('app on the laptop'),
    offline: createSlot('offline access'),
  }),
  listSteps: () => [
    signInOnPhone,
    signInOnLaptop,
    allowOffline,
    useAll,
    removeApp,
    comeAgain,
    goOn,
    signOutElsewhere,
    goOnOffline,
  ],
}

/** In the order in which an app holds its tokens. */
const APIS: readonly { readonly api: ApiName; readonly resource: string; readonly path: string }[] =
  [
    { api: 'notes', resource: NOTES, path: '/notes' },
    { api: 'orders', resource: ORDERS, path: '/orders' },
    { api: 'billing', resource: INVOICES, path: '/invoices' },
  ]
const SCOPE = ['openid', ...PLANNER_SCOPES].join(' ')
const ALL_GOOD = APIS.map(() => 200)

const signInOnPhone: RevokeStep = {
  title: 'Erin signs in to an app on her phone, which uses three APIs',
  why: 'One consent, and an access token for each API: none is good at another.',
  async run({ world, browsers, phone }, { check }) {
    const client = await discoverServer(world, PHONE.id, None(), [
      'token_endpoint',
      'portreeve_revocation_feed',
    ])
    const { app, asked } = await obtainApp(world, client, browsers.phone, { scope: SCOPE })
    check('she is asked for', 'sign-in, consent', asked.join(', '))
    phone.set(app)
  },
}

const signInOnLaptop: RevokeStep = {
  title: 'And to another on her laptop',
  why: 'Another browser, another client, the same APIs.',
  async run({ world, browsers, phone, laptop }, { check }) {
    const client = createNeighbour(world, phone.get().client, LAPTOP.id)
    const { app, asked } = await obtainApp(world, client, browsers.laptop, { scope: SCOPE })
    check('she is asked for', 'sign-in, consent', asked.join(', '))
    laptop.set(app)
  },
}

const allowOffline: RevokeStep = {
  title: 'She lets that one go on without her: offline_access',
  why: 'These tokens hang on her consent alone, and on no sign-in.',
  async run({ world, browsers, laptop, offline }, { check }) {
    const { client } = laptop.get()
    const parameters = { scope: `${SCOPE} offline_access`, prompt: 'consent' }
    const { app, asked } = await obtainApp(world, client, browsers.laptop, parameters)
    check('she is asked for', 'consent', asked.join(', '))
    offline.set(app)
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

const useAll: RevokeStep = {
  title: 'All three APIs answer all of them',
  why:
    'They check signatures with the server’s keys and ask nobody. What the server revokes, they hear: ' +
    'each follows its feed.',
  async run(stage, { check, table }) {
    const phone = await askAll(stage, stage.phone)
    const laptop = await askAll(stage, stage.laptop)
    const offline = await askAll(stage, stage.offline)
    table(
      ['API', 'phone', 'laptop', 'without her'],
      APIS.map(({ api }, at) => [nameApi(api), ...[phone, laptop, offline].map(readStatus(at))]),
    )
    check('status at each, with the token from the phone', ALL_GOOD, phone)
    check('with that from the laptop', ALL_GOOD, laptop)
    check('with that for when she is away', ALL_GOOD, offline)
  },
}

const readStatus = (at: number) => (statuses: readonly number[]) => statuses[at] ?? null

async function askAll(stage: RevokeStage, app: Slot<App>): Promise<readonly number[]> {
  return Promise.all(listDoors(stage, app.get()).map((door) => ask(door, stage.stopped)))
}

function listDoors({ world }: RevokeStage, { access }: App): Door[] {
  return APIS.map(({ api, path }, at) => ({
    name: nameApi(api),
    url: `${world.locate(api)}${path}`,
    token: access[at] ?? '',
  }))
}

const REMOVE = '/account/apps/remove'

const removeApp: RevokeStep = {
  title: 'One click: she takes the access of the app on her phone away',
  why:
    'At the page of her account, from her laptop, while the app asks the APIs all the time. Times are ' +
    'counted from the answer to her click; a time below 0 lies before that answer.',
  async run(stage, notes) {
    const { laptop } = stage.browsers
    const page = await openAccount(stage, laptop)
    notes.check('apps on the page', [LAPTOP.name, PHONE.name], listApps(page))
    let after = page
    const click = async () => {
      after = await laptop.submit(page, REMOVE, {}, { id: PHONE.id })
      return laptop.answeredAt()
    }
    await noteMoments(notes, listDoors(stage, stage.phone.get()), click, stage.stopped)
    notes.check('apps on the page afterwards', [LAPTOP.name], listApps(after))
  },
}

async function openAccount({ world }: RevokeStage, browser: Browser): Promise<Page> {
  return browser.get(`${world.issuer}/account`)
}

function listApps(page: Page): string[] {
  return readAll(page, '[aria-labelledby=apps] h3').toSorted()
}

const comeAgain: RevokeStep = {
  title: 'What the phone has is good for nothing',
  why:
    'Its access tokens had minutes to live, and their signatures still hold. The refresh token would ' +
    'have given it others.',
  async run(stage, notes) {
    const { client, tokens } = stage.phone.get()
    for (const [at, answer] of (await callAll(stage, stage.phone)).entries()) {
      checkRefusal(notes, answer, INVALID_TOKEN, `${nameApi(APIS[at]?.api ?? 'notes')}: `)
    }
    await checkRefreshRefused(notes, client, tokens, 'the refresh token')
  },
}

async function callAll({ world }: RevokeStage, app: Slot<App>) {
  const answers = []
  for (const [at, { api, path }] of APIS.entries()) {
    const token = app.get().access[at] ?? ''
    answers.push(await callApi(world, { at: world.locate(api), path, token }))
  }
  return answers
}

const goOn: RevokeStep = {
  title: 'The laptop goes on, and she is still signed in',
  why: 'What was taken away is what she had allowed to the one app.',
  async run(stage, { check }) {
    const answers = await callAll(stage, stage.laptop)
    check(
      'status at each',
      ALL_GOOD,
      answers.map(({ status }) => status),
    )
    const app = stage.laptop.get()
    const renewed = await refresh(app.client, app.tokens, { resource: NOTES })
    check('its refresh token gives another one', true, renewed.refresh !== app.tokens.refresh)
    stage.laptop.set({ ...app, tokens: renewed })
  },
}

const END_OTHERS = '/account/sessions/end-others'

const signOutElsewhere: RevokeStep = {
  title: 'Another click: from her phone she signs out everywhere else',
  why: 'She has left the laptop somewhere. What hung on its sign-in ends; the phone’s browser stays.',
  async run(stage, notes) {
    const { phone } = stage.browsers
    const page = await openAccount(stage, phone)
    let after = page
    const click = async () => {
      after = await phone.submit(page, END_OTHERS)
      return phone.answeredAt()
    }
    await noteMoments(notes, listDoors(stage, stage.laptop.get()), click, stage.stopped)
    notes.check('other sessions on the page', false, hasForm(after, END_OTHERS))
  },
}

const goOnOffline: RevokeStep = {
  title: 'No token comes of that sign-in any more; what the app may do without her goes on',
  why: 'A sign-out ends a sign-in, not a consent. “Remove access” would end this as well.',
  async run(stage, notes) {
    const { check } = notes
    const signedOut = stage.laptop.get()
    const what = 'the refresh token of the sign-in'
    await checkRefreshRefused(notes, signedOut.client, signedOut.tokens, what)
    check('without her: status at each', ALL_GOOD, await askAll(stage, stage.offline))
    const { client, tokens } = stage.offline.get()
    const renewed = await refresh(client, tokens, { resource: NOTES })
    const { status } = await callApi(stage.world, { token: renewed.access })
    check('without her: status at the notes API with a new token', 200, status)
  },
}
