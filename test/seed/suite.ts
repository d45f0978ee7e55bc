import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { createBrowser, type Browser } from '../support/browser.ts'
import {
  curl,
  lasting,
  leaveUnsigned,
  signWithSecret,
  startDemo,
  startUpstream,
} from '../support/demo.ts'
import {
  authorizationUrl,
  decodeJwt,
  makePkce,
  refresh,
  requestToken,
  type TokenAnswer,
} from '../support/flow.ts'
import {
  API_V3,
  GATEWAY,
  HEALTHCHECK,
  INVOICES,
  ORDERS,
  SEED_CONFIG,
  SEED_ENVIRONMENT,
  SEED_ISSUER,
  SEED_PASSWORDS,
  SEED_SECRETS,
  SERVICES,
} from '../support/seed.ts'
import { NOTES, REDIRECT, SERVICE_SECRET, startServer, type TestServer } from '../support/server.ts'

/** Where sessions are kept. */
export interface SeedBackend extends AsyncDisposable {
  /** What the configuration says of it. */
  readonly config: Partial<ConfigInput>
}

type Person = keyof typeof SEED_PASSWORDS

function start(config: Partial<ConfigInput> = {}): Promise<TestServer> {
  return startServer(() => ({ ...SEED_CONFIG, ...config }), {}, SEED_ENVIRONMENT)
}

/** Signs a person in as a browser does, and lets the app have tokens. */
export async function signInAs(
  issuer: string,
  who: Person,
  scope: string,
  browser: Browser = createBrowser(issuer),
  resource: readonly string[] = [],
): Promise<TokenAnswer['body']> {
  const { verifier, challenge } = makePkce()
  let page = await browser.get(authorizationUrl(issuer, challenge, { scope, resource }))
  if (page.text.includes('/sign-in"')) {
    const fields = { username: who, password: SEED_PASSWORDS[who] }
    page = await browser.submit(page, '/sign-in', fields)
  }
  if (page.text.includes('/consent"')) page = await browser.submit(page, '/consent')
  const code = new URL(page.location ?? '', REDIRECT).searchParams.get('code') ?? ''
  const grant = { grant_type: 'authorization_code', code, redirect_uri: REDIRECT }
  const { status, body } = await requestToken(issuer, { ...grant, code_verifier: verifier })
  expect([status, body.error_description]).toEqual([200, undefined])
  return body
}

