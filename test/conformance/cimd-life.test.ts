import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { createBrowser, type Page } from '../support/browser.ts'
import {
  obtainAs,
  openRequest,
  readReason,
  redeemAs,
  refreshAs,
  startDocumentHost,
  withDocuments,
  type DocumentHost,
  type Metadata,
} from '../support/documents.ts'
import { askUserinfo, introspect, post, withClients } from '../support/endpoints.ts'
import { authorizationUrl, authorize, makePkce, signIn } from '../support/flow.ts'
import { startLogoutReceiver } from '../support/logout-receiver.ts'
import { NOTES, startServer, type TestServer } from '../support/server.ts'

/* What becomes of a client while its document changes, is not there, or is asked for too often. */

const MINUTE = 60_000
const HOUR = 60 * MINUTE
/** Goes with the engine's own clock, but ahead of it. */
const ahead = { milliseconds: 0 }
const clock = { now: () => systemClock.now() + ahead.milliseconds }
const advance = (milliseconds: number) => void (ahead.milliseconds += milliseconds)

let server: TestServer
let host: DocumentHost
beforeAll(async () => {
  host = await startDocumentHost()
  const change = withDocuments()
  const asApi = withClients({ id: 'web', introspects: [NOTES] })
  server = await startServer((config) => change(asApi(config)), { clock })
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await host[Symbol.asyncDispose]()
})

let count = 0
let path = ''
beforeEach(() => {
  path = `/app-${(count += 1)}`
})

const WITH_API = { scope: 'openid notes:read', resource: NOTES }
const UNREADABLE = 'the document at the client_id could not be read'
const isSignIn = ({ text }: Page) => text.includes('/sign-in"')
const isConsent = ({ text }: Page) => text.includes('/consent"')

/** As far as the page that asks for consent. */
async function openConsent(url: string) {
  const browser = createBrowser(server.issuer)
  const page = await openRequest(server.issuer, url, WITH_API, browser)
  return { browser, consent: await signIn(browser, page) }
}

async function isActive(token: string): Promise<unknown> {
  return (await introspect(server.issuer, token)).body['active']
}

describe('the consent page', () => {
  test('says where the app is from, and that nobody has checked it', async () => {
    const url = host.publish(path, { logo_uri: 'https://evil.example/logo.png' })
    const browser = createBrowser(server.issuer)
    const page = await openRequest(server.issuer, url, {}, browser)
    const { host: name } = new URL(host.origin)
    expect(page.text).toContain(`of <span class="host"><bdi>${name}</bdi>`)
    const consent = await signIn(browser, page)
    expect(consent.text).toContain(`<dd class="publisher"><bdi>${name}</bdi></dd>`)
    expect(consent.text).toContain('Nobody here has checked this app')
    expect(consent.text).not.toContain('logo.png')
    expect(consent.text.replace(/\s+/g, ' ')).toContain(
      'You would not return to <strong><bdi>' +
        `${name}</bdi></strong>, where this app is from, but to <strong><bdi>app.example</bdi>`,
    )
  })

  test('does not warn of a return to where the app is from, nor to the person’s own machine', async () => {
    for (const [kind, redirect_uri, application_type] of [
      ['web', `${host.origin}/callback`, 'web'],
      ['loopback', 'http://127.0.0.1/callback', 'native'],
      ['scheme', 'com.example.app:/callback', 'native'],
    ] as const) {
      const url = host.publish(`${path}-${kind}`, {
        redirect_uris: [redirect_uri],
        application_type,
      })
      const browser = createBrowser(server.issuer)
      const page = await openRequest(server.issuer, url, { redirect_uri }, browser)
      const consent = await signIn(browser, page)
      expect(isConsent(consent)).toBe(true)
      expect(consent.text).not.toContain('You would not return')
    }
  })

  test('warns of a return to another host, whatever the app says that it is', async () => {
    const redirect_uri = 'https://evil.example/callback'
    for (const application_type of ['web', 'native']) {
      const members = { application_type, redirect_uris: [redirect_uri] }
      const url = host.publish(`${path}-${application_type}`, members)
      const browser = createBrowser(server.issuer)
      const page = await openRequest(server.issuer, url, { redirect_uri }, browser)
      expect((await signIn(browser, page)).text).toContain('You would not return')
    }
  })

  test('leads to pages on the host of the document, and to no others', async () => {
    const url = host.publish(path, {
      client_uri: `${host.origin}/about`,
      tos_uri: 'https://app.example/terms',
      policy_uri: 'https://bank.example/policy',
    })
    const { consent } = await openConsent(url)
    expect(consent.text).toContain(`href="${host.origin}/about"`)
    expect(consent.text).not.toContain('https://app.example/terms')
    expect(consent.text).not.toContain('bank.example')
  })

  test('shows a name as text', async () => {
    const url = host.publish(path, { client_name: '<b>Bank</b>' })
    expect((await openRequest(server.issuer, url)).text).toContain('&lt;b&gt;Bank&lt;/b&gt;')
  })
})

