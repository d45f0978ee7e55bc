import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import type { Account } from '../../auth-server/accounts/account.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { createBrowser, readForm, type Browser, type Page } from '../support/browser.ts'
import { authorizationUrl, basic, requestToken, signIn } from '../support/flow.ts'
import {
  BILLING,
  NOTES,
  PASSWORDS,
  SERVICE_SECRET,
  startServer,
  type TestServer,
} from '../support/server.ts'

const GRANT = 'urn:portreeve:params:oauth:grant-type:api-key'
const BACKUP = { name: 'Backup', 'scope notes:read': 'yes', expires: '30' }

function withGateway(config: ConfigInput): ConfigInput {
  const gateway = {
    id: 'gateway',
    grants: ['api_key' as const],
    secret: { env: 'SERVICE_SECRET' },
    scopes: ['notes:read', 'notes:write', 'billing:read'],
  }
  return { ...config, clients: [...(config.clients ?? []), gateway] }
}

let server: TestServer
beforeAll(async () => {
  server = await startServer(withGateway)
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
})

/** A browser whose person is signed in, on the page that it had asked for. */
async function visit(
  path: string,
  who: keyof typeof PASSWORDS | 'nobody' = 'alice',
  at = server,
): Promise<{ browser: Browser; page: Page }> {
  const browser = createBrowser(at.issuer)
  const page = await signIn(browser, await browser.get(`${at.issuer}${path}`), who)
  return { browser, page }
}

function readKey(page: Page): string {
  const [, key = ''] =
    /<textarea[^>]*readonly[^>]*>(prk_[0-9A-Za-z]{49})<\/textarea>/.exec(page.text) ?? []
  return key
}

async function makeKey(fields: Record<string, string> = BACKUP, who: 'alice' | 'bob' = 'alice') {
  const { browser, page } = await visit('/account/api-keys/new', who)
  const made = await browser.submit(page, '/account/api-keys', fields)
  return { browser, page, made, key: readKey(made) }
}

const redeem = (apiKey: string, at = server) =>
  requestToken(
    at.issuer,
    { grant_type: GRANT, api_key: apiKey },
    { authorization: basic('gateway', SERVICE_SECRET) },
  )

describe('the page of an account', () => {
  test('asks whoever is not signed in to sign in, and brings them back', async () => {
    const browser = createBrowser(server.issuer)
    const start = await browser.get(`${server.issuer}/account`)
    expect(start.url).toContain('/interaction/')
    expect(start.text).toContain('Your account')
    const page = await signIn(browser, start)
    expect([page.status, page.url]).toEqual([200, `${server.issuer}/account`])
    expect(page.text).toContain('Alice Adams')
    expect(page.text).toContain('You have none.')
    expect(page.headers.get('cache-control')).toBe('no-store')
    expect(page.headers.get('referrer-policy')).toBe('same-origin')
    const again = await browser.get(`${server.issuer}/account`)
    expect(again.url).toBe(`${server.issuer}/account`)
  })

  test.each(['nothing', '__proto__', 'toString', '<b>', 'app&done=key'])(
    'says nothing was done for a word that is none of ours: %s',
    async (word) => {
      const { browser } = await visit('/account')
      const page = await browser.get(`${server.issuer}/account?done=${word}`)
      expect(page.status).toBe(200)
      expect(page.text).not.toContain('role="status"')
      expect(page.text).toContain('<title>Your account')
    },
  )

  test('leads home whoever turns back', async () => {
    const browser = createBrowser(server.issuer)
    const start = await browser.get(`${server.issuer}/account`)
    const page = await browser.submit(start, '/cancel')
    expect(page.url).toBe(`${server.issuer}/`)
  })

  test('makes a key that is shown once, and works', async () => {
    const { browser, page, made, key } = await makeKey()
    expect(page.text).toContain('Change your notes')
    expect([made.status, made.headers.get('cache-control')]).toEqual([200, 'no-store'])
    expect(made.text).toContain('Read your notes')
    expect(made.text).not.toContain('Change your notes')
    const { status, body } = await redeem(key)
    expect([status, body.scope]).toEqual([200, 'notes:read'])
    const list = await browser.get(`${server.issuer}/account`)
    expect(list.text).toContain('Backup')
    expect(list.text).toMatch(/Ends \d{4}-\d\d-\d\d ·\s+made \d{4}-\d\d-\d\d ·\s+last used /)
    expect(list.text).not.toContain(key)
  })

  test('revokes a key, which is refused from then on', async () => {
    const { browser, key } = await makeKey()
    const list = await browser.get(`${server.issuer}/account`)
    const after = await browser.submit(list, '/revoke')
    expect([after.status, after.url]).toEqual([200, `${server.issuer}/account?done=key`])
    expect(after.text).toContain('role="status">That API key is revoked.<')
    // Other tests have made keys: the newest comes first.
    expect((await redeem(key)).body).toMatchObject({ error: 'invalid_grant' })
  })

  test('shows nobody the keys of somebody else', async () => {
    await makeKey({ ...BACKUP, name: 'A name of Alice' })
    const { page } = await visit('/account', 'bob')
    expect(page.text).toContain('bob')
    expect(page.text).not.toContain('A name of Alice')
  })
})

