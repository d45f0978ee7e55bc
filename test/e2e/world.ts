import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { chromium, type Browser, type Page } from 'playwright-core'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { authorizationUrl, makePkce } from '../support/flow.ts'
import { NOTES, startServer, type TestServer } from '../support/server.ts'

const ARGUMENTS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

/** Debian's Chromium, headless. */
export function launchChromium(): Promise<Browser> {
  return chromium.launch({ executablePath: '/usr/bin/chromium', args: ARGUMENTS })
}

/** An authorization server and, on an origin of its own, a client that takes people back. */
export interface World extends AsyncDisposable {
  readonly server: TestServer
  readonly client: string
  /** Where the client sends a browser. */
  readonly authorizationUrl: (request?: Record<string, string>) => string
  readonly signOutUrl: (request?: Record<string, string>) => string
}

export const CLIENT_NAME = 'Field Notes'
const CALENDAR = 'https://calendar.example/'
const SCOPES = ['openid', 'profile', 'notes:read', 'notes:write', 'notes:publish', 'calendar:read']

export async function startWorld(
  change: (config: ConfigInput) => ConfigInput = (config) => config,
): Promise<World> {
  await using cleanUp = new AsyncDisposableStack()
  const client = cleanUp.use(await startClient())
  const server = cleanUp.use(await startServer((base) => change(withClient(base, client.url))))
  const running = cleanUp.move()
  const redirect_uri = `${client.url}/callback`
  return {
    server,
    client: client.url,
    authorizationUrl: (request) => {
      const resource = [NOTES, CALENDAR]
      const defaults = { client_id: 'field-notes', redirect_uri, scope: SCOPES.join(' '), resource }
      return authorizationUrl(server.issuer, makePkce().challenge, { ...defaults, ...request })
    },
    signOutUrl: (request = {}) => {
      const defaults = { client_id: 'field-notes', post_logout_redirect_uri: `${client.url}/bye` }
      const parameters = new URLSearchParams({ ...defaults, ...request })
      return `${server.issuer}/session/end?${parameters.toString()}`
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

function withClient(config: ConfigInput, url: string): ConfigInput {
  return {
    ...config,
    roles: {
      reader: { scopes: ['notes:read', 'calendar:read'] },
      editor: { scopes: ['notes:read', 'notes:write', 'calendar:read'] },
    },
    resources: [
      {
        identifier: NOTES,
        name: 'Notes',
        scopes: {
          'notes:read': { description: 'Read your notes' },
          'notes:write': { description: 'Write, change and delete your notes' },
          'notes:publish': { description: 'Publish your notes for everyone to read' },
        },
      },
      {
        identifier: CALENDAR,
        name: 'Calendar',
        scopes: { 'calendar:read': { description: 'See when you are busy' } },
      },
    ],
    clients: [
      {
        id: 'field-notes',
        name: CLIENT_NAME,
        authMethod: 'none',
        redirectUris: [`${url}/callback`],
        postLogoutRedirectUris: [`${url}/bye`],
        scopes: SCOPES,
      },
    ],
  }
}

async function startClient() {
  const server = createServer((req, res) => {
    req.resume()
    res.setHeader('Content-Type', 'text/html')
    res.end('<!doctype html><title>the client</title><link rel="icon" href="data:,">')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** Everything that a page complains about: errors, and what its policy has blocked. */
export function listComplaints(page: Page): readonly string[] {
  const complaints: string[] = []
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('requestfailed', (request) => {
    const why = request.failure()?.errorText
    // Whoever goes on before a page has all its pictures breaks them off.
    if (why !== 'net::ERR_ABORTED') complaints.push(`failed: ${request.url()} ${why}`)
  })
  return complaints
}

export async function fillSignIn(page: Page, username: string, password: string): Promise<void> {
  await page.getByLabel('Username').fill(username)
  await page.getByLabel('Password').fill(password)
  await page.getByRole('button', { name: 'Sign in' }).click()
}
