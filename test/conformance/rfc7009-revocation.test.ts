import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import {
  askUserinfo,
  introspect,
  post,
  revoke,
  withClients,
  type Answer,
} from '../support/endpoints.ts'
import {
  authorize,
  basic,
  decodeJwt,
  obtainTokens,
  refresh,
  requestToken,
} from '../support/flow.ts'
import { SERVICE_SECRET, startServer, WEB_SECRET, type TestServer } from '../support/server.ts'

/* The table of the requirements is in docs/conformance/rfc7009-revocation.md. */

const asWeb = { authorization: basic('web', WEB_SECRET) }
const asService = { authorization: basic('service', SERVICE_SECRET) }
const OFFLINE = { scope: 'openid offline_access notes:read', prompt: 'consent' }

let server: TestServer
beforeAll(async () => {
  server = await startServer()
})
afterAll(() => server[Symbol.asyncDispose]())

/** What every token is answered with, whether there is such a token or not. */
function expectNothing({ status, text, headers }: Answer): void {
  expect([status, text, headers.get('content-length')]).toEqual([200, '', '0'])
}

async function isActive(token: string, headers: Readonly<Record<string, string>> = asWeb) {
  return (await introspect(server.issuer, token, headers)).body['active']
}

async function serviceToken(): Promise<string> {
  const form = { grant_type: 'client_credentials', scope: 'notes:read' }
  return (await requestToken(server.issuer, form, asService)).body.access_token
}

async function readLog(subject: unknown) {
  await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
  return (await stores.revocations.list(0, 10_000)).filter((entry) => entry.subject === subject)
}

describe('RFC 7009 §2.1: who revokes', () => {
  test.each([
    ['a wrong secret', { authorization: basic('web', 'wrong') }, {}, 401, 'invalid_client'],
    ['an unknown client', { authorization: basic('nobody', 'x') }, {}, 401, 'invalid_client'],
    ['nobody', {}, {}, 400, 'invalid_request'],
    ['a confidential client by its id alone', {}, { client_id: 'web' }, 401, 'invalid_client'],
  ])('as %s revokes nothing', async (_case, headers, form, status, error) => {
    const tokens = await obtainTokens(server.issuer)
    for (const token of [tokens.access_token, tokens.refresh_token]) {
      const answer = await post(server.issuer, '/revoke', { token, ...form }, headers)
      expect([answer.status, answer.body['error']]).toEqual([status, error])
      expect(await isActive(token)).toBe(true)
    }
  })

  test('has to say what, in a form', async () => {
    const none = await post(server.issuer, '/revoke', {}, asWeb)
    expect([none.status, none.body['error']]).toEqual([400, 'invalid_request'])
    const twice = await post(server.issuer, '/revoke', 'token=a&token=b', asWeb)
    expect([twice.status, twice.body['error']]).toEqual([400, 'invalid_request'])
    const got = await fetch(`${server.issuer}/revoke?token=x`, { headers: asWeb })
    expect([got.status, got.headers.get('allow')]).toEqual([405, 'POST'])
  })

  test('cannot revoke the tokens of another client, and is told nothing of them', async () => {
    const tokens = await obtainTokens(server.issuer, { scope: 'openid notes:read' })
    const opaque = await obtainTokens(server.issuer, { scope: 'openid' })
    const good = [tokens.access_token, tokens.refresh_token, opaque.access_token]
    for (const token of [...good, 'x']) {
      expectNothing(await revoke(server.issuer, token, asService))
      expectNothing(await post(server.issuer, '/revoke', { token, client_id: 'spa' }, {}))
    }
    for (const token of good) expect(await isActive(token)).toBe(true)
    expect((await refresh(server.issuer, tokens.refresh_token)).status).toBe(200)
  })

  test('may be a public client, of its own tokens', async () => {
    const spa = { client_id: 'spa', redirect_uri: 'https://spa.example/' }
    const { code, verifier } = await authorize(server.issuer, spa)
    const form = {
      grant_type: 'authorization_code',
      code,
      code_verifier: verifier,
      ...spa,
    }
    const { body } = await requestToken(server.issuer, form, {})
    expectNothing(
      await post(server.issuer, '/revoke', { token: body.access_token, client_id: 'spa' }, {}),
    )
    expect((await askUserinfo(server.issuer, body.access_token)).status).toBe(401)
    const basicEmpty = { authorization: basic('spa', '') }
    expectNothing(await revoke(server.issuer, body.refresh_token, basicEmpty))
    const again = {
      grant_type: 'refresh_token',
      refresh_token: body.refresh_token,
      client_id: 'spa',
    }
    expect((await requestToken(server.issuer, again, {})).status).toBe(400)
  })
})

