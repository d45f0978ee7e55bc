import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { createVerifier } from '../../resource-server/index.ts'
import { createNotesApi } from '../../resource-server/demo/notes-api.ts'
import { openNoteStore, type Note, type NoteStore } from '../../resource-server/demo/notes-store.ts'
import { makeFolder } from '../support/folder.ts'
import { API, createKey, fail, signToken, startIssuer, type TestIssuer } from '../support/issuer.ts'
import { createTurnableClock, type TurnableClock } from '../support/turnable-clock.ts'

const key = await createKey('ES256')

interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly body: Partial<Note> & {
    readonly notes?: readonly Note[]
    readonly error?: string
    readonly error_description?: string
  }
}

type Send = (method: string, path: string, body?: unknown) => Promise<Answer>

interface World extends AsyncDisposable {
  readonly clock: TurnableClock
  readonly issuer: TestIssuer
  readonly store: NoteStore
  readonly logged: () => string
  readonly as: (change: Record<string, unknown>) => Send
  readonly request: (path: string, init: RequestInit) => Promise<Answer>
}

async function start(path = ':memory:'): Promise<World> {
  await using cleanUp = new AsyncDisposableStack()
  const clock = createTurnableClock()
  const issuer = cleanUp.use(await startIssuer(clock, key))
  const verifier = cleanUp.use(createVerifier({ issuer: issuer.url, audience: API, clock }))
  const store = cleanUp.use(openNoteStore(path, clock))
  const lines: unknown[] = []
  const api = createNotesApi(verifier, store, (entry) => lines.push(entry))
  const server = createServer(api.callback())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  cleanUp.defer(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const request: World['request'] = async (at, init) => {
    const response = await fetch(url + at, init)
    const text = await response.text()
    const body = (text === '' ? {} : JSON.parse(text)) as Answer['body']
    return { status: response.status, headers: response.headers, body }
  }
  const running = cleanUp.move()
  return {
    clock,
    issuer,
    store,
    logged: () => JSON.stringify(lines),
    request,
    as: (change) => (method, at, body) => {
      const authorization = `Bearer ${signToken(key, issuer.claims(change))}`
      const init = { method, headers: { authorization, 'content-type': 'application/json' } }
      return request(at, body === undefined ? init : { ...init, body: JSON.stringify(body) })
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

const ALICE = { sub: 'acc_alice' }
const BOB = { sub: 'acc_bob' }
const ADMIN = { sub: 'acc_admin', roles: ['admin'] }
const SERVICE = { sub: 'web', scope: 'notes:read' }
const SERVICE_FOR_ALL = { sub: 'web', scope: 'notes:read:all' }

describe('a person', () => {
  test('writes, reads, changes and deletes notes', async () => {
    await using world = await start()
    const alice = world.as(ALICE)
    const created = await alice('POST', '/notes', { text: 'buy milk' })
    expect(created.status).toBe(201)
    const note = {
      id: created.body.id,
      owner: 'acc_alice',
      text: 'buy milk',
      createdAt: '2025-06-15T15:06:40.000Z',
    }
    expect(created.body).toEqual(note)
    expect(created.headers.get('location')).toBe(`/notes/${note.id}`)
    expect((await alice('GET', `/notes/${note.id}`)).body).toEqual(note)
    const changed = await alice('PUT', `/notes/${note.id}`, { text: 'buy bread' })
    expect([changed.status, changed.body]).toEqual([200, { ...note, text: 'buy bread' }])
    expect((await alice('GET', '/notes')).body).toEqual({ notes: [changed.body] })
    expect((await alice('DELETE', `/notes/${note.id}`)).status).toBe(204)
    expect((await alice('GET', `/notes/${note.id}`)).status).toBe(404)
    expect((await alice('DELETE', `/notes/${note.id}`)).status).toBe(404)
  })

  test('sees the newest note first', async () => {
    await using world = await start()
    const alice = world.as(ALICE)
    for (const text of ['first', 'second', 'third']) {
      await alice('POST', '/notes', { text })
      await world.clock.advance(1)
    }
    const { body } = await alice('GET', '/notes')
    expect(body.notes?.map(({ text }) => text)).toEqual(['third', 'second', 'first'])
  })

  test("finds that another person's note does not exist, and cannot touch it", async () => {
    await using world = await start()
    const { body: note } = await world.as(ALICE)('POST', '/notes', { text: 'secret' })
    const bob = world.as(BOB)
    expect((await bob('GET', '/notes')).body).toEqual({ notes: [] })
    const missing = await bob('GET', '/notes/00000000-0000-4000-8000-000000000000')
    for (const [method, body] of [['GET'], ['PUT', { text: 'mine' }], ['DELETE']] as const) {
      const answer = await bob(method, `/notes/${note.id}`, body)
      expect([answer.status, answer.body]).toEqual([404, missing.body])
    }
    expect((await world.as(ALICE)('GET', `/notes/${note.id}`)).body).toEqual(note)
  })

  test.each([
    ['POST', '/notes', 'notes:read', 'notes:write'],
    ['PUT', '/notes/x', 'notes:read', 'notes:write'],
    ['DELETE', '/notes/x', 'notes:read', 'notes:write'],
    ['GET', '/notes', 'notes:write', 'notes:read'],
    ['GET', '/notes/x', 'notes:write', 'notes:read'],
  ])('needs the scope for %s %s', async (method, path, scope, needed) => {
    await using world = await start()
    const { status, headers } = await world.as({ ...ALICE, scope })(method, path)
    const challenge = `Bearer error="insufficient_scope", scope="${needed}"`
    expect([status, headers.get('www-authenticate')]).toEqual([403, challenge])
  })

  test('who is an admin sees and changes the notes of everyone', async () => {
    await using world = await start()
    const { body: note } = await world.as(ALICE)('POST', '/notes', { text: 'secret' })
    const admin = world.as(ADMIN)
    expect((await admin('GET', '/notes')).body).toEqual({ notes: [note] })
    expect((await admin('GET', `/notes/${note.id}`)).body).toEqual(note)
    const changed = await admin('PUT', `/notes/${note.id}`, { text: 'moderated' })
    expect(changed.body).toEqual({ ...note, text: 'moderated' })
    expect((await admin('DELETE', `/notes/${note.id}`)).status).toBe(204)
  })

  test('who is an admin needs the scope as everyone does', async () => {
    await using world = await start()
    const admin = world.as({ ...ADMIN, scope: 'notes:read' })
    expect((await admin('DELETE', '/notes/x')).status).toBe(403)
  })

  test('has at most 1000 notes, and may write again after deleting one', async () => {
    await using world = await start()
    for (let count = 0; count < 1000; count += 1) world.store.add('acc_alice', `note ${count}`)
    const alice = world.as(ALICE)
    const refused = await alice('POST', '/notes', { text: 'one more' })
    expect([refused.status, refused.body.error]).toEqual([409, 'limit_reached'])
    expect((await world.as(BOB)('POST', '/notes', { text: 'mine' })).status).toBe(201)
    const [note] = (await alice('GET', '/notes')).body.notes ?? []
    await alice('DELETE', `/notes/${note?.id}`)
    expect((await alice('POST', '/notes', { text: 'one more' })).status).toBe(201)
  })
})

describe('a person who deletes all their notes at once', () => {
  const acr = 'urn:portreeve:acr:password'

  /** A token of somebody who signed in so many seconds ago. */
  const signedIn = (world: World, person: Record<string, unknown>, age: number) =>
    world.as({ ...person, acr, auth_time: Math.floor(world.clock.now() / 1000) - age })

  test('has to have signed in within five minutes, and loses no note of others', async () => {
    await using world = await start()
    world.store.add('acc_alice', 'one')
    world.store.add('acc_alice', 'two')
    world.store.add('acc_bob', 'his')
    expect((await signedIn(world, ALICE, 300)('DELETE', '/notes')).status).toBe(204)
    expect(world.store.list('everyone').map(({ owner }) => owner)).toEqual(['acc_bob'])
  })

  test('who is an admin deletes their own, not those of everyone', async () => {
    await using world = await start()
    world.store.add('acc_alice', 'hers')
    expect((await signedIn(world, ADMIN, 0)('DELETE', '/notes')).status).toBe(204)
    expect(world.store.list('everyone')).toHaveLength(1)
  })

  test.each([
    ['longer ago', acr, 306],
    ['nobody knows when', acr, undefined],
    ['in another way', 'urn:example:acr:none', 0],
    ['nobody knows how', undefined, 0],
  ])('is told to sign in again where they have %s', async (_case, how, age) => {
    await using world = await start()
    world.store.add('acc_alice', 'hers')
    const at = age === undefined ? undefined : Math.floor(world.clock.now() / 1000) - age
    const alice = world.as({ ...ALICE, acr: how, auth_time: at })
    const { status, headers, body } = await alice('DELETE', '/notes')
    expect([status, body.error]).toEqual([401, 'insufficient_user_authentication'])
    expect(headers.get('www-authenticate')).toBe(
      `Bearer error="insufficient_user_authentication", acr_values="${acr}", max_age="300"`,
    )
    expect(world.store.list('everyone')).toHaveLength(1)
  })

  test('needs the scope, and a service cannot', async () => {
    await using world = await start()
    const lately = { acr, auth_time: Math.floor(world.clock.now() / 1000) }
    const reader = world.as({ ...ALICE, ...lately, scope: 'notes:read' })
    expect((await reader('DELETE', '/notes')).body.error).toBe('insufficient_scope')
    const service = world.as({ ...SERVICE, ...lately, scope: 'notes:write' })
    expect((await service('DELETE', '/notes')).body.error).toBe('access_denied')
  })
})

describe('a service', () => {
  test('sees no notes, whatever role it claims', async () => {
    await using world = await start()
    const { body: note } = await world.as(ALICE)('POST', '/notes', { text: 'secret' })
    const service = world.as({ ...SERVICE, roles: ['admin'] })
    expect((await service('GET', '/notes')).body).toEqual({ notes: [] })
    expect((await service('GET', `/notes/${note.id}`)).status).toBe(404)
  })

  test('sees every note with notes:read:all, and still changes none', async () => {
    await using world = await start()
    const { body: note } = await world.as(ALICE)('POST', '/notes', { text: 'secret' })
    const service = world.as(SERVICE_FOR_ALL)
    expect((await service('GET', '/notes')).body).toEqual({ notes: [note] })
    expect((await service('GET', `/notes/${note.id}`)).body).toEqual(note)
    expect((await service('DELETE', `/notes/${note.id}`)).status).toBe(403)
    expect((await world.as(ALICE)('GET', `/notes/${note.id}`)).status).toBe(200)
  })

  test('writes no notes, even with the scope', async () => {
    await using world = await start()
    const service = world.as({ ...SERVICE_FOR_ALL, scope: 'notes:read:all notes:write' })
    const { body: note } = await world.as(ALICE)('POST', '/notes', { text: 'secret' })
    const refused = await service('POST', '/notes', { text: 'mine' })
    expect([refused.status, refused.body.error]).toEqual([403, 'access_denied'])
    expect((await service('PUT', `/notes/${note.id}`, { text: 'mine' })).status).toBe(403)
  })
})

test('a person whose token reads everything still changes only what is theirs', async () => {
  await using world = await start()
  const { body: note } = await world.as(ALICE)('POST', '/notes', { text: 'secret' })
  const auditor = world.as({ ...BOB, scope: 'notes:read:all notes:write' })
  expect((await auditor('GET', '/notes')).body).toEqual({ notes: [note] })
  expect((await auditor('PUT', `/notes/${note.id}`, { text: 'mine' })).status).toBe(404)
  expect((await auditor('DELETE', `/notes/${note.id}`)).status).toBe(404)
})

describe('the text of a note', () => {
  test.each([
    ['one character', 'x'],
    ['2000 characters', 'x'.repeat(2000)],
    ['2000 characters beyond the basic plane', '😀'.repeat(2000)],
    ['line breaks, quotes and markup', 'a\r\n"b" <script>\u2028'],
    ['what SQL would mistake', `'); drop table notes; --`],
  ])('may be %s, and comes back as it was', async (_case, text) => {
    await using world = await start()
    const created = await world.as(ALICE)('POST', '/notes', { text })
    expect([created.status, created.body.text]).toEqual([201, text])
    expect((await world.as(ALICE)('GET', '/notes')).body.notes?.[0]?.text).toBe(text)
  })

  test.each<[string, unknown, RegExp]>([
    ['nothing', { text: '' }, /1 to 2000 characters, not 0/],
    ['2001 characters', { text: 'x'.repeat(2001) }, /1 to 2000 characters, not 2001/],
    ['a number', { text: 1 }, /expected a text/],
    ['null', { text: null }, /expected a text/],
    ['missing', {}, /expected a text/],
    ['beside another member', { text: 'x', owner: 'acc_bob' }, /no member "owner"/],
    ['in a list', [{ text: 'x' }], /not a JSON object/],
    ['half a character', { text: '\uD800' }, /UTF-8/],
    ['with a NUL', { text: 'a\0b' }, /NUL/],
  ])('is refused where it is %s', async (_case, body, description) => {
    await using world = await start()
    const created = await world.as(ALICE)('POST', '/notes', body)
    expect([created.status, created.body.error]).toEqual([400, 'invalid_request'])
    expect(created.body.error_description).toMatch(description)
    const changed = await world.as(ALICE)('PUT', '/notes/x', body)
    expect([changed.status, changed.body]).toEqual([400, created.body])
    expect((await world.as(ALICE)('GET', '/notes')).body).toEqual({ notes: [] })
  })
})

describe('a body', () => {
  const json = { 'content-type': 'application/json' }
  test.each<[string, Record<string, string>, RequestInit['body'], number]>([
    ['of another type', { 'content-type': 'text/plain' }, '{"text":"x"}', 415],
    ['that is a form', { 'content-type': 'application/x-www-form-urlencoded' }, 'text=x', 415],
    ['that is missing', {}, null, 415],
    ['that is empty', json, '', 400],
    ['that is no JSON', json, '{"text":', 400],
    ['that is a bare text', json, '"text"', 400],
    ['that is null', json, 'null', 400],
    ['that is not UTF-8', json, Buffer.from('{"text":"\u00FF"}', 'latin1'), 400],
    ['of an unknown charset', { 'content-type': 'application/json; charset=x' }, '{}', 415],
    ['in an unknown encoding', { ...json, 'content-encoding': 'x' }, '{}', 415],
    ['that only claims to be compressed', { ...json, 'content-encoding': 'gzip' }, '{}', 400],
    ['of more than 16 KiB', json, JSON.stringify({ text: 'x'.repeat(16_384) }), 413],
    [
      'of more than 16 KiB once unpacked',
      { ...json, 'content-encoding': 'gzip' },
      gzipSync(JSON.stringify({ text: 'x'.repeat(1_000_000) })),
      413,
    ],
  ])('%s is refused', async (_case, headers, body, status) => {
    await using world = await start()
    const authorization = `Bearer ${signToken(key, world.issuer.claims(ALICE))}`
    const init = { method: 'POST', headers: { authorization, ...headers }, body: body ?? null }
    const answer = await world.request('/notes', init)
    expect([answer.status, answer.body.error]).toEqual([status, 'invalid_request'])
    expect(answer.body.error_description).toBeDefined()
    expect((await world.as(ALICE)('GET', '/notes')).body).toEqual({ notes: [] })
    expect(world.logged()).not.toContain('server_error')
  })

  test('is not read before the token is checked', async () => {
    await using world = await start()
    const { status } = await world.request('/notes', { method: 'POST', body: '{' })
    expect(status).toBe(401)
  })
})

describe('the notes API', () => {
  test.each([
    ['GET', '/', 404, 'not_found'],
    ['GET', '/notes/', 404, 'not_found'],
    ['GET', '/notes/x/y', 404, 'not_found'],
    ['GET', '/notes/..%2F..%2Fetc%2Fpasswd', 404, 'not_found'],
    ['GET', '/notes/%zz', 404, 'not_found'],
    ['GET', '/notes/%00', 404, 'not_found'],
    ['GET', '/notes/' + 'x'.repeat(300), 404, 'not_found'],
    ['GET', '/NOTES/x', 404, 'not_found'],
    ['PATCH', '/notes', 405, 'invalid_request'],
    ['PUT', '/notes', 405, 'invalid_request'],
  ])('answers %s %s with %i', async (method, path, status, error) => {
    await using world = await start()
    const answer = await world.as(ALICE)(method, path)
    expect([answer.status, answer.body.error]).toEqual([status, error])
    expect(world.logged()).not.toContain('server_error')
  })

  test('gives every answer an id, and its log names it', async () => {
    await using world = await start()
    const { headers } = await world.request('/notes', {})
    const id = headers.get('x-request-id')
    expect(id).toMatch(/^[0-9a-f-]{36}$/)
    expect(headers.get('x-content-type-options')).toBe('nosniff')
    expect(world.logged()).toContain(`"requestId":"${id}"`)
  })

  test('tells its operator why it refuses, but no token', async () => {
    await using world = await start()
    const token = signToken(key, world.issuer.claims({ exp: 1 }))
    const headers = { authorization: `Bearer ${token}` }
    await world.request('/notes?access_token=secret', { headers: {} })
    await world.request('/notes', { headers })
    expect(world.logged()).toContain('"kind":"expired","exp":1')
    expect(world.logged()).not.toContain(token.split('.')[2])
    expect(world.logged()).not.toContain('secret')
  })

  test('answers 503 while the keys cannot be had, and is healthy meanwhile', async () => {
    await using world = await start()
    world.issuer.answers.set('*', fail(500))
    const { status, headers } = await world.as(ALICE)('GET', '/notes')
    expect([status, headers.get('retry-after')]).toEqual([503, '5'])
    expect((await world.request('/healthz', {})).body).toEqual({ status: 'ok' })
  })

  test('keeps notes in its file', async () => {
    using folder = makeFolder()
    const path = folder.file('notes.sqlite')
    const write = async () => {
      await using world = await start(path)
      return (await world.as(ALICE)('POST', '/notes', { text: 'still here' })).body
    }
    const note = await write()
    await using world = await start(path)
    expect((await world.as(ALICE)('GET', '/notes')).body).toEqual({ notes: [note] })
  })
})
