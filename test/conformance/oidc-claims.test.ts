import { CompactSign } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { createBrowser, type Browser, type Page } from '../support/browser.ts'
import {
  answerRequest,
  asDesk,
  ask as askDesk,
  openRequests,
  pollRequest,
} from '../support/ciba.ts'
import { approve, askForCode, poll, typeCode } from '../support/device.ts'
import { askUserinfo, introspect, post, revoke, withClients } from '../support/endpoints.ts'
import {
  authorizationUrl,
  authorize,
  basic,
  decodeJwt,
  makePkce,
  refresh,
  requestToken,
  signIn,
  type AuthorizationRequest,
  type TokenAnswer,
} from '../support/flow.ts'
import { register } from '../support/registration.ts'
import { REDIRECT, startServer, WEB_SECRET } from '../support/server.ts'
import { describeRequestObject, makeSigningKey, signClaims } from '../support/signing.ts'

/* The table of the requirements is in docs/conformance/oidc-core.md. */

const ACR = 'urn:portreeve:acr:password'
const key = await makeSigningKey('a-key')
const app = { secret: { env: 'WEB_SECRET' }, redirectUris: [REDIRECT] }

let server: Awaited<ReturnType<typeof startServer>>
beforeAll(async () => {
  server = await startServer((config) => ({
    ...withClients(
      { id: 'web', grants: ['authorization_code', 'refresh_token', 'device_code'] },
      { ...app, id: 'mail', name: 'Mail', scopes: ['openid', 'email', 'notes:read'] },
      { ...app, id: 'own', name: 'Our Own', firstParty: true, scopes: ['openid', 'email'] },
      { ...app, id: 'signer', jwks: { keys: [key.jwk] }, scopes: ['openid', 'email'] },
      {
        id: 'desk',
        name: 'The Service Desk',
        secret: { env: 'SERVICE_SECRET' },
        grants: ['ciba'],
        scopes: ['openid', 'profile', 'email'],
      },
    )(config),
    registration: { access: 'open', scopes: ['openid', 'email'] },
  }))
})
afterAll(() => server[Symbol.asyncDispose]())

type Wishes = Readonly<Record<string, unknown>>

const claimsOf = (request: Wishes | string): { claims: string } => ({
  claims: typeof request === 'string' ? request : JSON.stringify(request),
})

const read = ({ location }: Page) => new URL(location ?? 'https://x.example/').searchParams
const isSignIn = ({ text }: Page) => text.includes('/sign-in"')
const isConsent = ({ text }: Page) => text.includes('/consent"')

function ask(browser: Browser, request: AuthorizationRequest): Promise<Page> {
  const url = authorizationUrl(server.issuer, makePkce().challenge, { scope: 'openid', ...request })
  return browser.get(url)
}

interface Told {
  readonly tokens: TokenAnswer['body']
  readonly browser: Browser
  readonly idToken: Readonly<Record<string, unknown>>
  readonly userinfo: Readonly<Record<string, unknown>>
}

/** The whole flow of one client; answers what it is told about the person. */
async function obtain(
  request: AuthorizationRequest,
  browser: Browser = createBrowser(server.issuer),
): Promise<Told> {
  const clientId = request.client_id ?? 'web'
  const asked = { scope: 'openid', ...request }
  const { code, verifier, answer } = await authorize(server.issuer, asked, 'alice', browser)
  if (code === '') throw new Error(`refused: ${answer.toString()}`)
  return { ...(await redeem(clientId, code, verifier)), browser }
}

async function redeem(clientId: string, code: string, verifier: string, secret = WEB_SECRET) {
  const form = { grant_type: 'authorization_code', code, code_verifier: verifier }
  const headers = { authorization: basic(clientId, secret) }
  const { body } = await requestToken(server.issuer, { ...form, redirect_uri: REDIRECT }, headers)
  return describeTold(body)
}

async function describeTold(tokens: TokenAnswer['body']) {
  const { body: userinfo } = await askUserinfo(server.issuer, tokens.access_token)
  return { tokens, idToken: decodeJwt(tokens.id_token).claims, userinfo }
}