describe('a document that changes', () => {
  const CHANGES: readonly (readonly [string, Metadata])[] = [
    ['its name', { client_name: 'Another name' }],
    ['where it leads', { redirect_uris: ['https://app.example/callback', 'https://b.example/'] }],
    ['its keys', { jwks_uri: 'https://app.example/jwks' }],
    ['what it asks for', { scope: 'openid notes:read profile' }],
    ['its kind', { application_type: 'web' }],
    ['its grants', { grant_types: ['authorization_code', 'refresh_token', 'urn:x'] }],
    ['where it is told of logouts', { backchannel_logout_uri: 'https://app.example/out' }],
  ]

  test.each(CHANGES)('in %s is another one: what people gave to the first ends', async (_, to) => {
    const url = host.publish(path)
    const tokens = await obtainAs(server.issuer, url, WITH_API)
    expect(await isActive(tokens.access_token)).toBe(true)
    host.publish(path, to)
    advance(2 * HOUR)
    const { status, body } = await refreshAs(server.issuer, url, tokens.refresh_token)
    expect([status, body.error]).toEqual([400, 'invalid_grant'])
    expect(await isActive(tokens.access_token)).toBe(false)
    expect(server.logged()).toContain(`"action":"document_changed","id":"${url}"`)
  })

  test('in what means nothing here, or in how it is written down, is the same', async () => {
    const url = host.publish(path, { jwks: null })
    const tokens = await obtainAs(server.issuer, url, WITH_API)
    host.answer(path, (_request, response) => {
      const { client_id, ...rest } = JSON.parse(document) as Record<string, unknown>
      const turned = Object.entries({ ...rest, client_id, logo_uri: 'https://x.example/' })
      const text = JSON.stringify(Object.fromEntries(turned.toReversed()), undefined, 2)
      response.writeHead(200, { 'content-type': 'application/json' }).end(text)
    })
    const document = JSON.stringify({
      client_id: url,
      client_name: 'An app of elsewhere',
      redirect_uris: ['https://app.example/callback'],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
      scope: 'openid notes:read',
    })
    advance(2 * HOUR)
    const before = host.asked(path)
    expect((await refreshAs(server.issuer, url, tokens.refresh_token)).status).toBe(200)
    expect(host.asked(path)).toBe(before + 1)
  })

  test('is agreed to anew, and what is given then is good', async () => {
    const url = host.publish(path)
    const browser = createBrowser(server.issuer)
    await authorize(server.issuer, { client_id: url, ...WITH_API }, 'alice', browser)
    host.publish(path, { client_name: 'Another name' })
    advance(2 * HOUR)
    const request = { client_id: url, ...WITH_API }
    const { code, verifier } = await authorize(server.issuer, request, 'alice', browser)
    const { body } = await redeemAs(server.issuer, url, { code, code_verifier: verifier })
    expect(await isActive(body.access_token)).toBe(true)
    expect((await refreshAs(server.issuer, url, body.refresh_token)).status).toBe(200)
  })

  test('between the page and its button is not agreed to', async () => {
    const url = host.publish(path)
    const { browser, consent } = await openConsent(url)
    host.publish(path, { client_name: 'Another name' })
    advance(2 * HOUR)
    expect(isSignIn(await openRequest(server.issuer, url))).toBe(true)
    const again = await browser.submit(consent, '/consent')
    expect(isConsent(again)).toBe(true)
    expect(again.location).toBeUndefined()
    expect(again.text).toContain('Another name')
    expect((await browser.submit(again, '/consent')).location).toContain('code=')
  })

  test('between the button and the code is asked for again', async () => {
    const url = host.publish(path)
    const { browser, consent } = await openConsent(url)
    host.publish(path, { client_name: 'Another name' })
    // Nobody has looked at it since, so that the page is still what was shown.
    advance(2 * HOUR)
    const again = await browser.submit(consent, '/consent')
    expect([again.location, isConsent(again)]).toEqual([undefined, true])
    expect(again.text).toContain('Another name')
  })

  test('between the code and the token gets no token', async () => {
    const url = host.publish(path)
    const { code, verifier } = await authorize(server.issuer, { client_id: url, ...WITH_API })
    host.publish(path, { redirect_uris: ['https://app.example/callback', 'https://b.example/'] })
    advance(2 * HOUR)
    const { status, body } = await redeemAs(server.issuer, url, { code, code_verifier: verifier })
    expect([status, body.error]).toEqual([400, 'invalid_grant'])
  })

  test('to one that leads elsewhere sends nobody there who has begun before', async () => {
    const url = host.publish(path)
    const { browser, consent } = await openConsent(url)
    host.publish(path, { redirect_uris: ['https://b.example/'] })
    advance(2 * HOUR)
    const back = await browser.submit(consent, '/consent')
    expect([back.status, back.location]).toEqual([400, undefined])
    expect(back.text).toContain('redirect_uri')
  })

  test('to one that leads elsewhere shows nobody a page who is only signing in', async () => {
    const url = host.publish(path)
    const browser = createBrowser(server.issuer)
    const page = await openRequest(server.issuer, url, WITH_API, browser)
    host.publish(path, { redirect_uris: ['https://b.example/'] })
    advance(2 * HOUR)
    const back = await signIn(browser, page)
    expect([back.status, back.location, isConsent(back)]).toEqual([400, undefined, false])
  })

  test('by many requests at once ends once', async () => {
    const url = host.publish(path)
    const tokens = await obtainAs(server.issuer, url, WITH_API)
    host.publish(path, { client_name: 'Another name' })
    advance(2 * HOUR)
    const before = host.asked(path)
    const work = Array.from({ length: 10 }, () => [
      refreshAs(server.issuer, url, tokens.refresh_token),
      openRequest(server.issuer, url),
    ]).flat()
    const statuses = (await Promise.all<{ readonly status: number }>(work)).map((one) => one.status)
    expect(new Set(statuses)).not.toContain(500)
    expect(host.asked(path) - before).toBeLessThanOrEqual(2)
    const ends = server.logged().split(`"action":"document_changed","id":"${url}"`).length - 1
    expect(ends).toBe(1)
    expect(await isActive(tokens.access_token)).toBe(false)
  })
})

