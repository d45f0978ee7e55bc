import { describe, expect, test } from 'vitest'
import { systemClock, type Clock } from '../../auth-server/clock.ts'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { createBrowser } from '../support/browser.ts'
import { nextSecond } from '../support/clock.ts'
import {
  authorizationUrl,
  authorize,
  decodeJwt,
  makePkce,
  requestToken,
  signIn,
} from '../support/flow.ts'
import {
  BEGINNINGS,
  databaseOf,
  endAccess,
  endBeforeWrites,
  withAlice,
  withBeginnings,
} from '../support/late-writes.ts'
import { NOTES, PASSWORDS, REDIRECT, startServer } from '../support/server.ts'

const HOUR = 3_600_000

/** As far ahead of this process as is said, and turned from there. */
function createDatabaseClock(ahead: number): Clock & { turn(milliseconds: number): void } {
  let turned = ahead
  return {
    now: () => systemClock.now() + turned,
    turn(milliseconds) {
      turned += milliseconds
    },
  }
}

function redeem(issuer: string, { code, verifier }: { code: string; verifier: string }) {
  const request = { grant_type: 'authorization_code', code, code_verifier: verifier }
  return requestToken(issuer, { ...request, redirect_uri: REDIRECT })
}

const withPasswords = (config: ConfigInput): ConfigInput => ({
  ...config,
  directAccess: { listen: { port: 0 }, password: { resource: NOTES } },
})

describe.each([
  ['five seconds ahead', -5000],
  ['five seconds behind', 5000],
])('a server that is %s of its database', (_how, offset) => {
  test.each(BEGINNINGS)('gives no tokens for %s of before the end', async (_what, begin) => {
    const databaseClock = createDatabaseClock(offset)
    await using server = await startServer(withBeginnings, { databaseClock })
    const collect = await begin(server)
    await endBeforeWrites(databaseOf(server), databaseClock)
    await nextSecond()
    const { status, body } = await collect()
    expect([status, body.error]).toEqual([400, 'invalid_grant'])
  })

  test.each(BEGINNINGS)('gives some for %s where nothing ended', async (_what, begin) => {
    await using server = await startServer(withBeginnings, {
      databaseClock: createDatabaseClock(offset),
    })
    const collect = await begin(server)
    expect((await collect()).status).toBe(200)
  })

  test('asks who was signed in, or about to agree, to sign in again: once', async () => {
    const databaseClock = createDatabaseClock(offset)
    await using server = await startServer(withBeginnings, { databaseClock })
    const { issuer } = server
    const { browser } = await authorize(issuer)
    const waiting = createBrowser(issuer)
    const { challenge } = makePkce()
    const consent = await signIn(waiting, await waiting.get(authorizationUrl(issuer, challenge)))
    expect(consent.text).toContain('/consent"')
    await endBeforeWrites(databaseOf(server), databaseClock)
    expect((await browser.get(authorizationUrl(issuer, challenge))).text).toContain('/sign-in"')
    expect((await browser.get(`${issuer}/account`)).text).toContain('/sign-in"')
    const refused = await waiting.submit(consent, '/consent')
    expect(refused.text).toContain('/sign-in"')
    const agreed = await signIn(waiting, refused)
    const { location = '' } = agreed.location ? agreed : await waiting.submit(agreed, '/consent')
    expect(new URL(location).searchParams.get('code')).toMatch(/./)
    const again = await authorize(issuer, {}, 'alice', browser)
    // What is issued in the second of the end counts as older.
    await nextSecond()
    const { status, body } = await redeem(issuer, again)
    expect(status).toBe(200)
    const signedInAt = Number(decodeJwt(body.access_token).claims['auth_time'])
    expect(signedInAt).toBeLessThanOrEqual(Number(decodeJwt(body.access_token).claims['iat']))
    expect(Math.abs(signedInAt - databaseClock.now() / 1000)).toBeLessThan(3)
  })

  test('reckons the age of a sign-in by the database', async () => {
    const databaseClock = createDatabaseClock(offset)
    await using server = await startServer(withBeginnings, { databaseClock })
    const { issuer } = server
    const { browser } = await authorize(issuer, { max_age: '10' })
    const silently = async () => {
      const url = authorizationUrl(issuer, makePkce().challenge, { max_age: '10', prompt: 'none' })
      const { location = '' } = await browser.get(url)
      return new URL(location).searchParams.get('error') ?? 'a code'
    }
    expect(await silently()).toBe('a code')
    databaseClock.turn(8000)
    expect(await silently()).toBe('a code')
    databaseClock.turn(3000)
    expect(await silently()).toBe('login_required')
    for (const max_age of ['10', '1', '0']) {
      const again = await authorize(issuer, { max_age }, 'alice', browser)
      const { status, body } = await redeem(issuer, again)
      expect(status).toBe(200)
      const signedInAt = Number(decodeJwt(body.id_token).claims['auth_time'])
      expect(Math.abs(signedInAt - databaseClock.now() / 1000)).toBeLessThan(3)
      databaseClock.turn(11_000)
    }
  })

  test('gives a token for a password, and another after the end', async () => {
    const databaseClock = createDatabaseClock(offset)
    await using server = await startServer(withPasswords, { databaseClock })
    const body = new URLSearchParams({ username: 'alice', password: PASSWORDS.alice })
    const ask = async () => {
      const answer = await fetch(`${server.directUrl}/getToken`, { method: 'POST', body })
      const { token = '' } = answer.ok ? ((await answer.json()) as { token?: string }) : {}
      if (!answer.ok) await answer.body?.cancel()
      return { status: answer.status, token }
    }
    const before = await ask()
    expect(before.status).toBe(200)
    await endAccess(databaseOf(server), databaseClock)
    await nextSecond()
    const after = await ask()
    expect(after.status).toBe(200)
    await withAlice(
      databaseOf(server),
      async ({ id }, { revocations }) => {
        const isRevoked = ({ token }: { token: string }) =>
          revocations.isRevoked('user', id, Number(decodeJwt(token).claims['iat']) * 1000)
        expect([await isRevoked(before), await isRevoked(after)]).toEqual([true, false])
      },
      databaseClock,
    )
  })
})