/** The five systems, as their clients know them. Each request of theirs is sent by curl. */
export function describeSeedSystems(where: string, openBackend: () => Promise<SeedBackend>): void {
  describe(`the seed systems ${where}`, () => {
    let backend: SeedBackend
    let server: TestServer
    beforeAll(async () => {
      backend = await openBackend()
      server = await start(backend.config)
    })
    afterAll(async () => {
      await server[Symbol.asyncDispose]()
      await backend[Symbol.asyncDispose]()
    })

    describe('§1 a session that outlives the program', () => {
      test('is there after a stop and a start', async () => {
        await using first = await start(backend.config)
        const browser = createBrowser(first.issuer)
        const tokens = await signInAs(first.issuer, 'naren', 'openid notes:read', browser)
        await using second = await restart(first, backend)
        // Nobody is asked to sign in again.
        const { challenge } = makePkce()
        const request = { prompt: 'none', scope: 'openid notes:read' }
        const page = await browser.get(authorizationUrl(second.issuer, challenge, request))
        expect(new URL(page.location ?? '').searchParams.get('error')).toBeNull()
        expect(new URL(page.location ?? '').searchParams.get('code')).toEqual(expect.any(String))
        const again = await refresh(second.issuer, tokens.refresh_token)
        expect([again.status, again.body.error]).toEqual([200, undefined])
      })
    })

    describe('§2 a login that returns a JWT, and an API that reads the user from it', () => {
      let hello: Awaited<ReturnType<typeof startHello>>
      beforeAll(async () => {
        hello = await startHello()
      })
      afterAll(() => hello[Symbol.asyncDispose]())

      const ask = (token: string) =>
        curl('-H', `access_token: ${token}`, `${hello.url}/healthcheck`)

      test.each(['naren', 'admin'] as const)('%s gets a token and is read from it', async (who) => {
        const { status, type, body } = await login(
          server,
          '-d',
          `username=${who}&password=${SEED_PASSWORDS[who]}`,
        )
        expect([status, type]).toEqual([200, 'application/json; charset=utf-8'])
        const answer = JSON.parse(body) as { token: string; status: string }
        expect(answer).toEqual({ token: expect.any(String) as string, status: 'success' })
        const seen = await ask(answer.token)
        expect(seen.status).toBe(200)
        expect(JSON.parse(seen.body)).toEqual({ time: expect.any(String) as string, user: who })
      })

      test.each([
        ['an unknown user', ['-d', 'username=stranger&password=passme'], 404, 'User is not found'],
        ['a wrong password', ['-d', 'username=naren&password=x'], 401, 'Invalid Credentials'],
        [
          'a body that is not form-encoded',
          [
            '-H',
            'Content-Type: application/json',
            '-d',
            '{"username":"naren","password":"passme"}',
          ],
          400,
          'Please pass the data as URL form encoded',
        ],
      ])('%s is refused', async (_case, args, status, body) => {
        expect(await login(server, ...args)).toMatchObject({ status, body })
      })

      test.each<[string, () => readonly string[]]>([
        ['no token', () => []],
        [
          'an expired token',
          () => inAccessToken(sign('SESSION_SECRET', sessionClaims(lasting(-60)))),
        ],
        ['alg none', () => inAccessToken(leaveUnsigned(sessionClaims()))],
        [
          'another algorithm',
          () => inAccessToken(sign('SESSION_SECRET', sessionClaims(), 'HS512')),
        ],
        [
          'the secret of the source',
          () => inAccessToken(signWithSecret('session_secret', sessionClaims())),
        ],
        [
          'what is forged',
          () => inAccessToken(`${sign('SESSION_SECRET', sessionClaims()).slice(0, -4)}AAAA`),
        ],
      ])('%s is denied access', async (_case, makeHeader) => {
        const { status, body } = await curl(...makeHeader(), `${hello.url}/healthcheck`)
        expect([status, body]).toEqual([403, 'Access Denied; Please check the access token'])
      })
    })

    describe('§3 the roles of OAuth 2', () => {
      test('each resource is served to whom it belongs, and an admin sees everything', async () => {
        await using notes = await startDemo('notes.ts', [
          '--issuer',
          server.issuer,
          '--audience',
          NOTES,
        ])
        const { issuer } = server
        const [naren, carol, admin] = await Promise.all([
          signInAs(issuer, 'naren', 'notes:read notes:write'),
          signInAs(issuer, 'carol', 'notes:read'),
          signInAs(issuer, 'admin', 'notes:read notes:read:all'),
        ])
        const as = (token: string, ...args: readonly string[]) =>
          curl('-H', `Authorization: Bearer ${token}`, ...args, `${notes.url}/notes`)
        const json = ['-H', 'Content-Type: application/json', '-d', '{"text":"buy milk"}']
        expect((await as(naren.access_token, ...json)).status).toBe(201)
        const list = async (token: string) =>
          (JSON.parse((await as(token)).body) as { notes: { text: string }[] }).notes
        expect(await list(naren.access_token)).toMatchObject([{ text: 'buy milk' }])
        expect(await list(carol.access_token)).toEqual([])
        expect(await list(admin.access_token)).toMatchObject([{ text: 'buy milk' }])
        // An ordinary user is limited, whatever the app asks for, and so is a client of its own.
        expect((await as(carol.access_token, ...json)).status).toBe(403)
        const more = await signInAs(issuer, 'carol', 'notes:read notes:write notes:read:all')
        expect(more.scope).toBe('notes:read')
        const service = await byCredentials('service', 'SERVICE_SECRET', 'notes:read')
        expect(await list(service)).toEqual([])
        expect((await curl(`${notes.url}/notes`)).status).toBe(401)
      })
    })

    describe('§4 microservices behind a gateway', () => {
      let billing: Awaited<ReturnType<typeof startDemo>>
      let gateway: Awaited<ReturnType<typeof startDemo>>
      beforeAll(async () => {
        billing = await startDemo('billing.ts', [], SEED_SECRETS)
        gateway = await startDemo('gateway.ts', ['--route', `/=${billing.url}`], SEED_SECRETS)
      })
      afterAll(async () => {
        await gateway[Symbol.asyncDispose]()
        await billing[Symbol.asyncDispose]()
      })

      const ask = (...args: readonly string[]) => curl(...args, `${gateway.url}/`)

      test('the issuer gives the bare token, and the gateway lets it through', async () => {
        const { status, type, body: token } = await curl(server.unauthenticatedUrl)
        expect([status, type]).toEqual([200, 'text/plain; charset=utf-8'])
        expect(decodeJwt(token).claims).toMatchObject({ authorized: true, client: 'Krissanawat' })
        expect(await ask('-H', `Token: ${token}`)).toMatchObject({
          status: 200,
          body: 'Super Secret Information',
        })
      })

      test.each<[string, () => readonly string[], string]>([
        ['no token', () => [], 'No Authorization Token provided'],
        ['alg none', () => inToken(leaveUnsigned(jwtgoClaims())), 'Invalid Signing Method'],
        [
          'alg HS512',
          () => inToken(sign('SECRET_KEY', jwtgoClaims(), 'HS512')),
          'Invalid Signing Method',
        ],
        [
          'another aud',
          () => inToken(sign('SECRET_KEY', jwtgoClaims({ aud: 'x' }))),
          'invalid aud',
        ],
        [
          'another iss',
          () => inToken(sign('SECRET_KEY', jwtgoClaims({ iss: 'x' }))),
          'invalid iss',
        ],
        ['an old one', () => inToken(sign('SECRET_KEY', jwtgoClaims({ exp: 1 }))), 'Expired token'],
        [
          'the secret of the source',
          () => inToken(signWithSecret('secret', jwtgoClaims())),
          'Invalid token',
        ],
      ])('the gateway names what is wrong with %s', async (_case, makeArgs, body) => {
        expect(await ask(...makeArgs())).toMatchObject({ status: 401, body })
      })

      test('a registered client gets the same token by its credentials, as Bearer too', async () => {
        const given = await byCredentials('krissanawat', 'KRISSANAWAT_SECRET', 'jwtgo:call')
        expect(decodeJwt(given).claims).toMatchObject({
          authorized: true,
          client: 'Krissanawat',
          aud: 'billing.jwtgo.io',
          iss: 'jwtgo.io',
        })
        for (const name of ['Token: ', 'Authorization: Bearer ']) {
          expect(await ask('-H', `${name}${given}`)).toMatchObject({ status: 200 })
        }
        const wrong = await curl(
          '-u',
          'krissanawat:wrong',
          '-d',
          'grant_type=client_credentials&scope=jwtgo:call',
          `${server.issuer}/token`,
        )
        expect([wrong.status, JSON.parse(wrong.body)]).toMatchObject([
          401,
          { error: 'invalid_client' },
        ])
      })

      test('with keys in place of the secret, people sign in and their roles decide', async () => {
        await using cleanUp = new AsyncDisposableStack()
        const own = ['--issuer', server.issuer, '--audience', SERVICES]
        const [invoices, orders] = await Promise.all([
          startDemo('billing.ts', own),
          startDemo('orders.ts', own),
        ])
        cleanUp.use(invoices)
        cleanUp.use(orders)
        const routes = ['--route', `/=${invoices.url}`, '--route', `/orders=${orders.url}`]
        const modern = cleanUp.use(await startDemo('gateway.ts', [...own, ...routes]))
        const people = await Promise.all(
          (['naren', 'carol', 'admin'] as const).map((who) =>
            signInAs(server.issuer, who, 'services:use'),
          ),
        )
        const statusOf = async (bearer: string | undefined, path: string) =>
          (await curl('-H', `Authorization: Bearer ${bearer}`, `${modern.url}${path}`)).status
        const [naren, carol, admin] = people.map((one) => one.access_token)
        const order = ['-H', 'Content-Type: application/json', '-d', '{"item":"milk"}']
        const bearer = ['-H', `Authorization: Bearer ${naren}`]
        expect((await curl(...bearer, ...order, `${modern.url}/orders`)).status).toBe(201)
        expect(await statusOf(naren, '/orders')).toBe(200)
        expect(await statusOf(carol, '/orders')).toBe(403)
        expect(await statusOf(carol, '/invoices')).toBe(200)
        expect(await statusOf(admin, '/orders')).toBe(200)
        // No secret is shared: what is signed with one is nothing here.
        const { claims: good } = decodeJwt(naren ?? '')
        expect(await statusOf(sign('SECRET_KEY', good), '/orders')).toBe(401)
        expect(await statusOf(leaveUnsigned(good), '/orders')).toBe(401)
        expect((await curl('-H', `Token: ${naren}`, `${modern.url}/orders`)).status).toBe(401)
      })
    })

    test('§4 the gateway exchanges the token for one per service, which names both', async () => {
      await using cleanUp = new AsyncDisposableStack()
      const { issuer } = server
      const asks = (audience: string) => ['--issuer', issuer, '--audience', audience]
      const [invoices, orders] = await Promise.all([
        startDemo('billing.ts', asks(INVOICES)),
        startDemo('orders.ts', asks(ORDERS)),
      ])
      cleanUp.use(invoices)
      cleanUp.use(orders)
      // What a service is shown, told back.
      const mirror = cleanUp.use(
        await startUpstream(({ headers }, response) => response.end(headers.authorization)),
      )
      const routes = { '/': invoices.url, '/orders': orders.url, '/mirror': mirror.url }
      const resources = { '/': INVOICES, '/orders': ORDERS, '/mirror': ORDERS }
      const args = [
        ...asks(GATEWAY),
        ...Object.entries(routes).flatMap(([prefix, url]) => ['--route', `${prefix}=${url}`]),
        ...Object.entries(resources).flatMap(([prefix, uri]) => ['--exchange', `${prefix}=${uri}`]),
        '--client-id',
        'gateway',
      ]
      const secret = { CLIENT_SECRET: SEED_ENVIRONMENT['GATEWAY_SECRET'] ?? '' }
      const gateway = cleanUp.use(await startDemo('gateway.ts', args, secret))
      const signIn = async (who: Person) => {
        const scope = 'orders:use invoices:use'
        const tokens = await signInAs(issuer, who, scope, createBrowser(issuer), [GATEWAY])
        return tokens.access_token
      }
      const [naren, carol] = await Promise.all([signIn('naren'), signIn('carol')])
      const order = ['-H', 'Content-Type: application/json', '-d', '{"item":"milk"}']
      const { sub } = decodeJwt(naren).claims
      const placed = await askAs(naren, `${gateway.url}/orders`, ...order)
      expect([placed.status, JSON.parse(placed.body)]).toMatchObject([201, { owner: sub }])
      expect((await askAs(naren, `${gateway.url}/invoices`)).status).toBe(200)
      expect((await askAs(carol, `${gateway.url}/invoices`)).status).toBe(200)
      // Carol may do nothing with orders, so there is no token for it.
      expect((await askAs(carol, `${gateway.url}/orders`)).status).toBe(403)
      const shown = (await askAs(naren, `${gateway.url}/mirror`)).body.replace(/^Bearer /, '')
      expect(decodeJwt(shown).claims).toMatchObject({
        aud: ORDERS,
        sub,
        client_id: 'gateway',
        act: { sub: 'gateway' },
        scope: 'orders:use',
      })
      // Nobody goes round the gateway, and one service's token is none at the other.
      expect((await askAs(naren, `${orders.url}/orders`)).status).toBe(401)
      expect((await askAs(shown, `${invoices.url}/invoices`)).status).toBe(401)
      expect((await askAs(shown, `${gateway.url}/orders`)).status).toBe(401)
      // The issuer is not asked again for what is known.
      const given = () => server.logged().split('"event":"token_exchanged"').length - 1
      const before = given()
      expect(before).toBeGreaterThan(0)
      expect((await askAs(naren, `${gateway.url}/orders`)).status).toBe(200)
      expect(given()).toBe(before)
      for (const text of [naren, shown, secret.CLIENT_SECRET]) {
        expect(gateway.logged()).not.toContain(text)
      }
    })

    describe('§5 an API key for a JWT', () => {
      let hello: Awaited<ReturnType<typeof startHello>>
      beforeAll(async () => {
        hello = await startHello()
      })
      afterAll(() => hello[Symbol.asyncDispose]())

      const secret = (...args: readonly string[]) => curl(...args, `${hello.url}/api/v3/secret`)

      test.each(['POST', 'GET'])('%s gives a token that tells the secret', async (method) => {
        const { status, body } = await askForToken(
          server,
          ...withJson(method, '{"api-key":"ABCDE"}'),
        )
        const { data } = JSON.parse(body) as { data: Record<string, unknown> }
        expect([status, data]).toEqual([
          200,
          {
            code: 200,
            message: 'Your token is created successfully',
            token: expect.any(String) as string,
            expiration_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d.*Z$/) as string,
          },
        ])
        const token = String(data['token'])
        const { claims } = decodeJwt(token)
        expect(claims['user']).toBe('front-team')
        expect(Number(claims['exp']) - Number(claims['iat'])).toBe(180)
        const answer = { status: 200, body: "Ops, it's sensitive data :(" }
        expect(await secret(...withJson('GET', JSON.stringify({ token })))).toMatchObject(answer)
        expect(await secret('-H', `Authorization: Bearer ${token}`)).toMatchObject(answer)
        const admin = await curl(
          '-H',
          `Authorization: Bearer ${token}`,
          `${hello.url}/api/v3/admin`,
        )
        expect(admin.status).toBe(403)
      })

      test('a wrong key, no key and no JSON give none', async () => {
        const wrong = await askForToken(server, ...withJson('POST', '{"api-key":"WRONG"}'))
        expect([wrong.status, JSON.parse(wrong.body)]).toEqual([
          400,
          { data: { message: 'invalid api key', code: 400 } },
        ])
        for (const args of [
          withJson('POST', '{}'),
          withJson('GET', 'ABCDE'),
          ['-d', 'api-key=ABCDE'],
          [],
        ]) {
          expect((await askForToken(server, ...args)).status).toBe(400)
        }
      })

      test('home is open; the secret wants a token that is good', async () => {
        expect(await curl(`${hello.url}/api/v3/home`)).toMatchObject({
          status: 200,
          body: 'hello world',
        })
        const missing = await secret()
        expect([missing.status, JSON.parse(missing.body)]).toEqual([
          401,
          { 'Alert!': 'Token is missing!' },
        ])
        const bad = [
          sign('API_V3_SECRET', keyClaims(lasting(-60))),
          sign('API_V3_SECRET', keyClaims(), 'HS512'),
          sign('SESSION_SECRET', keyClaims()),
          signWithSecret('ABCDE', keyClaims()),
          leaveUnsigned(keyClaims()),
        ]
        for (const token of bad) {
          const { status, body } = await secret(...withJson('GET', JSON.stringify({ token })))
          expect([status, JSON.parse(body)]).toEqual([403, { Message: 'Invalid token' }])
        }
      })
    })

    test('no log has a password, a key or a secret in it', () => {
      const logged = server.logged()
      expect(logged).toContain('"event":"token_issued"')
      const known = Object.entries(SEED_ENVIRONMENT).filter(([name]) => name !== 'ADMIN')
      for (const [, secret] of known) expect(logged).not.toContain(secret)
    })

    async function byCredentials(id: string, secret: string, scope: string): Promise<string> {
      const password = SEED_ENVIRONMENT[secret] ?? SERVICE_SECRET
      const { status, body } = await curl(
        '-u',
        `${id}:${password}`,
        '-d',
        'grant_type=client_credentials',
        '-d',
        `scope=${scope}`,
        `${server.issuer}/token`,
      )
      expect(status).toBe(200)
      return (JSON.parse(body) as { access_token: string }).access_token
    }
  })
}

