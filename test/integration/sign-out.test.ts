import { describe, expect, test } from 'vitest'
import { createBrowser, type Browser } from '../support/browser.ts'
import {
  authorizationUrl,
  authorize,
  decodeJwt,
  makePkce,
  obtainTokens,
  refresh,
  requestToken,
  signIn,
  type TokenAnswer,
} from '../support/flow.ts'
import { REDIRECT, shareServer } from '../support/server.ts'

const sharedServer = shareServer()

function tryRedeem(issuer: string, code: string, verifier: string): Promise<TokenAnswer> {
  return requestToken(issuer, {
    grant_type: 'authorization_code',
    code,
    code_verifier: verifier,
    redirect_uri: REDIRECT,
  })
}

async function redeem(issuer: string, code: string, verifier: string): Promise<string> {
  return (await tryRedeem(issuer, code, verifier)).body.access_token
}

async function obtain(
  issuer: string,
  browser: Browser,
  request: Record<string, string> = {},
): Promise<string> {
  const { code, verifier } = await authorize(issuer, request, 'alice', browser)
  return redeem(issuer, code, verifier)
}

async function obtainForSpa(issuer: string, browser: Browser): Promise<string> {
  const spa = { client_id: 'spa', redirect_uri: 'https://spa.example/' }
  const { code, verifier } = await authorize(issuer, spa, 'alice', browser)
  const form = { ...spa, grant_type: 'authorization_code', code, code_verifier: verifier }
  return (await requestToken(issuer, form, {})).body.access_token
}

async function askUserinfo(issuer: string, token: string): Promise<number> {
  const headers = { authorization: `Bearer ${token}` }
  return (await fetch(`${issuer}/userinfo`, { headers })).status
}

async function signOut(
  issuer: string,
  browser: Browser,
  fields: Record<string, string> = { logout: 'yes' },
): Promise<void> {
  const page = await browser.get(`${issuer}/session/end?client_id=web`)
  await browser.submit(page, '/session/end/confirm', fields)
}

const OFFLINE = { scope: 'openid offline_access notes:read', prompt: 'consent' }

test('ends the token of the session at userinfo, beside an offline grant that stays', async () => {
  const { issuer } = sharedServer()
  const browser = createBrowser(issuer)
  const tokens = [await obtain(issuer, browser, OFFLINE), await obtain(issuer, browser)]
  const ask = () => Promise.all(tokens.map((token) => askUserinfo(issuer, token)))
  expect(await ask()).toEqual([200, 200])
  await signOut(issuer, browser)
  expect(await ask()).toEqual([200, 401])
})

test('ends the tokens of all tabs, whose grants may be several', async () => {
  const { issuer } = sharedServer()
  const browser = createBrowser(issuer)
  const [first, second] = [makePkce(), makePkce()]
  const pages = [
    await signIn(browser, await browser.get(authorizationUrl(issuer, first.challenge))),
    await browser.get(authorizationUrl(issuer, second.challenge)),
  ]
  const tokens: string[] = []
  for (const { verifier } of [first, second]) {
    const page = pages.shift()
    const end = page && (await browser.submit(page, '/consent'))
    const code = new URL(end?.location ?? '').searchParams.get('code') ?? ''
    tokens.push(await redeem(issuer, code, verifier))
  }
  const ask = () => Promise.all(tokens.map((token) => askUserinfo(issuer, token)))
  expect(await ask()).toEqual([200, 200])
  await signOut(issuer, browser)
  expect(await ask()).toEqual([401, 401])
})