test.each([
  ['ahead', -HOUR],
  ['behind', HOUR],
])('a server that is an hour %s lets people make API keys', async (_how, offset) => {
  const databaseClock = createDatabaseClock(offset)
  await using server = await startServer(withBeginnings, { databaseClock })
  const browser = createBrowser(server.issuer)
  const start = await browser.get(`${server.issuer}/account/api-keys/new`)
  const typed = { username: 'alice', password: PASSWORDS.alice }
  const chosen = await browser.submit(start, '/sign-in', typed)
  const fields = { name: 'Backup', 'scope notes:read': 'on', expires: '7' }
  const made = await browser.submit(chosen, '/account/api-keys', fields)
  expect(made.text).toMatch(/prk_[0-9A-Za-z]{49}/)
  await withAlice(
    databaseOf(server),
    async ({ id }, { apiKeys }) => {
      const [key] = await apiKeys.listByAccount(id)
      expect(Math.abs(Number(key?.createdAt) - databaseClock.now())).toBeLessThan(10_000)
    },
    databaseClock,
  )
})

test('a sign-in between two ends of one second has ended', async () => {
  let now = systemClock.now()
  const databaseClock = { now: () => now }
  await using server = await startServer(withBeginnings, { databaseClock })
  await endAccess(databaseOf(server), databaseClock)
  const between = await authorize(server.issuer)
  await endBeforeWrites(databaseOf(server), databaseClock)
  const after = await authorize(server.issuer)
  now += 1000
  const refused = await redeem(server.issuer, between)
  expect([refused.status, refused.body.error]).toEqual([400, 'invalid_grant'])
  expect((await redeem(server.issuer, after)).status).toBe(200)
})
