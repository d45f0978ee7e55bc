import { setTimeout as wait } from 'node:timers/promises'
import type { Configuration } from 'openid-client'
import { createBrowser, type Browser } from '../browser.ts'
import { callApi } from '../call-api.ts'
import { conceal } from '../conceal.ts'
import { DEMO_CLIENT } from '../configuration.ts'
import type { Flow, Step } from '../flow.ts'
import {
  checkAnswerRefused,
  checkRefreshRefused,
  discoverServer,
  makeRequest,
  redeem,
  refresh,
  type Tokens,
} from '../oauth.ts'
import { obtainTokens, visit } from '../people.ts'
import { AUTH_SERVER } from '../programs.ts'
import { chooseShelf, type SessionShelf } from '../session-shelf.ts'
import { createSlot, type Slot } from '../slot.ts'
import type { World } from '../world.ts'
import { checkUserinfoRefused, isGoodAtUserinfo } from '../userinfo.ts'

interface SessionsStage {
  readonly world: World
  readonly stopped: AbortSignal
  readonly shelf: SessionShelf
  readonly browser: Browser
  readonly client: Slot<Configuration>
  readonly tokens: Slot<Tokens>
}

type SessionsStep = Step<SessionsStage>

export const sessionsFlow: Flow<SessionsStage> = {
  name: 'sessions',
  summary: 'a sign-in outlives the server, and ends for good where somebody deletes it',
  needs: ['notes'],
  createStage: (world, stopped) => ({
    world,
    stopped,
    shelf: chooseShelf(world),
    browser: createBrowser(world.wire),
    client: createSlot('client'),
    tokens: createSlot('tokens'),
  }),
  listSteps: ({ shelf }) => [
    signInOnce,
    lookUp,
    restart,
    comeAgain,
    remove,
    ...(shelf.isWatched ? [loseAccess] : []),
    askWithoutSession,
  ],
}

const SCOPE = 'openid profile notes:read'

const signInOnce: SessionsStep = {
  title: 'Alice signs in',
  why: 'Her browser gets a cookie, the client its tokens, and the server keeps a session.',
  async run({ world, browser, client, tokens }, { check }) {
    client.set(await discoverServer(world, DEMO_CLIENT))
    const parameters = { scope: SCOPE }
    const { tokens: obtained, asked } = await obtainTokens(
      world,
      client.get(),
      browser,
      'alice',
      parameters,
    )
    check('she is asked for', 'sign-in, consent', asked.join(', '))
    tokens.set(obtained)
  },
}

const lookUp: SessionsStep = {
  title: 'The session lies where an operator can find it',
  why: 'The key is a hash of what the cookie carries: whoever reads it cannot pose as Alice.',
  async run({ shelf, tokens }, { check, fact }) {
    const keys = await shelf.list(tokens.get().claims.sub)
    fact('kept in', shelf.place, '')
    fact('to list them', shelf.listCommand, '')
    for (const key of keys) fact('a session of Alice', conceal('key', key), '')
    check('there is a session', true, keys.length > 0)
  },
}

const restart: SessionsStep = {
  title: 'The authorization server stops, and starts again',
  why: 'As for an update, or after a power failure. It is another process with nothing in memory.',
  async run({ world }, { check, fact }) {
    const readPid = () => world.listProcesses().find(({ name }) => name === AUTH_SERVER)?.pid
    const before = readPid()
    await world.restartAuthServer()
    fact('process', `${before} before, ${readPid()} now`, '')
    check('it is another process', true, readPid() !== before)
  },
}

const comeAgain: SessionsStep = {
  title: 'Alice is still signed in, and what the client holds is still good',
  why:
    'No password: only consent, which a client on loopback needs each time. The refresh token works, ' +
    'and the API, which nobody has restarted, takes the new access token.',
  async run({ world, browser, client, tokens }, { check }) {
    const request = await makeRequest(world, client.get(), { scope: SCOPE })
    const { answer, asked } = await visit(world, browser, request.url, 'alice')
    check('she is asked for', 'consent', asked.join(', '))
    await redeem(client.get(), request, answer)
    const renewed = await refresh(client.get(), tokens.get())
    const { status } = await callApi(world, { token: renewed.access })
    check('status at the API', 200, status)
    tokens.set(renewed)
  },
}

const remove: SessionsStep = {
  title: 'Somebody deletes the session by hand',
  why: 'An operator, say, who was told that Alice has lost her phone.',
  async run({ shelf, tokens }, { check, fact }) {
    const { sub } = tokens.get().claims
    fact('to delete one', shelf.removeCommand, '')
    await shelf.remove(await shelf.list(sub))
    check('her sessions', [], await shelf.list(sub))
  },
}

const PATIENCE_MS = 1000
const BETWEEN_MS = 50

const loseAccess: SessionsStep = {
  title: 'The server hears of it, and refuses the access token within a second',
  why: 'A deleted key is a sign-out. Its sid is in the log of revocations.',
  async run({ client, tokens, stopped }, notes) {
    const late = AbortSignal.any([AbortSignal.timeout(PATIENCE_MS), stopped])
    // The notice from Redis is on its way.
    while (!late.aborted && (await isGoodAtUserinfo(client.get(), tokens.get()))) {
      await wait(BETWEEN_MS, undefined, { signal: stopped })
    }
    await checkUserinfoRefused(client.get(), tokens.get(), notes)
  },
}

const askWithoutSession: SessionsStep = {
  title: 'No token comes from it any more',
  why: 'Nor is anybody signed in: without a page, no sign-in.',
  async run({ world, browser, client, tokens }, notes) {
    await checkRefreshRefused(notes, client.get(), tokens.get(), 'the refresh token')
    const request = await makeRequest(world, client.get(), { scope: SCOPE, prompt: 'none' })
    const { answer } = await visit(world, browser, request.url, 'alice')
    await checkAnswerRefused(notes, client.get(), request, answer, 'login_required')
  },
}