/** Works on the database of the running server, as the command line does. */
async function withAlice(
  { folder }: TestServer,
  work: (alice: Account, stores: Awaited<ReturnType<typeof openStores>>) => Promise<unknown>,
): Promise<void> {
  await using stores = await openStores(`sqlite:${folder}/portreeve.sqlite`, systemClock)
  const alice = await stores.accounts.findByUsername('alice')
  if (!alice) throw new Error('no alice')
  await work(alice, stores)
}

/** Posts the form as the browser does that the page was shown in, with other fields or headers. */
async function post(
  browser: Browser,
  page: Page,
  fields: Record<string, string>,
  headers: Record<string, string> = {},
): Promise<Page> {
  const form = readForm(page.text, '/account/api-keys')
  const body = new URLSearchParams({ ...form.hidden, ...fields }).toString()
  return browser.post(new URL(form.action, page.url).href, body, headers)
}

describe('the form of a key', () => {
  test.each([
    ['no name', { ...BACKUP, name: '  ' }, 'Say what the key is for.', 'name="name"'],
    ['a name too long', { ...BACKUP, name: 'x'.repeat(101) }, 'may have 100', 'name="name"'],
    ['a name that hides', { ...BACKUP, name: 'a\u202eb' }, 'none of them inv', 'name="name"'],
    ['a name of blanks', { ...BACKUP, name: '\u3164' }, 'none of them inv', 'name="name"'],
    [
      'accents in a pile',
      { ...BACKUP, name: `a${'\u0301'.repeat(9)}` },
      '4 accents',
      'name="name"',
    ],
    ['no scope', { name: 'x', expires: '30' }, 'Choose at least one thing', '<fieldset'],
    ['no end', { ...BACKUP, expires: '9999' }, 'Choose when the key ends.', 'name="expires"'],
  ])('with %s comes back with what is wrong', async (_what, fields, text, field) => {
    const { browser, page } = await visit('/account/api-keys/new')
    const again = await post(browser, page, fields)
    expect(again.status).toBe(422)
    expect(again.text).toContain('<title>Error: Make an API key')
    expect(again.text).toContain(text)
    expect(again.text).toMatch(new RegExp(`${field}[^>]*aria-invalid="true"`))
    expect(readKey(await post(browser, again, BACKUP))).not.toBe('')
  })

  test('keeps what was typed, as text', async () => {
    const { browser, page } = await visit('/account/api-keys/new')
    const name = '"><script>alert(1)</script>'
    const again = await post(browser, page, { name, expires: '365' })
    expect(again.text).toContain('value="&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;"')
    expect(again.text).toMatch(/<option value="365" selected>/)
    const made = await post(browser, again, { ...BACKUP, name })
    expect(made.text).toContain('&lt;script&gt;')
    expect(made.text).not.toContain('<script')
  })

  test('that is sent twice makes one key', async () => {
    const { browser, page } = await visit('/account/api-keys/new')
    expect(readKey(await post(browser, page, BACKUP))).not.toBe('')
    const again = await post(browser, page, BACKUP)
    expect([again.status, readKey(again)]).toEqual([409, ''])
    expect(again.text).toContain('That key was made already')
  })

  test('grants no more than the roles allow, whatever is sent', async () => {
    const { browser, page } = await visit('/account/api-keys/new', 'bob')
    expect(page.text).not.toContain('Change your notes')
    const more = { ...BACKUP, 'scope notes:write': 'yes', 'scope billing:read': 'yes' }
    const { body } = await redeem(readKey(await post(browser, page, more)))
    expect(body.scope).toBe('notes:read')
    const other = await visit('/account/api-keys/new', 'bob')
    const refused = await post(other.browser, other.page, { ...more, resource: BILLING })
    expect([refused.status, readKey(refused)]).toEqual([403, ''])
  })

  test('says so where the roles allow nothing', async () => {
    const { page } = await visit('/account/api-keys/new', 'nobody')
    expect([page.status, page.text]).toEqual([
      200,
      expect.stringContaining('nothing to make a key'),
    ])
  })

  test('is for one API: who may use several chooses first', async () => {
    await using other = await startServer((config) => ({
      ...withGateway(config),
      users: [{ username: 'alice', password: { env: 'ALICE' }, roles: ['admin'] }],
    }))
    const { browser, page } = await visit('/account/api-keys/new', 'alice', other)
    expect(page.text).toContain('A key is for one API')
    const [, href = ''] = /href="([^"]*)"><bdi>Billing</.exec(page.text) ?? []
    const form = await browser.get(new URL(href, page.url).href)
    const fields = {
      name: 'x',
      'scope billing:read': 'yes',
      'scope notes:read': 'yes',
      expires: '7',
    }
    const made = await post(browser, form, fields)
    expect((await redeem(readKey(made), other)).body.scope).toBe('billing:read')
    const unknown = await browser.get(`${other.issuer}/account/api-keys/new?resource=${NOTES}x`)
    expect(unknown.text).toContain('A key is for one API')
    const twice = `resource=${NOTES}&resource=${BILLING}`
    expect((await browser.get(`${other.issuer}/account/api-keys/new?${twice}`)).status).toBe(200)
  })

  test('says when there are enough', async () => {
    await using other = await startServer(withGateway)
    const { browser } = await visit('/account', 'alice', other)
    await withAlice(other, async ({ id: accountId }, { apiKeys }) => {
      const key = { accountId, name: 'x', resource: NOTES, scopes: ['notes:read'] }
      const times = { createdAt: systemClock.now(), expiresAt: undefined }
      const rest = { ...key, ...times, lastUsedAt: undefined, revokedAt: undefined }
      for (let n = 0; n < 50; n += 1) {
        await apiKeys.insert({ ...rest, id: `key_${n}`, hash: `hash ${n}` }, 50)
      }
    })
    const page = await browser.get(`${other.issuer}/account/api-keys/new`)
    const refused = await post(browser, page, BACKUP)
    expect([refused.status, readKey(refused)]).toEqual([409, ''])
    expect(refused.text).toContain('You have 50 API keys')
  })
})

