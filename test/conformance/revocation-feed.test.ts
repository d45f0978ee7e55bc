import { once } from 'node:events'
import { connect } from 'node:net'
import { describe, expect, test } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import type { NewRevocation } from '../../auth-server/revocation/revocation.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { authorize, basic, decodeJwt, requestToken } from '../support/flow.ts'
import { revoke } from '../support/endpoints.ts'
import {
  endToken,
  getListenerToken,
  getPage,
  LISTENER_AUTHORIZATION,
  LISTENER_SECRET,
  openFeed,
  readSigned,
  withListener,
} from '../support/feed.ts'
import { runSql } from '../storage/sql.ts'
import { SERVICE_SECRET, shareServer, startServer } from '../support/server.ts'

const sharedServer = shareServer(withListener, {}, { LISTENER_SECRET })
describe('the stream of revocations', () => {
  test('says at first where the log stands, and gives what is revoked then as a signed event', async () => {
    const { issuer } = sharedServer()
    await using stream = await openFeed(issuer, await getListenerToken(issuer))
    expect(stream.status).toBe(200)
    expect(stream.headers['content-type']).toBe('text/event-stream')
    expect(JSON.parse((await stream.nextOf('behind')).data)).toEqual({ after: 0 })
    const beat = await readSigned(issuer, (await stream.nextOf('beat')).data, 'revocation-beat+jwt')
    expect(beat).toMatchObject({ every: 5, head: expect.any(Number), oldest: expect.any(Number) })
    const jti = await endToken(issuer)
    const { id, data } = await stream.nextOf('set')
    const event = await readSigned(issuer, data, 'secevent+jwt')
    expect(event).toMatchObject({
      jti: id,
      seq: Number(beat['head']) + 1,
      sub_id: { format: 'jwt_id', iss: issuer, jti },
      events: { 'urn:portreeve:event:token-revoked': { event_timestamp: expect.any(Number) } },
    })
    expect(event.exp).toBeUndefined()
    expect(event.sub).toBeUndefined()
  })

  test('answers what it was asked with before anything else, signed', async () => {
    const { issuer } = sharedServer()
    const token = await getListenerToken(issuer)
    const nonce = 'n'.repeat(16)
    await using stream = await openFeed(issuer, token, { query: `?nonce=${nonce}` })
    const { event, data = '' } = (await stream.next()) ?? {}
    expect(event).toBe('hello')
    const hello = await readSigned(issuer, data, 'revocation-hello+jwt')
    const beat = await readSigned(issuer, (await stream.nextOf('beat')).data, 'revocation-beat+jwt')
    expect(hello).toMatchObject({ nonce, feed: beat['feed'] })
    expect(beat['now_ms']).toBeGreaterThanOrEqual(Number(hello['now_ms']))
    for (const query of ['?nonce=', '?nonce=short', `?nonce=${'n'.repeat(65)}`, '?nonce=%0A']) {
      await using refused = await openFeed(issuer, token, { query })
      expect(refused.status).toBe(400)
    }
  })

  test('goes on after the event that was applied last', async () => {
    const { issuer } = sharedServer()
    const token = await getListenerToken(issuer)
    const first = await openFeed(issuer, token)
    await first.nextOf('beat')
    const before = await endToken(issuer)
    const { id = '', data } = await first.nextOf('set')
    expect((await readSigned(issuer, data, 'secevent+jwt'))['sub_id']).toMatchObject({
      jti: before,
    })
    await first[Symbol.asyncDispose]()
    const missed = [await endToken(issuer), await endToken(issuer)]
    await using second = await openFeed(issuer, token, { lastEventId: id })
    for (const jti of missed) {
      const event = await readSigned(issuer, (await second.nextOf('set')).data, 'secevent+jwt')
      expect(event['sub_id']).toMatchObject({ jti })
    }
  })
})

