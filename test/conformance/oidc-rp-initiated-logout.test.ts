import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { SignJWT } from 'jose'
import { systemClock } from '../../auth-server/clock.ts'
import { createBrowser, type Browser, type Page } from '../support/browser.ts'
import { withClients } from '../support/endpoints.ts'
import { authorizationUrl, makePkce, obtainTokens } from '../support/flow.ts'
import { makeSigningKey } from '../support/signing.ts'
import { REDIRECT, startServer, type TestServer } from '../support/server.ts'

/* The table of the requirements is in docs/conformance/oidc-rp-initiated-logout.md. */

const BYE = 'https://app.example/bye'
const OTHERS_BYE = 'https://other.example/bye'

let server: TestServer
beforeAll(async () => {
  server = await startServer(
    withClients({
      id: 'other',
      secret: { env: 'WEB_SECRET' },
      redirectUris: [REDIRECT],
      postLogoutRedirectUris: [OTHERS_BYE],
      scopes: ['openid'],
    }),
  )
})
afterAll(() => server[Symbol.asyncDispose]())
afterEach(() => void vi.useRealTimers())

type Query = Readonly<Record<string, string>>

function leave(browser: Browser, query: Query): Promise<Page> {
  return browser.get(`${server.issuer}/session/end?${new URLSearchParams(query).toString()}`)
}

function confirm(browser: Browser, page: Page): Promise<Page> {
  return browser.submit(page, '/session/end/confirm', { logout: 'yes' })
}

async function isSignedIn(browser: Browser): Promise<boolean> {
  const url = authorizationUrl(server.issuer, makePkce().challenge, { prompt: 'none' })
  const { location = '' } = await browser.get(url)
  return new URL(location).searchParams.get('error') !== 'login_required'
}

/** What a client may send, each in every way that it can be right or left out. */
const HINTS = ['none', 'own', 'expired', 'of another person'] as const
const CLIENTS = ['none', 'web'] as const
const PLACES = ['none', BYE] as const
const STATES = ['none', 'a state'] as const

interface Combination {
  readonly hint: (typeof HINTS)[number]
  readonly client: (typeof CLIENTS)[number]
  readonly place: (typeof PLACES)[number]
  readonly state: (typeof STATES)[number]
}

const COMBINATIONS: readonly Combination[] = HINTS.flatMap((hint) =>
  CLIENTS.flatMap((client) =>
    PLACES.flatMap((place) => STATES.map((state) => ({ hint, client, place, state }))),
  ),
)

async function makeHint(hint: Combination['hint']) {
  const tokens = await obtainTokens(server.issuer)
  if (hint !== 'of another person') return { browser: tokens.browser, token: tokens.id_token }
  const { id_token: token } = await obtainTokens(server.issuer, {}, 'bob')
  return { browser: tokens.browser, token }
}

function writeQuery({ hint, client, place, state }: Combination, token: string): Query {
  return {
    ...(hint !== 'none' && { id_token_hint: token }),
    ...(client !== 'none' && { client_id: client }),
    ...(place !== 'none' && { post_logout_redirect_uri: place }),
    ...(state !== 'none' && { state }),
  }
}

