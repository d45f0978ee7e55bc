import {
  clientCredentialsGrant,
  ClientSecretBasic,
  genericGrantRequest,
  tokenRevocation,
  type Configuration,
  type TokenEndpointResponse,
} from 'openid-client'
import { createBrowser, type Browser } from '../browser.ts'
import { callApi, checkRefusal, INSUFFICIENT_SCOPE, INVALID_TOKEN } from '../call-api.ts'
import { decodeJwt, explainMembers } from '../claims.ts'
import {
  ASSISTANT,
  ASSISTANT_CLIENT,
  BILLING,
  DEMO_CLIENT,
  NOTES,
  ROBOT_CLIENT,
} from '../configuration.ts'
import type { Flow, Step } from '../flow.ts'
import { checkTokenRefused, createNeighbour, discoverServer, type Tokens } from '../oauth.ts'
import { obtainTokens } from '../people.ts'
import { createSlot, type Slot } from '../slot.ts'
import type { World } from '../world.ts'

interface ExchangeStage {
  readonly world: World
  readonly browser: Browser
  /** What Alice uses. */
  readonly client: Slot<Configuration>
  /** What it calls: an API that is a client itself. */
  readonly assistant: Slot<Configuration>
  /** Of Alice, for the assistant. */
  readonly tokens: Slot<Tokens>
  /** Of the assistant itself. */
  readonly own: Slot<string>
  readonly note: Slot<string>
}

type ExchangeStep = Step<ExchangeStage>

/** @see {@link https://www.rfc-editor.org/rfc/rfc8693.html RFC 8693} */
export const exchangeFlow: Flow<ExchangeStage> = {
  name: 'exchange',
  summary: 'an API calls another one for a person, and gets a token for that in place of theirs',
  needs: ['notes'],
  createStage: (world) => ({
    world,
    browser: createBrowser(world.wire),
    client: createSlot('client'),
    assistant: createSlot('assistant'),
    tokens: createSlot('tokens'),
    own: createSlot('token of the assistant'),
    note: createSlot('note'),
  }),
  listSteps: () => [
    writeNote,
    obtainForAssistant,
    passOn,
    authenticate,
    delegate,
    impersonate,
    grow,
    goElsewhere,
    exchangeAsAnother,
    exchangeService,
    revoke,
  ],
}

const SCOPE = 'openid notes:read'
const GRANT = 'urn:ietf:params:oauth:grant-type:token-exchange'
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'

const writeNote: ExchangeStep = {
  title: 'Alice signs in, and writes a note',
  why: 'So that there is one to be read.',
  async run({ world, browser, client, note }, { check }) {
    client.set(await discoverServer(world, DEMO_CLIENT))
    const parameters = { scope: 'openid notes:write', resource: NOTES }
    const { tokens } = await obtainTokens(world, client.get(), browser, 'alice', parameters)
    const body = { text: 'Ask the assistant what is on today' }
    const made = await callApi(world, { method: 'POST', token: tokens.access, body })
    check('status', 201, made.status)
    note.set(made.body.id ?? '')
  },
}

const obtainForAssistant: ExchangeStep = {
  title: 'Her client gets a token for the assistant',
  why: 'The assistant is an API that reads her notes for her. The token is for it, and for nobody else.',
  async run({ world, browser, client, tokens }, { check }) {
    const parameters = { scope: SCOPE, resource: ASSISTANT }
    const obtained = await obtainTokens(world, client.get(), browser, 'alice', parameters)
    check('aud', ASSISTANT, decodeJwt(obtained.tokens.access).claims['aud'])
    tokens.set(obtained.tokens)
  },
}

const passOn: ExchangeStep = {
  title: 'The assistant cannot just pass it on',
  why:
    'It would be easy, and then whoever gets a token could pose as Alice wherever they like. The notes ' +
    'API takes only what is for the notes API.',
  async run({ world, tokens }, notes) {
    checkRefusal(notes, await callApi(world, { token: tokens.get().access }), INVALID_TOKEN)
  },
}

const authenticate: ExchangeStep = {
  title: 'The assistant is a client itself, and gets a token of its own',
  why: 'It says who the assistant is, and opens nothing. No person stands in it.',
  async run({ world, client, assistant, own }, { check }) {
    const secret = ClientSecretBasic(world.secrets.ASSISTANT_SECRET)
    assistant.set(createNeighbour(world, client.get(), ASSISTANT_CLIENT, secret))
    const parameters = { scope: 'notes:read', resource: ASSISTANT }
    const { access_token: token } = await clientCredentialsGrant(assistant.get(), parameters)
    const { sub, aud } = decodeJwt(token).claims
    check('sub', ASSISTANT_CLIENT, sub)
    check('aud', ASSISTANT, aud)
    own.set(token)
  },
}

