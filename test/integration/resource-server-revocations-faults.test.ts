import type { ServerResponse } from 'node:http'
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { createRevocationFeed, createVerifier } from '../../resource-server/index.ts'
import { API, createKey, fail, hang, OIDC_PATH, sendJson } from '../support/issuer.ts'
import {
  APPLIED_PATH,
  CREDENTIALS,
  digestKeys,
  PAGES_PATH,
  STREAM_PATH,
  TOKEN_PATH,
  type FeedIssuer,
} from '../support/feed-issuer.ts'
import { beatAll, startFeedWorld } from '../support/feed-world.ts'

const SECOND = 1000
const STALE = 'revocations_unavailable'
const stranger = await createKey('ES256')

describe('a stream', () => {
  const streams: [
    string,
    FeedIssuer['answers'] extends Map<string, infer Handler> ? Handler : never,
    string,
  ][] = [
    [
      'of HTML',
      (_request, r) => void r.setHeader('content-type', 'text/html').end('<p>data: x</p>'),
      'bad_answer',
    ],
    ['of JSON', (_request, r) => sendJson(r, {}), 'bad_answer'],
    [
      'that is elsewhere',
      (_request, r) => void r.writeHead(302, { location: '/elsewhere' }).end(),
      'bad_answer',
    ],
    [
      'that is packed, unasked',
      (_request, r) =>
        void r
          .writeHead(200, { 'content-type': 'text/event-stream', 'content-encoding': 'gzip' })
          .end(gzipSync('data: x\n\n')),
      'bad_answer',
    ],
    ['that is refused', (_request, r) => fail(403)(r), 'turned_away'],
    ['that is one too many', (_request, r) => fail(429)(r), 'turned_away'],
    ['of a server that starts', (_request, r) => fail(503)(r), 'bad_answer'],
    ['that is hung up on', (_request, r) => void r.destroy(), 'unreachable'],
  ]

  test.each(streams)('%s is none, and is asked for again later', async (_what, answer, code) => {
    const prepare = (issuer: FeedIssuer) => void issuer.answers.set(STREAM_PATH, answer)
    await using world = await startFeedWorld({}, prepare, false)
    expect(world.faults[0] ?? (await world.fails())).toMatchObject({ name: 'IssuerError', code })
    expect(world.issuer.asked).not.toContain('/elsewhere')
    expect(await world.judge(world.token())).toBe(STALE)
    world.issuer.answers.clear()
    await world.comesBack()
    expect(await world.judge(world.token())).toBe('allowed')
  })

  test('is asked for as one, unpacked, by a token, with a name', async () => {
    await using world = await startFeedWorld({ receiver: 'replica-1' })
    const opened = world.issuer.nextStream()
    const pauses = world.pauses()
    world.issuer.cut()
    await pauses
    await world.clock.advance(500)
    const { headers, url } = await opened
    expect(headers['accept-encoding']).toBeUndefined()
    expect(headers).toMatchObject({ accept: 'text/event-stream', authorization: 'Bearer t1' })
    expect(url.searchParams.get('receiver')).toBe('replica-1')
    const [form] = world.issuer.tokenForms
    expect(Object.fromEntries(form ?? [])).toEqual({
      grant_type: 'client_credentials',
      scope: 'revocations:read',
      resource: `${world.issuer.url}/revocations`,
    })
  })

  test.each<[string, string | Buffer]>([
    ['with a line that never ends', 'x'.repeat(40_000)],
    ['with data that never ends', 'data: x\n'.repeat(40_000)],
    ['with what is no text', Buffer.from([0x64, 0xff, 0xfe, 0x0a])],
    ['with a beat that is none', 'event: beat\ndata: x\n\n'],
    ['with news of keys that are none', 'event: keys\ndata: {}\n\n'],
  ])('%s is left', async (_what, written) => {
    await using world = await startFeedWorld()
    const failure = await world.fails(() => world.issuer.write(written))
    expect(failure).toMatchObject({ code: 'bad_answer' })
    await world.comesBack()
  })

  test('that breaks off in an event has not said it', async () => {
    await using world = await startFeedWorld()
    const row = world.issuer.append('session', 's1')
    const event = `event: set\nid: ${world.issuer.feed}:1\ndata: ${world.issuer.event(row)}\n`
    const pauses = world.pauses()
    world.issuer.write(event)
    world.issuer.cut()
    await pauses
    expect(world.feed.state.applied).toBe(0)
    const learned = world.learns(() => {})
    await world.clock.advance(500)
    await learned
    expect(await world.judge(world.token({ sid: 's1' }))).toBe('revoked')
  })

  test('on which nothing comes for ten seconds is left, before the view is stale', async () => {
    await using world = await startFeedWorld()
    const failure = world.fails()
    await world.clock.advance(10 * SECOND)
    expect(await failure).toMatchObject({ code: 'timed_out' })
    const opened = world.issuer.nextStream()
    await world.pauseBegins()
    await world.clock.advance(1000)
    await opened
    expect(await world.judge(world.token())).toBe('allowed')
  })

  test('on which much comes, and never a beat, is left as well', async () => {
    await using world = await startFeedWorld()
    await world.clock.advance(5 * SECOND)
    await world.learns(() => {
      world.issuer.write(': still there\n\n')
      world.issuer.send('beat', world.issuer.makeBeat({ now_ms: 1_750_000_000_000 }))
      world.issuer.revoke('session', 's1')
    })
    const failure = world.fails()
    await world.clock.advance(5 * SECOND)
    expect(await failure).toMatchObject({ code: 'timed_out' })
  })

  test('is opened again soon after an outage of seconds, and less often in a long one', async () => {
    await using world = await startFeedWorld()
    const outage = (_request: unknown, response: ServerResponse) => void response.destroy()
    world.issuer.answers.set(OIDC_PATH, outage)
    const startedAt = world.clock.monotonic()
    const away = () => world.clock.monotonic() - startedAt
    const attempts: number[] = []
    let failure = world.fails(() => world.issuer.cut(true))
    while (away() < 300 * SECOND) {
      await failure
      attempts.push(away())
      await world.pauseBegins()
      failure = world.fails()
      await world.clock.advance(Math.ceil(Math.max(500, away() / 10)) + 2)
    }
    const pauses = attempts.slice(1).map((at, index) => at - (attempts[index] ?? 0))
    expect(Math.max(...pauses.slice(0, 5))).toBeLessThan(1000)
    expect(attempts.length).toBeLessThan(100)
    await failure
    world.issuer.answers.clear()
    await world.comesBack(31 * SECOND)
  })

  test('of an issuer that does not answer is left after five seconds', async () => {
    await using world = await startFeedWorld(
      {},
      (issuer) => {
        issuer.answers.set(STREAM_PATH, (_request, response) => void response.socket?.pause())
      },
      false,
    )
    await world.issuer.nextRequest(STREAM_PATH)
    const failure = world.fails()
    await world.clock.advance(5 * SECOND)
    expect(await failure).toMatchObject({ code: 'timed_out' })
  })

  test('whose token was taken away is opened again with another one', async () => {
    await using world = await startFeedWorld()
    const pauses = world.pauses()
    const opened = world.issuer.nextStream()
    world.issuer.send('bye', '{"reason":"revoked"}')
    world.issuer.cut()
    await pauses
    await world.clock.advance(500)
    expect((await opened).headers.authorization).toBe('Bearer t2')
  })

  test('that ends before it has said hello is opened again with another token, without a fault', async () => {
    await using world = await startFeedWorld()
    const { answers } = world.issuer
    answers.set(STREAM_PATH, (_request, response) => {
      answers.delete(STREAM_PATH)
      const bye = 'event: bye\ndata: {"reason":"draining"}\n\n'
      response.setHeader('content-type', 'text/event-stream').end(bye)
    })
    const pauses = world.pauses()
    world.issuer.cut()
    await pauses
    const left = world.pauses()
    await world.clock.advance(500)
    await left
    const opened = world.issuer.nextStream()
    await world.clock.advance(500)
    expect((await opened).headers.authorization).toBe('Bearer t2')
    expect(world.faults).toEqual([])
  })

  test('is left when the feed is disposed of, and so is whoever waits for it', async () => {
    await using world = await startFeedWorld({}, (issuer) => void (issuer.isMute = true), false)
    await world.issuer.nextStream()
    const waiting = world.feed.whenFresh()
    await world.feed[Symbol.asyncDispose]()
    await expect(waiting).rejects.toThrow('disposed')
    await expect(world.feed.whenFresh()).rejects.toThrow('disposed')
    await world.clock.advance(60 * SECOND)
    expect(world.issuer.asked.filter((path) => path === STREAM_PATH)).toHaveLength(1)
    expect(world.faults).toEqual([])
  })
})

