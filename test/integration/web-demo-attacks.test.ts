import { once } from 'node:events'
import { request, type IncomingMessage } from 'node:http'
import { describe, expect, test } from 'vitest'
import type { Page } from '../support/browser.ts'
import { recordTokens } from '../support/recorded-tokens.ts'
import { createVisitor, listNoteIds, startWebWorld, type WebWorld } from '../support/web-demo.ts'

const HOUR = 3_600_000

/** Every form of the web demo, with what makes it a good one. */
const FORMS = {
  '/sign-in': {},
  '/notes': { text: 'planted' },
  '/notes/delete': { id: 'x' },
  '/notes/open': { id: 'x' },
  '/refresh': {},
  '/sign-out': {},
}

const cookieOf = (page: { cookies(): readonly { name: string; value: string }[] }) =>
  page.cookies().find(({ name }) => name === 'notes')?.value ?? ''

const tokenOf = (page: Page) => /name="form" value="([^"]+)"/.exec(page.text)?.[1] ?? ''

describe('a logout token', () => {
  test('that the server has not made for this is refused, and signs nobody out', async () => {
    using tokens = recordTokens()
    await using world = await startWebWorld()
    const alice = createVisitor(world)
    await alice.signIn('alice')
    const send = (body: string, type = 'application/x-www-form-urlencoded') =>
      fetch(`${world.url}/backchannel-logout`, {
        method: 'POST',
        headers: { 'content-type': type },
        body,
      })
    expect(tokens.seen).toHaveLength(3)
    // Signed by the same keys, and some for this very client.
    const answers = await Promise.all([
      ...tokens.seen.map((token) => send(`logout_token=${token}`)),
      send(''),
      send('logout_token=x'),
      send(`logout_token=${tokens.seen[0]}&logout_token=${tokens.seen[0]}`),
      send(JSON.stringify({ logout_token: tokens.seen[0] }), 'application/json'),
    ])
    for (const answer of answers) {
      expect([answer.status, answer.headers.get('cache-control')]).toEqual([400, 'no-store'])
      expect(await answer.json()).toMatchObject({ error: 'invalid_request' })
      expect(answer.headers.getSetCookie()).toEqual([])
    }
    expect((await send(`logout_token=${'x'.repeat(10_000)}`)).status).toBe(413)
    expect((await alice.visit()).text).toContain('Alice Adams')
  })
})

describe('forged forms', () => {
  test('are refused, each of them, and do nothing', async () => {
    await using world = await startWebWorld()
    const [alice, mallory] = [createVisitor(world), createVisitor(world)]
    const home = await alice.signIn('alice')
    const form = tokenOf(home)
    const foreign = tokenOf(await mallory.visit())
    for (const [path, fields] of Object.entries(FORMS)) {
      const send = (body: Record<string, string>, headers: Record<string, string>) =>
        alice.web.post(world.url + path, new URLSearchParams(body).toString(), headers)
      const own = { origin: world.url }
      const refused = [
        await send({ ...fields, form }, {}),
        await send({ ...fields, form }, { origin: 'null' }),
        await send({ ...fields, form }, { origin: 'http://localhost:1' }),
        await send({ ...fields, form }, { origin: `${world.url}.evil.example` }),
        await send({ ...fields, form }, { ...own, 'sec-fetch-site': 'cross-site' }),
        await send({ ...fields, form }, { ...own, 'sec-fetch-site': 'same-site' }),
        await send({ ...fields }, own),
        await send({ ...fields, form: foreign }, own),
        await send({ ...fields, form: `${form}A` }, own),
        await send({ ...fields, 'form[]': form }, own),
        await alice.web.post(world.url + path, JSON.stringify({ ...fields, form }), {
          ...own,
          'content-type': 'application/json',
        }),
      ]
      expect([path, ...refused.map(({ status }) => status)]).toEqual([
        path,
        ...refused.map(() => 403),
      ])
    }
    const after = await alice.visit()
    expect(after.text).toContain('Alice Adams')
    expect(after.text).toContain('There are none yet')
  })

  test('made before the last sign-in are out of date', async () => {
    await using world = await startWebWorld()
    const alice = createVisitor(world)
    const before = await alice.visit()
    await alice.signIn('alice')
    const late = await alice.submit(before, '/sign-in')
    expect(late.status).toBe(403)
    expect(late.text).toContain('out of date')
  })

  test('by somebody who is not signed in change nothing', async () => {
    await using world = await startWebWorld()
    const nobody = createVisitor(world)
    const body = `form=${tokenOf(await nobody.visit())}&text=x&id=x`
    for (const path of ['/notes', '/notes/open', '/notes/delete', '/refresh']) {
      const page = await nobody.web.post(world.url + path, body, { origin: world.url })
      expect([page.status, page.text.includes('You are not signed in')]).toEqual([401, true])
    }
  })
})

