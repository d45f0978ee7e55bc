import { createHmac } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { formatTime, systemClock } from '../../auth-server/clock.ts'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { createVerifier } from '../../resource-server/index.ts'
import { curl } from '../support/demo.ts'
import { decodeJwt } from '../support/flow.ts'
import { sendRaw } from '../support/raw.ts'
import {
  API_V3,
  HEALTHCHECK,
  SEED_CONFIG,
  SEED_ENVIRONMENT,
  SEED_SECRETS,
} from '../support/seed.ts'
import { NOTES, PASSWORDS, startServer, type TestServer } from '../support/server.ts'

type Direct = NonNullable<ConfigInput['directAccess']>

function start(change: (config: ConfigInput) => ConfigInput = (config) => config) {
  return startServer(() => change(SEED_CONFIG), {}, SEED_ENVIRONMENT)
}

function withPassword(password: Partial<Direct['password']>, more: Partial<ConfigInput> = {}) {
  return (config: ConfigInput): ConfigInput => ({
    ...config,
    ...more,
    directAccess: { listen: { port: 0 }, password: { resource: HEALTHCHECK, ...password } },
  })
}

function getToken({ directUrl }: TestServer, fields: Record<string, string>) {
  return fetch(`${directUrl}/getToken`, { method: 'POST', body: new URLSearchParams(fields) })
}

async function askKey({ directUrl }: TestServer, body: string, type = 'application/json') {
  const answer = await fetch(`${directUrl}/api/v3/auth`, {
    method: 'POST',
    body,
    headers: { 'content-type': type },
  })
  const { data } = (await answer.json()) as { data: Record<string, unknown> }
  return { status: answer.status, data }
}

function isSignedWith(secret: string, token: string): boolean {
  const at = token.lastIndexOf('.')
  const expected = createHmac('sha256', secret).update(token.slice(0, at)).digest('base64url')
  return token.slice(at + 1) === expected
}

let server: TestServer
beforeAll(async () => {
  server = await start()
})
afterAll(() => server[Symbol.asyncDispose]())

test('there is none unless it is configured', async () => {
  await using other = await startServer()
  expect([other.directUrl, other.unauthenticatedUrl]).toEqual(['', ''])
  for (const path of ['/getToken', '/api/v3/auth']) {
    const answer = await fetch(`${other.issuer}${path}`, { method: 'POST', body: 'username=a' })
    expect(answer.status).toBe(404)
    await answer.body?.cancel()
  }
})

test('is apart from the server itself: neither answers for the other', async () => {
  const crossed = [
    `${server.issuer}/getToken`,
    `${server.directUrl}/token`,
    `${server.directUrl}/`,
    `${server.unauthenticatedUrl}/getToken`,
    `${server.directUrl}/GETTOKEN`,
    `${server.directUrl}/getToken/`,
  ]
  for (const url of crossed) {
    const answer = await fetch(url, { method: 'POST', body: new URLSearchParams({ a: 'b' }) })
    expect([url, answer.status]).toEqual([url, 404])
    await answer.body?.cancel()
  }
})

