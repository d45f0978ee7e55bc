import { describe, expect, test } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { createBrowser, readForm, type Browser, type Page } from '../support/browser.ts'
import { authorizationUrl, makePkce, signIn } from '../support/flow.ts'
import { PASSWORDS, shareServer, startServer, type TestServer } from '../support/server.ts'

const sharedServer = shareServer()

type Request = Parameters<typeof authorizationUrl>[2]

/** A browser that an application has sent here: it is shown the sign-in page. */
async function start(
  server: TestServer,
  request: Request = {},
): Promise<{ browser: Browser; page: Page }> {
  const browser = createBrowser(server.issuer)
  const page = await browser.get(authorizationUrl(server.issuer, makePkce().challenge, request))
  return { browser, page }
}

function renameClient(name: string) {
  return (config: ConfigInput): ConfigInput => ({
    ...config,
    clients: config.clients?.map((client) => (client.id === 'web' ? { ...client, name } : client)),
  })
}

/** Posts the form as the browser does that the page was shown in, with other headers or fields. */
async function post(
  browser: Browser,
  page: Page,
  action: string,
  fields: Record<string, string>,
  headers: Record<string, string> = {},
): Promise<Page> {
  const form = readForm(page.text, action)
  const body = new URLSearchParams({ ...form.hidden, ...fields }).toString()
  return browser.post(new URL(form.action, page.url).href, body, headers)
}

async function ask(url: string, method = 'GET') {
  const response = await fetch(url, { method, headers: { accept: 'text/html' } })
  return { status: response.status, headers: response.headers, text: await response.text() }
}

const ALICE = { username: 'alice', password: PASSWORDS.alice }

describe('the front page', () => {
  test.each([
    ['GET', '<title>Apps send you here to sign in · Portreeve</title>'],
    ['HEAD', /^$/],
  ])('answers %s of whoever comes without an application', async (method, expected) => {
    const { issuer } = sharedServer()
    const { status, headers, text } = await ask(`${issuer}/`, method)
    expect(status).toBe(200)
    expect(headers.get('content-type')).toBe('text/html; charset=utf-8')
    expect(headers.get('cache-control')).toBe('no-store')
    expect(headers.get('set-cookie')).toBeNull()
    expect(text).toMatch(expected)
  })

  test('leads developers to the discovery document', async () => {
    const { issuer } = sharedServer()
    const { text } = await ask(`${issuer}/`)
    const href = /href="([^"]*)">The discovery document</.exec(text)?.[1] ?? ''
    const discovery = await ask(new URL(href, issuer).href)
    expect(JSON.parse(discovery.text)).toMatchObject({ issuer })
  })

  test('takes nothing', async () => {
    const { issuer } = sharedServer()
    expect((await ask(`${issuer}/`, 'POST')).status).toBe(404)
  })
})