describe('a page of revocations', () => {
  test('has the live entries after a place', async () => {
    const { issuer } = sharedServer()
    const token = await getListenerToken(issuer)
    const jti = await endToken(issuer)
    const page = await getPage(issuer, token)
    expect(page['through']).toBe(page['head'])
    const entries = page['entries'] as unknown[][]
    expect(entries.at(-1)?.slice(0, 3)).toEqual([page['head'], 't', jti])
    const rest = await getPage(issuer, token, Number(page['head']))
    expect(rest['entries']).toEqual([])
  })
})

test.each(['stream', 'pages'])('%s is for nobody without a token of its own', async (place) => {
  const { issuer } = sharedServer()
  const ask = async (token?: string) => {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
    const answer = await fetch(`${issuer}/revocations/${place}`, { headers })
    const body = (await answer.json()) as { error_description: string }
    return { status: answer.status, challenge: answer.headers.get('www-authenticate'), body }
  }
  const wanted = `expected an access token for ${issuer}/revocations with the scope revocations:read`
  const challenge = 'Bearer realm="revocations", scope="revocations:read"'
  expect(await ask()).toMatchObject({
    status: 401,
    challenge,
    body: { error_description: wanted },
  })
  const other = await ask(await getListenerToken(issuer, 'notes:read'))
  const description = `${wanted}, not one that is for something else, bound to a key, expired or revoked`
  expect(other).toEqual({
    status: 401,
    challenge: `${challenge}, error="invalid_token", error_description="${description}"`,
    body: { error: 'invalid_token', error_description: description },
  })
})

