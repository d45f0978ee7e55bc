import { DatabaseSync } from 'node:sqlite'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { createBrowser } from '../support/browser.ts'
import { createTestClock } from '../support/clock.ts'
import {
  authorizationUrl,
  authorize,
  basic,
  makePkce,
  requestToken,
  signIn,
  type AuthorizationRequest,
} from '../support/flow.ts'
import { post } from '../support/endpoints.ts'
import {
  invite,
  METADATA,
  register,
  send,
  withRegistration,
  type Metadata,
  type Registered,
  withdraw,
} from '../support/registration.ts'
import { REDIRECT, startServer, type TestServer } from '../support/server.ts'

/* The table of the requirements is in docs/conformance/rfc7591-registration.md. */

const POLICY: NonNullable<ConfigInput['registration']> = {
  access: 'open',
  scopes: ['openid', 'profile', 'notes:read'],
  perAddress: { attempts: 10_000, windowSeconds: 60 },
}

let server: TestServer
beforeAll(async () => {
  server = await startServer(withRegistration(POLICY))
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
})

async function ask(metadata: object, token?: string) {
  const { status, body } = await send(`${server.issuer}/register`, 'POST', metadata, token)
  return [status, body['error'] ?? 'none']
}

const BAD_URI = [400, 'invalid_redirect_uri']
const BAD = [400, 'invalid_client_metadata']

/** What expires is kept a little longer. */
const KEPT_MS = 61_000

async function redeem(client: { id: string; secret: string }, issuer = server.issuer) {
  const { code, verifier } = await authorize(issuer, {
    client_id: client.id,
    scope: 'openid notes:read',
  })
  return requestToken(
    issuer,
    { grant_type: 'authorization_code', code, code_verifier: verifier, redirect_uri: REDIRECT },
    { authorization: basic(client.id, client.secret) },
  )
}

describe('§3 registration', () => {
  test('gives a client that signs people in, after it was asked for and the person was told', async () => {
    const client = await register(server.issuer)
    const { status, body } = await redeem(client)
    expect([status, body.scope]).toEqual([200, 'openid notes:read'])
  })

  test('§3.2.1 answers with all that is registered, a secret, and where to manage it', async () => {
    const answer = await send(`${server.issuer}/register`, 'POST', METADATA)
    expect(answer.status).toBe(201)
    expect(answer.headers.get('cache-control')).toBe('no-store')
    expect(answer.headers.get('content-type')).toMatch(/^application\/json/)
    const id = String(answer.body['client_id'])
    expect(answer.body).toMatchObject({
      client_id: expect.stringMatching(/^dyn_[\w-]{22}$/),
      client_id_issued_at: expect.any(Number),
      client_secret: expect.stringMatching(/^[\w-]{43}$/),
      client_secret_expires_at: 0,
      client_name: 'A New App',
      redirect_uris: [REDIRECT],
      grant_types: ['authorization_code'],
      response_types: ['code'],
      token_endpoint_auth_method: 'client_secret_basic',
      scope: 'openid profile notes:read',
      registration_access_token: expect.stringMatching(/^prr_[\w-]{43}$/),
      registration_client_uri: `${server.issuer}/register/${id}`,
    })
  })

  test('a public client has no secret', async () => {
    const { body } = await register(server.issuer, { token_endpoint_auth_method: 'none' })
    expect(body).not.toHaveProperty('client_secret')
    expect(body).not.toHaveProperty('client_secret_expires_at')
  })

  test('§2 ignores what it does not understand, and null is nothing', async () => {
    const { body } = await register(server.issuer, {
      'redirect_uris#fr': ['https://app.example/fr'],
      'client_name#': 'An App',
      'client_name#x y': 'An App',
      client_uri: null,
      firstParty: true,
      first_party: true,
      introspects: ['https://notes.example/'],
      owner: 'operator',
      pkce: 'exempt',
      scope: null,
    })
    for (const member of ['client_uri', 'firstParty', 'introspects', 'owner', 'pkce']) {
      expect(body).not.toHaveProperty(member)
    }
    expect(Object.keys(body).filter((member) => member.includes('#'))).toEqual([])
    expect(body['scope']).toBe('openid profile notes:read')
  })

  test('§2 gives back what it says of itself, §2.2 in every language', async () => {
    const said = {
      client_uri: 'https://app.example/#about',
      logo_uri: 'https://cdn.example/logo.png',
      tos_uri: 'https://app.example/terms',
      policy_uri: 'http://127.0.0.1:8080/policy',
      contacts: ['help@app.example', '+49 30 1234'],
      'client_name#fr': 'Une nouvelle app',
      'client_name#ja-Hani-JP': '新しいアプリ',
      'tos_uri#de': 'https://app.example/agb',
    }
    const client = await register(server.issuer, said)
    expect(client.body).toMatchObject({ ...said, client_name: METADATA.client_name })
    const { body } = await send(client.url, 'GET', undefined, client.token)
    expect(body).toMatchObject(said)
    const change = { ...METADATA, client_id: client.id, tos_uri: 'https://app.example/new' }
    const changed = await send(client.url, 'PUT', change, client.token)
    expect(changed.body['tos_uri']).toBe('https://app.example/new')
    for (const member of ['client_uri', 'logo_uri', 'contacts', 'client_name#fr', 'tos_uri#de']) {
      expect(changed.body).not.toHaveProperty(member)
    }
  })

  test('has an app without a name called by no host that it has only written', async () => {
    const place = {
      redirect_uris: ['com.evil.app://bank.example/back'],
      application_type: 'native',
    }
    const { id, body } = await register(server.issuer, { ...place, client_name: undefined })
    expect(body['client_name']).toBe(id)
  })

  test('leaves out scopes that are not for such clients', async () => {
    const { body } = await register(server.issuer, { scope: 'openid notes:write notes:read x' })
    expect(body['scope']).toBe('openid notes:read')
    expect(await ask({ ...METADATA, scope: 'notes:write' })).toEqual(BAD)
  })

  test('an app on a person’s machine is known by its addresses', async () => {
    const local = { redirect_uris: ['http://127.0.0.1/callback', 'com.example.app:/cb'] }
    const { body } = await register(server.issuer, {
      ...local,
      token_endpoint_auth_method: 'none',
    })
    expect(body['application_type']).toBe('native')
  })
})

