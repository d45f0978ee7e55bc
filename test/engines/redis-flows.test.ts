import { createClient } from 'redis'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser, type Browser } from '../support/browser.ts'
import { needEngines } from '../support/engines/need.ts'
import { startRedis, type Redis } from '../support/engines/redis.ts'
import {
  authorizationUrl,
  authorize,
  makePkce,
  refresh,
  requestToken,
  signIn,
} from '../support/flow.ts'
import { makeFolder } from '../support/folder.ts'
import { runProgram, startServerProcess, writeConfig } from '../support/process.ts'
import { REDIRECT, startServer, type TestServer } from '../support/server.ts'

const { isMissing, note } = needEngines('redis')

const SOON = { timeout: 1000, interval: 10 }
const SPA = { client_id: 'spa', redirect_uri: 'https://spa.example/' }

async function redeem(issuer: string, code: string, verifier: string, redirect = REDIRECT) {
  const body = {
    grant_type: 'authorization_code',
    code,
    code_verifier: verifier,
    redirect_uri: redirect,
  }
  return redirect === REDIRECT
    ? requestToken(issuer, body)
    : requestToken(issuer, { ...body, client_id: 'spa' }, {})
}

async function obtain(issuer: string, browser: Browser, request: Record<string, string> = {}) {
  const { code, verifier } = await authorize(issuer, request, 'alice', browser)
  return (await redeem(issuer, code, verifier)).body
}

async function askUserinfo(issuer: string, token: string): Promise<number> {
  const headers = { authorization: `Bearer ${token}` }
  return (await fetch(`${issuer}/userinfo`, { headers })).status
}

/** A request for authorization that may ask the person nothing. */
async function askSilently(issuer: string, browser: Browser, request: Record<string, string> = {}) {
  const { verifier, challenge } = makePkce()
  const url = authorizationUrl(issuer, challenge, { prompt: 'none', ...request })
  const { location, status } = await browser.get(url)
  const answer = new URL(location ?? 'about:blank').searchParams
  return { status, error: answer.get('error'), code: answer.get('code') ?? '', verifier }
}

/** The same person in another tab, whose cookies go their own way from here. */
function openTab(issuer: string, browser: Browser): Browser {
  const cookie = browser.cookies().map(({ name, value }) => `${name}=${value}`)
  const tab = createBrowser(issuer)
  return { ...tab, get: (url) => tab.get(url, { cookie: cookie.join('; ') }) }
}