async function findAlice(): Promise<string> {
  return String((await obtain({})).idToken['sub'])
}

describe('§5.5 claims by themselves', () => {
  test('are where they were asked for, and nowhere else', async () => {
    const request = { id_token: { email: null }, userinfo: { name: { essential: true } } }
    const { idToken, userinfo } = await obtain(claimsOf(request))
    expect(idToken).toMatchObject({ email: 'alice@example.com' })
    expect(idToken).not.toHaveProperty('name')
    expect(Object.keys(userinfo).toSorted()).toEqual(['name', 'sub'])
  })

  test('stand beside those of a scope', async () => {
    const request = { scope: 'openid email', ...claimsOf({ id_token: { email: null } }) }
    const { idToken, userinfo } = await obtain(request)
    expect(idToken).not.toHaveProperty('email_verified')
    expect([idToken['email'], userinfo['email'], userinfo['email_verified']]).toEqual([
      'alice@example.com',
      'alice@example.com',
      false,
    ])
  })

  test('come with a JWT for an API as with an opaque token, and again after a refresh', async () => {
    const request = { id_token: { preferred_username: null }, userinfo: { email: null } }
    const scope = 'openid offline_access notes:read'
    const first = await obtain({ scope, prompt: 'consent', ...claimsOf(request) })
    const { body } = await refresh(server.issuer, first.tokens.refresh_token)
    for (const { tokens, idToken, userinfo } of [first, await describeTold(body)]) {
      expect(tokens.access_token.split('.')).toHaveLength(3)
      expect(idToken['preferred_username']).toBe('alice')
      expect(Object.keys(userinfo).toSorted()).toEqual(['email', 'sub'])
    }
  })

  test('that were asked for earlier are not told where a token was not for them', async () => {
    const { browser } = await obtain({
      scope: 'openid notes:read',
      ...claimsOf({ userinfo: { email: null, name: null } }),
    })
    const { userinfo } = await obtain(
      { scope: 'openid notes:read', ...claimsOf({ userinfo: { name: null } }) },
      browser,
    )
    expect(Object.keys(userinfo).toSorted()).toEqual(['name', 'sub'])
    const { userinfo: none } = await obtain({ scope: 'openid notes:read' }, browser)
    expect(Object.keys(none)).toEqual(['sub'])
  })

  test('say that an address is verified only where somebody has said so', async () => {
    const request = claimsOf({ id_token: { email_verified: { essential: true, value: true } } })
    expect((await obtain(request)).idToken['email_verified']).toBe(false)
  })

  test('that there are none of are left out', async () => {
    const request = claimsOf({ id_token: { picture: { essential: true }, 'name#de': null } })
    const { idToken } = await obtain(request)
    expect(idToken).not.toHaveProperty('picture')
    expect(Object.keys(idToken).filter((claim) => claim.startsWith('name'))).toEqual([])
  })
})

