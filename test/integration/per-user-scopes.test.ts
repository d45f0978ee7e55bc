import { describe, expect, test } from 'vitest'
import { createBrowser } from '../support/browser.ts'
import { nextSecond } from '../support/clock.ts'
import { introspect } from '../support/endpoints.ts'
import {
  authorizationUrl,
  authorize,
  basic,
  decodeJwt,
  makePkce,
  obtainTokens,
  refresh,
  signIn,
} from '../support/flow.ts'
import { NOTES, startServer, WEB_SECRET } from '../support/server.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { systemClock } from '../../auth-server/clock.ts'

/** Gives a user other roles in the database of the running server, as the CLI does. */
async function setRoles(folder: string, username: string, roles: readonly string[]): Promise<void> {
  await using stores = await openStores(`sqlite:${folder}/portreeve.sqlite`, systemClock)
  const account = await stores.accounts.findByUsername(username)
  if (!account) throw new Error(`no user ${username}`)
  await stores.accounts.update({ ...account, roles })
}

async function isActive(issuer: string, token: string): Promise<boolean> {
  const { body } = await introspect(issuer, token, { authorization: basic('web', WEB_SECRET) })
  return body['active'] === true
}

const WANTED = { scope: 'openid notes:read notes:write' }

describe('what a person may be granted', () => {
  test.each([
    ['alice', 'openid notes:read notes:write'],
    ['bob', 'openid notes:read'],
  ] as const)('follows from the roles of %s', async (who, scope) => {
    await using server = await startServer()
    const tokens = await obtainTokens(server.issuer, WANTED, who)
    expect(tokens.scope).toBe(scope)
    expect(decodeJwt(tokens.access_token).claims['scope']).toBe(scope)
  })

  test('is named on the consent page, and what is left out as well', async () => {
    await using server = await startServer()
    const browser = createBrowser(server.issuer)
    const start = await browser.get(authorizationUrl(server.issuer, makePkce().challenge, WANTED))
    const page = await signIn(browser, start, 'bob')
    expect(page.text).toContain('The Web App')
    expect(page.text).toContain('app.example')
    expect(page.text).toContain('Read your notes')
    expect(page.text).toContain('Change your notes')
  })

  test('is a refusal where the roles allow nothing', async () => {
    await using server = await startServer()
    const { answer } = await authorize(server.issuer, WANTED, 'nobody')
    expect(answer.get('error')).toBe('access_denied')
    expect(answer.get('code')).toBeNull()
  })

  test('shrinks at the next refresh when a role is taken away, and grows no further than consent', async () => {
    await using server = await startServer()
    const first = await obtainTokens(server.issuer, WANTED)
    // There is most of a second left for what is to be in the same one.
    await nextSecond()
    await setRoles(server.folder, 'alice', ['reader'])
    const early = await refresh(server.issuer, first.refresh_token)
    expect([early.status, early.headers.get('retry-after')]).toEqual([503, '1'])
    expect(await isActive(server.issuer, first.access_token)).toBe(false)
    await nextSecond()
    const second = await refresh(server.issuer, first.refresh_token)
    expect(second.body.scope).toBe('openid notes:read')
    expect(decodeJwt(second.body.access_token).claims).toMatchObject({
      scope: 'openid notes:read',
      roles: ['reader'],
    })
    await setRoles(server.folder, 'alice', ['reader', 'admin'])
    expect(await isActive(server.issuer, second.body.access_token)).toBe(true)
    const third = await refresh(server.issuer, second.body.refresh_token)
    expect(third.body.scope).toBe('openid notes:read notes:write')
  })

  test('ends with the last role: the refresh is refused, and uses nothing up', async () => {
    await using server = await startServer((config) => ({
      ...config,
      tokens: { refreshRetryWindowSeconds: 0 },
    }))
    const { refresh_token } = await obtainTokens(server.issuer, WANTED)
    await setRoles(server.folder, 'alice', [])
    const refused = await refresh(server.issuer, refresh_token)
    expect([refused.status, refused.body.error]).toEqual([400, 'invalid_grant'])
    await setRoles(server.folder, 'alice', ['reader'])
    await nextSecond()
    expect((await refresh(server.issuer, refresh_token)).status).toBe(200)
  })

  test('narrows with the scope that a refresh asks for', async () => {
    await using server = await startServer()
    const { refresh_token } = await obtainTokens(server.issuer, WANTED)
    const { body } = await refresh(server.issuer, refresh_token, { scope: 'notes:read' })
    expect(body.scope).toBe('notes:read')
    expect(decodeJwt(body.access_token).claims['aud']).toBe(NOTES)
    const wider = await refresh(server.issuer, body.refresh_token, { scope: 'billing:read' })
    expect([wider.status, wider.body.error]).toEqual([400, 'invalid_scope'])
  })
})

test('ends with a new password: sessions, refresh tokens and userinfo at once', async () => {
  await using server = await startServer()
  const { refresh_token, access_token, browser } = await obtainTokens(server.issuer)
  await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
  const account = await stores.accounts.findByUsername('alice')
  if (!account) throw new Error('no alice')
  expect(await stores.accounts.updateAndEndAccess(account)).toBe(true)
  const refused = await refresh(server.issuer, refresh_token)
  expect([refused.status, refused.body.error]).toEqual([400, 'invalid_grant'])
  const userinfo = await fetch(`${server.issuer}/userinfo`, {
    headers: { authorization: `Bearer ${access_token}` },
  })
  expect(userinfo.status).toBe(401)
  const page = await browser.get(authorizationUrl(server.issuer, makePkce().challenge))
  expect(page.text).toContain('/sign-in"')
})
