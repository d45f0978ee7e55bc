import { describe, expect, test } from 'vitest'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import {
  authorize,
  obtainTokens,
  refresh,
  requestToken,
  type TokenAnswer,
} from '../support/flow.ts'
import { REDIRECT, startServer } from '../support/server.ts'

const withWindow = (seconds: number) => (config: ConfigInput) => ({
  ...config,
  tokens: { refreshRetryWindowSeconds: seconds },
})

function count(answers: readonly TokenAnswer[]): Record<string, number> {
  const outcomes = answers.map(({ status, body }) => (status === 200 ? 'success' : body.error))
  return Object.fromEntries(
    [...new Set(outcomes)].map((kind) => [kind, outcomes.filter((one) => one === kind).length]),
  )
}

/** Fifty at once, dealt out to the given issuers in turn. */
function fifty(
  issuers: readonly string[],
  send: (issuer: string) => Promise<TokenAnswer>,
): Promise<TokenAnswer[]> {
  return Promise.all(
    Array.from({ length: 50 }, (_, index) => send(issuers[index % issuers.length] ?? '')),
  )
}

describe('a refresh token', () => {
  test('rotates, and a retry gets the same successor until it is used', async () => {
    await using server = await startServer()
    const first = await obtainTokens(server.issuer)
    const second = await refresh(server.issuer, first.refresh_token)
    const retried = await refresh(server.issuer, first.refresh_token)
    expect(second.body.refresh_token).not.toBe(first.refresh_token)
    expect(retried.body.refresh_token).toBe(second.body.refresh_token)
    const third = await refresh(server.issuer, second.body.refresh_token)
    expect(third.status).toBe(200)
    const reused = await refresh(server.issuer, first.refresh_token)
    expect([reused.status, reused.body.error]).toEqual([400, 'invalid_grant'])
    const dead = await refresh(server.issuer, third.body.refresh_token)
    expect([dead.status, dead.body.error]).toEqual([400, 'invalid_grant'])
  })

  test('is used once where the retry window is off', async () => {
    await using server = await startServer(withWindow(0))
    const first = await obtainTokens(server.issuer)
    const second = await refresh(server.issuer, first.refresh_token)
    const reused = await refresh(server.issuer, first.refresh_token)
    expect([reused.status, reused.body.error]).toEqual([400, 'invalid_grant'])
    const dead = await refresh(server.issuer, second.body.refresh_token)
    expect([dead.status, dead.body.error]).toEqual([400, 'invalid_grant'])
  })

  test('is of no use to another client', async () => {
    await using server = await startServer()
    const { refresh_token } = await obtainTokens(server.issuer)
    const body = { grant_type: 'refresh_token', refresh_token, client_id: 'spa' }
    const stolen = await requestToken(server.issuer, body, {})
    expect([stolen.status, stolen.body.error]).toEqual([400, 'invalid_grant'])
    expect((await refresh(server.issuer, refresh_token)).status).toBe(200)
  })
})

describe.each([1, 2])('fifty at once on %i server(s)', (servers) => {
  async function withServers(
    change: (config: ConfigInput) => ConfigInput,
    work: (issuer: string, issuers: readonly string[]) => Promise<void>,
  ): Promise<void> {
    await using server = await startServer(change)
    if (servers === 1) {
      await work(server.issuer, [server.issuer])
      return
    }
    await using other = await server.startAnother()
    await work(server.issuer, [server.issuer, other.issuer])
  }

  test('redeem one code once, and the family dies', () =>
    withServers(withWindow(0), async (issuer, issuers) => {
      const { code, verifier } = await authorize(issuer)
      const exchange = {
        grant_type: 'authorization_code',
        code,
        code_verifier: verifier,
        redirect_uri: REDIRECT,
      }
      const answers = await fifty(issuers, (one) => requestToken(one, exchange))
      expect(count(answers)).toEqual({ success: 1, invalid_grant: 49 })
      const winner = answers.find(({ status }) => status === 200)
      const dead = await refresh(issuer, winner?.body.refresh_token ?? '')
      expect([dead.status, dead.body.error]).toEqual([400, 'invalid_grant'])
    }))

  test('use one refresh token once with the window at 0, and the family dies', () =>
    withServers(withWindow(0), async (issuer, issuers) => {
      const { refresh_token } = await obtainTokens(issuer)
      const answers = await fifty(issuers, (one) => refresh(one, refresh_token))
      expect(count(answers)).toEqual({ success: 1, invalid_grant: 49 })
      const winner = answers.find(({ status }) => status === 200)
      const dead = await refresh(issuer, winner?.body.refresh_token ?? '')
      expect([dead.status, dead.body.error]).toEqual([400, 'invalid_grant'])
    }))

  test('get the one same successor with the window at 30 s', () =>
    withServers(withWindow(30), async (issuer, issuers) => {
      const { refresh_token } = await obtainTokens(issuer)
      const answers = await fifty(issuers, (one) => refresh(one, refresh_token))
      expect(count(answers)).toEqual({ success: 50 })
      expect(new Set(answers.map(({ body }) => body.refresh_token)).size).toBe(1)
      const next = await refresh(issuer, answers[0]?.body.refresh_token ?? '')
      expect(next.status).toBe(200)
    }))
})