describe.skipIf(isMissing)(`a server with Redis${note}`, () => {
  let redis: Redis
  let client: ReturnType<typeof createClient>
  beforeAll(async () => {
    redis = await startRedis({ durable: false })
    client = createClient({ url: redis.url })
    await client.connect()
  })
  afterAll(async () => {
    client.destroy()
    await redis[Symbol.asyncDispose]()
  })

  const start = async (): Promise<TestServer> => {
    await client.flushAll()
    return startServer((config) => ({ ...config, redis: { url: redis.url } }))
  }

  test('shows people their sessions, whose other halves are in Redis, and ends them', async () => {
    await using server = await start()
    const page = `${server.issuer}/account`
    const one = createBrowser(server.issuer)
    const others = [createBrowser(server.issuer), createBrowser(server.issuer)]
    for (const browser of [one, ...others]) await signIn(browser, await browser.get(page))
    const count = ({ text }: { text: string }) => text.match(/Signed in \d/g)?.length
    const shown = await one.get(page)
    expect(count(shown)).toBe(3)
    const ended = await one.submit(shown, '/account/sessions/end')
    expect(count(ended)).toBe(2)
    expect(await client.keys('session_*')).toHaveLength(2)
    const rest = await one.submit(ended, '/account/sessions/end-others')
    expect(count(rest)).toBe(1)
    for (const browser of others) {
      expect((await browser.get(page)).text).toContain('name="password"')
    }
    expect((await one.get(page)).url).toBe(page)
  })

  test('refuses what a deleted session gave out within a second, and no offline grant', async () => {
    await using server = await start()
    const { issuer } = server
    const browser = createBrowser(issuer)
    const offline = await obtain(issuer, browser, {
      scope: 'openid offline_access notes:read',
      prompt: 'consent',
    })
    const online = await obtain(issuer, browser)
    const { code, verifier } = await authorize(issuer, {}, 'alice', browser)
    await client.unlink(await client.keys('session_*'))
    const deletedAt = performance.now()
    expect(await askSilently(issuer, browser)).toMatchObject({ error: 'login_required' })
    expect((await redeem(issuer, code, verifier)).body.error).toBe('invalid_grant')
    expect((await refresh(issuer, online.refresh_token)).body.error).toBe('invalid_grant')
    await expect.poll(() => askUserinfo(issuer, online.access_token), SOON).toBe(401)
    console.log(`userinfo refused it ${Math.round(performance.now() - deletedAt)} ms later`)
    expect(await askUserinfo(issuer, offline.access_token)).toBe(200)
    expect((await refresh(issuer, offline.refresh_token)).status).toBe(200)
    expect(server.logged()).toContain('session_deleted')
  })

  test('gives two tabs that ask at once codes that are both good', async () => {
    await using server = await start()
    const { issuer } = server
    const browser = createBrowser(issuer)
    await authorize(issuer, { scope: 'openid notes:read' }, 'alice', browser)
    await authorize(issuer, SPA, 'alice', browser)
    for (let round = 0; round < 10; round += 1) {
      const [web, spa] = await Promise.all([
        askSilently(issuer, openTab(issuer, browser)),
        askSilently(issuer, openTab(issuer, browser), SPA),
      ])
      expect((await redeem(issuer, web.code, web.verifier)).status).toBe(200)
      expect((await redeem(issuer, spa.code, spa.verifier, SPA.redirect_uri)).status).toBe(200)
    }
    expect(await client.keys('session_*')).toHaveLength(1)
  })

  test.each([
    [
      'signed out of',
      async (issuer: string, browser: Browser) => {
        const page = await browser.get(`${issuer}/session/end?client_id=web`)
        return () => browser.submit(page, '/session/end/confirm', { logout: 'yes' })
      },
    ],
    ['deleted', async () => async () => client.del(await client.keys('session_*'))],
  ])('raises no session that is %s while tabs use it', async (_how, prepare) => {
    await using server = await start()
    const { issuer } = server
    for (let round = 0; round < 8; round += 1) {
      const browser = createBrowser(issuer)
      await authorize(issuer, {}, 'alice', browser)
      await askSilently(issuer, browser)
      const before = openTab(issuer, browser)
      const end = await prepare(issuer, browser)
      const tabs = Array.from({ length: 6 }, () => openTab(issuer, browser))
      await Promise.all([...tabs.map((tab) => askSilently(issuer, tab)), end()])
      expect(await askSilently(issuer, before)).toMatchObject({ error: 'login_required' })
      const left = await client.keys('session_*')
      const texts = await Promise.all(left.map((name) => client.get(name)))
      // Whoever comes with the cookie of a session that is over gets a new one, of nobody.
      expect(texts.filter((text) => text?.includes('acc_'))).toEqual([])
    }
  })

  test('takes an interaction that is deleted or overwritten for one that is over', async () => {
    await using server = await start()
    const { issuer } = server
    const ends = [
      (name: string) => client.del(name),
      (name: string) => client.set(name, 'rubbish'),
      (name: string) => client.multi().del(name).lPush(name, 'rubbish').exec(),
    ]
    for (const end of ends) {
      await client.flushAll()
      const browser = createBrowser(issuer)
      const page = await browser.get(authorizationUrl(issuer, makePkce().challenge))
      const [name = '', ...more] = await client.keys('interaction_*')
      expect(more).toEqual([])
      await end(name)
      const answer = await signIn(browser, page)
      expect([answer.status, answer.text.includes('is over')]).toEqual([410, true])
    }
    expect(server.logged()).not.toContain('server_error')
  })

  test('leaves a database that a server without Redis can go on with', async () => {
    await using server = await start()
    const { browser, code } = await authorize(server.issuer)
    expect(code).not.toBe('')
    await using without = await server.startAnother({}, ({ redis: _redis, ...config }) => config)
    const url = authorizationUrl(without.issuer, makePkce().challenge)
    const page = await openTab(without.issuer, browser).get(url)
    expect([page.status, page.text.includes('/sign-in"')]).toEqual([200, true])
    expect(server.logged()).not.toContain('server_error')
  })

  test('says on the terminal what Redis does not tell, and nothing of a password', async () => {
    await using quiet = await startRedis({
      durable: false,
      directives: ['--rename-command', 'CONFIG', ''],
    })
    using folder = makeFolder()
    const config = writeConfig(folder.path)
    const REDIS_URL = quiet.url.replace('//', '//default:hunter2@')
    const environment = { REDIS_URL }
    await using asJson = await startServerProcess(config, { folder: folder.path, environment })
    expect(JSON.parse(asJson.printed())).toMatchObject({
      warnings: [{ path: ['redis'], message: expect.stringMatching(/CONFIG SET/) as string }],
    })
    const text = await runProgram(['serve', '--config', config], {
      folder: folder.path,
      environment: { REDIS_URL: 'redis://:hunter2@127.0.0.1:1' },
    })
    expect([text.code, text.stdout]).toEqual([1, ''])
    expect(text.stderr).toMatch(
      /^error: Cannot reach Redis at 127\.0\.0\.1:1: connect ECONNREFUSED .*\. See that Redis runs there .* REDIS_URL or redis\.url\.$/m,
    )
    expect(asJson.printed() + asJson.logged() + text.stderr).not.toContain('hunter2')
  })
})
