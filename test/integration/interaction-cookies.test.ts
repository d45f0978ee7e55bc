import { describe, expect, test } from 'vitest'
import { createBrowser, readForm, type Browser } from '../support/browser.ts'
import { authorizationUrl, authorize, makePkce, signIn } from '../support/flow.ts'
import { sendRaw } from '../support/raw.ts'
import { PASSWORDS, shareServer, startServer } from '../support/server.ts'

const sharedServer = shareServer()

const OWN = /^(__Host-)?interaction-/
const BOB = { username: 'bob', password: PASSWORDS.bob }

/** What a neighbour can plant in another browser: every cookie but those that hosts set for themselves. */
function plantable(browser: Browser): string {
  const cookies = browser.cookies().filter(({ name }) => !OWN.test(name))
  return cookies.map(({ name, value }) => `${name}=${value}`).join('; ')
}

function allOf(browser: Browser): string {
  return browser
    .cookies()
    .map(({ name, value }) => `${name}=${value}`)
    .join('; ')
}

async function ask(url: string, cookie: string, body?: Record<string, string>) {
  const response = await fetch(url, {
    redirect: 'manual',
    headers: { cookie, accept: 'text/html' },
    ...(body ? { method: 'POST', body: new URLSearchParams(body) } : {}),
  })
  const { status, headers } = response
  return { status, location: headers.get('location'), headers, text: await response.text() }
}

describe('an interaction that another browser has started', () => {
  test('is over for the browser that its cookies were planted in', async () => {
    const { issuer } = sharedServer()
    const attacker = createBrowser(issuer)
    const page = await attacker.get(authorizationUrl(issuer, makePkce().challenge))
    const planted = plantable(attacker)
    expect(planted).toMatch(/interaction=.*interaction\.sig=/)
    expect(await ask(page.url, planted)).toMatchObject({
      status: 410,
      text: expect.stringContaining('This sign-in is over'),
    })
    for (const action of ['/sign-in', '/cancel']) {
      const form = readForm(page.text, action)
      const sent = await ask(new URL(form.action, issuer).href, planted, { ...form.hidden, ...BOB })
      expect([sent.status, sent.location]).toEqual([410, null])
    }
    const next = await attacker.get(page.url.replace('/interaction/', '/auth/'))
    expect(next.text).toContain('/sign-in"')
  })

  test('signs nobody in whose browser its cookies were planted in', async () => {
    const { issuer, logged } = sharedServer()
    const attacker = createBrowser(issuer)
    const page = await attacker.get(authorizationUrl(issuer, makePkce().challenge))
    const form = readForm(page.text, '/sign-in')
    const url = new URL(form.action, issuer).href
    const { location } = await ask(url, allOf(attacker), { ...form.hidden, ...BOB })
    const resume = location ?? ''
    expect(resume).toContain('/auth/')
    for (const address of [resume, `${issuer}/auth/another-address`]) {
      const refused = await ask(address, plantable(attacker))
      expect(refused.status).toBe(410)
      expect(refused.headers.getSetCookie()).toEqual([])
      expect(refused.headers.get('cache-control')).toBe('no-store')
      expect(refused.text).toContain('Go back to the app that you came from and start again.')
    }
    expect(logged()).toContain('"endpoint":"resume","error":"invalid_request"')
    // Nothing was done: where it was started it goes on.
    expect(await attacker.get(resume)).toMatchObject({ text: expect.stringContaining('>bob<') })
  })
})

