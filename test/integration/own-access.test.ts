import { describe, expect, test } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { createBrowser, readForm, type Browser, type Page } from '../support/browser.ts'
import {
  authorizationUrl,
  authorize,
  decodeJwt,
  makePkce,
  obtainTokens,
  refresh,
  requestToken,
  signIn,
} from '../support/flow.ts'
import { BILLING, REDIRECT, shareServer, startServer, type TestServer } from '../support/server.ts'

const FIREFOX = 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0'
const OFFLINE = { scope: 'openid offline_access notes:read', prompt: 'consent' }

const shared = shareServer()

/** Signs in at the page itself, in a browser of one's own. */
async function visit(
  at: TestServer,
  who: 'alice' | 'bob' = 'alice',
  headers: Record<string, string> = {},
) {
  const browser = createBrowser(at.issuer, headers)
  const page = await signIn(browser, await browser.get(`${at.issuer}/account`), who)
  return { browser, page }
}

const reload = (browser: Browser, at: TestServer) => browser.get(`${at.issuer}/account`)

/** The forms of a page whose action ends so, with their hidden fields. */
function listForms(page: Page, action: string) {
  const forms = page.text.match(/<form[\s\S]*?<\/form>/g) ?? []
  return forms
    .filter((form) => form.includes(`action="${action}"`))
    .map((form) => readForm(form, action).hidden)
}

const post = (browser: Browser, at: TestServer, path: string, fields: Record<string, string>) =>
  browser.post(`${at.issuer}${path}`, new URLSearchParams(fields).toString())

async function userinfo({ issuer }: TestServer, token: string): Promise<number> {
  const headers = { authorization: `Bearer ${token}` }
  return (await fetch(`${issuer}/userinfo`, { headers })).status
}

async function readLog({ folder }: TestServer) {
  await using stores = await openStores(`sqlite:${folder}/portreeve.sqlite`, systemClock)
  return stores.revocations.list(0, 100)
}

/** What is said in the section with this heading. */
function textOf(page: Page, id: string): string {
  const [, rest = ''] = page.text.split(`<h2 id="${id}">`)
  const [section = ''] = rest.split('<h2 id=')
  return section.replaceAll(/<[^>]*>/g, ' ').replaceAll(/\s+/g, ' ')
}

