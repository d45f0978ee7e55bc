import type { BrowserContextOptions, Page } from 'playwright-core'
import { expect, test } from 'vitest'
import { PASSWORDS } from '../support/server.ts'
import { startWebWorld } from '../support/web-demo.ts'
import { inspect } from './inspect.ts'
import { fillSignIn, launchChromium, listComplaints } from './world.ts'

const press = (page: Page, name: string) => page.getByRole('button', { name, exact: true }).click()

const PLACES: readonly (readonly [string, BrowserContextOptions])[] = [
  ['at a desk, by light', { viewport: { width: 1280, height: 900 }, colorScheme: 'light' }],
  ['on a phone, in the dark', { viewport: { width: 360, height: 740 }, colorScheme: 'dark' }],
]

/** Runs in the page: what is written across a life line. Those are where the arrows end. */
const LIST_CROSSED = String.raw`(() => {
  const lines = [...document.querySelectorAll('.line')].map((line) => line.getBoundingClientRect())
  const places = new Set(lines.flatMap(({ left, right }) => [Math.round(left), Math.round(right)]))
  if (places.size !== 4) return ['expected 4 life lines, found ' + places.size]
  return [...document.querySelectorAll('.said')].flatMap((said) => {
    const text = document.createRange()
    text.selectNodeContents(said)
    const { left, right } = text.getBoundingClientRect()
    return [...places].some((place) => left < place && place < right) ? [said.textContent] : []
  })
})()`

/** Without scripts, from the first page to the last. */
test.each(PLACES)('the web demo in Chromium, from sign-in to sign-out, %s', async (_, place) => {
  await using chromium = await launchChromium()
  await using world = await startWebWorld()
  await using context = await chromium.newContext({ ...place, javaScriptEnabled: false })
  const page = await context.newPage()
  const complaints = listComplaints(page)
  const lookAt = async (heading: string) => {
    await page.getByRole('heading', { name: heading }).waitFor()
    expect(await inspect(page)).toEqual([])
  }

  await page.goto(world.url)
  await lookAt('Your notes, and nobody else’s')
  await press(page, 'Sign in')
  await fillSignIn(page, 'bob', PASSWORDS.bob)
  await press(page, 'Allow')
  await lookAt('Your notes')
  await page.getByLabel('A new note').fill('A reader writes nothing.')
  await press(page, 'Add')
  await lookAt('403 The API said no')
  await page.getByRole('alert').getByText('error="insufficient_scope"').waitFor()
  await press(page, 'Refresh it now')
  await page.waitForURL(`${world.url}/#token`)
  expect(await page.getByLabel('A new note').inputValue()).toBe('')
  await press(page, 'Sign out')
  await press(page, 'Sign out')
  await page.getByText('You are signed out').waitFor()
  await lookAt('Your notes, and nobody else’s')
  expect(complaints.filter((complaint) => !complaint.includes('status of 403'))).toEqual([])
})

