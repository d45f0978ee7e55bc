import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { createBrowser, type Browser, type Page } from '../support/browser.ts'
import { askUserinfo, introspect, post, withClients } from '../support/endpoints.ts'
import {
  authorizationUrl,
  authorize,
  basic,
  decodeJwt,
  makePkce,
  requestToken,
  type TokenAnswer,
} from '../support/flow.ts'
import { startLogoutReceiver } from '../support/logout-receiver.ts'
import { invite, METADATA, register, send, withRegistration } from '../support/registration.ts'
import { NOTES, startServer, WEB_SECRET, type TestServer } from '../support/server.ts'

/* The table of the requirements is in docs/conformance/oidc-core.md. */

const PAIRWISE = /^pairwise:[\w-]{43}$/
const SOON = { timeout: 5000, interval: 20 }
const REDIRECTS: Readonly<Record<string, string>> = {
  shop: 'https://shop.example/callback',
  'shop-admin': 'https://shop.example/admin/callback',
  forum: 'https://forum.example/callback',
  mirror: 'https://mirror.example/callback',
  open: 'https://open.example/callback',
}

let server: TestServer
let logouts: Awaited<ReturnType<typeof startLogoutReceiver>>
beforeAll(async () => {
  logouts = await startLogoutReceiver()
  const base = { secret: { env: 'WEB_SECRET' }, scopes: ['openid', 'email'] }
  const pairwise = (id: string) => ({
    ...base,
    id,
    subjectType: 'pairwise' as const,
    redirectUris: [REDIRECTS[id] ?? ''],
  })
  server = await startServer(
    withClients(
      {
        ...pairwise('shop'),
        backchannelLogoutUri: logouts.uri,
        frontchannelLogoutUri: 'https://shop.example/bye',
        postLogoutRedirectUris: ['https://shop.example/'],
      },
      { ...pairwise('shop-admin'), algorithms: { userinfo: 'ES256' }, claimsInIdToken: true },
      { ...pairwise('forum'), pkce: 'required' },
      { ...pairwise('mirror'), sectorIdentifierUri: 'https://forum.example/mirrors.json' },
      { ...base, id: 'open', redirectUris: [REDIRECTS['open'] ?? ''] },
    ),
  )
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await logouts[Symbol.asyncDispose]()
})

const asClient = (id: string) => ({ authorization: basic(id, WEB_SECRET) })
const read = ({ location }: Page) => new URL(location ?? 'https://x.example/').searchParams

function ask(browser: Browser, id: string, more: Readonly<Record<string, string>>): Promise<Page> {
  const request = { client_id: id, redirect_uri: REDIRECTS[id] ?? '', scope: 'openid', ...more }
  return browser.get(authorizationUrl(server.issuer, makePkce().challenge, request))
}

interface Known {
  readonly sub: string
  readonly tokens: TokenAnswer['body']
  readonly browser: Browser
}

/** Signs somebody in at a client; answers what that client knows them by. */
async function meet(
  id: string,
  { issuer }: TestServer = server,
  who: 'alice' | 'bob' = 'alice',
  browser: Browser = createBrowser(issuer),
): Promise<Known> {
  const redirect_uri = REDIRECTS[id] ?? ''
  const request = { client_id: id, redirect_uri, scope: 'openid email' }
  const { code, verifier } = await authorize(issuer, request, who, browser)
  const form = { grant_type: 'authorization_code', code, code_verifier: verifier, redirect_uri }
  const { body } = await requestToken(issuer, form, asClient(id))
  return { sub: String(decodeJwt(body.id_token).claims['sub']), tokens: body, browser }
}

async function findAlice(): Promise<string> {
  await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
  return (await stores.accounts.findByUsername('alice'))?.id ?? ''
}

