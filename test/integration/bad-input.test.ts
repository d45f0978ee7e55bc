import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import { createBrowser, type Browser } from '../support/browser.ts'
import {
  authorizationUrl,
  authorize,
  basic,
  makePkce,
  requestToken,
  signIn,
} from '../support/flow.ts'
import { sendRaw, type RawAnswer } from '../support/raw.ts'
import {
  REDIRECT,
  SERVICE_SECRET,
  startServer,
  WEB_SECRET,
  type TestServer,
} from '../support/server.ts'

/** Stands in everything that is sent, and must not stand in the log. */
const CANARY = 'canary-7d1f'
const FORM = 'Content-Type: application/x-www-form-urlencoded'
const SERVICE = `Authorization: ${basic('service', SERVICE_SECRET)}`
const WEB = `Authorization: ${basic('web', WEB_SECRET)}`

let server: TestServer
beforeAll(async () => {
  server = await startServer()
})
afterAll(() => server[Symbol.asyncDispose]())

/** What every endpoint gets, in its query and in its body. */
const INPUTS: readonly (readonly [name: string, input: string | Buffer])[] = [
  ['nothing', ''],
  ['unknown parameters', `nope=${CANARY}&x[y]=${CANARY}&x.y=1`],
  [
    'names of every object',
    `__proto__=${CANARY}&constructor=1&toString=2&__proto__[isAdmin]=true&hasOwnProperty=3`,
  ],
  [
    'known parameters twice',
    `client_id=web&client_id=${CANARY}&grant_type=a&grant_type=b&scope=a&scope=b`,
  ],
  ['bytes that are no UTF-8', `client_id=%ff%fe&scope=%c3%28&${CANARY}=%ff`],
  ['half a character', `client_id=%ed%a0%80&state=%ed%b0%80&nonce=${CANARY}`],
  ['half an escape', `client_id=%&scope=%e&state=%zz&nonce=${CANARY}`],
  ['NUL and line breaks', `client_id=%00&state=%0d%0aSet-Cookie:%20a=b&nonce=${CANARY}`],
  ['a thousand parameters', Array.from({ length: 1500 }, (_, index) => `p${index}=1`).join('&')],
  ['a long value', `client_id=${'a'.repeat(8000)}&state=${CANARY}`],
  ['nothing but separators', '&&&===&=&;;;'],
  ['a plus, a space and quotes', `client_id=+%20"'<script>&state=${CANARY}`],
]

const GETS = [
  '/auth',
  '/auth/0123456789abcdef0123',
  '/userinfo',
  '/jwks',
  '/session/end',
  '/session/end/success',
  '/.well-known/openid-configuration',
  '/interaction/0123456789abcdef0123',
  '/livez',
]
const POSTS = [
  '/token',
  '/request',
  '/introspect',
  '/revoke',
  '/userinfo',
  '/session/end/confirm',
  '/interaction/0123456789abcdef0123/sign-in',
  '/interaction/0123456789abcdef0123/consent',
  '/interaction/0123456789abcdef0123/cancel',
]

function post(target: string, body: string | Buffer, ...headers: string[]): Promise<RawAnswer> {
  const length = `Content-Length: ${Buffer.byteLength(body)}`
  return sendRaw(server.url, [`POST ${target} HTTP/1.1`, length, ...headers], body)
}

/** What is wrong with an answer: a refusal has to be of use to its reader, and says nothing of our insides. */
function findFaults({ status, headers, body }: RawAnswer): string[] {
  const type = headers['content-type'] ?? ''
  const isJson = type === 'application/json; charset=utf-8'
  const isPage = type === 'text/html; charset=utf-8'
  const faults: readonly (readonly [string, boolean])[] = [
    [`status ${status}`, status < 200 || status >= 500],
    ['no request id', !/^[\w-]{36}$/.test(headers['x-request-id'] ?? '')],
    ['our insides', /node_modules|\.ts:\d|at async|TypeError/.test(body)],
    ['what was sent, unescaped', body.includes(`"'<script>`)],
    ['a header of the sender', headers['set-cookie']?.startsWith('a=b') === true],
    ['a token', body.includes('access_token"')],
    [`type ${type}`, status >= 400 && !isJson && !isPage],
    ['no error', status >= 400 && isJson && !('error' in (JSON.parse(body) as object))],
  ]
  return faults.flatMap(([fault, isThere]) => (isThere ? [`${fault}: ${body.slice(0, 300)}`] : []))
}

