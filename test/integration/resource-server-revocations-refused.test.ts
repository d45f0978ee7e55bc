import type { ServerResponse } from 'node:http'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { Clock } from '../../resource-server/clock.ts'
import { createRevocationFeed } from '../../resource-server/index.ts'
import {
  APPLIED_PATH,
  CREDENTIALS,
  PAGES_PATH,
  startFeedIssuer,
  STREAM_PATH,
  TOKEN_PATH,
  type FeedIssuer,
} from '../support/feed-issuer.ts'
import { beatAll, startFeedWorld } from '../support/feed-world.ts'
import { createTurnableClock, type TurnableClock } from '../support/turnable-clock.ts'

const SECOND = 1000
const SECRET = CREDENTIALS.clientSecret
const JSON_TYPE = 'application/json'
const REGISTER_SCOPE = 'register the client with the scope revocations:read'

interface Refusal {
  readonly status: number
  readonly body?: unknown
  readonly type?: string
  readonly retryAfter?: string
}

function refuse({ status, body = {}, type = JSON_TYPE, retryAfter }: Refusal) {
  return (_request: unknown, response: ServerResponse) => {
    response.writeHead(status, {
      'content-type': type,
      ...(retryAfter === undefined ? {} : { 'retry-after': retryAfter }),
    })
    response.end(typeof body === 'string' ? body : JSON.stringify(body))
  }
}

describe('the fault of an answer that is none', () => {
  test.each<[string, string, Refusal, string, string]>([
    [
      'that the client may not',
      TOKEN_PATH,
      { status: 400, body: { error: 'invalid_scope', error_description: SECRET } },
      `400 invalid_scope: ${REGISTER_SCOPE}`,
      'turned_away',
    ],
    [
      'that the client is not known',
      TOKEN_PATH,
      { status: 401, body: { error: 'invalid_client' }, type: 'application/json; charset=utf-8' },
      '401 invalid_client: is the client known there, and its secret or key right?',
      'turned_away',
    ],
    [
      'that the client has another grant',
      TOKEN_PATH,
      { status: 400, body: { error: 'unauthorized_client' } },
      '400 unauthorized_client: register the client with the grant client_credentials',
      'turned_away',
    ],
    [
      'of a code without a hint',
      TOKEN_PATH,
      { status: 400, body: { error: 'odd' } },
      '400 odd',
      '',
    ],
    [
      'of a name of every object',
      TOKEN_PATH,
      { status: 401, body: '{"error":"constructor"}' },
      '401 constructor',
      '',
    ],
    ['of no name', TOKEN_PATH, { status: 401, body: { error: SECRET } }, '401', ''],
    ['of two lines', TOKEN_PATH, { status: 401, body: { error: 'a\nforged' } }, '401', ''],
    ['of a long name', TOKEN_PATH, { status: 401, body: { error: 'x'.repeat(41) } }, '401', ''],
    ['of no text', TOKEN_PATH, { status: 401, body: { error: ['a'] } }, '401', ''],
    ['of null', TOKEN_PATH, { status: 401, body: 'null' }, '401', ''],
    ['of what is no JSON', TOKEN_PATH, { status: 401, body: SECRET }, '401', ''],
    ['of HTML', TOKEN_PATH, { status: 401, body: { error: 'a' }, type: 'text/html' }, '401', ''],
    [
      'of a body without an end',
      TOKEN_PATH,
      { status: 401, body: { pad: ' '.repeat(10_000), error: 'a' } },
      '401',
      '',
    ],
    [
      'of a stream that the client may not have',
      STREAM_PATH,
      { status: 403, body: { error: 'insufficient_scope', error_description: SECRET } },
      `403 insufficient_scope: ${REGISTER_SCOPE}`,
      'turned_away',
    ],
    [
      'of a stream that is one too many',
      STREAM_PATH,
      { status: 429, body: { error: 'slow_down' } },
      '429 slow_down',
      'turned_away',
    ],
    [
      'of pages',
      PAGES_PATH,
      { status: 500, body: { error: 'server_error' } },
      '500 server_error',
      'bad_answer',
    ],
  ])(
    '(%s) has its status, and its code where it has one',
    async (_what, path, answer, said, code) => {
      const prepare = (issuer: FeedIssuer) => {
        issuer.answers.set(path, refuse(answer))
        issuer.append('session', 's1')
      }
      await using world = await startFeedWorld({}, prepare, false)
      const fault = world.faults[0] ?? (await world.fails())
      expect(fault).toMatchObject({ code: code || 'turned_away' })
      const place = `${world.issuer.url}${path}${path === PAGES_PATH ? '?after=0' : ''}`
      expect(fault.message).toBe(`${place} answered ${said}`)
      expect(JSON.stringify([fault.message, fault.cause])).not.toContain(SECRET)
    },
  )

  test('has its status also where the body breaks off', async () => {
    const breakOff = (_request: unknown, response: ServerResponse) => {
      const headers = { 'content-type': JSON_TYPE, 'content-length': '100' }
      response.writeHead(401, headers).write('{"error":', () => response.destroy())
    }
    for (const path of [TOKEN_PATH, STREAM_PATH]) {
      const prepare = (issuer: FeedIssuer) => void issuer.answers.set(path, breakOff)
      await using world = await startFeedWorld({}, prepare, false)
      const fault = world.faults[0] ?? (await world.fails())
      expect(fault).toMatchObject({ code: 'turned_away' })
      expect(fault.message).toMatch(/ answered 401$/)
    }
  })
})