describe('§5.5 what a client may have', () => {
  test('is bounded by its scopes: the rest is passed over, essential or not', async () => {
    const wishes = { email: null, name: { essential: true }, groups: { essential: true } }
    const request = { client_id: 'mail', ...claimsOf({ id_token: wishes, userinfo: wishes }) }
    const browser = createBrowser(server.issuer)
    const { text } = await signIn(browser, await ask(browser, request))
    expect([text.includes('See your e-mail'), text.includes('See your name')]).toEqual([
      true,
      false,
    ])
    const { idToken, userinfo } = await obtain(request)
    expect(Object.keys(userinfo).toSorted()).toEqual(['email', 'sub'])
    expect(idToken['email']).toBe('alice@example.com')
    expect([idToken['name'], idToken['groups']]).toEqual([undefined, undefined])
  })

  test('is bounded so for a client that has registered itself', async () => {
    const { id, secret } = await register(server.issuer, { scope: 'openid', claims: ['email'] })
    const { code, verifier } = await authorize(server.issuer, {
      client_id: id,
      scope: 'openid',
      ...claimsOf({ id_token: { email: { essential: true } } }),
    })
    expect((await redeem(id, code, verifier, secret)).idToken).not.toHaveProperty('email')
    const other = await register(server.issuer, { scope: 'openid email' })
    const allowed = await authorize(server.issuer, {
      client_id: other.id,
      scope: 'openid',
      ...claimsOf({ id_token: { email: { essential: true } } }),
    })
    const told = await redeem(other.id, allowed.code, allowed.verifier, other.secret)
    expect(told.idToken['email']).toBe('alice@example.com')
  })

  test('ends when the operator takes the scope away', async () => {
    await using own = await startServer(
      withClients({ ...app, id: 'mail', scopes: ['openid', 'email'] }),
    )
    const asked = { client_id: 'mail', scope: 'openid', ...claimsOf({ userinfo: { email: null } }) }
    const { code, verifier } = await authorize(own.issuer, asked)
    const { body } = await requestToken(
      own.issuer,
      {
        grant_type: 'authorization_code',
        code,
        code_verifier: verifier,
        redirect_uri: REDIRECT,
      },
      { authorization: basic('mail', WEB_SECRET) },
    )
    expect((await askUserinfo(own.issuer, body.access_token)).body).toHaveProperty('email')
    await using stores = await openStores(`sqlite:${own.folder}/portreeve.sqlite`, systemClock)
    const client = await stores.clients.findById('mail')
    if (!client) throw new Error('no client')
    await stores.clients.update({ ...client, scopes: ['openid'] })
    const { status, body: after } = await askUserinfo(own.issuer, body.access_token)
    expect([status, Object.keys(after)]).toEqual([200, ['sub']])
  })
})

describe('consent', () => {
  test('names each claim that comes with no scope, and each once', async () => {
    const browser = createBrowser(server.issuer)
    const request = {
      scope: 'openid email',
      ...claimsOf({
        id_token: { email: null, name: null },
        userinfo: { name: null, groups: null },
      }),
    }
    const { text } = await signIn(browser, await ask(browser, request))
    const words = [...text.matchAll(/<li><bdi>([^<]*)<\/bdi><\/li>/g)].map(([, word]) => word)
    expect(words).toEqual([
      'Know who you are (an identifier made for this server)',
      'See your e-mail address',
      'See your name',
      'See the groups you belong to',
    ])
  })

  test('is asked for again for more, not for fewer, nor for a claim of a scope', async () => {
    const { browser } = await obtain({
      scope: 'openid email',
      ...claimsOf({ id_token: { name: null, groups: null } }),
    })
    const fewer = await ask(browser, claimsOf({ id_token: { name: null } }))
    expect(read(fewer).has('code')).toBe(true)
    const ofScope = await ask(browser, claimsOf({ userinfo: { email_verified: null } }))
    expect(read(ofScope).has('code')).toBe(true)
    const more = claimsOf({ id_token: { name: null, locale: null } })
    expect((await ask(browser, more)).text).toContain('See your language')
    const silent = await ask(browser, { ...more, prompt: 'none' })
    expect(read(silent).get('error')).toBe('consent_required')
  })

  test('that is refused gives nothing', async () => {
    const browser = createBrowser(server.issuer)
    const page = await signIn(browser, await ask(browser, claimsOf({ id_token: { name: null } })))
    expect(read(await browser.submit(page, '/cancel')).get('error')).toBe('access_denied')
    expect(isConsent(await ask(browser, claimsOf({ id_token: { name: null } })))).toBe(true)
  })

  test('that is withdrawn covers claims', async () => {
    const request = { prompt: 'consent', ...claimsOf({ userinfo: { name: null } }) }
    const { tokens, browser } = await obtain(request)
    expect((await revoke(server.issuer, tokens.refresh_token)).status).toBe(200)
    expect((await askUserinfo(server.issuer, tokens.access_token)).status).toBe(401)
    const again = await ask(browser, claimsOf({ userinfo: { name: null } }))
    expect(again.text).toContain('See your name')
  })

  test('is not asked for by a client of the operator', async () => {
    const request = {
      client_id: 'own',
      scope: 'openid',
      ...claimsOf({ id_token: { email: null } }),
    }
    const browser = createBrowser(server.issuer)
    const page = await signIn(browser, await ask(browser, request))
    expect(read(page).has('code')).toBe(true)
    const { idToken } = await obtain({ ...request, prompt: 'none' }, browser)
    expect(idToken['email']).toBe('alice@example.com')
  })

  test('is logged with the claims', async () => {
    await obtain(claimsOf({ id_token: { locale: null } }))
    expect(server.logged()).toMatch(/"event":"consent_given".*"claims":\["locale"\]/)
  })
})