describe('the answer of the authorization server', () => {
  test('is refused in a browser that did not ask for it', async () => {
    await using world = await startWebWorld()
    const [mallory, victim] = [createVisitor(world), createVisitor(world)]
    const answer = await mallory.leaveToSignIn('bob')
    await victim.visit()
    const page = await victim.visit(answer)
    expect(page.status).toBe(400)
    expect(page.text).toContain('not begun in this browser')
    expect((await victim.visit()).text).not.toContain('bob')
  })

  test('is refused without the state that belongs to it, before anybody is asked', async () => {
    await using world = await startWebWorld()
    const alice = createVisitor(world)
    const answer = new URL(await alice.leaveToSignIn('alice'))
    const state = answer.searchParams.get('state') ?? ''
    for (const forged of ['', 'x', `${state}A`, state.replace(/^./, '0'), state.toUpperCase()]) {
      const url = new URL(answer)
      url.searchParams.set('state', forged)
      expect((await alice.visit(url.href)).status).toBe(400)
    }
    for (const change of [`${answer.href}&state=${state}`, `${world.url}/callback`]) {
      expect((await alice.visit(change)).status).toBe(400)
    }
    expect((await alice.visit(answer.href)).text).toContain('Alice Adams')
  })

  test('is refused a second time', async () => {
    await using world = await startWebWorld()
    const alice = createVisitor(world)
    const answer = await alice.leaveToSignIn('alice')
    expect((await alice.visit(answer)).text).toContain('Alice Adams')
    expect((await alice.visit(answer)).status).toBe(400)
    expect((await alice.visit()).text).toContain('Alice Adams')
  })

  test('is refused an hour after it was asked for', async () => {
    await using world = await startWebWorld()
    const alice = createVisitor(world)
    const answer = await alice.leaveToSignIn('alice')
    world.clock.advance(HOUR + 1)
    expect((await alice.visit(answer)).status).toBe(400)
  })

  test('is refused when it is another issuer’s, or nobody’s', async () => {
    await using world = await startWebWorld()
    const alice = createVisitor(world)
    const answer = new URL(await alice.leaveToSignIn('alice'))
    for (const issuer of ['https://evil.example', undefined]) {
      const url = new URL(answer)
      url.searchParams.delete('iss')
      if (issuer) url.searchParams.set('iss', issuer)
      const page = await alice.visit(url.href)
      expect([page.status, page.text.includes('OAUTH_INVALID_RESPONSE')]).toEqual([502, true])
    }
  })

  test('signs nobody in with a code that was not made for this sign-in', async () => {
    await using world = await startWebWorld()
    const [mallory, alice] = [createVisitor(world), createVisitor(world)]
    const stolen = new URL(await mallory.leaveToSignIn('bob')).searchParams.get('code') ?? ''
    const answer = new URL(await alice.leaveToSignIn('alice'))
    answer.searchParams.set('code', stolen)
    const page = await alice.visit(answer.href)
    expect([page.status, page.text.includes('invalid_grant')]).toEqual([502, true])
    expect((await alice.visit()).text).not.toContain('Sign out')
  })
})

describe('the cookie', () => {
  test('is for this host and its servers alone, and changes when somebody signs in or out', async () => {
    await using world = await startWebWorld()
    const alice = createVisitor(world)
    const first = await alice.visit()
    const attributes = first.headers.get('set-cookie')?.split('; ').slice(1)
    expect(attributes).toEqual(['path=/', 'samesite=lax', 'httponly'])
    const planted = cookieOf(alice.web)
    const home = await alice.signIn('alice')
    const signedIn = cookieOf(alice.web)
    expect(signedIn).not.toBe(planted)
    await alice.submit(home, '/sign-out')
    expect(new Set([planted, signedIn, cookieOf(alice.web)]).size).toBe(3)
    for (const old of [planted, signedIn]) {
      const page = await createVisitor(world).web.get(`${world.url}/`, { cookie: `notes=${old}` })
      expect(page.text).toContain('action="/sign-in"')
    }
  })

  test('of a session that was signed out opens nothing, even with its own forms', async () => {
    await using world = await startWebWorld()
    const alice = createVisitor(world)
    const home = await alice.signIn('alice')
    const headers = { cookie: `notes=${cookieOf(alice.web)}`, origin: world.url }
    await alice.submit(home, '/sign-out')
    const thief = createVisitor(world)
    const body = `form=${tokenOf(home)}&text=planted`
    expect((await thief.web.post(`${world.url}/notes`, body, headers)).status).toBe(401)
  })

  test('opens nothing after half an hour without use, or after eight hours', async () => {
    await using world = await startWebWorld()
    const [idle, busy] = [createVisitor(world), createVisitor(world)]
    await idle.signIn('alice')
    await busy.signIn('bob')
    world.clock.advance(HOUR / 2 + 1)
    expect((await idle.visit()).text).toContain('action="/sign-in"')
    await busy.signIn('bob')
    for (let half = 0; half < 16; half += 1) {
      world.clock.advance(HOUR / 2)
      const page = await busy.visit()
      expect(page.text).toContain('Sign out')
    }
    world.clock.advance(1)
    expect((await busy.visit()).text).toContain('action="/sign-in"')
  })
})

