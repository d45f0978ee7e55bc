import type { IncomingMessage, ServerResponse } from 'node:http'
import { text } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import { createGateway } from '../../resource-server/demo/gateway-api.ts'
import {
  createExchange,
  type ExchangeOptions,
} from '../../resource-server/demo/gateway-exchange.ts'
import { readSettings } from '../../resource-server/demo/gateway-settings.ts'
import { createVerifier, fromAuthorization } from '../../resource-server/index.ts'
import { startUpstream } from '../support/demo.ts'
import { API, createKey, hang, signToken, startIssuer } from '../support/issuer.ts'
import { createTurnableClock } from '../support/turnable-clock.ts'

const key = await createKey('ES256')
const RESOURCE = 'https://orders.example/'
const GOOD = { access_token: 'for.the.service', token_type: 'Bearer', expires_in: 60 }

type Respond = (response: ServerResponse, request: IncomingMessage) => void

const json =
  (status: number, body: unknown): Respond =>
  (response) =>
    void response
      .writeHead(status, { 'content-type': 'application/json' })
      .end(JSON.stringify(body))

/** An exchange at an issuer that answers so; what it was sent is kept. */
async function start(respond: Respond = json(200, GOOD), change: Partial<ExchangeOptions> = {}) {
  const clock = createTurnableClock()
  const forms: URLSearchParams[] = []
  const take = async (request: IncomingMessage, response: ServerResponse) => {
    forms.push(new URLSearchParams(await text(request)))
    respond(response, request)
  }
  const issuer = await startUpstream((request, response) => void take(request, response))
  const tokenEndpoint = `${issuer.url}/token`
  const client = { clientId: 'gate:way', clientSecret: 'a secret/of its own' }
  const exchange = createExchange({ tokenEndpoint, ...client, ...change }, clock)
  return {
    clock,
    forms,
    issuer,
    ask: (token = 'a.b.c', { lasts = 600, resource = RESOURCE } = {}) =>
      exchange.exchange({ token, expiresAt: clock.now() / 1000 + lasts }, resource),
    [Symbol.asyncDispose]: () => issuer[Symbol.asyncDispose](),
  }
}

describe('a token of its own for each service', () => {
  test('is asked for as RFC 8693 §2.1 says, by a client that proves who it is', async () => {
    await using world = await start()
    expect(await world.ask('sub.ject.token')).toEqual({ ok: true, value: 'for.the.service' })
    expect(Object.fromEntries(world.forms[0] ?? [])).toEqual({
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      subject_token: 'sub.ject.token',
      subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      resource: RESOURCE,
    })
    const [request] = world.issuer.requests
    const basic = Buffer.from('gate%3Away:a%20secret%2Fof%20its%20own').toString('base64')
    expect([request?.method, request?.url, request?.headers.authorization]).toEqual([
      'POST',
      '/token',
      `Basic ${basic}`,
    ])
  })

  test('is kept for that caller and that service alone', async () => {
    await using world = await start()
    for (let count = 0; count < 3; count += 1) await world.ask()
    expect(world.forms).toHaveLength(1)
    await world.ask('another.to.ken')
    await world.ask('a.b.c', { resource: 'https://invoices.example/' })
    expect(world.forms).toHaveLength(3)
  })

  test('is asked for once by many at the same time', async () => {
    await using world = await start()
    await Promise.all(Array.from({ length: 20 }, () => world.ask()))
    expect(world.forms).toHaveLength(1)
  })

  test.each([
    ['of its own', 600, 56],
    ["of the caller's token", 20, 16],
  ])('is not kept to the end %s', async (_case, lasts, seconds) => {
    await using world = await start()
    await world.ask('a.b.c', { lasts })
    await world.clock.advance((seconds - 2) * 1000)
    await world.ask()
    expect(world.forms).toHaveLength(1)
    await world.clock.advance(2000)
    await world.ask()
    expect(world.forms).toHaveLength(2)
  })

  test.each([
    ['does not say how long it lasts', { expires_in: undefined }],
    ['lasts no time', { expires_in: 0 }],
    ['says so in words', { expires_in: '600' }],
  ])('is not kept where it %s', async (_case, change) => {
    await using world = await start(json(200, { ...GOOD, ...change }))
    expect(await world.ask()).toEqual({ ok: true, value: GOOD.access_token })
    await world.ask()
    expect(world.forms).toHaveLength(2)
  })

  test("is not taken for another's where two names together are the same text", async () => {
    await using world = await start()
    await world.ask('b","a', { resource: RESOURCE })
    await world.ask('a', { resource: `${RESOURCE}","b` })
    await world.ask('c', { resource: `${RESOURCE}\0d` })
    await world.ask('d\0c', { resource: RESOURCE })
    expect(world.forms).toHaveLength(4)
  })

  test.each([
    ['tokens', { maxTokens: 2 }],
    ['bytes of them', { maxBytes: 2 * GOOD.access_token.length }],
  ])('is forgotten where there are too many %s', async (_case, bounds) => {
    await using world = await start(json(200, GOOD), bounds)
    for (const token of ['a', 'b', 'c', 'b', 'c']) await world.ask(token)
    expect(world.forms).toHaveLength(3)
    await world.ask('a')
    expect(world.forms).toHaveLength(4)
  })
})