describe('the sign-in page', () => {
  test('names the application and where it returns to', async () => {
    const server = sharedServer()
    const { page } = await start(server)
    expect(page.status).toBe(200)
    expect(page.text).toContain('The Web App')
    expect(page.text).toContain('app.example')
    expect(page.text).toContain('<title>Sign in to continue to The Web App · Portreeve</title>')
  })

  test('answers HEAD like GET, without the page', async () => {
    const server = sharedServer()
    const { browser, page } = await start(server)
    const cookie = browser.cookies().map(({ name, value }) => `${name}=${value}`)
    const head = await fetch(page.url, { method: 'HEAD', headers: { cookie: cookie.join('; ') } })
    expect([head.status, await head.text()]).toEqual([200, ''])
    expect(head.headers.get('content-type')).toBe('text/html; charset=utf-8')
  })

  test.each([
    ['a short hint is filled in', 'alice', 'value="alice"'],
    ['a hint with markup stays text', '"><script>x', 'value="&quot;&gt;&lt;script&gt;x"'],
    ['a hint that is no username is left out', 'a'.repeat(101), 'value=""'],
  ])('%s', async (_name, login_hint, expected) => {
    const server = sharedServer()
    const { page } = await start(server, { login_hint })
    expect(page.text).toContain(expected)
  })

  test('shows what was typed again after a wrong password, and never the password', async () => {
    await using server = await startServer()
    const { browser, page } = await start(server)
    const username = `alice"'><script>alert(1)</script>`
    const again = await browser.submit(page, '/sign-in', { username, password: 'my secret words' })
    expect(again.status).toBe(422)
    expect(again.text).toContain('<title>Error: Sign in')
    expect(again.text).toMatch(/<p [^>]*id="problem" role="alert">The username or the password/)
    expect(again.text).toContain(
      'value="alice&quot;&#39;&gt;&lt;script&gt;alert(1)&lt;/script&gt;"',
    )
    expect(again.text).toMatch(/name="password"[^>]*aria-invalid="true"[^>]*autofocus/)
    expect(again.text).not.toContain('my secret words')
    expect(server.logged()).not.toMatch(/my secret words|alert\(1\)/)
  })

  test('answers an unknown username exactly like a wrong password', async () => {
    const server = sharedServer()
    const { browser, page } = await start(server)
    const wrong = { password: 'wrong' }
    const known = await browser.submit(page, '/sign-in', { username: 'alice', ...wrong })
    const unknown = await browser.submit(page, '/sign-in', { username: 'alisa', ...wrong })
    expect(unknown.status).toBe(known.status)
    expect(unknown.text.replaceAll('alisa', 'alice')).toBe(known.text)
  })

  test.each([
    ['username', { username: ' ', password: 'x' }, 'Enter your username.'],
    ['password', { username: 'alice', password: '' }, 'Enter your password.'],
  ])('asks for a missing %s and puts the focus there', async (field, fields, text) => {
    const server = sharedServer()
    const { browser, page } = await start(server)
    const again = await browser.submit(page, '/sign-in', fields)
    expect(again.status).toBe(422)
    expect(again.text).toContain(text)
    expect(again.text).toMatch(
      new RegExp(`name="${field}"[^>]*aria-invalid="true" aria-describedby="problem" autofocus`),
    )
    expect(again.text.match(/autofocus/g)).toHaveLength(1)
  })

  test('says when to come back after too many wrong passwords', async () => {
    await using server = await startServer((config) => ({
      ...config,
      signIn: { perAccount: { attempts: 2, windowSeconds: 900 } },
    }))
    const { browser, page } = await start(server)
    const guess = { username: 'alice', password: 'wrong' }
    await browser.submit(page, '/sign-in', guess)
    await browser.submit(page, '/sign-in', guess)
    const refused = await browser.submit(page, '/sign-in', ALICE)
    expect(refused.status).toBe(429)
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(800)
    expect(refused.text).toContain('There were too many attempts. Try again in 15 minutes.')
    expect(refused.text).toContain('value="alice"')
  })

  test('says that the server is busy, and lets the same page be sent again', async () => {
    await using server = await startServer((config) => ({
      ...config,
      signIn: { hashConcurrency: 1, hashQueue: 0 },
    }))
    const { browser, page } = await start(server)
    const send = () => browser.submit(page, '/sign-in', { username: 'bob', password: 'wrong' })
    const answers = await Promise.all([send(), send(), send(), send()])
    const busy = answers.find(({ status }) => status === 503)
    expect(busy?.headers.get('retry-after')).toBe('1')
    expect(busy?.text).toContain('The server is busy.')
    expect((await browser.submit(page, '/sign-in', ALICE)).text).toContain('/consent"')
  })

  test('offers the username of the session to whoever has to sign in again', async () => {
    const server = sharedServer()
    const { browser, page } = await start(server)
    await signIn(browser, page)
    const again = await browser.get(
      authorizationUrl(server.issuer, makePkce().challenge, { prompt: 'login' }),
    )
    expect(again.text).toContain('value="alice"')
    expect(again.text).toMatch(/name="password"[^>]*autofocus/)
  })
})

