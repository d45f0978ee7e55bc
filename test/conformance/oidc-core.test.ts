import { describe, expect, test } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import { createBrowser, readForm, type Browser, type Page } from '../support/browser.ts'
import {
  authorizationUrl,
  authorize,
  decodeJwt,
  makePkce,
  obtainTokens,
  requestToken,
  signIn,
  type AuthorizationRequest,
} from '../support/flow.ts'
import { REDIRECT, shareServer } from '../support/server.ts'

/* The table of the requirements is in docs/conformance/oidc-core.md. */

const sharedServer = shareServer()

const read = ({ location }: Page) => new URL(location ?? 'https://x.example/').searchParams

function ask(browser: Browser, request: AuthorizationRequest = {}): Promise<Page> {
  const { issuer } = sharedServer()
  return browser.get(authorizationUrl(issuer, makePkce().challenge, request))
}

const isSignIn = ({ text }: Page) => text.includes('/sign-in"')
const isConsent = ({ text }: Page) => text.includes('/consent"')

/** A browser in which alice has signed in and agreed. */
async function startSignedIn(): Promise<Browser> {
  const { issuer } = sharedServer()
  const { browser } = await authorize(issuer)
  return browser
}

describe('§3.1.2.1 a request that is posted', () => {
  test('is what it would be in the address, with the session of the person', async () => {
    const { issuer } = sharedServer()
    const browser = await startSignedIn()
    const url = new URL(authorizationUrl(issuer, makePkce().challenge, { state: 'a & b' }))
    const page = await browser.post(`${issuer}/auth`, url.searchParams.toString())
    expect([read(page).get('state'), read(page).has('code')]).toEqual(['a & b', true])
  })

  test.each<[string, string, string, number]>([
    ['no form', 'application/json', '{}', 415],
    ['too long', 'application/x-www-form-urlencoded', `state=${'x'.repeat(9000)}`, 413],
    ['twice the same', 'application/x-www-form-urlencoded', 'state=a&state=b', 400],
  ])('is refused where it is %s', async (_what, type, body, status) => {
    const response = await fetch(`${sharedServer().issuer}/auth`, {
      method: 'POST',
      redirect: 'manual',
      headers: { 'content-type': type, origin: 'https://other.example' },
      body,
    })
    expect(response.status).toBe(status)
  })
})

describe('§3.1.2.1 prompt', () => {
  test('none asks nobody: an error without a session, a code with one', async () => {
    const stranger = await ask(createBrowser(sharedServer().issuer), { prompt: 'none' })
    expect(read(stranger).get('error')).toBe('login_required')
    const known = await ask(await startSignedIn(), { prompt: 'none' })
    expect(read(known).has('code')).toBe(true)
    const more = await ask(await startSignedIn(), { prompt: 'none', scope: 'openid email' })
    expect(read(more).get('error')).toBe('consent_required')
  })

  test('login and consent ask again', async () => {
    const browser = await startSignedIn()
    expect(isSignIn(await ask(browser, { prompt: 'login' }))).toBe(true)
    expect(isConsent(await ask(browser, { prompt: 'consent' }))).toBe(true)
    const both = await ask(browser, { prompt: 'login consent' })
    expect(isConsent(await signIn(browser, both))).toBe(true)
  })

  test('select_account offers the account that there is, and another', async () => {
    const browser = await startSignedIn()
    const page = await ask(browser, { prompt: 'select_account' })
    expect(page.text).toContain('Go on as <bdi>Alice Adams</bdi>')
    expect(read(await browser.submit(page, '/keep-account')).has('code')).toBe(true)
    const again = await ask(browser, { prompt: 'select_account' })
    const form = await browser.get(`${again.url}/other-account`)
    expect(form.text).toContain('Go on as <bdi>Alice Adams</bdi>')
    const left = await signIn(browser, form, 'bob')
    const consent = await browser.submit(left, '/session/end/confirm')
    expect(consent.text).toContain('<strong><bdi>bob</bdi></strong>')
    expect(read(await browser.submit(consent, '/consent')).has('code')).toBe(true)
  })

  test('select_account is answered by who has to sign in anyway', async () => {
    const browser = createBrowser(sharedServer().issuer)
    for (const prompt of ['select_account', 'login select_account']) {
      const page = await ask(browser, { prompt })
      expect(isSignIn(page)).toBe(true)
      const next = await signIn(browser, page)
      const end = isConsent(next) ? await browser.submit(next, '/consent') : next
      expect(read(end).has('code')).toBe(true)
    }
  })

  test('select_account is not answered by a form for something else', async () => {
    const browser = await startSignedIn()
    const page = await ask(browser, { prompt: 'select_account' })
    const { hidden } = readForm(page.text, '/cancel')
    const body = new URLSearchParams(hidden).toString()
    for (const form of ['keep-account', 'consent']) {
      const refused = await browser.post(`${page.url}/${form}`, body)
      expect([refused.status, refused.text]).toEqual([403, expect.stringContaining('Choose an')])
    }
    expect(read(await browser.submit(page, '/cancel')).get('error')).toBe('access_denied')
  })

  test.each(['none login', 'none select_account', 'unknown', 'create'])(
    '%s is refused',
    async (prompt) => {
      const page = await ask(await startSignedIn(), { prompt })
      expect(read(page).get('error')).toBe('invalid_request')
    },
  )
})