describe('there is none', () => {
  test.each<[string, Respond, object]>([
    ['500', json(500, {}), { kind: 'issuer_unavailable', status: 500 }],
    ['429', json(429, {}), { kind: 'issuer_unavailable', status: 429 }],
    ['a broken connection', (response) => void response.destroy(), { kind: 'issuer_unavailable' }],
    ['that nothing is allowed', json(400, { error: 'invalid_scope' }), { kind: 'not_allowed' }],
    [
      'that the client may not',
      json(400, { error: 'unauthorized_client' }),
      { kind: 'refused', status: 400, error: 'unauthorized_client' },
    ],
    [
      'with a text of its own choice',
      json(400, { error: 'x'.repeat(9000) }),
      { kind: 'refused', status: 400, error: undefined },
    ],
    [
      'with another place',
      (response) => void response.writeHead(307, { location: 'http://127.0.0.1:9/' }).end(),
      { kind: 'refused', status: 307 },
    ],
    ['what is no JSON', (response) => void response.end('no'), { kind: 'refused', status: 200 }],
    [
      'that the token of the caller is over',
      json(400, { error: 'invalid_request', error_description: 'the subject token is not valid' }),
      { kind: 'over' },
    ],
    [
      'that in another way',
      json(400, { error: 'invalid_client', error_description: 'the subject token is not valid' }),
      { kind: 'refused', status: 400, error: 'invalid_client' },
    ],
    [
      'a token that no header holds',
      json(200, { ...GOOD, access_token: 'x'.repeat(8193) }),
      { kind: 'refused', status: 200 },
    ],
    ['null', json(200, null), { kind: 'refused' }],
    ['no token', json(200, { ...GOOD, access_token: undefined }), { kind: 'refused' }],
    [
      'a token that would be two headers',
      json(200, { ...GOOD, access_token: 'a\r\nX-User: admin' }),
      { kind: 'refused' },
    ],
    ['a token that is bound', json(200, { ...GOOD, token_type: 'DPoP' }), { kind: 'refused' }],
    [
      'more than anybody reads',
      json(200, { ...GOOD, access_token: 'x'.repeat(70_000) }),
      { kind: 'refused' },
    ],
  ])('where the issuer answers %s, and it is asked again', async (_case, respond, reason) => {
    await using world = await start(respond)
    for (const count of [1, 2]) {
      expect(await world.ask()).toMatchObject({ ok: false, reason })
      expect(world.forms).toHaveLength(count)
    }
  })
})

test('an issuer that does not end its answer is waited for no longer than the time-out', async () => {
  await using world = await start(hang, { timeoutMs: 50 })
  expect(await world.ask()).toMatchObject({
    ok: false,
    reason: { kind: 'issuer_unavailable', cause: { name: 'TimeoutError' } },
  })
})

