import { DatabaseSync } from 'node:sqlite'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { createLocalJWKSet, jwtVerify, type JSONWebKeySet } from 'jose'
import { systemClock } from '../../auth-server/clock.ts'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { createBrowser } from '../support/browser.ts'
import { approve, askForCode, poll, typeCode } from '../support/device.ts'
import { prove } from '../support/endpoints.ts'
import { authorize, basic, decodeJwt, refresh, requestToken, signIn } from '../support/flow.ts'
import { createProofClient } from '../support/proof.ts'
import {
  NOTES,
  PASSWORDS,
  SERVICE_SECRET,
  startServer,
  WEB_SECRET,
  type TestServer,
} from '../support/server.ts'

const GRANT_TYPE = 'urn:ietf:params:oauth:grant-type:device_code'
/** RFC 8628 §6.1. */
const USER_CODE = /^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$/

const TV = 'tv'

/** The web client may use the grant, and a public one that belongs to the operator. */
function withDevices(config: ConfigInput): ConfigInput {
  const clients = config.clients?.map((client) =>
    client.id === 'web'
      ? { ...client, grants: ['authorization_code', 'refresh_token', 'device_code'] as const }
      : client,
  )
  return {
    ...config,
    clients: [
      ...(clients ?? []).map((client) => ({
        ...client,
        grants: client.grants && [...client.grants],
      })),
      {
        id: TV,
        name: 'Television',
        authMethod: 'none',
        firstParty: true,
        grants: ['device_code'],
        scopes: ['openid', 'notes:read', 'notes:write'],
        defaultScopes: ['notes:read'],
      },
    ],
  }
}

const start = (change: (config: ConfigInput) => ConfigInput = (config) => config) =>
  startServer((config) => change(withDevices(config)))

let running: TestServer | undefined

/** For tests that leave no trace but codes of their own. */
function shared(): TestServer {
  if (!running) throw new Error('the shared server is there inside of tests only')
  return running
}

beforeAll(async () => {
  running = await start()
})

afterAll(async () => {
  await running?.[Symbol.asyncDispose]()
})

/** Clocks of this process are those of the server. */
function turnClock(seconds: number): void {
  vi.useFakeTimers({ toFake: ['Date'], now: systemClock.now() + seconds * 1000 })
}

afterEach(() => {
  vi.useRealTimers()
})

async function obtainCode(server: TestServer, body?: Record<string, string>) {
  const answer = await askForCode(server.issuer, body)
  expect(answer.status).toBe(200)
  return answer.body
}

describe('§3.1 a device asks for a code', () => {
  test('§3.2 and is answered with everything that it has to show and to send', async () => {
    const server = shared()
    const { status, headers, body } = await askForCode(server.issuer)
    expect(status).toBe(200)
    expect(headers.get('cache-control')).toContain('no-store')
    expect(headers.get('content-type')).toMatch(/^application\/json/)
    expect(body).toEqual({
      device_code: expect.stringMatching(/^[\w-]{43}$/),
      user_code: expect.stringMatching(USER_CODE),
      verification_uri: `${server.issuer}/device`,
      verification_uri_complete: `${server.issuer}/device?user_code=${body.user_code}`,
      expires_in: 600,
      interval: 5,
    })
  })

  test('as a public client, by its id in the body or by Basic with no password', async () => {
    const server = shared()
    const inBody = await askForCode(server.issuer, { client_id: TV }, {})
    const byBasic = await askForCode(server.issuer, {}, { authorization: basic(TV, '') })
    expect([inBody.status, byBasic.status]).toEqual([200, 200])
  })

  test.each([
    ['with a wrong secret', {}, { authorization: basic('web', 'wrong') }, 401, 'invalid_client'],
    ['as nobody', {}, {}, 400, 'invalid_request'],
    ['as a client that is not there', { client_id: 'nobody' }, {}, 401, 'invalid_client'],
    ['as a client without the grant', { client_id: 'spa' }, {}, 400, 'invalid_request'],
    [
      'as a service',
      {},
      { authorization: basic('service', SERVICE_SECRET) },
      400,
      'invalid_request',
    ],
    [
      'for a scope that it may not have',
      { client_id: TV, scope: 'email' },
      {},
      400,
      'invalid_scope',
    ],
    [
      'for a resource that is not there',
      { client_id: TV, resource: 'https://else.example/' },
      {},
      400,
      'invalid_target',
    ],
  ])('and is refused %s', async (_how, body, headers, status, error) => {
    const server = shared()
    const answer = await askForCode(server.issuer, body, headers)
    expect([answer.status, answer.body.error]).toEqual([status, error])
  })

  test('by POST alone, and in JSON whatever it accepts', async () => {
    const server = shared()
    const url = `${server.issuer}/device_authorization`
    const headers = { accept: 'text/html' }
    const got = await fetch(url, { headers })
    expect([got.status, got.headers.get('allow')]).toEqual([405, 'POST'])
    const refused = await fetch(url, { method: 'POST', headers })
    expect(await refused.json()).toMatchObject({ error: 'invalid_request' })
  })
})

