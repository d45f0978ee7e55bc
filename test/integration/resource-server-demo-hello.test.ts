import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  curl,
  lasting,
  leaveUnsigned,
  signWithSecret,
  startDemo,
  type DemoProgram,
} from '../support/demo.ts'
import { startProgram } from '../support/program.ts'

const SESSION_SECRET = randomBytes(32).toString('base64url')
const API_V3_SECRET = randomBytes(64).toString('base64url')
const SECRETS = { SESSION_SECRET, API_V3_SECRET }
const ISSUER = 'http://127.0.0.1:3000'
const DENIED = 'Access Denied; Please check the access token'

let hello: DemoProgram
beforeAll(async () => {
  hello = await startDemo('hello.ts', [], SECRETS)
})
afterAll(() => hello[Symbol.asyncDispose]())

function session(change: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  const aud = 'http://127.0.0.1:8000/healthcheck'
  return { iss: ISSUER, aud, sub: 'acc_naren', username: 'naren', ...lasting(), ...change }
}

function forKey(change: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  const aud = 'http://127.0.0.1:8000/api/v3'
  return { iss: ISSUER, aud, user: 'front-team', ...lasting(180), ...change }
}

/** Claims whose token was good until a minute ago. */
const EXPIRED = lasting(-60)

describe('/healthcheck', () => {
  const ask = (token: string) => curl('-H', `access_token: ${token}`, `${hello.url}/healthcheck`)

  test('answers the time, and who has signed in', async () => {
    const { status, type, body } = await ask(signWithSecret(SESSION_SECRET, session()))
    expect([status, type]).toEqual([200, 'application/json; charset=utf-8'])
    const answer = JSON.parse(body) as { time: string; user: string }
    expect(answer).toEqual({ time: expect.any(String) as string, user: 'naren' })
    expect(answer.time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  })

  test.each<[string, () => string]>([
    ['a secret of somebody else', () => signWithSecret(`${SESSION_SECRET}x`, session())],
    ['the secret of the original', () => signWithSecret('session_secret', session())],
    ['the secret of the other API', () => signWithSecret(API_V3_SECRET, session())],
    ['a token that has expired', () => signWithSecret(SESSION_SECRET, session(EXPIRED))],
    ['another algorithm', () => signWithSecret(SESSION_SECRET, session(), { alg: 'HS512' })],
    ['no signature', () => leaveUnsigned(session())],
    ['an algorithm that is none', () => `${leaveUnsigned(session())}AAAA`],
    ['another issuer', () => signWithSecret(SESSION_SECRET, session({ iss: 'http://other' }))],
    ['another audience', () => signWithSecret(SESSION_SECRET, session({ aud: 'other' }))],
    ['no exp', () => signWithSecret(SESSION_SECRET, session({ exp: undefined }))],
    ['no iat', () => signWithSecret(SESSION_SECRET, session({ iat: undefined }))],
    ['no sub', () => signWithSecret(SESSION_SECRET, session({ sub: undefined }))],
    ['no username', () => signWithSecret(SESSION_SECRET, session({ username: undefined }))],
    [
      'a username that is no text',
      () => signWithSecret(SESSION_SECRET, session({ username: { a: 1 } })),
    ],
    ['what is no token', () => 'x'],
  ])('denies access with %s', async (_case, makeToken) => {
    const { status, body } = await ask(makeToken())
    expect([status, body]).toEqual([403, DENIED])
  })

  test('denies access in plain text, and calls it that', async () => {
    const response = await fetch(`${hello.url}/healthcheck`)
    expect(response.headers.get('content-type')).toBe('text/plain; charset=utf-8')
    expect(await response.text()).toBe(DENIED)
  })

  test('denies access without a token, and with one in another place', async () => {
    const token = signWithSecret(SESSION_SECRET, session())
    const places = [
      [],
      ['-H', `Authorization: Bearer ${token}`],
      ['-H', `access_token: ${token}`, '-H', `access_token: ${token}`],
      ['-H', `Cookie: access_token=${token}`],
    ]
    for (const place of places) {
      const { status, body } = await curl(...place, `${hello.url}/healthcheck`)
      expect([place.length, status, body]).toEqual([place.length, 403, DENIED])
    }
    const inQuery = await curl(`${hello.url}/healthcheck?access_token=${token}`)
    expect([inQuery.status, inQuery.body]).toEqual([403, DENIED])
    expect(hello.logged()).not.toContain(token)
  })
})

describe('/api/v3', () => {
  const secret = (...args: readonly string[]) => curl(...args, `${hello.url}/api/v3/secret`)
  const inBody = (token: unknown) => [
    '-X',
    'GET',
    '-H',
    'Content-Type: application/json',
    '-d',
    JSON.stringify({ token }),
  ]

  test('says hello to everybody', async () => {
    const { status, body } = await curl(`${hello.url}/api/v3/home`)
    expect([status, body]).toEqual([200, 'hello world'])
  })

  test('tells the secret for a token in the body, or as Bearer', async () => {
    const token = signWithSecret(API_V3_SECRET, forKey())
    for (const place of [inBody(token), ['-H', `Authorization: Bearer ${token}`]]) {
      const { status, body } = await secret(...place)
      expect([status, body]).toEqual([200, "Ops, it's sensitive data :("])
    }
  })

  test('says that the token is missing', async () => {
    const bodies = [[], inBody(undefined), inBody(''), ['-H', 'Authorization: Basic YTpi']]
    for (const place of bodies) {
      const { status, body } = await secret(...place)
      expect([status, JSON.parse(body)]).toEqual([401, { 'Alert!': 'Token is missing!' }])
    }
  })

  test.each<[string, () => unknown]>([
    ['has expired', () => signWithSecret(API_V3_SECRET, forKey(EXPIRED))],
    ['somebody else has signed', () => signWithSecret(`${API_V3_SECRET}x`, forKey())],
    ['is signed with the secret of the original', () => signWithSecret('ABCDE', forKey())],
    ['is for the other API', () => signWithSecret(SESSION_SECRET, session())],
    ['is signed in another way', () => signWithSecret(API_V3_SECRET, forKey(), { alg: 'HS512' })],
    ['is not signed', () => leaveUnsigned(forKey())],
    ['has no exp', () => signWithSecret(API_V3_SECRET, forKey({ exp: undefined }))],
    ['has no user', () => signWithSecret(API_V3_SECRET, forKey({ user: undefined }))],
    ['is no text', () => 7],
    ['is none', () => 'x'],
  ])('refuses a token that %s', async (_case, makeToken) => {
    const { status, body } = await secret(...inBody(makeToken()))
    expect([status, JSON.parse(body)]).toEqual([403, { Message: 'Invalid token' }])
  })

  test('refuses two tokens', async () => {
    const token = signWithSecret(API_V3_SECRET, forKey())
    const { status } = await secret(...inBody(token), '-H', `Authorization: Bearer ${token}`)
    expect(status).toBe(403)
  })

  test('refuses a body that is not JSON, and one that is too large, before it looks for a token', async () => {
    const json = ['-X', 'GET', '-H', 'Content-Type: application/json']
    const token = signWithSecret(API_V3_SECRET, forKey())
    const bearer = ['-H', `Authorization: Bearer ${token}`]
    expect((await secret(...json, ...bearer, '-d', '{"token":')).status).toBe(400)
    expect((await secret(...json, ...bearer, '-d', `"${'x'.repeat(20_000)}"`)).status).toBe(413)
  })

  test('lets an admin in by the claim role', async () => {
    const ask = (claims: Record<string, unknown>) =>
      curl(...inBody(signWithSecret(API_V3_SECRET, claims)), `${hello.url}/api/v3/admin`)
    const admin = await ask(forKey({ role: 'admin' }))
    expect([admin.status, admin.body]).toEqual([200, 'hello admin'])
    for (const role of [undefined, 'Admin', 'admin ', ['admin'], { admin: true }]) {
      expect((await ask(forKey({ role }))).status).toBe(403)
    }
  })

  test('takes HS512 in place of HS256 where it is told so', async () => {
    await using other = await startDemo('hello.ts', ['--v3-algorithm', 'HS512'], SECRETS)
    const ask = (alg: string) => {
      const token = signWithSecret(API_V3_SECRET, forKey(), { alg })
      return curl('-H', `Authorization: Bearer ${token}`, `${other.url}/api/v3/secret`)
    }
    expect([(await ask('HS512')).status, (await ask('HS256')).status]).toEqual([200, 403])
  })
})

describe('the program', () => {
  test.each<[string, Record<string, string>, string[], RegExp]>([
    ['no secret', { API_V3_SECRET }, [], /^SESSION_SECRET: .* at least 32 bytes/],
    ['the key of the original', { ...SECRETS, API_V3_SECRET: 'ABCDE' }, [], /^API_V3_SECRET: /],
    ['one secret for both', { ...SECRETS, API_V3_SECRET: SESSION_SECRET }, [], /are the same/],
    ['an algorithm with keys', SECRETS, ['--v3-algorithm', 'RS256'], /^--v3-algorithm: .*HS512/],
  ])('does not start with %s', async (_case, environment, args, message) => {
    await using program = startProgram('resource-server/demo/hello.ts', args, { environment })
    const { code, stderr, stdout } = await program.ended
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toMatch(message)
    for (const value of Object.values(environment)) expect(stderr).not.toContain(value)
  })

  test('ends cleanly at SIGTERM, and has logged neither secrets nor tokens', async () => {
    await using program = await startDemo('hello.ts', [], SECRETS)
    const token = signWithSecret(SESSION_SECRET, session(EXPIRED))
    await curl('-H', `access_token: ${token}`, `${program.url}/healthcheck`)
    program.signal('SIGTERM')
    const { code, stderr } = await program.ended
    expect([code, JSON.parse(stderr)]).toEqual([
      0,
      expect.objectContaining({ event: 'refused', path: '/healthcheck' }) as object,
    ])
    for (const text of [token, ...Object.values(SECRETS)]) expect(stderr).not.toContain(text)
  })
})
