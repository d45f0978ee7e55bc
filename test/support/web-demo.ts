import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, vi } from 'vitest'
import { createWebDemo } from '../../client-demo/web/app.ts'
import { systemClock } from '../../resource-server/clock.ts'
import { createNotesApi } from '../../resource-server/demo/notes-api.ts'
import { openNoteStore } from '../../resource-server/demo/notes-store.ts'
import { createVerifier } from '../../resource-server/index.ts'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { createBrowser, readForm, type Browser, type Page } from './browser.ts'
import { createTestClock } from './clock.ts'
import { NOTES, PASSWORDS, startServer, WEB_SECRET, type TestServer } from './server.ts'

/** The web demo with a real authorization server and a real notes API behind it. */
export interface WebWorld extends AsyncDisposable {
  readonly url: string
  readonly server: TestServer
  /** Of the web demo alone. */
  readonly clock: { advance(milliseconds: number): void }
  stopApi(): Promise<void>
}

export async function startWebWorld(
  change: (config: ConfigInput) => ConfigInput = (config) => config,
): Promise<WebWorld> {
  await using cleanUp = new AsyncDisposableStack()
  const web = cleanUp.adopt(await listen(), close)
  const url = `http://localhost:${portOf(web)}`
  const server = cleanUp.use(
    await startServer((config) =>
      change({ ...config, clients: [...(config.clients ?? []), describeClient(url)] }),
    ),
  )
  const verifier = cleanUp.use(createVerifier({ issuer: server.issuer, audience: NOTES }))
  const store = cleanUp.use(openNoteStore(':memory:', systemClock))
  const notes = createNotesApi(verifier, store, () => {})
  const api = cleanUp.adopt(await listen(notes.callback()), close)
  const clock = createTestClock()
  const app = createWebDemo(clock, {
    issuer: server.issuer,
    clientId: 'notes-web',
    clientSecret: WEB_SECRET,
    api: `http://127.0.0.1:${portOf(api)}`,
    publicUrl: url,
  })
  web.on('request', app.callback())
  const running = cleanUp.move()
  return {
    url,
    server,
    clock,
    stopApi: () => close(api),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

function describeClient(url: string): NonNullable<ConfigInput['clients']>[number] {
  return {
    id: 'notes-web',
    name: 'Notes on the web',
    secret: { env: 'WEB_SECRET' },
    redirectUris: [`${url}/callback`],
    postLogoutRedirectUris: [`${url}/`],
    backchannelLogoutUri: `${url}/backchannel-logout`,
    scopes: ['openid', 'profile', 'email', 'offline_access', 'notes:read', 'notes:write'],
  }
}

/** A server on a free port of 127.0.0.1. */
export async function listen(answer?: RequestListener): Promise<Server> {
  const server = createServer()
  if (answer) server.on('request', answer)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return server
}

export function portOf(server: Server): number {
  return (server.address() as AddressInfo).port
}

export async function close(server: Server): Promise<void> {
  if (!server.listening) return
  const closed = once(server.close(), 'close')
  server.closeAllConnections()
  await closed
}

type Username = keyof typeof PASSWORDS

/** Somebody with a browser, whose cookies at the two servers are kept apart. */
export interface Visitor {
  readonly web: Browser
  readonly there: Browser
  visit(path?: string): Promise<Page>
  /** Sends a form of a page of the web demo, as a browser does. */
  submit(page: Page, action: string, fields?: Record<string, string>): Promise<Page>
  /** Up to where the authorization server sends the browser back to. */
  leaveToSignIn(username: Username): Promise<string>
  signIn(username: Username): Promise<Page>
  /** Signs out at the authorization server, and waits until the web demo has heard of it. */
  signOutElsewhere(): Promise<void>
}

export function createVisitor({ url, server }: WebWorld): Visitor {
  const web = createBrowser(url)
  const there = createBrowser(server.issuer)
  const visit = (path = '/') => web.get(new URL(path, url).href)
  const submit = (page: Page, action: string, fields: Record<string, string> = {}) => {
    const form = readForm(page.text, action)
    const body = new URLSearchParams({ ...form.hidden, ...fields }).toString()
    return web.post(new URL(action, page.url).href, body, { origin: url })
  }
  const leaveToSignIn = async (username: Username) => {
    const left = await submit(await visit(), '/sign-in')
    let page = await there.get(left.location ?? '')
    if (page.text.includes('/sign-in"')) {
      page = await there.submit(page, '/sign-in', { username, password: PASSWORDS[username] })
    }
    if (page.text.includes('/consent"')) page = await there.submit(page, '/consent')
    if (page.location === undefined) throw new Error(`not sent back: ${page.text.slice(0, 3000)}`)
    return page.location
  }
  return {
    web,
    there,
    visit,
    submit,
    leaveToSignIn,
    signIn: async (username) => visit(await leaveToSignIn(username)),
    async signOutElsewhere() {
      const away = await there.get(`${server.issuer}/session/end`)
      await there.submit(away, '/session/end/confirm', { logout: 'yes' })
      // The diagram is no part of what it draws.
      await vi.waitFor(
        async () => expect((await visit('/flow')).text).not.toContain('action="/sign-out"'),
        { timeout: 5000, interval: 20 },
      )
    },
  }
}

/** The ids of the notes on a page, the newest first. */
export function listNoteIds(page: Page): string[] {
  return [...page.text.matchAll(/type="hidden" name="id" value="([^"]+)"/g)].map(
    ([, id = '']) => id,
  )
}