test('§4 the metadata says where, and that there is such a grant', async () => {
  const server = shared()
  for (const name of ['openid-configuration', 'oauth-authorization-server']) {
    const metadata = await (await fetch(`${server.issuer}/.well-known/${name}`)).json()
    expect(metadata).toMatchObject({
      device_authorization_endpoint: `${server.issuer}/device_authorization`,
      grant_types_supported: expect.arrayContaining([GRANT_TYPE]) as unknown,
    })
  }
})

describe('§3.3 a person', () => {
  test('types the code, compares it, signs in, agrees, and the device has its tokens', async () => {
    const server = shared()
    const { device_code, user_code } = await obtainCode(server, {
      scope: 'openid notes:read notes:write',
    })
    const { browser, page } = await typeCode(server, user_code)
    expect(page.status).toBe(200)
    expect(page.text).toContain('The Web App')
    expect(page.text).toContain(user_code)
    expect(page.text).toContain('Change your notes')
    const signingIn = await browser.submit(page, '/device', { confirm: 'yes' })
    expect(signingIn.text).toContain('your device goes on by itself')
    const asked = await signIn(browser, signingIn)
    expect(asked.text).toContain('on the device that showed you the code')
    const done = await browser.submit(asked, '/consent')
    expect(done.text).toContain('Your device is connected')
    const { status, body } = await poll(server.issuer, device_code)
    expect([status, body.scope]).toEqual([200, 'openid notes:read notes:write'])
    const keys = (await (await fetch(`${server.issuer}/jwks`)).json()) as JSONWebKeySet
    const { payload } = await jwtVerify(body.access_token, createLocalJWKSet(keys), {
      issuer: server.issuer,
      audience: NOTES,
      typ: 'at+jwt',
    })
    expect(payload).toMatchObject({ client_id: 'web', roles: ['editor'], amr: ['pwd'] })
    expect(decodeJwt(body.id_token).claims).toMatchObject({ sub: payload.sub, aud: 'web' })
    const userinfo = await fetch(`${server.issuer}/userinfo`, {
      headers: { authorization: `Bearer ${body.access_token}` },
    })
    expect(userinfo.status).toBe(200)
  })

  test('§3.3.1 comes by an address that has the code, and has one click less', async () => {
    const server = shared()
    const { device_code, user_code, verification_uri_complete } = await obtainCode(server)
    const browser = createBrowser(server.issuer)
    const page = await browser.get(verification_uri_complete)
    expect(page.status).toBe(200)
    expect(page.text).toContain(`>${user_code}</p>`)
    expect(page.text).not.toContain('<script')
    const signingIn = await browser.submit(page, '/device', { confirm: 'yes' })
    await browser.submit(await signIn(browser, signingIn), '/consent')
    expect((await poll(server.issuer, device_code)).status).toBe(200)
    expect(server.logged()).not.toContain(user_code)
  })

  test('§6.1 types as people do', async () => {
    const server = shared()
    const { user_code } = await obtainCode(server)
    const letters = user_code.replace('-', '').toLowerCase()
    for (const typed of [
      letters,
      ` ${letters.replaceAll(/(?<=.)(?=.)/g, ' ')} `,
      user_code.replace('-', '–'),
    ]) {
      const { page } = await typeCode(server, typed)
      expect(page.text).toContain(`>${user_code}</p>`)
    }
  })

  test('is asked for consent even for a client of the operator, whose name anybody may use', async () => {
    const server = shared()
    const { body } = await askForCode(server.issuer, { client_id: TV }, {})
    const { browser, page } = await typeCode(server, body.user_code)
    expect(page.text).toContain('Television')
    expect(page.text).toContain('Read your notes')
    const signingIn = await browser.submit(page, '/device', { confirm: 'yes' })
    const asked = await signIn(browser, signingIn)
    expect(asked.text).toContain('/consent"')
    const waiting = { grant_type: GRANT_TYPE, device_code: body.device_code, client_id: TV }
    expect((await requestToken(server.issuer, waiting, {})).body.error).toBe(
      'authorization_pending',
    )
    await browser.submit(asked, '/consent')
    const answer = await requestToken(server.issuer, waiting, {})
    expect([answer.status, answer.body.scope]).toEqual([200, 'notes:read'])
    expect(answer.body.refresh_token).toBeUndefined()
  })

  test('gives no more than their roles allow', async () => {
    const server = shared()
    const { device_code, user_code } = await obtainCode(server, {
      scope: 'openid notes:read notes:write',
    })
    const { page } = await approve(server, user_code, 'bob')
    expect(page.text).toContain('Your device is connected')
    expect((await poll(server.issuer, device_code)).body.scope).toBe('openid notes:read')
  })

  test('becomes somebody else on the way', async () => {
    const server = shared()
    const { browser } = await authorize(server.issuer)
    const { device_code, user_code } = await obtainCode(server)
    const { page } = await typeCode(server, user_code, browser)
    const asked = await browser.submit(page, '/device', { confirm: 'yes' })
    const other = await browser.get(`${asked.url}/other-account`)
    const switching = await browser.submit(other, '/sign-in', {
      username: 'bob',
      password: PASSWORDS.bob,
    })
    const again = await browser.submit(switching, '/session/end/confirm')
    expect(again.text).toContain('bob')
    await browser.submit(again, '/consent')
    const { body } = await poll(server.issuer, device_code)
    expect(decodeJwt(body.access_token).claims['roles']).toEqual(['reader'])
  })
})

