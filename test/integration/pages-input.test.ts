import { request as rawRequest } from 'node:http'
import { describe, expect, test } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { createBrowser, readForm, type Browser, type Page } from '../support/browser.ts'
import { authorizationUrl, authorize, makePkce, signIn } from '../support/flow.ts'
import { PASSWORDS, shareServer, startServer, type TestServer } from '../support/server.ts'

const sharedServer = shareServer()

async function start(server: TestServer): Promise<{ browser: Browser; page: Page }> {
  const browser = createBrowser(server.issuer)
  const page = await browser.get(authorizationUrl(server.issuer, makePkce().challenge))
  return { browser, page }
}

/** Asks for exactly this path with exactly these headers: fetch would tidy both up. */
function getAsIs(
  issuer: string,
  path: string,
  headers: Record<string, string>,
): Promise<[number | undefined, string]> {
  const { hostname, port } = new URL(issuer)
  return new Promise((resolve, reject) => {
    const sending = rawRequest({ hostname, port, path, headers }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('end', () => resolve([response.statusCode, Buffer.concat(chunks).toString()]))
    })
    sending.on('error', reject).end()
  })
}

/** A well-formed sign-in body for this page. */
function signInBody(page: Page, username = 'alice'): string {
  const { hidden } = readForm(page.text, '/sign-in')
  return new URLSearchParams({ ...hidden, username, password: PASSWORDS.alice }).toString()
}

describe('the body of a form', () => {
  test.each([
    ['a field twice', 400, (body: string) => [`${body}&username=bob`, {}]],
    ['a token twice', 400, (body: string) => [`csrf=x&${body}`, {}]],
    ['escapes that are no UTF-8', 400, (body: string) => [`${body}&x=%ff%fe`, {}]],
    ['half an escape', 400, (body: string) => [`${body}&x=%f`, {}]],
    ['more than 8 KiB', 413, (body: string) => [`${body}&x=${'a'.repeat(8192)}`, {}]],
    ['JSON', 415, () => ['{"username":"alice"}', { 'content-type': 'application/json' }]],
    ['text', 415, (body: string) => [body, { 'content-type': 'text/plain' }]],
    [
      'multipart',
      415,
      (body: string) => [body, { 'content-type': 'multipart/form-data; boundary=x' }],
    ],
    ['no type', 415, (body: string) => [body, { 'content-type': '' }]],
    ['a compressed body', 415, (body: string) => [body, { 'content-encoding': 'gzip' }]],
    [
      'a compressed body, in capitals',
      415,
      (body: string) => [body, { 'content-encoding': 'GZIP' }],
    ],
    ['an unknown encoding', 415, (body: string) => [body, { 'content-encoding': 'x' }]],
  ] as [string, number, (body: string) => [string, Record<string, string>]][])(
    'is refused with the page again: %s',
    async (_name, status, change) => {
      const server = sharedServer()
      const { browser, page } = await start(server)
      const refused = await browser.post(`${page.url}/sign-in`, ...change(signInBody(page)))
      expect([refused.status, refused.location]).toEqual([status, undefined])
      expect(refused.text).toContain('role="alert"')
      expect(refused.text).toContain('id="username"')
      const next = await browser.submit(refused, '/sign-in', {
        username: 'alice',
        password: PASSWORDS.alice,
      })
      expect(next.text).toContain('/consent"')
    },
  )

  test('may be sent in chunks, but not without end', async () => {
    const server = sharedServer()
    const { browser, page } = await start(server)
    const cookie = browser.cookies().map(({ name, value }) => `${name}=${value}`)
    const status = await new Promise((resolve, reject) => {
      const sending = rawRequest(`${page.url}/sign-in`, {
        method: 'POST',
        headers: {
          'content-type': 'application/x-www-form-urlencoded',
          'transfer-encoding': 'chunked',
          cookie: cookie.join('; '),
        },
      })
      sending.on('response', (response) => {
        response.resume()
        resolve(response.statusCode)
      })
      sending.on('error', reject)
      for (let count = 0; count < 20; count += 1) sending.write('a'.repeat(1024))
    })
    expect(status).toBe(413)
  })

  test('may carry fields that nobody knows', async () => {
    const server = sharedServer()
    const { browser, page } = await start(server)
    const body = `${signInBody(page)}&__proto__=x&constructor=y&uid=z&a%5Bb%5D=c`
    const next = await browser.post(`${page.url}/sign-in`, body)
    expect(next.text).toContain('/consent"')
  })

  test('may hold a username with a capital, spaces around it or a zero byte', async () => {
    const server = sharedServer()
    const { browser, page } = await start(server)
    const zero = await browser.post(`${page.url}/sign-in`, signInBody(page, 'alice\0'))
    expect(zero.status).toBe(422)
    const next = await browser.post(`${page.url}/sign-in`, signInBody(page, ' Alice '))
    expect(next.text).toContain('/consent"')
  })
})