describe('the interactions of one browser', () => {
  test('are each answered when two tabs take turns', async () => {
    const { issuer } = sharedServer()
    const browser = createBrowser(issuer)
    const open = () => browser.get(authorizationUrl(issuer, makePkce().challenge))
    const [first, second] = [await open(), await open()]
    const firstConsent = await signIn(browser, first)
    const secondConsent = await signIn(browser, second)
    for (const consent of [firstConsent, secondConsent]) {
      expect((await browser.submit(consent, '/consent')).location).toContain('code=')
    }
  })

  test('are all known when tabs start at once', async () => {
    const { issuer } = sharedServer()
    const browser = createBrowser(issuer)
    const open = () => browser.get(authorizationUrl(issuer, makePkce().challenge))
    const pages = await Promise.all([open(), open(), open()])
    for (const { url } of pages) expect((await browser.get(url)).status).toBe(200)
  })

  test('go on from one page to the next, to the end', async () => {
    const { issuer } = sharedServer()
    const browser = createBrowser(issuer)
    const page = await browser.get(authorizationUrl(issuer, makePkce().challenge))
    const consent = await signIn(browser, page)
    expect(consent.url).not.toBe(page.url)
    const end = await browser.submit(consent, '/cancel')
    expect(end.location).toContain('error=access_denied')
  })

  test('are forgotten when they end', async () => {
    const { issuer } = sharedServer()
    const { browser } = await authorize(issuer)
    expect(browser.cookies().filter(({ name }) => OWN.test(name))).toEqual([])
  })

  test('are ten, of which the oldest is given up for the newest', async () => {
    const { issuer } = sharedServer()
    const browser = createBrowser(issuer)
    const urls: string[] = []
    while (urls.length < 11) {
      urls.push((await browser.get(authorizationUrl(issuer, makePkce().challenge))).url)
    }
    const statuses = []
    for (const url of urls) statuses.push((await browser.get(url)).status)
    expect(statuses).toEqual([410, ...Array.from({ length: 10 }, () => 200)])
    expect(browser.cookies().filter(({ name }) => OWN.test(name))).toHaveLength(10)
  })
})

describe('behind https', () => {
  const FORWARDED = ['Host: id.example', 'X-Forwarded-Proto: https']
  const startHttps = () =>
    startServer((config) => ({
      ...config,
      issuer: 'https://id.example',
      trustedProxies: ['127.0.0.1'],
    }))

  /** Starts an interaction; answers its page's path and the cookies that were set. */
  async function begin(server: { readonly issuer: string; readonly url: string }) {
    const { pathname, search } = new URL(authorizationUrl(server.issuer, makePkce().challenge))
    const response = await fetch(server.url + pathname + search, {
      redirect: 'manual',
      headers: { 'x-forwarded-proto': 'https', 'x-forwarded-host': 'id.example' },
    })
    const path = response.headers.get('location') ?? ''
    return { path, uid: path.split('/').at(-1) ?? '', set: response.headers.getSetCookie() }
  }

  test('a browser takes the cookie from this host alone, and no script reads it', async () => {
    await using server = await startHttps()
    const { uid, set } = await begin(server)
    const own = set.filter((line) => OWN.test(line)).map((line) => line.split('; ').toSorted())
    expect(own).toEqual([
      [
        expect.stringMatching(new RegExp(`^__Host-interaction-${uid}=\\d+$`)),
        expect.stringMatching(/^expires=/),
        'httponly',
        'path=/',
        'samesite=lax',
        'secure',
      ],
    ])
  })

  test('no other name will do', async () => {
    await using server = await startHttps()
    const { path, uid, set } = await begin(server)
    const engine = set.filter((line) => !OWN.test(line)).map((line) => line.split(';')[0] ?? '')
    const askWith = async (own: string) => {
      const cookie = `Cookie: ${[...engine, own].join('; ')}`
      const lines = [`GET ${path} HTTP/1.1`, ...FORWARDED, 'Accept: text/html', cookie]
      return (await sendRaw(server.url, lines)).status
    }
    expect(await askWith(`__Host-interaction-${uid}=1764100000000`)).toBe(200)
    for (const name of ['interaction-', '__host-interaction-', '\u00A0__Host-interaction-']) {
      expect(await askWith(`${name}${uid}=1764100000000`)).toBe(410)
    }
    expect(await askWith(`x=__Host-interaction-${uid}=1764100000000`)).toBe(410)
  })
})
