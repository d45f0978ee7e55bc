import { performance } from 'node:perf_hooks'
import { setTimeout as wait } from 'node:timers/promises'
import type { Configuration } from 'openid-client'
import { createBrowser, readAll, type Browser } from '../browser.ts'
import { callApi, checkRefusal, readParameter, type ApiAnswer, type Note } from '../call-api.ts'
import { decodeJwt, explainMembers } from '../claims.ts'
import { DEMO_CLIENT, FRESH_SECONDS } from '../configuration.ts'
import type { Flow, Step } from '../flow.ts'
import {
  checkAnswerRefused,
  discoverServer,
  makeRequest,
  redeem,
  refresh,
  type Tokens,
} from '../oauth.ts'
import { obtainTokens, visit } from '../people.ts'
import { createSlot, type Slot } from '../slot.ts'
import type { World } from '../world.ts'

interface StepUpStage {
  readonly world: World
  readonly stopped: AbortSignal
  readonly browser: Browser
  readonly client: Slot<Configuration>
  readonly tokens: Slot<Tokens>
  /** By the clock of this process, in milliseconds. */
  readonly signedInAt: Slot<number>
  /** What the API wants the client to ask for. */
  readonly wanted: Slot<Readonly<Record<string, string>>>
}

type StepUpStep = Step<StepUpStage>

/** @see {@link https://www.rfc-editor.org/rfc/rfc9470.html RFC 9470} */
export const stepUpFlow: Flow<StepUpStage> = {
  name: 'step-up',
  summary: 'an API asks for a fresh sign-in before something grave, and the client sees to it',
  needs: ['notes'],
  createStage: (world, stopped) => ({
    world,
    stopped,
    browser: createBrowser(world.wire),
    client: createSlot('client'),
    tokens: createSlot('tokens'),
    signedInAt: createSlot('time of the sign-in'),
    wanted: createSlot('challenge'),
  }),
  listSteps: () => [
    signInHere,
    write,
    deleteAll,
    tryRefresh,
    trySession,
    tryWithoutPage,
    askForMore,
    stepUp,
    tryOldToken,
  ],
}

const SCOPE = 'openid profile notes:read notes:write'

const signInHere: StepUpStep = {
  title: 'Alice signs in, and the client gets a token that says when and how',
  why: 'Whoever gets the token can decide by it what this sign-in is good for.',
  async run({ world, browser, client, tokens, signedInAt }, { check, fact }) {
    client.set(await discoverServer(world, DEMO_CLIENT))
    const parameters = { scope: SCOPE }
    const obtained = await obtainTokens(world, client.get(), browser, 'alice', parameters)
    signedInAt.set(performance.now())
    const { auth_time, acr } = decodeJwt(obtained.tokens.access).claims
    for (const { name, value, meaning } of explainMembers({ auth_time, acr })) {
      fact(name, value, meaning)
    }
    check('acr', 'urn:portreeve:acr:password', acr)
    check('it says when she signed in', true, typeof auth_time === 'number')
    tokens.set(obtained.tokens)
  },
}

const write: StepUpStep = {
  title: 'Most of what she does needs no more than that',
  why: 'Her sign-in may be hours old by now, for all that this API cares.',
  async run({ world, tokens }, { check }) {
    const body = { text: 'Where the spare key is' }
    const { status } = await callApi(world, { method: 'POST', token: tokens.get().access, body })
    check('status', 201, status)
  },
}

const deleteAll: StepUpStep = {
  title: 'Then she wants to delete all of her notes, and the API refuses',
  why:
    `That cannot be undone, so it takes a sign-in of the last ${FRESH_SECONDS} seconds (five minutes, ` +
    'where nobody waits for a demonstration). Somebody may have found her browser open. The challenge ' +
    'says what it would take.',
  async run({ world, stopped, tokens, signedInAt, wanted }, notes) {
    const { check, fact } = notes
    // Servers count whole seconds: only then is it too long ago for all of them.
    const age = performance.now() - signedInAt.get()
    await wait((FRESH_SECONDS + 1) * 1000 - age, undefined, { signal: stopped })
    const answer = await callDelete(world, tokens.get())
    checkRefusal(notes, answer, STALE)
    const parameters = readWanted(answer)
    for (const [name, value] of Object.entries(parameters)) fact(name, value, MEANINGS[name] ?? '')
    check('max_age', String(FRESH_SECONDS), parameters['max_age'])
    check('acr_values', 'urn:portreeve:acr:password', parameters['acr_values'])
    check('her note is still there', true, (await listNotes(world, tokens.get())).length > 0)
    wanted.set(parameters)
  },
}

