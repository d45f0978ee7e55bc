import { decodeJwt, UnsecuredJWT, type JWTPayload } from 'jose'
import {
  allowInsecureRequests,
  customFetch,
  dynamicClientRegistration,
  enableNonRepudiationChecks,
  type ClientMetadata,
  type Configuration,
} from 'openid-client'
import { createBrowser, type Browser } from '../browser.ts'
import { callApi, checkRefusal, INSUFFICIENT_SCOPE } from '../call-api.ts'
import { NOTES } from '../configuration.ts'
import type { Flow, Step, StepNotes } from '../flow.ts'
import { checkTokenRefused, makeRequest, redeem, refresh, type Tokens } from '../oauth.ts'
import { visit } from '../people.ts'
import { call, JSON_TYPE, readMembers, type PlainAnswer } from '../plain-call.ts'
import { createPublisher } from '../publisher.ts'
import { createSlot, type Slot } from '../slot.ts'
import type { World } from '../world.ts'

interface DcrStage {
  readonly world: World
  readonly browser: Browser
  /** What the app was invited with. */
  readonly invite: Slot<string>
  readonly client: Slot<Configuration>
  readonly tokens: Slot<Tokens>
  /** What a published app comes with. */
  readonly vouched: Slot<{ readonly token: string; readonly statement: string }>
}

type DcrStep = Step<DcrStage>

/** @see {@link https://www.rfc-editor.org/rfc/rfc7591.html RFC 7591} */
export const dcrFlow: Flow<DcrStage> = {
  name: 'dcr',
  summary: 'an app that nobody has set up registers itself, and manages what it has registered',
  needs: ['notes'],
  createStage: (world) => ({
    world,
    browser: createBrowser(world.wire),
    invite: createSlot('invite'),
    client: createSlot('client'),
    tokens: createSlot('tokens'),
    vouched: createSlot('vouched'),
  }),
  listSteps: () => [
    comeUninvited,
    inviteApp,
    askForTooMuch,
    registerApp,
    useInviteAgain,
    signIn,
    comeAgain,
    readItself,
    meddle,
    changeItself,
    removeItself,
    forgeStatement,
    showStatement,
  ],
}

const SCOPE = 'openid profile notes:read'
/** Nobody has said which API is meant where it does not. */
const REQUEST = { scope: SCOPE, resource: NOTES }
const NAME = 'Notes of a newcomer'

/** At the registration endpoint, or at a client's own address. */
async function send(
  world: World,
  url: string,
  method: 'GET' | 'POST' | 'PUT' | 'DELETE',
  token: string | undefined,
  document?: Readonly<Record<string, unknown>>,
): Promise<PlainAnswer> {
  return call(world, url, {
    method,
    headers: {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(document === undefined ? {} : JSON_TYPE),
    },
    ...(document === undefined ? {} : { body: JSON.stringify(document) }),
  })
}

function describeApp({ callback }: World): Record<string, unknown> {
  return {
    client_name: NAME,
    redirect_uris: [callback.redirectUri],
    grant_types: ['authorization_code', 'refresh_token'],
    token_endpoint_auth_method: 'client_secret_post',
    scope: `${SCOPE} notes:write`,
  }
}

function checkRefused(
  { check }: StepNotes,
  { status, text }: PlainAnswer,
  expected: readonly [number, string],
  what: string,
): void {
  const { error } = JSON.parse(text) as { readonly error?: string }
  check(what, expected.join(' '), `${status} ${error}`)
}

const endpointOf = ({ issuer }: World) => `${issuer}/register`
const UNINVITED = [401, 'invalid_token'] as const

const comeUninvited: DcrStep = {
  title: 'An app comes that nobody has invited, and is sent away',
  why: 'Who may register is for the operator to say: invited apps here, any app where that is wanted.',
  async run({ world }, notes) {
    const url = `${world.issuer}/.well-known/oauth-authorization-server`
    world.wire.lookFor(['issuer', 'registration_endpoint'])
    const metadata = readMembers(await call(world, url))
    notes.check('registration_endpoint', endpointOf(world), metadata['registration_endpoint'])
    const answer = await send(world, endpointOf(world), 'POST', undefined, describeApp(world))
    checkRefused(notes, answer, UNINVITED, 'without an invite')
  },
}

async function makeInvite({ operate, wire }: World, label: string) {
  const made = await operate('clients', 'invite', '--for', label, '--expires', '1h')
  const token = String(made['token'])
  wire.keepSecret(token)
  return { token, invite: made['invite'] as Readonly<Record<string, number | string>> }
}

