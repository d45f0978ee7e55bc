import { buildEndSessionUrl, fetchUserInfo, randomState, type Configuration } from 'openid-client'
import { createBrowser, hasForm, readAll, type Browser } from '../browser.ts'
import { callApi, checkRefusal, INVALID_TOKEN } from '../call-api.ts'
import { decodeJwt } from '../claims.ts'
import { conceal } from '../conceal.ts'
import { DEMO_CLIENT } from '../configuration.ts'
import type { Flow, Step } from '../flow.ts'
import { findNotesDoor, noteMoments } from '../moment.ts'
import {
  checkAnswerRefused,
  checkRefreshRefused,
  discoverServer,
  makeRequest,
  refresh,
  type Tokens,
} from '../oauth.ts'
import { obtainTokens, receiveAnswer, visit } from '../people.ts'
import { createSlot, type Slot } from '../slot.ts'
import { checkUserinfoRefused } from '../userinfo.ts'
import type { World } from '../world.ts'

interface LogoutStage {
  readonly world: World
  readonly stopped: AbortSignal
  readonly browser: Browser
  readonly client: Slot<Configuration>
  /** Of this sign-in. */
  readonly tokens: Slot<Tokens>
  /** Of a consent that outlives it. */
  readonly offline: Slot<Tokens>
}

type LogoutStep = Step<LogoutStage>

/** @see {@link https://openid.net/specs/openid-connect-rpinitiated-1_0.html RP-Initiated Logout 1.0} */
export const logoutFlow: Flow<LogoutStage> = {
  name: 'logout',
  summary: 'a person signs out at the server, and what hung on the sign-in is refused from then on',
  needs: ['notes'],
  createStage: (world, stopped) => ({
    world,
    stopped,
    browser: createBrowser(world.wire),
    client: createSlot('client'),
    tokens: createSlot('tokens'),
    offline: createSlot('offline tokens'),
  }),
  listSteps: () => [
    signInHere,
    stayOffline,
    useTokens,
    followLink,
    goElsewhere,
    signOut,
    loseAccess,
    comeBack,
    goOnOffline,
  ],
}

const SCOPE = 'openid profile notes:read'

const signInHere: LogoutStep = {
  title: 'Alice signs in, and the client gets tokens',
  why: 'Their claim sid names the sign-in that they hang on.',
  async run({ world, browser, client, tokens }, { check, fact }) {
    client.set(await discoverServer(world, DEMO_CLIENT))
    const parameters = { scope: SCOPE }
    const { tokens: obtained } = await obtainTokens(
      world,
      client.get(),
      browser,
      'alice',
      parameters,
    )
    const { claims } = decodeJwt(obtained.access)
    fact('sid', conceal('sid', claims['sid']), 'the sign-in session that the access token hangs on')
    check('the access token hangs on a session', true, typeof claims['sid'] === 'string')
    check('sid is that of the ID token', obtained.claims['sid'], claims['sid'])
    tokens.set(obtained)
  },
}

const stayOffline: LogoutStep = {
  title: 'She also lets the client go on without her: offline_access',
  why:
    'These tokens hang on her consent and on no sign-in, so they carry no sid. The consent page ' +
    'asks for it in words.',
  async run({ world, browser, client, offline }, { check }) {
    const parameters = { scope: `${SCOPE} offline_access`, prompt: 'consent' }
    const { tokens, asked } = await obtainTokens(world, client.get(), browser, 'alice', parameters)
    check('she is asked for', 'consent', asked.join(', '))
    check('sid', false, 'sid' in decodeJwt(tokens.access).claims)
    offline.set(tokens)
  },
}

const useTokens: LogoutStep = {
  title: 'Both are good, at the API and at userinfo',
  why: 'So that what follows shows a difference.',
  async run({ world, client, tokens, offline }, { check }) {
    for (const [what, held] of [
      ['of the sign-in', tokens.get()],
      ['of the offline grant', offline.get()],
    ] as const) {
      world.wire.announce(`with the token ${what}`)
      const { status } = await callApi(world, { token: held.access })
      check(`${what}: status at the API`, 200, status)
      world.wire.announce(`with the token ${what}`)
      const { sub } = await fetchUserInfo(client.get(), held.access, held.claims.sub)
      check(`${what}: sub at userinfo`, held.claims.sub, sub)
    }
  },
}

