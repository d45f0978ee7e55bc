import { clientCredentialsGrant, ClientSecretBasic, type Configuration } from 'openid-client'
import { createBrowser } from '../browser.ts'
import { decodeJwt, explainMembers } from '../claims.ts'
import type { Flow, Step } from '../flow.ts'
import { checkTokenRefused, discoverServer } from '../oauth.ts'
import { obtainTokens } from '../people.ts'
import {
  call,
  checkAnswer,
  JSON_TYPE,
  leaveUnsigned,
  readMembers,
  signWithSecret,
  type PlainAnswer,
} from '../plain-call.ts'
import type { ApiName } from '../programs.ts'
import { createSlot, type Slot } from '../slot.ts'
import {
  GATEWAY,
  GATEWAY_CLIENT,
  JWTGO,
  JWTGO_CLIENT,
  ORDERS,
  SHOP_CLIENT,
  type SmallUsername,
} from '../small-systems.ts'
import type { World } from '../world.ts'

interface ServicesStage {
  readonly world: World
  readonly shop: Slot<Configuration>
  /** What the issuer of old gives to anybody on this machine. */
  readonly oldToken: Slot<string>
  readonly naren: Slot<string>
  /** Into what the gateway has changed Naren’s token. */
  readonly exchanged: Slot<string>
}

type ServicesStep = Step<ServicesStage>

/** @see {@link https://www.rfc-editor.org/rfc/rfc8693.html RFC 8693} */
export const microservicesFlow: Flow<ServicesStage> = {
  name: 'microservices',
  summary: 'a gateway checks who calls, and gives each service behind it a token of its own',
  needs: ['gateway', 'orders', 'billing', 'oldGateway', 'oldBilling'],
  createStage: (world) => ({
    world,
    shop: createSlot('client'),
    oldToken: createSlot('token of old'),
    naren: createSlot('token of Naren'),
    exchanged: createSlot('exchanged token'),
  }),
  listSteps: () => [
    askIssuer,
    passGateway,
    failChecks,
    comeAsClient,
    signInNaren,
    arrive,
    order,
    signInCarol,
    narrow,
    goAround,
    goAstray,
  ],
}

const askIssuer: ServicesStep = {
  title: 'The issuer of old gives a bare token to any program on this machine',
  why:
    'It asks nobody who they are, so it listens on loopback only, where it is configured. The token ' +
    'is about a service and no person, and lives for a minute.',
  async run({ world, oldToken }, { check, fact }) {
    const { status, text } = await call(world, `${world.locateDirectAccess().unauthenticated}/`)
    check('status', 200, status)
    const { header, claims } = decodeJwt(text)
    for (const { name, value, meaning } of [header, claims].flatMap(explainMembers)) {
      fact(name, value, meaning)
    }
    check('client', 'Krissanawat', claims['client'])
    check('aud', JWTGO.audience, claims['aud'])
    check('iss', JWTGO.issuer, claims['iss'])
    check('lives for', 60, Number(claims['exp']) - Number(claims['iat']))
    check('sub', false, 'sub' in claims)
    oldToken.set(text)
  },
}

const passGateway: ServicesStep = {
  title: 'The gateway of old checks it, and the service behind answers',
  why: 'The token comes in the header Token. Gateway and service share the secret that signs it.',
  async run({ world, oldToken }, notes) {
    const answer = await showToken(world, oldToken.get())
    checkAnswer(notes, answer, { status: 200, text: 'Super Secret Information' })
  },
}

function showToken(world: World, token?: string): Promise<PlainAnswer> {
  const headers = token === undefined ? {} : { Token: token }
  return call(world, `${world.locate('oldGateway')}/`, { headers })
}

const failChecks: ServicesStep = {
  title: 'It names the check that failed',
  why: 'In the words of old, and with status 401, where the original said 200.',
  async run({ world, oldToken }, notes) {
    const { claims } = decodeJwt(oldToken.get())
    const sign = (change: Readonly<Record<string, unknown>>) =>
      signWithSecret(world.secrets.SECRET_KEY, { ...claims, ...change })
    for (const [what, token, text] of [
      ['no token', undefined, 'No Authorization Token provided'],
      ['alg none', leaveUnsigned(claims), 'Invalid Signing Method'],
      ['another aud', sign({ aud: 'orders.jwtgo.io' }), 'invalid aud'],
      ['another iss', sign({ iss: 'else.io' }), 'invalid iss'],
      ['an old one', sign({ iat: 1, exp: 2 }), 'Expired token'],
      ['a guessed secret', signWithSecret('secret', claims), 'Invalid token'],
    ] as const) {
      world.wire.announce(what)
      checkAnswer(notes, await showToken(world, token), { status: 401, text }, `${what}: `)
    }
  },
}

const comeAsClient: ServicesStep = {
  title: 'A registered service gets the same token with a secret of its own',
  why: 'So it can be everywhere but on loopback. A wrong secret gets nothing.',
  async run({ world }, notes) {
    const { JWTGO_SECRET } = world.secrets
    const client = await discoverServer(world, JWTGO_CLIENT, ClientSecretBasic(JWTGO_SECRET))
    const { access_token } = await clientCredentialsGrant(client, { scope: 'jwtgo:call' })
    const { claims } = decodeJwt(access_token)
    notes.check('client', 'Krissanawat', claims['client'])
    const headers = { authorization: `Bearer ${access_token}` }
    const answer = await call(world, `${world.locate('oldGateway')}/`, { headers })
    notes.check('as Bearer: status', 200, answer.status)
    const stranger = await discoverServer(world, JWTGO_CLIENT, ClientSecretBasic('a guess'))
    world.wire.announce('with a guess')
    const asked = clientCredentialsGrant(stranger, { scope: 'jwtgo:call' })
    await checkTokenRefused(notes, asked, { status: 401, error: 'invalid_client' }, 'with a guess')
  },
}