describe('§3.2.2 refuses', () => {
  test.each<[string, readonly unknown[]]>([
    ['no redirect URI', []],
    ['javascript:', ['javascript:alert(1)']],
    ['JaVaScRiPt:', ['JaVaScRiPt:alert(1)']],
    ['data:', ['data:text/html,<script>alert(1)</script>']],
    ['file:', ['file:///etc/passwd']],
    ['http to elsewhere', ['http://app.example/callback']],
    ['a fragment', ['https://app.example/#x']],
    ['a wildcard', ['https://*.example/callback']],
    ['a user name', ['https://bank.example@evil.example/']],
    ['a line break', ['https://app.example/\ncallback']],
    ['a relative address', ['/callback']],
    ['a scheme of one word', ['myapp:/callback']],
    ['too many', Array.from({ length: 21 }, (_, index) => `https://app.example/${index}`)],
    ['numbers', [1]],
  ])('as redirect URI %s', async (_what, uris) => {
    expect(await ask({ ...METADATA, redirect_uris: uris })).toEqual(BAD_URI)
  })

  test.each<[string, object]>([
    ['a grant that is not for strangers', { grant_types: ['client_credentials'] }],
    ['token exchange', { grant_types: ['urn:ietf:params:oauth:grant-type:token-exchange'] }],
    ['the implicit grant', { grant_types: ['implicit'], response_types: ['token'] }],
    ['a refresh token alone', { grant_types: ['refresh_token'] }],
    ['§2.1 a response type without its grant', { response_types: ['token'] }],
    ['§2.1 a grant without its response type', { response_types: [] }],
    ['an unknown method', { token_endpoint_auth_method: 'client_secret_jwt' }],
    ['a method without keys', { token_endpoint_auth_method: 'private_key_jwt' }],
    ['an unknown kind of app', { application_type: 'toaster' }],
    ['jwks and jwks_uri', { jwks: { keys: [{ kty: 'EC' }] }, jwks_uri: 'https://a.example/' }],
    ['a secret as key', { jwks: { keys: [{ kty: 'oct', k: 'AAAA' }] } }],
    ['keys over http', { jwks_uri: 'http://app.example/jwks' }],
    ['keys in a file', { jwks_uri: 'file:///etc/passwd' }],
    ['logouts over http', { backchannel_logout_uri: 'http://app.example/' }],
    ['javascript: after signing out', { post_logout_redirect_uris: ['javascript:alert(1)'] }],
    ['pairwise subjects and an API', { subject_type: 'pairwise', scope: 'openid notes:read' }],
    ['ID tokens without a signature', { id_token_signed_response_alg: 'none' }],
    ['an invisible name', { client_name: '\u200b' }],
    ['a name that is turned around', { client_name: '\u202eknab' }],
    ['a name of two lines', { client_name: 'A\nB' }],
    ['the name of another app', { client_name: 'The Web App' }],
    ['one that looks like it', { client_name: 'the-web-app' }],
    ['one in letters of elsewhere', { client_name: 'Thе Web App' }],
    ['the name of this server', { client_name: 'PORTREEVE' }],
    ['a name that is none', { client_name: 5 }],
    ['a website that a browser would run', { client_uri: 'javascript:alert(1)' }],
    ['a website over http', { client_uri: 'http://app.example/' }],
    ['a website with a user name', { client_uri: 'https://bank.example@evil.example/' }],
    ['a website that ends its attribute', { client_uri: 'https://app.example/"onclick=x' }],
    ['a website in letters of elsewhere', { client_uri: 'https://\u0430pp.example/' }],
    ['terms of two lines', { tos_uri: 'https://app.example/\nterms' }],
    ['a policy in place', { policy_uri: 'data:text/html,x' }],
    ['a logo in place', { logo_uri: 'data:image/png;base64,AAAA' }],
    ['a logo that is none', { logo_uri: ['https://app.example/logo.png'] }],
    ['a contact of two lines', { contacts: ['a\nb'] }],
    ['endless contacts', { contacts: Array.from({ length: 11 }, () => 'a') }],
    ['a contact that is no list', { contacts: 'help@app.example' }],
    ['§2.2 the name of another app in another language', { 'client_name#de': 'The Web App' }],
    ['§2.2 an invisible name', { 'client_name#de': '\u200b' }],
    ['§2.2 terms that a browser would run', { 'tos_uri#de': 'javascript:alert(1)' }],
  ])('%s', async (_what, change) => {
    expect(await ask({ ...METADATA, ...change })).toEqual(BAD)
  })

  test.each<[string, string, Record<string, string>, number]>([
    ['a form', 'redirect_uris=x', { 'content-type': 'application/x-www-form-urlencoded' }, 415],
    ['what a page may send anywhere', '{}', { 'content-type': 'text/plain' }, 415],
    ['no JSON', '{', { 'content-type': 'application/json' }, 400],
    ['a list', '[]', { 'content-type': 'application/json' }, 400],
    ['nothing', '', { 'content-type': 'application/json' }, 400],
    [
      'too much',
      JSON.stringify({ x: 'x'.repeat(40_000) }),
      { 'content-type': 'application/json' },
      413,
    ],
    [
      'what is packed',
      '{}',
      { 'content-type': 'application/json', 'content-encoding': 'gzip' },
      415,
    ],
  ])('%s', async (_what, body, headers, status) => {
    const answer = await send(`${server.issuer}/register`, 'POST', body, undefined, headers)
    expect(answer.status).toBe(status)
  })

  test('pages of elsewhere: there is no CORS', async () => {
    const headers = { origin: 'https://evil.example', 'access-control-request-method': 'POST' }
    const answer = await send(`${server.issuer}/register`, 'OPTIONS', undefined, undefined, headers)
    expect(answer.status).toBe(405)
    expect(answer.headers.get('access-control-allow-origin')).toBeNull()
  })

  test('other methods', async () => {
    expect((await send(`${server.issuer}/register`, 'GET')).status).toBe(405)
    expect((await send(`${server.issuer}/register/x`, 'POST', {})).status).toBe(405)
  })
})

