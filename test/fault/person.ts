import { expect } from 'vitest'
import { createBrowser, type Browser } from '../support/browser.ts'
import {
  authorizationUrl,
  basic,
  decodeJwt,
  makePkce,
  refresh,
  requestToken,
  signIn,
  type TokenAnswer,
} from '../support/flow.ts'
import { REDIRECT, SERVICE_SECRET } from '../support/server.ts'
import type { Random } from './random.ts'

/** A family of refresh tokens, as far as the server has answered for it. */
interface Chain {
  readonly current: string
  /** The one before `current`, and the one before that. */
  readonly previous: string | undefined
  readonly beforePrevious: string | undefined
  readonly grantId: unknown
}

interface Code {
  readonly code: string
  readonly verifier: string
}

/** What the server has answered for, and has to keep. */
export interface Promises {
  browser: Browser
  stage: 'nobody' | 'signed in' | 'agreed'
  /** Received, and never sent. */
  code: Code | undefined
  chain: Chain | undefined
  /** Refresh tokens that were refused for good. */
  readonly dead: string[]
  /** Cookies of sessions that were signed out. */
  readonly signedOut: string[]
}

export type Counts = Record<string, number>

const KEPT = 4

/**
 * Somebody who signs in, agrees, gets tokens, refreshes them and signs out, over and over. What was
 * answered is written down when it arrives; what was asked and not answered may be either way, and
 * only a refresh under way stays owed: its retry has to succeed.
 */
export function createPerson(issuer: string, random: Random, counts: Counts) {
  const count = (what: string) => {
    counts[what] = (counts[what] ?? 0) + 1
  }
  const owed: Promises = {
    browser: openBrowser(issuer),
    stage: 'nobody',
    code: undefined,
    chain: undefined,
    dead: [],
    signedOut: [],
  }

  const forget = () => {
    owed.browser = openBrowser(issuer)
    owed.stage = 'nobody'
    owed.code = undefined
    owed.chain = undefined
  }

  const actions: Record<string, () => Promise<void>> = {
    async signIn() {
      forget()
      const { browser } = owed
      const start = await browser.get(authorizationUrl(issuer, makePkce().challenge))
      const page = await signIn(browser, start, random.pick(['alice', 'bob'] as const))
      expect(page.text).toContain('/consent"')
      owed.stage = 'signed in'
    },
    async agree() {
      const { verifier, challenge } = makePkce()
      const { browser } = owed
      const page = await browser.get(authorizationUrl(issuer, challenge))
      // Consent that was cut off may have been given.
      const isAsked = page.text.includes('/consent"')
      const answer = isAsked ? await browser.submit(page, '/consent') : page
      owed.code = { code: readCode(answer.location), verifier }
      owed.stage = 'agreed'
    },
    async signOnSilently() {
      const { verifier, challenge } = makePkce()
      const page = await owed.browser.get(authorizationUrl(issuer, challenge))
      owed.code = { code: readCode(page.location), verifier }
    },
    async exchange() {
      const { code, verifier } = owed.code ?? { code: '', verifier: '' }
      owed.code = undefined
      owed.chain = startChain(await redeem(issuer, code, verifier))
    },
    async refresh() {
      if (owed.chain) owed.chain = await advance(issuer, owed.chain)
    },
    async reuse() {
      const { beforePrevious = '', current } = owed.chain ?? {}
      forget()
      const answer = takeAnswer(await refresh(issuer, beforePrevious))
      expect([answer.status, answer.body.error]).toEqual([400, 'invalid_grant'])
      keep(owed.dead, current ?? '')
    },
    async signOut() {
      const { browser, chain } = owed
      const cookies = browser
        .cookies()
        .map(({ name, value }) => `${name}=${value}`)
        .join('; ')
      forget()
      const page = await browser.get(`${issuer}/session/end?client_id=web`)
      const answer = await browser.submit(page, '/session/end/confirm', { logout: 'yes' })
      expect(answer.status).toBe(200)
      keep(owed.signedOut, cookies)
      if (chain) keep(owed.dead, chain.current)
    },
    async clientCredentials() {
      const answer = takeAnswer(await requestToken(issuer, SERVICE_REQUEST, SERVICE))
      expect(answer.status).toBe(200)
    },
  }

  const possible = (): string[] => {
    if (owed.stage === 'nobody') return ['signIn', 'signIn', 'signIn', 'clientCredentials']
    if (owed.stage === 'signed in') return ['agree', 'agree', 'agree', 'clientCredentials']
    return [
      'signOnSilently',
      'clientCredentials',
      'signOut',
      ...(owed.code ? ['exchange', 'exchange', 'exchange'] : []),
      ...(owed.chain ? ['refresh', 'refresh', 'refresh', 'refresh'] : []),
      ...(owed.chain?.beforePrevious === undefined ? [] : ['reuse']),
    ]
  }

  return {
    /**
     * Does one thing after the other until it is over. What fails then, or is excused, was asked and
     * not answered. By default the server is killed when it is over, and only its connections fail.
     */
    async live(
      isOver: () => boolean,
      onAction: () => void,
      isExcused: (error: unknown) => boolean | Promise<boolean> = (error) =>
        isOver() && isDisconnection(error),
    ): Promise<void> {
      while (!isOver()) {
        const action = random.pick(possible())
        onAction()
        try {
          await actions[action]?.()
          count(action)
        } catch (error) {
          if (!(await isExcused(error))) throw error
          count(`${action} interrupted`)
        }
      }
    },
    /** Asks for everything that was answered for. `at`: where to ask. */
    async check(at: string = issuer): Promise<void> {
      for (const token of owed.dead) {
        const { status, body } = await refresh(at, token)
        expect(['dead', status, body.error]).toEqual(['dead', 400, 'invalid_grant'])
      }
      for (const cookie of owed.signedOut) {
        expect(await askSilently(at, cookie)).toBe('login_required')
      }
      if (owed.chain) owed.chain = await advance(at, owed.chain)
      if (owed.code) await redeem(at, owed.code.code, owed.code.verifier)
      owed.code = undefined
      if (owed.stage === 'signed in' && at === issuer) await actions['agree']?.()
      else if (owed.stage === 'agreed' && at === issuer) await actions['signOnSilently']?.()
      count('checked')
    },
  }
}

