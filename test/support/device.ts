import { createBrowser, type Browser, type Page } from './browser.ts'
import { signIn, type TokenAnswer, basic, requestToken } from './flow.ts'
import { WEB_SECRET, type TestServer } from './server.ts'

const GRANT_TYPE = 'urn:ietf:params:oauth:grant-type:device_code'

export interface DeviceAnswer {
  readonly status: number
  readonly headers: Headers
  readonly body: {
    readonly device_code: string
    readonly user_code: string
    readonly verification_uri: string
    readonly verification_uri_complete: string
    readonly expires_in: number
    readonly interval: number
    readonly error: string
    readonly error_description: string
  }
}

const WEB = { authorization: basic('web', WEB_SECRET) }

/** What a device sends first; as the web client unless the headers say otherwise. */
export async function askForCode(
  issuer: string,
  body: Record<string, string> = { scope: 'openid notes:read' },
  headers: Record<string, string> = WEB,
): Promise<DeviceAnswer> {
  const response = await fetch(`${issuer}/device_authorization`, {
    method: 'POST',
    body: new URLSearchParams(body).toString(),
    headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
  })
  const answer = (await response.json()) as DeviceAnswer['body']
  return { status: response.status, headers: response.headers, body: answer }
}

export function poll(
  issuer: string,
  deviceCode: string,
  headers: Record<string, string> = WEB,
): Promise<TokenAnswer> {
  return requestToken(issuer, { grant_type: GRANT_TYPE, device_code: deviceCode }, headers)
}

/** Types a code, as it is given; answers the page that comes then. */
export async function typeCode(
  { issuer }: Pick<TestServer, 'issuer'>,
  userCode: string,
  browser: Browser = createBrowser(issuer),
): Promise<{ browser: Browser; page: Page }> {
  const input = await browser.get(`${issuer}/device`)
  return { browser, page: await browser.submit(input, '/device', { user_code: userCode }) }
}

/** Everything that a person does at the browser; answers the last page. */
export async function approve(
  server: Pick<TestServer, 'issuer'>,
  userCode: string,
  who: 'alice' | 'bob' = 'alice',
): Promise<{ browser: Browser; page: Page }> {
  const { browser, page: confirmation } = await typeCode(server, userCode)
  let page = await browser.submit(confirmation, '/device', { confirm: 'yes' })
  if (page.text.includes('/sign-in"')) page = await signIn(browser, page, who)
  if (page.text.includes('/consent"')) page = await browser.submit(page, '/consent')
  return { browser, page }
}
