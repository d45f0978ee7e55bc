import { expect, test } from 'vitest'
import { createBrowser, readForm } from '../support/browser.ts'
import { authorizationUrl, makePkce, signIn } from '../support/flow.ts'
import { register, send, withRegistration } from '../support/registration.ts'
import { NOTES, startServer } from '../support/server.ts'
import { postSlowly } from '../support/slow-post.ts'

const ALL = 'openid notes:read notes:write'

test('a person agrees to what they were shown, and not to what a client asks for since', async () => {
  const scopes = ['openid', 'notes:read', 'notes:write']
  await using server = await startServer(withRegistration({ access: 'open', scopes }))
  const { issuer } = server
  const app = await register(issuer, { scope: 'openid notes:read' })
  const browser = createBrowser(issuer)
  const asked = { client_id: app.id, scope: ALL }
  const first = await browser.get(authorizationUrl(issuer, makePkce().challenge, asked))
  const page = await signIn(browser, first)
  expect(page.text).toContain('Read your notes')
  expect(page.text).not.toContain('Change your notes')
  const form = readForm(page.text, '/consent')
  const url = new URL(form.action, page.url).href
  const { registration_access_token: _token, registration_client_uri: _uri, ...known } = app.body
  const { client_id_issued_at: _at, client_secret_expires_at: _end, ...metadata } = known
  const answer = await postSlowly(browser, url, form.hidden, async () => {
    const wider = await send(app.url, 'PUT', { ...metadata, scope: ALL }, app.token)
    expect([wider.status, wider.body['scope']]).toEqual([200, ALL])
  })
  expect([answer.location, answer.status]).toEqual(['', 410])
})

test('a session that has ended while a form was on its way does nothing any more', async () => {
  await using server = await startServer()
  const { issuer } = server
  const visit = async (path: string) => {
    const browser = createBrowser(issuer)
    return { browser, page: await signIn(browser, await browser.get(issuer + path)) }
  }
  const path = `/account/api-keys/new?resource=${NOTES}`
  const thief = await visit('/account/api-keys/new')
  const owner = await visit('/account/api-keys/new')
  const typed = async ({ browser }: typeof thief) => {
    const { hidden } = readForm((await browser.get(issuer + path)).text, '/account/api-keys')
    return { ...hidden, name: 'mine', expires: 'never', 'scope notes:read': 'on' }
  }
  const url = `${issuer}/account/api-keys`
  const answer = await postSlowly(thief.browser, url, await typed(thief), async () => {
    const page = await owner.browser.get(`${issuer}/account`)
    const done = await owner.browser.submit(page, '/account/sessions/end-others')
    expect(done.text).toContain('signed out everywhere else')
  })
  expect([answer.status, answer.location]).toEqual([303, expect.stringContaining('/auth?')])
  expect((await owner.browser.get(`${issuer}/account`)).text).not.toContain('mine')
  const made = await postSlowly(owner.browser, url, await typed(owner), async () => {})
  expect(made.status).toBe(200)
  expect((await owner.browser.get(`${issuer}/account`)).text).toContain('mine')
})