describe('RFC 7009 §2.1: what is revoked', () => {
  test('a JWT, at userinfo and wherever it is asked about; its grant goes on', async () => {
    const { access_token, refresh_token } = await obtainTokens(server.issuer)
    expect((await askUserinfo(server.issuer, access_token)).status).toBe(200)
    expectNothing(await revoke(server.issuer, access_token))
    expect((await askUserinfo(server.issuer, access_token)).status).toBe(401)
    expect(await isActive(access_token)).toBe(false)
    const renewed = await refresh(server.issuer, refresh_token)
    expect(renewed.status).toBe(200)
    expect(await isActive(renewed.body.access_token)).toBe(true)
  })

  test("a service's JWT", async () => {
    const [token, another] = [await serviceToken(), await serviceToken()]
    expectNothing(await revoke(server.issuer, token, asService))
    expect(await isActive(token, asService)).toBe(false)
    expect(await isActive(another, asService)).toBe(true)
  })

  test('in the log, once, for as long as it would have lived', async () => {
    const token = await serviceToken()
    const { jti, exp } = decodeJwt(token).claims
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => revoke(server.issuer, token, asService)),
    )
    answers.forEach(expectNothing)
    const [entry, ...others] = await readLog(jti)
    expect(others).toEqual([])
    expect(entry).toMatchObject({ kind: 'token', reason: 'token_revoked' })
    expect(entry?.expiresAt).toBeGreaterThan(Number(exp) * 1000)
  })

  test('the opaque token of openid, alone', async () => {
    const { access_token, refresh_token } = await obtainTokens(server.issuer, { scope: 'openid' })
    expectNothing(await revoke(server.issuer, access_token))
    expect((await askUserinfo(server.issuer, access_token)).status).toBe(401)
    expect((await refresh(server.issuer, refresh_token)).status).toBe(200)
  })

  test('a refresh token with all that hangs on its grant', async () => {
    const tokens = await obtainTokens(server.issuer, OFFLINE)
    expectNothing(await revoke(server.issuer, tokens.refresh_token))
    const refused = await refresh(server.issuer, tokens.refresh_token)
    expect([refused.status, refused.body.error]).toEqual([400, 'invalid_grant'])
    expect(await isActive(tokens.access_token)).toBe(false)
    expect((await askUserinfo(server.issuer, tokens.access_token)).status).toBe(401)
    const { grant_id: grantId } = decodeJwt(tokens.access_token).claims
    expect(await readLog(grantId)).toMatchObject([{ kind: 'grant' }])
  })

  test('a refresh token whose successor is there already, with that one', async () => {
    const first = await obtainTokens(server.issuer, OFFLINE)
    const second = await refresh(server.issuer, first.refresh_token)
    const third = await refresh(server.issuer, second.body.refresh_token)
    expectNothing(await revoke(server.issuer, first.refresh_token))
    expect((await refresh(server.issuer, third.body.refresh_token)).status).toBe(400)
    expect(await isActive(third.body.access_token)).toBe(false)
  })

  test.each(['access_token', 'refresh_token', 'nonsense'])(
    'whatever the hint says (%s)',
    async (hint) => {
      const tokens = await obtainTokens(server.issuer, OFFLINE)
      for (const token of [tokens.access_token, tokens.refresh_token]) {
        const form = { token, token_type_hint: hint }
        expectNothing(await post(server.issuer, '/revoke', form, asWeb))
        expect(await isActive(token)).toBe(false)
      }
    },
  )

  test('nothing else: what is no token of this server is passed over', async () => {
    const tokens = await obtainTokens(server.issuer)
    const [header, payload] = tokens.access_token.split('.')
    const entries = async () => {
      await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
      return (await stores.revocations.list(0, 10_000)).length
    }
    const before = await entries()
    const others = [tokens.id_token, `${header}.${payload}.`, 'a.b.c', 'x', '~'.padEnd(44, 'x')]
    for (const token of others) expectNothing(await revoke(server.issuer, token))
    expect(await entries()).toBe(before)
    expect(await isActive(tokens.access_token)).toBe(true)
  })
})

test('RFC 7009 §2.3: scripts of a registered origin may revoke, and no others', async () => {
  const ask = (origin: string) =>
    post(server.issuer, '/revoke', { token: 'x', client_id: 'spa' }, { origin })
  const good = await ask('https://spa.example')
  expectNothing(good)
  expect(good.headers.get('access-control-allow-origin')).toBe('https://spa.example')
  const bad = await ask('https://evil.example')
  expect([bad.status, bad.headers.get('access-control-allow-origin')]).toEqual([400, null])
})

test('RFC 8414 §2: the metadata names the endpoint', async () => {
  const response = await fetch(`${server.issuer}/.well-known/oauth-authorization-server`)
  expect(await response.json()).toMatchObject({ revocation_endpoint: `${server.issuer}/revoke` })
})

test('what is revoked is in the audit log', async () => {
  const { access_token, refresh_token } = await obtainTokens(server.issuer)
  const accountId = decodeJwt(access_token).claims['sub']
  await revoke(server.issuer, access_token)
  await revoke(server.issuer, refresh_token)
  const said = server
    .logged()
    .split('\n')
    .filter((line) => line.includes('"token_revoked"'))
    .slice(-2)
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  expect(said).toMatchObject([
    { kind: 'AccessToken', clientId: 'web', accountId },
    { kind: 'RefreshToken', clientId: 'web', accountId },
  ])
  expect(server.logged()).not.toContain(refresh_token)
})

test('a token that is too long to be taken back is not given', async () => {
  const MANY = 'https://many.example/'
  const names = Array.from({ length: 300 }, (_, index) => `orders:read:of-branch-number-${index}`)
  const scopes = Object.fromEntries(names.map((name) => [name, { description: name }]))
  const bulk = {
    id: 'service',
    scopes: names,
    grants: ['client_credentials' as const],
  }
  await using crowded = await startServer((config) =>
    withClients(bulk)({
      ...config,
      resources: [...(config.resources ?? []), { identifier: MANY, name: 'Many', scopes }],
    }),
  )
  const ask = async (count: number) => {
    const form = { grant_type: 'client_credentials', scope: names.slice(0, count).join(' ') }
    return post(crowded.issuer, '/token', form, asService)
  }
  const refused = await ask(300)
  expect([refused.status, refused.body['error']]).toEqual([400, 'invalid_scope'])
  const given = await ask(100)
  expect(given.status).toBe(200)
  const token = String(given.body['access_token'])
  expect(await introspect(crowded.issuer, token, asService)).toMatchObject({
    body: { active: true },
  })
  expectNothing(await revoke(crowded.issuer, token, asService))
  expect(await introspect(crowded.issuer, token, asService)).toMatchObject({
    body: { active: false },
  })
})