describe('§5.5.1 sub', () => {
  test('of the person who is signed in leads on', async () => {
    const sub = await findAlice()
    const { browser } = await obtain({})
    for (const member of ['id_token', 'userinfo']) {
      const value = claimsOf({ [member]: { sub: { value: sub } } })
      expect(read(await ask(browser, { ...value, prompt: 'none' })).has('code')).toBe(true)
    }
    const values = claimsOf({ id_token: { sub: { values: ['acc_x', sub] } } })
    expect(read(await ask(browser, { ...values, prompt: 'none' })).has('code')).toBe(true)
  })

  test.each(['id_token', 'userinfo'])(
    'of somebody else in %s ends in a sign-in, and never in tokens of this person',
    async (member) => {
      const { browser } = await obtain({})
      const request = claimsOf({ [member]: { sub: { value: 'acc_somebody-else' } } })
      const page = await ask(browser, request)
      expect([isSignIn(page), page.text]).toEqual([
        true,
        expect.stringContaining('this app asks for another account'),
      ])
      expect(isSignIn(await signIn(browser, page))).toBe(true)
    },
  )

  test('tells who guesses no more than that somebody has to sign in', async () => {
    const { browser } = await obtain({})
    const request = { prompt: 'none', ...claimsOf({ id_token: { sub: { value: 'acc_guess' } } }) }
    const [wrong, nobody] = [
      read(await ask(browser, request)),
      read(await ask(createBrowser(server.issuer), request)),
    ]
    expect(wrong.get('error')).toBe('login_required')
    expect(Object.fromEntries(wrong)).toEqual(Object.fromEntries(nobody))
  })

  test('of two people is refused', async () => {
    const request = { id_token: { sub: { value: 'a' } }, userinfo: { sub: { value: 'b' } } }
    const page = await ask(createBrowser(server.issuer), claimsOf(request))
    expect(read(page).get('error')).toBe('invalid_request')
  })
})

describe('§5.5.1.1 acr, auth_time', () => {
  test('that a password meets is in the ID token', async () => {
    const acr = { essential: true, values: ['urn:example:stronger', ACR] }
    const request = claimsOf({ id_token: { acr, auth_time: { essential: true } } })
    const { idToken } = await obtain(request)
    expect(idToken).toMatchObject({ acr: ACR, auth_time: expect.any(Number) as unknown })
  })

  test.each([
    ['values', { essential: true, values: ['urn:example:stronger'] }, {}],
    ['a value', { essential: true, value: 'urn:example:stronger' }, {}],
    [
      'values beside acr_values that are met',
      { essential: true, values: ['x'] },
      { acr_values: ACR },
    ],
  ])('that is essential with %s that nobody can meet is refused', async (_with, acr, more) => {
    const { browser } = await obtain({})
    for (const someone of [browser, createBrowser(server.issuer)]) {
      const page = await ask(someone, { ...more, ...claimsOf({ id_token: { acr } }) })
      expect(read(page).get('error')).toBe('unmet_authentication_requirements')
    }
  })

  test('that is voluntary may go unmet', async () => {
    const { idToken } = await obtain(claimsOf({ id_token: { acr: { values: ['x'] } } }))
    expect(idToken['acr']).toBe(ACR)
  })
})