describe('a program that makes keys in a loop', () => {
  test('has to wait after thirty, whoever else makes keys does not, and all can be revoked', async () => {
    await using other = await startServer(withGateway)
    const { browser, page } = await visit('/account/api-keys/new', 'alice', other)
    const revokeAll = async () => {
      for (;;) {
        const list = await browser.get(`${other.issuer}/account`)
        if (list.text.includes('You have none.')) return
        await browser.submit(list, '/revoke')
      }
    }
    for (let n = 0; n < 30; n += 1) {
      const form = await browser.get(page.url)
      expect((await post(browser, form, { ...BACKUP, name: `Key ${n}` })).status).toBe(200)
    }
    await revokeAll()
    const refused = await post(browser, await browser.get(page.url), {
      ...BACKUP,
      name: 'One more',
    })
    expect([refused.status, readKey(refused)]).toEqual([429, ''])
    const wait = Number(refused.headers.get('retry-after'))
    expect(wait).toBeGreaterThan(3000)
    expect(wait).toBeLessThanOrEqual(3600)
    expect(refused.text).toMatch(/Make the next one in (1 hour|\d\d minutes)\./)
    expect(refused.text).toContain('value="One more"')
    expect((await browser.get(`${other.issuer}/account`)).text).toContain('You have none.')
    const bob = await visit('/account/api-keys/new', 'bob', other)
    expect(readKey(await post(bob.browser, bob.page, BACKUP))).not.toBe('')
  })

  test('does not stand in the way of a form that was filled in wrongly', async () => {
    await using other = await startServer(withGateway)
    const { browser, page } = await visit('/account/api-keys/new', 'alice', other)
    for (let n = 0; n < 31; n += 1) {
      expect((await post(browser, page, { ...BACKUP, name: '' })).status).toBe(422)
    }
    expect(readKey(await post(browser, page, BACKUP))).not.toBe('')
  })
})

