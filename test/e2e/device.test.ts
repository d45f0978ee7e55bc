import type { BrowserContextOptions, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { askForCode } from '../support/device.ts'
import { requestToken } from '../support/flow.ts'
import { PASSWORDS } from '../support/server.ts'
import { inspect } from './inspect.ts'
import {
  CLIENT_NAME,
  fillSignIn,
  launchChromium,
  listComplaints,
  startWorld,
  type World,
} from './world.ts'

let chromium: Awaited<ReturnType<typeof launchChromium>>

beforeAll(async () => {
  chromium = await launchChromium()
})

afterAll(async () => {
  await chromium.close()
})

function withDevice(config: ConfigInput): ConfigInput {
  const clients = config.clients?.map((client) => ({
    ...client,
    grants: ['authorization_code', 'device_code'] satisfies typeof client.grants,
  }))
  return { ...config, ...(clients ? { clients } : {}) }
}

async function visit(options: BrowserContextOptions = {}) {
  const context = await chromium.newContext(options)
  const page = await context.newPage()
  const complaints = listComplaints(page)
  return { page, complaints, [Symbol.asyncDispose]: () => context.close() }
}

async function ask({ server }: World) {
  const request = { client_id: 'field-notes', scope: 'openid notes:read notes:write' }
  return (await askForCode(server.issuer, request, {})).body
}

async function poll({ server }: World, deviceCode: string) {
  const { status, body } = await requestToken(
    server.issuer,
    {
      grant_type: 'urn:ietf:params:oauth:grant-type:device_code',
      device_code: deviceCode,
      client_id: 'field-notes',
    },
    {},
  )
  return body.error ?? status
}

async function type(page: Page, { server }: World, code: string): Promise<void> {
  await page.goto(`${server.issuer}/device`)
  await page.getByLabel('Code').fill(code)
  await page.getByRole('button', { name: 'Continue' }).click()
}

describe('a person with a device, in Chromium', () => {
  test.each([
    ['with JavaScript', true],
    ['without', false],
  ])('types its code by keyboard and connects it, %s', async (_how, javaScriptEnabled) => {
    await using world = await startWorld(withDevice)
    await using visitor = await visit({ javaScriptEnabled })
    const { page, complaints } = visitor
    const { user_code, device_code } = await ask(world)
    await page.goto(`${world.server.issuer}/device`)
    await page.locator('input:focus').waitFor()
    await page.keyboard.type(user_code.toLowerCase().replace('-', ' '))
    await page.keyboard.press('Enter')
    await page.getByRole('heading', { name: 'Does your device show this code?' }).waitFor()
    await page.getByText(user_code, { exact: true }).waitFor()
    await page.getByText(CLIENT_NAME).waitFor()
    await page.getByRole('button', { name: 'Yes, go on' }).click()
    await fillSignIn(page, 'alice', PASSWORDS.alice)
    await page.getByRole('button', { name: 'Allow' }).click()
    await page.getByRole('heading', { name: 'Your device is connected' }).waitFor()
    expect(await poll(world, device_code)).toBe(200)
    expect(complaints).toEqual([])
  })

  test('comes by a QR code and cancels', async () => {
    await using world = await startWorld(withDevice)
    await using visitor = await visit()
    const { page, complaints } = visitor
    const { verification_uri_complete, device_code } = await ask(world)
    await page.goto(verification_uri_complete)
    await page.getByRole('button', { name: 'Cancel' }).click()
    await page.getByRole('heading', { name: 'You have cancelled' }).waitFor()
    expect(await poll(world, device_code)).toBe('access_denied')
    expect(complaints).toEqual([])
  })
})

const WIDE = 'W'.repeat(60)

describe.each(['light', 'dark'] as const)('the pages of a device, %s and narrow', (colorScheme) => {
  test('fit, are labelled, and have the contrast that they need', async () => {
    await using world = await startWorld((config) => {
      const { clients, ...rest } = withDevice(config)
      const named = (clients ?? []).map((client) => ({ ...client, name: WIDE }))
      return { ...rest, clients: named }
    })
    await using visitor = await visit({ colorScheme, viewport: { width: 360, height: 640 } })
    const { page } = visitor
    const look = async (heading: string) => {
      await page.getByRole('heading', { name: heading }).waitFor()
      expect(await inspect(page)).toEqual([])
    }
    const { user_code } = await ask(world)
    await page.goto(`${world.server.issuer}/device`)
    await look('Connect a device')
    await type(page, world, 'BCDF-GHJK')
    await page.getByRole('alert').waitFor()
    expect(await page.title()).toContain('Error: ')
    await look('Connect a device')
    await type(page, world, user_code)
    await look('Does your device show this code?')
    await page.getByRole('button', { name: 'Yes, go on' }).click()
    await look('Sign in')
    await fillSignIn(page, 'alice', PASSWORDS.alice)
    await look('Allow')
    await page.getByRole('button', { name: 'Allow' }).click()
    await look('Your device is connected')
    const { verification_uri_complete } = await ask(world)
    await page.goto(verification_uri_complete)
    await page.getByRole('button', { name: 'Cancel' }).click()
    await look('You have cancelled')
  })
})