const inviteApp: DcrStep = {
  title: 'The operator invites it',
  why: 'One command: npx portreeve clients invite --for NAME --expires 1h. The token is for one app, and ends in an hour.',
  async run({ world, invite }, { fact, check }) {
    const made = await makeInvite(world, 'The newcomer')
    check('apps that may register with it', 1, made.invite['usesLeft'])
    fact('expires', made.invite['expiresAt'] ?? '', '')
    invite.set(made.token)
  },
}

const askForTooMuch: DcrStep = {
  title: 'What is not for strangers it does not get, invited or not',
  why:
    'Tokens without a person, addresses that a browser would run, and the name of another app. A ' +
    'refusal costs no use of the invite.',
  async run({ world, invite }, notes) {
    const refused = [
      [
        'tokens without a person',
        { grant_types: ['client_credentials'] },
        'invalid_client_metadata',
      ],
      [
        'a script as a redirect',
        { redirect_uris: ['javascript:alert(1)'] },
        'invalid_redirect_uri',
      ],
      ['the name of another app', { client_name: 'THE NOTES-ARCHIVE' }, 'invalid_client_metadata'],
    ] as const
    for (const [what, change, error] of refused) {
      const document = { ...describeApp(world), ...change }
      const answer = await send(world, endpointOf(world), 'POST', invite.get(), document)
      checkRefused(notes, answer, [400, error], what)
    }
  },
}

const registerApp: DcrStep = {
  title: 'It registers, and is a client from then on',
  why:
    'It learns its id, its secret, and with which token it manages itself; the secret is shown this ' +
    'once. It may do less than it has asked for.',
  async run({ world, invite, client }, { check, fact }) {
    const metadata = describeApp(world) as Partial<ClientMetadata>
    const config = await dynamicClientRegistration(new URL(world.issuer), metadata, undefined, {
      initialAccessToken: invite.get(),
      [customFetch]: (url, options) => world.wire.fetch(url, options),
      execute: [allowInsecureRequests],
    })
    config[customFetch] = (url, options) => world.wire.fetch(url, options)
    enableNonRepudiationChecks(config)
    const registered = config.clientMetadata()
    const { client_secret: secret = '' } = registered
    for (const text of [secret, managementOf(config).token]) world.wire.keepSecret(text)
    fact('client_id', registered.client_id, 'made by the server')
    check('scope', SCOPE, registered['scope'])
    check('there is a secret', true, secret.length > 40)
    client.set(config)
  },
}

function managementOf(client: Configuration): { readonly url: string; readonly token: string } {
  const { registration_client_uri: url, registration_access_token: token } = client.clientMetadata()
  if (typeof url !== 'string' || typeof token !== 'string') {
    throw new TypeError('the answer says nothing of how the client is managed')
  }
  return { url, token }
}

const useInviteAgain: DcrStep = {
  title: 'The invite is used up',
  why: 'Whoever finds it later has nothing.',
  async run({ world, invite }, notes) {
    const answer = await send(world, endpointOf(world), 'POST', invite.get(), describeApp(world))
    checkRefused(notes, answer, UNINVITED, 'a second app')
  },
}

const signIn: DcrStep = {
  title: 'Alice is asked, and told that nobody has checked this app',
  why: 'Its name is its own word. Where it returns to is what she can go by.',
  async run({ world, browser, client, tokens }, notes) {
    const request = await makeRequest(world, client.get(), REQUEST)
    const { answer, asked, consent } = await visit(world, browser, request.url, 'alice')
    notes.check('what she is asked', ['sign-in', 'consent'], asked)
    notes.check('the page says so', true, consent?.text.includes('registered itself'))
    const got = await redeem(client.get(), request, answer)
    const read = await callApi(world, { token: got.access })
    notes.check('reading: status', 200, read.status)
    const body = { text: 'Nobody has asked me' }
    const written = await callApi(world, { method: 'POST', token: got.access, body })
    checkRefusal(notes, written, INSUFFICIENT_SCOPE, 'writing: ')
    tokens.set(got)
  },
}

const comeAgain: DcrStep = {
  title: 'The next time she is asked again',
  why: 'The app may have become another since: it can change its name and its addresses by itself.',
  async run({ world, browser, client }, { check }) {
    const request = await makeRequest(world, client.get(), REQUEST)
    const { asked } = await visit(world, browser, request.url, 'alice')
    check('what she is asked', ['consent'], asked)
  },
}

const readItself: DcrStep = {
  title: 'The app reads what is registered of it',
  why: 'All but its secret, of which the server keeps nothing but a hash.',
  async run({ world, client }, { check }) {
    const { url, token } = managementOf(client.get())
    const answer = await send(world, url, 'GET', token)
    const members = readMembers(answer)
    check('status', 200, answer.status)
    check('client_name', NAME, members['client_name'])
    check('secret', false, 'client_secret' in members)
  },
}