describe('nobody else makes or revokes a key', () => {
  test.each([
    ['another page', { origin: 'https://evil.example' }],
    ['a page of a neighbour', { 'sec-fetch-site': 'same-site' }],
    ['a frame without an origin', { origin: 'null' }],
  ])('from %s', async (_where, headers) => {
    const { browser, page } = await visit('/account/api-keys/new')
    const refused = await post(browser, page, BACKUP, headers)
    expect([refused.status, readKey(refused)]).toEqual([403, ''])
  })

  test.each([
    ['without a token', { csrf: '' }],
    ['with another id', { id: `key_${'A'.repeat(22)}` }],
    ['with no id', { id: '' }],
  ])('%s', async (_how, fields) => {
    const { browser, page } = await visit('/account/api-keys/new')
    const refused = await post(browser, page, { ...BACKUP, ...fields })
    expect([refused.status, readKey(refused)]).toEqual([403, ''])
  })

  test('with the form of another session of the same person, or of somebody else', async () => {
    for (const who of ['alice', 'bob'] as const) {
      const attacker = await visit('/account/api-keys/new', who)
      const victim = await visit('/account')
      const form = readForm(attacker.page.text, '/account/api-keys')
      const body = new URLSearchParams({ ...form.hidden, ...BACKUP }).toString()
      const refused = await victim.browser.post(`${server.issuer}/account/api-keys`, body)
      expect([refused.status, readKey(refused)]).toEqual([403, ''])
    }
  })

  test('who is not signed in: the form is not even read', async () => {
    const { page } = await visit('/account/api-keys/new')
    const stranger = createBrowser(server.issuer)
    const answer = await post(stranger, page, BACKUP)
    expect(answer.url).toContain('/interaction/')
    expect(answer.text).toContain('name="password"')
  })

  test('with the token of a form that revokes, or the other way round', async () => {
    const { browser, key } = await makeKey()
    const list = await browser.get(`${server.issuer}/account`)
    const revoking = readForm(list.text, '/revoke').hidden
    const page = await browser.get(`${server.issuer}/account/api-keys/new`)
    const refused = await post(browser, page, { ...BACKUP, ...revoking })
    expect([refused.status, readKey(refused)]).toEqual([403, ''])
    const making = readForm(page.text, '/account/api-keys').hidden
    const body = new URLSearchParams({ ...making, id: revoking['id'] ?? '' }).toString()
    const left = await browser.post(`${server.issuer}/account/api-keys/revoke`, body)
    expect(left.status).toBe(403)
    expect((await redeem(key)).status).toBe(200)
  })

  test('of somebody else, even with a token for it', async () => {
    const { browser, key } = await makeKey()
    const list = await browser.get(`${server.issuer}/account`)
    const { hidden } = readForm(list.text, '/revoke')
    const other = await visit('/account', 'bob')
    const body = new URLSearchParams(hidden).toString()
    const refused = await other.browser.post(`${server.issuer}/account/api-keys/revoke`, body)
    expect(refused.status).toBe(403)
    expect((await redeem(key)).status).toBe(200)
  })

  test.each([
    ['GET', '/account/api-keys', 'POST'],
    ['GET', '/account/api-keys/revoke', 'POST'],
    ['POST', '/account', 'GET, HEAD'],
    ['DELETE', '/account/api-keys/new', 'GET, HEAD'],
  ])('by %s %s', async (method, path, allow) => {
    const response = await fetch(`${server.issuer}${path}`, { method })
    expect([response.status, response.headers.get('allow')]).toEqual([405, allow])
  })

  test.each(['application/json', 'text/plain', 'multipart/form-data'])('by %s', async (type) => {
    const { browser, page } = await visit('/account/api-keys/new')
    const refused = await post(browser, page, BACKUP, { 'content-type': type })
    expect([refused.status, readKey(refused)]).toEqual([415, ''])
  })
})

