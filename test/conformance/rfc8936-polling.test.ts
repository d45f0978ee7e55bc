import { describe, expect, test } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { revoke } from '../support/endpoints.ts'
import {
  endToken,
  getListenerToken,
  LISTENER_AUTHORIZATION,
  LISTENER_SECRET,
  readSigned,
  withListener,
} from '../support/feed.ts'
import { shareServer, startServer } from '../support/server.ts'
import { sendSlowly } from '../support/slow-post.ts'

const sharedServer = shareServer(withListener, {}, { LISTENER_SECRET })

function readUnusable(logged: string): unknown[] {
  const lines = logged.split('\n').filter((line) => line.includes('"revocation_unusable"'))
  return lines.map((line) => JSON.parse(line))
}

describe('polling (RFC 8936)', () => {
  const poll = async (issuer: string, receiver: string, body: object, token?: string) => {
    const answer = await fetch(`${issuer}/revocations/poll?receiver=${receiver}`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${token ?? (await getListenerToken(issuer))}`,
        'content-type': 'application/json',
      },
      body: JSON.stringify(body),
    })
    const text = await answer.text()
    return { status: answer.status, body: JSON.parse(text) as PollAnswer }
  }
  interface PollAnswer {
    readonly sets: Readonly<Record<string, string>>
    readonly moreAvailable?: boolean
    readonly error?: string
  }
  /** Everything until nothing is left, each acknowledged. */
  const drain = async (issuer: string, receiver: string) => {
    let ack: string[] = []
    for (;;) {
      const { body } = await poll(issuer, receiver, { returnImmediately: true, ack })
      ack = Object.keys(body.sets)
      if (ack.length === 0 && body.moreAvailable !== true) return
    }
  }

  test('gives what is new until it is acknowledged, and no more then', async () => {
    const { issuer } = sharedServer()
    await drain(issuer, 'one')
    const ended = [await endToken(issuer), await endToken(issuer)]
    for (let again = 0; again < 2; again += 1) {
      const { body } = await poll(issuer, 'one', { returnImmediately: true })
      const events = await Promise.all(
        Object.values(body.sets).map((text) => readSigned(issuer, text, 'secevent+jwt')),
      )
      expect(events.map((event) => (event['sub_id'] as { jti: string }).jti)).toEqual(ended)
      expect(Object.keys(body.sets)).toEqual(events.map(({ jti }) => jti))
    }
    const { body } = await poll(issuer, 'one', { returnImmediately: true, maxEvents: 1 })
    expect([Object.keys(body.sets).length, body.moreAvailable]).toEqual([1, true])
    await drain(issuer, 'one')
    const { body: rest } = await poll(issuer, 'one', { returnImmediately: true })
    expect(rest).toEqual({ sets: {} })
  })

  test('goes no further than what was acknowledged without a hole', async () => {
    const { issuer } = sharedServer()
    await drain(issuer, 'holes')
    for (let count = 0; count < 3; count += 1) await endToken(issuer)
    const { body } = await poll(issuer, 'holes', { returnImmediately: true })
    const [first = '', second = '', third = ''] = Object.keys(body.sets)
    const ack = [first, third]
    const { body: rest } = await poll(issuer, 'holes', { returnImmediately: true, ack })
    expect(Object.keys(rest.sets)).toEqual([second, third])
  })

  test('says that there is more where it lies behind what has expired and is not removed yet', async () => {
    const server = sharedServer()
    const { issuer } = server
    await drain(issuer, 'behind')
    await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
    const dead = Array.from({ length: 250 }, (_, index) => `dead ${index}`)
    const append = (subjects: readonly string[], expiresAt: number) =>
      stores.revocations.append(
        subjects.map((subject) => ({ kind: 'token', subject, reason: 'operator', expiresAt })),
      )
    const subjects: unknown[] = []
    await append(dead, systemClock.now() - 1000)
    await append(['alive'], systemClock.now() + 600_000)
    let ack: string[] = []
    for (let polls = 0, isMore = true; isMore && polls < 10; polls += 1) {
      const { body } = await poll(issuer, 'behind', { returnImmediately: true, ack })
      const events = await Promise.all(
        Object.values(body.sets).map((text) => readSigned(issuer, text, 'secevent+jwt')),
      )
      subjects.push(...events.map((event) => (event['sub_id'] as { jti: string }).jti))
      ack = Object.keys(body.sets)
      isMore = body.moreAvailable === true
    }
    expect(subjects).toEqual(['alive'])
  })

  test('gives nothing where its token is revoked before it has asked to the end', async () => {
    await using server = await startServer(withListener, {}, { LISTENER_SECRET })
    const { issuer } = server
    const token = await getListenerToken(issuer)
    await endToken(issuer)
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
    const body = JSON.stringify({ returnImmediately: true })
    const ask = (meanwhile: () => Promise<unknown>) =>
      sendSlowly(`${issuer}/revocations/poll`, headers, body, meanwhile)
    expect((await ask(async () => {})).status).toBe(200)
    const answer = await ask(() => revoke(issuer, token, LISTENER_AUTHORIZATION))
    expect(answer.status).toBe(401)
  })

  test('needs no name where a client has one receiver', async () => {
    const { issuer } = sharedServer()
    const headers = {
      authorization: `Bearer ${await getListenerToken(issuer)}`,
      'content-type': 'application/json',
    }
    const ask = async (body: object) => {
      const url = `${issuer}/revocations/poll`
      const answer = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) })
      return Object.keys(((await answer.json()) as PollAnswer).sets)
    }
    await endToken(issuer)
    let names = await ask({ returnImmediately: true })
    expect(names.length).toBeGreaterThan(0)
    while (names.length > 0) names = await ask({ returnImmediately: true, ack: names })
    expect(names).toEqual([])
  })

  test('waits for what comes', async () => {
    const { issuer } = sharedServer()
    await drain(issuer, 'patient')
    const waiting = poll(issuer, 'patient', {})
    const jti = await endToken(issuer)
    const [text = ''] = Object.values((await waiting).body.sets)
    expect((await readSigned(issuer, text, 'secevent+jwt'))['sub_id']).toMatchObject({ jti })
  })

  test.each(['token', 'client'])(
    'gives nothing where its %s is revoked while it waits',
    async (what) => {
      const server = await startServer(withListener, {}, { LISTENER_SECRET })
      const { issuer } = server
      const token = await getListenerToken(issuer)
      const waiting = poll(issuer, 'revoked', {}, token)
      // Only who waits has been written down.
      await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
      await expect
        .poll(() => stores.receivers.find('api', 'revoked'), { timeout: 5000 })
        .toMatchObject({ place: 0 })
      if (what === 'token') await revoke(issuer, token, LISTENER_AUTHORIZATION)
      else {
        const now = systemClock.now()
        const times = { revokedAt: now, expiresAt: now + 60_000 }
        const entry = { kind: 'client', subject: 'api', reason: 'operator', ...times } as const
        await stores.revocations.append([entry])
      }
      expect(await waiting).toMatchObject({ status: 401, body: { error: 'invalid_token' } })
      await server[Symbol.asyncDispose]()
    },
  )

  test('waits a hundred times at once for a client, and no more', async () => {
    await using server = await startServer(withListener, {}, { LISTENER_SECRET })
    const { issuer } = server
    const token = await getListenerToken(issuer)
    const statuses: number[] = []
    const refused = Promise.withResolvers<void>()
    const waiting = Array.from({ length: 110 }, async (_, index) => {
      const { status } = await poll(issuer, `r${index}`, {}, token)
      statuses.push(status)
      if (statuses.length === 10) refused.resolve()
    })
    await refused.promise
    expect(new Set(statuses)).toEqual(new Set([429]))
    await endToken(issuer)
    await Promise.all(waiting)
    expect(statuses.filter((status) => status === 200)).toHaveLength(100)
  })

  test('does not come to a stop at what a receiver cannot use, and says so to the operator', async () => {
    await using server = await startServer(withListener, {}, { LISTENER_SECRET })
    const { issuer, logged } = server
    const ended = [await endToken(issuer), await endToken(issuer), await endToken(issuer)]
    const { body } = await poll(issuer, 'picky', { returnImmediately: true })
    const [first = '', second = ''] = Object.keys(body.sets)
    const why = { err: 'jwtCrypto', description: 'a key is missing' }
    const setErrs = { 'no event': why, [first]: why, [second]: why }
    const { body: rest } = await poll(issuer, 'picky', { returnImmediately: true, setErrs })
    expect(Object.keys(rest.sets)).toHaveLength(ended.length - 2)
    const [line, ...others] = readUnusable(logged())
    expect(others).toEqual([])
    expect(line).toMatchObject({ clientId: 'api', name: first, others: 1 })
    await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
    const unusable = [{ from: 1, through: 2, expiresAt: expect.any(Number) as number }]
    expect(await stores.receivers.find('api', 'picky')).toMatchObject({ place: 2, unusable })
    // What it says of others, and of these once more, changes nothing in that.
    const ack = [first, second, ...Object.keys(rest.sets)]
    const { body: none } = await poll(issuer, 'picky', { returnImmediately: true, ack })
    expect(none.sets).toEqual({})
    expect(await stores.receivers.find('api', 'picky')).toMatchObject({ place: 3, unusable })
  })

  test('has used what it could not use where a receiver says so afterwards', async () => {
    const { issuer, folder } = sharedServer()
    await drain(issuer, 'mended')
    await endToken(issuer)
    const { body } = await poll(issuer, 'mended', { returnImmediately: true })
    const [name = ''] = Object.keys(body.sets)
    const [feed = '', place = ''] = name.split(':')
    await poll(issuer, 'mended', { returnImmediately: true, setErrs: { [name]: { err: 'x' } } })
    await using stores = await openStores(`sqlite:${folder}/portreeve.sqlite`, systemClock)
    const find = () => stores.receivers.find('api', 'mended')
    expect(await find()).toMatchObject({ place: Number(place), unusable: [{}] })
    const answer = await fetch(`${issuer}/revocations/applied?receiver=mended`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${await getListenerToken(issuer)}`,
        'content-type': 'application/json',
      },
      body: JSON.stringify({ feed, applied: Number(place) }),
    })
    expect(answer.status).toBe(204)
    await expect.poll(find).toMatchObject({ place: Number(place), unusable: [] })
  })

  test('keeps little of what a receiver cannot use, and takes rather too much for that', async () => {
    await using server = await startServer(withListener, {}, { LISTENER_SECRET })
    const { issuer } = server
    for (let count = 0; count < 50; count += 1) await endToken(issuer)
    const { body } = await poll(issuer, 'odd', { returnImmediately: true })
    const names = Object.keys(body.sets)
    const isOdd = (_name: string, index: number) => index % 2 === 0
    const setErrs = Object.fromEntries(names.filter(isOdd).map((name) => [name, { err: 'x' }]))
    const ack = names.filter((name) => !(name in setErrs))
    await poll(issuer, 'odd', { returnImmediately: true, ack, setErrs })
    await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
    const { place, unusable = [] } = (await stores.receivers.find('api', 'odd')) ?? {}
    const newest = Array.from({ length: 15 }, (_, index) => [21 + 2 * index, 21 + 2 * index])
    expect(place).toBe(50)
    expect(unusable.map(({ from, through }) => [from, through])).toEqual([[1, 19], ...newest])
  })

  test('fills no log with what a receiver says it cannot use, under whatever name', async () => {
    await using server = await startServer(withListener, {}, { LISTENER_SECRET })
    const { issuer, logged } = server
    await endToken(issuer)
    const { body } = await poll(issuer, 'first', { returnImmediately: true })
    const [name = ''] = Object.keys(body.sets)
    const made = Array.from({ length: 999 }, (_, index) => [`made up ${index}`, {}] as const)
    const setErrs = Object.fromEntries([[name, { err: 'x' }], ...made])
    for (let count = 0; count < 20; count += 1) {
      const { status } = await poll(issuer, `r${count}`, { returnImmediately: true, setErrs })
      expect(status).toBe(200)
    }
    expect(readUnusable(logged())).toHaveLength(10)
    expect(logged()).not.toContain('made up')
  })

  test.each<[string, string, number?]>([
    ['no JSON', '{'],
    ['a list', '[]'],
    ['maxEvents below 0', JSON.stringify({ maxEvents: -1 })],
    ['maxEvents that is no number', JSON.stringify({ maxEvents: '5' })],
    ['ack that is no list', JSON.stringify({ ack: 'x' })],
    ['too many acks', JSON.stringify({ ack: Array.from({ length: 1001 }, () => 'x') })],
    ['setErrs that is a list', JSON.stringify({ setErrs: [] })],
    ['a body that is too large', JSON.stringify({ ack: ['x'.repeat(70_000)] }), 413],
  ])('%s is refused', async (_what, body, status = 400) => {
    const { issuer } = sharedServer()
    const answer = await fetch(`${issuer}/revocations/poll`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${await getListenerToken(issuer)}`,
        'content-type': 'application/json',
      },
      body,
    })
    expect(answer.status).toBe(status)
    expect(await answer.json()).toHaveProperty('error')
  })
})
