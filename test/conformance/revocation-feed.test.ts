import { describe, expect, test } from 'vitest'
import { decodeJwt } from '../support/flow.ts'
import { revoke } from '../support/endpoints.ts'
import {
  getListenerToken,
  getPage,
  LISTENER_SECRET,
  openFeed,
  readSigned,
  withListener,
} from '../support/feed.ts'
import { basic } from '../support/flow.ts'
import { shareServer } from '../support/server.ts'

const sharedServer = shareServer(withListener, {}, { LISTENER_SECRET })
const asApi = { authorization: basic('api', LISTENER_SECRET) }

/** Ends a token, and answers its `jti`. */
async function end(issuer: string): Promise<string> {
  const token = await getListenerToken(issuer, 'notes:read')
  await revoke(issuer, token, asApi)
  return String(decodeJwt(token).claims['jti'])
}

describe('the stream of revocations', () => {
  test('says at first where the log stands, and gives what is revoked then as a signed event', async () => {
    const { issuer } = sharedServer()
    await using stream = await openFeed(issuer, await getListenerToken(issuer))
    expect(stream.status).toBe(200)
    expect(stream.headers['content-type']).toBe('text/event-stream')
    expect(JSON.parse((await stream.nextOf('behind')).data)).toEqual({ after: 0 })
    const beat = await readSigned(issuer, (await stream.nextOf('beat')).data, 'revocation-beat+jwt')
    expect(beat).toMatchObject({ every: 5, head: expect.any(Number), oldest: expect.any(Number) })
    const jti = await end(issuer)
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

  test('goes on after the event that was applied last', async () => {
    const { issuer } = sharedServer()
    const token = await getListenerToken(issuer)
    const first = await openFeed(issuer, token)
    await first.nextOf('beat')
    const before = await end(issuer)
    const { id = '', data } = await first.nextOf('set')
    expect((await readSigned(issuer, data, 'secevent+jwt'))['sub_id']).toMatchObject({
      jti: before,
    })
    await first[Symbol.asyncDispose]()
    const missed = [await end(issuer), await end(issuer)]
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
    const jti = await end(issuer)
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
  const ask = (token?: string) =>
    fetch(`${issuer}/revocations/${place}`, {
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    })
  const none = await ask()
  expect([none.status, none.headers.get('www-authenticate')]).toEqual([
    401,
    'Bearer realm="revocations"',
  ])
  const other = await ask(await getListenerToken(issuer, 'notes:read'))
  expect(other.status).toBe(401)
  expect(other.headers.get('www-authenticate')).toContain('error="invalid_token"')
})