/** The page that asks Alice. */
async function readConsentOf(issuer: string, request: AuthorizationRequest = {}): Promise<string> {
  const browser = createBrowser(issuer)
  const url = authorizationUrl(issuer, makePkce().challenge, request)
  const { text } = await signIn(browser, await browser.get(url))
  expect(text).toContain('/consent"')
  return text
}

describe('consent', () => {
  test('says that the app has registered itself, where it returns to, and is asked each time', async () => {
    const client = await register(server.issuer)
    const browser = createBrowser(server.issuer)
    const url = authorizationUrl(server.issuer, makePkce().challenge, { client_id: client.id })
    let page = await signIn(browser, await browser.get(url))
    expect(page.text).toContain('registered itself')
    expect(page.text).toContain('app.example')
    page = await browser.submit(page, '/consent')
    expect(page.location).toMatch(/^https:\/\/app\.example\/callback\?code=/)
    expect((await browser.get(url)).text).toContain('registered itself')
    const silent = await browser.get(`${url}&prompt=none`)
    expect(new URL(silent.location ?? '').searchParams.get('error')).toBe('interaction_required')
  })

  async function readConsent(metadata: Metadata, request: AuthorizationRequest = {}) {
    const { id } = await register(server.issuer, metadata)
    return readConsentOf(server.issuer, { client_id: id, ...request })
  }

  test('leads to pages of the app that are where the person is sent back to', async () => {
    const text = await readConsent({
      client_uri: 'https://app.example/?a=1&b=2#about',
      tos_uri: 'https://app.example/terms',
      policy_uri: 'https://app.example/policy',
    })
    expect(text).toContain(
      '<a href="https://app.example/?a=1&amp;b=2#about" target="_blank" rel="noopener noreferrer">Website</a>',
    )
    expect(text).toContain('href="https://app.example/terms"')
    expect(text).toContain('href="https://app.example/policy"')
  })

  test.each<[string, Metadata]>([
    ['another host', { tos_uri: 'https://bank.example/terms' }],
    ['a host below it', { client_uri: 'https://bank.app.example/' }],
    ['another port', { policy_uri: 'https://app.example:8443/policy' }],
  ])('never leads to pages of a stranger on %s', async (_what, metadata) => {
    const [uri] = Object.values(metadata)
    const text = await readConsent(metadata)
    expect(text).not.toContain('noreferrer')
    expect(text).not.toContain(String(uri))
  })

  test('shows neither the logo nor the contacts, nor names in other languages', async () => {
    const text = await readConsent({
      logo_uri: 'https://app.example/logo.png',
      contacts: ['help@app.example'],
      'client_name#en': 'Another Name',
    })
    expect(text).toContain('registered itself')
    for (const hidden of ['logo.png', 'help@app.example', 'Another Name']) {
      expect(text).not.toContain(hidden)
    }
  })

  test.each([
    ['a scheme that reads like a host', 'bank.example:/cb', 'bank.example:'],
    ['a host behind a scheme', 'com.evil.app://bank.example/cb', 'com.evil.app:'],
  ])('is not told another place to return to by %s', async (_what, uri, shown) => {
    const app = {
      redirect_uris: [uri],
      token_endpoint_auth_method: 'none',
      client_uri: 'https://bank.example/',
    }
    const text = await readConsent(app, { redirect_uri: uri })
    expect(text).toContain(`<bdi>${shown}</bdi>`)
    expect(text).not.toContain('<bdi>bank.example</bdi>')
  })

  test('leads to the pages of an app that the operator has declared, wherever they are', async () => {
    const links = { terms: 'https://legal.example/terms', policy: 'https://legal.example/policy' }
    await using own = await startServer((config) => ({
      ...config,
      clients: config.clients?.map((client) =>
        client.id === 'web' ? { ...client, links } : client,
      ),
    }))
    const text = await readConsentOf(own.issuer)
    expect(text).toContain('href="https://legal.example/terms"')
    expect(text).toContain('<bdi>legal.example</bdi>')
  })

  test('says nothing of the kind for another app', async () => {
    const browser = createBrowser(server.issuer)
    const url = authorizationUrl(server.issuer, makePkce().challenge)
    const page = await signIn(browser, await browser.get(url))
    expect(page.text).toContain('/consent"')
    expect(page.text).not.toContain('registered itself')
  })
})

