import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { createBrowser, type Browser, type Page } from '../support/browser.ts'
import { basic, requestToken, signIn } from '../support/flow.ts'
import { PASSWORDS, SERVICE_SECRET, startServer, type TestServer } from '../support/server.ts'

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
    expect([after.status, after.url]).toEqual([200, `${server.issuer}/account`])
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