describe('§8.1 a pairwise subject', () => {
  test('is another one for each sector and each person, and the same within a sector', async () => {
    const [shop, admin, forum, mirror, bob, open] = await Promise.all([
      meet('shop'),
      meet('shop-admin'),
      meet('forum'),
      meet('mirror'),
      meet('shop', server, 'bob'),
      meet('open'),
    ])
    for (const { sub } of [shop, forum, bob]) expect(sub).toMatch(PAIRWISE)
    expect(new Set([shop.sub, forum.sub, bob.sub, open.sub]).size).toBe(4)
    expect([admin.sub, mirror.sub]).toEqual([shop.sub, forum.sub])
    expect(open.sub).toBe(await findAlice())
  })

  test('says nothing of the account, and nothing that could be compared', async () => {
    const id = await findAlice()
    const { tokens } = await meet('shop')
    const { body } = await askUserinfo(server.issuer, tokens.access_token)
    const told = [decodeJwt(tokens.id_token).claims, body, tokens.scope, tokens.access_token]
    expect(JSON.stringify(told)).not.toContain(id)
    const { claims } = decodeJwt(tokens.id_token)
    const other = decodeJwt((await meet('forum')).tokens.id_token).claims
    expect(claims['sid']).not.toBe(other['sid'])
  })

  test('is the same from every server with this root key', async () => {
    const { sub } = await meet('shop')
    const again = await server.startAnother()
    try {
      expect((await meet('shop', { ...server, issuer: again.issuer })).sub).toBe(sub)
    } finally {
      await again[Symbol.asyncDispose]()
    }
  })
})