function startHello() {
  return startDemo('hello.ts', ['--issuer', SEED_ISSUER], SEED_SECRETS)
}

function sign(
  secret: keyof typeof SEED_SECRETS,
  claims: Readonly<Record<string, unknown>>,
  alg = 'HS256',
): string {
  return signWithSecret(SEED_SECRETS[secret], claims, { alg })
}

/** Another server with the same database, key and address, after the first has stopped. */
async function restart(first: TestServer, { config }: SeedBackend) {
  await first.stop()
  const port = Number(new URL(first.issuer).port)
  const place = { issuer: first.issuer, listen: { host: '127.0.0.1', port } }
  return first.startAnother({}, () => ({ ...SEED_CONFIG, ...config, ...place }))
}

function login({ directUrl }: TestServer, ...args: readonly string[]) {
  return curl('-X', 'POST', ...args, `${directUrl}/getToken`)
}

function askForToken({ directUrl }: TestServer, ...args: readonly string[]) {
  return curl(...args, `${directUrl}/api/v3/auth`)
}

function withJson(method: string, body: string): readonly string[] {
  return ['-X', method, '-H', 'Content-Type: application/json', '-d', body]
}

function inAccessToken(token: string): readonly string[] {
  return ['-H', `access_token: ${token}`]
}

function inToken(token: string): readonly string[] {
  return ['-H', `Token: ${token}`]
}

function sessionClaims(life = lasting()) {
  return { iss: SEED_ISSUER, aud: HEALTHCHECK, sub: 'acc_x', username: 'naren', ...life }
}

function keyClaims(life = lasting()) {
  return { iss: SEED_ISSUER, aud: API_V3, user: 'front-team', ...life }
}

function jwtgoClaims(change: Readonly<Record<string, unknown>> = {}) {
  const who = { authorized: true, client: 'Krissanawat' }
  return { ...who, aud: 'billing.jwtgo.io', iss: 'jwtgo.io', exp: lasting().exp, ...change }
}

function askAs(token: string, url: string, ...more: readonly string[]) {
  return curl('-H', `Authorization: Bearer ${token}`, ...more, url)
}
