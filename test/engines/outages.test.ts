import { setTimeout as wait } from 'node:timers/promises'
import { describe, expect, test, vi } from 'vitest'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { createPerson, Unavailable, type Counts } from '../fault/person.ts'
import { createRandom } from '../fault/random.ts'
import { createBrowser, type Page } from '../support/browser.ts'
import type { EngineName } from '../support/engines/find.ts'
import { needEngines } from '../support/engines/need.ts'
import { startPostgres } from '../support/engines/postgres.ts'
import { startRedis } from '../support/engines/redis.ts'
import type { Service } from '../support/engines/service.ts'
import { authorizationUrl, basic, makePkce, obtainTokens } from '../support/flow.ts'
import { makeFolder } from '../support/folder.ts'
import { startServerProcess, writeConfig, type ServerProcess } from '../support/process.ts'
import { PASSWORDS, SERVICE_SECRET } from '../support/server.ts'
import { startLoad, type Answer, type Load } from './load.ts'

const OUTAGE_MS = 10_000
/** By then everybody who was caught by it has been told so. */
const SETTLED_MS = 5000
const LONGEST_ANSWER_MS = 5000
const RECOVERY_MS = 2500
const EVERY_MS = 200
/**
 * Of those that come later one at a time tries whether it is over, and the others are told at once. If
 * each waited for itself, some sixty would be under way.
 */
const MOST_IN_FLIGHT = 30
/** What people have done at least before it begins. */
const REFRESHES = 6
const WARM_UP_MS = 30_000
const PEOPLE = 4
const TIMEOUT_MS = 120_000

const WAYS = [
  { how: 'stopped', begin: (it: Service) => it.stop(), end: (it: Service) => it.start() },
  { how: 'paused', begin: (it: Service) => it.pause(), end: async (it: Service) => it.resume() },
] as const

/** What an engine takes with it, of what the load asks for. */
const NEEDS = {
  postgres: ['page', 'token', 'userinfo'],
  redis: ['page'],
} as const

/** Nothing but the outage may end a code or a retry window. */
const patient = (config: ConfigInput) => ({
  ...config,
  tokens: { authorizationCodeTtlSeconds: 600, refreshRetryWindowSeconds: 300 },
})

async function startInstance(made: AsyncDisposableStack, engine: keyof typeof NEEDS) {
  const folder = made.use(makeFolder())
  const postgres = made.use(await startPostgres({ fsync: false }))
  const redis = engine === 'redis' ? made.use(await startRedis()) : undefined
  const environment = { DATABASE_URL: postgres.url, ...(redis ? { REDIS_URL: redis.url } : {}) }
  const server = made.use(
    await startServerProcess(writeConfig(folder.path, patient), {
      folder: folder.path,
      environment,
    }),
  )
  return { server, service: redis ?? postgres }
}

async function startRequests({ issuer }: ServerProcess): Promise<Load> {
  const { access_token } = await obtainTokens(issuer)
  const html = { headers: { accept: 'text/html' }, redirect: 'manual' } as const
  const service = { authorization: basic('service', SERVICE_SECRET) }
  const body = 'grant_type=client_credentials&scope=notes:read'
  const type = { 'content-type': 'application/x-www-form-urlencoded' }
  return startLoad(EVERY_MS, {
    page: () => fetch(authorizationUrl(issuer, makePkce().challenge), html),
    token: () =>
      fetch(`${issuer}/token`, { method: 'POST', body, headers: { ...service, ...type } }),
    userinfo: () =>
      fetch(`${issuer}/userinfo`, { headers: { authorization: `Bearer ${access_token}` } }),
    jwks: () => fetch(`${issuer}/jwks`),
    live: () => fetch(`${issuer}/livez`),
    ready: () => fetch(`${issuer}/readyz`),
  })
}

const isGood = ({ status }: Answer) => status === 200 || status === 303

function describeTimes(answers: readonly Answer[]): string {
  const times = answers.map(({ milliseconds }) => milliseconds).toSorted((one, two) => one - two)
  const at = (share: number) =>
    Math.round(times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0)
  return `n ${times.length}, p50 ${at(0.5)}, p90 ${at(0.9)}, p99 ${at(0.99)}, max ${at(1)} ms`
}

/** A form that was shown before, and is sent meanwhile and afterwards. */
async function openForm(issuer: string) {
  const browser = createBrowser(issuer)
  const page = await browser.get(authorizationUrl(issuer, makePkce().challenge))
  const fields = { username: 'alice', password: PASSWORDS.alice }
  return () => browser.submit(page, '/sign-in', fields)
}

function expectPage({ status, headers, text }: Page): void {
  expect([status, headers.get('retry-after'), headers.get('content-type')]).toEqual([
    503,
    '1',
    'text/html; charset=utf-8',
  ])
  expect(text).toContain('Wait a little, then load this page again')
  expect(text).toContain(headers.get('x-request-id'))
}