describe('RFC 7592', () => {
  test('§2.1 the client reads itself, without its secret', async () => {
    const { url, token, id, secret } = await register(server.issuer)
    const { status, body, text, headers } = await send(url, 'GET', undefined, token)
    expect(status).toBe(200)
    expect(headers.get('cache-control')).toBe('no-store')
    expect(body).toMatchObject({
      client_id: id,
      redirect_uris: [REDIRECT],
      registration_client_uri: url,
      registration_access_token: token,
    })
    expect(text).not.toContain(secret)
    expect(text).not.toContain('sha256:')
  })

  test.each(['GET', 'PUT', 'DELETE'])('%s needs the token of this very client', async (method) => {
    const [one, other] = [await register(server.issuer), await register(server.issuer)]
    const { token: invited } = await invite(server)
    const body = method === 'PUT' ? { ...METADATA, client_id: one.id } : undefined
    for (const token of [other.token, one.secret, invited, 'x', undefined]) {
      const answer = await send(one.url, method, body, token)
      expect([answer.status, answer.body['error']]).toEqual([401, 'invalid_token'])
      expect(answer.headers.get('www-authenticate')).toMatch(/^Bearer/)
    }
    const unknown = await send(`${server.issuer}/register/dyn_x`, method, body, one.token)
    const foreign = await send(other.url, method, body, one.token)
    expect([unknown.status, unknown.text]).toEqual([foreign.status, foreign.text])
    const own = await send(`${server.issuer}/register/web`, method, body, one.token)
    expect(own.status).toBe(401)
    expect((await send(one.url, 'GET', undefined, one.token)).status).toBe(200)
  })

  test('§2.2 a client replaces all of itself: what it leaves out is as if it had never been', async () => {
    const client = await register(server.issuer, {
      post_logout_redirect_uris: ['https://app.example/bye'],
      scope: 'openid',
    })
    const redirect = 'https://app.example/other'
    const change = { client_id: client.id, redirect_uris: [redirect], client_secret: client.secret }
    const { status, body } = await send(client.url, 'PUT', change, client.token)
    expect(status).toBe(200)
    expect(body).toMatchObject({
      client_id: client.id,
      redirect_uris: [redirect],
      post_logout_redirect_uris: [],
      scope: 'openid profile notes:read',
      client_name: 'app.example',
      registration_access_token: client.token,
    })
    expect(body).not.toHaveProperty('client_secret')
    const old = authorizationUrl(server.issuer, makePkce().challenge, { client_id: client.id })
    const page = await createBrowser(server.issuer).get(old)
    expect([page.status, page.location]).toEqual([400, undefined])
  })

  test('§2.2 its secret stays its secret, goes with the method, and is made anew', async () => {
    const client = await register(server.issuer)
    const whole = { ...METADATA, client_id: client.id }
    await send(client.url, 'PUT', whole, client.token)
    expect((await redeem(client)).status).toBe(200)
    const none = { ...whole, token_endpoint_auth_method: 'none' }
    expect((await send(client.url, 'PUT', none, client.token)).status).toBe(200)
    const again = await send(client.url, 'PUT', whole, client.token)
    const secret = String(again.body['client_secret'])
    expect(secret).toMatch(/^[\w-]{43}$/)
    expect(secret).not.toBe(client.secret)
    expect((await redeem({ id: client.id, secret })).status).toBe(200)
  })

  test.each<[string, object]>([
    ['another id', { client_id: 'web' }],
    ['no id', { client_id: undefined }],
    ['another secret', { client_secret: 'x' }],
    ['a token', { registration_access_token: 'x' }],
    ['an address', { registration_client_uri: 'https://evil.example/' }],
    ['a time', { client_id_issued_at: 1 }],
    ['another time', { client_secret_expires_at: 0 }],
    ['a grant that is not for strangers', { grant_types: ['client_credentials'] }],
    ['the name of another app', { client_name: 'The Web App' }],
  ])('§2.2 an update with %s is refused, and changes nothing', async (_what, change) => {
    const { url, token, id } = await register(server.issuer)
    const before = await send(url, 'GET', undefined, token)
    const answer = await send(url, 'PUT', { ...METADATA, client_id: id, ...change }, token)
    expect([answer.status, answer.body['error']]).toEqual(BAD)
    expect((await send(url, 'GET', undefined, token)).body).toEqual(before.body)
  })

  test('§2.3 a client that removes itself is gone, and what it was given with it', async () => {
    const client = await register(server.issuer, {
      grant_types: ['authorization_code', 'refresh_token'],
    })
    const { body } = await redeem(client)
    expect((await send(client.url, 'DELETE', undefined, client.token)).status).toBe(204)
    expect((await send(client.url, 'GET', undefined, client.token)).status).toBe(401)
    const form = { grant_type: 'refresh_token', refresh_token: body.refresh_token }
    const headers = { authorization: basic(client.id, client.secret) }
    const refreshed = await requestToken(server.issuer, form, headers)
    expect([refreshed.status, refreshed.body.error]).toEqual([401, 'invalid_client'])
    const revoked = await fetch(`${server.issuer}/userinfo`, {
      headers: { authorization: `Bearer ${body.access_token}` },
    })
    expect(revoked.status).toBe(401)
  })
})

