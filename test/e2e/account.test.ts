import type { Browser, BrowserContextOptions } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
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

describe('the page of an account, in Chromium', () => {
  test.each([true, false])(
    'makes a key and revokes it (scripts: %s)',
    async (javaScriptEnabled) => {
      await using world = await startWorld()
      await using visitor = await visit({ javaScriptEnabled })
      const { page, complaints } = visitor
      await page.goto(world.server.issuer)
      await page.getByRole('link', { name: 'Your account' }).click()
      await fillSignIn(page, 'alice', PASSWORDS.alice)
      await page.getByText('You have none.').waitFor()
      await page.getByRole('link', { name: 'Make an API key' }).click()
      await page.getByRole('link', { name: 'Notes' }).click()
      await page.getByLabel('What is it for?').fill('Backup of my notes')
      await page.getByLabel('Read your notes').check()
      await page.getByLabel('It ends').selectOption('In a year')
      await page.getByRole('button', { name: 'Make the key' }).click()
      const field = page.getByLabel('Backup of my notes')
      expect(await field.inputValue()).toMatch(/^prk_[0-9A-Za-z]{49}$/)
      expect(await field.isEditable()).toBe(false)
      await page.getByRole('link', { name: 'Back to your account' }).click()
      await page.getByRole('heading', { name: 'Backup of my notes' }).waitFor()
      await page.getByRole('button', { name: 'Revoke Backup of my notes' }).click()
      await page.getByText('You have none.').waitFor()
      await page.getByRole('link', { name: 'Sign out' }).click()
      await page.getByRole('button', { name: 'Sign out' }).click()
      await page.goto(`${world.server.issuer}/account`)
      await page.getByRole('heading', { name: 'Sign in' }).waitFor()
      expect(complaints).toEqual([])
    },
  )

  test('shows a key once: neither going back nor loading again brings it back', async () => {
    await using world = await startWorld()
    await using visitor = await visit({})
    const { page } = visitor
    const { issuer } = world.server
    await page.goto(`${issuer}/account/api-keys/new`)
    await fillSignIn(page, 'alice', PASSWORDS.alice)
    await page.getByRole('link', { name: 'Notes' }).click()
    await page.getByLabel('What is it for?').fill('Backup')
    await page.getByLabel('Read your notes').check()
    await page.getByRole('button', { name: 'Make the key' }).click()
    const key = await page.getByLabel('Backup').inputValue()
    await page.reload()
    await page.getByText('That key was made already').waitFor()
    expect(await page.content()).not.toContain(key)
    await page.goto(`${issuer}/account`)
    await expect(page.goBack()).rejects.toThrow('ERR_CACHE_MISS')
  })
})

const WIDE = 'W'.repeat(60)
const IPHONE =
  'Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Mobile/15E148 Safari/604.1'

describe('a person who looks where they are signed in, in Chromium', () => {
  test('sees another browser, and signs out of it there', async () => {
    await using world = await startWorld()
    await using first = await visit({ userAgent: IPHONE })
    await first.page.goto(`${world.server.issuer}/account`)
    await fillSignIn(first.page, 'alice', PASSWORDS.alice)
    await using second = await visit({ javaScriptEnabled: false })
    const { page, complaints } = second
    await page.goto(`${world.server.issuer}/account`)
    await fillSignIn(page, 'alice', PASSWORDS.alice)
    const here = page.getByRole('heading', { name: 'Chrome on Linux this browser' })
    await here.waitFor()
    await page.getByRole('button', { name: 'Sign out of Safari on an iPhone, 127.0.0.1' }).click()
    const there = page.getByRole('heading', { name: 'Safari on an iPhone' })
    await there.waitFor({ state: 'detached' })
    const done = page.getByRole('status')
    expect(await done.innerText()).toBe('You are signed out of that browser.')
    expect(await page.title()).toContain('You are signed out of that browser. Your account')
    await first.page.reload()
    await first.page.getByRole('heading', { name: 'Sign in' }).waitFor()
    await fillSignIn(first.page, 'alice', PASSWORDS.alice)
    await page.reload()
    await page.getByText('API keys go on').waitFor()
    await page.getByRole('button', { name: 'Sign out everywhere else' }).click()
    await there.waitFor({ state: 'detached' })
    expect(await done.innerText()).toBe('You are signed out everywhere else.')
    await first.page.reload()
    await first.page.getByRole('heading', { name: 'Sign in' }).waitFor()
    await page.getByRole('button', { name: 'Sign out of this browser' }).click()
    await page.getByRole('heading', { name: 'Sign out?' }).waitFor()
    expect(complaints).toEqual([])
  })
})

describe.each(['light', 'dark'] as const)('its pages, %s and 360 pixels wide', (colorScheme) => {
  test('fit, are labelled, and have the contrast that they need', async () => {
    await using world = await startWorld((config) => ({
      ...config,
      clients: config.clients?.map((client) => ({ ...client, name: WIDE })),
      users: config.users?.map((user) => ({ ...user, profile: { name: WIDE } })),
      resources: config.resources?.map((resource) => ({
        ...resource,
        name: WIDE,
        scopes: Object.fromEntries(
          Object.keys(resource.scopes ?? {}).map((scope) => [scope, { description: WIDE }]),
        ),
      })),
    }))
    await using visitor = await visit({ colorScheme, viewport: { width: 360, height: 640 } })
    const { page } = visitor
    const seen: string[] = []
    const look = async () => {
      seen.push(await page.title())
      expect(await inspect(page)).toEqual([])
    }
    await using other = await visit({ userAgent: IPHONE })
    await other.page.goto(`${world.server.issuer}/account`)
    await fillSignIn(other.page, 'alice', PASSWORDS.alice)
    await page.goto(world.authorizationUrl())
    await fillSignIn(page, 'alice', PASSWORDS.alice)
    await page.getByRole('button', { name: 'Allow' }).click()
    await page.waitForURL(`${world.client}/**`)
    await page.goto(`${world.server.issuer}/account/api-keys/new`)
    await look()
    await page.getByRole('link', { name: WIDE }).first().click()
    await look()
    await page.getByLabel('What is it for?').fill(WIDE)
    await page.getByRole('button', { name: 'Make the key' }).click()
    await page.getByRole('alert').waitFor()
    await look()
    await page.getByRole('checkbox').first().check()
    await page.getByRole('button', { name: 'Make the key' }).click()
    await page.getByRole('heading', { name: 'Your new API key' }).waitFor()
    await look()
    await page.getByRole('link', { name: 'Back to your account' }).click()
    await page.getByRole('button', { name: `Remove access of ${WIDE}` }).waitFor()
    await page.getByRole('button', { name: 'Sign out everywhere else' }).waitFor()
    await look()
    await page.getByRole('button', { name: `Remove access of ${WIDE}` }).click()
    await page.getByText('The access of that app is removed.').waitFor()
    await look()
    expect(seen).toHaveLength(6)
  })
})
