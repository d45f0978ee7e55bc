import type { ServerResponse } from 'node:http'
import { DatabaseSync } from 'node:sqlite'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import { describe, expect, test, vi } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import { openStores, type Stores } from '../../auth-server/storage/stores.ts'
import { createBrowser, type Browser } from '../support/browser.ts'
import { withClients } from '../support/endpoints.ts'
import { authorize, decodeJwt, obtainTokens, requestToken, signIn } from '../support/flow.ts'
import { answerWith, startLogoutReceiver, type Answer } from '../support/logout-receiver.ts'
import { startServer, type TestServer } from '../support/server.ts'

/* The table of the requirements is in docs/conformance/oidc-backchannel-logout.md. */

const EVENT = 'http://schemas.openid.net/event/backchannel-logout'
const SOON = { timeout: 5000, interval: 20 }
const DAY_SECONDS = 86_400

/** A clock that runs, and can be turned forward. */
function createRunningClock() {
  let ahead = 0
  return {
    now: () => systemClock.now() + ahead,
    turn: (seconds: number) => void (ahead += seconds * 1000),
  }
}

/** A server, and an app `web` that is told of logouts; `spa` is another, where it is wanted. */
async function makeWorld(answer?: Answer) {
  await using cleanUp = new AsyncDisposableStack()
  const web = cleanUp.use(await startLogoutReceiver(answer))
  const spa = cleanUp.use(await startLogoutReceiver())
  const clock = createRunningClock()
  const server = cleanUp.use(
    await startServer(
      withClients(
        { id: 'web', backchannelLogoutUri: web.uri },
        { id: 'spa', backchannelLogoutUri: spa.uri },
      ),
      { clock },
    ),
  )
  const owned = cleanUp.move()
  return { web, spa, clock, server, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

async function signOut(
  { issuer }: TestServer,
  browser: Browser,
  fields: Record<string, string> = { logout: 'yes' },
): Promise<void> {
  const page = await browser.get(`${issuer}/session/end?client_id=web`)
  await browser.submit(page, '/session/end/confirm', fields)
}

/** Who is signed in by an ID token, and what the client knows the session by. */
function readSession(idToken: string) {
  const { sub, sid } = decodeJwt(idToken).claims
  return { sub, sid }
}

/** Signs alice in at the app `spa` in a browser where she may be signed in already. */
async function signInAtSpa({ issuer }: TestServer, browser: Browser) {
  const redirect_uri = 'https://spa.example/'
  const request = { client_id: 'spa', redirect_uri }
  const { code, verifier } = await authorize(issuer, request, 'alice', browser)
  const form = { grant_type: 'authorization_code', client_id: 'spa', redirect_uri }
  const { body } = await requestToken(issuer, { ...form, code, code_verifier: verifier }, {})
  return readSession(body.id_token)
}

/** As §2.6 has a client do it. */
async function verifyLogoutToken(issuer: string, token: string, audience: string) {
  const keys = createRemoteJWKSet(new URL(`${issuer}/jwks`))
  return jwtVerify(token, keys, {
    issuer,
    audience,
    typ: 'logout+jwt',
    algorithms: ['RS256'],
    requiredClaims: ['iat', 'exp', 'jti', 'events', 'sub', 'sid'],
  })
}

function listEvents({ logged }: TestServer, wanted: string) {
  return logged()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as { event: string; clientId: string; reason: string })
    .filter(({ event }) => event === wanted)
}

/** A client that is still to be told, whoever's it is. */
async function nextWaiting({ logouts }: Stores): Promise<string | undefined> {
  return (await logouts.nextClient('operator', '')) ?? logouts.nextClient('stranger', '')
}

test('§2.1 the metadata says that logouts are told, with the session', async () => {
  await using server = await startServer()
  const response = await fetch(`${server.issuer}/.well-known/openid-configuration`)
  expect(await response.json()).toMatchObject({
    backchannel_logout_supported: true,
    backchannel_logout_session_supported: true,
  })
})

describe('§2.5 a client is told of the end of a session', () => {
  test('by a form with a logout token, once', async () => {
    await using world = await makeWorld()
    const { web, server } = world
    const { id_token, browser } = await obtainTokens(server.issuer)
    await signOut(server, browser)
    await vi.waitFor(() => expect(listEvents(server, 'logout_delivered')).toHaveLength(1), SOON)
    const [request, ...more] = web.received
    expect(more).toEqual([])
    expect([request?.method, request?.url, [...(request?.form.keys() ?? [])]]).toEqual([
      'POST',
      '/logout',
      ['logout_token'],
    ])
    expect(request?.headers['content-type']).toMatch(/^application\/x-www-form-urlencoded/)
    expect([request?.headers.cookie, request?.headers.authorization]).toEqual([
      undefined,
      undefined,
    ])
    const { payload, protectedHeader } = await verifyLogoutToken(
      server.issuer,
      request?.token ?? '',
      'web',
    )
    expect(payload).toMatchObject({ ...readSession(id_token), events: { [EVENT]: {} } })
    expect(Number(payload.exp) - Number(payload.iat)).toBe(120)
    // §2.4: it must not be good as an ID token.
    expect(Object.keys(payload).toSorted()).toEqual(
      ['aud', 'events', 'exp', 'iat', 'iss', 'jti', 'sid', 'sub'].toSorted(),
    )
    expect(Object.keys(protectedHeader).toSorted()).toEqual(['alg', 'kid', 'typ'])
    expect(server.logged()).not.toContain(request?.token)
  })

  test('and so is each other client of it, by a token of its own', async () => {
    await using world = await makeWorld()
    const { web, spa, server } = world
    const { id_token, browser } = await obtainTokens(server.issuer)
    const atSpa = await signInAtSpa(server, browser)
    await signOut(server, browser)
    await vi.waitFor(() => expect(listEvents(server, 'logout_delivered')).toHaveLength(2), SOON)
    const [toWeb, toSpa] = [web.received[0]?.token ?? '', spa.received[0]?.token ?? '']
    expect((await verifyLogoutToken(server.issuer, toWeb, 'web')).payload).toMatchObject(
      readSession(id_token),
    )
    expect((await verifyLogoutToken(server.issuer, toSpa, 'spa')).payload).toMatchObject(atSpa)
    expect(atSpa.sid).not.toBe(readSession(id_token).sid)
    await expect(verifyLogoutToken(server.issuer, toWeb, 'spa')).rejects.toMatchObject({
      code: 'ERR_JWT_CLAIM_VALIDATION_FAILED',
    })
  })

  test('and not of sessions that go on: of the same person elsewhere, or at another client', async () => {
    await using world = await makeWorld()
    const { web, spa, server } = world
    const first = await obtainTokens(server.issuer)
    const second = await obtainTokens(server.issuer)
    await signInAtSpa(server, createBrowser(server.issuer))
    const sids = [first, second].map(({ id_token }) => readSession(id_token).sid)
    expect(sids[0]).not.toBe(sids[1])
    await signOut(server, first.browser)
    await vi.waitFor(() => expect(web.received).toHaveLength(1), SOON)
    await signOut(server, second.browser)
    await vi.waitFor(() => expect(web.received).toHaveLength(2), SOON)
    const told = web.received.map(({ token }) => decodeJwt(token).claims['sid'])
    expect(told).toEqual(sids)
    expect(spa.received).toEqual([])
  })

  test('alone where the person only leaves this client, and stays signed in', async () => {
    await using world = await makeWorld()
    const { web, spa, server } = world
    const { id_token, browser } = await obtainTokens(server.issuer)
    await signInAtSpa(server, browser)
    await signOut(server, browser, {})
    await vi.waitFor(() => expect(listEvents(server, 'logout_delivered')).toHaveLength(1), SOON)
    const token = web.received[0]?.token ?? ''
    expect((await verifyLogoutToken(server.issuer, token, 'web')).payload).toMatchObject(
      readSession(id_token),
    )
    // It is told once, and the others when the session ends.
    await signOut(server, browser)
    await vi.waitFor(() => expect(listEvents(server, 'logout_delivered')).toHaveLength(2), SOON)
    expect([web.received.length, spa.received.length]).toEqual([1, 1])
  })

  test.each([
    ['has signed out of it from another browser', '/account/sessions/end'],
    ['has signed out everywhere else', '/account/sessions/end-others'],
    ['has removed the access of the client', '/account/apps/remove'],
  ])('where the person %s', async (_what, form) => {
    await using world = await makeWorld()
    const { web, spa, server } = world
    const { id_token, browser } = await obtainTokens(server.issuer)
    if (!form.includes('apps')) await signInAtSpa(server, browser)
    const other = createBrowser(server.issuer)
    const page = await signIn(other, await other.get(`${server.issuer}/account`))
    await other.submit(page, form)
    await vi.waitFor(() => expect(web.received).toHaveLength(1), SOON)
    const { payload } = await verifyLogoutToken(server.issuer, web.received[0]?.token ?? '', 'web')
    expect(payload).toMatchObject(readSession(id_token))
    const told = form.includes('apps') ? 0 : 1
    await vi.waitFor(() => expect(spa.received).toHaveLength(told), SOON)
    // Whoever does it stays where they are.
    expect((await other.get(`${server.issuer}/account`)).url).toBe(`${server.issuer}/account`)
  })

  test('where the person is disabled', async () => {
    await using world = await makeWorld()
    const { web, server, clock } = world
    const { id_token } = await obtainTokens(server.issuer)
    await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, clock)
    const alice = await stores.accounts.findByUsername('alice')
    if (!alice) throw new Error('no alice')
    await stores.accounts.updateAndEndAccess({ ...alice, disabled: true })
    await vi.waitFor(() => expect(web.received).toHaveLength(1), SOON)
    const { payload } = await verifyLogoutToken(server.issuer, web.received[0]?.token ?? '', 'web')
    expect(payload).toMatchObject(readSession(id_token))
  })

  test('and not when it has been removed, or wants no more of them', async () => {
    await using world = await makeWorld(answerWith(503))
    const { web, spa, server, clock } = world
    spa.answer = answerWith(503)
    const { browser } = await obtainTokens(server.issuer)
    await signInAtSpa(server, browser)
    await signOut(server, browser)
    await vi.waitFor(() => expect(listEvents(server, 'logout_postponed')).toHaveLength(2), SOON)
    await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, clock)
    await stores.clients.remove('web')
    const atSpa = await stores.clients.findById('spa')
    if (!atSpa) throw new Error('no spa')
    await stores.clients.update({ ...atSpa, backchannelLogoutUri: undefined })
    clock.turn(60)
    await vi.waitFor(async () => expect(await nextWaiting(stores)).toBeUndefined(), SOON)
    expect([web.received.length, spa.received.length]).toEqual([1, 1])
  })
})