describe('the address of a page', () => {
  test.each([
    ['/sign-in', 'GET', 'POST'],
    ['/sign-in', 'PUT', 'POST'],
    ['/consent', 'GET', 'POST'],
    ['/keep-account', 'GET', 'POST'],
    ['/cancel', 'DELETE', 'POST'],
    ['', 'POST', 'GET, HEAD'],
    ['/other-account', 'POST', 'GET, HEAD'],
  ])('%s is not for %s', async (action, method, allow) => {
    const server = sharedServer()
    const { page } = await start(server)
    const answer = await fetch(`${page.url}${action}`, { method })
    expect([answer.status, answer.headers.get('allow')]).toEqual([405, allow])
    expect(answer.headers.get('content-type')).toBe('text/html; charset=utf-8')
    expect(await answer.text()).toContain('method_not_allowed')
  })

  test.each([
    ['a slash in the identifier', '/interaction/a%2fb'],
    ['dots', '/interaction/%2e%2e%2fauth'],
    ['a broken escape', '/interaction/%zz'],
    ['a zero byte', '/interaction/aaaaaaaaaaaaaaaaaaaa%00'],
    ['an overlong identifier', `/interaction/${'a'.repeat(4000)}`],
    ['no identifier', '/interaction/'],
    ['a form that does not exist', `/interaction/${'a'.repeat(43)}/sign-on`],
    ['a slash at the end', `/interaction/${'a'.repeat(43)}/`],
  ])('is nothing: %s', async (_name, path) => {
    const server = sharedServer()
    const answer = await getAsIs(server.issuer, path, { accept: 'text/html' })
    expect(answer).toEqual([404, expect.stringContaining('There is nothing here')])
  })
})

describe('an interaction that is over', () => {
  test.each(['', '/other-account'])('says so at GET %s, and what to do', async (path) => {
    const server = sharedServer()
    const url = `${server.issuer}/interaction/${'a'.repeat(43)}${path}`
    const page = await createBrowser(server.issuer).get(url)
    expect(page.status).toBe(410)
    expect(page.text).toContain('Go back to the app that you came from and start again.')
  })

  test('is that of another browser as well', async () => {
    const server = sharedServer()
    const { page } = await start(server)
    expect((await createBrowser(server.issuer).get(page.url)).status).toBe(410)
  })

  test('is one that was answered', async () => {
    const server = sharedServer()
    const { browser, page } = await start(server)
    await signIn(browser, page)
    expect((await browser.get(page.url)).status).toBe(410)
    const again = await signIn(browser, page)
    expect([again.status, again.location]).toEqual([410, undefined])
  })

  test('is one whose application was disabled meanwhile', async () => {
    await using server = await startServer()
    const { browser, page } = await start(server)
    await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
    const client = await stores.clients.findById('web')
    if (!client) throw new Error('no client')
    await stores.clients.update({ ...client, disabled: true })
    expect((await browser.get(page.url)).status).toBe(410)
    expect((await browser.submit(page, '/cancel')).status).toBe(410)
  })

  test('is never a failure of the server, however many answers arrive at once', async () => {
    await using server = await startServer()
    const { browser, page } = await start(server)
    const consent = await signIn(browser, page)
    const answers = await Promise.all(
      Array.from({ length: 12 }, (_, index) =>
        browser.submit(consent, index % 3 === 0 ? '/cancel' : '/consent'),
      ),
    )
    for (const { status, location } of answers) {
      const expected = location === undefined ? [400, 403, 410] : [303]
      expect(expected).toContain(status)
    }
    expect(server.logged()).not.toContain('server_error')
  })

  test('is what a slow sign-in finds that was cancelled meanwhile', async () => {
    await using server = await startServer((config) => ({
      ...config,
      signIn: { hashConcurrency: 1 },
    }))
    const { browser, page } = await start(server)
    const cookie = browser.cookies().map(({ name, value }) => `${name}=${value}`)
    const headers = {
      'content-type': 'application/x-www-form-urlencoded',
      cookie: cookie.join('; '),
    }
    // One hash after the other: the last is computed long after the cancellation.
    const sending = Array.from({ length: 8 }, () =>
      fetch(`${page.url}/sign-in`, {
        method: 'POST',
        body: signInBody(page),
        headers,
        redirect: 'manual',
      }),
    )
    await browser.submit(page, '/cancel')
    const statuses = (await Promise.all(sending)).map(({ status }) => status)
    expect(statuses.filter((status) => status !== 303 && status !== 410)).toEqual([])
    expect(statuses).toContain(410)
  })
})

const POLICY =
  "default-src 'none';script-src;style-src 'self';img-src 'self';base-uri 'none';frame-ancestors 'none'"