describe('the sessions of a person', () => {
  test('are listed with what, since when and from where, this browser first', async () => {
    await using server = await startServer()
    await visit(server, 'alice', { 'user-agent': FIREFOX })
    const { browser } = await visit(server)
    const page = await reload(browser, server)
    const minute = String.raw`\d{4}-\d\d-\d\d \d\d:\d\d UTC`
    const line = `Signed in ${minute} · last used ${minute} from 127\\.0\\.0\\.1 Sign out`
    expect(textOf(page, 'sessions')).toMatch(
      new RegExp(`An unknown browser this browser ${line} Firefox on Linux ${line}`),
    )
    expect(listForms(page, '/account/sessions/end')).toHaveLength(1)
    expect(listForms(page, '/account/sessions/end-others')).toHaveLength(1)
  })

  test('hide their names: neither cookie nor uid is in the page', async () => {
    const server = shared()
    const { browser } = await visit(server)
    const page = await reload((await visit(server)).browser, server)
    for (const { value } of browser.cookies()) expect(page.text).not.toContain(value)
    await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
    const alice = await stores.accounts.findByUsername('alice')
    const { sessions } = await stores.ownAccess.listSessions(alice?.id ?? '', 100)
    expect(sessions.length).toBeGreaterThan(1)
    for (const { uid, key } of sessions) {
      expect(page.text).not.toContain(uid)
      expect(page.text).not.toContain(key)
    }
  })

  test('end by their button: that browser is signed out, and what hung on it is refused', async () => {
    await using server = await startServer()
    const elsewhere = await obtainTokens(server.issuer)
    const offline = await obtainTokens(server.issuer, OFFLINE)
    const { browser, page } = await visit(server)
    const forms = listForms(page, '/account/sessions/end')
    expect(forms).toHaveLength(2)
    for (const form of forms) await post(browser, server, '/account/sessions/end', form)
    expect((await refresh(server.issuer, elsewhere.refresh_token)).body.error).toBe('invalid_grant')
    expect(await userinfo(server, elsewhere.access_token)).toBe(401)
    const gone = await reload(elsewhere.browser, server)
    expect(gone.text).toContain('name="password"')
    // What was given for offline use stays.
    expect(await userinfo(server, offline.access_token)).toBe(200)
    expect((await refresh(server.issuer, offline.refresh_token)).status).toBe(200)
    const sid = decodeJwt(elsewhere.id_token).claims['sid']
    expect(await readLog(server)).toContainEqual(
      expect.objectContaining({ kind: 'session', subject: sid, reason: 'signed_out' }),
    )
    const after = await reload(browser, server)
    expect(after.url).toBe(`${server.issuer}/account`)
    expect(listForms(after, '/account/sessions/end')).toEqual([])
    expect(listForms(after, '/account/sessions/end-others')).toEqual([])
  })

  test('say that there are more, where one hides behind many rows of others', async () => {
    await using server = await startServer()
    const { browser } = await visit(server)
    await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
    const accountId = (await stores.accounts.findByUsername('alice'))?.id ?? ''
    const expiresAt = systemClock.now() + 60_000
    const many = Array.from({ length: 256 }, (_, index) => {
      const uid = `uid ${index >> 5}`
      const payload = { accountId, uid, loginTs: 1_750_000_000 }
      const row = { model: 'Session', key: `key ${index}`, uid, accountId, payload, expiresAt }
      return { kind: 'put', ...row } as const
    })
    await stores.models.apply(many)
    expect(textOf(await reload(browser, server), 'sessions')).toContain('There are more')
  })

  test('end all but this one, those too that are not shown', async () => {
    await using server = await startServer()
    const others = await Promise.all([visit(server), visit(server), visit(server)])
    const bobs = await visit(server, 'bob')
    await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
    const accountId = (await stores.accounts.findByUsername('alice'))?.id ?? ''
    const expiresAt = systemClock.now() + 60_000
    const many = Array.from({ length: 60 }, (_, index) => {
      const uid = `uid ${index}`
      const payload = { accountId, uid, loginTs: 1_750_000_000 }
      const row = { model: 'Session', key: `key ${index}`, uid, accountId, payload, expiresAt }
      return { kind: 'put', ...row } as const
    })
    await stores.models.apply(many)
    const { browser, page } = await visit(server)
    expect(textOf(page, 'sessions')).toContain('There are more')
    expect(listForms(page, '/account/sessions/end')).toHaveLength(49)
    const after = await browser.submit(page, '/account/sessions/end-others')
    expect(after.url).toBe(`${server.issuer}/account?done=others`)
    expect(listForms(after, '/account/sessions/end')).toEqual([])
    expect((await stores.ownAccess.listSessions(accountId, 100)).sessions).toHaveLength(1)
    for (const other of others) {
      expect((await reload(other.browser, server)).text).toContain('name="password"')
    }
    expect((await reload(bobs.browser, server)).url).toBe(`${server.issuer}/account`)
    expect(server.logged()).toMatch(/"event":"signed_out".*"sessions":63/)
  })
})

