import { once } from 'node:events'
import { connect } from 'node:net'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { createBrowser, readForm, type Browser } from '../support/browser.ts'
import { systemClock } from '../../auth-server/clock.ts'
import { authorizationUrl, makePkce, signIn } from '../support/flow.ts'
import { REDIRECT, startServer, type TestServer } from '../support/server.ts'

/** What is answered is there for two minutes, and the engine forgives fifteen seconds. */
const ANSWERED_MS = 136_000

let server: TestServer
beforeAll(async () => {
  server = await startServer()
})
afterAll(() => server[Symbol.asyncDispose]())

/** The cookies that the browser would send to the URL. */
const cookiesFor = (url: string, browser: Browser) =>
  browser
    .cookies()
    .filter(({ path }) => new URL(url).pathname.startsWith(path))
    .map(({ name, value }) => `${name}=${value}`)
    .join('; ')

const isOwn = ({ name }: { name: string }) => name.startsWith('interaction-')

async function send(url: string, cookie: string, body?: Record<string, string>) {
  const response = await fetch(url, {
    redirect: 'manual',
    headers: { accept: 'text/html', cookie },
    ...(body ? { method: 'POST', body: new URLSearchParams(body) } : {}),
  })
  const location = response.headers.get('location')
  return {
    text: await response.text(),
    location: location === null ? '' : new URL(location, url).href,
    session: response.headers
      .getSetCookie()
      .flatMap((line) => /^session(?:\.sig)?=[^;]+/.exec(line) ?? [])
      .join('; '),
  }
}

/** Which page a browser with these cookies gets that asks for authorization. */
async function askAgain(cookie: string): Promise<string> {
  const url = authorizationUrl(server.issuer, makePkce().challenge)
  const response = await fetch(url, { redirect: 'manual', headers: { cookie } })
  const location = new URL(response.headers.get('location') ?? '', url).href
  if (location.startsWith(REDIRECT)) return 'the client'
  const started = response.headers.getSetCookie().map((line) => line.split(';', 1)[0])
  const { text } = await send(location, [cookie, ...started].join('; '))
  return text.includes('/sign-in"') ? 'sign-in' : text.includes('/consent"') ? 'consent' : text
}

test('a browser that misses the answer with its new session stays signed in by the old one', async () => {
  const browser = createBrowser(server.issuer)
  const start = await browser.get(authorizationUrl(server.issuer, makePkce().challenge))
  const page = await signIn(browser, start)
  const form = readForm(page.text, '/consent')
  const action = new URL(form.action, page.url).href
  const consented = await send(action, cookiesFor(action, browser), { ...form.hidden })
  const old = cookiesFor(consented.location, browser)
  const missed = await send(consented.location, old)
  expect(missed.location).toContain(REDIRECT)
  expect(missed.session).not.toBe('')
  // The consent was not answered for, the sign-in was.
  expect(await askAgain(old)).toBe('consent')

  // Once the new one has been seen, the old one is over.
  expect(await askAgain(missed.session)).toBe('the client')
  expect(await askAgain(old)).toBe('sign-in')
  expect(await askAgain(missed.session)).toBe('the client')
})

test('a session that was anonymous before the sign-in is over with it', async () => {
  const browser = createBrowser(server.issuer)
  const url = authorizationUrl(server.issuer, makePkce().challenge)
  const start = await browser.get(url)
  const planted = cookiesFor(url, browser)
  const page = await signIn(browser, start)
  await browser.submit(page, '/consent')
  expect(await askAgain(planted)).toBe('sign-in')
})

/** Signs in and agrees, up to the address that the browser goes on at, without going there. */
async function agree({ issuer } = server): Promise<{
  url: string
  cookie: string
  browser: Browser
}> {
  const browser = createBrowser(issuer)
  const start = await browser.get(authorizationUrl(issuer, makePkce().challenge))
  const page = await signIn(browser, start)
  const form = readForm(page.text, '/consent')
  const action = new URL(form.action, page.url).href
  const { location } = await send(action, cookiesFor(action, browser), { ...form.hidden })
  return { url: location, cookie: cookiesFor(location, browser), browser }
}

/** Sends a request whose answer nobody is there to take. */
async function sendAndLeave(url: string, cookie: string): Promise<void> {
  const { hostname, port, pathname, host } = new URL(url)
  const socket = connect(Number(port), hostname)
  await once(socket, 'connect')
  const head = [
    `GET ${pathname} HTTP/1.1`,
    `Host: ${host}`,
    `Cookie: ${cookie}`,
    'Accept: text/html',
  ]
  await new Promise((resolve) => socket.write(`${head.join('\r\n')}\r\n\r\n`, resolve))
  socket.resetAndDestroy()
}

const countAnswers = () => server.logged().match(/"path":"\/auth\/:uid"/g)?.length ?? 0

test('what a browser goes on with is still there if the answer did not reach it', async () => {
  const { url, cookie } = await agree()
  const before = countAnswers()
  await sendAndLeave(url, cookie)
  await vi.waitFor(() => expect(countAnswers()).toBe(before + 1))
  const again = await send(url, cookie)
  expect(new URL(again.location).searchParams.get('code')).toEqual(expect.any(String))
})

test('what a browser has gone on with is over', async () => {
  const { url, cookie } = await agree()
  const { location } = await send(url, cookie)
  expect(location).toContain(REDIRECT)
  await vi.waitFor(async () => {
    const again = await send(url, cookie)
    expect([again.location, again.text]).toEqual([
      '',
      expect.stringContaining('interaction session not found'),
    ])
  })
})

test('what a browser goes on with is over two minutes after it was answered', async () => {
  // What is written now was written two minutes ago, but for what the engine dates itself.
  const clock = { now: () => systemClock.now() - ANSWERED_MS }
  await using late = await startServer(undefined, { clock })
  const browser = createBrowser(late.issuer)
  const page = await browser.get(authorizationUrl(late.issuer, makePkce().challenge))
  expect(page.text).toContain('/sign-in"')
  const after = await signIn(browser, page)
  expect([after.status, after.text]).toEqual([410, expect.stringContaining('took too long')])
})

test('what a browser goes on with is over when it has signed out', async () => {
  const { url, cookie, browser } = await agree()
  await sendAndLeave(url, cookie)
  const other = await browser.get(authorizationUrl(server.issuer, makePkce().challenge))
  expect(browser.cookies().filter(isOwn).length).toBeGreaterThan(1)
  const page = await browser.get(`${server.issuer}/session/end?client_id=web`)
  await browser.submit(page, '/session/end/confirm', { logout: 'yes' })
  expect(browser.cookies().filter(isOwn)).toEqual([])
  for (const address of [url, other.url]) {
    const { location, text } = await send(address, cookiesFor(address, browser))
    expect([location, text]).toEqual(['', expect.stringMatching(/is over/)])
  }
})