describe('a token for a password', () => {
  test('says who it is about, and no more', async () => {
    const answer = await getToken(server, { username: 'NAREN', password: 'passme' })
    const body = (await answer.json()) as { token: string; status: string }
    expect(Object.keys(body)).toEqual(['token', 'status'])
    const { header, claims } = decodeJwt(body.token)
    expect(header).toEqual({ alg: 'HS256', typ: 'JWT' })
    expect(claims).toEqual({
      iss: 'seed.portreeve.example',
      aud: HEALTHCHECK,
      sub: expect.stringMatching(/^acc_/) as string,
      username: 'naren',
      iat: expect.any(Number) as number,
      exp: Number(claims['iat']) + 600,
    })
    expect(isSignedWith(SEED_SECRETS.SESSION_SECRET, body.token)).toBe(true)
    expect(answer.headers.get('cache-control')).toBe('no-store')
    expect(answer.headers.get('x-content-type-options')).toBe('nosniff')
  })

  test('is refused to all in one way by default', async () => {
    await using strict = await start(withPassword({}))
    const seen: unknown[] = []
    for (const username of ['stranger', 'naren', 'front-team']) {
      const answer = await getToken(strict, { username, password: 'wrong' })
      seen.push([answer.status, answer.headers.get('content-type'), await answer.text()])
    }
    expect(new Set(seen.map((one) => JSON.stringify(one)))).toEqual(
      new Set([JSON.stringify([401, 'text/plain; charset=utf-8', 'Invalid Credentials'])]),
    )
  })

  test('is refused to who is disabled, whose access has ended, and who may do nothing', async () => {
    await using strict = await start(withPassword({ revealUnknownUsers: true, resource: NOTES }))
    const nobody = await getToken(strict, { username: 'nobody', password: PASSWORDS.bob })
    expect([nobody.status, await nobody.text()]).toEqual([403, 'Access Denied'])
    await using stores = await openStores(`sqlite:${strict.folder}/portreeve.sqlite`, systemClock)
    const account = await stores.accounts.findByUsername('naren')
    if (!account) throw new Error('there is no naren')
    await stores.accounts.update({ ...account, disabled: true })
    const disabled = await getToken(strict, { username: 'naren', password: 'passme' })
    expect([disabled.status, await disabled.text()]).toEqual([401, 'Invalid Credentials'])
  })

  test('counts guesses together with the sign-in page, and tells when to come back', async () => {
    const signIn = { shortestPassword: 6, perAccount: { attempts: 2, windowSeconds: 60 } }
    await using strict = await start(withPassword({ revealUnknownUsers: true }, { signIn }))
    const guess = (password: string) => getToken(strict, { username: 'naren', password })
    for (const status of [401, 401, 429]) expect((await guess('wrong')).status).toBe(status)
    const right = await guess('passme')
    expect([right.status, Number(right.headers.get('retry-after')) > 0]).toEqual([429, true])
    expect(await right.text()).toBe('Too many attempts')
    for (const status of [404, 404, 429]) {
      const unknown = await getToken(strict, { username: 'stranger', password: 'x' })
      expect(unknown.status).toBe(status)
    }
  })

  test.each<[string, RequestInit]>([
    [
      'JSON',
      {
        body: '{"username":"naren","password":"passme"}',
        headers: { 'content-type': 'application/json' },
      },
    ],
    ['a text', { body: 'username=naren&password=passme' }],
    ['nothing', {}],
    ['no password', { body: new URLSearchParams({ username: 'naren' }) }],
    ['no username', { body: new URLSearchParams({ password: 'passme' }) }],
    ['two usernames', { body: new URLSearchParams('username=a&username=naren&password=passme') }],
    [
      'what is no UTF-8',
      { body: '%ff', headers: { 'content-type': 'application/x-www-form-urlencoded' } },
    ],
  ])('wants a form, and not %s', async (_case, init) => {
    const answer = await fetch(`${server.directUrl}/getToken?username=naren&password=passme`, {
      method: 'POST',
      ...init,
    })
    expect([answer.status, await answer.text()]).toEqual([
      400,
      'Please pass the data as URL form encoded',
    ])
  })

  test('is posted for, in a body of bounded length', async () => {
    const get = await fetch(`${server.directUrl}/getToken?username=naren&password=passme`)
    expect([get.status, get.headers.get('allow')]).toEqual([405, 'POST'])
    await get.body?.cancel()
    const long = await getToken(server, { username: 'naren', password: 'x'.repeat(9000) })
    expect(long.status).toBe(413)
    await long.body?.cancel()
    const chunked = ['POST /getToken HTTP/1.1', 'Transfer-Encoding: chunked']
    const form = 'Content-Type: application/x-www-form-urlencoded'
    const body = `2400\r\n${'x'.repeat(0x2400)}\r\n0\r\n\r\n`
    expect((await sendRaw(server.directUrl, [...chunked, form], body)).status).toBe(413)
  })

  test.each([
    ['gzip', 400],
    ['IDENTITY', 401],
    ['x', 400],
  ])(
    'is not refused with an error of the server where the coding is %s',
    async (coding, status) => {
      const headers = { 'content-encoding': coding }
      const body = new URLSearchParams({ username: 'naren', password: 'not this one' })
      const form = await fetch(`${server.directUrl}/getToken`, { method: 'POST', headers, body })
      await form.body?.cancel()
      const key = await fetch(`${server.directUrl}/api/v3/auth`, {
        method: 'POST',
        headers: { ...headers, 'content-type': 'application/json' },
        body: '{"api-key":"x"}',
      })
      await key.body?.cancel()
      expect([form.status, key.status]).toEqual([status, 400])
    },
  )

  test('is one that any API takes, where it is for a resource with keys', async () => {
    await using modern = await start(withPassword({ resource: NOTES }))
    const answer = await getToken(modern, { username: 'alice', password: PASSWORDS.alice })
    const { token } = (await answer.json()) as { token: string }
    expect(decodeJwt(token).header).toMatchObject({ alg: 'ES256', typ: 'at+jwt' })
    await using verifier = createVerifier({ issuer: modern.issuer, audience: NOTES })
    const verified = await verifier.verify(token)
    expect(verified).toMatchObject({
      ok: true,
      value: {
        kind: 'person',
        clientId: 'portreeve:direct-access',
        claims: { scope: 'notes:read notes:write', amr: ['pwd'], roles: ['editor'] },
      },
    })
    const reader = await getToken(modern, { username: 'bob', password: PASSWORDS.bob })
    const his = (await reader.json()) as { token: string }
    expect(decodeJwt(his.token).claims['scope']).toBe('notes:read')
  })
})