describe('§5.2 what was read', () => {
  const freshFor = async (headers: Record<string, string>) => {
    const url = host.publish(path, {}, headers)
    const asks = async () => {
      expect(isSignIn(await openRequest(server.issuer, url))).toBe(true)
      return host.asked(path)
    }
    return { url, asks }
  }

  test.each<[string, Record<string, string>, number]>([
    ['five minutes where it says nothing', {}, 300],
    ['as long as it says', { 'cache-control': 'max-age=1200' }, 1200],
    ['less what it has been kept already', { 'cache-control': 'max-age=1200', age: '200' }, 1000],
    ['a minute at least', { 'cache-control': 'max-age=0' }, 60],
    ['a minute though it is not to be kept', { 'cache-control': 'no-store' }, 60],
    ['a minute though it has expired', { expires: 'Thu, 01 Jan 1970 00:00:00 GMT' }, 60],
    ['five minutes where it says nonsense', { 'cache-control': 'max-age=x', expires: '0x' }, 300],
    ['an hour at most', { 'cache-control': 'public, max-age=31536000' }, 3600],
  ])('is used for %s', async (_what, headers, seconds) => {
    const { asks } = await freshFor(headers)
    expect(await asks()).toBe(1)
    advance((seconds - 5) * 1000)
    expect(await asks()).toBe(1)
    advance(10_000)
    expect(await asks()).toBe(2)
  })

  test('is asked for once, by however many at the same time', async () => {
    const release = Promise.withResolvers<void>()
    const url = host.publish(path)
    host.answer(path, async (_request, response) => {
      await release.promise
      const metadata = { client_id: url, redirect_uris: ['https://app.example/callback'] }
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(metadata))
    })
    const pages = Array.from({ length: 30 }, () =>
      openRequest(server.issuer, url, { scope: 'openid' }),
    )
    await expect.poll(() => host.asked(path)).toBe(1)
    release.resolve()
    expect((await Promise.all(pages)).every(isSignIn)).toBe(true)
    expect(host.asked(path)).toBe(1)
  })

  test('and was bad is not kept: what is mended is good at once', async () => {
    const url = host.publish(path, { redirect_uris: [] })
    expect(readReason(await openRequest(server.issuer, url))).toContain('redirect_uris')
    host.publish(path)
    expect(isSignIn(await openRequest(server.issuer, url))).toBe(true)
  })

  test('is not asked for by whoever shows a token', async () => {
    const url = host.publish(path)
    const tokens = await obtainAs(server.issuer, url, { scope: 'openid notes:read' })
    advance(2 * HOUR)
    const before = host.asked(path)
    expect((await introspect(server.issuer, tokens.access_token)).status).toBe(200)
    expect((await askUserinfo(server.issuer, tokens.access_token)).status).toBe(200)
    const form = { token: tokens.access_token, client_id: url }
    expect((await post(server.issuer, '/revoke', form, {})).status).toBe(200)
    const end = `${server.issuer}/session/end?${new URLSearchParams({ client_id: url }).toString()}`
    expect((await createBrowser(server.issuer).get(end)).status).toBe(200)
    expect(host.asked(path)).toBe(before)
  })

  test('is not asked for at the token endpoint where nobody has agreed to it', async () => {
    const url = host.publish(path)
    const { status, body } = await redeemAs(server.issuer, url, { code: 'x', code_verifier: 'y' })
    expect([status, body.error]).toEqual([401, 'invalid_client'])
    expect(host.asked(path)).toBe(0)
  })
})

