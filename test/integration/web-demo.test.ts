import { describe, expect, test, vi } from 'vitest'
import { createKeyOperations } from '../../auth-server/admin/keys.ts'
import { prepareConfig } from '../../auth-server/config/load.ts'
import { createEvents } from '../../auth-server/events.ts'
import { createLog } from '../../auth-server/log.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import {
  close,
  createVisitor,
  listen,
  listNoteIds,
  portOf,
  startWebWorld,
} from '../support/web-demo.ts'
import { createWebDemo } from '../../client-demo/web/app.ts'
import { systemClock } from '../../client-demo/web/clock.ts'
import { createBrowser } from '../support/browser.ts'
import { fetchKeyIds } from '../support/keys.ts'
import { recordTokens } from '../support/recorded-tokens.ts'
import { BASE_CONFIG, ENVIRONMENT, type TestServer } from '../support/server.ts'

const MINUTE = 60_000

describe('the web demo', () => {
  test('signs in, keeps notes, refreshes and signs out, and no token reaches the browser', async () => {
    using tokens = recordTokens()
    await using world = await startWebWorld()
    const alice = createVisitor(world)
    let page = await alice.signIn('alice')
    expect(page.url).toBe(`${world.url}/`)
    expect(page.text).toContain('<bdi>Alice Adams</bdi> <small><bdi>alice</bdi></small>')
    expect(page.text).toContain('There are none yet')
    page = await alice.submit(page, '/notes', { text: 'Buy bread' })
    expect(page.text).toContain('<p>Buy bread</p>')
    page = await alice.submit(page, '/notes', { text: 'one line\r\nand another' })
    expect(page.text).toContain('<p>one line\nand another</p>')
    const [newest = ''] = listNoteIds(page)
    page = await alice.submit(page, '/notes/open', { id: newest })
    expect(page.text).toContain('<blockquote role="status">one line\nand another</blockquote>')
    page = await alice.submit(page, '/notes/delete', { id: newest })
    expect(listNoteIds(page)).toHaveLength(1)
    const before = tokens.seen.length
    page = await alice.submit(page, '/refresh')
    expect(tokens.seen.length).toBe(before + 3)
    expect(page.text).toContain('openid profile notes:read notes:write')
    const left = await alice.submit(page, '/sign-out')
    page = await alice.there.get(left.location ?? '')
    page = await alice.there.submit(page, '/session/end/confirm', { logout: 'yes' })
    page = await alice.visit(page.location)
    expect(page.text).toContain('You are signed out')
    expect(page.text).not.toContain('Alice')

    expect(tokens.seen).toHaveLength(6)
    expect(tokens.findLeaks()).toEqual([])
  })

  test('renews an access token that is about to expire, once for all requests that want it', async () => {
    await using world = await startWebWorld()
    const alice = createVisitor(world)
    await alice.signIn('alice')
    using tokens = recordTokens()
    world.clock.advance(9 * MINUTE + 56_000)
    const pages = await Promise.all(Array.from({ length: 10 }, () => alice.visit()))
    expect(pages.map(({ status }) => status)).toEqual(pages.map(() => 200))
    expect(tokens.requests).toBe(1)
    expect(pages.every(({ text }) => text.includes('<strong>10 min 0 s</strong>'))).toBe(true)
  })

  test('ends the session when the authorization server refuses to renew it, and says so', async () => {
    // Where it is not told of logouts.
    await using world = await startWebWorld((config) => ({
      ...config,
      clients: config.clients?.map((client) => ({ ...client, backchannelLogoutUri: undefined })),
    }))
    const alice = createVisitor(world)
    await alice.signIn('alice')
    const away = await alice.there.get(`${world.server.issuer}/session/end`)
    await alice.there.submit(away, '/session/end/confirm', { logout: 'yes' })
    world.clock.advance(10 * MINUTE)
    const page = await alice.visit()
    expect(page.status).toBe(401)
    expect(page.text).toContain('Your sign-in is over')
    expect(page.text).toContain('invalid_grant')
    expect(page.text).not.toContain('Alice')
    const next = await alice.visit()
    expect([next.status, next.text.includes('action="/sign-in"')]).toEqual([200, true])
  })

  test('has a style without pictures that the policy of its pages refuses', async () => {
    await using world = await startWebWorld()
    const style = await (await fetch(`${world.url}/pico.css`)).text()
    expect(style.length).toBeGreaterThan(10_000)
    expect(style).not.toContain('data:')
  })

  test('is told by the authorization server of a sign-in that ended, and of no other', async () => {
    await using world = await startWebWorld()
    const [alice, bob] = [createVisitor(world), createVisitor(world)]
    await alice.signIn('alice')
    await bob.signIn('bob')
    await alice.signOutElsewhere()
    expect((await alice.visit()).text).toContain('action="/sign-in"')
    expect((await bob.visit()).text).toContain('action="/sign-out"')
  })

  test('shows what the API refuses, with status, challenge and what it means', async () => {
    await using world = await startWebWorld()
    const bob = createVisitor(world)
    const home = await bob.signIn('bob')
    const page = await bob.submit(home, '/notes', { text: 'not for a reader' })
    expect(page.status).toBe(403)
    expect(page.text).toContain('Your access token does not carry notes:write')
    expect(page.text).toContain('error=&quot;insufficient_scope&quot;')
    expect(page.text).toContain('required>not for a reader</textarea>')
    expect(listNoteIds(page)).toEqual([])
    const empty = await bob.submit(home, '/notes', { text: '' })
    expect(empty.status).toBe(403)
  })

  test('shows nobody another person’s note', async () => {
    await using world = await startWebWorld((config) => ({
      ...config,
      users: config.users?.map((user) => ({ ...user, roles: ['editor'] })),
    }))
    const [alice, bob] = [createVisitor(world), createVisitor(world)]
    const home = await alice.signIn('alice')
    const [id = ''] = listNoteIds(await alice.submit(home, '/notes', { text: 'a secret of hers' }))
    const his = await bob.signIn('bob')
    for (const action of ['/notes/open', '/notes/delete']) {
      const page = await bob.submit(
        { ...his, text: his.text.replaceAll('/notes/open', action) },
        action,
        { id },
      )
      expect(page.status).toBe(404)
      expect(page.text).toContain('there is no such note')
      expect(page.text).not.toContain('a secret of hers')
    }
    expect(listNoteIds(await alice.visit())).toEqual([id])
  })

  test('says so when the person cancels', async () => {
    await using world = await startWebWorld()
    const alice = createVisitor(world)
    const left = await alice.submit(await alice.visit(), '/sign-in')
    const there = await alice.there.get(left.location ?? '')
    const back = await alice.there.submit(there, '/cancel')
    const page = await alice.visit(back.location)
    expect(page.status).toBe(403)
    expect(page.text).toContain('You said no')
    expect(page.text).toContain('access_denied')
  })

  test('says so when the API is not there, and lets people sign out', async () => {
    await using world = await startWebWorld()
    const alice = createVisitor(world)
    await alice.signIn('alice')
    await world.stopApi()
    const page = await alice.visit()
    expect(page.status).toBe(503)
    expect(page.text).toContain('The notes API is not there')
    expect((await alice.submit(page, '/sign-out')).status).toBe(303)
  })

  test('goes on where the authorization server has other keys from one moment to the next', async () => {
    await using world = await startWebWorld()
    const [alice, bob] = [createVisitor(world), createVisitor(world)]
    const home = await alice.signIn('alice')
    await withdrawKeys(world.server)
    const page = await alice.submit(home, '/refresh')
    expect(page.status).toBe(200)
    expect(page.text).toContain('<bdi>Alice Adams</bdi>')
    await withdrawKeys(world.server)
    const refused = await bob.signIn('bob')
    expect(refused.status).toBe(503)
    expect(refused.text).toContain('The authorization server has other keys')
    expect((await bob.signIn('bob')).text).toContain('<bdi>bob</bdi>')
  })

  test('starts without its authorization server, says so, and finds it once it is there', async () => {
    let isUp = false
    const issuerServer = await listen((request, response) => {
      if (!isUp) return void request.socket.destroy()
      response.setHeader('content-type', 'application/json')
      const issuer = `http://127.0.0.1:${portOf(issuerServer)}`
      response.end(JSON.stringify({ issuer, authorization_endpoint: `${issuer}/auth` }))
    })
    const web = await listen()
    await using cleanUp = new AsyncDisposableStack()
    cleanUp.defer(() => close(issuerServer))
    cleanUp.defer(() => close(web))
    const publicUrl = `http://localhost:${portOf(web)}`
    const issuer = `http://127.0.0.1:${portOf(issuerServer)}`
    const options = { issuer, clientId: 'notes-web', clientSecret: undefined, api: issuer }
    web.on('request', createWebDemo(systemClock, { ...options, publicUrl }).callback())
    const browser = createBrowser(publicUrl)
    const home = await browser.get(`${publicUrl}/`)
    const form = /name="form" value="([^"]+)"/.exec(home.text)?.[1] ?? ''
    const signIn = () => browser.post(`${publicUrl}/sign-in`, `form=${form}`, { origin: publicUrl })
    const down = await signIn()
    expect(down.status).toBe(503)
    expect(down.text).toContain(`Nothing answers at ${issuer}`)
    isUp = true
    const up = await signIn()
    expect(up.status).toBe(303)
    expect(up.location).toContain(`${issuer}/auth?`)
  })
})

/** As an operator does whose keys were stolen; answers when the server has the new ones. */
async function withdrawKeys({ issuer, folder }: TestServer): Promise<void> {
  const loaded = prepareConfig(BASE_CONFIG, { folder, environment: ENVIRONMENT })
  await using stores = await openStores(`sqlite:${folder}/portreeve.sqlite`, systemClock)
  const events = createEvents(createLog('info', { write: () => {} }))
  const operations = createKeyOperations({ keys: stores.keys, clock: systemClock, events }, loaded)
  const rotations = await operations.rotate({ algorithm: undefined, withdraws: true })
  const expected = rotations.map(({ next }) => next.kid).toSorted()
  await vi.waitFor(
    async () => expect((await fetchKeyIds({ issuer })).toSorted()).toEqual(expected),
    { timeout: 5000, interval: 20 },
  )
}
