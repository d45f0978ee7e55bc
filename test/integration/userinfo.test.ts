import { describe, expect, test } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { basic, decodeJwt, obtainTokens, requestToken } from '../support/flow.ts'
import { NOTES, SERVICE_SECRET, startServer } from '../support/server.ts'

const FULL = { scope: 'openid profile email groups notes:read' }

async function askUserinfo(issuer: string, token: string) {
  const response = await fetch(`${issuer}/userinfo`, {
    headers: { authorization: `Bearer ${token}` },
  })
  const body = (await response.json()) as Record<string, unknown>
  return { status: response.status, challenge: response.headers.get('www-authenticate'), body }
}

describe('userinfo', () => {
  test('takes the JWT that serves the API', async () => {
    await using server = await startServer()
    const { access_token } = await obtainTokens(server.issuer, FULL)
    const { status, body } = await askUserinfo(server.issuer, access_token)
    expect(status).toBe(200)
    expect(body).toEqual({
      sub: decodeJwt(access_token).claims['sub'],
      name: 'Alice Adams',
      preferred_username: 'alice',
      updated_at: expect.any(Number),
      email: 'alice@example.com',
      email_verified: false,
      groups: ['staff'],
    })
  })

  test('tells no more than the scopes of the token', async () => {
    await using server = await startServer()
    const { access_token } = await obtainTokens(server.issuer, { scope: 'openid email notes:read' })
    const { body } = await askUserinfo(server.issuer, access_token)
    expect(Object.keys(body).toSorted()).toEqual(['email', 'email_verified', 'sub'])
  })

  test('takes the opaque token of openid alone', async () => {
    await using server = await startServer()
    const { access_token } = await obtainTokens(server.issuer, { scope: 'openid email' })
    expect((await askUserinfo(server.issuer, access_token)).status).toBe(200)
  })

  test.each([
    ['for a named resource', { ...FULL, resource: NOTES }],
    ['without openid', { scope: 'notes:read' }],
  ])('refuses a token %s', async (_case, request) => {
    await using server = await startServer()
    const { access_token } = await obtainTokens(server.issuer, request)
    const { status, challenge } = await askUserinfo(server.issuer, access_token)
    expect([status, challenge?.includes('error="invalid_token"')]).toEqual([401, true])
  })

  test('refuses what is no token, an ID token, a changed token and a service', async () => {
    await using server = await startServer()
    const tokens = await obtainTokens(server.issuer, FULL)
    const [header, claims, signature] = tokens.access_token.split('.')
    const forged = Buffer.from(
      JSON.stringify({ ...decodeJwt(tokens.access_token).claims, sub: 'acc_other' }),
    ).toString('base64url')
    const service = await requestToken(
      server.issuer,
      { grant_type: 'client_credentials', scope: 'notes:read' },
      { authorization: basic('service', SERVICE_SECRET) },
    )
    const bad = [
      'x',
      'a.b.c',
      tokens.id_token,
      `${header}.${forged}.${signature}`,
      `${header}.${claims}.`,
      service.body.access_token,
    ]
    for (const token of bad) expect((await askUserinfo(server.issuer, token)).status).toBe(401)
  })

  test('forgets a token whose account was disabled or whose grant was withdrawn', async () => {
    await using server = await startServer()
    const { access_token, browser, id_token } = await obtainTokens(server.issuer, FULL)
    await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
    const account = await stores.accounts.findByUsername('alice')
    if (!account) throw new Error('alice is missing')
    await stores.accounts.update({ ...account, disabled: true })
    expect((await askUserinfo(server.issuer, access_token)).status).toBe(401)
    await stores.accounts.update(account)
    expect((await askUserinfo(server.issuer, access_token)).status).toBe(200)
    const page = await browser.get(`${server.issuer}/session/end?id_token_hint=${id_token}`)
    await browser.submit(page, '/session/end/confirm', { logout: 'yes' })
    expect((await askUserinfo(server.issuer, access_token)).status).toBe(401)
  })

  test('is repeated in the ID token for an app that reads only that', async () => {
    await using server = await startServer((config) => ({
      ...config,
      clients: config.clients?.map((client) => ({
        ...client,
        ...(client.id === 'web' ? { claimsInIdToken: true } : {}),
      })),
    }))
    const { id_token } = await obtainTokens(server.issuer, FULL)
    expect(decodeJwt(id_token).claims).toMatchObject({
      preferred_username: 'alice',
      email: 'alice@example.com',
      email_verified: false,
      groups: ['staff'],
    })
  })

  test('is where the claims are for everybody else', async () => {
    await using server = await startServer()
    const { id_token } = await obtainTokens(server.issuer, FULL)
    expect(decodeJwt(id_token).claims).not.toHaveProperty('email')
  })
})
