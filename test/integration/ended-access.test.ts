import { describe, expect, test } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { nextSecond } from '../support/clock.ts'
import { createBrowser, readForm } from '../support/browser.ts'
import {
  authorizationUrl,
  basic,
  decodeJwt,
  makePkce,
  obtainTokens,
  refresh,
  requestToken,
  signIn,
} from '../support/flow.ts'
import {
  BEGINNINGS,
  databaseOf,
  endAccess,
  endBeforeWrites,
  withBeginnings,
} from '../support/late-writes.ts'
import {
  BILLING,
  NOTES,
  PASSWORDS,
  REDIRECT,
  SERVICE_SECRET,
  startServer,
  type TestServer,
} from '../support/server.ts'

async function narrowClient({ folder }: TestServer, scopes: readonly string[]): Promise<void> {
  await using stores = await openStores(`sqlite:${folder}/portreeve.sqlite`, systemClock)
  const client = await stores.clients.findById('web')
  if (!client) throw new Error('no client')
  await stores.clients.update({ ...client, scopes })
}

describe('a new password', () => {
  test('is asked for where somebody has just signed in with the old one', async () => {
    await using server = await startServer()
    const browser = createBrowser(server.issuer)
    const start = await browser.get(authorizationUrl(server.issuer, makePkce().challenge))
    const form = readForm(start.text, '/sign-in')
    const cookie = browser.cookies().map(({ name, value }) => `${name}=${value}`)
    const answer = await fetch(new URL(form.action, start.url), {
      method: 'POST',
      redirect: 'manual',
      headers: { cookie: cookie.join('; ') },
      body: new URLSearchParams({
        ...form.hidden,
        username: 'alice',
        password: PASSWORDS.alice,
      }),
    })
    expect(answer.status).toBe(303)
    await endAccess(databaseOf(server))
    const page = await browser.get(answer.headers.get('location') ?? '')
    expect(page.text).toContain('/sign-in"')
    expect(page.text).not.toContain('/consent"')
  })

  test('in the file ends at the next start what the old one began', async () => {
    await using server = await startServer()
    const { refresh_token } = await obtainTokens(server.issuer)
    await using second = await server.startAnother({ ALICE: 'alice has another password' })
    const refused = await refresh(second.issuer, refresh_token)
    expect([refused.status, refused.body.error]).toEqual([400, 'invalid_grant'])
  })
})

test('somebody who was disabled and let in again has to sign in again', async () => {
  await using server = await startServer()
  const { refresh_token, browser } = await obtainTokens(server.issuer)
  await using gone = await server.startAnother({}, withoutAlice)
  expect(gone.issuer).not.toBe(server.issuer)
  await using back = await server.startAnother()
  const refused = await refresh(back.issuer, refresh_token)
  expect([refused.status, refused.body.error]).toEqual([400, 'invalid_grant'])
  const page = await browser.get(authorizationUrl(server.issuer, makePkce().challenge))
  expect(page.text).toContain('/sign-in"')
})

function withoutAlice(config: ConfigInput): ConfigInput {
  return { ...config, users: config.users?.filter(({ username }) => username !== 'alice') }
}

test('the time of the sign-in is not that of the consent', async () => {
  await using server = await startServer()
  const browser = createBrowser(server.issuer)
  const { verifier, challenge } = makePkce()
  const start = await browser.get(authorizationUrl(server.issuer, challenge, { max_age: '600' }))
  const consent = await signIn(browser, start)
  const signedInBy = Math.floor(systemClock.now() / 1000)
  await nextSecond()
  const answer = await browser.submit(consent, '/consent')
  const { body } = await requestToken(server.issuer, {
    grant_type: 'authorization_code',
    code: new URL(answer.location ?? '').searchParams.get('code') ?? '',
    code_verifier: verifier,
    redirect_uri: REDIRECT,
  })
  expect(decodeJwt(body.id_token).claims['auth_time']).toBeLessThanOrEqual(signedInBy)
  expect(decodeJwt(body.access_token).claims['auth_time']).toBeLessThanOrEqual(signedInBy)
})

describe('what a request writes that had begun when access was taken away', () => {
  test.each(BEGINNINGS)('%s gives no tokens', async (_what, begin) => {
    await using server = await startServer(withBeginnings)
    const redeem = await begin(server)
    await endBeforeWrites(databaseOf(server))
    // A token of the same second would be refused for that alone.
    await nextSecond()
    const { status, body } = await redeem()
    expect([status, body.error]).toEqual([400, 'invalid_grant'])
  })

  test.each(BEGINNINGS)('%s gives some where nothing was', async (_what, begin) => {
    await using server = await startServer(withBeginnings)
    const redeem = await begin(server)
    expect((await redeem()).status).toBe(200)
  })
})

describe('what is taken from a client', () => {
  test('is gone from its next tokens, the scopes about the person included', async () => {
    await using server = await startServer()
    const first = await obtainTokens(server.issuer, { scope: 'openid email groups notes:read' })
    await narrowClient(server, ['openid', 'notes:read'])
    const next = await refresh(server.issuer, first.refresh_token)
    expect(next.body.scope).toBe('openid notes:read')
    expect(await askUserinfo(server.issuer, next.body.access_token)).toEqual(['sub'])
    expect(await askUserinfo(server.issuer, first.access_token)).toEqual(['sub'])
  })

  test('is gone from opaque tokens as well', async () => {
    await using server = await startServer()
    const { access_token, refresh_token } = await obtainTokens(server.issuer, {
      scope: 'openid email',
    })
    await narrowClient(server, ['openid'])
    expect(await askUserinfo(server.issuer, access_token)).toEqual(['sub'])
    const next = await refresh(server.issuer, refresh_token)
    expect(next.body.scope).toBe('openid')
  })
})

async function askUserinfo(issuer: string, token: string): Promise<string[]> {
  const response = await fetch(`${issuer}/userinfo`, {
    headers: { authorization: `Bearer ${token}` },
  })
  return Object.keys((await response.json()) as object).toSorted()
}

describe('a token request', () => {
  test('is told which scope nobody has', async () => {
    await using server = await startServer()
    const { status, body } = await requestToken(
      server.issuer,
      { grant_type: 'client_credentials', scope: 'nope:read' },
      { authorization: basic('service', SERVICE_SECRET) },
    )
    expect([status, body.error]).toEqual([400, 'invalid_scope'])
    expect(body).toMatchObject({ scope: 'nope:read' })
  })

  test('for no scope of the API uses nothing up and says so', async () => {
    await using server = await startServer()
    const { refresh_token } = await obtainTokens(server.issuer, { resource: NOTES })
    const refused = await refresh(server.issuer, refresh_token, { scope: 'openid' })
    expect([refused.status, refused.body.error]).toEqual([400, 'invalid_scope'])
    expect((await refresh(server.issuer, refresh_token)).status).toBe(200)
  })

  test('that names a resource which was not granted is refused', async () => {
    await using server = await startServer()
    const { refresh_token } = await obtainTokens(server.issuer, { resource: NOTES })
    const response = await fetch(`${server.issuer}/token`, {
      method: 'POST',
      headers: { authorization: basic('web', 'a-web-client-secret-of-some-length') },
      body: new URLSearchParams([
        ['grant_type', 'refresh_token'],
        ['refresh_token', refresh_token],
        ['resource', NOTES],
        ['resource', BILLING],
      ]),
    })
    expect(await response.json()).toMatchObject({ error: 'invalid_target' })
  })
})