describe('the apps of a person', () => {
  test('are listed with what they may do, since when, and from where they were used', async () => {
    await using server = await startServer()
    await obtainTokens(server.issuer, { ...OFFLINE, scope: `${OFFLINE.scope} notes:write` })
    const before = await visit(server)
    const text = textOf(before.page, 'apps')
    expect(text).toContain('The Web App')
    expect(text).toContain('Change your notes')
    expect(text).toMatch(/Allowed \d{4}-\d\d-\d\d · last used \d{4}-.* UTC from 127\.0\.0\.1/)
    expect(text).toContain('Keeps its access when you sign out.')
    expect(text).toContain('Signed in through: An unknown browser')
    // This server itself is none.
    expect(listForms(before.page, '/account/apps/remove')).toHaveLength(1)
  })

  test('lose all access by their button, offline too, and nobody else does', async () => {
    await using server = await startServer()
    const { issuer } = server
    const offline = await obtainTokens(issuer, OFFLINE)
    const online = await obtainTokens(issuer)
    const bobs = await obtainTokens(issuer, {}, 'bob')
    const waiting = await authorize(issuer)
    const { browser, page } = await visit(server)
    const after = await browser.submit(page, '/account/apps/remove')
    expect(after.url).toBe(`${issuer}/account?done=app`)
    expect(textOf(after, 'apps')).toContain('No app may do anything for you.')
    for (const { access_token, refresh_token } of [offline, online]) {
      expect(await userinfo(server, access_token)).toBe(401)
      expect((await refresh(issuer, refresh_token)).body.error).toBe('invalid_grant')
    }
    const late = await requestToken(issuer, {
      grant_type: 'authorization_code',
      code: waiting.code,
      code_verifier: waiting.verifier,
      redirect_uri: REDIRECT,
    })
    expect(late.body.error).toBe('invalid_grant')
    expect(await userinfo(server, bobs.access_token)).toBe(200)
    const log = await readLog(server)
    const grant = decodeJwt(offline.access_token).claims['grant_id']
    expect(log).toContainEqual(
      expect.objectContaining({ kind: 'grant', subject: grant, reason: 'consent_withdrawn' }),
    )
    expect(server.logged()).toMatch(/"event":"consent_withdrawn".*"clientId":"web"/)
    // Whoever is signed in stays so, and is asked again.
    const again = await online.browser.get(authorizationUrl(issuer, makePkce().challenge))
    expect(again.text).toContain('/consent"')
  })

  test('get nothing that outlives the click, whatever they ask for at that moment', async () => {
    await using server = await startServer()
    const { issuer } = server
    const first = await obtainTokens(issuer, OFFLINE)
    const codes = await Promise.all([authorize(issuer), authorize(issuer), authorize(issuer)])
    const { browser, page } = await visit(server)
    const answers = await Promise.all([
      refresh(issuer, first.refresh_token),
      ...codes.map(({ code, verifier }) =>
        requestToken(issuer, {
          grant_type: 'authorization_code',
          code,
          code_verifier: verifier,
          redirect_uri: REDIRECT,
        }),
      ),
      browser.submit(page, '/account/apps/remove'),
    ])
    const tokens = answers.flatMap((answer) => ('body' in answer ? [answer.body] : []))
    for (const { access_token, refresh_token } of [first, ...tokens]) {
      if (access_token === undefined) continue
      expect(await userinfo(server, access_token)).toBe(401)
      expect((await refresh(issuer, refresh_token)).status).toBe(400)
    }
    expect(textOf(await reload(browser, server), 'apps')).toContain('No app may do anything')
  })

  test('say what they may do in detail', async () => {
    const payment = {
      description: 'Pay a bill',
      scope: 'billing:read',
      members: { amount: { name: 'Amount', type: 'number' as const } },
    }
    await using server = await startServer((config) => ({
      ...config,
      roles: { ...config.roles, editor: { scopes: ['notes:read', 'billing:read'] } },
      resources: (config.resources ?? []).map((resource) =>
        resource.identifier === BILLING
          ? { ...resource, authorizationDetails: { payment } }
          : resource,
      ),
      clients: config.clients?.map((client) =>
        client.id === 'web' ? { ...client, authorizationDetails: ['payment'] } : client,
      ),
    }))
    const details = (amount: number) => JSON.stringify([{ type: 'payment', amount }])
    const request = { scope: 'openid billing:read', prompt: 'consent' }
    await obtainTokens(server.issuer, { ...request, authorization_details: details(12.5) })
    await obtainTokens(server.issuer, { ...request, authorization_details: details(12.5) })
    await obtainTokens(server.issuer, { ...request, authorization_details: details(99) })
    const { page } = await visit(server)
    const text = textOf(page, 'apps')
    expect(text).toContain('Billing : Pay a bill Amount 12.5')
    expect(text.match(/Pay a bill/g)).toHaveLength(2)
  })

  test('say what a person has to know of them: that nobody has checked them, or nobody is asked', async () => {
    await using server = await startServer()
    await obtainTokens(server.issuer)
    const before = await visit(server)
    expect(before.page.text).not.toContain('Nobody here has checked')
    await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
    const client = await stores.clients.findById('web')
    if (!client) throw new Error('no web')
    await stores.clients.update({ ...client, owner: 'dynamic', firstParty: true })
    const after = await reload(before.browser, server)
    expect(textOf(after, 'apps')).toContain('Nobody here has checked this app')
    expect(textOf(after, 'apps')).toContain('It belongs to this service')
  })

  test('have names that are nothing but text', async () => {
    const name = '<script>alert(1)</script>"\u2019'
    await using server = await startServer((config) => ({
      ...config,
      clients: config.clients?.map((client) => ({ ...client, name })),
    }))
    await obtainTokens(server.issuer)
    const { page } = await visit(server)
    expect(page.text).not.toContain('<script')
    expect(page.text).toContain('aria-label="Remove access of &lt;script&gt;')
  })
})