describe('an invite', () => {
  test('is needed where registration is not open', async () => {
    await using closed = await startServer(withRegistration({ ...POLICY, access: 'invited' }))
    const { token } = await invite(closed)
    const url = `${closed.issuer}/register`
    for (const wrong of [undefined, 'x', `${token}x`, token.slice(0, -1)]) {
      const answer = await send(url, 'POST', METADATA, wrong)
      expect([answer.status, answer.body['error']]).toEqual([401, 'invalid_token'])
    }
    const broken = await send(url, 'POST', { redirect_uris: ['javascript:x'] }, token)
    expect(broken.status).toBe(400)
    expect((await send(url, 'POST', METADATA, token)).status).toBe(201)
    expect((await send(url, 'POST', METADATA, token)).status).toBe(401)
    const [key] = closed.logged().match(/pr[ir]_[\w-]{43}/) ?? []
    expect(key).toBeUndefined()
  })

  test('that is wrong is refused where none is needed, too', async () => {
    expect(await ask(METADATA, 'x')).toEqual([401, 'invalid_token'])
  })

  test('is used as often as it says by however many at once', async () => {
    await using closed = await startServer(withRegistration({ ...POLICY, access: 'invited' }))
    const { token } = await invite(closed, 3)
    const asked = Array.from({ length: 20 }, () =>
      send(`${closed.issuer}/register`, 'POST', METADATA, token),
    )
    const statuses = (await Promise.all(asked)).map(({ status }) => status)
    expect(statuses.filter((status) => status === 201)).toHaveLength(3)
    expect(statuses.filter((status) => status === 401)).toHaveLength(17)
  })

  test('that was withdrawn lets nobody in', async () => {
    await using closed = await startServer(withRegistration({ ...POLICY, access: 'invited' }))
    const [kept, gone] = [await invite(closed), await invite(closed)]
    await withdraw(closed, gone.id)
    const tryToken = async (token: string) =>
      (await send(`${closed.issuer}/register`, 'POST', METADATA, token)).status
    expect([await tryToken(gone.token), await tryToken(kept.token)]).toEqual([401, 201])
  })

  test('ends by itself', async () => {
    await using closed = await startServer(withRegistration({ ...POLICY, access: 'invited' }))
    const { token } = await invite(closed, 1, 1)
    await expect
      .poll(async () => (await send(`${closed.issuer}/register`, 'POST', METADATA, token)).status)
      .toBe(401)
  })
})