/** What stands in the log and should not. */
function findLeaks(): string[] {
  return server
    .logged()
    .split('\n')
    .filter((line) => line.includes(CANARY) || line.includes('"level":50'))
}

describe.each(INPUTS)('%s', (_name, input) => {
  test.each(GETS)('in the query of %s get a clear answer', async (target) => {
    const query = `${target}?${input.toString()}`.replaceAll(' ', '%20')
    for (const accept of ['*/*', 'text/html']) {
      const line = `GET ${query} HTTP/1.1`
      expect(findFaults(await sendRaw(server.url, [line, `Accept: ${accept}`]))).toEqual([])
    }
    expect(findLeaks()).toEqual([])
  })

  test.each(POSTS)('in the body of %s get a clear answer', async (target) => {
    expect(findFaults(await post(target, input, FORM))).toEqual([])
    expect(findFaults(await post(target, input, FORM, SERVICE))).toEqual([])
    expect(findLeaks()).toEqual([])
  })
})

describe('a body', () => {
  const bodies: readonly (readonly [string, string | Buffer, string[]])[] = [
    [
      'that is JSON',
      `{"grant_type":"client_credentials","x":"${CANARY}"}`,
      ['Content-Type: application/json'],
    ],
    ['that is JSON called a form', `{"__proto__":{"x":"${CANARY}"}}`, [FORM]],
    [
      'in parts',
      `--b\r\nContent-Disposition: form-data; name="grant_type"\r\n\r\n${CANARY}\r\n--b--`,
      ['Content-Type: multipart/form-data; boundary=b'],
    ],
    ['of no type', `grant_type=client_credentials&x=${CANARY}`, []],
    ['of a type that is none', `grant_type=${CANARY}`, ['Content-Type: ///']],
    ['of a character set that is none', `grant_type=${CANARY}`, [`${FORM}; charset=klingon`]],
    ['in UTF-16', Buffer.from(`grant_type=${CANARY}`, 'utf16le'), [`${FORM}; charset=utf-16le`]],
    ['of bytes', Buffer.from(Array.from({ length: 512 }, (_, index) => index % 256)), [FORM]],
    [
      'that says it is compressed',
      Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0]),
      [FORM, 'Content-Encoding: gzip'],
    ],
  ]

  test.each(bodies)('%s gets a clear answer everywhere', async (_name, body, headers) => {
    for (const target of POSTS) expect(findFaults(await post(target, body, ...headers))).toEqual([])
    expect(findFaults(await post('/token', body, SERVICE, ...headers))).toEqual([])
    expect(findLeaks()).toEqual([])
  })

  test('of another type is refused at the token endpoint, and JSON says so', async () => {
    const body = '{"grant_type":"client_credentials"}'
    const { status, ...answer } = await post(
      '/token',
      body,
      SERVICE,
      'Content-Type: application/json',
    )
    expect(status).toBe(400)
    expect(JSON.parse(answer.body)).toEqual({
      error: 'invalid_request',
      error_description: expect.stringContaining('application/x-www-form-urlencoded'),
    })
  })
})