for (const engine of ['postgres', 'redis'] as const) {
  const engines: EngineName[] = engine === 'redis' ? ['postgres', 'redis'] : ['postgres']
  const { isMissing, note } = needEngines(...engines)
  describe.skipIf(isMissing).concurrent(`${engine}${note}`, () => {
    test(
      'away for ten seconds, stopped and paused, is said at once to whoever needs it, and nothing is lost',
      async () => {
        await using made = new AsyncDisposableStack()
        const { server, service } = await startInstance(made, engine)
        const counts = await goThrough(server, service, engine)
        console.log(engine, counts)
        expect(counts).toMatchObject({ signIn: expect.any(Number), refresh: expect.any(Number) })
        expect(server.logged()).not.toContain('"event":"server_error"')
      },
      TIMEOUT_MS,
    )
  })
}

async function goThrough(
  server: ServerProcess,
  service: Service,
  engine: keyof typeof NEEDS,
): Promise<Counts> {
  const { issuer } = server
  const life = { isOver: false, mayFail: false }
  const counts: Counts = {}
  const random = createRandom(1)
  const people = Array.from({ length: PEOPLE }, () => createPerson(issuer, random, counts))
  const isExcused = async (error: unknown) => {
    if (!life.mayFail || !(error instanceof Unavailable)) return false
    // As Retry-After says.
    await wait(1000)
    return true
  }
  const load = await startRequests(server)
  const lives = Promise.all(
    people.map((person) =>
      person.live(
        () => life.isOver,
        () => {},
        isExcused,
      ),
    ),
  )
  try {
    for (const way of WAYS) {
      // Somebody who got a wrong answer ends the test.
      await Promise.race([lives, oneOutage(way)])
    }
  } finally {
    life.isOver = true
    await load.stop()
    await lives
  }
  for (const person of people) await person.check()
  return counts

  async function oneOutage({ how, begin, end }: (typeof WAYS)[number]): Promise<void> {
    const before = counts['refresh'] ?? 0
    const isBusy = () => expect(counts['refresh'] ?? 0).toBeGreaterThanOrEqual(before + REFRESHES)
    await vi.waitFor(isBusy, WARM_UP_MS)
    const sendForm = await openForm(issuer)
    const startedAt = performance.now()
    life.mayFail = true
    await begin(service)
    const goneAt = performance.now()
    await wait(SETTLED_MS)
    expectPage(await sendForm())
    await wait(OUTAGE_MS - SETTLED_MS)
    const backAt = performance.now()
    await end(service)
    const upAt = performance.now()
    const recovered: Record<string, number> = {}
    for (const kind of load.kinds) {
      const first = await vi.waitFor(
        () => {
          const found = load.answers.find(
            (answer) => answer.kind === kind && isGood(answer) && answer.endedAt > backAt,
          )
          return found ?? expect.fail(`${kind} does not recover`)
        },
        { timeout: RECOVERY_MS, interval: 10 },
      )
      recovered[kind] = Math.max(0, Math.round(first.endedAt - upAt))
    }
    expect((await sendForm()).text).toContain('/consent"')
    life.mayFail = false
    report({ how, startedAt, goneAt, backAt, recovered })
  }

  function report(outage: {
    how: string
    startedAt: number
    goneAt: number
    backAt: number
    recovered: Record<string, number>
  }): void {
    const { how, startedAt, goneAt, backAt, recovered } = outage
    const met = load.answers.filter((one) => one.endedAt > startedAt && one.startedAt < backAt)
    const inside = met.filter((one) => one.startedAt > goneAt && one.endedAt < backAt)
    const needs: readonly string[] = NEEDS[engine]
    for (const kind of load.kinds) {
      const answers = inside.filter((one) => one.kind === kind)
      const outcomes = new Set(answers.map(({ status, retryAfter }) => `${status} ${retryAfter}`))
      const expected = kind === 'ready' ? '503 null' : needs.includes(kind) ? '503 1' : '200 null'
      expect([kind, ...outcomes]).toEqual([kind, expected])
    }
    const reason = { postgres: 'database', redis: 'redis' }[engine]
    for (const { text } of inside.filter(({ kind }) => kind === 'ready')) {
      expect(JSON.parse(text)).toMatchObject({ status: 'unavailable', [reason]: 'failed' })
    }
    const refused = met.filter(({ kind }) => needs.includes(kind))
    const settled = load.mostInFlight(goneAt + SETTLED_MS, backAt)
    const slowest = met.toSorted((one, two) => two.milliseconds - one.milliseconds)[0]
    console.log(`${engine} ${how}: ${describeTimes(refused)}`, {
      slowest: `${slowest?.kind} ${slowest?.status} ${Math.round(slowest?.milliseconds ?? 0)} ms`,
      mostInFlight: load.mostInFlight(startedAt, backAt),
      mostInFlightLater: settled,
      recoveredAfterMs: recovered,
    })
    expect(slowest?.milliseconds).toBeLessThan(LONGEST_ANSWER_MS)
    expect(settled).toBeLessThanOrEqual(MOST_IN_FLIGHT)
  }
}
