import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { createBrowser, type Browser, type Page } from './browser.ts'
import { basic, requestToken, signIn, type TokenAnswer } from './flow.ts'
import { SERVICE_SECRET, type TestServer } from './server.ts'

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

const DESK: Readonly<Record<string, string>> = { authorization: basic('desk', SERVICE_SECRET) }

/** Clients of a desk where people are asked on their phones. */
export function withDesks(config: ConfigInput): ConfigInput {
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
    ],
  }
}

/** What a client sends to have alice asked, unless it says otherwise. */
export async function ask(
  issuer: string,
  body: Readonly<Record<string, string>> = {},
  headers: Readonly<Record<string, string>> = DESK,
): Promise<AskAnswer> {
  const hint =
    'id_token_hint' in body || 'login_hint_token' in body || 'request' in body
      ? {}
      : { login_hint: 'alice' }
  const scope = 'request' in body ? {} : { scope: 'openid notes:read' }
  const response = await fetch(`${issuer}/backchannel`, {
    method: 'POST',
    body: new URLSearchParams({ ...scope, ...hint, ...body }).toString(),
    headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
  })
  const answer = (await response.json()) as AskAnswer['body']
  return { status: response.status, headers: response.headers, body: answer }
}

export function pollRequest(
  issuer: string,
  authReqId: string,
  headers: Readonly<Record<string, string>> = DESK,
): Promise<TokenAnswer> {
  return requestToken(issuer, { grant_type: CIBA_GRANT, auth_req_id: authReqId }, headers)
}

/** A browser whose person is signed in, on the page with what waits for them. */
export async function openRequests(
  { issuer }: Pick<TestServer, 'issuer'>,
  who: 'alice' | 'bob' = 'alice',
): Promise<{ browser: Browser; page: Page }> {
  const browser = createBrowser(issuer)
  const page = await signIn(browser, await browser.get(`${issuer}/account/requests`), who)
  return { browser, page }
}