describe('bounds', () => {
  test('registrations from one address', async () => {
    const perAddress = { attempts: 2, windowSeconds: 60 }
    await using slow = await startServer(withRegistration({ ...POLICY, perAddress }))
    const url = `${slow.issuer}/register`
    const { url: own, token } = await register(slow.issuer)
    expect((await send(url, 'POST', { x: 1 })).status).toBe(400)
    const refused = await send(url, 'POST', METADATA)
    expect(refused.status).toBe(429)
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    expect((await send(own, 'GET', undefined, token)).status).toBe(200)
  })

  test('clients altogether, by however many at once', async () => {
    await using small = await startServer(withRegistration({ ...POLICY, mostClients: 3 }))
    const asked = Array.from({ length: 12 }, () =>
      send(`${small.issuer}/register`, 'POST', METADATA),
    )
    const statuses = (await Promise.all(asked)).map(({ status }) => status)
    expect(statuses.filter((status) => status === 201)).toHaveLength(3)
    expect(statuses.filter((status) => status === 503)).toHaveLength(9)
  })

  test('how clients prove who they are, and what they may be', async () => {
    const narrow = { authMethods: ['none' as const], applicationTypes: ['native' as const] }
    await using small = await startServer(withRegistration({ ...POLICY, ...narrow }))
    const tryApp = async (change: Metadata) => {
      const metadata = { ...METADATA, ...change }
      const { status, body } = await send(`${small.issuer}/register`, 'POST', metadata)
      return [status, body['error_description']]
    }
    const app = { redirect_uris: ['http://127.0.0.1/cb'], token_endpoint_auth_method: 'none' }
    expect(await tryApp(app)).toEqual([201, undefined])
    expect(await tryApp({ ...app, token_endpoint_auth_method: 'client_secret_basic' })).toEqual([
      400,
      'token_endpoint_auth_method: expected none',
    ])
    const web = { ...app, application_type: 'web', redirect_uris: [REDIRECT] }
    expect(await tryApp(web)).toEqual([400, 'application_type: expected native'])
  })

  test('a grant that the operator allows, and no other', async () => {
    const grants = ['authorization_code' as const, 'client_credentials' as const]
    const policy = { ...POLICY, access: 'invited' as const, grants }
    await using machines = await startServer(withRegistration(policy))
    const { token } = await invite(machines, 2)
    const tryGrant = async (grant: string) => {
      const metadata = { grant_types: [grant], scope: 'notes:read' }
      return (await send(`${machines.issuer}/register`, 'POST', metadata, token)).status
    }
    expect([await tryGrant('client_credentials'), await tryGrant('refresh_token')]).toEqual([
      201, 400,
    ])
  })

  test('how long a client may stay that never gets a token', async () => {
    const clock = createTestClock(systemClock.now())
    const policy = { ...POLICY, unusedTtlSeconds: 3600 }
    const overrides = { clock, purgeEveryMilliseconds: 5 }
    await using tidy = await startServer(withRegistration(policy), overrides)
    const [used, unused] = [await register(tidy.issuer), await register(tidy.issuer)]
    expect((await redeem(used, tidy.issuer)).status).toBe(200)
    const isThere = async ({ url, token }: Registered) =>
      (await send(url, 'GET', undefined, token)).status
    clock.advance(3_600_000)
    const young = await register(tidy.issuer)
    clock.advance(KEPT_MS)
    await expect.poll(() => isThere(unused)).toBe(401)
    expect([await isThere(used), await isThere(young)]).toEqual([200, 200])
    expect(tidy.logged()).toContain('expired')
  })

  test('hosts that people are sent back to', async () => {
    const redirectHosts = ['app.example', '*.example.org']
    await using narrow = await startServer(withRegistration({ ...POLICY, redirectHosts }))
    const outcome = async (uri: string) => {
      const metadata = { redirect_uris: [uri] }
      return (await send(`${narrow.issuer}/register`, 'POST', metadata)).body['error'] ?? 'none'
    }
    expect(await outcome('https://app.example/')).toBe('none')
    expect(await outcome('https://APP.example:8443/')).toBe('none')
    expect(await outcome('https://a.b.example.org/')).toBe('none')
    for (const uri of [
      'https://example.org/',
      'https://evilexample.org/',
      'https://app.example.evil.example/',
      'https://evil.example/?app.example',
      'http://127.0.0.1/',
      'com.example.app:/cb',
    ]) {
      expect(await outcome(uri)).toBe('invalid_redirect_uri')
    }
  })
})