describe('a form that ends something', () => {
  const PATHS = ['/account/sessions/end', '/account/sessions/end-others', '/account/apps/remove']

  test.each(PATHS)('is taken from this very session’s page alone: %s', async (path) => {
    await using server = await startServer()
    const alices = await obtainTokens(server.issuer)
    const { browser, page } = await visit(server)
    const [form = {}] = listForms(page, path)
    const bob = await visit(server, 'bob')
    const second = await visit(server)
    for (const stranger of [bob, second]) {
      const refused = await post(stranger.browser, server, path, form)
      expect([refused.status, refused.text.includes('did not come from')]).toEqual([403, false])
      expect(refused.text).toMatch(/<title>Error: Your account/)
    }
    for (const fields of [{}, { ...form, csrf: 'AAAA' }, { csrf: form['csrf'] ?? '', id: 'x' }]) {
      if (path.endsWith('others') && 'id' in fields) continue
      expect((await post(browser, server, path, fields)).status).toBe(403)
    }
    const headers = { origin: 'https://evil.example' }
    const body = new URLSearchParams(form).toString()
    expect((await browser.post(`${server.issuer}${path}`, body, headers)).status).toBe(403)
    const anonymous = createBrowser(server.issuer)
    expect((await post(anonymous, server, path, form)).text).toContain('name="password"')
    expect((await browser.get(`${server.issuer}${path}`)).status).toBe(405)
    expect(await userinfo(server, alices.access_token)).toBe(200)
    expect(await readLog(server)).toEqual([])
  })

  test('says the same of what is somebody else’s and of what never was', async () => {
    const server = shared()
    await obtainTokens(server.issuer)
    await visit(server)
    const alice = await visit(server)
    const bob = await visit(server, 'bob')
    const [session = {}] = listForms(alice.page, '/account/sessions/end')
    const answers = await Promise.all(
      [session['id'] ?? '', 'never-was'].map(async (id) => {
        const fields = { id, csrf: session['csrf'] ?? '' }
        const { status, text } = await post(bob.browser, server, '/account/sessions/end', fields)
        return [status, textOf({ ...bob.page, text }, 'sessions').length]
      }),
    )
    expect(answers[0]).toEqual(answers[1])
  })

  test('that is sent twice finds nothing left to do', async () => {
    const server = shared()
    const other = await visit(server)
    const { browser, page } = await visit(server)
    const [form = {}] = listForms(page, '/account/sessions/end')
    const send = () => post(browser, server, '/account/sessions/end', form)
    for (const after of [await send(), await send()]) {
      expect([after.status, after.url]).toEqual([200, `${server.issuer}/account?done=session`])
    }
    expect((await reload(other.browser, server)).text).toContain('name="password"')
  })
})

describe('where something was used from', () => {
  test.each([
    [[], '127.0.0.1', '203.0.113.9'],
    [['127.0.0.1'], '203.0.113.9', '127.0.0.1'],
  ])('is what a proxy says where it is trusted: %s', async (trustedProxies, shown, hidden) => {
    await using server = await startServer((config) => ({ ...config, trustedProxies }))
    const { page } = await visit(server, 'alice', { 'x-forwarded-for': '203.0.113.9' })
    expect(textOf(page, 'sessions')).toContain(`from ${shown}`)
    expect(page.text).not.toContain(hidden)
  })
})