describe('a sign-in', () => {
  /** A sign-in so long ago, by the session that the server has of it. */
  async function ageSession({ folder }: TestServer, seconds: number): Promise<void> {
    const { DatabaseSync } = await import('node:sqlite')
    using database = new DatabaseSync(`${folder}/portreeve.sqlite`)
    database
      .prepare(
        `update engine_model set payload =
          json_set(payload, '$.loginTs', json_extract(payload, '$.loginTs') - ?)
          where model = 'Session'`,
      )
      .run(seconds)
  }

  test('of more than ten minutes ago shows keys, and makes none', async () => {
    await using other = await startServer(withGateway)
    const { browser, page } = await visit('/account/api-keys/new', 'alice', other)
    await ageSession(other, 590)
    expect((await browser.get(`${other.issuer}/account/api-keys/new`)).text).toContain('It may')
    await ageSession(other, 20)
    expect((await browser.get(`${other.issuer}/account`)).text).toContain('You have none.')
    const asked = await post(browser, page, BACKUP)
    expect(asked.text).toContain('name="password"')
    expect((await browser.get(`${other.issuer}/account`)).text).toContain('You have none.')
    const form = await signIn(browser, asked)
    expect(form.url).toBe(`${other.issuer}/account/api-keys/new`)
    expect(readKey(await post(browser, form, BACKUP))).not.toBe('')
  })

  test('is over for who signed out, was disabled, or has a new password', async () => {
    await using other = await startServer(withGateway)
    const leaving = await visit('/account', 'alice', other)
    const confirm = await leaving.browser.get(`${other.issuer}/session/end`)
    await leaving.browser.submit(confirm, '/session/end/confirm', { logout: 'yes' })
    const gone = await leaving.browser.get(`${other.issuer}/account`)
    expect(gone.text).toContain('name="password"')
    const staying = await visit('/account', 'alice', other)
    await withAlice(other, (alice, { accounts }) => accounts.update({ ...alice, disabled: true }))
    const disabled = await staying.browser.get(`${other.issuer}/account`)
    expect(disabled.text).toContain('name="password"')
    await withAlice(other, (alice, { accounts }) =>
      accounts.updateAndEndAccess({ ...alice, disabled: false }),
    )
    const ended = await staying.browser.get(`${other.issuer}/account`)
    expect(ended.text).toContain('name="password"')
  })

  test('with somebody else’s cookie, or none of ours, is none', async () => {
    const { browser } = await visit('/account')
    const session = browser.cookies().find(({ name }) => name === 'session')
    const ask = (cookie: string) =>
      fetch(`${server.issuer}/account`, { headers: { cookie }, redirect: 'manual' })
    expect((await ask(`session=${session?.value}`)).status).toBe(303)
    expect((await ask(`session=${session?.value}; session.sig=AAAA`)).status).toBe(303)
  })

  test('comes back to a page of ours, wherever the state points', async () => {
    for (const state of ['https://evil.example/', '//evil.example', '__proto__', 'toString', '']) {
      const url = `${server.issuer}/account/signed-in?${new URLSearchParams({ state }).toString()}`
      const response = await fetch(url, { redirect: 'manual' })
      expect([response.status, response.headers.get('location')]).toEqual([303, '/account'])
    }
  })
})