const signInNaren: ServicesStep = {
  title: 'The better way: Naren signs in, and the shop gets a token for the gateway',
  why:
    'It is signed with a key that only the server has, so nobody behind it can make one. It is good ' +
    'at the gateway, and at no service.',
  async run({ world, shop, naren }, { check }) {
    shop.set(await discoverServer(world, SHOP_CLIENT))
    const token = await obtain(world, shop.get(), 'naren', BOTH)
    check('aud', GATEWAY, decodeJwt(token).claims['aud'])
    check('alg is one of a key', true, decodeJwt(token).header['alg'] !== 'HS256')
    naren.set(token)
  },
}

const BOTH = 'openid orders:use invoices:use'

async function obtain(
  world: World,
  client: Configuration,
  username: SmallUsername,
  scope: string,
): Promise<string> {
  const parameters = { scope, resource: GATEWAY }
  const browser = createBrowser(world.wire)
  const { tokens } = await obtainTokens(world, client, browser, username, parameters)
  return tokens.access
}

const arrive: ServicesStep = {
  title: 'The gateway exchanges it for one per service, which names both of them',
  why:
    'This service tells back what it was shown. It is another token than Naren’s: for orders alone, ' +
    'with him as subject and the gateway as actor.',
  async run({ world, naren, exchanged }, { check }) {
    const answer = await ask(world, 'gateway', '/echo', naren.get())
    check('status', 200, answer.status)
    const { sub, act, client_id, aud, scope } = readMembers(answer)
    check('sub, which is Naren’s', decodeJwt(naren.get()).claims['sub'], sub)
    check('act', { sub: GATEWAY_CLIENT }, act)
    check('client_id', GATEWAY_CLIENT, client_id)
    check('aud', ORDERS, aud)
    check('scope', 'orders:use', scope)
    exchanged.set(world.echo.readToken())
    check('it is another token', true, exchanged.get() !== naren.get())
  },
}

function ask(
  world: World,
  api: ApiName,
  path: string,
  token: string,
  body?: Readonly<Record<string, string>>,
): Promise<PlainAnswer> {
  const authorization = `Bearer ${token}`
  const url = `${world.locate(api)}${path}`
  if (body === undefined) return call(world, url, { headers: { authorization } })
  const headers = { authorization, ...JSON_TYPE }
  return call(world, url, { method: 'POST', headers, body: JSON.stringify(body) })
}

const order: ServicesStep = {
  title: 'Naren orders, and his order is his',
  why: 'The service behind the gateway knows the owner by the subject of the token that it got.',
  async run({ world, naren }, { check }) {
    const token = naren.get()
    const placed = await ask(world, 'gateway', '/orders', token, { item: 'Hinges for a gate' })
    check('status', 201, placed.status)
    const { id, owner } = readMembers(placed)
    check('its owner', decodeJwt(token).claims['sub'], owner)
    const list = readMembers(await ask(world, 'gateway', '/orders', token))
    const orders = list['orders'] as readonly { readonly id: string }[]
    check('the newest of his orders', id, orders.at(-1)?.id)
    const invoices = await ask(world, 'gateway', '/invoices', token)
    check('his invoices', [], readMembers(invoices)['invoices'])
  },
}

const signInCarol: ServicesStep = {
  title: 'Carol, an accountant, sees invoices and no orders',
  why: 'Her role carries no orders:use, whatever the shop asks for. So there is no token for orders.',
  async run({ world, shop }, { check }) {
    const token = await obtain(world, shop.get(), 'carol', BOTH)
    check('scope', 'invoices:use', String(decodeJwt(token).claims['scope']))
    const invoices = await ask(world, 'gateway', '/invoices', token)
    check('invoices: status', 200, invoices.status)
    const orders = await ask(world, 'gateway', '/orders', token)
    check('orders: status', 403, orders.status)
    check('orders: error', 'access_denied', readMembers(orders)['error'])
  },
}

const narrow: ServicesStep = {
  title: 'So it is for Naren, where the shop has asked for less',
  why: 'The same person, and a scope that is missing: an exchange never adds one.',
  async run({ world, shop }, { check }) {
    const token = await obtain(world, shop.get(), 'naren', 'openid invoices:use')
    const orders = await ask(world, 'gateway', '/orders', token)
    check('orders: status', 403, orders.status)
    check('orders: error', 'access_denied', readMembers(orders)['error'])
  },
}

const goAround: ServicesStep = {
  title: 'Nobody goes around the gateway',
  why: 'Naren’s token is for the gateway. A service that is called directly sees another audience.',
  async run({ world, naren }, { check }) {
    for (const [api, path] of [
      ['orders', '/orders'],
      ['billing', '/invoices'],
    ] as const) {
      const answer = await ask(world, api, path, naren.get())
      check(`${api}: status`, 401, answer.status)
      check(`${api}: error`, 'invalid_token', readMembers(answer)['error'])
    }
  },
}

const goAstray: ServicesStep = {
  title: 'A service can do nothing elsewhere with the token that it got',
  why: 'Not at another service, and not at the gateway. Nor are tokens of old good here.',
  async run({ world, exchanged, oldToken }, { check }) {
    for (const [what, api, path, token] of [
      ['at billing', 'billing', '/invoices', exchanged.get()],
      ['at the gateway', 'gateway', '/orders', exchanged.get()],
      ['a token of old', 'gateway', '/orders', oldToken.get()],
    ] as const) {
      world.wire.announce(what)
      const answer = await ask(world, api, path, token)
      check(`${what}: status`, 401, answer.status)
      check(`${what}: error`, 'invalid_token', readMembers(answer)['error'])
    }
  },
}
