import { randomInt } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { createBrowser } from '../support/browser.ts'
import type { EngineName } from '../support/engines/find.ts'
import { needEngines } from '../support/engines/need.ts'
import { startPostgres } from '../support/engines/postgres.ts'
import { startRedis } from '../support/engines/redis.ts'
import {
  authorizationUrl,
  authorize,
  basic,
  decodeJwt,
  makePkce,
  requestToken,
} from '../support/flow.ts'
import { REDIRECT, SERVICE_SECRET, WEB_SECRET } from '../support/server.ts'
import { createRandom } from '../fault/random.ts'
import { deploy, readRedisDirectives, type Deployment, type Instance } from './deployment.ts'
import { listVisitors, underLoad, VISITORS, type Counts } from './visitor.ts'

const SETS: readonly (readonly EngineName[])[] = [['postgres'], ['postgres', 'redis']]

const REPLACEMENTS = 3
/** An instance is ended after so many more requests, and so much later. */
const MOST_REQUESTS = 30
const MOST_MILLISECONDS = 40
const KILLED = ['killed', 'SIGKILL', null] as const
const STOPPED = ['stopped', 'SIGTERM', 0] as const
const AT_ONCE = 50
/** What `signIn.perAccount` allows. */
const GUESSES = 10
const SERVICE = { authorization: basic('service', SERVICE_SECRET) }
const SERVICE_REQUEST = { grant_type: 'client_credentials', scope: 'notes:read' }
const WEB = { authorization: basic('web', WEB_SECRET) }
const IN_FORCE_MS = 1000
/** What was issued in the second of a revocation is covered by it: the next token comes a second later. */
const NEXT_TOKEN_MS = 2000
/** Far from the ten seconds after which an instance cuts off what is under way. */
const LONGEST_END_MS = 5000

for (const set of SETS) {
  const { isMissing, note } = needEngines(...set, 'nginx')
  describe.skipIf(isMissing)(`two instances on ${set.join(' and ')} behind nginx${note}`, () => {
    describeInstances(set.includes('redis'))
  })
}