describe('a token for an API key', () => {
  test('says whose it is, for three minutes', async () => {
    const { status, data } = await askKey(server, '{"api-key":"ABCDE"}')
    expect([status, data]).toEqual([
      200,
      {
        code: 200,
        message: 'Your token is created successfully',
        token: expect.any(String) as string,
        expiration_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z$/) as string,
      },
    ])
    const { claims } = decodeJwt(String(data['token']))
    expect(claims).toMatchObject({ user: 'front-team', aud: API_V3 })
    expect(claims['role']).toBeUndefined()
    expect(Number(claims['exp']) - Number(claims['iat'])).toBe(180)
    expect(data['expiration_at']).toBe(formatTime(Number(claims['exp']) * 1000))
  })

  test.each([
    ['{"api-key":"ABCDF"}', 'invalid api key'],
    ['{"api-key":"abcde"}', 'invalid api key'],
    [`{"api-key":"prk_${'0'.repeat(49)}"}`, 'invalid api key'],
    ['{"api-key":""}', 'expected JSON with an api-key'],
    ['{"api-key":7}', 'expected JSON with an api-key'],
    ['{"api-key":["ABCDE"]}', 'expected JSON with an api-key'],
    ['{"api_key":"ABCDE"}', 'expected JSON with an api-key'],
    ['{}', 'expected JSON with an api-key'],
    ['["api-key"]', 'expected JSON with an api-key'],
    ['"ABCDE"', 'expected JSON with an api-key'],
    ['null', 'expected JSON with an api-key'],
    ['{"api-key"', 'expected JSON with an api-key'],
    ['', 'expected JSON with an api-key'],
    [`{"api-key":"${'A'.repeat(5000)}"}`, 'expected JSON with an api-key'],
  ])('is refused for %s', async (body, message) => {
    expect(await askKey(server, body)).toEqual({ status: 400, data: { message, code: 400 } })
  })

  test('is refused for a form', async () => {
    const form = await askKey(server, 'api-key=ABCDE', 'application/x-www-form-urlencoded')
    expect(form.status).toBe(400)
  })

  test('is throttled, where the key could be guessed', async () => {
    const signIn = { shortestPassword: 6, perAccount: { attempts: 2, windowSeconds: 60 } }
    await using strict = await start((config) => ({ ...config, signIn }))
    for (const status of [400, 400, 429, 429]) {
      expect((await askKey(strict, '{"api-key":"WRONG"}')).status).toBe(status)
    }
    expect((await askKey(strict, '{"api-key":"ABCDE"}')).status).toBe(429)
  })

  test('is refused for a demonstration key whose owner was disabled, or whose access has ended', async () => {
    await using other = await start()
    await using stores = await openStores(`sqlite:${other.folder}/portreeve.sqlite`, systemClock)
    const owner = await stores.accounts.findByUsername('front-team')
    if (!owner) throw new Error('there is no front-team')
    const ask = async () => (await askKey(other, '{"api-key":"ABCDE"}')).status
    expect(await ask()).toBe(200)
    await stores.accounts.update({ ...owner, disabled: true })
    expect(await ask()).toBe(400)
    await stores.accounts.update(owner)
    expect(await ask()).toBe(200)
    await stores.accounts.updateAndEndAccess(owner)
    expect(await ask()).toBe(400)
    expect(other.logged()).toContain('"reason":"owner"')
    await stores.accounts.remove(owner.id)
    await stores.accounts.insert({ ...owner, id: 'acc_of_somebody_else' })
    expect(await ask()).toBe(400)
  })

  test('takes the keys that people make, for its own resource alone', async () => {
    const { generateApiKey, hashApiKey } = await import('../../auth-server/api-keys/api-key.ts')
    await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
    const account = await stores.accounts.findByUsername('admin')
    const make = async (id: string, resource: string) => {
      const text = generateApiKey()
      const times = { createdAt: systemClock.now(), lastUsedAt: undefined, revokedAt: undefined }
      const owner = { accountId: account?.id ?? '', name: 'a key', scopes: ['notes:read'] }
      const expiresAt = systemClock.now() + 60_000
      const key = { id, resource, hash: hashApiKey(text), ...owner, ...times, expiresAt }
      expect(await stores.apiKeys.insert(key, 50)).toBe('added')
      return text
    }
    const good = await make('key_good', API_V3)
    const { status, data } = await askKey(server, JSON.stringify({ 'api-key': good }))
    expect(status).toBe(200)
    const { claims } = decodeJwt(String(data['token']))
    expect(claims).toMatchObject({ user: 'admin', role: 'admin' })
    // No token outlives the key.
    expect(Number(claims['exp']) - Number(claims['iat'])).toBeLessThanOrEqual(60)
    const other = await make('key_other', NOTES)
    expect(await askKey(server, JSON.stringify({ 'api-key': other }))).toMatchObject({
      status: 400,
      data: { message: 'invalid api key' },
    })
    await stores.apiKeys.revoke('key_good')
    expect((await askKey(server, JSON.stringify({ 'api-key': good }))).status).toBe(400)
  })
})

