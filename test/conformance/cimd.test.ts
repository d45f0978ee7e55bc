import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser } from '../support/browser.ts'
import {
  obtainAs,
  openRequest,
  readReason,
  redeemAs,
  refreshAs,
  startDocumentHost,
  withDocuments,
  type DocumentHost,
  type Metadata,
} from '../support/documents.ts'
import { post } from '../support/endpoints.ts'
import {
  authorizationUrl,
  authorize,
  decodeJwt,
  makePkce,
  requestToken,
  signIn,
} from '../support/flow.ts'
import { startNameServer } from '../support/name-server.ts'
import { sendRaw } from '../support/raw.ts'
import { NOTES, REDIRECT, startServer, type TestServer } from '../support/server.ts'
import { makeSigningKey, secondsNow, type SigningKey } from '../support/signing.ts'

/* The table of the requirements is in docs/conformance/cimd.md. */

let server: TestServer
let host: DocumentHost
let key: SigningKey
beforeAll(async () => {
  host = await startDocumentHost()
  key = await makeSigningKey('own')
  server = await startServer((config) => ({
    ...withDocuments()(config),
    resources: [
      ...(config.resources ?? []),
      { identifier: `${host.origin}/api`, name: 'Theirs', scopes: {} },
    ],
  }))
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await host[Symbol.asyncDispose]()
})

let count = 0
/** A path that no other test has. */
const newPath = () => `/app-${(count += 1)}`

const UNREADABLE = 'the document at the client_id could not be read'

