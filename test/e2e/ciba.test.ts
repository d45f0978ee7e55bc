import type { Browser, BrowserContextOptions } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ask, pollRequest, withDesks } from '../support/ciba.ts'
import { PASSWORDS } from '../support/server.ts'
import { inspect } from './inspect.ts'
import { fillSignIn, launchChromium, listComplaints, startWorld } from './world.ts'

let chromium: Browser
beforeAll(async () => {
  chromium = await launchChromium()
})
afterAll(async () => {
  await chromium.close()
})

async function visit(options: BrowserContextOptions) {
  const context = await chromium.newContext(options)
  const page = await context.newPage()
  const complaints = listComplaints(page)
  return { page, complaints, [Symbol.asyncDispose]: () => context.close() }
}

describe('requests of applications elsewhere, in Chromium', () => {
  test.each([true, false])(
    'are found at the account, approved and refused (scripts: %s)',
    async (javaScriptEnabled) => {
      await using world = await startWorld(withDesks())
      await using visitor = await visit({ javaScriptEnabled })
      const { page, complaints } = visitor
      const { issuer } = world.server
      const first = await ask(issuer, { binding_message: 'blue kite 42' })
      const second = await ask(issuer, { binding_message: 'red door 7' })
      await page.goto(`${issuer}/account`)
      await fillSignIn(page, 'alice', PASSWORDS.alice)
      await page.getByText('2 applications wait for your answer.').waitFor()
      await page.getByRole('link', { name: 'See what is asked' }).click()
      await page.getByText('blue kite 42').waitFor()
      // The newest comes first.
      await page.getByRole('button', { name: 'Refuse The Service Desk' }).first().click()
      await page.getByRole('heading', { name: 'You have refused' }).waitFor()
      await page.getByRole('link', { name: 'Another request waits for your answer' }).click()
      await page.getByRole('button', { name: 'Approve The Service Desk' }).click()
      await page.getByRole('heading', { name: 'You have approved' }).waitFor()
      expect((await pollRequest(issuer, first.body.auth_req_id)).status).toBe(200)
      const refused = await pollRequest(issuer, second.body.auth_req_id)
      expect(refused.body.error).toBe('access_denied')
      expect(complaints).toEqual([])
    },
  )
})

const WIDE = 'W'.repeat(60)

describe.each(['light', 'dark'] as const)('its pages, %s and 360 pixels wide', (colorScheme) => {
  test('fit, are labelled, and have the contrast that they need', async () => {
    await using world = await startWorld((config) => ({
      ...withDesks([], { name: WIDE })(config),
      users: config.users?.map((user) => ({ ...user, profile: { name: WIDE } })),
    }))
    await using visitor = await visit({ colorScheme, viewport: { width: 360, height: 640 } })
    const { page } = visitor
    const seen: string[] = []
    const look = async (at = page) => {
      seen.push(await at.title())
      expect(await inspect(at)).toEqual([])
    }
    const scope = 'openid notes:read notes:write'
    await ask(world.server.issuer, { login_hint: 'bob', scope, binding_message: WIDE })
    await ask(world.server.issuer, { login_hint: 'bob' })
    await page.goto(`${world.server.issuer}/account`)
    await fillSignIn(page, 'bob', PASSWORDS.bob)
    await look()
    await page.getByRole('link', { name: 'See what is asked' }).click()
    await page.getByText('Not included').waitFor()
    await look()
    // Another tab has what this one is about to answer.
    const late = await page.context().newPage()
    await late.goto(page.url())
    await page
      .getByRole('button', { name: /^Approve/ })
      .first()
      .click()
    await look()
    await late
      .getByRole('button', { name: /^Approve/ })
      .first()
      .click()
    await late.getByRole('alert').waitFor()
    await look(late)
    await late.getByRole('button', { name: /^Refuse/ }).click()
    await look(late)
    await page.goto(`${world.server.issuer}/account/requests`)
    await look()
    expect(seen).toEqual([
      'Your account · Portreeve',
      'Do you approve? · Portreeve',
      'You have approved · Portreeve',
      'Error: Do you approve? · Portreeve',
      'You have refused · Portreeve',
      'Nothing waits for your answer · Portreeve',
    ])
  })
})