describe('what else the issuer answers', () => {
  test.each<[string, string, Parameters<FeedIssuer['answers']['set']>[1], string]>([
    ['no token', TOKEN_PATH, (_request, r) => fail(401)(r), 'turned_away'],
    ['that the client may not', TOKEN_PATH, (_request, r) => fail(400)(r), 'turned_away'],
    [
      'a token that is none',
      TOKEN_PATH,
      (_request, r) => sendJson(r, { access_token: 5 }),
      'bad_answer',
    ],
    [
      'a token of another kind',
      TOKEN_PATH,
      (_request, r) => sendJson(r, { access_token: 'a', token_type: 'DPoP' }),
      'bad_answer',
    ],
    [
      'a token with a line in it',
      TOKEN_PATH,
      (_request, r) => sendJson(r, { access_token: 'a\r\nx: y', token_type: 'Bearer' }),
      'bad_answer',
    ],
    ['a token that is no JSON', TOKEN_PATH, (_request, r) => void r.end('t0ps3cret'), 'bad_answer'],
    ['pages that are missing', PAGES_PATH, (_request, r) => fail(404)(r), 'bad_answer'],
    [
      'pages that are elsewhere',
      PAGES_PATH,
      (_request, r) => void r.writeHead(302, { location: '/x' }).end(),
      'bad_answer',
    ],
    ['pages without an end', PAGES_PATH, (_request, r) => hang(r), 'timed_out'],
    [
      'pages that are too long',
      PAGES_PATH,
      (_request, r) => void r.end('x'.repeat(9_000_000)),
      'bad_answer',
    ],
  ])('%s is noted, and the view is stale', async (_what, path, answer, code) => {
    const prepare = (issuer: FeedIssuer) => void issuer.answers.set(path, answer)
    await using world = await startFeedWorld({}, prepare, false)
    if (code === 'timed_out') {
      await world.issuer.nextRequest(path)
      await world.clock.advance(5 * SECOND)
    }
    const failure = world.faults[0] ?? (await world.fails())
    expect(failure).toMatchObject({ code })
    expect(failure.message).not.toContain('t0ps3cret')
    expect(await world.judge(world.token())).toBe(STALE)
    expect(world.feed.state.lastFault).toBe(failure)
  })

  test.each<[string, Record<string, unknown>, string]>([
    ['no feed', { portreeve_revocation_feed: undefined }, 'bad_answer'],
    ['a feed without a stream', { stream_endpoint: undefined }, 'bad_answer'],
    ['a feed without a resource', { resource: 5 }, 'bad_answer'],
    ['a feed over plain http', { pages_endpoint: 'http://as.example/' }, 'insecure_url'],
    ['a feed with a password', { applied_endpoint: 'https://a:b@as.example/' }, 'insecure_url'],
  ])('metadata with %s lead to none', async (_what, change, code) => {
    await using world = await startFeedWorld(
      {},
      ({ published: { metadata } }) => {
        const inner = metadata['portreeve_revocation_feed'] as object
        if ('portreeve_revocation_feed' in change) Object.assign(metadata, change)
        else Object.assign(inner, change)
      },
      false,
    )
    expect(world.faults[0] ?? (await world.fails())).toMatchObject({ code })
    expect(world.issuer.asked).not.toContain(STREAM_PATH)
  })

  test('reports that fail are noted, and sent again later', async () => {
    const failed = Promise.withResolvers<Error>()
    await using world = await startFeedWorld({ onFault: failed.resolve }, ({ answers }) => {
      answers.set(APPLIED_PATH, (_request, response) => fail(500)(response))
    })
    expect(await failed.promise).toMatchObject({ code: 'bad_answer' })
    expect(await world.judge(world.token())).toBe('allowed')
    world.issuer.answers.clear()
    const reported = world.issuer.nextRequest(APPLIED_PATH)
    await world.pauseBegins()
    await world.clock.advance(SECOND)
    world.issuer.beat()
    await reported
  })
})