describe('everything that a client is told says the same', () => {
  test('userinfo, as JSON and signed', async () => {
    const { sub, tokens } = await meet('shop')
    expect((await askUserinfo(server.issuer, tokens.access_token)).body).toMatchObject({
      sub,
      email: 'alice@example.com',
    })
    const admin = await meet('shop-admin')
    const headers = { authorization: `Bearer ${admin.tokens.access_token}` }
    const signed = await (await fetch(`${server.issuer}/userinfo`, { headers })).text()
    expect(decodeJwt(signed).claims['sub']).toBe(sub)
  })

  test('ID tokens after a refresh', async () => {
    const { sub, tokens } = await meet('shop')
    const form = { grant_type: 'refresh_token', refresh_token: tokens.refresh_token }
    const { body } = await requestToken(server.issuer, form, asClient('shop'))
    expect(decodeJwt(body.id_token).claims['sub']).toBe(sub)
  })

  test('introspection of its own tokens; those of others stay unknown to it', async () => {
    const { sub, tokens } = await meet('shop')
    for (const token of [tokens.access_token, tokens.refresh_token]) {
      const { body } = await introspect(server.issuer, token, asClient('shop'))
      expect(body).toMatchObject({ active: true, sub })
      const foreign = await introspect(server.issuer, token, asClient('forum'))
      expect(foreign.body).toEqual({ active: false })
      const ofPublic = await introspect(server.issuer, token, asClient('open'))
      expect(ofPublic.body).toEqual({ active: false })
    }
  })

  test('the logout token; the log has the account', async () => {
    const { sub, browser, tokens } = await meet('shop')
    const before = logouts.received.length
    const query = new URLSearchParams({ id_token_hint: tokens.id_token }).toString()
    const page = await browser.get(`${server.issuer}/session/end?${query}`)
    const end = await browser.submit(page, '/session/end/confirm', { logout: 'yes' })
    expect(end.text).toMatch(/https:\/\/shop\.example\/bye\?iss=[^"]+sid=/)
    await expect.poll(() => logouts.received.length, SOON).toBeGreaterThan(before)
    const { claims } = decodeJwt(logouts.received.at(-1)?.token ?? '')
    const { sid } = decodeJwt(tokens.id_token).claims
    expect(claims).toMatchObject({ sub, sid, aud: 'shop' })
    const id = await findAlice()
    await expect.poll(() => server.logged(), SOON).toContain('"event":"logout_delivered"')
    const lines = server.logged().split('\n')
    const told = lines.filter((line) => line.includes('"event":"logout_delivered"'))
    for (const line of told) expect(line).toContain(id)
    expect(server.logged()).not.toContain('pairwise:')
  })
})

describe('what a client says of whom it means', () => {
  test('id_token_hint: its own leads on, at /auth and when it signs out', async () => {
    const { browser, tokens } = await meet('shop')
    const hint = { prompt: 'none', id_token_hint: tokens.id_token }
    expect(read(await ask(browser, 'shop', hint)).has('code')).toBe(true)
    const query = {
      id_token_hint: tokens.id_token,
      post_logout_redirect_uri: 'https://shop.example/',
    }
    const page = await browser.get(
      `${server.issuer}/session/end?${new URLSearchParams(query).toString()}`,
    )
    expect(page.status).toBe(200)
  })

  test('id_token_hint of another person, or of another client, does not', async () => {
    const { browser } = await meet('shop')
    const bob = await meet('shop', server, 'bob')
    const wrong = { prompt: 'none', id_token_hint: bob.tokens.id_token }
    expect(read(await ask(browser, 'shop', wrong)).get('error')).toBe('login_required')
    const others = await meet('forum')
    const foreign = { prompt: 'none', id_token_hint: others.tokens.id_token }
    expect(read(await ask(browser, 'shop', foreign)).get('error')).toBe('invalid_request')
  })

  test('claims with its sub leads on; the account, or the sub of another sector, does not', async () => {
    const { sub, browser } = await meet('shop')
    const forum = await meet('forum')
    const mean = (value: string) => ({
      prompt: 'none',
      claims: JSON.stringify({ id_token: { sub: { value } } }),
    })
    expect(read(await ask(browser, 'shop', mean(sub))).has('code')).toBe(true)
    for (const value of [await findAlice(), forum.sub, '']) {
      const page = await ask(browser, 'shop', mean(value))
      expect(read(page).get('error')).toBe('login_required')
    }
  })
})

describe('no token for an API', () => {
  test('is had by scope or by resource', async () => {
    const { browser } = await meet('shop')
    const byScope = await ask(browser, 'shop', { scope: 'openid notes:read' })
    const { tokens } = await meet('shop')
    const answers = [
      read(byScope).get('error'),
      read(await ask(browser, 'shop', { scope: 'openid notes:read', resource: NOTES })).get(
        'error',
      ),
      read(await ask(browser, 'shop', { resource: NOTES })).get('error'),
    ]
    for (const error of answers) expect(error).toMatch(/^invalid_(?:scope|target)$/)
    const more = { scope: 'openid notes:read', resource: NOTES }
    const widened = await requestToken(
      server.issuer,
      { grant_type: 'refresh_token', refresh_token: tokens.refresh_token, ...more },
      asClient('shop'),
    )
    expect([widened.status, widened.body.error]).toEqual([400, 'invalid_scope'])
  })

  test('is had where the row of a client says more than the rules allow', async () => {
    await using own = await startServer(
      withClients({
        id: 'shop',
        secret: { env: 'WEB_SECRET' },
        scopes: ['openid'],
        subjectType: 'pairwise',
        redirectUris: [REDIRECTS['shop'] ?? ''],
      }),
    )
    await using stores = await openStores(`sqlite:${own.folder}/portreeve.sqlite`, systemClock)
    const client = await stores.clients.findById('shop')
    if (!client) throw new Error('no client')
    await stores.clients.update({ ...client, scopes: ['openid', 'notes:read'] })
    const redirect_uri = REDIRECTS['shop'] ?? ''
    const request = { client_id: 'shop', redirect_uri, scope: 'openid notes:read' }
    const browser = createBrowser(own.issuer)
    const url = authorizationUrl(own.issuer, makePkce().challenge, request)
    expect(read(await browser.get(url)).get('error')).toBe('invalid_target')
  })

  test('is had by another grant', async () => {
    const { tokens } = await meet('shop')
    const exchange = 'urn:ietf:params:oauth:grant-type:token-exchange'
    const type = 'urn:ietf:params:oauth:token-type:access_token'
    for (const form of [
      { grant_type: 'client_credentials', scope: 'notes:read' },
      { grant_type: exchange, subject_token: tokens.access_token, subject_token_type: type },
    ]) {
      const { status, body } = await requestToken(server.issuer, form, asClient('shop'))
      expect([status, body.access_token]).toEqual([400, undefined])
    }
  })

  test('so that what ends the access of the person ends all that it has', async () => {
    const { tokens } = await meet('shop')
    expect(tokens.access_token.split('.')).toHaveLength(1)
    await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
    const alice = await stores.accounts.findByUsername('alice')
    if (!alice) throw new Error('no alice')
    await stores.accounts.update({ ...alice, disabled: true })
    expect((await askUserinfo(server.issuer, tokens.access_token)).status).toBe(401)
    await stores.accounts.update({ ...alice, disabled: false })
    const { body } = await post(
      server.issuer,
      '/revoke',
      { token: tokens.refresh_token },
      asClient('shop'),
    )
    expect(body).toEqual({})
    expect((await askUserinfo(server.issuer, tokens.access_token)).status).toBe(401)
  })
})

/** A place of a client that answers what it is told to: a body, or a status without one. */
async function startPlace() {
  const place = { answer: '[]' as string | number }
  const http = createServer((_request, response) => {
    if (typeof place.answer === 'string') response.end(place.answer)
    else response.writeHead(place.answer, { location: '/other' }).end()
  })
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}/sector.json`
  return Object.assign(place, {
    url,
    async [Symbol.asyncDispose]() {
      http.closeAllConnections()
      await new Promise((resolve) => http.close(resolve))
    },
  })
}

const inviteTo = async (where: TestServer) => (await invite(where)).token

describe('clients that register themselves', () => {
  let own: TestServer
  let place: Awaited<ReturnType<typeof startPlace>>
  beforeAll(async () => {
    place = await startPlace()
    const scopes = ['openid', 'email', 'notes:read']
    const grants = ['authorization_code', 'refresh_token', 'client_credentials'] as const
    const perAddress = { attempts: 10_000, windowSeconds: 60 }
    const policy = { access: 'invited' as const, scopes, grants: [...grants], perAddress }
    own = await startServer(withRegistration(policy))
  })
  afterAll(async () => {
    await own[Symbol.asyncDispose]()
    await place[Symbol.asyncDispose]()
  })

  const SITES = ['https://one.example/cb', 'https://two.example/cb']

  test('are told that they have pairwise subjects, and have them', async () => {
    const token = await inviteTo(own)
    const { body, id, secret } = await register(own.issuer, { subject_type: 'pairwise' }, token)
    expect(body).toMatchObject({ subject_type: 'pairwise', scope: 'openid email' })
    const [redirect_uri = ''] = METADATA.redirect_uris
    const request = { client_id: id, redirect_uri, scope: 'openid' }
    const browser = createBrowser(own.issuer)
    const { code, verifier } = await authorize(own.issuer, request, 'alice', browser)
    const form = { grant_type: 'authorization_code', code, code_verifier: verifier, redirect_uri }
    const headers = { authorization: basic(id, secret) }
    const tokens = await requestToken(own.issuer, form, headers)
    expect(decodeJwt(tokens.body.id_token).claims['sub']).toMatch(PAIRWISE)
  })

  test('have a sector that lists where they send people', async () => {
    place.answer = JSON.stringify([...SITES, 'https://three.example/cb'])
    const metadata = {
      subject_type: 'pairwise',
      redirect_uris: SITES,
      sector_identifier_uri: place.url,
    }
    const { body } = await register(own.issuer, metadata, await inviteTo(own))
    expect(body['sector_identifier_uri']).toBe(place.url)
  })

  test.each<[string, string | number]>([
    ['lists others', JSON.stringify(['https://one.example/cb'])],
    ['lists none', '[]'],
    ['is no list', '{"https://one.example/cb":true}'],
    ['is no JSON', 'https://one.example/cb https://two.example/cb'],
    ['is too large', JSON.stringify([...SITES, 'x'.repeat(300_000)])],
    ['is not there', 404],
    ['is elsewhere', 302],
  ])('are refused where their sector %s', async (_what, answer) => {
    place.answer = answer
    const metadata = {
      ...METADATA,
      subject_type: 'pairwise',
      redirect_uris: SITES,
      sector_identifier_uri: place.url,
    }
    const { status, body } = await send(
      `${own.issuer}/register`,
      'POST',
      metadata,
      await inviteTo(own),
    )
    expect([status, body['error'], body['error_description']]).toEqual([
      400,
      'invalid_client_metadata',
      expect.stringContaining('sector_identifier_uri'),
    ])
  })

  test.each<[string, Record<string, unknown>, string]>([
    ['a scope of an API', { scope: 'openid notes:read' }, 'scope'],
    [
      'a grant for machines',
      { grant_types: ['authorization_code', 'client_credentials'] },
      'grant_types',
    ],
    ['two hosts and no sector', { redirect_uris: SITES }, 'sector_identifier_uri'],
    [
      "another's host behind a scheme of its own",
      { redirect_uris: ['com.evil.app://shop.example/callback'], application_type: 'native' },
      'sector_identifier_uri',
    ],
    [
      'a sector without TLS',
      { sector_identifier_uri: 'http://x.example/' },
      'sector_identifier_uri',
    ],
    ['a sector inside', { sector_identifier_uri: 'https://10.0.0.1/' }, 'sector_identifier_uri'],
    ['another type', { subject_type: 'secret' }, 'subject_type'],
  ])('are refused with %s', async (_what, change, member) => {
    const metadata = { ...METADATA, subject_type: 'pairwise', ...change }
    const token = await inviteTo(own)
    const { status, body } = await send(`${own.issuer}/register`, 'POST', metadata, token)
    expect([status, body['error'], body['error_description']]).toEqual([
      400,
      'invalid_client_metadata',
      expect.stringContaining(member),
    ])
  })

  /** What people have given a client stays its own when it changes: a refresh token, here. */
  async function lure(metadata: Record<string, unknown>) {
    const token = await inviteTo(own)
    const uri = 'https://evil.example/cb'
    const grant_types = ['authorization_code', 'refresh_token']
    const wanted = { redirect_uris: [uri], grant_types, scope: 'openid', ...metadata }
    const client = await register(own.issuer, wanted, token)
    const request = { client_id: client.id, redirect_uri: uri, scope: 'openid' }
    const { code, verifier } = await authorize(own.issuer, request, 'alice')
    const form = { grant_type: 'authorization_code', code, code_verifier: verifier }
    const headers = { authorization: basic(client.id, client.secret) }
    const tokens = await requestToken(own.issuer, { ...form, redirect_uri: uri }, headers)
    const change = (more: Record<string, unknown>) =>
      send(
        client.url,
        'PUT',
        { ...METADATA, ...wanted, client_id: client.id, ...more },
        client.token,
      )
    const refresh = async () => {
      const { refresh_token } = tokens.body
      const answer = await requestToken(
        own.issuer,
        { grant_type: 'refresh_token', refresh_token },
        headers,
      )
      return decodeJwt(answer.body.id_token).claims['sub']
    }
    return { sub: decodeJwt(tokens.body.id_token).claims['sub'], change, refresh }
  }

  const AT_SHOP = { redirect_uris: ['https://shop.example/callback'] }
  const BAD = [400, 'invalid_client_metadata']

  test('cannot go on in the sector of another with what they were given', async () => {
    const client = await lure({ subject_type: 'pairwise' })
    const moved = await client.change(AT_SHOP)
    expect([moved.status, moved.body['error']]).toEqual(BAD)
    place.answer = JSON.stringify(AT_SHOP.redirect_uris)
    const listed = await client.change({ ...AT_SHOP, sector_identifier_uri: place.url })
    expect([listed.status, listed.body['error']]).toEqual(BAD)
    expect(await client.refresh()).toBe(client.sub)
    expect((await client.change({ redirect_uris: ['https://evil.example/2'] })).status).toBe(200)
  })

  test('nor by way of public subjects', async () => {
    const client = await lure({})
    expect((await client.change(AT_SHOP)).status).toBe(200)
    const moved = await client.change({ ...AT_SHOP, subject_type: 'pairwise' })
    expect([moved.status, moved.body['error'], moved.body['error_description']]).toEqual([
      ...BAD,
      expect.stringContaining('subject_type'),
    ])
    expect(await client.refresh()).toBe(client.sub)
  })
})
