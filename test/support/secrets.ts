import { randomBytes } from 'node:crypto'
import { expect } from 'vitest'
import { createBrowser, readForm, type Browser } from './browser.ts'
import {
  authorizationUrl,
  authorize,
  makePkce,
  refresh,
  requestToken,
  signIn,
  type TokenAnswer,
} from './flow.ts'
import { PASSWORDS, REDIRECT, SERVICE_SECRET, WEB_SECRET } from './server.ts'

/** What each secret is, by its text. */
export type SeenSecrets = Map<string, string>

const WRONG_PASSWORD = 'a password that somebody mistyped'

/**
 * Goes through the flows and notes every secret that came by: what proves who somebody is, or what
 * they were given. Leaves of everything one that is used, one that is not, and one that has ended.
 */
export async function collectSecrets(issuer: string): Promise<SeenSecrets> {
  const seen: SeenSecrets = new Map([
    [PASSWORDS.alice, 'password'],
    [PASSWORDS.bob, 'password'],
    [WRONG_PASSWORD, 'wrong password'],
    [WEB_SECRET, 'client secret'],
    [SERVICE_SECRET, 'client secret'],
  ])
  const note = (what: string, ...texts: (string | undefined)[]) => {
    for (const text of texts) if (text !== undefined && text !== '') seen.set(text, what)
  }
  const noteCookies = (browser: Browser) => {
    for (const { name, value } of browser.cookies()) {
      // Of ours the name holds the secret, and the value when it was set.
      const [, uid] = /^interaction-(.+)$/.exec(name) ?? []
      note(uid === undefined ? `cookie ${name}` : 'interaction', uid ?? value)
    }
  }
  const noteTokens = ({ body }: TokenAnswer) => {
    expect(body.error).toBeUndefined()
    note('access token', body.access_token)
    note('refresh token', body.refresh_token)
    note('ID token', body.id_token)
    return body
  }
  const begin = async (browser: Browser) => {
    const { verifier, challenge } = makePkce()
    note('PKCE verifier', verifier)
    const state = randomBytes(24).toString('base64url')
    note('state', state)
    const page = await browser.get(authorizationUrl(issuer, challenge, { state }))
    noteCookies(browser)
    return { page, verifier }
  }
  const exchange = async (code: string, verifier: string) => {
    const body = { grant_type: 'authorization_code', code, redirect_uri: REDIRECT }
    return noteTokens(await requestToken(issuer, { ...body, code_verifier: verifier }))
  }
  const agree = async (browser: Browser) => {
    const { page: start, verifier } = await begin(browser)
    const page = start.text.includes('/sign-in"') ? await signIn(browser, start) : start
    noteCookies(browser)
    const asked = page.text.includes('/consent"')
    if (asked) note('form token', ...Object.values(readForm(page.text, '/consent').hidden))
    const { location } = asked ? await browser.submit(page, '/consent') : page
    noteCookies(browser)
    const code = new URL(location ?? '').searchParams.get('code') ?? ''
    note('code', code)
    return { code, verifier }
  }

  // An interaction that stays open, and one in which a password was mistyped.
  const open = createBrowser(issuer)
  const { page } = await begin(open)
  note('form token', ...Object.values(readForm(page.text, '/sign-in').hidden))
  await open.submit(page, '/sign-in', { username: 'alice', password: WRONG_PASSWORD })
  noteCookies(open)

  // A session that lives, codes used and unused, refresh tokens used, retried and unused.
  const living = createBrowser(issuer)
  const first = await agree(living)
  const tokens = await exchange(first.code, first.verifier)
  const next = noteTokens(await refresh(issuer, tokens.refresh_token))
  noteTokens(await refresh(issuer, tokens.refresh_token))
  noteTokens(await refresh(issuer, next.refresh_token))
  await agree(living)

  // A session that has ended, and a family that was given away.
  const ended = createBrowser(issuer)
  const last = await agree(ended)
  const lost = await exchange(last.code, last.verifier)
  const after = noteTokens(await refresh(issuer, lost.refresh_token))
  noteTokens(await refresh(issuer, after.refresh_token))
  const reused = await refresh(issuer, lost.refresh_token)
  expect(reused.body.error).toBe('invalid_grant')
  const confirm = await ended.get(`${issuer}/session/end?client_id=web`)
  await ended.submit(confirm, '/session/end/confirm', { logout: 'yes' })
  noteCookies(ended)

  // An opaque access token, and one of a service.
  const opaque = await authorize(issuer, { scope: 'openid' }, 'bob')
  note('code', opaque.code)
  note('PKCE verifier', opaque.verifier)
  noteCookies(opaque.browser)
  await exchange(opaque.code, opaque.verifier)
  const service = { grant_type: 'client_credentials', scope: 'notes:read' }
  const body = { ...service, client_id: 'service', client_secret: SERVICE_SECRET }
  const granted = await requestToken(issuer, body, {})
  if (granted.status === 200) noteTokens(granted)
  return seen
}