test('a token that cannot be made counts as an attempt, and is given up like others', async () => {
  await using world = await makeWorld(answerWith(503))
  const { web, server, clock } = world
  const { browser } = await obtainTokens(server.issuer)
  await signOut(server, browser)
  await vi.waitFor(() => expect(listEvents(server, 'logout_postponed')).toHaveLength(1), SOON)
  await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, clock)
  const client = await stores.clients.findById('web')
  if (!client) throw new Error('no web')
  // As no rule allows it: without a sector there is no subject.
  await stores.clients.update({ ...client, subjectType: 'pairwise', redirectUris: [] })
  clock.turn(10)
  await vi.waitFor(() => expect(listEvents(server, 'logout_postponed')).toHaveLength(2), SOON)
  expect(listEvents(server, 'logout_postponed')[1]).toMatchObject({ reason: 'keys' })
  clock.turn(2 * 86_400)
  await vi.waitFor(() => expect(listEvents(server, 'logout_given_up')).toHaveLength(1), SOON)
  expect([web.received.length, await nextWaiting(stores)]).toEqual([1, undefined])
})

test('a client that is disabled is not told, until it is enabled again', async () => {
  await using world = await makeWorld()
  const { web, server, clock } = world
  const { browser, id_token } = await obtainTokens(server.issuer)
  await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, clock)
  const client = await stores.clients.findById('web')
  if (!client) throw new Error('no web')
  await stores.clients.update({ ...client, disabled: true })
  await browser.submit(await browser.get(`${server.issuer}/session/end`), '/session/end/confirm', {
    logout: 'yes',
  })
  await vi.waitFor(() => expect(listEvents(server, 'logout_postponed')).toHaveLength(1), SOON)
  expect(listEvents(server, 'logout_postponed')).toMatchObject([{ reason: 'disabled' }])
  expect(web.received).toEqual([])
  await stores.clients.update(client)
  clock.turn(10)
  await vi.waitFor(() => expect(listEvents(server, 'logout_delivered')).toHaveLength(1), SOON)
  expect(decodeJwt(web.received[0]?.token ?? '').claims).toMatchObject(readSession(id_token))
})

