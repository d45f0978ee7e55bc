import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Browser, Page } from '../support/browser.ts'
import { withClients } from '../support/endpoints.ts'
import { authorize, decodeJwt, obtainTokens, requestToken } from '../support/flow.ts'
import { startServer, type TestServer } from '../support/server.ts'

/* The table of the requirements is in docs/conformance/oidc-frontchannel-logout.md. */

const BYE = 'https://app.example/bye?keep=this'
const SPA_BYE = 'https://spa.example/bye'

let server: TestServer
beforeAll(async () => {
  server = await startServer(
    withClients(
      {
        id: 'web',
        frontchannelLogoutUri: BYE,
        postLogoutRedirectUris: ['https://app.example/"><script>alert(1)</script>'],
      },
      { id: 'spa', frontchannelLogoutUri: SPA_BYE },
    ),
  )
})
afterAll(() => server[Symbol.asyncDispose]())

async function signOut(
  { issuer }: TestServer,
  browser: Browser,
  fields: Record<string, string> = { logout: 'yes' },
  query = '',
): Promise<Page> {
  const page = await browser.get(`${issuer}/session/end?client_id=web${query}`)
  return browser.submit(page, '/session/end/confirm', fields)
}

function listFrames({ text }: Page): URL[] {
  const sources = [...text.matchAll(/<iframe hidden src="([^"]+)"/g)]
  return sources.map(([, source = '']) => new URL(source.replaceAll('&amp;', '&')))
}

/** Signs alice in at the app `spa` as well. */
async function signInAtSpa(browser: Browser) {
  const redirect_uri = 'https://spa.example/'
  const request = { client_id: 'spa', redirect_uri }
  const { code, verifier } = await authorize(server.issuer, request, 'alice', browser)
  const form = { grant_type: 'authorization_code', client_id: 'spa', redirect_uri }
  const { body } = await requestToken(server.issuer, { ...form, code, code_verifier: verifier }, {})
  return decodeJwt(body.id_token).claims
}

test('§3 the metadata says that it is there, with the session', async () => {
  const response = await fetch(`${server.issuer}/.well-known/openid-configuration`)
  expect(await response.json()).toMatchObject({
    frontchannel_logout_supported: true,
    frontchannel_logout_session_supported: true,
  })
})

describe('§3 whoever signs out', () => {
  test('is shown the page of each app in a frame, with iss and sid, and goes on by itself', async () => {
    const { id_token, browser } = await obtainTokens(server.issuer)
    const atSpa = await signInAtSpa(browser)
    const page = await signOut(server, browser)
    expect(page.status).toBe(200)
    const frames = listFrames(page)
    expect(frames.map(({ origin, pathname }) => origin + pathname).toSorted()).toEqual([
      'https://app.example/bye',
      SPA_BYE,
    ])
    const sids = frames.map(({ searchParams }) => searchParams.get('sid'))
    expect(new Set(sids)).toEqual(new Set([decodeJwt(id_token).claims['sid'], atSpa['sid']]))
    expect(frames.map(({ searchParams }) => searchParams.get('iss'))).toEqual([
      server.issuer,
      server.issuer,
    ])
    const [atWeb] = frames.filter(({ origin }) => origin === 'https://app.example')
    expect(atWeb?.searchParams.get('keep')).toBe('this')
    expect(page.text).toContain(
      `<meta http-equiv="refresh" content="3; url=${server.issuer}/session/end/success">`,
    )
    expect(page.text).toContain(`<a href="${server.issuer}/session/end/success">`)
    // It has ended already: whoever does not wait is signed out all the same.
    const again = await browser.get(`${server.issuer}/session/end?client_id=web`)
    expect(again.text).not.toContain('Sign out?')
  })

  test('may open these origins in frames, and no others', async () => {
    const { browser } = await obtainTokens(server.issuer)
    const { headers } = await signOut(server, browser)
    const policy = headers.get('content-security-policy') ?? ''
    expect(policy).toMatch(/frame-src https:\/\/app\.example$/)
    expect(policy).toContain("default-src 'none'")
    expect(headers.get('referrer-policy')).toBe('no-referrer')
    expect(headers.get('location')).toBeNull()
  })

  test('goes back to the app afterwards, whose address cannot break out of the page', async () => {
    const { browser } = await obtainTokens(server.issuer)
    const back = encodeURIComponent('https://app.example/"><script>alert(1)</script>')
    const query = `&post_logout_redirect_uri=${back}&state=${encodeURIComponent('"><b>')}`
    const page = await signOut(server, browser, { logout: 'yes' }, query)
    expect(page.status).toBe(200)
    expect(page.text).not.toContain('<script>')
    expect(page.text).not.toContain('<b>')
    expect(page.text).toContain('url=https://app.example/')
  })

  test('and stays signed in, ends no session: nothing is opened', async () => {
    const { browser } = await obtainTokens(server.issuer)
    const page = await signOut(server, browser, {})
    expect([page.text.includes('You have left the app'), listFrames(page)]).toEqual([true, []])
  })

  test('at apps without such a page goes on at once', async () => {
    await using plain = await startServer()
    const { browser } = await obtainTokens(plain.issuer)
    expect((await signOut(plain, browser)).text).toContain('You are signed out')
  })
})
