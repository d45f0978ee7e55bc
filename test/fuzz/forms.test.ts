import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser } from '../support/browser.ts'
import {
  authorizationUrl,
  authorize,
  basic,
  makePkce,
  requestToken,
  signIn,
} from '../support/flow.ts'
import { sendRaw } from '../support/raw.ts'
import { REDIRECT, startServer, WEB_SECRET, type TestServer } from '../support/server.ts'
import { tryOut } from './seed.ts'

const RUNS = 300
const FORM = 'Content-Type: application/x-www-form-urlencoded'

let server: TestServer
beforeAll(async () => {
  server = await startServer((config) => ({
    ...config,
    tokens: { authorizationCodeTtlSeconds: 600 },
  }))
})
afterAll(() => server[Symbol.asyncDispose]())

const bytes = fc.uint8Array({ maxLength: 300 }).map((list) => Buffer.from(list))
const nearlyText = fc
  .string({
    unit: fc.constantFrom('a', '=', '&', '%', 'f', '0', '+', '[', ']', '\0', 'ü'),
    maxLength: 60,
  })
  .map((text) => Buffer.from(text))

/** Parameters that are nearly right, in any order, some of them twice. */
function nearlyForm(values: Readonly<Record<string, readonly string[]>>): fc.Arbitrary<Buffer> {
  const anything = fc.oneof(fc.string(), fc.string({ unit: 'binary' }))
  const pairs = Object.entries(values).map(([name, known]) =>
    fc.tuple(fc.constant(name), fc.oneof(fc.constantFrom(...known), anything)),
  )
  const pair = fc.oneof(
    ...pairs,
    fc.tuple(fc.constantFrom('__proto__', 'constructor', 'x[y]'), anything),
  )
  return fc.array(pair, { maxLength: 10 }).map((list) => {
    const form = new URLSearchParams()
    for (const [name = '', value = ''] of list) form.append(name, value)
    return Buffer.from(form.toString())
  })
}

const post = (target: string, body: Buffer, ...headers: string[]) =>
  sendRaw(
    server.url,
    [`POST ${target} HTTP/1.1`, `Content-Length: ${body.length}`, ...headers],
    body,
  )

describe('whatever is sent', () => {
  test('to the token endpoint, it is refused, and a code is as good as before', async () => {
    const { code, verifier } = await authorize(server.issuer)
    const right = {
      grant_type: 'authorization_code',
      code,
      code_verifier: verifier,
      redirect_uri: REDIRECT,
    }
    const web = `Authorization: ${basic('web', WEB_SECRET)}`
    const form = nearlyForm({
      grant_type: ['authorization_code', 'refresh_token', 'client_credentials', 'password'],
      code: [code, code.slice(1), `~${code}`, ''],
      // The right one is left out: everything else may be right at once.
      code_verifier: ['v'.repeat(43), verifier.slice(1), ''],
      redirect_uri: [REDIRECT, 'https://evil.example/'],
      refresh_token: [code, ''],
      client_id: ['web', 'spa', 'service'],
      client_secret: ['', 'wrong'],
      scope: ['openid', 'notes:read', 'notes:write offline_access'],
      resource: ['https://notes.example/', 'https://nowhere.example/', 'x'],
    })
    await tryOut(
      fc.asyncProperty(
        fc.oneof(bytes, nearlyText, form, form),
        fc.boolean(),
        async (body, asWeb) => {
          const { status, body: answer } = await post('/token', body, FORM, ...(asWeb ? [web] : []))
          expect([400, 401, 429]).toContain(status)
          expect(JSON.parse(answer)).toEqual(
            expect.objectContaining({ error: expect.stringMatching(/^[a-z_]+$/) }),
          )
        },
      ),
      RUNS,
    )
    expect((await requestToken(server.issuer, right)).status).toBe(200)
    expect(server.logged()).not.toContain('"level":50')
  })

  test('to a page, it leads nowhere, and the sign-in goes on', async () => {
    const browser = createBrowser(server.issuer)
    const page = await browser.get(authorizationUrl(server.issuer, makePkce().challenge))
    const uid = /\/interaction\/([\w-]+)/.exec(page.text)?.[1] ?? ''
    const cookies = browser.cookies().map(({ name, value }) => `${name}=${value}`)
    const form = nearlyForm({
      username: ['alice', 'ALICE', 'nobody', ''],
      password: ['wrong', ''],
      csrf: ['x', '', uid],
    })
    const action = fc.constantFrom('sign-in', 'consent', 'cancel')
    await tryOut(
      fc.asyncProperty(fc.oneof(bytes, nearlyText, form), action, async (body, name) => {
        const target = `/interaction/${uid}/${name}`
        const answer = await post(target, body, FORM, `Cookie: ${cookies.join('; ')}`)
        expect([400, 403, 413, 415, 422]).toContain(answer.status)
        expect(answer.headers['content-type']).toBe('text/html; charset=utf-8')
      }),
      RUNS,
    )
    const consent = await signIn(browser, page)
    const answer = await browser.submit(consent, '/consent')
    expect(new URL(answer.location ?? '').searchParams.get('code')).toEqual(expect.any(String))
    expect(server.logged()).not.toContain('"level":50')
  })
})