test('a client that stays disabled is told of nothing after a day', async () => {
  await using world = await makeWorld(answerWith(500))
  const { web, server, clock } = world
  const { browser } = await obtainTokens(server.issuer)
  await signOut(server, browser)
  await vi.waitFor(() => expect(listEvents(server, 'logout_postponed')).toHaveLength(1), SOON)
  await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, clock)
  const client = await stores.clients.findById('web')
  if (client) await stores.clients.update({ ...client, disabled: true })
  clock.turn(DAY_SECONDS)
  await vi.waitFor(
    () => expect(listEvents(server, 'logout_given_up')).toMatchObject([{ reason: 'disabled' }]),
    SOON,
  )
  expect([web.received.length, await nextWaiting(stores)]).toEqual([1, undefined])
})

test('where the storage fails for one logout, the server that stops waits for the others', async () => {
  const open: ServerResponse[] = []
  await using world = await makeWorld((response) => void open.push(response))
  const { server, clock } = world
  await server.stop()
  using database = new DatabaseSync(`${server.folder}/portreeve.sqlite`)
  const insert = database.prepare('insert into logout_delivery values (?, ?, ?, ?, ?, ?, ?)')
  for (const id of ['1', '2', '3', '4']) {
    insert.run(id, 'web', 'acc_somebody', `sid ${id}`, clock.now(), Number(id), 0)
  }
  database.exec(`create trigger fail before update on logout_delivery when old.id = '1'
    begin select raise(abort, 'planted'); end`)
  await using next = await server.startAnother()
  await vi.waitFor(() => expect(open).toHaveLength(3), SOON)
  const stopping = next[Symbol.asyncDispose]()
  for (const response of open) response.writeHead(200).end()
  await stopping
  expect(listEvents(server, 'logout_delivered')).toHaveLength(3)
})

