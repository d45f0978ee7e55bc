import type { BrowserContext, BrowserContextOptions, Page, Request } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { PASSWORDS } from '../support/server.ts'
import { inspect } from './inspect.ts'
import { CLIENT_NAME, fillSignIn, launchChromium, listComplaints, startWorld } from './world.ts'

type Chromium = Awaited<ReturnType<typeof launchChromium>>

let chromium: Chromium

beforeAll(async () => {
  chromium = await launchChromium()
})

afterAll(async () => {
  await chromium.close()
})

interface Visit extends AsyncDisposable {
  readonly page: Page
  readonly context: BrowserContext
  readonly complaints: readonly string[]
}

async function visit(options: BrowserContextOptions = {}): Promise<Visit> {
  const context = await chromium.newContext(options)
  const page = await context.newPage()
  const complaints = listComplaints(page)
  return { page, context, complaints, [Symbol.asyncDispose]: () => context.close() }
}

/** What the client was answered, once the browser is back at it. */
async function answerAtClient(page: Page, client: string): Promise<Record<string, string>> {
  await page.waitForURL(`${client}/**`)
  return Object.fromEntries(new URL(page.url()).searchParams)
}

const focused = (page: Page) =>
  page.evaluate<string>('document.activeElement.id || document.activeElement.textContent.trim()')

/** Presses Tab until the focus is on what is called `name`, and answers what it passed. */
async function tabTo(page: Page, name: string): Promise<string[]> {
  const passed: string[] = []
  for (let count = 0; count < 10; count += 1) {
    await page.keyboard.press('Tab')
    const now = await focused(page)
    if (now === name) return passed
    passed.push(now)
  }
  throw new Error(`Tab does not lead to ${name}, only to ${passed.join(', ')}`)
}

