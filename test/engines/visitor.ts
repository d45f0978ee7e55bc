import { setTimeout as wait } from 'node:timers/promises'
import { expect } from 'vitest'
import { createBrowser, type Browser, type Page } from '../support/browser.ts'
import {
  authorizationUrl,
  decodeJwt,
  makePkce,
  refresh,
  requestToken,
  signIn,
  type TokenAnswer,
} from '../support/flow.ts'
import { REDIRECT } from '../support/server.ts'

export type Counts = Record<string, number>

interface Place {
  readonly issuer: string
  readonly notes: string
}

interface VisitorOptions extends Place {
  readonly who: 'alice' | 'bob'
  /** What was done, and what had to be done again. */
  readonly counts: Counts
  /** Is called before each request. */
  readonly onRequest?: () => void
}

const BAD_GATEWAY = 502
/** A process that is killed closes its connections one after the other: at once is too soon. */
const RETRY_AFTER_MS = 200
/** Who come at the same time under load. */
export const VISITORS = 5

/**
 * Somebody who comes with an app: signs in, agrees, lets the app have tokens and use them, refreshes,
 * signs on without being asked, and signs out. What a proxy could not get answered is done again, once;
 * of a code that means to go and get another.
 */
function createVisitor(options: VisitorOptions): { visit(): Promise<void> } {
  const { issuer, notes, who, counts, onRequest = () => {} } = options
  const count = (what: string) => {
    counts[what] = (counts[what] ?? 0) + 1
  }

  async function twice<T extends { readonly status: number }>(
    what: string,
    ask: () => Promise<T>,
    again: () => Promise<T> = ask,
  ): Promise<T> {
    onRequest()
    const answer = await ask()
    if (answer.status !== BAD_GATEWAY) return answer
    count(`${what} again`)
    await wait(RETRY_AFTER_MS)
    return again()
  }

  const call = async (url: string, token: string) => {
    const answer = await twice('API', () =>
      fetch(url, { headers: { authorization: `Bearer ${token}` } }),
    )
    const text = await answer.text()
    expect([url, answer.status, text]).toEqual([url, 200, expect.any(String)])
    return JSON.parse(text) as Record<string, unknown>
  }

  /** Is signed in already, and has agreed. */
  const signOn = async (browser: Browser) => {
    const { verifier, challenge } = makePkce()
    const page = await twice('sign-on', () => browser.get(authorizationUrl(issuer, challenge)))
    return redeem(readCode(page), verifier)
  }

  return {
    async visit() {
      const browser = createBrowser(issuer)
      const { verifier, challenge } = makePkce()
      const start = await twice('start', () => browser.get(authorizationUrl(issuer, challenge)))
      expectForm(start, '/sign-in"')
      const asked = await twice('sign-in', () => signIn(browser, start, who))
      expectForm(asked, '/consent"')
      const agreed = await twice('consent', () => browser.submit(asked, '/consent'))
      const code = readCode(agreed)
      const first = await twice(
        'code',
        () => redeem(code, verifier),
        () => signOn(browser),
      )
      expectTokens(first)
      const { sub } = decodeJwt(first.body.access_token).claims
      expect((await call(`${issuer}/userinfo`, first.body.access_token))['sub']).toBe(sub)
      await call(`${notes}/notes`, first.body.access_token)
      const second = await twice('refresh', () => refresh(issuer, first.body.refresh_token))
      expectTokens(second)
      expectTokens(await twice('code', () => signOn(browser)))
      const out = await twice('sign-out', () => signOut(issuer, browser))
      expect([out.url, out.status]).toEqual([out.url, 200])
      const dead = await twice('refresh', () => refresh(issuer, second.body.refresh_token))
      expect([dead.status, dead.body.error]).toEqual([400, 'invalid_grant'])
      count('visits')
    },
  }

  function redeem(code: string, verifier: string): Promise<TokenAnswer> {
    const body = { grant_type: 'authorization_code', code, redirect_uri: REDIRECT }
    return requestToken(issuer, { ...body, code_verifier: verifier })
  }
}

async function signOut(issuer: string, browser: Browser): Promise<Page> {
  const page = await browser.get(`${issuer}/session/end?client_id=web`)
  if (page.status === BAD_GATEWAY) return page
  return browser.submit(page, '/session/end/confirm', { logout: 'yes' })
}

function expectForm({ url, status, text }: Page, action: string): void {
  expect([url, status, text]).toEqual([url, 200, expect.stringContaining(action)])
}

function readCode({ url, status, location, text }: Page): string {
  const code = new URL(location ?? '', REDIRECT).searchParams.get('code')
  expect([url, status, location, text, code]).toEqual([
    url,
    status,
    location,
    text,
    expect.any(String),
  ])
  return code ?? ''
}

function expectTokens({ status, body }: TokenAnswer): void {
  expect([status, body.error, body.error_description]).toEqual([200, undefined, undefined])
}

export function listVisitors(
  { issuer, notes }: Place,
  length: number,
  counts: Counts,
  onRequest?: () => void,
) {
  const options = { issuer, notes, counts, ...(onRequest ? { onRequest } : {}) }
  return Array.from({ length }, (_, index) =>
    createVisitor({ ...options, who: index % 2 === 0 ? 'alice' : 'bob' }),
  )
}

/** Lets visitors come again and again until the work is done, and the last of them have gone. */
export async function underLoad(
  place: Place,
  counts: Counts,
  work: (nextRequests: (count: number) => Promise<void>) => Promise<void>,
): Promise<void> {
  const load = { isOver: false, left: 0, reached: Promise.withResolvers<void>() }
  const visitors = listVisitors(place, VISITORS, counts, () => {
    load.left -= 1
    if (load.left === 0) load.reached.resolve()
  })
  const coming = Promise.all(
    visitors.map(async (visitor) => {
      while (!load.isOver) await visitor.visit()
    }),
  )
  const nextRequests = async (count: number) => {
    load.reached = Promise.withResolvers<void>()
    load.left = count
    // A visit that fails ends the test, not the waiting for it.
    await Promise.race([load.reached.promise, coming])
  }
  try {
    await work(nextRequests)
  } finally {
    load.isOver = true
    await coming
  }
}