describe('a client that nobody has registered', () => {
  test('has people sign in, and gets tokens for an API and itself', async () => {
    const url = host.publish(newPath())
    const tokens = await obtainAs(server.issuer, url, { resource: NOTES })
    expect(decodeJwt(tokens.access_token).claims).toMatchObject({
      client_id: url,
      aud: NOTES,
      scope: 'notes:read',
    })
    expect(decodeJwt(tokens.id_token).claims).toMatchObject({ aud: url })
    expect((await refreshAs(server.issuer, url, tokens.refresh_token)).status).toBe(200)
  })

  test('proves itself by a key of its document', async () => {
    const members = { token_endpoint_auth_method: 'private_key_jwt' }
    const keys = host.answer('/keys', (_request, response) => {
      response.end(JSON.stringify({ keys: [key.jwk] }))
    })
    for (const place of [{ jwks: { keys: [key.jwk] } }, { jwks_uri: keys }]) {
      const url = host.publish(newPath(), { ...members, ...place })
      const { code, verifier } = await authorize(server.issuer, { client_id: url })
      const form = { code, code_verifier: verifier }
      expect((await redeemAs(server.issuer, url, form)).body.error).toBe('invalid_client')
      const claims = { iss: url, sub: url, aud: server.issuer, jti: randomUUID() }
      const assertion = await new SignJWT({ ...claims, exp: secondsNow() + 60 })
        .setProtectedHeader({ alg: 'ES256', kid: 'own' })
        .sign(key.privateKey)
      const signed = {
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion: assertion,
      }
      expect((await redeemAs(server.issuer, url, { ...form, ...signed })).status).toBe(200)
    }
  })

  test('pushes its request', async () => {
    const url = host.publish(newPath())
    const { verifier, challenge } = makePkce()
    const form = {
      client_id: url,
      response_type: 'code',
      redirect_uri: REDIRECT,
      scope: 'openid',
      code_challenge: challenge,
      code_challenge_method: 'S256',
    }
    const pushed = await post(server.issuer, '/request', form, {})
    expect(pushed.status).toBe(201)
    const browser = createBrowser(server.issuer)
    const parameters = { client_id: url, request_uri: String(pushed.body['request_uri']) }
    const start = await browser.get(
      `${server.issuer}/auth?${new URLSearchParams(parameters).toString()}`,
    )
    const back = await browser.submit(await signIn(browser, start), '/consent')
    const code = new URL(back.location ?? '').searchParams.get('code') ?? ''
    const { status } = await redeemAs(server.issuer, url, { code, code_verifier: verifier })
    expect(status).toBe(200)
  })

  test('on a person’s machine listens on any port', async () => {
    const url = host.publish(newPath(), { redirect_uris: ['http://127.0.0.1/callback'] })
    const redirect_uri = 'http://127.0.0.1:51234/callback'
    const { code, verifier } = await authorize(server.issuer, { client_id: url, redirect_uri })
    const form = { code, code_verifier: verifier, redirect_uri }
    expect((await redeemAs(server.issuer, url, form)).status).toBe(200)
  })

  test('is described as editors describe themselves', async () => {
    const url = host.publish(newPath(), {
      application_type: 'native',
      client_uri: 'https://editor.example/product',
      logo_uri: 'https://editor.example/icon.png',
      grant_types: [
        'authorization_code',
        'refresh_token',
        'urn:ietf:params:oauth:grant-type:device_code',
      ],
      redirect_uris: ['http://127.0.0.1/', 'https://editor.example/redirect', 'com.example.ed:/cb'],
      scope: undefined,
    })
    const redirect_uri = 'http://127.0.0.1:33418/'
    const { code, verifier } = await authorize(server.issuer, { client_id: url, redirect_uri })
    const form = { code, code_verifier: verifier, redirect_uri }
    const { status, body } = await redeemAs(server.issuer, url, form)
    expect([status, body.scope]).toEqual([200, 'openid notes:read'])
  })

  test('in a browser calls the token endpoint', async () => {
    const url = host.publish(newPath())
    const form = { grant_type: 'authorization_code', client_id: url, code: 'x' }
    await obtainAs(server.issuer, url)
    const { headers } = await requestToken(server.issuer, form, { origin: 'https://app.example' })
    expect(headers.get('access-control-allow-origin')).toBe('https://app.example')
  })

  test('two on one host are two', async () => {
    const [one, two] = [host.publish(newPath()), host.publish(newPath())]
    const { refresh_token } = await obtainAs(server.issuer, one)
    await obtainAs(server.issuer, two)
    const { status, body } = await refreshAs(server.issuer, two, refresh_token)
    expect([status, body.error]).toEqual([400, 'invalid_grant'])
    expect((await refreshAs(server.issuer, one, refresh_token)).status).toBe(200)
  })

  test('is asked for each time, and never silently', async () => {
    const url = host.publish(newPath())
    const browser = createBrowser(server.issuer)
    await authorize(server.issuer, { client_id: url }, 'alice', browser)
    const again = authorizationUrl(server.issuer, makePkce().challenge, { client_id: url })
    expect((await browser.get(again)).text).toContain('/consent"')
    const { location } = await browser.get(`${again}&prompt=none`)
    expect(location).toContain('error=interaction_required')
  })
})