interface Pauses extends AsyncDisposable {
  readonly clock: TurnableClock
  readonly issuer: FeedIssuer
  /** How long the feed waits, in milliseconds, after the next failure. */
  next(): Promise<number>
}

/** A feed of which only is known how long it waits after each failure. */
async function startPausing(prepare: (issuer: FeedIssuer) => void): Promise<Pauses> {
  await using cleanUp = new AsyncDisposableStack()
  const turnable = createTurnableClock()
  const pauses: number[] = []
  const waiting: (() => void)[] = []
  let hasFailed = false
  const clock: Clock = {
    ...turnable,
    schedule(milliseconds, work) {
      if (hasFailed) {
        pauses.push(milliseconds)
        for (const resolve of waiting.splice(0)) resolve()
      }
      hasFailed = false
      return turnable.schedule(milliseconds, work)
    },
  }
  const issuer = cleanUp.use(await startFeedIssuer(turnable))
  prepare(issuer)
  cleanUp.use(
    createRevocationFeed({
      issuer: issuer.url,
      ...CREDENTIALS,
      clock,
      onFault: () => void (hasFailed = true),
    }),
  )
  const running = cleanUp.move()
  return {
    clock: turnable,
    issuer,
    async next() {
      if (pauses.length === 0) await new Promise<void>((resolve) => waiting.push(resolve))
      return pauses.shift() ?? 0
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

describe('an issuer that wishes to be left alone', () => {
  test.each<[string, string, Refusal, number, number]>([
    ['for longer than usual', TOKEN_PATH, { status: 429, retryAfter: '120' }, 120, 132],
    ['for ever', TOKEN_PATH, { status: 429, retryAfter: '999999999' }, 900, 990],
    ['while it is down', TOKEN_PATH, { status: 503, retryAfter: '20' }, 20, 22],
    ['for ever while it is down', TOKEN_PATH, { status: 503, retryAfter: '86400' }, 30, 33],
    ['with no stream', STREAM_PATH, { status: 429, retryAfter: '45' }, 45, 49.5],
    ['with a stream that comes later', STREAM_PATH, { status: 503, retryAfter: '12' }, 12, 13.2],
    ['with no pages', PAGES_PATH, { status: 503, retryAfter: '12' }, 12, 13.2],
    [
      'until a day that is not read',
      STREAM_PATH,
      { status: 503, retryAfter: 'Fri, 31 Dec 2100' },
      0,
      1,
    ],
    ['for a time before now', STREAM_PATH, { status: 503, retryAfter: '-5' }, 0, 1],
    ['for no time', STREAM_PATH, { status: 503, retryAfter: '0' }, 0, 1],
    ['for no reason', STREAM_PATH, { status: 404, retryAfter: '600' }, 0, 1],
  ])('(%s: %s %o) is', async (_what, path, answer, least, most) => {
    await using feed = await startPausing((issuer) => {
      issuer.answers.set(path, refuse(answer))
      issuer.append('session', 's1')
    })
    const seconds = (await feed.next()) / SECOND
    expect(seconds).toBeGreaterThanOrEqual(least)
    expect(seconds).toBeLessThanOrEqual(most + 0.002)
  })

  test('with what was applied, is so without the feed being later', async () => {
    await using world = await startFeedWorld({}, ({ answers }) => {
      answers.set(APPLIED_PATH, refuse({ status: 429, retryAfter: '900' }))
    })
    const pauses = world.pauses()
    const opened = world.issuer.nextStream()
    world.issuer.cut()
    await pauses
    await world.clock.advance(500)
    expect((await opened).lastEventId).toBe(`${world.issuer.feed}:0`)
  })
})

describe('a client that gets no token', () => {
  test('asks for one half as often each time, down to once a minute', async () => {
    const answer = { status: 401, body: { error: 'invalid_client' } }
    await using feed = await startPausing(
      ({ answers }) => void answers.set(TOKEN_PATH, refuse(answer)),
    )
    for (const seconds of [5, 10, 20, 40, 60, 60]) {
      const pause = await feed.next()
      expect(pause).toBeGreaterThanOrEqual(seconds * SECOND)
      expect(pause).toBeLessThanOrEqual(seconds * SECOND * 1.1 + 2)
      await feed.clock.advance(pause)
    }
  })

  test('asks no more often for what it has to report, while its stream stands', async () => {
    await using world = await startFeedWorld()
    const { issuer, clock } = world
    issuer.answers.set(TOKEN_PATH, refuse({ status: 401, body: { error: 'invalid_client' } }))
    issuer.send('bye', '{}')
    /** As often as it would have something to report; answers how often it asked for a token since. */
    const report = async () => {
      await clock.advance(251)
      await beatAll(world)
      return issuer.asked.filter((path) => path === TOKEN_PATH).length - 1
    }
    await expect.poll(report, { timeout: 5000 }).toBe(1)
    await expect.poll(() => world.faults.length, { timeout: 5000 }).toBe(1)
    for (let count = 0; count < 10; count += 1) expect(await report()).toBe(1)
    await clock.advance(3 * SECOND)
    await expect.poll(report, { timeout: 5000 }).toBe(2)
    for (let count = 0; count < 10; count += 1) expect(await report()).toBe(2)
  })

  test('begins anew when it has got one', async () => {
    const answer = refuse({ status: 400, body: { error: 'invalid_scope' } })
    await using feed = await startPausing((issuer) => {
      issuer.answers.set(TOKEN_PATH, answer)
      issuer.answers.set(STREAM_PATH, refuse({ status: 500 }))
    })
    await feed.clock.advance(await feed.next())
    const longer = await feed.next()
    expect(longer).toBeGreaterThanOrEqual(10 * SECOND)
    feed.issuer.answers.delete(TOKEN_PATH)
    await feed.clock.advance(longer)
    const usual = await feed.next()
    feed.issuer.answers.set(TOKEN_PATH, answer)
    await feed.clock.advance(usual)
    expect(await feed.next()).toBeLessThan(6 * SECOND)
  })
})

describe('without onFault', () => {
  test('an outage is warned of once, after 15 seconds, and a later one a minute later', async () => {
    const warnings = collectWarnings()
    const answer = { status: 401, body: { error: 'invalid_client', error_description: SECRET } }
    await using world = await startFeedWorld(
      { onFault: undefined } as never,
      ({ answers }) => void answers.set(TOKEN_PATH, refuse(answer)),
      false,
    )
    const { clock, feed, issuer } = world
    const pass = async (seconds: number) => {
      await clock.advance(seconds * SECOND)
      await world.pauseBegins()
    }
    await expect.poll(() => feed.state.faults, { timeout: 5000 }).toBe(1)
    await world.pauseBegins()
    await pass(14.9)
    expect(warnings).toEqual([])
    await pass(0.1)
    expect(warnings).toHaveLength(1)
    const [warning] = warnings
    expect(warning).toMatchObject({ name: 'Warning', code: 'PORTREEVE_REVOCATIONS_NOT_HEARD' })
    expect(warning?.message).toBe(
      `what ${issuer.url} revokes is not heard: ${issuer.url}/token answered 401 invalid_client: is the client known there, and its secret or key right?`,
    )
    await expect.poll(() => feed.state.faults, { timeout: 5000 }).toBe(2)
    issuer.answers.clear()
    await world.comesBack(14 * SECOND)
    await pass(1)
    issuer.answers.set(TOKEN_PATH, refuse(answer))
    issuer.answers.set(STREAM_PATH, refuse({ status: 500 }))
    issuer.cut()
    await pass(15)
    await pass(15)
    await pass(14.9)
    expect(warnings).toHaveLength(1)
    await pass(0.1)
    await pass(60)
    expect(warnings).toHaveLength(2)
    expect(JSON.stringify(warnings.map(String))).not.toContain(SECRET)
  })

  test('nothing is said while all is well, nor after the end', async () => {
    const warnings = collectWarnings()
    await using world = await startFeedWorld({ onFault: undefined } as never)
    await world.clock.advance(9 * SECOND)
    await beatAll(world)
    await world.clock.advance(6 * SECOND)
    await world.feed[Symbol.asyncDispose]()
    await world.clock.advance(600 * SECOND)
    await world.pauseBegins()
    expect(warnings).toEqual([])
  })

  test('or with it, who is told of each failure is not warned as well', async () => {
    const warnings = collectWarnings()
    const prepare = ({ answers }: FeedIssuer) =>
      void answers.set(TOKEN_PATH, refuse({ status: 401 }))
    await using world = await startFeedWorld({}, prepare, false)
    expect(world.faults[0] ?? (await world.fails())).toMatchObject({ code: 'turned_away' })
    await world.clock.advance(16 * SECOND)
    await world.pauseBegins()
    expect(warnings).toEqual([])
  })
})

/** Those of the feed, while the test runs. */
function collectWarnings(): Error[] {
  const warnings: Error[] = []
  const note = (warning: Error & { code?: string }) => {
    if (warning.code?.startsWith('PORTREEVE_') === true) warnings.push(warning)
  }
  process.on('warning', note)
  onTestFinished(() => void process.off('warning', note))
  return warnings
}