describe('§3.1.2.1 max_age', () => {
  test('0 has the person sign in once more, and says when they did', async () => {
    const { issuer } = sharedServer()
    const browser = await startSignedIn()
    const { verifier, challenge } = makePkce()
    const page = await browser.get(authorizationUrl(issuer, challenge, { max_age: '0' }))
    expect(isSignIn(page)).toBe(true)
    const before = Math.floor(systemClock.now() / 1000)
    const next = await signIn(browser, page)
    const end = isConsent(next) ? await browser.submit(next, '/consent') : next
    const { body } = await requestToken(issuer, {
      grant_type: 'authorization_code',
      code: read(end).get('code') ?? '',
      code_verifier: verifier,
      redirect_uri: REDIRECT,
    })
    expect(decodeJwt(body.id_token).claims['auth_time']).toBeGreaterThanOrEqual(before)
  })

  test('that is not over asks nobody, and with prompt=none 0 is an error', async () => {
    const browser = await startSignedIn()
    expect(read(await ask(browser, { max_age: '1000' })).has('code')).toBe(true)
    const none = await ask(browser, { max_age: '0', prompt: 'none' })
    expect(read(none).get('error')).toBe('login_required')
  })

  test.each(['-1', 'x', '1.5'])('%s is refused', async (max_age) => {
    const page = await ask(await startSignedIn(), { max_age })
    expect(read(page).get('error')).toBe('invalid_request')
  })
})

describe('§3.1.2.1 hints', () => {
  test('login_hint stands in the form, as text', async () => {
    const hint = 'alice"><script>'
    const page = await ask(createBrowser(sharedServer().issuer), { login_hint: hint })
    expect(page.text).toContain('value="alice&quot;&gt;&lt;script&gt;"')
  })

  test('id_token_hint of the same person leads on, of another one to a sign-in', async () => {
    const { issuer } = sharedServer()
    const own = await obtainTokens(issuer)
    const others = await obtainTokens(issuer, {}, 'bob')
    const { browser } = own
    const silent = { prompt: 'none', id_token_hint: own.id_token }
    expect(read(await ask(browser, silent)).has('code')).toBe(true)
    const wrong = { ...silent, id_token_hint: others.id_token }
    const refused = Object.fromEntries(read(await ask(browser, wrong)))
    expect(refused['error']).toBe('login_required')
    const nobody = Object.fromEntries(read(await ask(createBrowser(issuer), wrong)))
    expect(refused).toEqual(nobody)
    const page = await ask(browser, { id_token_hint: others.id_token })
    expect([isSignIn(page), page.text]).toEqual([
      true,
      expect.stringContaining('this app asks for another account'),
    ])
    const garbage = await ask(browser, { id_token_hint: `${own.id_token.slice(0, -8)}AAAAAAAA` })
    expect(read(garbage).get('error')).toBe('invalid_request')
  })

  test.each([
    ['ui_locales', 'de fr-CA x'],
    ['claims_locales', 'de'],
    ['display', 'popup'],
    ['acr_values', 'urn:portreeve:acr:password'],
    ['an_extension', 'x'],
  ])('%s does no harm where it means nothing here', async (name, value) => {
    const page = await ask(createBrowser(sharedServer().issuer), { [name]: value })
    expect(isSignIn(page)).toBe(true)
    expect(page.text).toContain('<html lang="en">')
  })
})

describe('§3.1.3.7, §2 the ID token', () => {
  test('has the nonce of the request, and no claim that was not granted', async () => {
    const { issuer } = sharedServer()
    const { id_token } = await obtainTokens(issuer, { nonce: 'a nonce' })
    const token = decodeJwt(id_token).claims
    expect(token).toMatchObject({ iss: issuer, aud: 'web', nonce: 'a nonce' })
    expect(token).not.toHaveProperty('email')
  })
})