describe('what a receiver has applied', () => {
  const report = async (issuer: string, body: unknown, receiver = 'reporter') =>
    fetch(`${issuer}/revocations/applied?receiver=${receiver}`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${await getListenerToken(issuer)}`,
        'content-type': 'application/json',
      },
      body: JSON.stringify(body),
    })

  test('is kept', async () => {
    const { issuer, folder } = sharedServer()
    const { feed, head } = await getPage(issuer, await getListenerToken(issuer))
    expect((await report(issuer, { feed, applied: head })).status).toBe(204)
    await using stores = await openStores(`sqlite:${folder}/portreeve.sqlite`, systemClock)
    await expect
      .poll(() => stores.receivers.find('api', 'reporter'), { timeout: 5000 })
      .toMatchObject({ place: head })
  })

  test('is not believed where nobody can have it: it would confirm what is yet to come', async () => {
    const { issuer } = sharedServer()
    const { feed, head } = await getPage(issuer, await getListenerToken(issuer))
    expect((await report(issuer, { feed, applied: Number(head) + 1000 })).status).toBe(409)
  })

  test.each<[string, object, string, number]>([
    ['of another feed', { feed: 'x'.repeat(22), applied: 1 }, 'reporter', 409],
    ['without a place', { feed: 'x' }, 'reporter', 400],
    ['at no place', { feed: 'x', applied: -1 }, 'reporter', 400],
    ['by somebody without a good name', { feed: 'x', applied: 1 }, '%20', 400],
    ['by somebody with a long name', { feed: 'x', applied: 1 }, 'x'.repeat(65), 400],
  ])('%s is refused', async (_what, body, receiver, status) => {
    expect((await report(sharedServer().issuer, body, receiver)).status).toBe(status)
  })
})

describe('who follows the feed', () => {
  test('loses it with its token, at once', async () => {
    const { issuer } = sharedServer()
    const token = await getListenerToken(issuer)
    await using stream = await openFeed(issuer, token)
    await stream.nextOf('beat')
    await revoke(issuer, token, LISTENER_AUTHORIZATION)
    expect(JSON.parse((await stream.nextOf('bye')).data)).toEqual({ reason: 'revoked' })
    expect(await stream.next()).toBeUndefined()
    await using again = await openFeed(issuer, token)
    expect(again.status).toBe(401)
  })

  test('loses it as well where so much has ended that its own end is not given one by one', async () => {
    await using server = await startServer(withListener, {}, { LISTENER_SECRET })
    await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
    const token = await getListenerToken(server.issuer)
    await using stream = await openFeed(server.issuer, token)
    await stream.nextOf('beat')
    const now = systemClock.now()
    const about = { revokedAt: now, expiresAt: now + 86_400_000, reason: 'operator' } as const
    const others = Array.from({ length: 6000 }, (_, index): NewRevocation => ({
      ...about,
      kind: 'grant',
      subject: `grant-${index}`,
    }))
    const own = { ...about, kind: 'client', subject: 'api' } as const
    await stores.revocations.append([...others.slice(0, 600), own, ...others.slice(600)])
    await expect
      .poll(() => stores.revocations.head(), { timeout: 5000 })
      .toBeGreaterThanOrEqual(others.length)
    expect(JSON.parse((await stream.nextOf('bye')).data)).toEqual({ reason: 'revoked' })
    expect(await stream.next()).toBeUndefined()
  })

  test('has a place again when it has gone, however soon that was', async () => {
    await using server = await startServer(withListener, {}, { LISTENER_SECRET })
    const token = await getListenerToken(server.issuer)
    const { hostname, port, host } = new URL(server.issuer)
    const asking = `GET /revocations/stream HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${token}\r\n\r\n`
    for (let round = 0; round < 10; round += 1) {
      const sockets = Array.from({ length: 100 }, () => connect(Number(port), hostname))
      await Promise.all(sockets.map((socket) => once(socket, 'connect')))
      for (const socket of sockets) socket.write(asking, () => socket.destroy())
      await Promise.all(sockets.map((socket) => once(socket, 'close')))
    }
    // Behind them: whoever has gone is found to be, one after the other.
    await expect
      .poll(
        async () => {
          await using stream = await openFeed(server.issuer, token)
          return stream.status
        },
        { timeout: 5000 },
      )
      .toBe(200)
  })

  test('has a connection for the stream alone', async () => {
    await using server = await startServer(withListener, {}, { LISTENER_SECRET })
    const token = await getListenerToken(server.issuer)
    const { hostname, port, host } = new URL(server.issuer)
    const headers = `Host: ${host}\r\nAuthorization: Bearer ${token}\r\n`
    const socket = connect(Number(port), hostname)
    await once(socket, 'connect')
    // The first waits for something to be revoked, and the second is behind it.
    socket.write(
      `POST /revocations/poll HTTP/1.1\r\n${headers}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}` +
        `GET /revocations/stream HTTP/1.1\r\n${headers}\r\n`,
    )
    await expect
      .poll(() => server.logged(), { timeout: 5000 })
      .toContain('expected a connection of its own')
    socket.destroy()
  })

  test('is told when the server stops, and comes back', async () => {
    const server = await startServer(withListener, {}, { LISTENER_SECRET })
    const token = await getListenerToken(server.issuer)
    await using stream = await openFeed(server.issuer, token)
    await stream.nextOf('beat')
    const stopped = server.stop()
    expect(JSON.parse((await stream.nextOf('bye')).data)).toEqual({ reason: 'draining' })
    await stopped
    await server[Symbol.asyncDispose]()
  })

  test('goes on where it was when the server comes back, without reading pages', async () => {
    const server = await startServer(withListener, {}, { LISTENER_SECRET })
    const token = await getListenerToken(server.issuer)
    const stream = await openFeed(server.issuer, token)
    await stream.nextOf('beat')
    await endToken(server.issuer)
    const { id = '' } = await stream.nextOf('set')
    const missed = await endToken(server.issuer)
    await stream[Symbol.asyncDispose]()
    await server.stop()
    const port = Number(new URL(server.issuer).port)
    await using again = await server.startAnother({}, (config) => ({
      ...config,
      issuer: server.issuer,
      listen: { host: '127.0.0.1', port },
    }))
    await using second = await openFeed(again.issuer, token, { lastEventId: id })
    const next = await second.next()
    expect(next).toMatchObject({ event: 'set' })
    const event = await readSigned(again.issuer, next?.data ?? '', 'secevent+jwt')
    expect(event['sub_id']).toMatchObject({ jti: missed })
    expect(await second.next()).toMatchObject({ event: 'beat' })
    await server[Symbol.asyncDispose]()
  })

  test('is told to start anew where the database has lost what was sent', async () => {
    await using server = await startServer(withListener, {}, { LISTENER_SECRET })
    const { issuer } = server
    const token = await getListenerToken(issuer)
    await using stream = await openFeed(issuer, token)
    const read = async (text: string) => readSigned(issuer, text, 'revocation-beat+jwt')
    const { feed } = await read((await stream.nextOf('beat')).data)
    for (let count = 0; count < 3; count += 1) {
      await endToken(issuer)
      await stream.nextOf('set')
    }
    await runSql(
      `sqlite:${server.folder}/portreeve.sqlite`,
      'delete from revocation where sequence > 1',
    )
    expect(JSON.parse((await stream.nextOf('behind')).data)).toEqual({ after: 0 })
    const beat = await read((await stream.nextOf('beat')).data)
    expect([beat['head'], beat['feed'] === feed]).toEqual([1, false])
    expect(await getPage(issuer, token)).toMatchObject({ feed: beat['feed'], head: 1 })
    await endToken(issuer)
    expect((await stream.nextOf('set')).id).toBe(`${String(beat['feed'])}:2`)
    expect(server.logged()).toContain('revocations_lost')
  })

  test('has no more than a hundred streams', async () => {
    const { issuer } = sharedServer()
    const token = await getListenerToken(issuer)
    await using open = new AsyncDisposableStack()
    const statuses: number[] = []
    for (let count = 0; count < 101; count += 1) {
      statuses.push(open.use(await openFeed(issuer, token)).status)
    }
    expect(statuses.filter((status) => status === 200).length).toBeLessThanOrEqual(100)
    expect(statuses.at(-1)).toBe(429)
  })

  test('learns of what another server of the same database has revoked', async () => {
    const server = await startServer(withListener, {}, { LISTENER_SECRET })
    const other = await server.startAnother({}, (config) => ({
      ...config,
      issuer: server.issuer,
      listen: { host: '127.0.0.1', port: 0 },
      trustedProxies: ['127.0.0.1'],
    }))
    await using stream = await openFeed(server.issuer, await getListenerToken(server.issuer))
    await stream.nextOf('beat')
    const token = await getListenerToken(server.issuer, 'notes:read')
    const { host } = new URL(server.issuer)
    await fetch(`${other.url}/revoke`, {
      method: 'POST',
      headers: {
        ...LISTENER_AUTHORIZATION,
        'x-forwarded-host': host,
        'content-type': 'application/x-www-form-urlencoded',
      },
      body: new URLSearchParams({ token }).toString(),
    })
    const { data } = await stream.nextOf('set')
    const { jti } = decodeJwt(token).claims
    expect((await readSigned(server.issuer, data, 'secevent+jwt'))['sub_id']).toMatchObject({ jti })
    await stream[Symbol.asyncDispose]()
    await other[Symbol.asyncDispose]()
    await server[Symbol.asyncDispose]()
  })
})

describe('the scope of the feed', () => {
  test('is for services: no person can give it to an app', async () => {
    const { issuer } = sharedServer()
    const request = { resource: `${issuer}/revocations`, scope: 'revocations:read' }
    const { answer } = await authorize(issuer, request).catch((error: unknown) => {
      throw error
    })
    expect(answer.get('error')).toMatch(/invalid_(?:scope|target)|access_denied/)
  })

  test('is not had by a client that was not given it', async () => {
    const { issuer } = sharedServer()
    const { status, body } = await requestToken(
      issuer,
      { grant_type: 'client_credentials', scope: 'revocations:read' },
      { authorization: basic('service', SERVICE_SECRET) },
    )
    expect([status, body.error]).toEqual([400, 'invalid_scope'])
  })
})