describe('§2.8 a client that answers', () => {
  test.each([
    ['500', answerWith(500)],
    ['503', answerWith(503)],
    ['404', answerWith(404)],
    ['by closing the connection', (response) => void response.destroy()] satisfies [string, Answer],
  ])('%s is told again, later, by another token', async (_how, answer) => {
    await using world = await makeWorld(answer)
    const { web, server, clock } = world
    const { browser, id_token } = await obtainTokens(server.issuer)
    await signOut(server, browser)
    await vi.waitFor(() => expect(listEvents(server, 'logout_postponed')).toHaveLength(1), SOON)
    expect(web.received).toHaveLength(1)
    web.answer = answerWith(204)
    clock.turn(10)
    await vi.waitFor(() => expect(listEvents(server, 'logout_delivered')).toHaveLength(1), SOON)
    const tokens = web.received.map(({ token }) => decodeJwt(token).claims)
    expect(tokens.map(({ sid }) => sid)).toEqual(Array(2).fill(readSession(id_token).sid))
    expect(new Set(tokens.map(({ jti }) => jti)).size).toBe(2)
    await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, clock)
    expect(await nextWaiting(stores)).toBeUndefined()
  })

  test('400 is not told again, and the audit log has it', async () => {
    await using world = await makeWorld(answerWith(400))
    const { web, server, clock } = world
    const { browser } = await obtainTokens(server.issuer)
    await signOut(server, browser)
    await vi.waitFor(() => expect(listEvents(server, 'logout_given_up')).toHaveLength(1), SOON)
    expect(listEvents(server, 'logout_given_up')).toMatchObject([
      { clientId: 'web', reason: 'refused' },
    ])
    await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, clock)
    expect(await nextWaiting(stores)).toBeUndefined()
    expect(web.received).toHaveLength(1)
    await vi.waitFor(async () => {
      const entries = await stores.audit.list({}, 100)
      expect(entries).toContainEqual(
        expect.objectContaining({ event: 'logout_given_up', by: 'server', clientId: 'web' }),
      )
    }, SOON)
  })

  test('500 for a day is given up', async () => {
    await using world = await makeWorld(answerWith(500))
    const { server, clock } = world
    const { browser } = await obtainTokens(server.issuer)
    await signOut(server, browser)
    await vi.waitFor(() => expect(listEvents(server, 'logout_postponed')).toHaveLength(1), SOON)
    clock.turn(DAY_SECONDS)
    await vi.waitFor(
      () =>
        expect(listEvents(server, 'logout_given_up')).toMatchObject([
          { clientId: 'web', reason: 'status' },
        ]),
      SOON,
    )
  })

  test('by a redirect is not followed: the token is for the registered address', async () => {
    await using elsewhere = await startLogoutReceiver()
    await using world = await makeWorld(answerWith(307, { location: elsewhere.uri }))
    const { server } = world
    const { browser } = await obtainTokens(server.issuer)
    await signOut(server, browser)
    await vi.waitFor(() => expect(listEvents(server, 'logout_postponed')).toHaveLength(1), SOON)
    expect(elsewhere.received).toEqual([])
  })

  test('by a body without an end has answered', async () => {
    await using world = await makeWorld((response) => void response.writeHead(200).write('x'))
    const { server } = world
    const { browser } = await obtainTokens(server.issuer)
    await signOut(server, browser)
    await vi.waitFor(() => expect(listEvents(server, 'logout_delivered')).toHaveLength(1), SOON)
  })
})