describe('a request that is not what it should be', () => {
  test.each([
    ['no JSON', '{'],
    ['an array', '[]'],
    ['a text', '"email"'],
    ['a member that is an array', '{"id_token":[]}'],
    ['a member that is a text', '{"userinfo":"email"}'],
    ['none of the members that are understood', '{"verified_claims":{}}'],
    ['a sub that is a number', '{"id_token":{"sub":{"value":1}}}'],
    ['an acr of no values', '{"id_token":{"acr":{"essential":true,"values":[]}}}'],
    ['an acr with a value in its place', '{"id_token":{"acr":{"essential":true,"values":"x"}}}'],
    [
      'more than 4096 characters',
      JSON.stringify({ id_token: { email: { value: 'x'.repeat(4096) } } }),
    ],
  ])('is refused: %s', async (_what, claims) => {
    const page = await ask(createBrowser(server.issuer), { claims })
    expect(read(page).get('error')).toBe('invalid_request')
  })

  test('is refused twice', async () => {
    const page = await ask(createBrowser(server.issuer), { claims: ['{}', '{}'] })
    expect([read(page).get('error') ?? page.text]).toEqual([
      expect.stringContaining('invalid_request'),
    ])
  })

  test('is refused without the scope openid', async () => {
    const request = { scope: 'notes:read', ...claimsOf({ id_token: { email: null } }) }
    const page = await ask(createBrowser(server.issuer), request)
    expect(read(page).get('error')).toBe('invalid_request')
  })

  test.each([
    ['__proto__', '{"id_token":{"__proto__":{"email":null},"constructor":null,"toString":null}}'],
    ['deep', `{"id_token":{"x":${'['.repeat(500)}${']'.repeat(500)}}}`],
    ['values that are not asked for by null or an object', '{"id_token":{"email":true,"name":1}}'],
    ['what this server alone writes', '{"id_token":{"roles":null,"grant_id":null,"cnf":null}}'],
    ['an unknown member', '{"id_token":{"email":null},"transformed":{"x":[]}}'],
  ])('tells nothing that was not asked for: %s', async (_what, claims) => {
    const { idToken, userinfo } = await obtain({ claims })
    const { email, ...others } = idToken
    expect(email).toBe(
      claims.includes('{"email":null},"transformed') ? 'alice@example.com' : undefined,
    )
    expect(Object.keys(others).toSorted()).toEqual(
      ['iss', 'sub', 'aud', 'exp', 'iat', 'auth_time', 'acr', 'amr', 'sid'].toSorted(),
    )
    expect(Object.keys(userinfo)).toEqual(['sub'])
  })

  test('as a groups claim is had by who may have the scope alone', async () => {
    const request = claimsOf({ id_token: { groups: null } })
    expect((await obtain(request)).idToken['groups']).toEqual(['staff'])
    expect((await obtain({ client_id: 'mail', ...request })).idToken).not.toHaveProperty('groups')
  })
})