describe('keys', () => {
  test('that the issuer withdraws are refused at once, also for tokens that are kept', async () => {
    await using world = await startFeedWorld()
    const next = await createKey('ES256')
    world.issuer.published.keys.push(next.jwk)
    const token = world.token()
    expect(await world.judge(token)).toBe('allowed')
    world.issuer.published.keys.shift()
    const headers: unknown[] = []
    world.issuer.answers.set('/keys', (request, response) => {
      headers.push(request.headers['cache-control'])
      sendJson(response, { keys: world.issuer.published.keys })
    })
    const change = { now_ms: world.clock.now() + 1 }
    const header = { kid: next.jwk.kid }
    const fetched = [world.issuer.nextRequest('/keys'), world.issuer.nextRequest('/keys')]
    world.issuer.send('keys', world.issuer.makeBeat(change, header, next))
    await Promise.all(fetched)
    await expect.poll(() => world.judge(token), { timeout: 5000 }).toBe('unknown_key')
    expect(headers).toContain('no-cache')
  })

  test('are fetched again with each beat until they are those that the issuer has', async () => {
    await using world = await startFeedWorld()
    const next = await createKey('ES256')
    await world.judge(world.token())
    const keys = digestKeys([...world.issuer.published.keys, next.jwk])
    for (let count = 1; count <= 3; count += 1) {
      const fetched = [world.issuer.nextRequest('/keys'), world.issuer.nextRequest('/keys')]
      await world.clock.advance(100)
      world.issuer.beat({ keys })
      await Promise.all(fetched)
      await expect.poll(() => world.verifier.state[0]?.fetches, { timeout: 5000 }).toBe(count + 1)
    }
    world.issuer.published.keys.push(next.jwk)
    const fetched = [world.issuer.nextRequest('/keys'), world.issuer.nextRequest('/keys')]
    await world.clock.advance(100)
    world.issuer.beat({ keys })
    await Promise.all(fetched)
    await expect.poll(() => world.verifier.state[0]?.keys, { timeout: 5000 }).toBe(2)
    const { length } = world.issuer.asked.filter((path) => path === '/keys')
    await world.clock.advance(100)
    await beatAll(world, { keys })
    expect(world.issuer.asked.filter((path) => path === '/keys')).toHaveLength(length)
  })

  test('that are revoked are refused although they are published, and sign no events either', async () => {
    await using world = await startFeedWorld()
    const next = await createKey('ES256')
    world.issuer.published.keys.push(next.jwk)
    const token = world.token()
    expect(await world.judge(token)).toBe('allowed')
    const kid = String(world.issuer.key.jwk.kid)
    await world.learns(() => world.issuer.revoke('key', kid))
    expect(await world.judge(token)).toBe('revoked')
    const failure = await world.fails(() => world.issuer.revoke('session', 's1'))
    expect(failure).toMatchObject({ code: 'bad_answer' })
    expect(world.feed.isRevoked({ sid: 's1' } as never)).toBe(false)
  })

  test('of a stranger are not asked for by what is signed with them', async () => {
    await using world = await startFeedWorld()
    const fetches = () => world.issuer.asked.filter((path) => path === '/keys').length
    for (let count = 0; count < 8; count += 1) {
      const header = { kid: `no ${count}` }
      const forged = world.issuer.makeBeat({}, header, stranger)
      await world.fails(() => world.issuer.send('beat', forged))
      await world.comesBack()
    }
    expect(fetches()).toBeLessThan(8)
  })
})

