import { describe, expect, test } from 'vitest'
import { createWebDemo } from '../../client-demo/web/app.ts'
import { systemClock } from '../../client-demo/web/clock.ts'
import { createStrangersTraces, createTrace } from '../../client-demo/web/trace.ts'
import type { Page } from '../support/browser.ts'
import { recordTokens } from '../support/recorded-tokens.ts'
import { close, createVisitor, listen, portOf, startWebWorld } from '../support/web-demo.ts'

const HOUR = 3_600_000

/** What the arrows of a page say, such as `client to server: POST /token`. */
function listArrows({ text }: Page): string[] {
  return [
    ...text.matchAll(/<details class="from-(\w+) to-(\w+)[\s\S]*?class="said">([^<]*)</g),
  ].map(([, from, to, said]) => `${from} to ${to}: ${said}`)
}

const placeOf = ({ text }: Page) => ({
  trace: /data-trace="([^"]*)"/.exec(text)?.[1] ?? '',
  after: /data-last="(\d+)"/.exec(text)?.[1] ?? '',
})

const ask = (page: Page) => `/flow/arrows?${new URLSearchParams(placeOf(page)).toString()}`

describe('the diagram', () => {
  test('draws a sign-in between the four, in its order', async () => {
    await using world = await startWebWorld()
    const alice = createVisitor(world)
    await alice.signIn('alice')
    const page = await alice.visit('/flow')
    expect(listArrows(page)).toEqual([
      'browser to client: GET /',
      'client to browser: 200 OK',
      'browser to client: POST /sign-in',
      'client to server: GET /.well-known/openid-configuration',
      'server to client: 200 OK',
      'client to browser: 303 See Other',
      'browser to server: GET /auth',
      'server to browser: 303 See Other',
      'browser to client: GET /callback',
      'client to server: POST /token',
      'server to client: 200 OK',
      'client to server: GET /jwks',
      'server to client: 200 OK',
      'client to server: GET /userinfo',
      'server to client: 200 OK',
      'client to browser: 303 See Other',
      'browser to client: GET /',
      'client to api: GET /notes',
      'api to client: 200 OK',
      'client to browser: 200 OK',
    ])
    expect(page.text).toContain('whom it is about')
    expect(page.text).toContain('Basic (notes-web:…)')
  })

  test('stands on the page with the notes as well, that page’s own arrows included', async () => {
    await using world = await startWebWorld()
    const page = await createVisitor(world).signIn('alice')
    expect(listArrows(page).slice(-4)).toEqual([
      'browser to client: GET /',
      'client to api: GET /notes',
      'api to client: 200 OK',
      'client to browser: 200 OK',
    ])
  })

  test('holds no token, no code, no secret and no cookie', async () => {
    using tokens = recordTokens()
    await using world = await startWebWorld()
    const alice = createVisitor(world)
    const answer = new URL(await alice.leaveToSignIn('alice'))
    await alice.visit(answer.href)
    const { text } = await alice.visit('/flow')
    expect(tokens.seen.length).toBeGreaterThan(0)
    expect(tokens.findLeaks()).toEqual([])
    for (const secret of [
      answer.searchParams.get('code'),
      answer.searchParams.get('state'),
      ...alice.web.cookies().map(({ value }) => value),
    ]) {
      expect(text).not.toContain(secret)
    }
    const withoutForms = text.replaceAll(/<input[^>]*>/g, '')
    const form = /name="form" value="([^"]+)"/.exec(text)?.[1] ?? ''
    expect(withoutForms).not.toContain(form)
  })

  test('holds nothing of a short one either', async () => {
    await using world = await startWebWorld()
    const stranger = createVisitor(world)
    await stranger.visit('/callback?code=AB1CD&access_token=AB1CD&state=some')
    await stranger.visit('/?token=AB1CD&state=some&error=access_denied')
    const { text } = await stranger.visit('/flow')
    expect(text).toContain('(hidden)')
    expect(text).toContain('access_denied')
    expect(text).not.toContain('AB1CD')
  })

  test('says what came since, and nothing where nothing came', async () => {
    await using world = await startWebWorld()
    const alice = createVisitor(world)
    const home = await alice.signIn('alice')
    const before = await alice.visit('/flow')
    const none = await alice.visit(ask(before))
    expect([none.status, none.text]).toEqual([204, ''])
    await alice.submit(home, '/notes', { text: 'Oil the hinges' })
    const since = await alice.visit(ask(before))
    expect(listArrows(since).slice(0, 3)).toEqual([
      'browser to client: POST /notes',
      'client to api: POST /notes',
      'api to client: 201 Created',
    ])
    expect(since.text).toContain('Oil the hinges')
    expect(Number(placeOf(since).after)).toBeGreaterThan(Number(placeOf(before).after))
  })

  test('is drawn for one browser, and shows another one nothing', async () => {
    await using world = await startWebWorld()
    const [alice, mallory] = [createVisitor(world), createVisitor(world)]
    const home = await alice.signIn('alice')
    await alice.submit(home, '/notes', { text: 'a secret of hers' })
    const hers = await alice.visit('/flow')
    await mallory.visit()
    const his = await mallory.visit(ask(hers))
    expect(his.text).not.toContain('a secret of hers')
    expect(listArrows(his)).toEqual(['browser to client: GET /', 'client to browser: 200 OK'])
  })

  test('shows who has planted a cookie nothing of the person that signs in with it', async () => {
    await using world = await startWebWorld()
    const victim = createVisitor(world)
    await victim.visit()
    const [planted] = victim.web.cookies()
    await victim.signIn('alice')
    const headers = { cookie: `${planted?.name}=${planted?.value}` }
    const seen = await createVisitor(world).web.get(`${world.url}/flow`, headers)
    expect(seen.text).not.toMatch(/Alice|\/callback|\/token/)
  })

  test('ends with the session: the next person at this browser sees none of it', async () => {
    await using world = await startWebWorld()
    const alice = createVisitor(world)
    const home = await alice.signIn('alice')
    const page = await alice.submit(home, '/notes', { text: 'a secret of hers' })
    await alice.submit(page, '/sign-out')
    const after = await alice.visit('/flow')
    expect(after.text).not.toContain('a secret of hers')
    expect(listArrows(after)).toEqual([
      'browser to client: POST /sign-out',
      'client to browser: 303 See Other',
      'browser to server: GET /session/end',
    ])
  })

  test('stays where somebody is signed out from elsewhere, says how, and holds nothing of theirs', async () => {
    await using world = await startWebWorld()
    const alice = createVisitor(world)
    const home = await alice.signIn('alice')
    await alice.submit(home, '/notes', { text: 'a secret of hers' })
    const watching = await alice.visit('/flow')
    expect(watching.text).toContain('a secret of hers')
    await alice.signOutElsewhere()
    const after = await alice.visit(ask(watching))
    const arrows = listArrows(after)
    expect(arrows.slice(0, -2)).toEqual(listArrows(watching))
    expect(arrows.slice(-2)).toEqual([
      'server to client: POST /backchannel-logout',
      'client to server: 200 OK',
    ])
    expect(after.text).toContain('Signed out by the server')
    expect(after.text).not.toMatch(/a secret of hers|Alice|acc_|<dt>/)
    const welcome = await alice.visit()
    expect(welcome.text).toContain('The authorization server has ended your sign-in here')
    // Whoever signs in here next sees how, and nothing of before.
    const start = await alice.submit(welcome, '/sign-in')
    expect(start.status).toBe(303)
    const next = await alice.visit('/flow')
    expect(listArrows(next).slice(arrows.length)).toEqual([
      'browser to client: GET /',
      'client to browser: 200 OK',
      'browser to client: POST /sign-in',
      'client to browser: 303 See Other',
      'browser to server: GET /auth',
    ])
    const signedIn = await alice.signIn('bob')
    expect(signedIn.text).not.toContain('has ended your sign-in here')
    const ofBob = listArrows(await alice.visit('/flow'))
    expect(ofBob[0]).toBe('browser to client: GET /')
    expect(ofBob).not.toContain('server to client: POST /backchannel-logout')
    expect(ofBob).not.toContain('browser to client: POST /notes')
  })

  test('keeps nobody signed in who only watches', async () => {
    await using world = await startWebWorld()
    const alice = createVisitor(world)
    await alice.signIn('alice')
    const watching = await alice.visit('/flow')
    world.clock.advance(HOUR / 4)
    expect((await alice.visit(ask(watching))).status).toBe(204)
    world.clock.advance(HOUR / 4 + 1)
    await alice.visit(ask(watching))
    expect((await alice.visit()).text).toContain('action="/sign-in"')
  })

  test('keeps nothing of what was written into a session that is over', async () => {
    await using world = await startWebWorld()
    const alice = createVisitor(world)
    const home = await alice.signIn('alice')
    world.clock.advance(HOUR / 2 + 1)
    await alice.submit(home, '/notes', { text: 'a secret of hers' })
    const { text } = await alice.visit('/flow')
    expect(text).toContain('POST /notes')
    expect(text).not.toContain('a secret of hers')
  })

  test('shows hostile text as text', async () => {
    await using world = await startWebWorld()
    const alice = createVisitor(world)
    const home = await alice.signIn('alice')
    await alice.submit(home, '/notes', { text: '"><script>alert(1)</script>' })
    const { text } = await alice.visit('/flow')
    expect(text.match(/<script/g)).toHaveLength(1)
    expect(text).toContain('&lt;script&gt;alert(1)&lt;/script&gt;')
  })

  test('is the one page with a script, which is this application’s own', async () => {
    await using world = await startWebWorld()
    const alice = createVisitor(world)
    const [flow, home] = [await alice.visit('/flow'), await alice.visit()]
    const policies = [flow, home].map(({ headers }) => headers.get('content-security-policy'))
    expect(policies[0]).toContain("script-src 'self'; connect-src 'self'")
    expect(policies[1]).not.toContain('script-src')
    expect(home.text).not.toContain('<script')
    const script = await alice.visit('/live.js')
    expect(script.headers.get('content-type')).toContain('javascript')
  })

  test('shows no more than the start of long names, values and paths', async () => {
    await using world = await startWebWorld()
    const nobody = createVisitor(world)
    await nobody.visit(`/${'p'.repeat(3000)}?${'n'.repeat(3000)}=${'v '.repeat(1500)}`)
    const { text } = await nobody.visit('/flow')
    expect(text).toContain('p'.repeat(50))
    expect(text).not.toMatch(/p{101}|n{81}|(v ){201}/)
  })

  test('keeps the last eighty arrows', async () => {
    await using world = await startWebWorld()
    const nobody = createVisitor(world)
    for (let count = 0; count < 45; count += 1) await nobody.visit()
    const page = await nobody.visit('/flow')
    expect(listArrows(page)).toHaveLength(80)
    expect(placeOf(page).after).toBe('90')
  })
})

