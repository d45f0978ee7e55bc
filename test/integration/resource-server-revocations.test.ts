import { describe, expect, test } from 'vitest'
import { createKey, signToken } from '../support/issuer.ts'
import { PAGES_PATH, type FeedIssuer, type LogRow } from '../support/feed-issuer.ts'
import { startFeedWorld } from '../support/feed-world.ts'

const SECOND = 1000
const stranger = await createKey('ES256')

describe('what an issuer revokes', () => {
  test('is refused from the moment on that the API has heard it, also where it is kept', async () => {
    await using world = await startFeedWorld()
    const token = world.token({ sid: 's1' })
    expect(await world.judge(token)).toBe('allowed')
    await world.learns(() => world.issuer.revoke('session', 's1'))
    expect(await world.judge(token)).toBe('revoked')
    expect(await world.judge(world.token({ sid: 's2' }))).toBe('allowed')
  })

  test.each<[LogRow['kind'], string, object, object]>([
    ['token', 'j1', { jti: 'j1' }, { jti: 'j2' }],
    ['grant', 'g1', { grant_id: 'g1' }, { grant_id: 'g2' }],
    ['session', 's1', { sid: 's1' }, { sid: 's2' }],
    ['user', 'alice', { sub: 'alice' }, { sub: 'bob' }],
    ['client', 'web', { client_id: 'web' }, { client_id: 'spa' }],
    ['client', 'robot', { sub: 'robot' }, { sub: 'alice' }],
  ])('may be a %s, by event and by page', async (kind, subject, revoked, other) => {
    await using world = await startFeedWorld({}, (issuer) => void issuer.append(kind, subject))
    expect(await world.judge(world.token({ ...revoked }))).toBe('revoked')
    expect(await world.judge(world.token({ ...other }))).toBe('allowed')
    await using later = await startFeedWorld()
    await later.learns(() => later.issuer.revoke(kind, subject))
    expect(await later.judge(later.token({ ...revoked }))).toBe('revoked')
    expect(await later.judge(later.token({ ...other }))).toBe('allowed')
  })

  test.each(['user', 'client', 'all'] as const)(
    'of a kind that may come back (%s) are tokens of until then',
    async (kind) => {
      await using world = await startFeedWorld()
      const before = world.token()
      await world.learns(() => world.issuer.revoke(kind, kind === 'user' ? 'alice' : 'web'))
      expect(await world.judge(before)).toBe('revoked')
      expect(await world.judge(world.token())).toBe('revoked')
      await world.clock.advance(SECOND)
      expect(await world.judge(world.token({ jti: 'later' }))).toBe('allowed')
    },
  )

  test('is all known after a cold start by pages, and reported as applied', async () => {
    await using world = await startFeedWorld({ receiver: 'one' }, (issuer) => {
      for (let count = 1; count <= 4001; count += 1) issuer.append('session', `s${count}`)
    })
    expect(world.feed.state).toMatchObject({ applied: 4001, entries: 4001, isFresh: true })
    expect(world.issuer.asked.filter((path) => path === PAGES_PATH)).toHaveLength(3)
    for (const sid of ['s1', 's2000', 's2001', 's4001']) {
      expect(await world.judge(world.token({ sid }))).toBe('revoked')
    }
    expect(await world.judge(world.token({ sid: 's4002' }))).toBe('allowed')
    const { feed } = world.issuer
    expect(world.issuer.reports.at(-1)).toEqual({ receiver: 'one', feed, applied: 4001 })
  })

  test('is forgotten when its last token has expired, with the tolerance of clocks', async () => {
    await using world = await startFeedWorld()
    await world.learns(() => world.issuer.revoke('session', 's1', { until: 1_750_000_100 }))
    const beats = async (seconds: number) => {
      for (let count = 0; count < seconds / 5; count += 1) {
        await world.clock.advance(5 * SECOND)
        const { ageSeconds } = world.feed.state
        await world.learns(() => {
          world.issuer.beat()
          world.issuer.revoke('session', `s${world.clock.now()}`, { until: 1_750_010_000 })
        })
        expect(ageSeconds).toBeGreaterThan(0)
      }
    }
    await beats(395)
    expect(world.feed.isRevoked({ sid: 's1' } as never)).toBe(true)
    await beats(100)
    expect(world.feed.isRevoked({ sid: 's1' } as never)).toBe(false)
  })
})