describe('the token endpoint', () => {
  const good = 'grant_type=client_credentials&scope=notes:read'

  test('ignores parameters that it does not know (RFC 6749 §3.2)', async () => {
    const { status } = await post('/token', `${good}&nope=1&__proto__=2&x[]=3`, FORM, SERVICE)
    expect(status).toBe(200)
  })

  test.each(['grant_type=client_credentials', 'scope=notes:read', 'client_id=service'])(
    'refuses %s twice',
    async (again) => {
      const twice = `${good}&client_id=service&${again}`
      const { status, body } = await post('/token', twice, FORM, SERVICE)
      expect([status, JSON.parse(body)]).toEqual([
        400,
        expect.objectContaining({ error: 'invalid_request' }),
      ])
    },
  )

  test.each([
    ['no credentials', 'Basic'],
    ['no colon', `Basic ${Buffer.from('service').toString('base64')}`],
    ['no base64', 'Basic %%%%'],
    ['broken escapes', `Basic ${Buffer.from('%ff:%zz').toString('base64')}`],
    ['bytes', `Basic ${Buffer.from([0xff, 0xfe, 0x3a, 0x00]).toString('base64')}`],
    ['a NUL', `Basic ${Buffer.from('ser\0vice:x').toString('base64')}`],
    [
      'a very long secret',
      `Basic ${Buffer.from(`service:${'x'.repeat(9000)}`).toString('base64')}`,
    ],
    ['a very long name', `Basic ${Buffer.from(`${'x'.repeat(9000)}:x`).toString('base64')}`],
    ['a name of every object', `Basic ${Buffer.from('__proto__:constructor').toString('base64')}`],
    ['another scheme', `Bearer ${CANARY}`],
    ['two schemes', `Basic a, Bearer ${CANARY}`],
  ])('refuses an Authorization header of %s', async (_name, value) => {
    const { status, headers, body } = await post('/token', good, FORM, `Authorization: ${value}`)
    expect([400, 401]).toContain(status)
    expect(JSON.parse(body)).toMatchObject({
      error: expect.stringMatching(/^invalid_(client|request)$/),
    })
    expect(headers['content-type']).toContain('application/json')
    expect(findLeaks()).toEqual([])
  })

  test('a code is as good as before after requests that were wrong in every way', async () => {
    const { code, verifier } = await authorize(server.issuer)
    const right = {
      grant_type: 'authorization_code',
      code,
      code_verifier: verifier,
      redirect_uri: REDIRECT,
    }
    const form = new URLSearchParams(right).toString()
    const wrong: readonly (readonly [string, ...string[]])[] = [
      [JSON.stringify(right), WEB, 'Content-Type: application/json'],
      [`${form}&code=${code}`, WEB, FORM],
      [`${form}&redirect_uri=x`, WEB, FORM],
      [`${form}&grant_type=refresh_token`, WEB, FORM],
      [form, FORM],
      [form, WEB.replace(/.{4}$/, 'AAAA'), FORM],
      [form, SERVICE, FORM],
      [form.replace(verifier, 'v'.repeat(43)), WEB, FORM],
      [form.replace(encodeURIComponent(REDIRECT), 'https%3A%2F%2Fevil.example'), WEB, FORM],
      [`${form}&resource=https://nowhere.example/`, WEB, FORM],
      [`${form}${'&a=1'.repeat(20_000)}`, WEB, FORM],
    ]
    for (const [body, ...headers] of wrong) {
      const { status } = await post('/token', body, ...headers)
      expect([400, 401, 413]).toContain(status)
    }
    expect((await requestToken(server.issuer, right)).status).toBe(200)
  })
})

describe('userinfo', () => {
  test.each([
    ['no token', 'Bearer'],
    ['noise', `Bearer ${CANARY}`],
    ['dots', 'Bearer ...'],
    ['half a JWT', `Bearer eyJhbGciOiJub25lIn0.${CANARY}.`],
    ['a JWT of nothing', 'Bearer e30.e30.e30'],
    ['broken JSON', `Bearer ${Buffer.from('{"alg":').toString('base64url')}.e30.x`],
    ['a very long token', `Bearer ${'a.'.repeat(4000)}`],
    ['another scheme', `Basic ${CANARY}`],
    ['bytes', 'Bearer \xff\xfe'],
  ])('refuses %s', async (_name, value) => {
    const answer = await sendRaw(server.url, ['GET /userinfo HTTP/1.1', `Authorization: ${value}`])
    expect([400, 401]).toContain(answer.status)
    expect(answer.headers['www-authenticate']).toMatch(/^Bearer realm=/)
    expect(JSON.parse(answer.body)).toHaveProperty('error')
    expect(findLeaks()).toEqual([])
  })
})

