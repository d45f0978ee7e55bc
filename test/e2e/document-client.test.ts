import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startDocumentHost, withDocuments } from '../support/documents.ts'
import { NOTES, PASSWORDS, REDIRECT } from '../support/server.ts'
import { inspect } from './inspect.ts'
import { fillSignIn, launchChromium, listComplaints, startWorld } from './world.ts'

let chromium: Browser
beforeAll(async () => {
  chromium = await launchChromium()
})
afterAll(async () => {
  await chromium.close()
})

const WIDE = 'W'.repeat(60)

describe.each(['light', 'dark'] as const)('the page of an app of elsewhere, %s', (colorScheme) => {
  test('says where it is from, fits on 360 pixels, and loads nothing from there', async () => {
    await using host = await startDocumentHost()
    await using world = await startWorld(withDocuments({ scopes: ['openid', 'notes:read'] }))
    await using context = await chromium.newContext({
      colorScheme,
      viewport: { width: 360, height: 640 },
    })
    const client_id = host.publish('/app', {
      client_name: WIDE,
      logo_uri: `${host.origin}/logo.png`,
      client_uri: `${host.origin}/`,
    })
    const page = await context.newPage()
    const complaints = listComplaints(page)
    await page.goto(
      world.authorizationUrl({
        client_id,
        redirect_uri: REDIRECT,
        scope: 'openid notes:read',
        resource: NOTES,
      }),
    )
    expect(await inspect(page)).toEqual([])
    await fillSignIn(page, 'alice', PASSWORDS.alice)
    await page.getByText('Nobody here has checked this app').waitFor()
    expect(await inspect(page)).toEqual([])
    expect(await page.locator('.publisher').innerText()).toBe(new URL(host.origin).host)
    expect(await page.locator('.problem').innerText()).toContain('app.example')
    expect(host.asked('/logo.png')).toBe(0)
    expect(complaints).toEqual([])
  })
})