const SERVICE_REQUEST = { grant_type: 'client_credentials', scope: 'notes:read' }
const SERVICE = { authorization: basic('service', SERVICE_SECRET) }

function keep(list: string[], entry: string): void {
  list.push(entry)
  if (list.length > KEPT) list.shift()
}

function readCode(location: string | undefined): string {
  const code = new URL(location ?? '', REDIRECT).searchParams.get('code')
  expect([location, code]).toEqual([location, expect.any(String)])
  return code ?? ''
}

async function redeem(issuer: string, code: string, verifier: string): Promise<TokenAnswer> {
  const body = { grant_type: 'authorization_code', code, redirect_uri: REDIRECT }
  const answer = takeAnswer(await requestToken(issuer, { ...body, code_verifier: verifier }))
  expect(['code', answer.status, answer.body.error]).toEqual(['code', 200, undefined])
  return answer
}

function startChain({ body }: TokenAnswer): Chain {
  const grantId = decodeJwt(body.access_token).claims['grant_id']
  return { current: body.refresh_token, previous: undefined, beforePrevious: undefined, grantId }
}

/** Whether it is the first use of the token or the retry of one that was cut off, it has to succeed. */
async function advance(issuer: string, chain: Chain): Promise<Chain> {
  const { status, body } = takeAnswer(await refresh(issuer, chain.current))
  expect(['refresh', status, body.error]).toEqual(['refresh', 200, undefined])
  const grantId = decodeJwt(body.access_token).claims['grant_id']
  expect(grantId).toBe(chain.grantId)
  return {
    current: body.refresh_token,
    previous: chain.current,
    beforePrevious: chain.previous,
    grantId,
  }
}

async function askSilently(issuer: string, cookie: string): Promise<string | null> {
  const url = authorizationUrl(issuer, makePkce().challenge, { prompt: 'none' })
  const response = takeAnswer(await fetch(url, { headers: { cookie }, redirect: 'manual' }))
  return new URL(response.headers.get('location') ?? '', issuer).searchParams.get('error')
}

/** The server says that it cannot do its work now: that is no answer to what was asked. */
export class Unavailable extends Error {
  override readonly name = 'Unavailable'
}

function takeAnswer<T extends { readonly status: number }>(answer: T): T {
  if (answer.status === 503) throw new Unavailable()
  return answer
}

function openBrowser(issuer: string): Browser {
  const browser = createBrowser(issuer)
  return {
    ...browser,
    get: async (...request) => takeAnswer(await browser.get(...request)),
    submit: async (...form) => takeAnswer(await browser.submit(...form)),
  }
}

/** What `fetch` throws when the other side is gone. */
export function isDisconnection(error: unknown): boolean {
  return error instanceof TypeError && /fetch failed|terminated/.test(error.message)
}