describe('what people write', () => {
  test('is shown as they wrote it, and never becomes part of the page', async () => {
    const hostile = `"'><script>alert(1)</script></textarea><img src=x onerror=alert(1)>`
    await using world = await startWebWorld((config) => ({
      ...config,
      users: config.users?.map((user) => ({ ...user, profile: { name: hostile } })),
    }))
    const alice = createVisitor(world)
    const home = await alice.signIn('alice')
    const page = await alice.submit(home, '/notes', { text: hostile })
    const [id = ''] = listNoteIds(page)
    const opened = await alice.submit(page, '/notes/open', { id })
    const bob = createVisitor(world)
    const refused = await bob.submit(await bob.signIn('bob'), '/notes', { text: hostile })
    for (const { text } of [page, opened, refused]) {
      expect(text).not.toMatch(/<script|<img src=x/)
      expect(text.split('&lt;script&gt;alert(1)&lt;/script&gt;').length).toBeGreaterThan(2)
    }
  })

  test('leads to no other path of the API', async () => {
    await using world = await startWebWorld()
    const alice = createVisitor(world)
    const home = await alice.signIn('alice')
    for (const id of ['..', '.', '', '../healthz', 'a/b', 'a?b', '%2e%2e', 'x'.repeat(65)]) {
      const page = await alice.submit(home, '/notes/open', { id })
      expect([id, page.status]).toEqual([id, 400])
    }
  })

  test('may be as long as the API allows, and is refused clearly beyond', async () => {
    await using world = await startWebWorld()
    const alice = createVisitor(world)
    const home = await alice.signIn('alice')
    const longest = `${'字'.repeat(1998)}\r\n.`
    expect((await alice.submit(home, '/notes', { text: longest })).status).toBe(200)
    const longer = await alice.submit(home, '/notes', { text: '字'.repeat(2001) })
    expect([longer.status, longer.text.includes('expected 1 to 2000 characters')]).toEqual([
      400,
      true,
    ])
    const huge = await alice.submit(home, '/notes', { text: 'x'.repeat(40_000) })
    expect([huge.status, huge.text.includes('That is too much')]).toEqual([413, true])
    expect(listNoteIds(await alice.visit())).toHaveLength(1)
  })
})

describe('every answer', () => {
  test('forbids scripts, framing, sniffing and keeping', async () => {
    await using world = await startWebWorld()
    const alice = createVisitor(world)
    const pages = [await alice.visit(), await alice.signIn('alice'), await alice.visit('/nothing')]
    for (const { headers, text } of pages) {
      expect(headers.get('content-security-policy')).toBe(
        `default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self' ${world.server.issuer}; base-uri 'none'; frame-ancestors 'none'`,
      )
      expect(headers.get('cache-control')).toBe('no-store')
      expect(headers.get('x-content-type-options')).toBe('nosniff')
      expect(headers.get('x-frame-options')).toBe('DENY')
      expect(headers.get('referrer-policy')).toBe('same-origin')
      expect(text).not.toMatch(/<script|<style| style=| on[a-z]+=/)
    }
  })

  test('to what is unknown or broken is a page with the right status', async () => {
    await using world = await startWebWorld()
    for (const [method, path, status] of [
      ['GET', '/nothing', 404],
      ['GET', '/../../etc/passwd', 404],
      ['GET', '/views/notes.eta', 404],
      ['GET', '/%E0%A4%A', 404],
      ['GET', '//evil.example/', 404],
      ['GET', '/sign-in', 405],
      ['GET', '/notes/delete', 405],
      ['DELETE', '/notes', 403],
      ['PROPFIND', '/', 403],
      ['POST', '/nothing', 403],
      ['HEAD', '/', 200],
    ] as const) {
      const answer = await ask(world, method, path, {})
      expect([method, path, answer.status]).toEqual([method, path, status])
      expect(answer.headers['content-security-policy']).toContain("default-src 'none'")
    }
  })

  test('is for this host: by another name one is sent here', async () => {
    await using world = await startWebWorld()
    for (const host of ['evil.example', '127.0.0.1', `${new URL(world.url).host}.evil.example`]) {
      const answer = await ask(world, 'GET', '/', { host })
      expect([answer.status, answer.headers['location']]).toEqual([303, `${world.url}/`])
      expect(answer.headers['set-cookie']).toBeUndefined()
    }
  })
})

/** As written: nothing between here and there makes a path or a host better. */
async function ask(world: WebWorld, method: string, path: string, headers: Record<string, string>) {
  const { port, host } = new URL(world.url)
  const sent = request({ host: '127.0.0.1', port, method, path, headers: { host, ...headers } })
  const [response] = (await once(sent.end(), 'response')) as [IncomingMessage]
  response.resume()
  await once(response, 'end')
  return { status: response.statusCode, headers: response.headers }
}