describe('the gateway answers', () => {
  test.each<[string, Respond, number, string]>([
    ['503 where the issuer cannot be asked', json(500, {}), 503, 'temporarily_unavailable'],
    ['502 where it refuses', json(400, { error: 'invalid_target' }), 502, 'bad_gateway'],
    ['403 where nothing is allowed', json(400, { error: 'invalid_scope' }), 403, 'access_denied'],
  ])('%s, and shows the service nothing', async (_case, respond, status, error) => {
    await using world = await start(respond)
    await using service = await startUpstream((_request, response) => void response.end())
    await using issuer = await startIssuer(world.clock, key)
    await using verifier = createVerifier({ issuer: issuer.url, audience: API, clock: world.clock })
    const exchange = createExchange(
      { tokenEndpoint: `${world.issuer.url}/token`, clientId: 'gateway', clientSecret: 'x' },
      world.clock,
    )
    const lines: unknown[] = []
    using gateway = createGateway(
      verifier,
      {
        routes: [{ prefix: '/', origin: new URL(service.url), resource: RESOURCE }],
        token: fromAuthorization(),
        namesChecks: false,
        passedHeaders: new Set(),
        maxUnderWay: 8,
        connectTimeoutMs: 5000,
        headersTimeoutMs: 10_000,
        wholeTimeoutMs: 60_000,
        maxBodyBytes: 1000,
        exchange,
      },
      world.clock,
      (entry) => lines.push(entry),
    )
    await using front = await startUpstream(gateway.handle)
    const token = signToken(key, issuer.claims())
    const answer = await fetch(front.url, { headers: { authorization: `Bearer ${token}` } })
    expect([answer.status, await answer.json()]).toMatchObject([status, { error }])
    expect(answer.headers.get('www-authenticate')).toBeNull()
    expect(answer.headers.get('retry-after')).toBe(status === 503 ? '1' : null)
    expect(service.requests).toHaveLength(0)
    expect(lines).toMatchObject([{ event: 'not_exchanged', status }])
    expect(JSON.stringify(lines)).not.toContain(token)
  })
})

describe('the settings of the gateway', () => {
  const issuer = ['--issuer', 'https://as.example', '--audience', 'https://gateway.example/']
  const environment = { CLIENT_SECRET: 'a secret' }
  const exchange = ['--exchange', `/orders=${RESOURCE}`, '--client-id', 'gateway']

  test('relay the token of the caller where nothing else is said', () => {
    const settings = readSettings(issuer, environment)
    expect(settings?.exchange).toBeUndefined()
    expect(settings?.gateway.routes.map(({ resource }) => resource)).toEqual([undefined, undefined])
  })

  test('exchange it for the services that are named, at the issuer', () => {
    const settings = readSettings([...issuer, ...exchange], environment)
    expect(settings?.exchange).toMatchObject({ tokenEndpoint: 'https://as.example/token' })
    expect(settings?.gateway.routes.map(({ resource }) => resource)).toEqual([undefined, RESOURCE])
  })

  test.each<[string, readonly string[], RegExp]>([
    ['no client', [...issuer, '--exchange', `/=${RESOURCE}`], /--client-id/],
    ['no such route', [...issuer, ...exchange, '--exchange', `/x=${RESOURCE}`], /no route/],
    ['a route twice', [...issuer, ...exchange, '--exchange', `/orders=${API}`], /there twice/],
    [
      'an endpoint that is none',
      [...issuer, ...exchange, '--token-endpoint', 'file:///token'],
      /--token-endpoint: expected/,
    ],
    ['no resource', [...issuer, ...exchange, '--exchange', '/=x'], /URI of a resource/],
    ['no exchange', [...issuer, '--client-id', 'gateway'], /does not go without --exchange/],
    [
      'an endpoint that anyone on the way can read',
      [...issuer, ...exchange, '--token-endpoint', 'http://as.example/token'],
      /--token-endpoint/,
    ],
    ['a shared secret in place of an issuer', exchange, /--exchange needs --issuer/],
  ])('refuse %s', (_case, args, message) => {
    const SECRET_KEY = 'x'.repeat(32)
    expect(() => readSettings(args, { ...environment, SECRET_KEY })).toThrow(message)
  })

  test('refuse a client without its secret', () => {
    expect(() => readSettings([...issuer, ...exchange], {})).toThrow(/^CLIENT_SECRET/)
  })
})