describe('§3 the URL', () => {
  test.each<[string, (origin: string) => string, RegExp]>([
    ['without a path', (origin) => origin, /a path/],
    ['with a dot segment', (origin) => `${origin}/a/../app`, /dot segments/],
    ['with a hidden dot segment', (origin) => `${origin}/a/%2E%2e/app`, /dot segments/],
    ['in capitals', (origin) => `${origin.toUpperCase()}/app`, /small letters/],
    ['with a fragment', (origin) => `${origin}/app#x`, /without a fragment/],
    ['with an empty fragment', (origin) => `${origin}/app#`, /without a fragment/],
    ['with a query', (origin) => `${origin}/app?x=1`, /without a query/],
    ['with an empty query', (origin) => `${origin}/app?`, /without a query/],
    ['with a user', (origin) => `${origin.replace('//', '//me@')}/app`, /user name/],
    ['with a password', (origin) => `${origin.replace('//', '//:x@')}/app`, /user name/],
    ['with a backslash', (origin) => `${origin}\\app`, /a URL/],
    ['with a line break', (origin) => `${origin}/a\npp`, /a URL/],
    ['with a space at the end', (origin) => `${origin}/app `, /a URL/],
    ['in other letters', (origin) => `${origin}/äpp`, /a URL/],
    ['that is too long', (origin) => `${origin}/${'a'.repeat(512)}`, /512 characters/],
    ['of another scheme', () => 'ftp://app.example/app', /https URL/],
    ['that is code', () => 'javascript:alert(1)', /https URL/],
    ['that is data', () => 'data:application/json,{}', /https URL/],
    ['that is a name', () => 'urn:example:app', /https URL/],
    ['over http', () => 'http://app.example/app', /https URL/],
    ['of a number', () => 'https://93.184.216.34/app', /public name/],
    ['of a number in another way', () => 'https://0x7f.1/app', /small letters/],
    ['of a long number', () => 'https://[2606:2800:220:1::1]/app', /public name/],
    ['of a neighbour', () => 'https://intranet/app', /public name/],
    ['with a dot at the end', () => 'https://app.example./app', /public name/],
    ['of a service that is none', () => 'https://app.example:22/app', /port 443/],
    ['with the usual port', () => 'https://app.example:443/app', /default port/],
  ])('%s is refused, and nothing is fetched', async (_what, write, expected) => {
    const path = '/app'
    const before = host.asked(path)
    const logged = server.logged().length
    const page = await openRequest(server.issuer, write(host.origin))
    expect(server.logged().slice(logged).split('"request_refused"')[1]?.length).toBeLessThan(900)
    expect(page.status).toBe(400)
    expect(readReason(page)).toMatch(expected)
    expect(host.asked(path)).toBe(before)
  })

  test('of this server itself is refused', async () => {
    const page = await openRequest(server.issuer, `${server.issuer}/app`)
    expect(readReason(page)).toMatch(/another server/)
  })

  test('spelled in another way is another client, which has to say so itself', async () => {
    const path = newPath()
    host.publish(path)
    for (const other of [`${path}/`, path.toUpperCase(), path.replace('a', '%61')]) {
      const url = host.answer(other, (_request, response) => {
        const document = JSON.stringify({ client_id: `${host.origin}${path}` })
        response.writeHead(200, { 'content-type': 'application/json' }).end(document)
      })
      expect(readReason(await openRequest(server.issuer, url))).toBe(UNREADABLE)
    }
  })

  test('that is the name of an API is refused', async () => {
    const page = await openRequest(server.issuer, host.publish('/api'))
    expect(readReason(page)).toMatch(/identifier or audience/)
  })

  test('of a host that the operator has not named is refused', async () => {
    await using narrow = await startServer(withDocuments({ hosts: ['*.example', '127.0.0.1'] }))
    expect((await openRequest(narrow.issuer, host.publish(newPath()))).text).toContain('/sign-in"')
    const elsewhere = host.publish(newPath()).replace('127.0.0.1', 'localhost')
    expect(readReason(await openRequest(narrow.issuer, elsewhere))).toMatch(/may be used here/)
  })
})