test('of one app alone ends its tokens of all tabs, and leaves the others signed in', async () => {
  const { issuer } = sharedServer()
  const browser = createBrowser(issuer)
  const [first, second] = [makePkce(), makePkce()]
  const pages = [
    await signIn(browser, await browser.get(authorizationUrl(issuer, first.challenge))),
    await browser.get(authorizationUrl(issuer, second.challenge)),
  ]
  const tokens: string[] = []
  for (const { verifier } of [first, second]) {
    const page = pages.shift()
    const end = page && (await browser.submit(page, '/consent'))
    const code = new URL(end?.location ?? '').searchParams.get('code') ?? ''
    tokens.push(await redeem(issuer, code, verifier))
  }
  tokens.push(await obtainForSpa(issuer, browser))
  const ask = () => Promise.all(tokens.map((token) => askUserinfo(issuer, token)))
  expect(await ask()).toEqual([200, 200, 200])
  const page = await browser.get(`${issuer}/session/end?client_id=web`)
  expect(page.text).toContain('Stay signed in')
  // The button sends nothing beside the hidden fields.
  const stayed = await browser.submit(page, '/session/end/confirm')
  expect(stayed.status).toBe(200)
  expect(await ask()).toEqual([401, 401, 200])
  // Whoever stayed does not sign in again, and what is issued now is good.
  const again = await browser.get(authorizationUrl(issuer, first.challenge))
  expect(again.text).not.toContain('name="password"')
  const end = await browser.submit(again, '/consent')
  const code = new URL(end.location ?? '').searchParams.get('code') ?? ''
  tokens.push(await redeem(issuer, code, first.verifier))
  expect(await ask()).toEqual([401, 401, 200, 200])
})

test('ends nothing of a session that goes on, nor of the same person in another browser', async () => {
  const { issuer } = sharedServer()
  const [browser, other] = [createBrowser(issuer), createBrowser(issuer)]
  const token = await obtain(issuer, browser)
  const elsewhere = await obtain(issuer, other)
  // A second sign-in gives the session another key.
  await obtain(issuer, browser, { prompt: 'login' })
  expect(await askUserinfo(issuer, token)).toBe(200)
  await signOut(issuer, browser)
  expect(await askUserinfo(issuer, token)).toBe(401)
  expect(await askUserinfo(issuer, elsewhere)).toBe(200)
})

describe('a code of an offline grant', () => {
  test.each([
    ['the session', { logout: 'yes' }],
    ['the app alone', {}],
  ])(
    'is good before, and for nothing after whoever it is of has left %s',
    async (_what, fields) => {
      const { issuer } = sharedServer()
      const { browser, ...first } = await obtainTokens(issuer, OFFLINE)
      const { sid } = decodeJwt(first.id_token).claims
      expect(sid).toEqual(expect.any(String))
      const late = await authorize(issuer, OFFLINE, 'alice', browser)
      await signOut(issuer, browser, fields)
      const refused = await tryRedeem(issuer, late.code, late.verifier)
      expect([refused.status, refused.body.error]).toEqual([400, 'invalid_grant'])
      expect(refused.body.id_token).toBeUndefined()
      // What was redeemed in time goes on, and says nothing of the session any more.
      const next = await refresh(issuer, first.refresh_token)
      expect(next.status).toBe(200)
      const tokens = [next.body.id_token, next.body.access_token]
      expect(tokens.map((token) => decodeJwt(token).claims['sid'])).toEqual([undefined, undefined])
    },
  )

  test('is good again in the session that comes after', async () => {
    const { issuer } = sharedServer()
    const { browser, id_token } = await obtainTokens(issuer, OFFLINE)
    await signOut(issuer, browser)
    const next = await authorize(issuer, OFFLINE, 'alice', browser)
    const { status, body } = await tryRedeem(issuer, next.code, next.verifier)
    const sids = [id_token, body.id_token].map((token) => decodeJwt(token).claims['sid'])
    expect([status, new Set(sids).size]).toEqual([200, 2])
  })

  test('that comes twice ends what was granted, also after the sign-out', async () => {
    const { issuer } = sharedServer()
    const { browser, code, verifier } = await authorize(issuer, OFFLINE)
    const { body } = await tryRedeem(issuer, code, verifier)
    await signOut(issuer, browser)
    expect((await tryRedeem(issuer, code, verifier)).body.error).toBe('invalid_grant')
    expect((await refresh(issuer, body.refresh_token)).status).toBe(400)
  })
})