test('the metadata name the endpoint only where it is', async () => {
  await using none = await startServer()
  for (const [issuer, expected] of [
    [server.issuer, `${server.issuer}/register`],
    [none.issuer, undefined],
  ] as const) {
    for (const name of ['openid-configuration', 'oauth-authorization-server']) {
      const response = await fetch(`${issuer}/.well-known/${name}`)
      const metadata = (await response.json()) as Record<string, unknown>
      expect(metadata['registration_endpoint']).toBe(expected)
    }
  }
  expect((await send(`${none.issuer}/register`, 'POST', METADATA)).status).toBe(404)
})

test('nothing that is secret is kept as it is', async () => {
  const { secret, token } = await register(server.issuer)
  const { token: invited } = await invite(server)
  using database = new DatabaseSync(`${server.folder}/portreeve.sqlite`, { readOnly: true })
  const dump = ['client', 'client_registration', 'registration_invite']
    .map((table) => JSON.stringify(database.prepare(`select * from ${table}`).all()))
    .join('')
  for (const text of [secret, token, invited]) expect(dump).not.toContain(text)
  expect(server.logged()).not.toContain(token)
  expect(server.logged()).not.toContain(secret)
})

test('a device whose app has registered itself says so before anybody goes on', async () => {
  const grants = ['authorization_code' as const, 'device_code' as const]
  await using devices = await startServer(withRegistration({ ...POLICY, grants }))
  const { id } = await register(devices.issuer, {
    grant_types: ['urn:ietf:params:oauth:grant-type:device_code'],
    redirect_uris: [],
    token_endpoint_auth_method: 'none',
  })
  const form = { client_id: id, scope: 'openid' }
  const { body } = await post(devices.issuer, '/device_authorization', form, {})
  const page = await createBrowser(devices.issuer).get(String(body['verification_uri_complete']))
  expect(page.text).toContain('registered itself')
})