function describeInstances(withRedis: boolean): void {
  const engines = new AsyncDisposableStack()
  let deployed: Deployment
  beforeAll(async () => {
    const postgres = engines.use(await startPostgres({ fsync: false }))
    const redis = withRedis
      ? engines.use(await startRedis({ directives: readRedisDirectives() }))
      : undefined
    deployed = engines.use(
      await deploy({ DATABASE_URL: postgres.url, ...(redis ? { REDIS_URL: redis.url } : {}) }),
    )
  })
  afterAll(() => engines.disposeAsync())

  test('serve one flow in turns', async () => {
    const before = countRequests(deployed)
    const [visitor] = listVisitors(deployed, 1, {})
    await visitor?.visit()
    const [first = 0, second = 0] = countRequests(deployed).map(
      (count, index) => count - (before[index] ?? 0),
    )
    expect(first + second).toBeGreaterThan(12)
    expect(Math.abs(first - second)).toBeLessThanOrEqual(1)
  })

  test('serve many flows at once', async () => {
    const counts: Counts = {}
    const visitors = listVisitors(deployed, AT_ONCE / 4, counts)
    await Promise.all(visitors.map((visitor) => visitor.visit()))
    expect(counts).toEqual({ visits: visitors.length })
  })

  test('redeem a code that comes fifty times at once, once', async () => {
    const { issuer } = deployed
    const { code, verifier } = await authorize(issuer)
    const body = { grant_type: 'authorization_code', code, redirect_uri: REDIRECT }
    const exchange = () => requestToken(issuer, { ...body, code_verifier: verifier })
    const answers = await Promise.all(Array.from({ length: AT_ONCE }, exchange))
    const outcomes = answers.map(({ status, body: { error } }) => error ?? status).toSorted()
    expect(outcomes).toEqual([200, ...Array.from({ length: AT_ONCE - 1 }, () => 'invalid_grant')])
    const winner = answers.find(({ status }) => status === 200)
    for (const { url } of deployed.instances) {
      const dead = await requestToken(
        url,
        { grant_type: 'refresh_token', refresh_token: winner?.body.refresh_token ?? '' },
        { ...WEB, ...deployed.forwarded },
      )
      expect([dead.status, dead.body.error]).toEqual([400, 'invalid_grant'])
    }
  })

  test('are told who asks by nginx alone, and answer no probes through it', async () => {
    const { issuer, instances } = deployed
    const pretence = {
      'x-forwarded-for': '203.0.113.7',
      'x-forwarded-host': 'evil.example',
      'x-forwarded-proto': 'http',
    }
    const answer = await fetch(`${issuer}/.well-known/openid-configuration`, { headers: pretence })
    expect([answer.status, await answer.json()]).toEqual([200, expect.objectContaining({ issuer })])
    expect(instances.map((one) => one.logged()).join('')).not.toMatch(/203\.0\.113\.7|evil/)
    expect((await fetch(`${instances[0].url}/jwks`)).status).toBe(421)
    for (const path of ['/livez', '/readyz']) {
      expect((await fetch(issuer + path)).status).toBe(404)
      for (const { url } of instances) expect((await fetch(url + path)).status).toBe(200)
    }
  })

  test(`count wrong guesses ${withRedis ? 'together' : 'each for itself'}`, async () => {
    const { issuer } = deployed
    const browser = createBrowser(issuer)
    let page = await browser.get(authorizationUrl(issuer, makePkce().challenge))
    const statuses: number[] = []
    for (let guess = 0; guess <= GUESSES; guess += 1) {
      const fields = { username: 'mallory', password: `guess ${guess}` }
      page = await browser.submit(page, '/sign-in', fields)
      statuses.push(page.status)
    }
    const allowed = Array.from({ length: GUESSES }, () => 422)
    expect(statuses).toEqual([...allowed, withRedis ? 429 : 422])
  })

  test('give a long state back', async () => {
    const state = 's'.repeat(4096)
    const { answer } = await authorize(deployed.issuer, { state })
    expect(answer.get('state')).toBe(state)
  })

  // To be stopped concerns no engine: once is enough.
  test.each(withRedis ? [KILLED, STOPPED] : [KILLED])(
    'lose no flow when one after the other is %s and started again under load',
    async (what, signal, code) => {
      const counts: Counts = {}
      const random = createRandom(randomInt(2 ** 31))
      const times: number[] = []
      await underLoad(deployed, counts, async (nextRequests) => {
        for (let round = 0; round < REPLACEMENTS; round += 1) {
          await nextRequests(1 + random.below(MOST_REQUESTS))
          await wait(random.below(MOST_MILLISECONDS))
          const instance = deployed.instances[round % 2 === 0 ? 0 : 1]
          const startedAt = performance.now()
          expect(await instance.end(signal)).toBe(code)
          times.push(Math.round(performance.now() - startedAt))
          await instance.start()
        }
        await nextRequests(MOST_REQUESTS)
      })
      console.log(what, { ...counts, endedAfterMs: times })
      expect(counts['visits']).toBeGreaterThanOrEqual(VISITORS)
      expect(Math.max(...times)).toBeLessThan(LONGEST_END_MS)
    },
  )

  test('have in force within a second what the command line changes', async () => {
    const { instances, forwarded, run } = deployed
    const took: Record<string, number> = {}
    const inForce = async (
      what: string,
      check: (instance: Instance) => Promise<void>,
      timeout = IN_FORCE_MS,
    ) => {
      const startedAt = performance.now()
      const bound = { timeout, interval: 10 }
      await Promise.all(instances.map((one) => vi.waitFor(() => check(one), bound)))
      took[what] = Math.round(performance.now() - startedAt)
    }
    const ask = (instance: Instance, body: Record<string, string>, headers = WEB) =>
      requestToken(instance.url, body, { ...headers, ...forwarded })
    const askAs = (instance: Instance, secret: string) =>
      ask(instance, SERVICE_REQUEST, { authorization: basic('robot', secret) })
    const expectRefusal = (what: string, secret: string) =>
      inForce(what, async (instance) => {
        const { status, body } = await askAs(instance, secret)
        expect([status, body.error]).toEqual([401, 'invalid_client'])
      })
    const expectAnswer = (what: string, secret: string) =>
      inForce(what, async (instance) => {
        expect((await askAs(instance, secret)).status).toBe(200)
      })

    const added = await run('clients add robot --grant client_credentials --scope notes:read')
    await expectAnswer('client added', String(added['secret']))
    const rotated = await run('clients rotate-secret robot')
    await expectAnswer('secret changed', String(rotated['secret']))
    await expectRefusal('old secret refused', String(added['secret']))

    await run('users add dora --role editor --password-stdin', PASSWORD)
    const families = new Map<Instance, string>()
    for (const instance of instances) {
      families.set(instance, await signInAs('dora', PASSWORD, deployed.issuer))
    }
    const refreshAt = async (instance: Instance) => {
      const answer = await ask(instance, {
        grant_type: 'refresh_token',
        refresh_token: families.get(instance) ?? '',
      })
      if (answer.status === 200) families.set(instance, answer.body.refresh_token)
      return answer
    }
    await run('users set-roles dora reader')
    await inForce(
      'role taken away',
      async (instance) => {
        expect((await refreshAt(instance)).body.scope).toBe('openid notes:read')
      },
      NEXT_TOKEN_MS,
    )
    await run('users disable dora')
    await inForce('user disabled', async (instance) => {
      expect((await refreshAt(instance)).body.error).toBe('invalid_grant')
    })

    const { rotations } = (await run('keys rotate --algorithm ES256 --now')) as Rotated
    const [{ next, withdrawn } = { next: { kid: '' }, withdrawn: [''] }] = rotations
    await inForce('key withdrawn', async (instance) => {
      const { body } = await ask(instance, SERVICE_REQUEST, SERVICE)
      expect(decodeJwt(body.access_token).header['kid']).toBe(next.kid)
      const published = await fetch(`${instance.url}/jwks`, { headers: forwarded })
      const kids = ((await published.json()) as { keys: { kid: string }[] }).keys.map(
        ({ kid }) => kid,
      )
      expect([kids.includes(next.kid), ...withdrawn.map((kid) => kids.includes(kid))]).toEqual([
        true,
        ...withdrawn.map(() => false),
      ])
    })
    console.log('in force on both after ms', took)
  })
}

interface Rotated extends Record<string, unknown> {
  readonly rotations: readonly { next: { kid: string }; withdrawn: readonly string[] }[]
}

const PASSWORD = 'the password of dora'

/** Answers the refresh token. */
async function signInAs(username: string, password: string, issuer: string): Promise<string> {
  const browser = createBrowser(issuer)
  const { verifier, challenge } = makePkce()
  const scope = 'openid notes:read notes:write'
  const start = await browser.get(authorizationUrl(issuer, challenge, { scope }))
  const asked = await browser.submit(start, '/sign-in', { username, password })
  const agreed = await browser.submit(asked, '/consent')
  const code = new URL(agreed.location ?? '', REDIRECT).searchParams.get('code') ?? ''
  const body = { grant_type: 'authorization_code', code, redirect_uri: REDIRECT }
  const answer = await requestToken(issuer, { ...body, code_verifier: verifier })
  expect([answer.status, answer.body.scope]).toEqual([200, scope])
  return answer.body.refresh_token
}

function countRequests({ instances }: Deployment): number[] {
  return instances.map((instance) => instance.logged().match(/"event":"request"/g)?.length ?? 0)
}