describe('this server as a client of itself', () => {
  test('gives its code to nobody', async () => {
    const { browser } = await visit('/account')
    const redirect_uri = `${server.issuer}/account/signed-in`
    const request = { client_id: 'portreeve-account', redirect_uri, scope: 'openid' }
    const url = authorizationUrl(server.issuer, 'x'.repeat(43), request)
    const cookie = browser.cookies().map(({ name, value }) => `${name}=${value}`)
    const answer = await fetch(url, { headers: { cookie: cookie.join('; ') }, redirect: 'manual' })
    const code = new URL(answer.headers.get('location') ?? '').searchParams.get('code') ?? ''
    expect(code).not.toBe('')
    const redeemed = await requestToken(
      server.issuer,
      {
        grant_type: 'authorization_code',
        client_id: 'portreeve-account',
        redirect_uri,
        code,
        code_verifier: 'v'.repeat(43),
      },
      {},
    )
    expect(redeemed).toMatchObject({ status: 400, body: { error: 'invalid_grant' } })
  })

  test('sends nobody anywhere else, and asks for no API', async () => {
    const own = { client_id: 'portreeve-account' }
    const elsewhere = { ...own, redirect_uri: 'https://evil.example/' }
    const browser = createBrowser(server.issuer)
    const refused = await browser.get(authorizationUrl(server.issuer, 'x'.repeat(43), elsewhere))
    expect([refused.status, refused.location]).toEqual([400, undefined])
    const redirect_uri = `${server.issuer}/account/signed-in`
    const greedy = { ...own, redirect_uri, scope: 'notes:read' }
    const home = await browser.get(authorizationUrl(server.issuer, 'x'.repeat(43), greedy))
    expect(home.text).not.toContain('notes')
  })

  test('is no client that an operator could declare', async () => {
    const declared = startServer((config) => ({
      ...config,
      clients: [
        { id: 'portreeve-account', authMethod: 'none', redirectUris: ['https://x.example/'] },
      ],
    }))
    await expect(declared).rejects.toThrow('PR329')
  })
})

describe('behind https', () => {
  const ORIGIN = 'https://id.example'
  const FORWARDED = { 'x-forwarded-proto': 'https', 'x-forwarded-host': 'id.example' }

  /** A browser that the proxy is in front of: it follows whatever leads to `ORIGIN`. */
  function createProxiedBrowser(url: string) {
    const jar = new Map<string, string>()
    const ask = async (address: string, form?: Record<string, string>): Promise<Page> => {
      const target = new URL(address, ORIGIN)
      const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ')
      const response = await fetch(`${url}${target.pathname}${target.search}`, {
        redirect: 'manual',
        headers: { ...FORWARDED, accept: 'text/html', cookie },
        ...(form ? { method: 'POST', body: new URLSearchParams(form) } : {}),
      })
      for (const line of response.headers.getSetCookie()) {
        const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
        if (value === '') jar.delete(name)
        else jar.set(name, value)
      }
      const location = response.headers.get('location')
      if (location !== null) return ask(new URL(location, target).href)
      const { status, headers } = response
      return { url: target.href, status, headers, text: await response.text(), location: undefined }
    }
    return { ask, jar }
  }

  test('the session of this host alone counts', async () => {
    await using other = await startServer((config) => ({
      ...withGateway(config),
      issuer: ORIGIN,
      trustedProxies: ['127.0.0.1'],
    }))
    const { ask, jar } = createProxiedBrowser(other.url)
    const start = await ask('/account/api-keys/new')
    const form = readForm(start.text, '/sign-in')
    const typed = { ...form.hidden, username: 'alice', password: PASSWORDS.alice }
    const page = await ask(form.action, typed)
    expect(page.url).toBe(`${ORIGIN}/account/api-keys/new`)
    const made = await ask('/account/api-keys', {
      ...readForm(page.text, '/account/api-keys').hidden,
      ...BACKUP,
    })
    expect(readKey(made)).not.toBe('')
    expect([...jar.keys()]).toContain('__Host-session')
    const planted = createProxiedBrowser(other.url)
    planted.jar.set('session', jar.get('__Host-session') ?? '')
    planted.jar.set('session.sig', jar.get('__Host-session.sig') ?? '')
    expect((await planted.ask('/account')).text).toContain('name="password"')
  })
})
