import { clientCredentialsGrant, ClientSecretBasic, type Configuration } from 'openid-client'
import { callApi, checkNoWriting, checkRefusal, INVALID_TOKEN } from '../call-api.ts'
import { decodeJwt, explainMembers } from '../claims.ts'
import { BILLING, ROBOT_CLIENT } from '../configuration.ts'
import type { Flow, Step } from '../flow.ts'
import { checkTokenRefused, discoverServer } from '../oauth.ts'
import { createSlot, type Slot } from '../slot.ts'
import type { World } from '../world.ts'

interface ServiceStage {
  readonly world: World
  readonly client: Slot<Configuration>
  readonly token: Slot<string>
}

type ServiceStep = Step<ServiceStage>

/** @see {@link https://www.rfc-editor.org/rfc/rfc6749.html#section-4.4 RFC 6749 §4.4} */
export const serviceFlow: Flow<ServiceStage> = {
  name: 'service',
  summary: 'a service gets a token with a secret of its own, and no person is there',
  needs: ['notes'],
  createStage: (world) => ({
    world,
    client: createSlot('client'),
    token: createSlot('token of the service'),
  }),
  listSteps: () => [discover, obtain, read, list, write, beOverheard, askForMore, forgetSecret],
}

const discover: ServiceStep = {
  title: 'The service discovers the authorization server',
  why: 'It is configured with the server’s URL, its own id and its secret.',
  async run({ world, client }, { check }) {
    const secret = ClientSecretBasic(world.secrets.ROBOT_SECRET)
    const config = await discoverServer(world, ROBOT_CLIENT, secret, ['grant_types_supported'])
    const grants = config.serverMetadata().grant_types_supported ?? []
    check('the server has the grant client_credentials', true, grants.includes(GRANT))
    client.set(config)
  },
}

const GRANT = 'client_credentials'

const obtain: ServiceStep = {
  title: 'It shows its secret, and gets an access token',
  why:
    'Nobody signs in, so there is no ID token, and no refresh token either: the service still has ' +
    'its secret, and comes again.',
  async run({ client, token }, { check }) {
    const answer = await clientCredentialsGrant(client.get(), { scope: 'notes:read' })
    check('granted scope', 'notes:read', answer.scope)
    check('refresh token', false, 'refresh_token' in answer)
    check('ID token', false, 'id_token' in answer)
    token.set(answer.access_token)
  },
}

const read: ServiceStep = {
  title: 'What the token says: it is about the service',
  why:
    'Subject and client are the same, and nothing about a person stands in it: no roles, no ' +
    'session, no time of a sign-in. No account has the id of a client, so an API can tell.',
  async run({ token }, { check, fact }) {
    const { header, claims } = decodeJwt(token.get())
    for (const { name, value, meaning } of [header, claims].flatMap(explainMembers)) {
      fact(name, value, meaning)
    }
    check('sub', ROBOT_CLIENT, claims['sub'])
    check('client_id', ROBOT_CLIENT, claims['client_id'])
    for (const claim of ['roles', 'sid', 'auth_time', 'grant_id']) {
      check(claim, false, claim in claims)
    }
  },
}

const list: ServiceStep = {
  title: 'It asks the API, and sees none of the people’s notes',
  why: 'The API serves what belongs to the subject of a token. A service owns no notes.',
  async run({ world, token }, { check }) {
    const { status, body } = await callApi(world, { token: token.get() })
    check('status', 200, status)
    check('its notes', [], body.notes)
  },
}

const write: ServiceStep = {
  title: 'It cannot write',
  why: 'Its token is good, and carries no notes:write.',
  async run({ world, token }, notes) {
    await checkNoWriting(notes, world, token.get())
  },
}

const beOverheard: ServiceStep = {
  title: 'Its token for another API is refused here',
  why: 'The audience is billing: an API that you call cannot take your token to the next one.',
  async run({ world, client }, notes) {
    const answer = await clientCredentialsGrant(client.get(), {
      scope: 'billing:read',
      resource: BILLING,
    })
    notes.check('aud', BILLING, decodeJwt(answer.access_token).claims['aud'])
    checkRefusal(notes, await callApi(world, { token: answer.access_token }), INVALID_TOKEN)
  },
}

const askForMore: ServiceStep = {
  title: 'It asks for more than it was given, and gets nothing',
  why:
    'A client has the scopes of its registration. A scope about people is none for a service, ' +
    'whatever its registration says.',
  async run({ client }, notes) {
    const refused = [
      ['another scope', { scope: 'notes:write' }, 'invalid_scope'],
      ['a person’s scope', { scope: 'openid' }, 'invalid_scope'],
      ['an unknown API', { scope: 'notes:read', resource: UNKNOWN }, 'invalid_target'],
    ] as const
    for (const [what, parameters, error] of refused) {
      const asked = clientCredentialsGrant(client.get(), { ...parameters })
      await checkTokenRefused(notes, asked, { status: 400, error }, what)
    }
  },
}

const UNKNOWN = 'https://unknown.example/'

const forgetSecret: ServiceStep = {
  title: 'Somebody who knows its id, and not its secret, gets nothing',
  why: 'The id is public. Wrong guesses are counted, and from the tenth on nobody may guess.',
  async run({ world }, notes) {
    const config = await discoverServer(world, ROBOT_CLIENT, ClientSecretBasic('a guess'))
    const asked = clientCredentialsGrant(config, { scope: 'notes:read' })
    await checkTokenRefused(notes, asked, { status: 401, error: 'invalid_client' }, 'a guess')
  },
}
