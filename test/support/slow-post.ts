import { request, type OutgoingHttpHeaders } from 'node:http'
import { text } from 'node:stream/consumers'
import type { Browser } from './browser.ts'

export interface SlowAnswer {
  readonly status: number
  /** Empty where it does not redirect. */
  readonly location: string
  readonly page: string
}

/** Sends a form of a browser slowly. Follows no redirect. */
export async function postSlowly(
  browser: Browser,
  url: string,
  fields: Readonly<Record<string, string>>,
  meanwhile: () => Promise<unknown>,
): Promise<SlowAnswer> {
  const { pathname } = new URL(url)
  const cookie = browser
    .cookies()
    .filter(({ path }) => pathname.startsWith(path))
    .map(({ name, value }) => `${name}=${value}`)
    .join('; ')
  const headers = { cookie, 'content-type': 'application/x-www-form-urlencoded' }
  return sendSlowly(url, headers, new URLSearchParams(fields).toString(), meanwhile)
}

/** Posts a body that comes only when `meanwhile` is over: the server has begun with the request by then. */
export async function sendSlowly(
  url: string,
  headers: OutgoingHttpHeaders,
  body: string,
  meanwhile: () => Promise<unknown>,
): Promise<SlowAnswer> {
  const sent = request(url, {
    method: 'POST',
    headers: { ...headers, 'content-length': Buffer.byteLength(body), expect: '100-continue' },
  })
  const answered = new Promise<SlowAnswer>((resolve, reject) => {
    sent.once('error', reject)
    sent.once('response', (response) => {
      const { statusCode: status = 0 } = response
      const { location = '' } = response.headers
      text(response).then((page) => resolve({ status, location, page }), reject)
    })
  })
  await new Promise<void>((resolve) => {
    sent.once('continue', resolve)
    sent.flushHeaders()
  })
  await meanwhile()
  sent.end(body)
  return answered
}
