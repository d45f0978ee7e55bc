import { performance } from 'node:perf_hooks'
import type { Configuration } from 'openid-client'
import { createBrowser, type Browser } from '../browser.ts'
import { callApi, checkRefusal, INVALID_TOKEN } from '../call-api.ts'
import { decodeJwt } from '../claims.ts'
import { conceal } from '../conceal.ts'
import { DEMO_CLIENT } from '../configuration.ts'
import type { Flow, Step, StepNotes } from '../flow.ts'
import { findNotesDoor, noteMoments } from '../moment.ts'
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
import { checkUserinfoRefused } from '../userinfo.ts'

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
  likesRedis: true,
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
    ...(shelf.isWatched ? [removeUnderWatch] : [removeUnseen, revokeByCommand]),
    endAccess,
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
    for (const key of keys) fact('a key of her session', conceal('key', key), '')
    if (keys.length > 1) fact('why more than one', HANDED_OVER, '')
    check('there is a session', true, keys.length > 0)
  },
}

const HANDED_OVER =
  'her cookie gets another value now and then; the key of the old one stays until her browser has come ' +
  'with the new one'

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

/** In Redis: the server is told of each key that goes. */
const removeUnderWatch: SessionsStep = {
  title: 'An operator deletes the session, while the client asks the API all the time',
  why:
    'A deleted key is a sign-out: the server hears of it from Redis, and the API, which has come back to ' +
    'the server by itself, from that. Times are counted from the answer of Redis.',
  async run({ world, shelf, tokens, stopped }, notes) {
    const { access, claims } = tokens.get()
    const keys = await shelf.list(claims.sub)
    for (const key of keys) notes.fact('deleted', conceal('key', key), '')
    notes.fact('to delete one', shelf.removeCommand, '')
    const remove = async () => {
      await shelf.remove(keys)
      return performance.now()
    }
    await noteMoments(notes, [findNotesDoor(world, access)], remove, stopped)
    notes.check('her sessions', [], await shelf.list(claims.sub))
  },
}

/** In SQLite: nobody is told. */
const removeUnseen: SessionsStep = {
  title: 'An operator deletes the session',
  why:
    'SQLite tells nobody what was deleted: the access token is still good. (A Redis does, and the API ' +
    'refuses it within a second.)',
  async run({ world, shelf, tokens }, { check, fact }) {
    const { access, claims } = tokens.get()
    const keys = await shelf.list(claims.sub)
    for (const key of keys) fact('deleted', conceal('key', key), '')
    fact('to delete one', shelf.removeCommand, '')
    await shelf.remove(keys)
    check('her sessions', [], await shelf.list(claims.sub))
    const { status } = await callApi(world, { token: access })
    check('status at the API', 200, status)
    fact('with a Redis', WITH_REDIS, '')
  },
}

const WITH_REDIS =
  'this flow starts one where redis-server is installed, or takes yours: --redis redis://HOST:PORT/0'

const revokeByCommand: SessionsStep = {
  title: 'Without one there is a command, and the API refuses as well',
  why:
    'The command waits for the resource servers, and says which of them know. Times are counted from ' +
    'its end: a time below 0 lies before that.',
  async run({ world, tokens, stopped }, notes) {
    const { access } = tokens.get()
    const sid = String(decodeJwt(access).claims['sid'])
    notes.fact('the command', 'npx portreeve revoke --session SID', '')
    const revoke = async () => {
      noteConfirmations(notes, await world.operate('revoke', '--session', sid))
      return performance.now()
    }
    await noteMoments(notes, [findNotesDoor(world, access)], revoke, stopped)
  },
}

function noteConfirmations(
  { check, fact }: StepNotes,
  { confirmations }: Readonly<Record<string, unknown>>,
): void {
  const { confirmed, expected, lastAfterMs } = confirmations as Readonly<Record<string, number>>
  fact('it says', `${confirmed} of ${expected} know, the last after ${lastAfterMs} ms`, '')
  check('there is a resource server that follows', true, (expected ?? 0) > 0)
  check('resource servers that know', expected, confirmed)
}

const endAccess: SessionsStep = {
  title: 'The access token is good for nothing',
  why: 'Neither at the API nor at the server. It had minutes to live, and its signature still holds.',
  async run({ world, client, tokens }, notes) {
    checkRefusal(notes, await callApi(world, { token: tokens.get().access }), INVALID_TOKEN)
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