describe('by other ways', () => {
  const wish = { id_token: { email: null, name: null } }

  test('pushed requests (RFC 9126)', async () => {
    const { verifier, challenge } = makePkce()
    const form = {
      client_id: 'mail',
      response_type: 'code',
      redirect_uri: REDIRECT,
      scope: 'openid',
      code_challenge: challenge,
      code_challenge_method: 'S256',
    }
    const headers = { authorization: basic('mail', WEB_SECRET) }
    const { body } = await post(server.issuer, '/request', { ...form, ...claimsOf(wish) }, headers)
    const browser = createBrowser(server.issuer)
    const query = { client_id: 'mail', request_uri: String(body['request_uri']) }
    const url = `${server.issuer}/auth?${new URLSearchParams(query).toString()}`
    const page = await browser.submit(await signIn(browser, await browser.get(url)), '/consent')
    const { idToken } = await redeem('mail', read(page).get('code') ?? '', verifier)
    expect([idToken['email'], idToken['name']]).toEqual(['alice@example.com', undefined])
    const refused = await post(server.issuer, '/request', { ...form, claims: '[]' }, headers)
    expect(refused.body['error']).toBe('invalid_request')
  })

  async function askSigned(claims: unknown, browser: Browser) {
    const { verifier, challenge } = makePkce()
    const parameters = {
      response_type: 'code',
      redirect_uri: REDIRECT,
      scope: 'openid',
      code_challenge: challenge,
      code_challenge_method: 'S256',
      claims,
    }
    const described = describeRequestObject('signer', server.issuer, parameters)
    const request = await signClaims(described, key, { typ: 'oauth-authz-req+jwt' })
    const query = new URLSearchParams({ client_id: 'signer', request }).toString()
    return { page: await browser.get(`${server.issuer}/auth?${query}`), verifier }
  }

  test('signed requests (RFC 9101), as an object or as a text', async () => {
    for (const claims of [wish, JSON.stringify(wish)]) {
      const browser = createBrowser(server.issuer)
      const { page, verifier } = await askSigned(claims, browser)
      const end = await browser.submit(await signIn(browser, page), '/consent')
      const { idToken } = await redeem('signer', read(end).get('code') ?? '', verifier)
      expect([idToken['email'], idToken['name']]).toEqual(['alice@example.com', undefined])
    }
    for (const claims of [['email'], 1, '{']) {
      const { page } = await askSigned(claims, createBrowser(server.issuer))
      expect(read(page).get('error') ?? page.text).toContain('invalid_request')
    }
  })

  test('signed requests that are nested beyond measure are refused, pushed or not', async () => {
    const depth = 15_000
    const nested = `{"id_token":{"x":${'['.repeat(depth)}${']'.repeat(depth)}}}`
    const described = describeRequestObject('signer', server.issuer, { response_type: 'code' })
    const payload = `${JSON.stringify(described).slice(0, -1)},"claims":${nested}}`
    const header = { alg: key.alg, kid: key.kid, typ: 'oauth-authz-req+jwt' }
    const request = await new CompactSign(Buffer.from(payload))
      .setProtectedHeader(header)
      .sign(key.privateKey)
    const headers = { authorization: basic('signer', WEB_SECRET) }
    const pushed = await post(server.issuer, '/request', { client_id: 'signer', request }, headers)
    expect([pushed.status, pushed.body['error']]).toEqual([400, 'invalid_request_object'])
    expect(server.logged()).toMatch(/"detail":"it is nested too deeply"/)
    expect(server.logged()).not.toContain('server_error')
  })

  test('devices (RFC 8628) show them on both pages', async () => {
    const { body } = await askForCode(server.issuer, {
      scope: 'openid',
      ...claimsOf({ id_token: { name: null }, userinfo: { email: null } }),
    })
    const { page } = await typeCode(server, body.user_code)
    expect(page.text).toContain('See your name')
    await approve(server, body.user_code)
    const { idToken, userinfo } = await describeTold(
      (await poll(server.issuer, body.device_code)).body,
    )
    expect([idToken['name'], Object.keys(userinfo).toSorted()]).toEqual([
      'Alice Adams',
      ['email', 'sub'],
    ])
    const refused = await askForCode(server.issuer, { scope: 'openid', claims: '{' })
    expect(refused.body.error).toBe('invalid_request')
  })

  test('CIBA shows them where the person approves', async () => {
    const claims = claimsOf({ id_token: { name: null, groups: null }, userinfo: { email: null } })
    const { body } = await askDesk(server.issuer, { scope: 'openid email', ...claims })
    const { page } = await openRequests(server)
    expect(page.text).toContain('See your name')
    expect(page.text).not.toContain('See the groups')
    await answerRequest(server, 'alice')
    const { idToken, userinfo } = await describeTold(
      (await pollRequest(server.issuer, body.auth_req_id)).body,
    )
    expect([idToken['name'], idToken['groups'], userinfo['email']]).toEqual([
      'Alice Adams',
      undefined,
      'alice@example.com',
    ])
  })

  test.each([
    ['another sub', { sub: { value: 'acc_x' } }, 'invalid_request'],
    [
      'an acr that is not there',
      { acr: { essential: true, value: 'x' } },
      'unmet_authentication_requirements',
    ],
  ])('CIBA refuses %s', async (_what, id_token, error) => {
    const request = { scope: 'openid', ...claimsOf({ id_token }) }
    expect((await askDesk(server.issuer, request, asDesk())).body.error).toBe(error)
  })

  test('introspection tells an API no claim of the person', async () => {
    const scope = 'openid notes:read'
    const { tokens } = await obtain({ scope, ...claimsOf({ userinfo: { email: null } }) })
    const { body } = await introspect(server.issuer, tokens.access_token)
    expect(body['active']).toBe(true)
    expect(JSON.stringify(body)).not.toContain('alice@example.com')
  })
})
