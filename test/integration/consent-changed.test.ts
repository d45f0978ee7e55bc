import { request } from 'node:http'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { createBrowser, readForm } from '../support/browser.ts'
import { authorizationUrl, makePkce, signIn } from '../support/flow.ts'
import { register, send, withRegistration } from '../support/registration.ts'
import { startServer } from '../support/server.ts'

const ALL = 'openid notes:read notes:write'

/** Sends a form whose body comes only when `meanwhile` is over: the request has been looked at by then. */
async function postSlowly(
  url: string,
  body: string,
  cookie: string,
  meanwhile: () => Promise<unknown>,
) {
  const type = 'application/x-www-form-urlencoded'
  const headers = { cookie, 'content-type': type, 'content-length': Buffer.byteLength(body) }
  const sent = request(url, { method: 'POST', headers: { ...headers, expect: '100-continue' } })
  const answered = new Promise<{ status: number; location: string; page: string }>(
    (resolve, reject) => {
      sent.once('error', reject)
      sent.once('response', (response) => {
        const { statusCode: status = 0 } = response
        const { location = '' } = response.headers
        text(response).then((page) => resolve({ status, location, page }), reject)
      })
    },
  )
  await new Promise<void>((resolve) => {
    sent.once('continue', resolve)
    sent.flushHeaders()
  })
  await meanwhile()
  sent.end(body)
  return answered
}

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
  const url = new URL(form.action, page.url)
  const cookie = browser
    .cookies()
    .filter(({ path }) => url.pathname.startsWith(path))
    .map(({ name, value }) => `${name}=${value}`)
    .join('; ')
  const { registration_access_token: _token, registration_client_uri: _uri, ...known } = app.body
  const { client_id_issued_at: _at, client_secret_expires_at: _end, ...metadata } = known
  const answer = await postSlowly(
    url.href,
    new URLSearchParams(form.hidden).toString(),
    cookie,
    async () => {
      const wider = await send(app.url, 'PUT', { ...metadata, scope: ALL }, app.token)
      expect([wider.status, wider.body['scope']]).toEqual([200, ALL])
    },
  )
  expect([answer.location, answer.status]).toEqual(['', 410])
})
