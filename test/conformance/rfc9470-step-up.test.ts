import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import { createBrowser, type Browser } from '../support/browser.ts'
import { approve, askForCode, poll } from '../support/device.ts'
import { withClients } from '../support/endpoints.ts'
import {
  authorizationUrl,
  authorize,
  decodeJwt,
  makePkce,
  refresh,
  requestToken,
  signIn,
} from '../support/flow.ts'
import { REDIRECT, startServer, type TestServer } from '../support/server.ts'

/* The table of the requirements is in docs/conformance/rfc9470.md. */

const ACR = 'urn:portreeve:acr:password'
const STRONGER = 'urn:example:acr:two-factors'

let server: TestServer
beforeAll(async () => {
  const grants = ['authorization_code', 'refresh_token', 'device_code'] as const
  server = await startServer(withClients({ id: 'web', grants: [...grants] }))
})
afterAll(() => server[Symbol.asyncDispose]())
afterEach(() => {
  vi.useRealTimers()
})

/** Clocks of this process are those of the server. */
function turnClock(seconds: number): void {
  vi.useFakeTimers({ toFake: ['Date'], now: systemClock.now() + seconds * 1000 })
}

/** Asks for authorization; answers the page that comes then, or the client's answer. */
async function ask(browser: Browser, request: Record<string, string>) {
  const { verifier, challenge } = makePkce()
  const page = await browser.get(authorizationUrl(server.issuer, challenge, request))
  const answer = page.location === undefined ? undefined : new URL(page.location).searchParams
  return { verifier, page, answer }
}

async function redeem(code: string | null | undefined, verifier: string) {
  const { body } = await requestToken(server.issuer, {
    grant_type: 'authorization_code',
    code: code ?? '',
    code_verifier: verifier,
    redirect_uri: REDIRECT,
  })
  return body
}

/** A browser in which alice is signed in and has agreed. */
async function signedIn(): Promise<Browser> {
  return (await authorize(server.issuer)).browser
}

describe('§5 acr_values', () => {
  test('that name what a password is are met, and said in both tokens', async () => {
    const { code, verifier } = await authorize(server.issuer, { acr_values: `${STRONGER} ${ACR}` })
    const { access_token, id_token } = await redeem(code, verifier)
    for (const token of [access_token, id_token]) {
      expect(decodeJwt(token).claims).toMatchObject({
        acr: ACR,
        amr: ['pwd'],
        auth_time: expect.any(Number) as unknown,
      })
    }
  })

  test('are met by the session that there is', async () => {
    const browser = await signedIn()
    const { answer } = await ask(browser, { acr_values: ACR })
    expect(answer?.get('code')).toMatch(/./)
  })

  test.each([
    ['before anybody signs in', false, {}],
    ['with a session', true, {}],
    ['without a page', true, { prompt: 'none' }],
    ['with a sign-in that is asked for', true, { prompt: 'login' }],
  ])('that name nothing of this server are refused %s', async (_when, hasSession, more) => {
    const browser = hasSession ? await signedIn() : createBrowser(server.issuer)
    const { answer } = await ask(browser, { acr_values: STRONGER, ...more })
    expect(Object.fromEntries(answer ?? [])).toMatchObject({
      error: 'unmet_authentication_requirements',
      state: 'a state',
      iss: server.issuer,
    })
    expect(answer?.get('code')).toBeNull()
  })

  test('of a device are refused at its next poll', async () => {
    const request = { scope: 'openid notes:read', acr_values: STRONGER }
    const { body } = await askForCode(server.issuer, request)
    await approve(server, body.user_code)
    const answer = await poll(server.issuer, body.device_code)
    expect(answer.body.error).toBe('unmet_authentication_requirements')
  })
})

describe('§5 max_age', () => {
  test('that the sign-in is younger than asks nothing', async () => {
    const browser = await signedIn()
    turnClock(50)
    const { answer, verifier } = await ask(browser, { max_age: '60' })
    const { id_token } = await redeem(answer?.get('code'), verifier)
    const age = systemClock.now() / 1000 - Number(decodeJwt(id_token).claims['auth_time'])
    expect(Math.abs(age - 50)).toBeLessThan(5)
  })

  test('that it is older than asks for the password, says why, and is met then', async () => {
    const browser = await signedIn()
    turnClock(70)
    const { page, verifier } = await ask(browser, { max_age: '60' })
    expect(page.text).toContain('longer ago than this app allows')
    expect(page.text).toContain('value="alice"')
    const back = await signIn(browser, page)
    const code = new URL(back.location ?? '').searchParams.get('code')
    const { access_token, id_token } = await redeem(code, verifier)
    for (const token of [access_token, id_token]) {
      const age = systemClock.now() / 1000 - Number(decodeJwt(token).claims['auth_time'])
      expect(age).toBeLessThan(10)
    }
  })

  test('of 0 asks for the password always', async () => {
    const browser = await signedIn()
    const { page } = await ask(browser, { max_age: '0' })
    expect(page.text).toContain('this app asks you to enter your password once more')
  })

  test('that is not met without a page is refused', async () => {
    const browser = await signedIn()
    turnClock(70)
    const { answer } = await ask(browser, { max_age: '60', prompt: 'none' })
    expect(answer?.get('error')).toBe('login_required')
  })

  test.each(['-1', 'x', '1.5'])('of %s is refused', async (max_age) => {
    const { answer } = await ask(await signedIn(), { max_age })
    expect(answer?.get('error')).toBe('invalid_request')
  })
})

describe('a person who is asked once more', () => {
  test('stays signed in where they cancel', async () => {
    const browser = await signedIn()
    turnClock(70)
    const { page } = await ask(browser, { max_age: '60' })
    const back = await browser.submit(page, '/cancel')
    expect(new URL(back.location ?? '').searchParams.get('error')).toBe('access_denied')
    const { answer } = await ask(browser, {})
    expect(answer?.get('code')).toMatch(/./)
  })

  test('and does not know the password gets nothing', async () => {
    const browser = await signedIn()
    turnClock(70)
    const { page } = await ask(browser, { max_age: '60' })
    const fields = { username: 'alice', password: 'a wrong one' }
    const again = await browser.submit(page, '/sign-in', fields)
    expect([again.status, again.location]).toEqual([422, undefined])
  })

  test('is told nothing of the kind at a first sign-in', async () => {
    const { page } = await ask(createBrowser(server.issuer), { max_age: '60' })
    expect(page.text).not.toContain('once more')
  })
})

test('§6.2 a refreshed token says when the person signed in, not when it was refreshed', async () => {
  const { code, verifier } = await authorize(server.issuer)
  const first = await redeem(code, verifier)
  turnClock(60)
  const { body } = await refresh(server.issuer, first.refresh_token)
  const { auth_time, acr } = decodeJwt(first.access_token).claims
  expect(decodeJwt(body.access_token).claims).toMatchObject({ auth_time, acr })
})

test('§7 the metadata lists what may be asked for', async () => {
  const response = await fetch(`${server.issuer}/.well-known/oauth-authorization-server`)
  expect(await response.json()).toMatchObject({ acr_values_supported: [ACR] })
})