describe('every page', () => {
  test('is markup alone, under a strict policy, kept by no cache', async () => {
    const server = sharedServer()
    const { browser, page } = await start(server)
    const failed = await browser.submit(page, '/sign-in', { username: 'x', password: 'y' })
    const consent = await signIn(browser, failed, 'bob')
    const other = await browser.get(`${consent.url}/other-account`)
    await browser.submit(consent, '/consent')
    const choice = authorizationUrl(server.issuer, makePkce().challenge, {
      prompt: 'select_account',
    })
    const choose = await browser.get(choice)
    const signOut = await browser.get(`${server.issuer}/session/end?client_id=web`)
    const stayed = await browser.submit(signOut, '/confirm')
    const plain = await browser.get(`${server.issuer}/session/end`)
    const signedOut = await browser.submit(plain, '/confirm', { logout: 'yes' })
    const error = await browser.get(`${server.issuer}/auth?client_id=nobody`)
    const missing = await browser.get(`${server.issuer}/nothing`)
    const over = await browser.get(page.url)
    const method = await browser.get(`${page.url}/sign-in`)
    const pages = { page, failed, consent, other, choose, signOut, stayed, plain, signedOut, error }
    for (const [name, { text, headers }] of Object.entries({ ...pages, missing, over, method })) {
      expect([
        name,
        text.match(/<style|\sstyle=|<script|\son\w+=|javascript:|https?:\/\/(?!127)/i),
      ]).toEqual([name, null])
      expect([name, headers.get('content-security-policy')]).toEqual([name, POLICY])
      expect([name, headers.get('x-frame-options')]).toEqual([name, 'DENY'])
      expect([name, headers.get('x-content-type-options')]).toEqual([name, 'nosniff'])
      expect([name, headers.get('content-type')]).toEqual([name, 'text/html; charset=utf-8'])
      expect([name, text.match(/<h1/g)]).toEqual([name, ['<h1']])
      expect([name, text.match(/<html lang="en">|<main|<header|name="viewport"/g)]).toEqual([
        name,
        ['<html lang="en">', 'name="viewport"', '<header', '<main'],
      ])
    }
    expect(signOut.text).toContain('The Web App')
    expect(stayed.text).toContain('you are still signed in here')
    expect(signedOut.text).toContain('You are signed out')
    expect(error.text).toContain('client is invalid')
    const id = error.headers.get('x-request-id') ?? 'none'
    expect(error.text).toContain(id)
    for (const { headers } of [page, failed, consent, other, over, method, signOut]) {
      expect(headers.get('cache-control')).toContain('no-store')
    }
  })

  test('hides where one was from everybody but this server', async () => {
    const server = sharedServer()
    const { page } = await start(server)
    expect(page.headers.get('referrer-policy')).toBe('same-origin')
  })

  test('keeps tokens and usernames out of the log', async () => {
    await using server = await startServer()
    const { page } = await start(server)
    await authorize(server.issuer)
    const { csrf } = readForm(page.text, '/sign-in').hidden
    expect(server.logged()).not.toContain(csrf)
    expect(server.logged()).not.toContain(new URL(page.url).pathname)
    expect(server.logged()).toContain('"event":"signed_in"')
    expect(server.logged()).not.toContain('"username"')
  })
})

describe('assets', () => {
  test('are served from here, for ever, under the digest of their content', async () => {
    const server = sharedServer()
    const { page } = await start(server)
    const paths = [...page.text.matchAll(/(?:href|src)="([^"]*)"/g)].map(([, path]) => path ?? '')
    expect(new Set(paths).size).toBe(3)
    for (const path of paths) {
      expect(path).toMatch(/^\/assets\/\w+\.[\w-]{16}\.(css|svg)$/)
      const answer = await fetch(server.issuer + path)
      expect(answer.status).toBe(200)
      expect(answer.headers.get('cache-control')).toBe('public, max-age=31536000, immutable')
      expect(answer.headers.get('content-type')).toBe(
        path.endsWith('css') ? 'text/css; charset=utf-8' : 'image/svg+xml; charset=utf-8',
      )
      expect((await answer.text()).length).toBeGreaterThan(100)
      const etag = answer.headers.get('etag') ?? ''
      const fresh = await getAsIs(server.issuer, path, { 'if-none-match': etag })
      expect(fresh).toEqual([304, ''])
      const head = await fetch(server.issuer + path, { method: 'HEAD' })
      expect([head.status, await head.text()]).toEqual([200, ''])
    }
  })

  test('are where a browser looks for an icon that a page does not name', async () => {
    const server = sharedServer()
    const answer = await fetch(`${server.issuer}/favicon.ico`)
    expect([answer.status, answer.headers.get('content-type')]).toEqual([
      200,
      'image/svg+xml; charset=utf-8',
    ])
    expect(answer.headers.get('cache-control')).toBe('public, max-age=86400')
  })

  test.each(['/assets/', '/assets/pico.css', '/assets/..%2f..%2fpackage.json', '/assets/style'])(
    'are these alone: %s',
    async (path) => {
      const server = sharedServer()
      expect((await fetch(server.issuer + path)).status).toBe(404)
    },
  )
})