function exchange(
  client: Configuration,
  subjectToken: string,
  more: Readonly<Record<string, string>> = {},
): Promise<TokenEndpointResponse> {
  return genericGrantRequest(client, GRANT, {
    subject_token: subjectToken,
    subject_token_type: ACCESS_TOKEN,
    resource: NOTES,
    ...more,
  })
}

const delegate: ExchangeStep = {
  title: 'It shows both, and gets a token that says: Alice, by the assistant',
  why:
    'The claim “act” names who acts for her, and her sub is what it was. The notes API serves what is ' +
    'hers, and can tell who asked. The new token ends no later than the old one.',
  async run({ world, assistant, tokens, own, note }, { check, fact }) {
    const subject = tokens.get().access
    const actor = { actor_token: own.get(), actor_token_type: ACCESS_TOKEN }
    const { access_token: token } = await exchange(assistant.get(), subject, actor)
    const before = decodeJwt(subject).claims
    const { claims } = decodeJwt(token)
    for (const { name, value, meaning } of explainMembers(claims)) fact(name, value, meaning)
    check('sub', before['sub'], claims['sub'])
    check('act', { sub: ASSISTANT_CLIENT }, claims['act'])
    check('aud', NOTES, claims['aud'])
    check('it ends no later', true, Number(claims['exp']) <= Number(before['exp']))
    const { status, body } = await callApi(world, { token })
    check('status at the notes API', 200, status)
    check('the newest note is hers', note.get(), body.notes?.[0]?.id)
  },
}

const impersonate: ExchangeStep = {
  title: 'Or it shows hers alone, and the new token does not say who acts',
  why:
    'This is impersonation. A rule of the server allows it to this client, as it allows the other; ' +
    'either can be left out.',
  async run({ world, assistant, tokens }, { check }) {
    const { access_token: token } = await exchange(assistant.get(), tokens.get().access)
    const { claims } = decodeJwt(token)
    check('sub', tokens.get().claims.sub, claims['sub'])
    check('act', false, 'act' in claims)
    const { status } = await callApi(world, { token })
    check('status at the notes API', 200, status)
  },
}

const grow: ExchangeStep = {
  title: 'The scope never grows',
  why:
    'The assistant may write where it is asked to, and so may Alice. But what she has let her client ' +
    'have is reading, and more does not come out of it.',
  async run({ world, assistant, tokens }, notes) {
    const subject = tokens.get().access
    const asked = exchange(assistant.get(), subject, { scope: 'notes:write' })
    await checkTokenRefused(notes, asked, { status: 400, error: 'invalid_scope' }, 'writing')
    const both = await exchange(assistant.get(), subject, { scope: 'notes:read notes:write' })
    notes.check('of both it gets', 'notes:read', both.scope)
    const body = { text: 'Alice is out' }
    const call = { method: 'POST', token: both.access_token, body } as const
    checkRefusal(notes, await callApi(world, call), INSUFFICIENT_SCOPE, 'at the notes API: ')
  },
}

const goElsewhere: ExchangeStep = {
  title: 'No rule, no token',
  why: 'Billing knows Alice as well, but nobody has said that the assistant may go there for her.',
  async run({ assistant, tokens }, notes) {
    const targets = [
      ['billing', BILLING],
      ['an unknown API', 'https://unknown.example/'],
    ] as const
    for (const [what, resource] of targets) {
      const asked = exchange(assistant.get(), tokens.get().access, { resource })
      await checkTokenRefused(notes, asked, { status: 400, error: 'invalid_target' }, what)
    }
  },
}

const INVALID_REQUEST = { status: 400, error: 'invalid_request' }

const exchangeAsAnother: ExchangeStep = {
  title: 'Another service that has got hold of Alice’s token gets nothing for it',
  why: 'It has a secret of its own and is good at what it does, but is not there for exchanges.',
  async run({ world, client, tokens }, notes) {
    const secret = ClientSecretBasic(world.secrets.ROBOT_SECRET)
    const robot = createNeighbour(world, client.get(), ROBOT_CLIENT, secret)
    const asked = exchange(robot, tokens.get().access)
    await checkTokenRefused(notes, asked, INVALID_REQUEST, 'the other service')
  },
}

const exchangeService: ExchangeStep = {
  title: 'The assistant cannot turn itself into a person',
  why: 'The rule is for tokens about people. Its own is about a service, which has no notes.',
  async run({ assistant, own }, notes) {
    const asked = exchange(assistant.get(), own.get())
    await checkTokenRefused(notes, asked, INVALID_REQUEST, 'its own token')
  },
}

const revoke: ExchangeStep = {
  title: 'What is over cannot be exchanged',
  why: 'Her client has revoked the token. The assistant still has it, and gets nothing for it any more.',
  async run({ client, assistant, tokens }, notes) {
    await tokenRevocation(client.get(), tokens.get().access)
    const asked = exchange(assistant.get(), tokens.get().access)
    await checkTokenRefused(notes, asked, INVALID_REQUEST, 'the revoked token')
  },
}