describe('a token for nothing', () => {
  test('is text, about the client alone, for a minute', async () => {
    const { status, type, body } = await curl(server.unauthenticatedUrl)
    expect([status, type]).toEqual([200, 'text/plain; charset=utf-8'])
    const { claims } = decodeJwt(body)
    expect(claims).toEqual({
      authorized: true,
      client: 'Krissanawat',
      aud: 'billing.jwtgo.io',
      iss: 'jwtgo.io',
      scope: 'jwtgo:call',
      iat: expect.any(Number) as number,
      exp: Number(claims['iat']) + 60,
    })
  })

  test.each([
    ['a proxy passes on', 'X-Forwarded-For: 127.0.0.1'],
    ['a page in a browser asks', 'Origin: https://attacker.example'],
    ['a name asks that was made to point here', 'Host: attacker.example'],
  ])('is refused where %s', async (_case, header) => {
    const { status, body } = await curl('-H', header, server.unauthenticatedUrl)
    expect([status, body]).toEqual([403, 'This token is for programs on this machine'])
  })

  test('is refused for a client that was disabled', async () => {
    await using stopped = await start()
    await using stores = await openStores(`sqlite:${stopped.folder}/portreeve.sqlite`, systemClock)
    const client = await stores.clients.findById('krissanawat')
    if (!client) throw new Error('there is no such client')
    await stores.clients.update({ ...client, disabled: true })
    expect((await curl(stopped.unauthenticatedUrl)).status).toBe(403)
  })

  test('is not posted for', async () => {
    expect((await curl('-X', 'POST', server.unauthenticatedUrl)).status).toBe(405)
  })
})

test('the log and the audit log tell what was given, and hold no secret', async () => {
  await using told = await start()
  const tokens: string[] = []
  const answer = await getToken(told, { username: 'naren', password: 'passme' })
  tokens.push(((await answer.json()) as { token: string }).token)
  tokens.push(String((await askKey(told, '{"api-key":"ABCDE"}')).data['token']))
  tokens.push((await curl(told.unauthenticatedUrl)).body)
  await getToken(told, { username: 'naren', password: 'a wrong one' })
  await askKey(told, '{"api-key":"WRONG-KEY"}')
  await told[Symbol.asyncDispose]()
  const logged = told.logged()
  const secrets = [...Object.values(SEED_ENVIRONMENT), 'a wrong one', 'WRONG-KEY']
  for (const text of [...secrets.filter((one) => one !== 'password'), ...tokens]) {
    expect(logged).not.toContain(text)
  }
  const events = logged
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as { event: string; grantType?: string; reason?: string })
    .filter(({ event }) => /^(signed_in|sign_in_refused|token_issued|api_key_refused)$/.test(event))
  expect(events.map(({ event, grantType, reason }) => [event, grantType ?? reason])).toEqual([
    ['signed_in', undefined],
    ['token_issued', 'direct:password'],
    ['token_issued', 'direct:api_key'],
    ['token_issued', 'direct:nobody'],
    ['sign_in_refused', 'wrong_password'],
    ['api_key_refused', 'not_a_key'],
  ])
})