describe('a person in Chromium', () => {
  test('signs in, consents and signs out', async () => {
    await using world = await startWorld()
    await using visitor = await visit()
    const { page, complaints } = visitor
    await page.goto(world.authorizationUrl())
    await fillSignIn(page, 'alice', PASSWORDS.alice)
    await page.getByRole('heading', { name: `Allow ${CLIENT_NAME} access?` }).waitFor()
    await page.getByRole('button', { name: 'Allow' }).click()
    const answer = await answerAtClient(page, world.client)
    expect(answer).toEqual({
      code: expect.any(String),
      state: 'a state',
      iss: world.server.issuer,
    })
    await page.goto(world.signOutUrl())
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.waitForURL(`${world.client}/bye`)
    await page.goto(world.authorizationUrl())
    await page.getByRole('heading', { name: 'Sign in' }).waitFor()
    expect(complaints).toEqual([])
  })

  test('chooses the account that is there, or another', async () => {
    await using world = await startWorld()
    await using visitor = await visit()
    const { page, complaints } = visitor
    await page.goto(world.authorizationUrl())
    await fillSignIn(page, 'alice', PASSWORDS.alice)
    await page.getByRole('button', { name: 'Allow' }).click()
    await answerAtClient(page, world.client)
    const choice = world.authorizationUrl({ prompt: 'select_account' })
    await page.goto(choice)
    await page.getByRole('button', { name: 'Go on as Alice Adams (alice)' }).click()
    await page.getByRole('button', { name: 'Allow' }).click()
    expect(await answerAtClient(page, world.client)).toHaveProperty('code')
    await page.goto(choice)
    await page.getByRole('link', { name: 'Use another account' }).click()
    await fillSignIn(page, 'bob', PASSWORDS.bob)
    await page.getByText('bob', { exact: true }).waitFor()
    await page.getByRole('button', { name: 'Allow' }).click()
    expect(await answerAtClient(page, world.client)).toHaveProperty('code')
    expect(complaints).toEqual([])
  })

  test.each([true, false])(
    'is sent back by a form, with scripts: %s',
    async (javaScriptEnabled) => {
      await using world = await startWorld()
      await using visitor = await visit({ javaScriptEnabled })
      const { page, complaints } = visitor
      await page.goto(world.authorizationUrl({ response_mode: 'form_post' }))
      await fillSignIn(page, 'alice', PASSWORDS.alice)
      const posted = page.waitForRequest(`${world.client}/callback`)
      await page.getByRole('button', { name: 'Allow' }).click()
      if (!javaScriptEnabled) {
        await page.getByRole('button', { name: `Continue to ${CLIENT_NAME}` }).click()
      }
      const request = await posted
      const fields = new URLSearchParams(request.postData() ?? '')
      expect([request.method(), [...fields.keys()]]).toEqual(['POST', ['code', 'state', 'iss']])
      await page.waitForURL(`${world.client}/callback`)
      expect(complaints).toEqual([])
    },
  )

  test('does all of it by keyboard, in the order of the page', async () => {
    await using world = await startWorld()
    await using visitor = await visit()
    const { page, complaints } = visitor
    await page.goto(world.authorizationUrl())
    expect(await focused(page)).toBe('username')
    await page.keyboard.type('alice')
    expect(await tabTo(page, 'password')).toEqual([])
    await page.keyboard.type('wrong')
    await page.keyboard.press('Enter')
    await page.getByRole('alert').waitFor()
    expect(await page.title()).toContain('Error: ')
    expect(await page.getByLabel('Username').inputValue()).toBe('alice')
    expect(await focused(page)).toBe('password')
    await page.keyboard.type(PASSWORDS.alice)
    expect(await tabTo(page, 'Sign in')).toEqual([])
    await page.keyboard.press('Enter')
    await page.getByRole('button', { name: 'Allow' }).waitFor()
    expect(await tabTo(page, 'Cancel')).toEqual(['Use another account', 'Allow'])
    await page.keyboard.press('Shift+Tab')
    await page.keyboard.press('Space')
    expect(await answerAtClient(page, world.client)).toHaveProperty('code')
    await page.goto(world.signOutUrl())
    expect(await tabTo(page, 'Sign out')).toEqual([])
    await page.keyboard.press('Enter')
    await page.waitForURL(`${world.client}/bye`)
    expect(complaints.filter((text) => !text.includes('422'))).toEqual([])
  })

  test('needs no JavaScript, not even to become somebody else', async () => {
    await using world = await startWorld()
    await using visitor = await visit({ javaScriptEnabled: false })
    const { page, complaints } = visitor
    await page.goto(world.authorizationUrl())
    await fillSignIn(page, 'alice', PASSWORDS.alice)
    await page.getByRole('link', { name: 'Use another account' }).click()
    await fillSignIn(page, 'bob', PASSWORDS.bob)
    await page.getByRole('button', { name: 'Continue' }).click()
    await page.getByText('bob', { exact: true }).waitFor()
    await page.getByRole('button', { name: 'Allow' }).click()
    expect(await answerAtClient(page, world.client)).toHaveProperty('code')
    await page.goto(world.signOutUrl({ post_logout_redirect_uri: '' }))
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.getByRole('heading', { name: 'You are signed out' }).waitFor()
    expect(complaints).toEqual([])
  })

  test('becomes somebody else with JavaScript as well', async () => {
    await using world = await startWorld()
    await using visitor = await visit()
    const { page, complaints } = visitor
    await page.goto(world.authorizationUrl())
    await fillSignIn(page, 'alice', PASSWORDS.alice)
    await page.getByRole('link', { name: 'Use another account' }).click()
    await fillSignIn(page, 'bob', PASSWORDS.bob)
    await page.getByText('bob', { exact: true }).waitFor()
    expect(complaints).toEqual([])
  })

  test.each(['sign-in', 'consent'])('cancels at %s and is back at the client', async (where) => {
    await using world = await startWorld()
    await using visitor = await visit()
    const { page, complaints } = visitor
    await page.goto(world.authorizationUrl())
    if (where === 'consent') {
      await fillSignIn(page, 'alice', PASSWORDS.alice)
      await page.getByRole('button', { name: 'Allow' }).waitFor()
    }
    await page.getByRole('button', { name: 'Cancel' }).click()
    expect(await answerAtClient(page, world.client)).toMatchObject({
      error: 'access_denied',
      state: 'a state',
      iss: world.server.issuer,
    })
    expect(complaints).toEqual([])
  })
})