const meddle: DcrStep = {
  title: 'Nobody else manages it',
  why: 'Neither with the invite nor with a guess. Whether there is such a client they do not learn.',
  async run({ world, client, invite }, notes) {
    const { url, token } = managementOf(client.get())
    const tried = [
      ['with the invite', url, invite.get()],
      ['with a guess', url, 'a-guess'],
      ['another client', `${endpointOf(world)}/notes-archive`, token],
      ['a client that is not there', `${endpointOf(world)}/nobody`, token],
    ] as const
    for (const [what, target, used] of tried) {
      world.wire.announce(what)
      checkRefused(notes, await send(world, target, 'DELETE', used), UNINVITED, what)
    }
  },
}

const changeItself: DcrStep = {
  title: 'It changes its name, and cannot take that of another app',
  why: 'What holds for a registration holds for each change of it.',
  async run({ world, client }, notes) {
    const { url, token } = managementOf(client.get())
    const { client_id } = client.get().clientMetadata()
    const change = (client_name: string) =>
      send(world, url, 'PUT', token, { ...describeApp(world), client_id, client_name })
    const changed = readMembers(await change('Notes of a settler'))
    notes.check('client_name', 'Notes of a settler', changed['client_name'])
    const refused = await change('The help desk')
    checkRefused(notes, refused, [400, 'invalid_client_metadata'], 'The help desk')
  },
}

const removeItself: DcrStep = {
  title: 'It removes itself, and what it was given ends',
  why: 'An app that is uninstalled leaves nothing behind that anybody could use.',
  async run({ world, client, tokens }, notes) {
    const { url, token } = managementOf(client.get())
    notes.check('status', 204, (await send(world, url, 'DELETE', token)).status)
    checkRefused(notes, await send(world, url, 'GET', token), UNINVITED, 'afterwards')
    const refused = { status: 401, error: 'invalid_client' }
    await checkTokenRefused(notes, refresh(client.get(), tokens.get()), refused, 'refreshing')
  },
}

/** What the publisher says of its app: where it receives people, and that it writes. */
/** Where nobody else receives: on loopback, whatever runs on the person's machine may. */
const PUBLISHED_URI = 'https://published.example/callback'

function describePublished(): JWTPayload {
  return {
    software_id: 'published-notes',
    client_name: 'Published Notes',
    redirect_uris: [PUBLISHED_URI],
    scope: `${SCOPE} notes:write`,
  }
}

const forgeStatement: DcrStep = {
  title: 'An app cannot vouch for itself',
  why:
    'A software statement is what somebody else has signed about an app. One of another publisher, one ' +
    'that was altered, and one that is none are refused, the invited included.',
  async run({ world, vouched }, notes) {
    const { token } = await makeInvite(world, 'The published app')
    const published = describePublished()
    const good = await world.publisher.state(published)
    const [header, , signature] = good.split('.')
    const forged = { ...decodeJwt(good), client_name: 'The bank' }
    const altered = Buffer.from(JSON.stringify(forged)).toString('base64url')
    const stranger = await createPublisher()
    const refused = [
      ['by a key of its own', await stranger.state(published), 'invalid_software_statement'],
      ['that was altered', `${header}.${altered}.${signature}`, 'invalid_software_statement'],
      [
        'of nobody whose word counts',
        new UnsecuredJWT({ ...published, iss: 'https://anybody.example' }).encode(),
        'unapproved_software_statement',
      ],
    ] as const
    for (const [what, software_statement, error] of refused) {
      world.wire.announce(`a statement ${what}`)
      const document = { ...describeApp(world), software_statement }
      const answer = await send(world, endpointOf(world), 'POST', token, document)
      checkRefused(notes, answer, [400, error], what)
    }
    vouched.set({ token, statement: good })
  },
}

const showStatement: DcrStep = {
  title: 'What its publisher has signed goes before what it says itself',
  why:
    'The name and the addresses are the publisher’s, whatever the app sends. It may write, which the ' +
    'operator gives to apps of this publisher alone: tokens go to the addresses that were signed.',
  async run({ world, vouched }, { check }) {
    const { token, statement } = vouched.get()
    const document = {
      ...describeApp(world),
      client_name: 'The help desk',
      redirect_uris: ['https://elsewhere.example/callback'],
      software_statement: statement,
    }
    const answer = await send(world, endpointOf(world), 'POST', token, document)
    check('status', 201, answer.status)
    const members = readMembers(answer)
    for (const secret of ['client_secret', 'registration_access_token']) {
      world.wire.keepSecret(String(members[secret]))
    }
    check('client_name', 'Published Notes', members['client_name'])
    check('redirect_uris', [PUBLISHED_URI], members['redirect_uris'])
    check('scope', `${SCOPE} notes:write`, members['scope'])
    check('the statement comes back as it was', true, members['software_statement'] === statement)
  },
}
