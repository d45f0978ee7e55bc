/**
 * Takes a picture of every page, light and dark, at desktop and phone width, and writes them to
 * docs/screenshots or to the folder named as the argument. Run by hand after a change of the pages:
 *
 *     node tools/take-screenshots.ts [FOLDER]
 *
 * Wants Debian's chromium, and fonts-inter and fonts-urw-base35 for the look that most systems have.
 */
import path from 'node:path'
import type { Page } from 'playwright-core'
import { fillSignIn, launchChromium, startWorld, type World } from '../test/e2e/world.ts'
import { askForCode } from '../test/support/device.ts'
import { startDocumentHost, type DocumentHost } from '../test/support/documents.ts'
import { NOTES, PASSWORDS } from '../test/support/server.ts'
import { startWebWorld } from '../test/support/web-demo.ts'

const SIZES = {
  desktop: { width: 900, height: 720 },
  phone: { width: 360, height: 720 },
} as const

type Take = (name: string) => Promise<void>

const PHONE =
  'Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Mobile/15E148 Safari/604.1'
const REDIRECT = 'https://field-notes.example/callback'

async function main(folder: string): Promise<void> {
  await using documents = await startDocumentHost()
  await using world = await startWorld((config) => ({
    ...config,
    clientDocuments: { scopes: ['openid', 'profile', 'notes:read'] },
    clients: config.clients?.map((client) => ({
      ...client,
      grants: ['authorization_code', 'refresh_token', 'device_code'],
      redirectUris: [REDIRECT],
      frontchannelLogoutUri: 'https://field-notes.example/bye',
    })),
  }))
  await using browser = await launchChromium()
  // Where alice is signed in as well.
  await using onPhone = await browser.newContext({ userAgent: PHONE })
  const phone = await onPhone.newPage()
  await phone.goto(`${world.server.issuer}/account`)
  await fillSignIn(phone, 'alice', PASSWORDS.alice)
  for (const colorScheme of ['light', 'dark'] as const) {
    for (const [size, viewport] of Object.entries(SIZES)) {
      const suffix = size === 'desktop' ? colorScheme : `${size}-${colorScheme}`
      await using context = await browser.newContext({ colorScheme, viewport })
      const takeOf =
        (page: Page): Take =>
        async (name) => {
          const file = path.join(folder, `${name}-${suffix}.png`)
          await page.screenshot({ path: file, fullPage: true, caret: 'initial' })
        }
      const page = await context.newPage()
      await walk(page, world, takeOf(page))
      await walkDocuments(page, world, documents, takeOf(page))
      await using web = await startWebWorld()
      await using visit = await browser.newContext({ colorScheme, viewport })
      const ofWeb = await visit.newPage()
      await walkDiagram(ofWeb, web.url, takeOf(ofWeb))
    }
  }
}

/** The web demo's drawing of the flow, after somebody has signed in there. */
async function walkDiagram(page: Page, url: string, take: Take): Promise<void> {
  await page.goto(url)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await fillSignIn(page, 'alice', PASSWORDS.alice)
  await page.getByRole('button', { name: 'Allow' }).click()
  await page.getByLabel('A new note').fill('Water the plants')
  await page.getByRole('button', { name: 'Add' }).click()
  await page.getByText('Water the plants').first().waitFor()
  await take('web-notes')
  await page.goto(`${url}/flow`)
  const exchange = page.locator('details', { hasText: 'POST /token' }).first()
  await exchange.locator('summary').click()
  // What stays at the top of the window would be in the middle of the picture.
  await page.evaluate('scrollTo(0, 0)')
  await take('web-flow')
}

