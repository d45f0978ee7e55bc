import { execFileSync } from 'node:child_process'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as wait } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { createBrowser, readForm, type Browser } from '../support/browser.ts'
import {
  authorizationUrl,
  basic,
  makePkce,
  obtainTokens,
  refresh,
  requestToken,
  signIn,
} from '../support/flow.ts'
import { makeFolder } from '../support/folder.ts'
import { startServerProcess, writeConfig, type ServerProcess } from '../support/process.ts'
import { REDIRECT, SERVICE_SECRET } from '../support/server.ts'

const SERVICE = { authorization: basic('service', SERVICE_SECRET) }
/** The server writes its audit log when it pleases. */
const PATIENT = { timeout: 5000 }
const DISK_KIB = 700
const UUID = /^[0-9a-f-]{36}$/

async function withServer(work: (server: ServerProcess, folder: string) => Promise<void>) {
  using folder = makeFolder()
  const config = writeConfig(folder.path)
  await using server = await startServerProcess(config, { folder: folder.path })
  await work(server, folder.path)
}

describe('a database that somebody else has locked', () => {
  test('for a moment delays an answer', () =>
    withServer(async ({ issuer, database }) => {
      const { refresh_token } = await obtainTokens(issuer)
      using other = new DatabaseSync(database, PATIENT)
      other.exec('begin immediate')
      const answer = refresh(issuer, refresh_token)
      await wait(500)
      other.exec('commit')
      expect((await answer).status).toBe(200)
    }))

  test('leaves a browser where it was: it goes on when the lock is gone', () =>
    withServer(async ({ issuer, database }) => {
      const browser = createBrowser(issuer)
      const start = await browser.get(authorizationUrl(issuer, makePkce().challenge))
      const asked = await signIn(browser, start)
      const form = readForm(asked.text, '/consent')
      const action = new URL(form.action, issuer)
      const consented = await fetch(action, {
        method: 'POST',
        body: new URLSearchParams(form.hidden),
        headers: { cookie: listCookies(browser, action.pathname) },
        redirect: 'manual',
      })
      expect(consented.status).toBe(303)
      const resume = new URL(consented.headers.get('location') ?? '', issuer).href
      using other = new DatabaseSync(database, PATIENT)
      other.exec('begin immediate')
      const before = browser.cookies()
      expect(await browser.get(resume)).toMatchObject({ status: 503, location: undefined })
      expect(browser.cookies()).toEqual(before)
      other.exec('rollback')
      const { location } = await browser.get(resume)
      expect(new URL(location ?? '').searchParams.get('code')).not.toBe(null)
    }))

  test('for long is a clear failure, and nothing is lost', () =>
    withServer(async (server) => {
      const { issuer, database } = server
      const { refresh_token, browser } = await obtainTokens(issuer)
      using other = new DatabaseSync(database, PATIENT)
      other.exec('begin immediate')
      const url = authorizationUrl(issuer, makePkce().challenge)
      const [refused, page, service, ready] = await Promise.all([
        refresh(issuer, refresh_token),
        browser.get(url),
        requestToken(issuer, { grant_type: 'client_credentials', scope: 'notes:read' }, SERVICE),
        fetch(`${issuer}/readyz`),
      ])
      // The one has something to write. The other has not, but who appends to the log may be holding the lock.
      for (const { status, body, headers } of [refused, service]) {
        expect([status, body.error]).toEqual([503, 'temporarily_unavailable'])
        expect(headers.get('x-request-id')).toMatch(UUID)
        expect(headers.get('retry-after')).toMatch(/^\d+$/)
      }
      expect(page.status).toBe(503)
      expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8')
      expect(page.text).toContain(page.headers.get('x-request-id'))
      expect(ready.status).toBe(200)
      other.exec('rollback')
      expect((await refresh(issuer, refresh_token)).status).toBe(200)
      expect(new URL((await browser.get(url)).location ?? '').searchParams.get('code')).not.toBe(
        null,
      )
      expect(server.logged()).toContain(refused.headers.get('x-request-id'))
      expect(server.logged()).not.toContain(refresh_token)
    }))
})

/** What the browser would send there. */
function listCookies(browser: Browser, pathname: string): string {
  const sent = browser.cookies().filter(({ path }) => pathname.startsWith(path))
  return sent.map(({ name, value }) => `${name}=${value}`).join('; ')
}

describe('a disk that is full', () => {
  test('is said to whoever needs writing; when there is room again all goes on, and nothing is lost', async () => {
    using folder = makeFolder()
    const config = writeConfig(folder.path)
    const tokens: string[] = []
    // No file may grow beyond so many KiB: what SQLite meets is what it meets on a full disk.
    const through = ['bash', '-c', `ulimit -S -f ${DISK_KIB} && exec "$@"`, 'bash']
    await using server = await startServerProcess(config, { folder: folder.path, through })
    const { issuer } = server
    let answer = await tryToSignIn(issuer)
    for (; answer.status === 200; answer = await tryToSignIn(issuer)) tokens.push(answer.token)
    expect([answer.status, answer.retryAfter]).toEqual([503, '1'])
    expect(answer.requestId).toMatch(UUID)
    const lines = server
      .logged()
      .split('\n')
      .filter((line) => line.includes(answer.requestId))
    expect(lines.join('\n')).toContain('is the disk full?')
    const service = { grant_type: 'client_credentials', scope: 'notes:read' }
    expect((await requestToken(issuer, service, SERVICE)).status).toBe(200)
    expect((await fetch(`${issuer}/livez`)).status).toBe(200)

    execFileSync('prlimit', ['--pid', String(server.pid), '--fsize=unlimited'])
    expect((await tryToSignIn(issuer)).status).toBe(200)
    expect(tokens.length).toBeGreaterThan(0)
    for (const token of tokens) expect((await refresh(issuer, token)).status).toBe(200)
    server.signal('SIGTERM')
    expect((await server.ended).code).toBe(0)
    using database = new DatabaseSync(server.database, PATIENT)
    expect(database.prepare('pragma integrity_check').all()).toEqual([{ integrity_check: 'ok' }])
  })
})

/** Signs in, agrees and gets tokens, up to the first answer that is a failure. */
async function tryToSignIn(issuer: string) {
  const browser = createBrowser(issuer)
  const { verifier, challenge } = makePkce()
  const fail = ({ status, headers }: { status: number; headers: Headers }) => ({
    status,
    token: '',
    requestId: headers.get('x-request-id') ?? '',
    retryAfter: headers.get('retry-after'),
  })
  const start = await browser.get(authorizationUrl(issuer, challenge))
  if (start.status !== 200) return fail(start)
  const asked = await signIn(browser, start)
  if (asked.status !== 200) return fail(asked)
  const agreed = await browser.submit(asked, '/consent')
  if (agreed.status >= 400) return fail(agreed)
  const code = new URL(agreed.location ?? '').searchParams.get('code') ?? ''
  const body = { grant_type: 'authorization_code', code, redirect_uri: REDIRECT }
  const answer = await requestToken(issuer, { ...body, code_verifier: verifier })
  return answer.status === 200
    ? { status: 200, token: answer.body.refresh_token, requestId: '', retryAfter: null }
    : fail(answer)
}
