import { fetchUserInfo } from 'openid-client'
import { hasForm, readAll } from '../../browser.ts'
import { DEMO_CLIENT } from '../../configuration.ts'
import type { Step } from '../../flow.ts'
import { discoverServer, redeem } from '../../oauth.ts'
import { passwordOf, signIn } from '../../people.ts'
import { ask, receiveAnswerOf, SCOPES } from './authorize.ts'
import { LEFT_OUT, noteConsent } from './consent-page.ts'
import type { CodeStage } from './stage.ts'

type CodeStep = Step<CodeStage>

const TIES =
  'PKCE ties the code to this client, state ties the answer to this browser, nonce ties the ID ' +
  'token to this request.'

export const discover: CodeStep = {
  title: 'The client discovers the authorization server',
  why:
    'A client is configured with one URL, beside its own id and the URI that people come back to; ' +
    'the rest the server says itself.',
  async run({ world, client }, { check }) {
    const config = await discoverServer(world, DEMO_CLIENT)
    const server = config.serverMetadata()
    check('issuer', world.issuer, server.issuer)
    check('response types', ['code'], server.response_types_supported)
    check('PKCE methods', ['S256'], server.code_challenge_methods_supported)
    client.set(config)
  },
}

export const request: CodeStep = {
  title: 'It sends Alice’s browser there, with an authorization request',
  why: `The client never sees her password. ${TIES}`,
  async run(stage, { check }) {
    const made = await ask(stage)
    const page = await stage.browsers.alice.get(made.url.href)
    check('status', 200, page.status)
    check('the page asks to sign in', true, hasForm(page, '/sign-in'))
    stage.request.set(made)
    stage.page.set(page)
  },
}

export const signInAlice: CodeStep = {
  title: 'Alice signs in',
  why: 'The real form, with its hidden fields and cookies. What follows is the question of consent.',
  async run(stage, notes) {
    const { check } = notes
    const page = await signIn(stage.world, stage.browsers.alice, stage.page.get(), 'alice')
    check('status', 200, page.status)
    check('the page asks for consent', true, hasForm(page, '/consent'))
    noteConsent(page, notes)
    check('nothing is left out', true, readAll(page, LEFT_OUT).length === 0)
    stage.page.set(page)
  },
}

export const consent: CodeStep = {
  title: 'Alice agrees, and her browser brings a code back to the client',
  why: 'A code is worth nothing without the verifier, which has not left the client yet.',
  async run(stage, { check }) {
    await stage.browsers.alice.submit(stage.page.get(), '/consent')
    await takeAnswer(stage, check)
  },
}

/** The three steps above, in a window of the person's own. */
export const signInYourself: CodeStep = {
  title: 'You sign in as Alice and agree, in your own browser',
  why: `The client never sees the password. ${TIES}`,
  async run(stage, { check }) {
    const made = await ask(stage)
    stage.request.set(made)
    const password = passwordOf(stage.world, 'alice')
    await stage.openBrowser?.(
      made.url.href,
      `Sign in as alice with the password ${password}, and agree.`,
    )
    await takeAnswer(stage, check)
  },
}

async function takeAnswer(
  stage: CodeStage,
  check: (what: string, expected: unknown, actual: unknown) => void,
): Promise<void> {
  const answer = await receiveAnswerOf(stage)
  check('it is an answer with', 'code, state, iss', [...answer.searchParams.keys()].join(', '))
  check('state', stage.request.get().state, answer.searchParams.get('state'))
  check('iss', stage.world.issuer, answer.searchParams.get('iss'))
  stage.answer.set(answer)
}

export const exchange: CodeStep = {
  title: 'The client changes the code, with the verifier, for tokens',
  why:
    'This goes from the client to the server directly. The ID token is checked with the server’s ' +
    'keys: signature, issuer, audience, nonce.',
  async run(stage, { check }) {
    const tokens = await redeem(stage.client.get(), stage.request.get(), stage.answer.get())
    check('granted scope', SCOPES, tokens.scope)
    check('there is a refresh token', true, tokens.refresh !== '')
    stage.tokens.alice.set(tokens)
  },
}

export const readProfile: CodeStep = {
  title: 'The client asks who she is',
  why: 'The same access token is good at userinfo: it was asked for with “openid”.',
  async run({ client, tokens }, { check }) {
    const { access, claims } = tokens.alice.get()
    const profile = await fetchUserInfo(client.get(), access, claims.sub)
    check('sub is that of the ID token', claims.sub, profile.sub)
    check('name', 'Alice Adams', profile.name)
    check('email', 'alice@example.com', profile.email)
  },
}
