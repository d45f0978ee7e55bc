import { gzipSync } from 'node:zlib'
import type { ServerResponse } from 'node:http'
import { describe, expect, test } from 'vitest'
import { createKey, OIDC_PATH, signToken } from '../support/issuer.ts'
import {
  APPLIED_PATH,
  PAGES_PATH,
  STREAM_PATH,
  TOKEN_PATH,
  type FeedIssuer,
} from '../support/feed-issuer.ts'
import { startFeedWorld } from '../support/feed-world.ts'

const SECOND = 1000
const stranger = await createKey('ES256')

function countFetches({ asked }: FeedIssuer): number {
  return asked.filter((path) => path === '/keys').length
}

describe('a beat that is not the issuer’s own', () => {
  type Forge = (issuer: FeedIssuer) => string
  const forgeries: [string, Forge][] = [
    ['signed by a stranger', (issuer) => issuer.makeBeat({}, {}, stranger)],
    [
      'signed by a stranger in the name of its key',
      (issuer) => issuer.makeBeat({}, { kid: issuer.key.jwk.kid }, stranger),
    ],
    ['unsigned', (issuer) => `${issuer.makeBeat().split('.').slice(0, 2).join('.')}.`],
    ['of another issuer', (issuer) => issuer.makeBeat({ iss: 'https://evil.example' })],
    ['for somebody else', (issuer) => issuer.makeBeat({ aud: 'https://api.example/' })],
    ['for nobody', (issuer) => issuer.makeBeat({ aud: undefined })],
    ['an access token', (issuer) => issuer.makeBeat({}, { typ: 'at+jwt' })],
    ['an event', (issuer) => issuer.makeBeat({}, { typ: 'secevent+jwt' })],
    ['a page', (issuer) => issuer.makeBeat({}, { typ: 'revocation-page+jwt' })],
    ['of no feed', (issuer) => issuer.makeBeat({ feed: undefined })],
    ['of a feed without an end', (issuer) => issuer.makeBeat({ feed: 'x'.repeat(65) })],
    ['of no time', (issuer) => issuer.makeBeat({ now_ms: undefined })],
    ['of a time that is no number', (issuer) => issuer.makeBeat({ now_ms: 'x' })],
    ['at no place', (issuer) => issuer.makeBeat({ head: -1 })],
    ['at a place that no number is', (issuer) => issuer.makeBeat({ head: 2 ** 53 })],
    // It may be the issuer's own, but leads nowhere: pages do not have what it speaks of.
    ['at a place that nobody reaches', (issuer) => issuer.makeBeat({ head: 2 ** 53 - 1 })],
  ]

  test.each(forgeries)(
    '(%s) makes nothing fresh, and ends the connection',
    async (_what, forge) => {
      await using world = await startFeedWorld()
      await world.clock.advance(9 * SECOND)
      const forged = forge(world.issuer)
      const failure = await world.fails(() => world.issuer.send('beat', forged))
      expect(failure).toMatchObject({ code: 'bad_answer' })
      expect(world.feed.state).toMatchObject({ ageSeconds: 9, applied: 0, entries: 0 })
      await world.comesBack()
    },
  )
})

describe('what is signed for one thing', () => {
  test('is nothing else: an event, a beat and a page let nobody in', async () => {
    await using world = await startFeedWorld()
    const { issuer } = world
    const row = issuer.append('session', 's1')
    const now = Math.floor(world.clock.now() / 1000)
    const asToken = {
      sub: 'alice',
      client_id: 'web',
      exp: now + 600,
      iat: now,
      aud: 'https://api.example/',
    }
    const texts = [
      issuer.event(row),
      issuer.makeBeat(),
      issuer.event(row, asToken),
      issuer.makeBeat(asToken),
      signToken(issuer.key, { iss: issuer.url, ...asToken }, { typ: 'revocation-page+jwt' }),
    ]
    for (const text of texts) expect(await world.judge(text)).toBe('wrong_type')
  })

  test('is nothing else: an access token for the feed ends no access', async () => {
    await using world = await startFeedWorld()
    const token = world.token({ aud: `${world.issuer.url}/revocations`, seq: 1, jti: 'x:1' })
    const failure = await world.fails(() => world.issuer.send('set', token, 'x:1'))
    expect(failure).toMatchObject({ code: 'bad_answer' })
    expect(world.feed.state).toMatchObject({ applied: 0, entries: 0 })
  })
})

describe('keys', () => {
  test('are not fetched by beats of before, however often they are sent again', async () => {
    await using world = await startFeedWorld()
    await world.judge(world.token())
    const old = world.issuer.makeBeat({ keys: 'others', now_ms: world.clock.now() - 1 })
    const before = countFetches(world.issuer)
    await world.learns(() => {
      for (let count = 0; count < 100; count += 1) world.issuer.send('beat', old)
      world.issuer.revoke('session', 's1')
    })
    expect(countFetches(world.issuer)).toBe(before)
  })

  test('are fetched a few times by news without an end, and once for each beat of a good issuer', async () => {
    await using world = await startFeedWorld()
    await world.judge(world.token())
    const before = countFetches(world.issuer)
    for (let count = 1; count <= 60; count += 1) {
      await world.clock.advance(1)
      await world.learns(() => {
        world.issuer.send('keys', world.issuer.makeBeat({ keys: `others ${count}` }))
        world.issuer.revoke('session', `s${count}`)
      })
    }
    // Those of the feed, and those of the verifier.
    expect(countFetches(world.issuer) - before).toBeLessThanOrEqual(2 * 5)
  })
})

