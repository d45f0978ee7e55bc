import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { createBrowser, type Browser, type Page } from './browser.ts'
import { basic, requestToken, type TokenAnswer } from './flow.ts'
import { PASSWORDS, SERVICE_SECRET, type TestServer } from './server.ts'

export const CIBA_GRANT = 'urn:openid:params:grant-type:ciba'

export interface AskAnswer {
  readonly status: number
  readonly headers: Headers
  readonly body: {
    readonly auth_req_id: string
    readonly expires_in: number
    readonly interval: number
    readonly error: string
    readonly error_description: string
  }
}

/** How a desk proves who it is. */
export const asDesk = (id = 'desk'): Record<string, string> => ({
  authorization: basic(id, SERVICE_SECRET),
})

type Client = NonNullable<ConfigInput['clients']>[number]

/** Clients of desks where people are asked on their phones, and people who are asked by nobody else. */
export function withDesks(people: readonly string[] = [], ...more: readonly Partial<Client>[]) {
  return (config: ConfigInput): ConfigInput => {
    const desk = {
      name: 'The Service Desk',
      secret: { env: 'SERVICE_SECRET' },
      grants: ['ciba' as const, 'refresh_token' as const],
      scopes: ['openid', 'profile', 'notes:read', 'notes:write'],
    }
    return {
      ...config,
      clients: [
        ...(config.clients ?? []),
        { ...desk, id: 'desk' },
        { ...desk, id: 'other-desk', name: 'Another Desk', grants: ['ciba'] },
        ...more.map((client) => ({ ...desk, id: 'more', ...client })),
      ],
      users: [
        ...(config.users ?? []),
        ...people.map((username) => ({ username, password: { env: 'BOB' }, roles: ['editor'] })),
      ],
    }
  }
}

/** What a client sends to have alice asked, unless it says otherwise. An empty text leaves one out. */
export async function ask(
  issuer: string,
  change: Readonly<Record<string, string>> = {},
  headers: Readonly<Record<string, string>> = asDesk(),
): Promise<AskAnswer> {
  const body = { scope: 'openid notes:read', login_hint: 'alice', ...change }
  const sent = Object.entries(body).filter(([, value]) => value !== '')
  const response = await fetch(`${issuer}/backchannel`, {
    method: 'POST',
    body: new URLSearchParams(sent).toString(),
    headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
  })
  const answer = (await response.json()) as AskAnswer['body']
  return { status: response.status, headers: response.headers, body: answer }
}

export function pollRequest(
  issuer: string,
  authReqId: string,
  headers: Record<string, string> = asDesk(),
): Promise<TokenAnswer> {
  return requestToken(issuer, { grant_type: CIBA_GRANT, auth_req_id: authReqId }, headers)
}

/** A browser whose person is signed in, on the page with what waits for them. */
export async function openRequests(
  { issuer }: Pick<TestServer, 'issuer'>,
  username = 'alice',
): Promise<{ browser: Browser; page: Page }> {
  const browser = createBrowser(issuer)
  const start = await browser.get(`${issuer}/account/requests`)
  const password = username === 'alice' ? PASSWORDS.alice : PASSWORDS.bob
  return { browser, page: await browser.submit(start, '/sign-in', { username, password }) }
}

/** Everything that a person does who answers the newest request; answers the last page. */
export async function answerRequest(
  server: Pick<TestServer, 'issuer'>,
  username: string,
  decision: 'approve' | 'refuse' = 'approve',
): Promise<{ browser: Browser; page: Page }> {
  const { browser, page } = await openRequests(server, username)
  return { browser, page: await browser.submit(page, `/${decision}`) }
}