describe('a document that is not there any more', () => {
  const answerWith = (status: number) =>
    host.answer(path, (_request, response) => {
      response.writeHead(status, { 'content-type': 'application/json' }).end('{}')
    })

  test('for a while ends nothing, but nobody is sent on', async () => {
    const url = host.publish(path, {}, { 'cache-control': 'max-age=60' })
    const { refresh_token } = await obtainAs(server.issuer, url, WITH_API)
    answerWith(503)
    advance(2 * MINUTE)
    expect(readReason(await openRequest(server.issuer, url))).toBe(UNREADABLE)
    const refreshed = await refreshAs(server.issuer, url, refresh_token)
    expect(refreshed.status).toBe(200)
    advance(2 * HOUR)
    const late = await refreshAs(server.issuer, url, refreshed.body.refresh_token)
    expect([late.status, late.body.error]).toEqual([503, 'temporarily_unavailable'])
    expect(late.body.error_description).not.toContain('127.0.0.1')
    host.publish(path)
    const { status } = await refreshAs(server.issuer, url, refreshed.body.refresh_token)
    expect(status).toBe(200)
  })

  test.each([404, 410, 302])('but answers %i redeems nothing at all', async (status) => {
    const url = host.publish(path)
    const { refresh_token } = await obtainAs(server.issuer, url, WITH_API)
    answerWith(status)
    advance(10 * MINUTE)
    const refreshed = await refreshAs(server.issuer, url, refresh_token)
    expect([refreshed.status, refreshed.body.error]).toEqual([401, 'invalid_client'])
  })

  test('is known to another server on the same database, and after a restart', async () => {
    const url = host.publish(path)
    const browser = createBrowser(server.issuer)
    const page = await openRequest(server.issuer, url, WITH_API, browser)
    const tokens = await obtainAs(server.issuer, url, WITH_API)
    await using again = await server.startAnother()
    const refreshed = await refreshAs(again.url, url, tokens.refresh_token)
    expect(refreshed.status).toBe(200)
    expect(isSignIn(page)).toBe(true)
  })
})

const askFor = (issuer: string, url: string) =>
  authorizationUrl(issuer, makePkce().challenge, { client_id: url })

describe('too many documents', () => {
  const SLOW = { attempts: 3, windowSeconds: 600 }

  test.each(['perAddress', 'perHost'] as const)('are bounded by %s', async (pace) => {
    await using slow = await startServer(withDocuments({ [pace]: SLOW }))
    const known = host.publish(`${path}-known`)
    const { refresh_token } = await obtainAs(slow.issuer, known)
    const urls = Array.from({ length: 50 }, (_, index) => host.publish(`${path}-${index}`))
    const pages = await Promise.all(urls.map((url) => openRequest(slow.issuer, url)))
    expect(pages.filter(isSignIn)).toHaveLength(2)
    const refused = pages.filter(({ status }) => status === 429)
    expect(refused).toHaveLength(48)
    expect(Number(refused[0]?.headers.get('retry-after'))).toBeGreaterThan(0)
    const asked = urls.map((url) => host.asked(new URL(url).pathname))
    expect(asked.filter((times) => times > 0)).toHaveLength(2)
    // Whoever is known waits for no stranger.
    expect(isSignIn(await openRequest(slow.issuer, known))).toBe(true)
    expect((await refreshAs(slow.issuer, known, refresh_token)).status).toBe(200)
  })

  test('at once are told to come again', async () => {
    const release = Promise.withResolvers<void>()
    const urls = Array.from({ length: 25 }, (_, index) =>
      host.answer(`${path}-${index}`, async (_request, response) => {
        await release.promise
        response.writeHead(404).end()
      }),
    )
    const pages = urls.map((url) => openRequest(server.issuer, url))
    const early = await Promise.all(pages.slice(20))
    expect(early.map(({ status }) => status)).toEqual([503, 503, 503, 503, 503])
    release.resolve()
    expect((await Promise.all(pages)).filter(({ status }) => status === 400)).toHaveLength(20)
  })

  test('by the thousand are not fetched, whoever asks for whichever', async () => {
    await using own = await startServer(withDocuments())
    const known = host.publish(`${path}-known`)
    const { refresh_token } = await obtainAs(own.issuer, known)
    let asked = 0
    for (let round = 0; round < 100; round += 1) {
      const urls = Array.from({ length: 10 }, (_, index) =>
        host.publish(`${path}-${round}-${index}`),
      )
      await Promise.all(urls.map((url) => fetch(askFor(own.issuer, url), { redirect: 'manual' })))
      asked += urls.filter((url) => host.asked(new URL(url).pathname) > 0).length
    }
    expect(asked).toBe(299)
    expect((await refreshAs(own.issuer, known, refresh_token)).status).toBe(200)
  })
})