describe('the consent page', () => {
  test('names the person, the application, the host and the scopes in words', async () => {
    const server = sharedServer()
    const { browser, page } = await start(server, { scope: 'openid notes:read notes:write' })
    const consent = await signIn(browser, page, 'bob')
    const text = consent.text.replaceAll(/<[^>]*>|\s+/g, ' ').replaceAll(/ +/g, ' ')
    expect(text).toContain('Allow The Web App access?')
    expect(text).toContain('Signed in as bob Use another account')
    expect(text).toContain('Returns you to app.example')
    expect(text).toContain('Notes Read your notes')
    expect(text).toContain('Not included: your role does not allow it Notes Change your notes')
  })

  test('leaves the block of what is left out away where nothing is', async () => {
    const server = sharedServer()
    const { browser, page } = await start(server, { scope: 'openid notes:read notes:write' })
    const consent = await signIn(browser, page)
    expect(consent.text).toContain('Change your notes')
    expect(consent.text).not.toContain('Not included')
  })

  test('warns of an application that any program on the device can pose as', async () => {
    await using server = await startServer((config) => ({
      ...config,
      clients: [
        {
          id: 'web',
          applicationType: 'native',
          authMethod: 'none',
          redirectUris: ['com.example.app:/callback'],
          scopes: ['openid'],
        },
      ],
    }))
    const { browser, page } = await start(server, {
      redirect_uri: 'com.example.app:/callback',
      scope: 'openid',
    })
    const consent = await signIn(browser, page)
    expect(consent.text).toContain('another program can pose as it')
    expect(consent.text).toContain('<bdi>com.example.app:</bdi>')
  })

  test('shows a hostile name of an application as text', async () => {
    await using server = await startServer(renameClient('"><img src=x onerror=alert(1)>'))
    const { browser, page } = await start(server)
    const consent = await signIn(browser, page)
    for (const { text } of [page, consent]) {
      expect(text).toContain('&quot;&gt;&lt;img src=x onerror=alert(1)&gt;')
      expect(text).not.toContain('<img src=x')
    }
  })

  test('lets somebody else go on instead', async () => {
    const server = sharedServer()
    const { browser, page } = await start(server, { scope: 'openid notes:read notes:write' })
    const consent = await signIn(browser, page, 'alice')
    const other = await browser.get(`${consent.url}/other-account`)
    expect(other.text).toContain('Use another account')
    expect(other.text).toContain('Go on as <bdi>Alice Adams</bdi>')
    expect(other.text).toContain('name="username" type="text" value=""')
    const wrong = await browser.submit(other, '/sign-in', { username: 'bob', password: 'x' })
    expect([wrong.status, wrong.text.includes('Use another account')]).toEqual([422, true])
    const left = await signIn(browser, wrong, 'bob')
    const switched = await browser.submit(left, '/session/end/confirm')
    expect(switched.text).toContain('<strong><bdi>bob</bdi></strong>')
    const done = await browser.submit(switched, '/consent')
    expect(new URL(done.location ?? '').searchParams.get('code')).toEqual(expect.any(String))
  })

  test('is not agreed to once it has become untrue', async () => {
    await using server = await startServer()
    const { browser, page } = await start(server, { scope: 'openid notes:read notes:write' })
    const consent = await signIn(browser, page, 'bob')
    await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
    const bob = await stores.accounts.findByUsername('bob')
    if (!bob) throw new Error('no bob')
    await stores.accounts.update({ ...bob, roles: ['editor'] })
    const again = await browser.submit(consent, '/consent')
    expect(again.status).toBe(403)
    expect(again.text).toContain('out of date')
    expect(again.text).not.toContain('Not included')
    const done = await browser.submit(again, '/consent')
    expect(new URL(done.location ?? '').searchParams.get('code')).toEqual(expect.any(String))
  })
})