test('a trace keeps no more than 64 K characters, whatever strangers send', () => {
  const trace = createTrace()
  const value = 'x'.repeat(5000)
  const arrow = {
    from: 'browser',
    to: 'client',
    isUnseen: false,
    isAnswer: false,
    isRefusal: false,
    title: 'POST /notes',
    meaning: '',
    fields: [{ name: 'text', value }],
    tokens: [],
  } as const
  for (let count = 0; count < 50; count += 1) trace.append([arrow])
  const places = trace.list().map(({ place }) => place)
  expect(places.length).toBeGreaterThan(10)
  expect(JSON.stringify(trace.list()).length).toBeLessThanOrEqual(64 * 1024 + 100)
  expect(places.at(-1)).toBe(50)
})

test('a hundred strangers have a trace, and the one used longest ago makes room', () => {
  const traces = createStrangersTraces()
  const first = traces.of('0').id
  const second = traces.of('1').id
  for (let count = 2; count < 100; count += 1) traces.of(String(count))
  expect(traces.of('0').id).toBe(first)
  traces.of('100')
  expect(traces.of('0').id).toBe(first)
  expect(traces.of('1').id).not.toBe(second)
})

test('behind https the cookie is pinned to its host, and the page says so', async () => {
  const web = await listen()
  await using cleanUp = new AsyncDisposableStack()
  cleanUp.defer(() => close(web))
  const issuer = 'https://issuer.example'
  const publicUrl = 'https://notes.example'
  const options = { issuer, clientId: 'notes-web', clientSecret: undefined, api: issuer, publicUrl }
  const app = createWebDemo(systemClock, options)
  app.proxy = true
  web.on('request', app.callback())
  const headers = { 'x-forwarded-host': 'notes.example', 'x-forwarded-proto': 'https' }
  const page = await fetch(`http://127.0.0.1:${portOf(web)}/flow`, { headers })
  expect(page.headers.getSetCookie()).toEqual([
    expect.stringMatching(/^__Host-notes=[\w-]{43}; path=\/; samesite=lax; secure; httponly$/),
  ])
  expect(await page.text()).toContain('Its name begins with <code>__Host-</code>')
})
