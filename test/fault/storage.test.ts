import { DatabaseSync } from 'node:sqlite'
import { setTimeout as wait } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { createBrowser } from '../support/browser.ts'
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
      using other = new DatabaseSync(database)
      other.exec('begin immediate')
      const answer = refresh(issuer, refresh_token)
      await wait(500)
      other.exec('commit')
      expect((await answer).status).toBe(200)
    }))

  test('for long is a clear failure, and nothing is lost', () =>
    withServer(async (server) => {
      const { issuer, database } = server
      const { refresh_token, browser } = await obtainTokens(issuer)
      using other = new DatabaseSync(database)
      other.exec('begin immediate')
      const url = authorizationUrl(issuer, makePkce().challenge)
      const [refused, page, service, ready] = await Promise.all([
        refresh(issuer, refresh_token),
        browser.get(url),
        requestToken(issuer, { grant_type: 'client_credentials', scope: 'notes:read' }, SERVICE),
        fetch(`${issuer}/readyz`),
      ])
      expect([refused.status, refused.body]).toEqual([
        503,
        expect.objectContaining({ error: 'temporarily_unavailable' }),
      ])
      expect(refused.headers.get('x-request-id')).toMatch(UUID)
      expect(refused.headers.get('retry-after')).toMatch(/^\d+$/)
      expect(page.status).toBe(503)
      expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8')
      expect(page.text).toContain(page.headers.get('x-request-id'))
      expect(service.status).toBe(200)
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

describe('a disk that is full', () => {
  test('is a clear failure of what needs writing, and nothing that was answered for is lost', async () => {
    using folder = makeFolder()
    const config = writeConfig(folder.path)
    const tokens: string[] = []
    {
      // No file may grow beyond so many KiB: what SQLite meets is what it meets on a full disk.
      const through = ['bash', '-c', 'ulimit -S -f 600 && exec "$@"', 'bash']
      await using server = await startServerProcess(config, { folder: folder.path, through })
      const { issuer } = server
      let answer = await tryToSignIn(issuer)
      for (; answer.status === 200; answer = await tryToSignIn(issuer)) tokens.push(answer.token)
      expect(answer.status).toBe(500)
      expect(answer.requestId).toMatch(UUID)
      expect(server.logged()).toContain(answer.requestId)
      const service = { grant_type: 'client_credentials', scope: 'notes:read' }
      expect((await requestToken(issuer, service, SERVICE)).status).toBe(200)
      expect((await fetch(`${issuer}/livez`)).status).toBe(200)
    }
    expect(tokens.length).toBeGreaterThan(0)
    await using server = await startServerProcess(config, { folder: folder.path })
    for (const token of tokens) expect((await refresh(server.issuer, token)).status).toBe(200)
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
    ? { status: 200, token: answer.body.refresh_token, requestId: '' }
    : fail(answer)
}