describe('an interaction', () => {
  const cookiesOf = (browser: Browser) =>
    `Cookie: ${browser
      .cookies()
      .map(({ name, value }) => `${name}=${value}`)
      .join('; ')}`

  test('goes on after requests that were wrong in every way', async () => {
    const browser = createBrowser(server.issuer)
    const page = await browser.get(authorizationUrl(server.issuer, makePkce().challenge))
    const { pathname } = new URL(page.url)
    const uid = /\/interaction\/([\w-]+)/.exec(page.text)?.[1] ?? pathname
    const cookies = cookiesOf(browser)
    for (const action of ['sign-in', 'consent', 'cancel']) {
      const target = `/interaction/${uid}/${action}`
      for (const [, input] of INPUTS)
        expect(findFaults(await post(target, input, FORM, cookies))).toEqual([])
      expect(
        findFaults(await post(target, '{"csrf":"x"}', 'Content-Type: application/json', cookies)),
      ).toEqual([])
      expect(findFaults(await post(target, 'a'.repeat(60_000), FORM, cookies))).toEqual([])
      expect(findFaults(await sendRaw(server.url, [`DELETE ${target} HTTP/1.1`, cookies]))).toEqual(
        [],
      )
    }
    const consent = await signIn(browser, page)
    const answer = await browser.submit(consent, '/consent')
    expect(new URL(answer.location ?? '').searchParams.get('code')).toEqual(expect.any(String))
    expect(findLeaks()).toEqual([])
  })

  test('is not reached with cookies that are broken', async () => {
    const browser = createBrowser(server.issuer)
    const page = await browser.get(authorizationUrl(server.issuer, makePkce().challenge))
    const uid = /\/interaction\/([\w-]+)/.exec(page.text)?.[1] ?? ''
    const target = `GET /interaction/${uid} HTTP/1.1`
    for (const cookie of [
      'interaction=',
      `interaction=${CANARY}`,
      'interaction=%ff',
      ';;;=;',
      '__proto__=x',
      `session=${'s'.repeat(5000)}`,
    ]) {
      const answer = await sendRaw(server.url, [target, `Cookie: ${cookie}`])
      expect(answer.status).toBe(410)
    }
    expect(findLeaks()).toEqual([])
  })
})

describe('what is kept for a stranger', () => {
  const ask = async (extra: Record<string, string>) =>
    createBrowser(server.issuer).get(authorizationUrl(server.issuer, makePkce().challenge, extra))

  test('is no long text', async () => {
    const at = await ask({ state: 's'.repeat(4096) })
    expect(at.text).toContain('/sign-in"')
    const over = await ask({ state: 's'.repeat(4097) })
    expect([over.status, over.text]).toEqual([
      400,
      expect.stringContaining('state: at most 4096 characters, not 4097'),
    ])
    const long = await ask({ more: CANARY.repeat(800) })
    expect([long.status, long.text]).toEqual([
      400,
      expect.stringMatching(/the query: at most 8192 characters, not \d+/),
    ])
    expect(long.headers.getSetCookie()).toEqual([])
    expect(findLeaks()).toEqual([])
  })

  test('is kept for an hour, and for days once they have signed in', async () => {
    await using fresh = await startServer()
    using database = new DatabaseSync(join(fresh.folder, 'portreeve.sqlite'), { readOnly: true })
    const sessions = database.prepare(
      `select account_id is null as "isAnonymous", expires_at as "expiresAt"
       from engine_model where model = 'Session'`,
    )
    const list = () =>
      sessions.all().map(({ isAnonymous, expiresAt }) => ({
        isAnonymous,
        hours: Math.round((Number(expiresAt) - systemClock.now()) / 3_600_000),
      }))
    const browser = createBrowser(fresh.issuer)
    await browser.get(`${fresh.issuer}/session/end`)
    expect(list()).toEqual([{ isAnonymous: 1, hours: 1 }])
    const url = authorizationUrl(fresh.issuer, makePkce().challenge)
    await browser.submit(await signIn(browser, await browser.get(url)), '/consent')
    const known = list().filter(({ isAnonymous }) => isAnonymous === 0)
    expect(known.length).toBeGreaterThan(0)
    expect(known.filter(({ hours }) => hours < 24)).toEqual([])
  })
})
