import { expect, test } from 'vitest'
import { PASSWORDS } from '../support/server.ts'
import { fillSignIn, launchChromium, startWorld } from './world.ts'

test('a pop-up that comes back to the app can still speak to the window that opened it', async () => {
  await using world = await startWorld()
  await using browser = await launchChromium()
  await using context = await browser.newContext()
  const page = await context.newPage()
  await page.goto(world.client)
  const opened = page.waitForEvent('popup')
  await page.evaluate(`window.open(${JSON.stringify(world.authorizationUrl())}) !== null`)
  const popup = await opened
  await fillSignIn(popup, 'alice', PASSWORDS.alice)
  await popup.getByRole('button', { name: 'Allow' }).click()
  await popup.waitForURL((url) => url.searchParams.has('code'))
  expect(await popup.evaluate('window.opener !== null')).toBe(true)
})
