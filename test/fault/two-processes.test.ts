import { setTimeout as wait } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import {
  authorize,
  obtainTokens,
  refresh,
  requestToken,
  type TokenAnswer,
} from '../support/flow.ts'
import { makeFolder } from '../support/folder.ts'
import { startServerProcess, writeConfig, type ServerProcess } from '../support/process.ts'
import { REDIRECT } from '../support/server.ts'
import { createPerson } from './person.ts'
import { createRandom } from './random.ts'

const AT_ONCE = 50

const withWindow = (seconds: number) => (config: ConfigInput) => ({
  ...config,
  tokens: { refreshRetryWindowSeconds: seconds },
})

/** Two processes on one database file and one root key, each on a port of its own. */
async function withTwo(
  windowSeconds: number,
  work: (one: ServerProcess, two: ServerProcess) => Promise<void>,
): Promise<void> {
  using folder = makeFolder()
  const config = writeConfig(folder.path, withWindow(windowSeconds))
  await using one = await startServerProcess(config, { folder: folder.path })
  await using two = await startServerProcess(config, { folder: folder.path })
  await work(one, two)
}

function sendFifty(
  servers: readonly [ServerProcess, ServerProcess],
  send: (issuer: string) => Promise<TokenAnswer>,
): Promise<TokenAnswer[]> {
  return Promise.all(
    Array.from({ length: AT_ONCE }, (_, index) => send(servers[index % 2 === 0 ? 0 : 1].issuer)),
  )
}

function outcomes(answers: readonly TokenAnswer[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { status, body } of answers) {
    const outcome = status === 200 ? 'success' : `${status} ${body.error}`
    counts[outcome] = (counts[outcome] ?? 0) + 1
  }
  return counts
}

/** The refresh token of the one that won is refused on both. */
async function expectDead(
  answers: readonly TokenAnswer[],
  servers: readonly ServerProcess[],
): Promise<void> {
  const winner = answers.find(({ status }) => status === 200)
  for (const { issuer } of servers) {
    const dead = await refresh(issuer, winner?.body.refresh_token ?? '')
    expect([dead.status, dead.body.error]).toEqual([400, 'invalid_grant'])
  }
}

describe('two processes on one database file', () => {
  test('redeem a code sent fifty times once, and the family dies', () =>
    withTwo(0, async (one, two) => {
      const { code, verifier } = await authorize(one.issuer)
      const body = { grant_type: 'authorization_code', code, redirect_uri: REDIRECT }
      const exchange = { ...body, code_verifier: verifier }
      const answers = await sendFifty([one, two], (issuer) => requestToken(issuer, exchange))
      expect(outcomes(answers)).toEqual({ success: 1, '400 invalid_grant': 49 })
      await expectDead(answers, [one, two])
    }))

  test('redeem a refresh token sent fifty times once with the window at 0, and the family dies', () =>
    withTwo(0, async (one, two) => {
      const { refresh_token } = await obtainTokens(one.issuer)
      const answers = await sendFifty([one, two], (issuer) => refresh(issuer, refresh_token))
      expect(outcomes(answers)).toEqual({ success: 1, '400 invalid_grant': 49 })
      await expectDead(answers, [one, two])
    }))

  test('give fifty callers of a refresh the one same successor with the window at 30 s', () =>
    withTwo(30, async (one, two) => {
      const { refresh_token } = await obtainTokens(one.issuer)
      const answers = await sendFifty([one, two], (issuer) => refresh(issuer, refresh_token))
      expect(outcomes(answers)).toEqual({ success: 50 })
      expect(new Set(answers.map(({ body }) => body.refresh_token)).size).toBe(1)
      const next = await refresh(two.issuer, answers[0]?.body.refresh_token ?? '')
      expect(next.status).toBe(200)
    }))

  test('go on when one of them is killed while both are at work', () =>
    withTwo(300, async (one, two) => {
      const random = createRandom(1)
      const counts = {}
      let isKilled = false
      let isOver = false
      const onFirst = [1, 2].map(() => createPerson(one.issuer, random, counts))
      const onSecond = [1, 2].map(() => createPerson(two.issuer, random, counts))
      const lives = [
        ...onFirst.map((person) =>
          person.live(
            () => isKilled,
            () => {},
          ),
        ),
        // Theirs must not be interrupted: `isOver` is not true before the last action has ended.
        ...onSecond.map((person) =>
          person.live(
            () => isOver,
            () => {},
          ),
        ),
      ]
      const failed = Promise.all(lives)
      await Promise.race([wait(1500), failed])
      isKilled = true
      one.signal('SIGKILL')
      await one.ended
      await Promise.race([wait(1500), failed])
      isOver = true
      await failed
      for (const person of onFirst) await person.check(two.issuer)
      for (const person of onSecond) await person.check()
      expect(counts).toMatchObject({ signIn: expect.any(Number), refresh: expect.any(Number) })
    }))
})
