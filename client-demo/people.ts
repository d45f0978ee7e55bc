import type { Configuration } from 'openid-client'
import { hasForm, type Browser, type Page } from './browser.ts'
import { PEOPLE, type Username as DemoUsername } from './configuration.ts'
import { makeRequest, redeem, type AuthorizationRequest, type Tokens } from './oauth.ts'
import { ERIN } from './planner.ts'
import { SMALL_PASSWORDS, type SmallUsername } from './small-systems.ts'
import type { World } from './world.ts'

/** What people do at the authorization server, where a flow plays them. */

const PATIENCE_SECONDS = 10
const NEVER = new AbortController().signal

type Username = DemoUsername | SmallUsername | typeof ERIN.username

export function passwordOf({ secrets }: World, username: Username): string {
  if (username === 'naren' || username === 'carol') return secrets[SMALL_PASSWORDS[username]]
  const person = [...PEOPLE, ERIN].find((one) => one.username === username)
  return person ? secrets[person.secret] : ''
}

/** Fills in the form on the page. */
export function signIn(
  world: World,
  browser: Browser,
  page: Page,
  username: Username,
): Promise<Page> {
  return browser.submit(page, '/sign-in', { username, password: passwordOf(world, username) })
}

/** Where the server sent a browser back to the client. */
export function receiveAnswer(
  { callback }: World,
  { seconds = PATIENCE_SECONDS, stopped = NEVER }: Patience = {},
): Promise<URL> {
  return callback.next(seconds, stopped)
}

export interface Patience {
  /** Default: 10. */
  readonly seconds?: number
  readonly stopped?: AbortSignal
}

export interface Visit {
  /** Where the server sent the browser back to. */
  readonly answer: URL
  /** What the person was asked for on the way: `sign-in`, `consent`. */
  readonly asked: readonly string[]
  /** What stood on the page that asked for the password. */
  readonly signIn: Page | undefined
  /** What stood on the consent page. */
  readonly consent: Page | undefined
}

/** Goes to an authorization request, and does what the pages ask for. */
export async function visit(
  world: World,
  browser: Browser,
  url: URL,
  username: Username,
): Promise<Visit> {
  const asked: string[] = []
  let page = await browser.get(url.href)
  const password = hasForm(page, '/sign-in') ? page : undefined
  if (password) {
    asked.push('sign-in')
    page = await signIn(world, browser, password, username)
  }
  const consent = hasForm(page, '/consent') ? page : undefined
  if (consent) {
    asked.push('consent')
    await browser.submit(consent, '/consent')
  }
  return { answer: await receiveAnswer(world), asked, signIn: password, consent }
}

/** What came of sending somebody to the server and back. */
export interface SignedIn extends Visit {
  readonly request: AuthorizationRequest
  readonly tokens: Tokens
}

/** From nothing to tokens, for somebody whom the flow plays. */
export async function obtainTokens(
  world: World,
  client: Configuration,
  browser: Browser,
  username: Username,
  parameters: Readonly<Record<string, string>>,
): Promise<SignedIn> {
  const request = await makeRequest(world, client, parameters)
  const visited = await visit(world, browser, request.url, username)
  return { ...visited, request, tokens: await redeem(client, request, visited.answer) }
}