describe('what is lost on the way', () => {
  test('is sent after a cut, from where the API stands, and from there alone', async () => {
    await using world = await startFeedWorld()
    await world.learns(() => world.issuer.revoke('session', 's1'))
    const pauses = world.pauses()
    world.issuer.cut()
    await pauses
    world.issuer.append('session', 's2')
    const opened = world.issuer.nextStream()
    const learned = world.learns(() => {})
    await world.clock.advance(500)
    expect((await opened).lastEventId).toBe(`${world.issuer.feed}:1`)
    await learned
    expect(await world.judge(world.token({ sid: 's2' }))).toBe('revoked')
    expect(world.faults).toEqual([])
  })

  test('is read again when the next event shows that it is missing', async () => {
    await using world = await startFeedWorld()
    world.issuer.append('session', 's1')
    await world.learns(() => world.issuer.revoke('session', 's2'))
    expect(await world.judge(world.token({ sid: 's1' }))).toBe('revoked')
    expect(await world.judge(world.token({ sid: 's2' }))).toBe('revoked')
    expect(world.faults).toEqual([])
  })

  test('is read again when the next beat shows that it is missing', async () => {
    await using world = await startFeedWorld()
    await world.learns(() => {
      world.issuer.append('session', 's1')
      world.issuer.beat()
    })
    expect(await world.judge(world.token({ sid: 's1' }))).toBe('revoked')
  })

  test('is read again when the issuer says that it is too much', async () => {
    await using world = await startFeedWorld()
    await world.learns(() => {
      world.issuer.append('session', 's1')
      world.issuer.send('behind', '{"after":999}')
    })
    expect(await world.judge(world.token({ sid: 's1' }))).toBe('revoked')
  })

  test('makes the view stale in time where pages do not have it either', async () => {
    await using world = await startFeedWorld()
    const failure = await world.fails(() => world.issuer.beat({ head: 5 }))
    expect(failure).toMatchObject({ code: 'bad_answer', message: expect.stringMatching(/missing/) })
    await world.comesBack()
    expect(await world.judge(world.token())).toBe('allowed')
  })
})

describe('what comes in another order', () => {
  test('is applied once, and nothing is missed', async () => {
    await using world = await startFeedWorld()
    const rows = ['s1', 's2', 's3'].map((subject) => world.issuer.append('session', subject))
    await world.learns(() => {
      for (const row of [...rows.toReversed(), ...rows]) world.issuer.tell(row)
    })
    const { epoch } = world.feed
    await world.learns(() => world.issuer.revoke('session', 's4'))
    expect(world.feed.epoch).toBe(epoch + 1)
    for (const sid of ['s1', 's2', 's3', 's4']) {
      expect(await world.judge(world.token({ sid }))).toBe('revoked')
    }
    expect(world.feed.state).toMatchObject({ applied: 4, entries: 4, faults: 0 })
  })
})

describe('another log', () => {
  test('is read from its start, and what the first one had revoked stays so', async () => {
    await using world = await startFeedWorld()
    await world.learns(() => world.issuer.revoke('session', 's1'))
    world.issuer.feed = 'B'.repeat(22)
    world.issuer.log.length = 0
    await world.learns(() => {
      world.issuer.append('session', 's2')
      world.issuer.revoke('session', 's3')
    })
    world.issuer.beat({ now_ms: world.clock.now() + 1 })
    await world.feed.whenFresh()
    for (const sid of ['s1', 's2', 's3']) {
      expect(await world.judge(world.token({ sid }))).toBe('revoked')
    }
    expect(world.feed.state.applied).toBe(2)
  })

  test('of a database that was restored is read again, its places being used anew', async () => {
    await using world = await startFeedWorld()
    await world.learns(() => world.issuer.revoke('session', 's1'))
    await world.learns(() => world.issuer.revoke('session', 's2'))
    world.issuer.log.length = 1
    await world.clock.advance(5 * SECOND)
    world.issuer.beat()
    await world.issuer.nextRequest(PAGES_PATH)
    await world.issuer.nextRequest(PAGES_PATH)
    await world.learns(() => world.issuer.revoke('session', 's3'))
    expect(await world.judge(world.token({ sid: 's3' }))).toBe('revoked')
    expect(await world.judge(world.token({ sid: 's2' }))).toBe('revoked')
    expect(world.feed.state.applied).toBe(2)
  })

  test('is not what an instance knows that lags behind, which makes nothing fresh either', async () => {
    await using world = await startFeedWorld()
    await world.learns(() => world.issuer.revoke('session', 's1'))
    await world.clock.advance(5 * SECOND)
    world.issuer.beat({ head: 0 })
    await world.learns(() => world.issuer.revoke('session', 's2'))
    expect(world.feed.state).toMatchObject({ applied: 2, ageSeconds: 5 })
    expect(world.faults).toEqual([])
  })
})

type Forge = (issuer: FeedIssuer, row: LogRow) => string

