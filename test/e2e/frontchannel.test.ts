import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { PASSWORDS } from '../support/server.ts'
import { fillSignIn, launchChromium, startWorld } from './world.ts'

/** An app’s page that ends its session; it tries to take the window around it away. */
async function startApp() {
  const opened: URL[] = []
  const http = createServer((request, response) => {
    opened.push(new URL(request.url ?? '', 'http://app'))
    response
      .writeHead(200, { 'content-type': 'text/html' })
      .end(`<script>try { top.location = '/stolen' } catch {}</script>`)
  })
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  return {
    opened,
    origin: `http://127.0.0.1:${(http.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      http.closeAllConnections()
      await new Promise((resolve) => http.close(resolve))
    },
  }
}

test('whoever signs out opens the pages of apps in frames, and is then back at the app', async () => {
  await using app = await startApp()
  await using world = await startWorld((config) => ({
    ...config,
    clients: config.clients?.map((client) =>
      client.id === 'field-notes'
        ? {
            ...client,
            redirectUris: [...(client.redirectUris ?? []), `${app.origin}/callback`],
            frontchannelLogoutUri: `${app.origin}/bye`,
          }
        : client,
    ),
  }))
  await using browser = await launchChromium()
  await using context = await browser.newContext()
  const page = await context.newPage()
  await page.goto(world.authorizationUrl())
  await fillSignIn(page, 'alice', PASSWORDS.alice)
  await page.getByRole('button', { name: 'Allow' }).click()
  await page.waitForURL((url) => url.searchParams.has('code'))
  await page.goto(world.signOutUrl())
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByRole('heading', { name: 'Signing out of your apps' }).waitFor()
  await page.waitForURL((url) => url.pathname === '/bye' && url.origin === world.client)
  const [frame, ...others] = app.opened.filter(({ pathname }) => pathname !== '/favicon.ico')
  expect(others).toEqual([])
  expect([frame?.pathname, frame?.searchParams.get('iss')]).toEqual(['/bye', world.server.issuer])
  expect(frame?.searchParams.get('sid')).toMatch(/^[\w-]{20,}$/)
})