describe('the client of a document', () => {
  const open = () => openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)

  test('is seen by the operator once somebody has agreed to it, and removed with all it was given', async () => {
    const url = host.publish(path)
    await using stores = await open()
    await openRequest(server.issuer, url)
    expect(await stores.clients.findById(url)).toBeUndefined()
    const tokens = await obtainAs(server.issuer, url, WITH_API)
    expect(await stores.clients.findById(url)).toMatchObject({ id: url, owner: 'document' })
    await stores.clients.remove(url)
    expect(await isActive(tokens.access_token)).toBe(false)
    expect((await refreshAs(server.issuer, url, tokens.refresh_token)).status).toBe(401)
  })

  test('that is disabled is none, whatever its document says', async () => {
    const url = host.publish(path)
    const tokens = await obtainAs(server.issuer, url, WITH_API)
    await using stores = await open()
    const client = await stores.clients.findById(url)
    if (!client) throw new Error('it is not there')
    await stores.clients.update({ ...client, disabled: true })
    host.publish(path, { client_name: 'Another name' })
    advance(2 * HOUR)
    const page = await openRequest(server.issuer, url)
    expect([page.status, isSignIn(page)]).toEqual([400, false])
    expect((await refreshAs(server.issuer, url, tokens.refresh_token)).status).toBe(401)
    expect(await isActive(tokens.access_token)).toBe(false)
  })

  test('is none where the operator does not want such clients any more', async () => {
    const url = host.publish(path)
    const tokens = await obtainAs(server.issuer, url, WITH_API)
    await using without = await server.startAnother({}, (config) => ({
      ...config,
      clientDocuments: undefined,
    }))
    expect((await refreshAs(without.url, url, tokens.refresh_token)).status).toBe(401)
    const { body } = await introspect(without.url, tokens.access_token)
    expect(body['active']).toBe(false)
  })

  test('may do no more than the operator lets it by now', async () => {
    const url = host.publish(path)
    const tokens = await obtainAs(server.issuer, url, { scope: 'openid notes:read' })
    await using narrow = await server.startAnother({}, withDocuments({ scopes: ['openid'] }))
    const { body } = await refreshAs(narrow.url, url, tokens.refresh_token)
    expect(body.scope ?? '').not.toContain('notes:read')
  })

  test('is told of a session that has ended, by the guard of what strangers name', async () => {
    await using receiver = await startLogoutReceiver()
    const url = host.publish(path, { backchannel_logout_uri: receiver.uri })
    const browser = createBrowser(server.issuer)
    await authorize(server.issuer, { client_id: url }, 'alice', browser)
    const query = new URLSearchParams({ client_id: url }).toString()
    const page = await browser.get(`${server.issuer}/session/end?${query}`)
    await browser.submit(page, '/session/end/confirm', { logout: 'yes' })
    await expect.poll(() => receiver.received.length, { timeout: 10_000 }).toBe(1)
  })

  test('asks no more than it did, where a person has said no', async () => {
    const url = host.publish(path)
    const browser = createBrowser(server.issuer)
    const page = await browser.get(
      authorizationUrl(server.issuer, makePkce().challenge, { client_id: url }),
    )
    const back = await browser.submit(await signIn(browser, page), '/cancel')
    expect(back.location).toContain('error=access_denied')
    await using stores = await open()
    expect(await stores.clients.findById(url)).toBeUndefined()
  })
})
