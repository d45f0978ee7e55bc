import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser } from '../support/browser.ts'
import { needEngines } from '../support/engines/need.ts'
import { startPostgres, type Postgres } from '../support/engines/postgres.ts'
import { authorizationUrl, basic, makePkce, requestToken, signIn } from '../support/flow.ts'
import { startServer, type TestServer } from '../support/server.ts'

const { isMissing, note } = needEngines('postgres')

/** What PostgreSQL keeps in no text, or takes for something else. */
const TEXTS = [
  'web\0',
  '\0',
  "web' or '1'='1",
  'web\\',
  'w\u00e9b',
  '\ufffd',
  '$1',
  'x'.repeat(5000),
]

const ask = {
  'a client that asks for authorization': (issuer: string, text: string) =>
    fetch(authorizationUrl(issuer, makePkce().challenge, { client_id: text }), {
      redirect: 'manual',
    }),
  'a client that asks for a token': async (issuer: string, text: string) =>
    requestToken(
      issuer,
      { grant_type: 'client_credentials' },
      { authorization: basic(text, text) },
    ),
  'a code': async (issuer: string, text: string) =>
    requestToken(issuer, { grant_type: 'authorization_code', code: text, redirect_uri: text }),
  'a refresh token': async (issuer: string, text: string) =>
    requestToken(issuer, { grant_type: 'refresh_token', refresh_token: text }),
  'a username': async (issuer: string, text: string) => {
    const browser = createBrowser(issuer)
    const page = await browser.get(authorizationUrl(issuer, makePkce().challenge))
    return browser.submit(page, '/sign-in', { username: text, password: text })
  },
  'an access token': (issuer: string, text: string) =>
    fetch(`${issuer}/me`, { headers: { authorization: `Bearer ${encodeURIComponent(text)}` } }),
}

describe.skipIf(isMissing)(`what means nothing, on PostgreSQL as on SQLite${note}`, () => {
  let postgres: Postgres
  let onPostgres: TestServer
  let onSqlite: TestServer
  beforeAll(async () => {
    postgres = await startPostgres({ fsync: false })
    onPostgres = await startServer((config) => ({ ...config, database: { url: postgres.url } }))
    onSqlite = await startServer()
  })
  afterAll(async () => {
    await onSqlite?.[Symbol.asyncDispose]()
    await onPostgres?.[Symbol.asyncDispose]()
    await postgres?.[Symbol.asyncDispose]()
  })

  test.each(Object.entries(ask))('is refused as %s', async (_what, send) => {
    for (const text of TEXTS) {
      const answers = [await send(onPostgres.issuer, text), await send(onSqlite.issuer, text)]
      const [one = 0, other] = answers.map(({ status }) => status)
      expect([text, one]).toEqual([text, other])
      expect(one).toBeLessThan(500)
    }
  })

  test('does no harm: people sign in as before', async () => {
    const browser = createBrowser(onPostgres.issuer)
    const page = await browser.get(authorizationUrl(onPostgres.issuer, makePkce().challenge))
    expect((await signIn(browser, page)).text).toContain('/consent"')
  })
})
