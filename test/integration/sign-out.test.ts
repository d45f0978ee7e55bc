import { expect, test } from 'vitest'
import { createBrowser, type Browser } from '../support/browser.ts'
import { authorizationUrl, authorize, makePkce, requestToken, signIn } from '../support/flow.ts'
import { REDIRECT, shareServer } from '../support/server.ts'

const sharedServer = shareServer()

async function redeem(issuer: string, code: string, verifier: string): Promise<string> {
  const { body } = await requestToken(issuer, {
    grant_type: 'authorization_code',
    code,
    code_verifier: verifier,
    redirect_uri: REDIRECT,
  })
  return body.access_token
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

async function signOut(issuer: string, browser: Browser): Promise<void> {
  const page = await browser.get(`${issuer}/session/end?client_id=web`)
  await browser.submit(page, '/session/end/confirm', { logout: 'yes' })
}

test('ends the token of the session at userinfo, beside an offline grant that stays', async () => {
  const { issuer } = sharedServer()
  const browser = createBrowser(issuer)
  const offline = { scope: 'openid offline_access notes:read', prompt: 'consent' }
  const tokens = [await obtain(issuer, browser, offline), await obtain(issuer, browser)]
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