test.each(PLACES)('the diagram in Chromium, live in a second window, %s', async (_, place) => {
  await using chromium = await launchChromium()
  await using world = await startWebWorld()
  await using context = await chromium.newContext(place)
  const page = await context.newPage()
  await page.goto(world.url)
  const second = await context.newPage()
  const complaints = listComplaints(second)
  await second.goto(`${world.url}/flow`)
  const said = (title: string) => second.locator('.said', { hasText: title }).first()
  await said('GET /').waitFor()
  await press(page, 'Sign in')
  await fillSignIn(page, 'alice', PASSWORDS.alice)
  await press(page, 'Allow')
  await page.getByRole('heading', { name: 'Your notes' }).waitFor()
  // Nobody loads the second window again.
  await said('POST /token').waitFor()
  await said('GET /notes').waitFor()
  await page.getByLabel('A new note').fill('Seen live')
  await press(page, 'Add')
  await said('201 Created').waitFor()
  expect(await inspect(second)).toEqual([])
  expect(await second.evaluate(LIST_CROSSED)).toEqual([])
  // What came last is marked, and the page leads there.
  await second
    .getByRole('status')
    .getByText(/more arrows? at .*, marked below/)
    .waitFor()
  await second
    .getByRole('status')
    .getByRole('link', { name: /^Go to / })
    .click()
  await second.waitForURL(/#fresh$/)
  expect(await second.locator('li.fresh').first().getAttribute('id')).toBe('fresh')

  // By keyboard: an arrow takes the focus, Enter opens it.
  const summary = second.locator('details.from-server.to-client summary', { hasText: '200' }).nth(1)
  await summary.focus()
  await second.keyboard.press('Enter')
  const opened = second.locator('details[open]')
  await opened.getByText('access_token, a JWT of type at+jwt').waitFor()
  await opened.getByText('whom it is about').first().waitFor()
  expect(await inspect(second)).toEqual([])

  await press(page, 'Sign out')
  await press(page, 'Sign out')
  await page.getByText('You are signed out').waitFor()
  await said('GET /session/end').waitFor()
  expect(await second.getByText('Seen live').count()).toBe(0)
  expect(complaints).toEqual([])
})

test.each(PLACES)('the diagram in Chromium stays at a sign-out elsewhere, %s', async (_, place) => {
  await using chromium = await launchChromium()
  await using world = await startWebWorld()
  await using context = await chromium.newContext(place)
  const page = await context.newPage()
  await page.goto(world.url)
  await press(page, 'Sign in')
  await fillSignIn(page, 'alice', PASSWORDS.alice)
  await press(page, 'Allow')
  await page.getByLabel('A new note').fill('Seen live')
  await press(page, 'Add')
  const second = await context.newPage()
  const complaints = listComplaints(second)
  await second.goto(`${world.url}/flow`)
  const note = second.locator('details', { hasText: 'POST /notes' }).first()
  await note.locator('summary').click()
  await second.getByText('Seen live').first().waitFor()

  await page.goto(`${world.server.issuer}/session/end`)
  await press(page, 'Sign out')
  await second.bringToFront()
  await second
    .getByRole('status')
    .getByText(/^2 more arrows at .*, marked below/)
    .waitFor()
  const fresh = second.locator('li.fresh .said')
  expect(await fresh.allInnerTexts()).toEqual(['POST /backchannel-logout', '200 OK'])
  expect(await second.getByRole('button', { name: 'Sign out' }).count()).toBe(0)
  expect(await second.getByRole('banner').innerText()).not.toContain('Alice')
  await fresh.first().click()
  await second.getByText('Signed out by the server').waitFor()
  expect(await note.count()).toBe(1)
  expect(await second.getByText('Seen live').count()).toBe(0)
  expect(await inspect(second)).toEqual([])
  await second.goto(world.url)
  await second.getByText('The authorization server has ended your sign-in here').waitFor()
  expect(await inspect(second)).toEqual([])
  expect(complaints).toEqual([])
})

test('the web demo in Chromium shows hostile text as text, and no script runs', async () => {
  await using chromium = await launchChromium()
  await using world = await startWebWorld()
  await using context = await chromium.newContext()
  const page = await context.newPage()
  const complaints = listComplaints(page)
  await page.goto(world.url)
  await press(page, 'Sign in')
  await fillSignIn(page, 'alice', PASSWORDS.alice)
  await press(page, 'Allow')
  const hostile = '<img src="/x" onerror="alert(1)"><script>alert(2)</script>'
  await page.getByLabel('A new note').fill(hostile)
  await press(page, 'Add')
  await page.locator('.notes').getByText(hostile).waitFor()
  expect(
    await page.locator('.notes img, .notes script, .diagram img, .diagram script').count(),
  ).toBe(0)
  expect(complaints).toEqual([])
  const planted =
    "const s = document.createElement('script'); s.text = 'top.ran = 1'; document.body.append(s); top.ran"
  expect(await page.evaluate(planted)).toBeUndefined()
})