/** Through every page once, as a person would come by them. */
async function walk(page: Page, world: World, take: Take): Promise<void> {
  await page.goto(world.server.issuer)
  await take('home')
  await page.goto(world.authorizationUrl())
  await take('error')
  await page.goto(world.authorizationUrl({ redirect_uri: REDIRECT }))
  await take('sign-in')
  await fillSignIn(page, 'alice', 'not the password')
  await take('sign-in-error')
  await fillSignIn(page, 'alice', PASSWORDS.alice)
  await take('consent')
  await page.goto(world.authorizationUrl({ redirect_uri: REDIRECT, response_mode: 'form_post' }))
  // The client answers nothing, so that the page stays.
  await page.route(REDIRECT, (route) => route.fulfill({ status: 204 }))
  await page.getByRole('button', { name: 'Allow' }).click({ noWaitAfter: true })
  await page.getByRole('button', { name: 'Continue' }).waitFor()
  await take('form-post')
  await page.goto(world.authorizationUrl({ redirect_uri: REDIRECT, prompt: 'consent' }))
  await page.getByRole('link', { name: 'Use another account' }).click()
  await take('other-account')
  await page.goto(`${world.server.issuer}/account/api-keys/new`)
  await take('choose-resource')
  await page.getByRole('link', { name: 'Notes' }).click()
  await page.getByLabel('What is it for?').fill('Backup of my notes')
  await page.getByLabel('Read your notes').check()
  await take('new-api-key')
  await page.getByRole('button', { name: 'Make the key' }).click()
  await take('api-key-made')
  await page.getByRole('link', { name: 'Back to your account' }).click()
  await take('account')
  await page.getByRole('button', { name: 'Revoke' }).click()
  await walkDevice(page, world, take)
  await page.goto(`${world.server.issuer}/interaction/${'x'.repeat(43)}`)
  await take('over')
  await page.goto(world.signOutUrl({ post_logout_redirect_uri: '' }))
  await take('sign-out')
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByRole('heading', { name: 'Signing out' }).waitFor()
  await take('telling-apps')
  await page.getByRole('link', { name: 'Go on' }).click()
  await take('signed-out')
}

/** Consent for apps that are described on a host of their own. In the pictures it has a name. */
async function walkDocuments(
  page: Page,
  world: World,
  documents: DocumentHost,
  take: Take,
): Promise<void> {
  const scope = 'openid profile notes:read'
  const pages = [
    ['consent-document', `${documents.origin}/callback`],
    ['consent-document-elsewhere', REDIRECT],
  ] as const
  for (const [name, redirect_uri] of pages) {
    const client_id = documents.publish(`/${name}`, {
      client_name: 'Trail Journal',
      application_type: 'web',
      redirect_uris: [redirect_uri],
      scope,
    })
    await page.goto(world.authorizationUrl({ client_id, redirect_uri, scope, resource: NOTES }))
    if (redirect_uri !== REDIRECT) await fillSignIn(page, 'alice', PASSWORDS.alice)
    await page.getByRole('button', { name: 'Allow' }).waitFor()
    const { host } = new URL(documents.origin)
    await page.evaluate(
      `document.body.innerHTML = document.body.innerHTML.replaceAll(${JSON.stringify(host)}, 'trails.example')`,
    )
    await take(name)
  }
}

async function walkDevice(page: Page, { server }: World, take: Take): Promise<void> {
  const form = { client_id: 'field-notes', scope: 'openid notes:read', resource: NOTES }
  const { body } = await askForCode(server.issuer, form, {})
  await page.goto(`${server.issuer}/device`)
  await take('device-code')
  await page.getByLabel('Code').fill('BCDF-GHJK')
  await page.getByRole('button', { name: 'Continue' }).click()
  await take('device-code-error')
  await page.getByLabel('Code').fill(body.user_code)
  await page.getByRole('button', { name: 'Continue' }).click()
  await take('device-confirm')
  await page.getByRole('button', { name: 'Yes, go on' }).click()
  const allow = page.getByRole('button', { name: 'Allow' })
  await allow.or(page.getByText('connected')).first().waitFor()
  if (await allow.isVisible()) await allow.click()
  await page.getByText('connected').first().waitFor()
  await take('device-end')
}

await main(process.argv[2] ?? path.join(import.meta.dirname, '../docs/screenshots'))