describe.concurrent('§4 the document', () => {
  test.each<[string, Metadata, string]>([
    ['a secret', { client_secret: 'x' }, 'client_secret: expected none'],
    ['an end of a secret', { client_secret_expires_at: 0 }, 'client_secret_expires_at'],
    ...['client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'tls_client_auth'].map(
      (method): [string, Metadata, string] => [
        `the method ${method}`,
        { token_endpoint_auth_method: method },
        'token_endpoint_auth_method',
      ],
    ),
    ['a method without keys', { token_endpoint_auth_method: 'private_key_jwt' }, 'jwks'],
    ['a secret as key', { jwks: { keys: [{ kty: 'oct', k: 'AAAA' }] } }, 'jwks'],
    ['keys in two places', { jwks: { keys: [] }, jwks_uri: 'https://a.example/' }, 'jwks'],
    ['keys over http', { jwks_uri: 'http://app.example/jwks' }, 'jwks_uri'],
    ['no redirect URI', { redirect_uris: undefined }, 'redirect_uris'],
    ['an empty list of them', { redirect_uris: [] }, 'redirect_uris'],
    ['javascript:', { redirect_uris: ['javascript:alert(1)'] }, 'redirect_uris[0]'],
    ['data:', { redirect_uris: ['data:text/html,x'] }, 'redirect_uris[0]'],
    ['http to elsewhere', { redirect_uris: ['http://app.example/'] }, 'redirect_uris[0]'],
    ['a fragment', { redirect_uris: ['https://app.example/#x'] }, 'redirect_uris[0]'],
    ['a wildcard', { redirect_uris: ['https://*.example/'] }, 'redirect_uris[0]'],
    ['a user name', { redirect_uris: ['https://bank.example@evil.example/'] }, 'redirect_uris[0]'],
    ['a text as list', { redirect_uris: REDIRECT }, 'redirect_uris'],
    ['no grant that is for it', { grant_types: ['client_credentials'] }, 'grant_types'],
    ['a refresh token alone', { grant_types: ['refresh_token'] }, 'grant_types'],
    ['no response type that is for it', { response_types: ['token'] }, 'response_types'],
    ['no scope that is for it', { scope: 'notes:write' }, 'scope'],
    ['a toaster', { application_type: 'toaster' }, 'application_type'],
    ['logouts over http', { backchannel_logout_uri: 'http://app.example/' }, 'backchannel'],
    ['an ID token without a signature', { id_token_signed_response_alg: 'none' }, 'id_token'],
    ['pairwise subjects', { subject_type: 'pairwise', scope: 'openid' }, 'subject_type'],
    ['a page that is code', { client_uri: 'javascript:alert(1)' }, 'client_uri'],
    ['the name of another app', { client_name: 'The Web App' }, 'another app is called so'],
    ['one that looks like it', { client_name: 'Thе Web App' }, 'client_name'],
    ['the name of this server', { client_name: 'PORTREEVE' }, 'another app is called so'],
    ['an invisible name', { client_name: '\u200b' }, 'client_name'],
    ['a name that is turned around', { client_name: '\u202eknab' }, 'client_name'],
    ['a name that is none', { client_name: 5 }, 'client_name'],
  ])('with %s is refused, and its owner is told why', async (_what, change, expected) => {
    const page = await openRequest(server.issuer, host.publish(newPath(), change))
    expect([page.status, page.location]).toEqual([400, undefined])
    expect(readReason(page)).toContain('the document at the client_id cannot be used: ')
    expect(readReason(page)).toContain(expected)
  })

  test.each<[string, Metadata]>([
    ['names grants of other servers as well', { grant_types: ['authorization_code', 'urn:x'] }],
    ['names other response types as well', { response_types: ['token', 'code'] }],
    ['says nothing of how it proves itself', { token_endpoint_auth_method: undefined }],
    ['says nothing of grants', { grant_types: undefined, response_types: undefined }],
    ['says more than is understood', { firstParty: true, pkce: 'exempt', 'client_name#fr': 'Une' }],
    ['has null for nothing', { jwks: null, jwks_uri: null }],
    ['has pictures that nobody looks at', { logo_uri: 'data:image/png;base64,AA', contacts: 5 }],
    ['asks for too much beside', { scope: 'openid notes:read notes:write admin' }],
  ])('that %s is good', async (_what, change) => {
    const url = host.publish(newPath(), change)
    const tokens = await obtainAs(server.issuer, url, { scope: 'openid notes:read notes:write' })
    expect(tokens.scope).toBe('openid notes:read')
  })

  test('without a name is shown by its host', async () => {
    const page = await openRequest(
      server.issuer,
      host.publish(newPath(), { client_name: undefined }),
    )
    expect(page.text).toContain(`<bdi>${new URL(host.origin).host}</bdi></strong>`)
  })

  test('a redirect URI that is not in it is refused', async () => {
    const url = host.publish(newPath())
    for (const redirect_uri of [`${REDIRECT}/`, 'https://app.example:444/callback']) {
      const page = await openRequest(server.issuer, url, { redirect_uri })
      expect([page.status, page.location]).toEqual([400, undefined])
    }
  })

  test('that leads where the operator does not let apps lead is refused', async () => {
    await using narrow = await startServer(withDocuments({ redirectHosts: ['app.example'] }))
    const elsewhere = { redirect_uris: ['https://evil.example/'] }
    expect((await openRequest(narrow.issuer, host.publish(newPath()))).text).toContain('/sign-in"')
    const page = await openRequest(narrow.issuer, host.publish(newPath(), elsewhere))
    expect(readReason(page)).toMatch(/redirect_uris\[0\]: its host/)
  })
})