describe('§3.4 and §3.5 a device that polls', () => {
  test('is told to wait, to slow down, and then given its tokens', async () => {
    const server = shared()
    const { device_code, user_code } = await obtainCode(server)
    const errors = []
    for (let count = 0; count < 2; count += 1) {
      const { status, body } = await poll(server.issuer, device_code)
      errors.push([status, body.error])
    }
    expect(errors).toEqual([
      [400, 'authorization_pending'],
      [400, 'slow_down'],
    ])
    turnClock(5)
    expect((await poll(server.issuer, device_code)).body.error).toBe('authorization_pending')
    await approve(server, user_code)
    expect((await poll(server.issuer, device_code)).status).toBe(200)
    expect(server.logged()).not.toContain('authorization_pending')
  })

  test('does not slow another device down', async () => {
    const server = shared()
    const codes = [await obtainCode(server), await obtainCode(server)]
    for (const { device_code } of codes) {
      expect((await poll(server.issuer, device_code)).body.error).toBe('authorization_pending')
    }
  })

  test('is told that the person has cancelled, before the sign-in', async () => {
    const server = shared()
    const { device_code, user_code } = await obtainCode(server)
    const { browser, page } = await typeCode(server, user_code)
    const end = await browser.submit(page, '/device', { abort: 'yes' })
    expect([end.status, end.text]).toEqual([200, expect.stringContaining('You have cancelled')])
    for (let count = 0; count < 2; count += 1) {
      const { status, body } = await poll(server.issuer, device_code)
      expect([status, body.error]).toEqual([400, 'access_denied'])
    }
  })

  test.each(['sign-in', 'consent'])(
    'is told that the person has cancelled at %s',
    async (where) => {
      const server = shared()
      const { device_code, user_code } = await obtainCode(server)
      const { browser, page } = await typeCode(server, user_code)
      let next = await browser.submit(page, '/device', { confirm: 'yes' })
      if (where === 'consent') next = await signIn(browser, next)
      const end = await browser.submit(next, '/cancel')
      expect([end.status, end.text]).toEqual([200, expect.stringContaining('You have cancelled')])
      expect((await poll(server.issuer, device_code)).body.error).toBe('access_denied')
    },
  )

  test('is told where the roles of the person allow nothing', async () => {
    const server = shared()
    const { device_code, user_code } = await obtainCode(server, { scope: 'notes:write' })
    const { page } = await approve(server, user_code, 'bob')
    expect(page.status).toBe(403)
    expect(page.text).toContain('the roles of this account allow none of the requested scopes')
    expect((await poll(server.issuer, device_code)).body.error).toBe('access_denied')
  })

  test('is told that its code has expired, and so is the person', async () => {
    const server = shared()
    const { device_code, user_code } = await obtainCode(server)
    turnClock(601)
    const { status, body } = await poll(server.issuer, device_code)
    expect([status, body.error]).toEqual([400, 'expired_token'])
    const { page } = await typeCode(server, user_code)
    expect([page.status, page.text]).toEqual([422, expect.stringContaining('That code is too old')])
  })

  test('gets nothing where the code expires while the person signs in', async () => {
    const server = shared()
    const { device_code, user_code } = await obtainCode(server)
    const { browser, page } = await typeCode(server, user_code)
    const signingIn = await browser.submit(page, '/device', { confirm: 'yes' })
    turnClock(601)
    const end = await signIn(browser, signingIn)
    expect(end.text).toContain('That code is too old')
    expect((await poll(server.issuer, device_code)).body.error).toBe('expired_token')
  })

  test('gets its tokens once, also when it asks twice at the same moment', async () => {
    const server = shared()
    const { device_code, user_code } = await obtainCode(server)
    await approve(server, user_code)
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => poll(server.issuer, device_code)),
    )
    const outcomes = answers.map(({ status, body }) => body.error ?? status).toSorted()
    expect(outcomes).toEqual([200, ...Array.from({ length: 9 }, () => 'invalid_grant')])
    expect((await poll(server.issuer, device_code)).body.error).toBe('invalid_grant')
    // As with a code that came twice, somebody else may have it: what it gave is taken back.
    const [winner] = answers.filter(({ status }) => status === 200)
    const dead = await refresh(server.issuer, winner?.body.refresh_token ?? '')
    expect(dead.body.error).toBe('invalid_grant')
    expect(server.logged()).toContain('"kind":"DeviceCode"')
  })

  test.each([
    ['of another client', { authorization: basic(TV, '') }, 'invalid_grant'],
    ['of a client without the grant', { authorization: basic('spa', '') }, 'invalid_request'],
    ['of nobody', { authorization: basic('web', 'wrong') }, 'invalid_client'],
  ])('gets nothing for the code %s', async (_whose, headers, error) => {
    const server = shared()
    const { device_code, user_code } = await obtainCode(server)
    await approve(server, user_code)
    expect((await poll(server.issuer, device_code, headers)).body.error).toBe(error)
    expect((await poll(server.issuer, device_code)).status).toBe(200)
  })

  test('gets nothing for a code that was never given', async () => {
    const server = shared()
    for (const code of ['', 'x', 'x'.repeat(43), 'x'.repeat(5000)]) {
      const { status, body } = await poll(server.issuer, code)
      expect([status, body.error]).toEqual([400, code === '' ? 'invalid_request' : 'invalid_grant'])
    }
  })

  test('has a refresh token where its client may, which ends with the session', async () => {
    const server = shared()
    const { device_code, user_code } = await obtainCode(server)
    const { browser } = await approve(server, user_code)
    const { body } = await poll(server.issuer, device_code)
    const next = await refresh(server.issuer, body.refresh_token)
    expect(next.status).toBe(200)
    const page = await browser.get(`${server.issuer}/session/end?client_id=web`)
    await browser.submit(page, '/session/end/confirm', { logout: 'yes' })
    expect((await refresh(server.issuer, next.body.refresh_token)).status).toBe(400)
  })

  test('keeps its access beyond the session where that was agreed to', async () => {
    const server = shared()
    const { device_code, user_code } = await obtainCode(server, {
      scope: 'openid offline_access notes:read',
    })
    const { browser } = await approve(server, user_code)
    const { body } = await poll(server.issuer, device_code)
    const page = await browser.get(`${server.issuer}/session/end?client_id=web`)
    await browser.submit(page, '/session/end/confirm', { logout: 'yes' })
    expect((await refresh(server.issuer, body.refresh_token)).status).toBe(200)
  })

  test('is at no session there, whether that ends before it asks or after', async () => {
    const server = shared()
    const { device_code, user_code } = await obtainCode(server, {
      scope: 'openid offline_access notes:read',
    })
    const { browser } = await approve(server, user_code)
    const page = await browser.get(`${server.issuer}/session/end?client_id=web`)
    await browser.submit(page, '/session/end/confirm', { logout: 'yes' })
    const { status, body } = await poll(server.issuer, device_code)
    expect(status).toBe(200)
    const claims = [body.id_token, body.access_token].map((token) => decodeJwt(token).claims)
    expect(claims.map(({ sid }) => sid)).toEqual([undefined, undefined])
  })
})