const STALE = { status: 401, error: 'insufficient_user_authentication' }
const MEANINGS: Readonly<Record<string, string>> = {
  max_age: 'how many seconds ago she may have signed in',
  acr_values: 'and in which way',
}

function callDelete(world: World, { access: token }: Tokens): Promise<ApiAnswer> {
  return callApi(world, { method: 'DELETE', token })
}

/** @see {@link https://www.rfc-editor.org/rfc/rfc9470.html#section-3 RFC 9470 §3} */
function readWanted({ challenge }: ApiAnswer): Readonly<Record<string, string>> {
  return Object.fromEntries(
    ['max_age', 'acr_values'].flatMap((name) => {
      const value = readParameter(challenge, name)
      return value === undefined ? [] : [[name, value]]
    }),
  )
}

async function listNotes(world: World, { access: token }: Tokens): Promise<readonly Note[]> {
  const { body } = await callApi(world, { token })
  return body.notes ?? []
}

const tryRefresh: StepUpStep = {
  title: 'A new token is no new sign-in',
  why: 'The client refreshes by itself. The new token is of the old sign-in, and says so.',
  async run({ world, client, tokens }, notes) {
    const renewed = await refresh(client.get(), tokens.get())
    const [before, after] = [tokens.get(), renewed].map(readSignIn)
    notes.check('auth_time is the same', before, after)
    checkRefusal(notes, await callDelete(world, renewed), STALE)
    tokens.set(renewed)
  },
}

function readSignIn({ access }: Tokens): number {
  return Number(decodeJwt(access).claims['auth_time'])
}

const trySession: StepUpStep = {
  title: 'Nor is a visit to the server without saying what for',
  why:
    'Alice is still signed in there, so she is not asked for her password. The client gets another ' +
    'token of the same sign-in.',
  async run({ world, browser, client }, notes) {
    const parameters = { scope: SCOPE }
    const obtained = await obtainTokens(world, client.get(), browser, 'alice', parameters)
    notes.check('she is asked for', 'consent', obtained.asked.join(', '))
    checkRefusal(notes, await callDelete(world, obtained.tokens), STALE)
  },
}

const tryWithoutPage: StepUpStep = {
  title: 'Without Alice it cannot be had',
  why: 'The client says what it needs, and that no page may be shown. The server will not have that.',
  async run({ world, browser, client, wanted }, notes) {
    const parameters = { scope: SCOPE, ...wanted.get(), prompt: 'none' }
    const request = await makeRequest(world, client.get(), parameters)
    const { answer } = await visit(world, browser, request.url, 'alice')
    await checkAnswerRefused(notes, client.get(), request, answer, 'login_required')
  },
}

const askForMore: StepUpStep = {
  title: 'What this server cannot do, it does not promise',
  why: 'A level with a second factor, say. It says so before anybody types a password in vain.',
  async run({ world, browser, client }, notes) {
    const parameters = { scope: SCOPE, acr_values: 'urn:example:acr:two-factors' }
    const request = await makeRequest(world, client.get(), parameters)
    const { answer, asked } = await visit(world, browser, request.url, 'alice')
    notes.check('what she is asked', [], asked)
    const error = 'unmet_authentication_requirements'
    await checkAnswerRefused(notes, client.get(), request, answer, error)
  },
}

const stepUp: StepUpStep = {
  title: 'The client hands on what the API wants, and Alice signs in once more',
  why:
    'It read the challenge, and needs to know nothing else about this API. The page tells her why ' +
    'she is asked again. Now her notes are gone.',
  async run({ world, browser, client, tokens, wanted }, { check, fact }) {
    const request = await makeRequest(world, client.get(), { scope: SCOPE, ...wanted.get() })
    const { answer, asked, signIn } = await visit(world, browser, request.url, 'alice')
    fact('the page says', (signIn ? readAll(signIn, '.intro') : []).join(' '), '')
    check('she is asked for', 'sign-in, consent', asked.join(', '))
    const fresh = await redeem(client.get(), request, answer)
    check('auth_time is a later one', true, readSignIn(fresh) > readSignIn(tokens.get()))
    const { status } = await callDelete(world, fresh)
    check('deleting: status', 204, status)
    check('her notes', [], await listNotes(world, fresh))
  },
}

const tryOldToken: StepUpStep = {
  title: 'The old token is what it was',
  why: 'It was she, and it was a moment ago: but this token does not say so.',
  async run({ world, tokens }, notes) {
    checkRefusal(notes, await callDelete(world, tokens.get()), STALE)
  },
}
