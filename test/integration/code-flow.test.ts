import { createRemoteJWKSet, jwtVerify } from 'jose'
import { describe, expect, test } from 'vitest'
import { createBrowser } from '../support/browser.ts'
import {
  authorizationUrl,
  authorize,
  basic,
  decodeJwt,
  makePkce,
  obtainTokens,
  refresh,
  requestToken,
  signIn,
} from '../support/flow.ts'
import { BILLING, NOTES, PASSWORDS, REDIRECT, shareServer, startServer } from '../support/server.ts'

const sharedServer = shareServer()

describe('the code flow', () => {
  test('ends in a JWT for the API, an ID token and a refresh token', async () => {
    const server = sharedServer()
    const tokens = await obtainTokens(server.issuer, { nonce: 'a nonce' })
    const keys = createRemoteJWKSet(new URL(`${server.issuer}/jwks`))
    const access = await jwtVerify(tokens.access_token, keys, {
      issuer: server.issuer,
      audience: NOTES,
      typ: 'at+jwt',
    })
    expect(access.protectedHeader.alg).toBe('ES256')
    expect(access.payload).toMatchObject({
      client_id: 'web',
      scope: 'openid notes:read',
      roles: ['editor'],
      amr: ['pwd'],
    })
    expect(access.payload.sub).toMatch(/^acc_/)
    expect(access.payload['sid']).toEqual(expect.any(String))
    expect(access.payload['grant_id']).toEqual(expect.any(String))
    expect(access.payload['auth_time']).toEqual(expect.any(Number))
    const id = await jwtVerify(tokens.id_token, keys, { issuer: server.issuer, audience: 'web' })
    expect(id.protectedHeader.alg).toBe('RS256')
    expect(id.payload).toMatchObject({ sub: access.payload.sub, nonce: 'a nonce' })
    expect(tokens.refresh_token).toEqual(expect.any(String))
  })

  test('answers the client with code, state and iss', async () => {
    const server = sharedServer()
    const { answer } = await authorize(server.issuer)
    expect(Object.fromEntries(answer)).toEqual({
      code: expect.any(String),
      state: 'a state',
      iss: server.issuer,
    })
  })

  test('asks for consent once, and not again while the session lives', async () => {
    const server = sharedServer()
    const { browser } = await authorize(server.issuer)
    const page = await browser.get(authorizationUrl(server.issuer, makePkce().challenge))
    expect(new URL(page.location ?? '').searchParams.get('code')).toEqual(expect.any(String))
  })

  test('asks a client on loopback every time', async () => {
    await using server = await startServer((config) => ({
      ...config,
      clients: [
        ...(config.clients ?? []),
        {
          id: 'cli',
          applicationType: 'native',
          authMethod: 'none',
          firstParty: true,
          redirectUris: ['http://127.0.0.1/callback'],
          scopes: ['openid', 'notes:read'],
        },
      ],
    }))
    const request = { client_id: 'cli', redirect_uri: 'http://127.0.0.1:49152/callback' }
    const { browser, code } = await authorize(server.issuer, request)
    expect(code).not.toBe('')
    const page = await browser.get(authorizationUrl(server.issuer, makePkce().challenge, request))
    expect(page.text).toContain('/consent"')
  })

  test('asks nobody about a first-party client', async () => {
    await using server = await startServer((config) => ({
      ...config,
      clients: config.clients?.map((client) => ({
        ...client,
        ...(client.id === 'web' ? { firstParty: true } : {}),
      })),
    }))
    const browser = createBrowser(server.issuer)
    const page = await browser.get(authorizationUrl(server.issuer, makePkce().challenge))
    const answer = await signIn(browser, page)
    expect(new URL(answer.location ?? '').searchParams.get('code')).toEqual(expect.any(String))
  })

  test.each(['login', 'consent'])('ends in access_denied when %s is cancelled', async (prompt) => {
    const server = sharedServer()
    const browser = createBrowser(server.issuer)
    let page = await browser.get(authorizationUrl(server.issuer, makePkce().challenge))
    if (prompt === 'consent') page = await signIn(browser, page)
    const cancelled = await browser.submit(page, '/cancel')
    expect(Object.fromEntries(new URL(cancelled.location ?? '').searchParams)).toMatchObject({
      error: 'access_denied',
      state: 'a state',
      iss: server.issuer,
    })
  })

  test.each([
    ['no PKCE', {}, undefined, 'invalid_request'],
    ['the plain method', { code_challenge_method: 'plain' }, 'x', 'invalid_request'],
    ['an implicit response', { response_type: 'token' }, 'x', 'unsupported_response_type'],
    [
      'an ID token at once',
      { response_type: 'id_token', nonce: 'n' },
      'x',
      'unsupported_response_type',
    ],
    ['two resources by scope', { scope: 'notes:read billing:read' }, 'x', 'invalid_target'],
    ['an unknown resource', { resource: 'https://x.example/' }, 'x', 'invalid_target'],
    ['an unreachable prompt', { prompt: 'none' }, 'x', 'login_required'],
  ])('refuses %s at the client', async (_case, change, challenge, error) => {
    const server = sharedServer()
    const url = authorizationUrl(
      server.issuer,
      challenge === undefined ? undefined : makePkce().challenge,
      change,
    )
    const page = await createBrowser(server.issuer).get(url)
    const answer = new URL(page.location ?? 'none:')
    expect(answer.href.startsWith(REDIRECT)).toBe(true)
    const text = answer.search || answer.hash.slice(1)
    expect(new URLSearchParams(text).get('error')).toBe(error)
  })

  test.each([
    ['an unknown client', { client_id: 'nobody' }],
    ['another redirect URI', { redirect_uri: 'https://app.example/callback/more' }],
    ['a redirect URI with another query', { redirect_uri: `${REDIRECT}?x=1` }],
    ['a redirect URI of another host', { redirect_uri: 'https://evil.example/callback' }],
  ])('shows a page, and redirects nowhere, for %s', async (_case, change) => {
    const server = sharedServer()
    const url = authorizationUrl(server.issuer, makePkce().challenge, change)
    const page = await createBrowser(server.issuer).get(url)
    expect([page.status, page.location]).toEqual([400, undefined])
    expect(page.headers.get('content-type')).toContain('text/html')
    expect(page.text).not.toContain('evil.example')
  })

  test('gives a code away once, for the verifier and the client that asked', async () => {
    const server = sharedServer()
    const { code, verifier } = await authorize(server.issuer)
    const redeem = (change: Record<string, string> = {}) =>
      requestToken(server.issuer, {
        grant_type: 'authorization_code',
        code,
        code_verifier: verifier,
        redirect_uri: REDIRECT,
        ...change,
      })
    const other = await redeem({ code_verifier: makePkce().verifier })
    expect([other.status, other.body.error]).toEqual([400, 'invalid_grant'])
    const elsewhere = await redeem({ redirect_uri: 'https://app.example/other' })
    expect([elsewhere.status, elsewhere.body.error]).toEqual([400, 'invalid_grant'])
    const first = await redeem()
    expect(first.status).toBe(200)
    const second = await redeem()
    expect([second.status, second.body.error]).toEqual([400, 'invalid_grant'])
    const family = await refresh(server.issuer, first.body.refresh_token)
    expect([family.status, family.body.error]).toEqual([400, 'invalid_grant'])
  })

  test('lets a public client send an empty Basic password', async () => {
    const server = sharedServer()
    const request = { client_id: 'spa', redirect_uri: 'https://spa.example/' }
    const { code, verifier } = await authorize(server.issuer, request)
    const { status } = await requestToken(
      server.issuer,
      {
        grant_type: 'authorization_code',
        code,
        code_verifier: verifier,
        redirect_uri: 'https://spa.example/',
      },
      { authorization: basic('spa', '') },
    )
    expect(status).toBe(200)
  })

  test('signs nobody in with a wrong password, a wrong name or none', async () => {
    await using server = await startServer()
    const browser = createBrowser(server.issuer)
    const start = await browser.get(authorizationUrl(server.issuer, makePkce().challenge))
    for (const [username, password] of [
      ['alice', PASSWORDS.bob],
      ['stranger', PASSWORDS.alice],
      ['', ''],
    ] as const) {
      const page = await browser.submit(start, '/sign-in', { username, password })
      expect(page.location).toBeUndefined()
      expect(page.text).toContain('/sign-in"')
      expect(page.text).not.toContain(PASSWORDS.alice)
    }
    expect(server.logged()).not.toContain(PASSWORDS.alice)
    expect(server.logged()).not.toContain('stranger')
  })

  test('signs out, and the refresh token of the session with it', async () => {
    const server = sharedServer()
    const { browser, id_token, refresh_token } = await obtainTokens(server.issuer)
    const url = new URL('/session/end', server.issuer)
    url.searchParams.set('id_token_hint', id_token)
    url.searchParams.set('post_logout_redirect_uri', 'https://app.example/bye')
    url.searchParams.set('state', 'bye')
    const page = await browser.get(url.href)
    const after = await browser.submit(page, '/session/end/confirm', { logout: 'yes' })
    expect(after.location).toBe('https://app.example/bye?state=bye')
    const refused = await refresh(server.issuer, refresh_token)
    expect([refused.status, refused.body.error]).toEqual([400, 'invalid_grant'])
    const again = await browser.get(authorizationUrl(server.issuer, makePkce().challenge))
    expect(again.text).toContain('/sign-in"')
  })

  test('keeps an offline grant alive over a sign-out', async () => {
    const server = sharedServer()
    const { browser, id_token, refresh_token, access_token } = await obtainTokens(server.issuer, {
      scope: 'openid offline_access notes:read',
      prompt: 'consent',
    })
    expect(decodeJwt(access_token).claims['sid']).toBeUndefined()
    const page = await browser.get(`${server.issuer}/session/end?id_token_hint=${id_token}`)
    const after = await browser.submit(page, '/session/end/confirm', { logout: 'yes' })
    expect(after.text).toContain('signed out')
    expect((await refresh(server.issuer, refresh_token)).status).toBe(200)
  })
})