describe('pages', () => {
  test.each<[string, (response: ServerResponse) => void]>([
    [
      'that unpack to more than is read',
      (response) =>
        void response
          .setHeader('content-encoding', 'gzip')
          .end(gzipSync(Buffer.alloc(200_000_000))),
    ],
    ['of very many parts', (response) => void response.end('a.'.repeat(4_000_000))],
    ['of brackets without an end', (response) => void response.end(nest(1_000_000))],
  ])('%s are left off', async (_what, answer) => {
    const prepare = (issuer: FeedIssuer) =>
      void issuer.answers.set(PAGES_PATH, (_request, response) => answer(response))
    await using world = await startFeedWorld({}, prepare, false)
    expect(world.faults[0] ?? (await world.fails())).toMatchObject({ code: 'bad_answer' })
    expect(world.feed.state).toMatchObject({ isFresh: false, entries: 0 })
    world.issuer.answers.clear()
    await world.comesBack()
  })

  function nest(depth: number): string {
    const header = Buffer.from('{"alg":"ES256","typ":"revocation-page+jwt","kid":"k"}').toString(
      'base64url',
    )
    const payload = Buffer.from('['.repeat(depth)).toString('base64url')
    return `${header}.${payload}.${'A'.repeat(86)}`
  }

  test('that do not come to an end are left off', async () => {
    const prepare = (issuer: FeedIssuer) =>
      void issuer.answers.set(PAGES_PATH, (request, response) => {
        const after = Number(new URL(request.url ?? '', issuer.url).searchParams.get('after'))
        const common = { iss: issuer.url, aud: `${issuer.url}/revocations`, iat: 1_750_000_000 }
        const page = { feed: issuer.feed, after, through: after + 1, head: after + 2, entries: [] }
        response.end(signToken(issuer.key, { ...common, ...page }, { typ: 'revocation-page+jwt' }))
      })
    await using world = await startFeedWorld({ maxEntries: 1000 }, prepare, false)
    const failure = world.faults[0] ?? (await world.fails())
    expect(failure).toMatchObject({ code: 'bad_answer', message: /do not come to an end/ })
    const pages = world.issuer.asked.filter((path) => path === PAGES_PATH)
    expect(pages.length).toBeLessThanOrEqual(101)
  })

  test.each<[string, FeedIssuer['linkOf'], number]>([
    ['nowhere', () => '<>; rel="next"', 3],
    ['to what is no place', () => '<?after=-1>; rel="next"', 3],
    ['elsewhere', () => '<https://elsewhere.example/revocations/pages?after=x>; rel="next"', 3],
    ['to the same page', (next) => `<?after=${next - 2000}>; rel="next"`, 5],
    ['further than there is', () => '<?after=999999999999999>; rel="next"', 5],
    ['beyond some', (next) => `<?after=${next + 1}>; rel="next"`, 5],
  ])('that lead %s lose no entry', async (_where, linkOf, requests) => {
    await using world = await startFeedWorld({}, (issuer) => {
      issuer.linkOf = linkOf
      for (let count = 1; count <= 4001; count += 1) issuer.append('session', `s${count}`)
    })
    expect(world.feed.state).toMatchObject({ applied: 4001, entries: 4001, isFresh: true })
    expect(world.faults).toEqual([])
    expect(world.issuer.asked.filter((path) => path === PAGES_PATH)).toHaveLength(requests)
  })

  test('are asked for one ahead, and that one is let go where the first is of no use', async () => {
    const prepare = (issuer: FeedIssuer) => {
      issuer.append('session', 's1')
      issuer.answers.set(PAGES_PATH, (request, response) => {
        if (request.url?.endsWith('after=0') !== true) return
        response.setHeader('link', '<?after=2000>; rel="next"').end('no page')
      })
    }
    await using world = await startFeedWorld({}, prepare, false)
    expect(world.faults[0] ?? (await world.fails())).toMatchObject({ code: 'bad_answer' })
    world.issuer.answers.clear()
    await world.comesBack()
    expect(world.feed.state).toMatchObject({ applied: 1, isFresh: true })
  })
})

describe('a feed that is disposed of', () => {
  test.each([OIDC_PATH, TOKEN_PATH, STREAM_PATH, PAGES_PATH, '/keys', APPLIED_PATH])(
    'while it waits for %s lets go, and asks for nothing more',
    async (path) => {
      const { promise: asked, resolve } = Promise.withResolvers<void>()
      const prepare = (issuer: FeedIssuer) => void issuer.answers.set(path, () => resolve())
      await using world = await startFeedWorld({}, prepare, false)
      await asked
      await world.feed[Symbol.asyncDispose]()
      const before = [...world.issuer.asked]
      await world.clock.advance(600 * SECOND)
      expect(world.issuer.asked).toEqual(before)
      expect(world.faults).toEqual([])
    },
  )

  test('while it waits before it comes back does not come back', async () => {
    await using world = await startFeedWorld()
    const pauses = world.pauses()
    world.issuer.cut()
    await pauses
    await world.feed[Symbol.asyncDispose]()
    const before = [...world.issuer.asked]
    await world.clock.advance(600 * SECOND)
    expect(world.issuer.asked).toEqual(before)
  })
})