describe('options of createRevocationFeed', () => {
  const issuer = 'https://as.example'
  test.each<[string, object]>([
    ['issuer', { ...CREDENTIALS }],
    ['issuer', { ...CREDENTIALS, issuer: 'http://as.example' }],
    ['clientId', { issuer, clientSecret: 'x' }],
    ['clientSecret', { issuer, clientId: 'x' }],
    ['clientSecret', { issuer, clientId: 'x', clientSecret: '' }],
    ['authorization', { issuer, ...CREDENTIALS, authorization: () => 'Bearer x' }],
    ['authorization', { issuer, authorization: 'Bearer x' }],
    ['privateKey', { issuer, clientId: 'x', privateKey: { kty: 'EC', alg: 'ES256' } }],
    ['privateKey', { issuer, clientId: 'x', privateKey: { kty: 'EC', d: 'x', alg: 'HS256' } }],
    ['privateKey', { issuer, ...CREDENTIALS, privateKey: { kty: 'EC', d: 'x', alg: 'ES256' } }],
    ['receiver', { issuer, ...CREDENTIALS, receiver: 'a b' }],
    ['staleAfterSeconds', { issuer, ...CREDENTIALS, staleAfterSeconds: 9 }],
    ['maxEntries', { issuer, ...CREDENTIALS, maxEntries: 0 }],
    ['onFault', { issuer, ...CREDENTIALS, onFault: 'log' }],
    ['nonsense', { issuer, ...CREDENTIALS, nonsense: 1 }],
  ])('refuse %s in %o', (option, options) => {
    const make = () => createRevocationFeed(options as never)
    expect(make).toThrow(TypeError)
    expect(make).toThrow(option)
  })

  test('may be a header in place of a client', async () => {
    const authorization = async () => 'Bearer given'
    await using world = await startFeedWorld({
      authorization,
      clientId: undefined,
      clientSecret: undefined,
    } as never)
    expect(world.issuer.tokenForms).toEqual([])
    expect(await world.judge(world.token())).toBe('allowed')
  })

  test('belong to the issuer of the verifier, and have its clock', async () => {
    await using world = await startFeedWorld()
    const { feed, clock } = world
    const make = (options: object) => () =>
      createVerifier({ issuer: world.issuer.url, audience: API, revocations: feed, ...options })
    expect(make({ clock, issuer })).toThrow(/^revocations: expected those of https:\/\/as\.example/)
    expect(make({})).toThrow(/^revocations: expected the same clock/)
  })
})