describe('§2 signing out', () => {
  test.each(COMBINATIONS)(
    'with a hint: $hint, client_id: $client, a place: $place, state: $state',
    async (combination) => {
      const { hint, client, place, state } = combination
      const { browser, token } = await makeHint(hint)
      if (hint === 'expired') {
        vi.useFakeTimers({ toFake: ['Date'], now: systemClock.now() + 2 * 3_600_000 })
      }
      const page = await leave(browser, writeQuery(combination, token))
      expect(page.status).toBe(200)
      // §2: the person is asked, whatever the hint says.
      expect(await isSignedIn(browser)).toBe(true)
      const again = await leave(browser, writeQuery(combination, token))
      const end = await confirm(browser, again)
      expect(await isSignedIn(browser)).toBe(false)
      const isKnown = hint !== 'none' || client !== 'none'
      // §3: without knowing whose place it is, nobody is sent there.
      const goes = isKnown && place !== 'none'
      const expected = new URL(BYE)
      if (state !== 'none') expected.searchParams.set('state', state)
      const landed = await follow(browser, end)
      expect(landed).toBe(goes ? expected.href : 'here')
    },
  )

  async function follow(browser: Browser, page: Page): Promise<string> {
    const { location } = page
    if (location === undefined) return 'here'
    if (!location.startsWith(server.issuer)) return location
    const next = await browser.get(location)
    expect(next.text).toContain('signed out')
    return 'here'
  }

  test.each([
    ['a place that is not registered', { client_id: 'web', post_logout_redirect_uri: `${BYE}/x` }],
    ['a place of another client', { client_id: 'web', post_logout_redirect_uri: OTHERS_BYE }],
    ['an unknown client', { client_id: 'nobody', post_logout_redirect_uri: BYE }],
    ['a hint that is none', { id_token_hint: 'x.y.z' }],
    ['a place twice', 'client_id=web&post_logout_redirect_uri=a&post_logout_redirect_uri=b'],
  ] as const)('is refused with %s, and signs nobody out', async (_what, query) => {
    const { browser } = await obtainTokens(server.issuer)
    const text = typeof query === 'string' ? query : new URLSearchParams(query).toString()
    const page = await browser.get(`${server.issuer}/session/end?${text}`)
    expect(page.status).toBe(400)
    expect(page.location).toBeUndefined()
    expect(await isSignedIn(browser)).toBe(true)
  })

  test('is refused where hint and client_id are of two clients', async () => {
    const { browser, id_token: token } = await obtainTokens(server.issuer)
    const page = await leave(browser, { id_token_hint: token, client_id: 'other' })
    expect([page.status, await isSignedIn(browser)]).toEqual([400, true])
  })

  test('is refused with a hint that somebody else has signed', async () => {
    const { browser } = await obtainTokens(server.issuer)
    const { privateKey } = await makeSigningKey('forged', 'RS256')
    const forged = await new SignJWT({ sub: 'acc_x' })
      .setProtectedHeader({ alg: 'RS256', kid: 'forged' })
      .setIssuer(server.issuer)
      .setAudience('web')
      .setExpirationTime('1h')
      .sign(privateKey)
    const page = await leave(browser, { id_token_hint: forged, post_logout_redirect_uri: BYE })
    expect([page.status, page.location, await isSignedIn(browser)]).toEqual([400, undefined, true])
  })

  test('may come as a form, and is what it would be in the address', async () => {
    const { browser, id_token: token } = await obtainTokens(server.issuer)
    const form = new URLSearchParams({
      id_token_hint: token,
      post_logout_redirect_uri: BYE,
      state: 'a & b',
      ui_locales: 'de',
      logout_hint: 'alice',
    })
    const url = `${server.issuer}/session/end`
    const sent = await fetch(url, { method: 'POST', body: form, redirect: 'manual' })
    expect([sent.status, sent.headers.get('location')]).toEqual([
      303,
      `/session/end?${form.toString()}`,
    ])
    const end = await confirm(browser, await browser.post(url, form.toString()))
    expect(end.location).toBe(`${BYE}?state=a+%26+b`)
    expect(await isSignedIn(browser)).toBe(false)
  })

  test('asks who is not signed in nothing, and sends them back', async () => {
    const browser = createBrowser(server.issuer)
    const page = await leave(browser, { client_id: 'web', post_logout_redirect_uri: BYE })
    expect(page.status).toBe(200)
    const end = await browser.submit(page, '/session/end/confirm')
    expect(end.location).toBe(BYE)
  })

  test('does nothing where the person stays', async () => {
    const { browser, id_token: token } = await obtainTokens(server.issuer)
    const page = await leave(browser, { id_token_hint: token })
    await browser.submit(page, '/session/end/confirm')
    expect(await isSignedIn(browser)).toBe(true)
  })

  test('cannot be confirmed by another site', async () => {
    const { browser } = await obtainTokens(server.issuer)
    await leave(browser, { client_id: 'web' })
    const forged = await browser.post(
      `${server.issuer}/session/end/confirm`,
      'logout=yes&xsrf=guess',
    )
    expect([forged.status, await isSignedIn(browser)]).toEqual([400, true])
  })
})

test('§2.1 the metadata name the endpoint', async () => {
  const answer = await fetch(`${server.issuer}/.well-known/openid-configuration`)
  const { end_session_endpoint: endpoint } = (await answer.json()) as Record<string, unknown>
  expect(endpoint).toBe(`${server.issuer}/session/end`)
})