describe('a client that never answers', () => {
  test('keeps neither the person waiting nor another client, nor the server that is stopped', async () => {
    await using world = await makeWorld(() => {})
    const { web, spa, server } = world
    const { browser } = await obtainTokens(server.issuer)
    const atSpa = await signInAtSpa(server, browser)
    const start = performance.now()
    await signOut(server, browser)
    expect(performance.now() - start).toBeLessThan(2000)
    await vi.waitFor(() => expect(spa.received).toHaveLength(1), { timeout: 3000, interval: 20 })
    expect(decodeJwt(spa.received[0]?.token ?? '').claims).toMatchObject(atSpa)
    await vi.waitFor(() => expect(web.received).toHaveLength(1), SOON)
    const stopping = performance.now()
    await server.stop()
    expect(performance.now() - stopping).toBeLessThan(4500)
  })
})

describe('a logout that was not delivered', () => {
  test('outlives the server, and is delivered by the next', async () => {
    await using world = await makeWorld(answerWith(500))
    const { web, server, clock } = world
    const { browser, id_token } = await obtainTokens(server.issuer)
    await signOut(server, browser)
    await vi.waitFor(() => expect(listEvents(server, 'logout_postponed')).toHaveLength(1), SOON)
    await server.stop()
    web.answer = answerWith(200)
    clock.turn(10)
    await using next = await server.startAnother()
    await vi.waitFor(() => expect(web.received).toHaveLength(2), SOON)
    const token = web.received[1]?.token ?? ''
    const { payload } = await verifyLogoutToken(next.issuer, token, 'web')
    expect(payload).toMatchObject(readSession(id_token))
  })

  test('is delivered once by several servers at once', async () => {
    await using world = await makeWorld()
    const { web, server, clock } = world
    await using second = await server.startAnother()
    await using third = await server.startAnother()
    expect(new Set([server.issuer, second.issuer, third.issuer]).size).toBe(3)
    const sessions = await Promise.all(Array.from({ length: 6 }, () => obtainTokens(server.issuer)))
    for (const { browser } of sessions) await signOut(server, browser)
    await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, clock)
    await vi.waitFor(async () => expect(await nextWaiting(stores)).toBeUndefined(), SOON)
    const told = web.received.map(({ token }) => decodeJwt(token).claims['sid'])
    const sids = sessions.map(({ id_token }) => readSession(id_token).sid)
    expect(told).toHaveLength(sids.length)
    expect(new Set(told)).toEqual(new Set(sids))
  })
})