test('RFC 9449 §5: a device that proves a key gets a token for that key', async () => {
  const server = shared()
  const key = await createProofClient()
  const { device_code, user_code } = await obtainCode(server)
  await approve(server, user_code)
  const headers = { authorization: basic('web', WEB_SECRET), dpop: prove(key, server.issuer) }
  const { status, body } = await poll(server.issuer, device_code, headers)
  expect([status, body.token_type]).toEqual([200, 'DPoP'])
  const { cnf } = decodeJwt(body.access_token).claims
  expect(cnf).toEqual({ jkt: expect.stringMatching(/^[\w-]{43}$/) as unknown })
})

test('RFC 9449 §5: a proof for another place leaves the code as it was', async () => {
  const server = shared()
  const key = await createProofClient()
  const { device_code, user_code } = await obtainCode(server)
  await approve(server, user_code)
  const elsewhere = prove(key, server.issuer, '/device_authorization')
  const headers = { authorization: basic('web', WEB_SECRET), dpop: elsewhere }
  const refused = await poll(server.issuer, device_code, headers)
  expect([refused.status, refused.body.error]).toEqual([400, 'invalid_dpop_proof'])
  expect((await poll(server.issuer, device_code)).status).toBe(200)
})

describe('§5 an attacker', () => {
  test('§5.1 guesses at codes ten times, and waits then', async () => {
    await using server = await start()
    const { user_code } = await obtainCode(server)
    const browser = createBrowser(server.issuer)
    const statuses: number[] = []
    for (let count = 0; count < 11; count += 1) {
      const { page } = await typeCode(server, 'BCDF-GHJK', browser)
      statuses.push(page.status)
    }
    expect(statuses).toEqual([...Array.from({ length: 10 }, () => 422), 429])
    const { page } = await typeCode(server, user_code, browser)
    expect(page.headers.get('retry-after')).toMatch(/^\d+$/)
    expect(page.text).toContain('There were too many attempts. Try again in 15 minutes.')
    const byAddress = await browser.get(`${server.issuer}/device?user_code=${user_code}`)
    expect([byAddress.status, byAddress.text.includes('The Web App')]).toEqual([429, false])
    expect(server.logged()).toContain('"reason":"throttled"')
    expect(server.logged()).not.toContain('BCDF')
  })

  test('§5.1 counts guesses in the address as well', async () => {
    await using server = await start()
    const statuses: number[] = []
    for (let count = 0; count < 11; count += 1) {
      const page = await createBrowser(server.issuer).get(
        `${server.issuer}/device?user_code=QQQQ-QQQQ`,
      )
      statuses.push(page.status)
    }
    expect(statuses).toEqual([...Array.from({ length: 10 }, () => 422), 429])
  })

  test('§5.1 whose own codes are right uses up no guesses', async () => {
    await using server = await start((config) => ({
      ...config,
      signIn: { perAccount: { attempts: 1, windowSeconds: 900 } },
    }))
    for (let count = 0; count < 3; count += 1) {
      const { user_code } = await obtainCode(server)
      expect((await typeCode(server, user_code)).page.status).toBe(200)
    }
  })

  test('§5.2 learns nothing from the database', async () => {
    await using server = await start()
    const { device_code, user_code } = await obtainCode(server)
    const { browser, page } = await typeCode(server, user_code)
    await browser.submit(page, '/device', { confirm: 'yes' })
    using database = new DatabaseSync(path.join(server.folder, 'portreeve.sqlite'))
    const rows = JSON.stringify(database.prepare('select * from engine_model').all())
    expect(rows).toContain('DeviceCode')
    for (const secret of [device_code, user_code, user_code.replace('-', '')]) {
      expect(rows).not.toContain(secret)
    }
    // What stands there is not the code: neither the device's nor the person's.
    const row = database
      .prepare("select key, user_code from engine_model where model = 'DeviceCode'")
      .get() as { key: string; user_code: string }
    const stolen = await poll(server.issuer, `~${row.key}`)
    expect(stolen.body.error).toBe('invalid_grant')
    expect((await typeCode(server, `~${row.user_code}`)).page.status).toBe(422)
  })

  test('§5.4 cannot have a form of theirs sent by the browser of the person', async () => {
    const server = shared()
    const { device_code, user_code } = await obtainCode(server)
    const victim = await authorize(server.issuer)
    const attacker = await typeCode(server, user_code)
    const xsrf = /name="xsrf" value="(\w+)"/.exec(attacker.page.text)?.[1] ?? ''
    for (const secret of [xsrf, '']) {
      const body = new URLSearchParams({ xsrf: secret, user_code, confirm: 'yes' }).toString()
      const answer = await victim.browser.post(`${server.issuer}/device`, body)
      expect([answer.status, answer.text]).toEqual([
        403,
        expect.stringContaining('came from another page'),
      ])
    }
    expect((await poll(server.issuer, device_code)).body.error).toBe('authorization_pending')
  })

  test('§5.4 who has a link clicked has nothing yet', async () => {
    const server = shared()
    const { device_code, verification_uri_complete } = await obtainCode(server)
    const { browser } = await authorize(server.issuer)
    const page = await browser.get(verification_uri_complete)
    expect(page.text).toContain('If somebody has sent you this code')
    expect((await poll(server.issuer, device_code)).body.error).toBe('authorization_pending')
  })

  test('goes on with a code in one browser only', async () => {
    const server = shared()
    const { user_code } = await obtainCode(server)
    const { browser, page } = await typeCode(server, user_code)
    const other = await typeCode(server, user_code)
    await browser.submit(page, '/device', { confirm: 'yes' })
    const late = await other.browser.submit(other.page, '/device', { confirm: 'yes' })
    expect([late.status, late.text]).toEqual([422, expect.stringContaining('was used already')])
  })

  test('goes on with an interaction in the browser only that has started it', async () => {
    const server = shared()
    const { user_code } = await obtainCode(server)
    const { browser, page } = await typeCode(server, user_code)
    const signingIn = await browser.submit(page, '/device', { confirm: 'yes' })
    const uid = signingIn.url.split('/').at(-1)
    const stolen = await createBrowser(server.issuer).get(`${server.issuer}/device/${uid}`)
    expect(stolen.text).not.toContain('Your device is connected')
    expect(stolen.status).toBeGreaterThanOrEqual(400)
  })
})