const followLink: LogoutStep = {
  title: 'A link alone signs nobody out',
  why:
    'Any page could have her browser fetch the server’s sign-out URL. The page asks, and only the ' +
    'form in it, which no other site can know, ends the session.',
  async run(stage, { check }) {
    const page = await stage.browser.get(buildSignOutUrl(stage, randomState()).href)
    check('status', 200, page.status)
    check('the page asks whether she means it', true, hasForm(page, CONFIRM))
    const { asked } = await askAgain(stage)
    check('and she is still signed in: she is asked for', 'consent', asked.join(', '))
  },
}

const CONFIRM = '/session/end/confirm'

function buildSignOutUrl({ client, tokens, world }: LogoutStage, state: string): URL {
  return buildEndSessionUrl(client.get(), {
    id_token_hint: tokens.get().id,
    post_logout_redirect_uri: world.callback.signedOutUri,
    state,
  })
}

async function askAgain({ world, browser, client }: LogoutStage) {
  const request = await makeRequest(world, client.get(), { scope: SCOPE })
  return visit(world, browser, request.url, 'alice')
}

const goElsewhere: LogoutStep = {
  title: 'The server sends nobody to an address that the client has not registered',
  why: 'Otherwise a link to the server, which people trust, could lead anywhere.',
  async run({ browser, client, tokens }, { check }) {
    const url = buildEndSessionUrl(client.get(), {
      id_token_hint: tokens.get().id,
      post_logout_redirect_uri: 'https://elsewhere.example/',
    })
    const page = await browser.get(url.href)
    check('status', 400, page.status)
    check('form to sign out with', false, hasForm(page, CONFIRM))
    check('it is a page that explains', true, readAll(page, 'h1').length === 1)
  },
}

const signOut: LogoutStep = {
  title: 'Alice signs out, while the client asks the API all the time',
  why:
    'She confirms, and her browser brings her back to the client. The API hears of it: times are counted ' +
    'from the answer to her click.',
  async run(stage, notes) {
    const { world, browser, tokens, stopped } = stage
    const { check } = notes
    const state = randomState()
    const page = await browser.get(buildSignOutUrl(stage, state).href)
    const door = findNotesDoor(world, tokens.get().access)
    const click = async () => {
      await browser.submit(page, CONFIRM, { logout: 'yes' })
      return browser.answeredAt()
    }
    await noteMoments(notes, [door], click, stopped)
    const answer = await receiveAnswer(world)
    check('she is back at', '/signed-out', answer.pathname)
    check('state', state, answer.searchParams.get('state'))
  },
}

const loseAccess: LogoutStep = {
  title: 'What hung on the sign-in is refused',
  why:
    'The refresh token is dead, and so is the access token, at the server and at the API. One that does ' +
    'not follow the feed of the server would take it until it expires, ten minutes at most.',
  async run({ world, client, tokens }, notes) {
    await checkRefreshRefused(notes, client.get(), tokens.get(), 'the refresh token')
    await checkUserinfoRefused(client.get(), tokens.get(), notes)
    checkRefusal(
      notes,
      await callApi(world, { token: tokens.get().access }),
      INVALID_TOKEN,
      'API: ',
    )
  },
}

const comeBack: LogoutStep = {
  title: 'Her browser is nobody’s',
  why: 'A client that asks for an answer without a page is told that there is nobody signed in.',
  async run({ world, browser, client }, notes) {
    const request = await makeRequest(world, client.get(), { scope: SCOPE, prompt: 'none' })
    const { answer } = await visit(world, browser, request.url, 'alice')
    await checkAnswerRefused(notes, client.get(), request, answer, 'login_required')
  },
}

const goOnOffline: LogoutStep = {
  title: 'What she has let go on without her goes on',
  why: 'A sign-out ends a sign-in, not a consent: that she would withdraw.',
  async run({ world, client, offline }, { check }) {
    const renewed = await refresh(client.get(), offline.get())
    const { status } = await callApi(world, { token: renewed.access })
    check('status at the API', 200, status)
  },
}