describe('a form that our page did not send', () => {
  const FOREIGN = [
    ['a foreign Origin', { origin: 'https://evil.example' }],
    ['a hidden Origin', { origin: 'null' }],
    ['the Origin of another port', { origin: 'http://127.0.0.1:1' }],
    ['a sibling site', { 'sec-fetch-site': 'same-site' }],
    ['another site', { 'sec-fetch-site': 'cross-site' }],
    ['another site that hides its Origin', { 'sec-fetch-site': 'cross-site', origin: 'null' }],
  ] as const

  test.each(FOREIGN)('signs nobody in: %s', async (_name, headers) => {
    await using server = await startServer()
    const { browser, page } = await start(server)
    const refused = await post(browser, page, '/sign-in', ALICE, headers)
    expect([refused.status, refused.location]).toEqual([403, undefined])
    expect(refused.text).toContain('nothing was done')
    expect(refused.text).not.toContain('alice')
    expect(server.logged()).not.toContain('"event":"signed_in"')
    // Nothing is lost: the page that was shown again can be sent.
    expect((await browser.submit(refused, '/sign-in', ALICE)).text).toContain('/consent"')
  })

  test.each([
    ['an own Origin', (issuer: string) => ({ origin: issuer })],
    [
      'a hidden Origin of the same origin',
      () => ({ origin: 'null', 'sec-fetch-site': 'same-origin' }),
    ],
    ['a program that says nothing', () => ({})],
  ])('is not what is refused: %s', async (_name, headers) => {
    const server = sharedServer()
    const { browser, page } = await start(server)
    const next = await post(browser, page, '/sign-in', ALICE, headers(server.issuer))
    expect(next.text).toContain('/consent"')
  })

  test('is refused without a token, and with that of another form or interaction', async () => {
    await using server = await startServer()
    const { browser, page } = await start(server)
    const elsewhere = await browser.get(authorizationUrl(server.issuer, makePkce().challenge))
    const stranger = await start(server)
    const tokens = [
      '',
      'x',
      readForm(page.text, '/cancel').hidden['csrf'] ?? '',
      readForm(elsewhere.text, '/sign-in').hidden['csrf'] ?? '',
      readForm(stranger.page.text, '/sign-in').hidden['csrf'] ?? '',
    ]
    for (const csrf of tokens) {
      const refused = await post(browser, page, '/sign-in', { ...ALICE, csrf })
      expect([csrf, refused.status, refused.location]).toEqual([csrf, 403, undefined])
    }
    expect(server.logged()).not.toContain('"event":"signed_in"')
  })

  test('does not sign a victim in as the attacker, whose interaction only the attacker has', async () => {
    await using server = await startServer()
    const attacker = await start(server)
    const victim = await start(server)
    const planted = await post(victim.browser, attacker.page, '/sign-in', ALICE)
    expect(planted.status).toBe(410)
    expect(planted.text).toContain('This sign-in is over')
    expect(server.logged()).not.toContain('"event":"signed_in"')
  })

  test('does not sign a victim in with the cookie of the attacker planted on another path', async () => {
    const server = sharedServer()
    const attacker = await start(server)
    const victim = await start(server)
    const form = readForm(attacker.page.text, '/sign-in')
    const cookie = attacker.browser
      .cookies()
      .map(({ name, value }) => `${name}=${value}`)
      .join('; ')
    const answer = await fetch(`${victim.page.url}/sign-in`, {
      method: 'POST',
      body: new URLSearchParams({ ...form.hidden, ...ALICE }),
      headers: { cookie },
      redirect: 'manual',
    })
    expect(answer.status).toBe(410)
  })

  test.each(['/consent', '/cancel'])('answers for nobody at %s', async (action) => {
    await using server = await startServer()
    const { browser, page } = await start(server)
    const consent = await signIn(browser, page)
    const refused = await post(browser, consent, action, {}, { origin: 'https://evil.example' })
    const without = await post(browser, consent, action, { csrf: '' })
    for (const { status, location, text } of [refused, without]) {
      expect([status, location]).toEqual([403, undefined])
      expect(text).toContain('Allow <span class="app">')
    }
    expect(server.logged()).not.toMatch(/consent_given|consent_refused/)
  })
})