describe('Chromium', () => {
  test('says where each form comes from', async () => {
    await using world = await startWorld()
    await using visitor = await visit()
    const { page } = visitor
    const sent: Request[] = []
    page.on('request', (request) => {
      if (request.method() === 'POST') sent.push(request)
    })
    await page.goto(world.authorizationUrl())
    const { issuer } = world.server
    const signInUrl = page.url()
    await fillSignIn(page, 'alice', PASSWORDS.alice)
    await page.getByRole('button', { name: 'Allow' }).waitFor()
    const [headers, ...others] = await Promise.all(sent.map((request) => request.allHeaders()))
    expect(others).toEqual([])
    expect(headers).toMatchObject({
      origin: issuer,
      'sec-fetch-site': 'same-origin',
      referer: signInUrl,
    })
  })

  test('does not sign a victim in as an attacker whose page posts the form', async () => {
    await using world = await startWorld()
    await using attacker = await visit()
    await attacker.page.goto(world.authorizationUrl())
    const action = `${attacker.page.url()}/sign-in`
    const csrf = await attacker.page.locator('input[name=csrf]').first().inputValue()
    await using victim = await visit()
    const { page, context } = victim
    await page.goto(world.client)
    const planted = (await attacker.context.cookies(action)).map((cookie) => ({
      ...cookie,
      sameSite: 'None' as const,
      secure: true,
    }))
    const answers: number[] = []
    page.on('response', (response) => {
      if (response.url() === action) answers.push(response.status())
    })
    const fields = Object.entries({ csrf, username: 'alice', password: PASSWORDS.alice })
    const inputs = fields.map(([name, value]) => `<input name="${name}" value="${value}">`)
    const form = `<form method="post" action="${action}">${inputs.join('')}<button>go</button></form>`
    await page.setContent(form)
    await page.getByRole('button').click()
    await page.getByRole('heading', { name: 'This sign-in is over' }).waitFor()
    // Even with the attacker's cookies in the victim's browser.
    await context.addCookies(planted)
    await page.goto(world.client)
    await page.setContent(form)
    await page.getByRole('button').click()
    await page.getByRole('alert').waitFor()
    expect(answers).toEqual([410, 403])
    expect(world.server.logged()).not.toContain('"event":"signed_in"')
  })
})

const WIDE = 'W'.repeat(60)

describe.each(['light', 'dark'] as const)('every page, %s and 360 pixels wide', (colorScheme) => {
  test('fits, is labelled, and has the contrast that it needs', async () => {
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
    const viewport = { width: 360, height: 640 }
    await using visitor = await visit({ colorScheme, viewport })
    const { page } = visitor
    const seen: string[] = []
    const look = async () => {
      seen.push(await page.title())
      expect(await inspect(page)).toEqual([])
    }
    await page.goto(world.server.issuer)
    await look()
    const scope = 'openid notes:read notes:write notes:publish calendar:read'
    const claims = '{"id_token":{"name":null,"updated_at":null,"preferred_username":null}}'
    await page.goto(world.authorizationUrl({ scope, claims }))
    await look()
    await fillSignIn(page, 'alice', 'wrong')
    await page.getByRole('alert').waitFor()
    await look()
    await fillSignIn(page, 'alice', PASSWORDS.alice)
    await page.getByRole('button', { name: 'Allow' }).waitFor()
    await page.getByText('See when your profile was last changed').waitFor()
    await look()
    const consent = page.url()
    await page.getByRole('link', { name: 'Use another account' }).click()
    await look()
    await page.goBack()
    await page.getByRole('button', { name: 'Allow' }).click()
    await page.goto(consent)
    await look()
    await page.goto(world.authorizationUrl({ prompt: 'select_account' }))
    await look()
    await page.goto(world.signOutUrl({ post_logout_redirect_uri: '' }))
    await look()
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.getByRole('heading', { name: 'You are signed out' }).waitFor()
    await look()
    await page.goto(world.authorizationUrl({ redirect_uri: 'https://elsewhere.example/' }))
    await look()
    expect(new Set(seen).size).toBe(10)
  })
})