describe('a device whose person', () => {
  test('is disabled after agreeing gets nothing', async () => {
    await using server = await start()
    const { device_code, user_code } = await obtainCode(server)
    await approve(server, user_code)
    const second = await server.startAnother({}, (config) => ({
      ...config,
      users: config.users?.filter(({ username }) => username !== 'alice'),
    }))
    await second[Symbol.asyncDispose]()
    expect((await poll(server.issuer, device_code)).body.error).toBe('invalid_grant')
  })

  test('signs out after agreeing gets nothing', async () => {
    const server = shared()
    const { device_code, user_code } = await obtainCode(server)
    const { browser } = await approve(server, user_code)
    const page = await browser.get(`${server.issuer}/session/end?client_id=web`)
    await browser.submit(page, '/session/end/confirm', { logout: 'yes' })
    expect((await poll(server.issuer, device_code)).body.error).toBe('invalid_grant')
  })
})

test('the secret of a client is no part of what is kept of its request', async () => {
  await using server = await start()
  await askForCode(server.issuer, { client_id: 'web', client_secret: WEB_SECRET }, {})
  using database = new DatabaseSync(path.join(server.folder, 'portreeve.sqlite'))
  expect(JSON.stringify(database.prepare('select * from engine_model').all())).not.toContain(
    WEB_SECRET,
  )
})