describe.concurrent('§5 what answers', () => {
  const JSON_TYPE = { 'content-type': 'application/json' }

  test.each(['application/json', 'application/json; charset=utf-8', 'application/oauth-x+json'])(
    'as %s is read',
    async (type) => {
      const url = host.publish(newPath(), {}, { 'content-type': type })
      expect((await openRequest(server.issuer, url)).text).toContain('/sign-in"')
    },
  )

  test.each(['text/html', 'text/json', 'application/jsonx', 'application/ld+jsonp', ''])(
    'as %s is not',
    async (type) => {
      const url = host.publish(newPath(), {}, { 'content-type': type })
      expect(readReason(await openRequest(server.issuer, url))).toBe(UNREADABLE)
    },
  )

  test.each([201, 203, 206, 301, 302, 307, 400, 404, 410, 500, 503])(
    'with the status %i is not',
    async (status) => {
      const path = newPath()
      const url = host.publish(path)
      host.answer(path, (_request, response) => {
        const headers = { ...JSON_TYPE, location: host.publish('/elsewhere') }
        response.writeHead(status, headers).end(JSON.stringify({ client_id: url }))
      })
      expect(readReason(await openRequest(server.issuer, url))).toBe(UNREADABLE)
      expect(host.asked('/elsewhere')).toBe(0)
    },
  )

  test.each<[string, string]>([
    ['no JSON', '{'],
    ['a list', '[]'],
    ['a text', '"x"'],
    ['null', 'null'],
    ['nothing', ''],
    ['an object of nothing', '{}'],
    ['another client', JSON.stringify({ client_id: 'https://app.example/' })],
    ['a list of clients', JSON.stringify({ client_id: ['https://app.example/'] })],
  ])('with %s is not', async (_what, body) => {
    const url = host.answer(newPath(), (_request, response) => {
      response.writeHead(200, JSON_TYPE).end(body)
    })
    expect(readReason(await openRequest(server.issuer, url))).toBe(UNREADABLE)
  })

  test('§8.7 with five kilobytes is read, and with a byte more it is not', async () => {
    for (const [size, isRead] of [
      [5120, true],
      [5121, false],
    ] as const) {
      const path = newPath()
      const bare = JSON.stringify({ client_id: `${host.origin}${path}`, redirect_uris: [REDIRECT] })
      const url = host.answer(path, (_request, response) => {
        response.writeHead(200, JSON_TYPE).end(bare.padEnd(size))
      })
      const page = await openRequest(server.issuer, url)
      expect([size, page.text.includes('/sign-in"')]).toEqual([size, isRead])
    }
  })

  test('without end is not waited for', async () => {
    const closed = Promise.withResolvers<void>()
    const url = host.answer(newPath(), (_request, response) => {
      response.writeHead(200, JSON_TYPE)
      response.on('close', () => closed.resolve())
      const more = () => {
        if (!response.destroyed) response.write(' '.repeat(1024), () => setImmediate(more))
      }
      more()
    })
    expect(readReason(await openRequest(server.issuer, url))).toBe(UNREADABLE)
    await closed.promise
  })

  test('packed is not unpacked', async () => {
    const url = host.publish(newPath(), {}, { 'content-encoding': 'gzip' })
    expect(readReason(await openRequest(server.issuer, url))).toBe(UNREADABLE)
    expect(server.logged()).toContain('in the coding gzip')
  })

  test('slowly is given up', { timeout: 15_000 }, async () => {
    const url = host.answer(newPath(), (_request, response) => {
      response.writeHead(200, JSON_TYPE).write('{')
    })
    expect(readReason(await openRequest(server.issuer, url))).toBe(UNREADABLE)
    expect(server.logged()).toContain('timeout: ')
  })

  test('says nothing to strangers of how it failed, and all of it to the operator', async () => {
    const nowhere = await startDocumentHost()
    const closed = nowhere.publish('/app')
    await nowhere[Symbol.asyncDispose]()
    const missing = `${host.origin}${newPath()}`
    const began = performance.now()
    const pages = await Promise.all([closed, missing].map((url) => openRequest(server.issuer, url)))
    expect(performance.now() - began).toBeGreaterThan(400)
    expect(new Set(pages.map(readReason))).toEqual(new Set([UNREADABLE]))
    for (const page of pages) expect(page.text).not.toMatch(/ECONN|\b404\b|127\.0\.0\.1/)
    expect(server.logged()).toContain('ECONNREFUSED')
    expect(server.logged()).toContain(`${missing}: expected 200 OK, got 404`)
  })
})