describe('an event that is not the issuer’s own', () => {
  const unsigned = (text: string) => {
    const header = Buffer.from('{"alg":"none","typ":"secevent+jwt"}').toString('base64url')
    return `${header}.${text.split('.')[1]}.`
  }
  const forgeries: [string, Forge][] = [
    ['unsigned', (issuer, row) => unsigned(issuer.event(row))],
    ['signed by a stranger', (issuer, row) => issuer.event(row, {}, {}, stranger)],
    [
      'signed by a stranger in the name of its key',
      (issuer, row) => issuer.event(row, {}, { kid: issuer.key.jwk.kid }, stranger),
    ],
    [
      'changed on its way',
      (issuer, row) => swapPayload(issuer.event(row), issuer.event({ ...row, subject: 'x' })),
    ],
    ['of another issuer', (issuer, row) => issuer.event(row, { iss: 'https://evil.example' })],
    ['for somebody else', (issuer, row) => issuer.event(row, { aud: 'https://api.example/' })],
    ['an access token', (issuer, row) => issuer.event(row, {}, { typ: 'at+jwt' })],
    ['without a type', (issuer, row) => issuer.event(row, {}, { typ: undefined })],
    ['a beat', (issuer) => issuer.makeBeat()],
    ['named as another one', (issuer, row) => issuer.event(row, { jti: `${issuer.feed}:7` })],
    ['without a place', (issuer, row) => issuer.event(row, { seq: undefined })],
    ['at a broken place', (issuer, row) => issuer.event(row, { seq: 1.5 })],
    ['without an end', (issuer, row) => issuer.event(row, { until: undefined })],
    ['no text of a token', () => 'revoked'],
    ['longer than any', (issuer, row) => issuer.event(row, { x: 'x'.repeat(13_000) })],
  ]

  test.each(forgeries)('(%s) is not applied, and ends the connection', async (_what, forge) => {
    await using world = await startFeedWorld()
    const { issuer } = world
    const row: LogRow = {
      sequence: 1,
      kind: 'session',
      subject: 's1',
      revokedAt: 1_750_000_000,
      until: 1_750_000_600,
    }
    const data = forge(issuer, row)
    const failure = await world.fails(() => issuer.send('set', data, `${issuer.feed}:1`))
    expect(failure).toMatchObject({ code: 'bad_answer' })
    expect(await world.judge(world.token({ sid: 's1' }))).toBe('allowed')
    expect(world.feed.state).toMatchObject({ applied: 0, entries: 0, faults: 1 })
    await world.comesBack()
    await world.learns(() => issuer.revoke('session', 's2'))
    expect(await world.judge(world.token({ sid: 's2' }))).toBe('revoked')
  })

  test('but for its id on the stream is refused as well', async () => {
    await using world = await startFeedWorld()
    const row = world.issuer.append('session', 's1')
    const event = world.issuer.event(row)
    const failure = await world.fails(() => world.issuer.send('set', event, 'another'))
    expect(failure).toMatchObject({ code: 'bad_answer' })
  })

  function swapPayload(signed: string, other: string): string {
    const [header, , signature] = signed.split('.')
    return [header, other.split('.')[1], signature].join('.')
  }
})

describe('a page that is not the one that was asked for', () => {
  const pages: [string, (issuer: FeedIssuer) => Record<string, unknown>, object][] = [
    ['of another issuer', () => ({ iss: 'https://evil.example' }), {}],
    ['for somebody else', () => ({ aud: 'x' }), {}],
    ['of another type', () => ({}), { typ: 'revocation-beat+jwt' }],
    ['of another place', () => ({ after: 1, through: 2 }), {}],
    ['that leads nowhere', () => ({ through: 0, head: 5 }), {}],
    ['that goes back', () => ({ through: -1 }), {}],
    ['with an entry beyond its end', () => ({ entries: [[9, 's', 'x', 1, 2]] }), {}],
    [
      'with entries out of order',
      () => ({
        entries: [
          [2, 's', 'x', 1, 2],
          [1, 's', 'y', 1, 2],
        ],
      }),
      {},
    ],
    ['with an entry that is none', () => ({ entries: ['x'] }), {}],
    ['with no entries', () => ({ entries: undefined }), {}],
  ]

  test.each(pages)('(%s) is not believed', async (_what, change, header) => {
    await using world = await startFeedWorld(
      {},
      (issuer) => {
        issuer.answers.set(PAGES_PATH, (_request, response) => {
          const claims = {
            iss: issuer.url,
            aud: `${issuer.url}/revocations`,
            iat: 1_750_000_000,
            feed: issuer.feed,
            after: 0,
            through: 2,
            head: 2,
            entries: [],
            ...change(issuer),
          }
          response.end(signToken(issuer.key, claims, { typ: 'revocation-page+jwt', ...header }))
        })
      },
      false,
    )
    const failure = world.faults[0] ?? (await world.fails())
    expect(failure).toMatchObject({ code: 'bad_answer' })
    expect(world.feed.state).toMatchObject({ isFresh: false, applied: undefined })
    expect(await world.judge(world.token())).toBe('revocations_unavailable')
    world.issuer.answers.clear()
    await world.comesBack()
    expect(await world.judge(world.token())).toBe('allowed')
  })
})