describe('the audience of an access token', () => {
  const audienceOf = (token: string) => decodeJwt(token).claims['aud']

  test('is the API and userinfo for openid with an implied resource', async () => {
    const server = sharedServer()
    const tokens = await obtainTokens(server.issuer)
    expect(audienceOf(tokens.access_token)).toEqual([NOTES, `${server.issuer}/userinfo`])
    expect(tokens.scope).toBe('openid notes:read')
    const next = await refresh(server.issuer, tokens.refresh_token)
    expect(audienceOf(next.body.access_token)).toEqual([NOTES, `${server.issuer}/userinfo`])
  })

  test('is the API alone for a resource that the client named', async () => {
    const server = sharedServer()
    const tokens = await obtainTokens(server.issuer, { resource: NOTES })
    expect(audienceOf(tokens.access_token)).toBe(NOTES)
    const next = await refresh(server.issuer, tokens.refresh_token)
    expect(audienceOf(next.body.access_token)).toBe(NOTES)
  })

  test('is the API alone without openid', async () => {
    const server = sharedServer()
    const tokens = await obtainTokens(server.issuer, { scope: 'notes:read' })
    expect(audienceOf(tokens.access_token)).toBe(NOTES)
  })

  test('is the one of two named resources that the token request names', async () => {
    await using server = await startServer((config) => ({
      ...config,
      users: config.users?.map((user) => ({ ...user, roles: ['admin'] })),
    }))
    const request = { scope: 'notes:read billing:read', resource: [NOTES, BILLING] }
    const { code, verifier } = await authorize(server.issuer, request)
    const exchange = {
      grant_type: 'authorization_code',
      code,
      code_verifier: verifier,
      redirect_uri: REDIRECT,
      resource: BILLING,
    }
    const { body } = await requestToken(server.issuer, exchange)
    expect(audienceOf(body.access_token)).toBe(BILLING)
    expect(decodeJwt(body.access_token).claims['scope']).toBe('billing:read')
    const notes = await refresh(server.issuer, body.refresh_token, { resource: NOTES })
    expect(audienceOf(notes.body.access_token)).toBe(NOTES)
  })

  test('is the API alone for one of several resources that the client named', async () => {
    await using server = await startServer((config) => ({
      ...config,
      users: config.users?.map((user) => ({ ...user, roles: ['admin'] })),
    }))
    const request = { scope: 'openid notes:read billing:read', resource: [NOTES, BILLING] }
    const { code, verifier } = await authorize(server.issuer, request)
    const { body } = await requestToken(server.issuer, {
      grant_type: 'authorization_code',
      code,
      code_verifier: verifier,
      redirect_uri: REDIRECT,
      resource: BILLING,
    })
    expect(audienceOf(body.access_token)).toBe(BILLING)
    const next = await refresh(server.issuer, body.refresh_token, { scope: 'openid notes:read' })
    expect(audienceOf(next.body.access_token)).toBe(NOTES)
  })

  test('leaves openid alone with the opaque token of the engine', async () => {
    const server = sharedServer()
    const { access_token } = await obtainTokens(server.issuer, { scope: 'openid email' })
    expect(access_token.split('.')).toHaveLength(1)
  })

  test('is refused to a web client that presents another client’s code', async () => {
    const server = sharedServer()
    const { code, verifier } = await authorize(server.issuer)
    const answer = await requestToken(
      server.issuer,
      {
        grant_type: 'authorization_code',
        code,
        code_verifier: verifier,
        redirect_uri: REDIRECT,
        client_id: 'spa',
      },
      {},
    )
    expect([answer.status, answer.body.error]).toEqual([400, 'invalid_grant'])
  })
})