describe('§8.6 from where a stranger must not lead', () => {
  test('nothing on this machine or beside it is called', async () => {
    await using outside = await startServer((config) => ({
      ...withDocuments()(config),
      issuer: 'https://id.example',
      trustedProxies: ['127.0.0.1'],
    }))
    const path = newPath()
    const port = new URL(host.publish(path)).port
    for (const url of [
      `http://127.0.0.1:${port}${path}`,
      `https://127.0.0.1:${port}${path}`,
      `http://localhost:${port}${path}`,
      `https://localhost:${port}${path}`,
      `https://[::1]:${port}${path}`,
      `https://[::ffff:7f00:1]:${port}${path}`,
      'https://169.254.169.254/latest/meta-data',
      'https://10.0.0.1/app',
      // These are names, and lead to this machine: the guard of what is called has to know.
      `https://a.localhost:${port}${path}`,
      `https://id.localhost:${port}${path}`,
    ]) {
      const query = new URL(authorizationUrl(outside.url, makePkce().challenge, { client_id: url }))
      const { status, body } = await sendRaw(outside.url, [
        `GET ${query.pathname}${query.search} HTTP/1.1`,
        'Host: id.example',
        'X-Forwarded-Proto: https',
      ])
      expect([url, status]).toEqual([url, 400])
      expect(body).toMatch(/client_id: expected|could not be read/)
    }
    expect(host.asked(path)).toBe(0)
    expect(outside.logged()).toMatch(/a\.localhost leads (?:nowhere|to 127|to ::1)/)
  })

  test('nor what the operator lets clients of their own lead to', async () => {
    await using names = await startNameServer('127.0.0.1')
    let calls = 0
    const inside = createServer(() => void (calls += 1)).listen(0, '127.0.0.1')
    await once(inside, 'listening')
    await using outside = await startServer(
      (config) => ({
        ...withDocuments()(config),
        issuer: 'https://id.example',
        trustedProxies: ['127.0.0.1'],
        outbound: { networks: ['127.0.0.0/8'] },
      }),
      { nameServers: [names.address] },
    )
    const client = `https://inside.example:${(inside.address() as AddressInfo).port}/app`
    const query = new URL(
      authorizationUrl(outside.url, makePkce().challenge, { client_id: client }),
    )
    const { status, body } = await sendRaw(outside.url, [
      `GET ${query.pathname}${query.search} HTTP/1.1`,
      'Host: id.example',
      'X-Forwarded-Proto: https',
    ])
    expect([status, calls]).toEqual([400, 0])
    expect(body).toContain('could not be read')
    expect(outside.logged()).toContain('inside.example leads to 127.0.0.1, which is no public')
    inside.close()
  })
})

test('the metadata say so only where there are such clients', async () => {
  await using none = await startServer()
  for (const [issuer, expected] of [
    [server.issuer, true],
    [none.issuer, undefined],
  ] as const) {
    for (const name of ['openid-configuration', 'oauth-authorization-server']) {
      const metadata = (await (await fetch(`${issuer}/.well-known/${name}`)).json()) as object
      expect(metadata).toHaveProperty('issuer', issuer)
      expect(Reflect.get(metadata, 'client_id_metadata_document_supported')).toBe(expected)
    }
  }
  const path = newPath()
  const page = await openRequest(none.issuer, host.publish(path))
  expect([page.status, host.asked(path)]).toEqual([400, 0])
})
