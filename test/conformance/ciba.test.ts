import { randomBytes } from 'node:crypto'
import { DatabaseSync } from 'node:sqlite'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import { createEvents } from '../../auth-server/events.ts'
import { rotateKeys } from '../../auth-server/keys/rotation.ts'
import { deriveKey } from '../../auth-server/keys/seal.ts'
import { createLog } from '../../auth-server/log.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { createBrowser, readForm, type Browser, type Page } from '../support/browser.ts'
import {
  answerRequest,
  ask,
  asDesk,
  CIBA_GRANT,
  openRequests,
  pollRequest,
  withDesks,
} from '../support/ciba.ts'
import { askUserinfo, prove } from '../support/endpoints.ts'
import { basic, decodeJwt, obtainTokens, requestToken } from '../support/flow.ts'
import {
  answerWith,
  startLogoutReceiver,
  type LogoutReceiver,
  type Answer,
} from '../support/logout-receiver.ts'
import { createProofClient } from '../support/proof.ts'
import { SERVICE_SECRET, startServer, WEB_SECRET, type TestServer } from '../support/server.ts'
import {
  describeAssertion,
  describeRequestObject,
  makeSigningKey,
  signClaims,
  type Claims,
} from '../support/signing.ts'

/* The table of the requirements is in docs/conformance/ciba.md. */

/** A person may be asked so often by one client, in ten minutes. */
const MOST_ASKED = 5
const CLIENT_TOKEN = 'a-token-of-the-client.8d67dc78~='

const people = Array.from({ length: 64 }, (_, index) => `person-${index}`)
let met = 0
/** Somebody whom no other test has asked anything. */
const meet = () => people[met++] ?? ''

const signingKey = await makeSigningKey('own')
const otherKey = await makeSigningKey('other', 'PS256')
let receiver: LogoutReceiver
let running: TestServer | undefined

/** For tests that leave no trace but requests to people of their own. */
function shared(): TestServer {
  if (!running) throw new Error('the shared server is there inside of tests only')
  return running
}

const start = () => startServer(withDesks())

beforeAll(async () => {
  receiver = await startLogoutReceiver(answerWith(204))
  const ciba = { mode: 'ping' as const, notificationUri: receiver.uri }
  running = await startServer(
    withDesks(
      people,
      { id: 'pinged', ciba },
      { id: 'unreachable', ciba: { ...ciba, notificationUri: 'http://127.0.0.1:1/' } },
      { id: 'signer', jwks: { keys: [signingKey.jwk] } },
      { id: 'strict', jwks: { keys: [signingKey.jwk] }, signedRequests: 'required' },
      {
        id: 'narrow',
        jwks: { keys: [signingKey.jwk, otherKey.jwk] },
        algorithms: { request: 'PS256' },
      },
      {
        id: 'prover',
        authMethod: 'private_key_jwt',
        secret: undefined,
        jwks: { keys: [signingKey.jwk] },
      } as never,
    ),
  )
})

afterAll(async () => {
  await running?.[Symbol.asyncDispose]()
  await receiver[Symbol.asyncDispose]()
})

/** Clocks of this process are those of the server. */
function turnClock(seconds: number): void {
  vi.useFakeTimers({ toFake: ['Date'], now: systemClock.now() + seconds * 1000 })
}

afterEach(() => {
  vi.useRealTimers()
})

test('§4 the metadata says where, how, and that there are no user codes', async () => {
  const { issuer } = shared()
  for (const name of ['openid-configuration', 'oauth-authorization-server']) {
    const metadata = await (await fetch(`${issuer}/.well-known/${name}`)).json()
    expect(metadata).toMatchObject({
      backchannel_authentication_endpoint: `${issuer}/backchannel`,
      backchannel_token_delivery_modes_supported: ['poll', 'ping'],
      backchannel_user_code_parameter_supported: false,
      backchannel_authentication_request_signing_alg_values_supported: expect.arrayContaining([
        'ES256',
        'PS256',
      ]) as unknown,
      grant_types_supported: expect.arrayContaining([CIBA_GRANT]) as unknown,
    })
  }
})

describe('§7.1 a client asks for a person', () => {
  test('§7.3 and is answered with what it has to send, and how often', async () => {
    const { issuer } = shared()
    const { status, headers, body } = await ask(issuer, { login_hint: meet() })
    expect(status).toBe(200)
    expect(headers.get('cache-control')).toContain('no-store')
    expect(headers.get('content-type')).toMatch(/^application\/json/)
    expect(body).toEqual({
      auth_req_id: expect.stringMatching(/^[\w-]{43}$/),
      expires_in: 600,
      interval: 5,
    })
  })

  test.each([
    ['60', 60],
    ['86400', 600],
  ])('§7.1 that is to answer within %s seconds: %i', async (wanted, expected) => {
    const { issuer } = shared()
    const { body } = await ask(issuer, { login_hint: meet(), requested_expiry: wanted })
    expect(body.expires_in).toBe(expected)
  })

  test.each([
    ['with a wrong secret', {}, { authorization: basic('desk', 'wrong') }, 401, 'invalid_client'],
    ['as nobody', {}, {}, 400, 'invalid_request'],
    ['with no more than its id', { client_id: 'desk' }, {}, 401, 'invalid_client'],
    [
      'as a client without the grant',
      {},
      { authorization: basic('web', WEB_SECRET) },
      400,
      'invalid_request',
    ],
    ['without scopes', { scope: '' }, asDesk(), 400, 'invalid_request'],
    ['without openid', { scope: 'notes:read' }, asDesk(), 400, 'invalid_request'],
    ['for what it may not have', { scope: 'openid email' }, asDesk(), 400, 'invalid_scope'],
    ['for no such API', { resource: 'https://else.example/' }, asDesk(), 400, 'invalid_target'],
    ['without a hint', { login_hint: '' }, asDesk(), 400, 'invalid_request'],
    ['with two hints', { id_token_hint: 'a.b.c' }, asDesk(), 400, 'invalid_request'],
    [
      'with a hint of a kind that is not there',
      { login_hint: '', login_hint_token: 'a.b.c' },
      asDesk(),
      400,
      'invalid_request',
    ],
    [
      'with a hint that is no ID token',
      { login_hint: '', id_token_hint: 'a.b.c' },
      asDesk(),
      400,
      'invalid_request',
    ],
    ['with a user code', { user_code: '1234' }, asDesk(), 400, 'invalid_request'],
    ['to answer in no time', { requested_expiry: '0' }, asDesk(), 400, 'invalid_request'],
    ['to answer by a word', { requested_expiry: 'soon' }, asDesk(), 400, 'invalid_request'],
    [
      'with a message of two lines',
      { binding_message: 'W4\nSCT' },
      asDesk(),
      400,
      'invalid_binding_message',
    ],
    [
      'with a message that turns around',
      { binding_message: 'W4\u202ESCT' },
      asDesk(),
      400,
      'invalid_binding_message',
    ],
    [
      'with a message that nobody sees',
      { binding_message: '\u200B' },
      asDesk(),
      400,
      'invalid_binding_message',
    ],
    [
      'with a long message',
      { binding_message: 'W'.repeat(65) },
      asDesk(),
      400,
      'invalid_binding_message',
    ],
    ['with a very large request', { nonce: 'n'.repeat(9000) }, asDesk(), 400, 'invalid_request'],
    [
      'with an assurance that is not there',
      { acr_values: 'urn:example:gold' },
      asDesk(),
      400,
      'unmet_authentication_requirements',
    ],
  ])('and is refused %s', async (_how, change, headers, status, error) => {
    const { issuer } = shared()
    const answer = await ask(issuer, change, headers)
    expect([answer.status, answer.body.error]).toEqual([status, error])
  })

  test('and proves who it is by a signature, for this server or this place in it', async () => {
    const { issuer } = shared()
    const statuses = []
    for (const aud of [
      issuer,
      `${issuer}/token`,
      `${issuer}/backchannel`,
      'https://else.example',
    ]) {
      const claims = { ...describeAssertion('prover', issuer), aud }
      const proof = {
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion: await signClaims(claims, signingKey),
      }
      statuses.push((await ask(issuer, { login_hint: meet(), ...proof }, {})).status)
    }
    expect(statuses).toEqual([200, 200, 200, 401])
  })

  test('by POST alone, and in JSON whatever it accepts', async () => {
    const { issuer } = shared()
    const headers = { accept: 'text/html' }
    const got = await fetch(`${issuer}/backchannel`, { headers })
    expect([got.status, got.headers.get('allow')]).toEqual([405, 'POST'])
    const refused = await fetch(`${issuer}/backchannel`, { method: 'POST', headers })
    expect(await refused.json()).toMatchObject({ error: 'invalid_request' })
  })

  test('by an ID token that it has, and by no other client’s', async () => {
    const server = shared()
    const person = meet()
    const first = await ask(server.issuer, { login_hint: person })
    await answerRequest(server, person)
    const { body } = await pollRequest(server.issuer, first.body.auth_req_id)
    const hint = { login_hint: '', id_token_hint: body.id_token }
    const second = await ask(server.issuer, hint)
    expect(second.status).toBe(200)
    expect((await openRequests(server, person)).page.text).toContain('The Service Desk')
    const foreign = await ask(server.issuer, hint, asDesk('other-desk'))
    expect([foreign.status, foreign.body.error]).toEqual([400, 'invalid_request'])
  })
})

describe('§7.1.1 a client signs what it asks', () => {
  const sign = (login_hint: string, change: Claims = {}, clientId = 'signer') => {
    const parameters = { scope: 'openid notes:read', login_hint, ...change }
    return signClaims(describeRequestObject(clientId, shared().issuer, parameters), signingKey)
  }
  const send = (request: string, id = 'signer', more: Record<string, string> = {}) =>
    ask(shared().issuer, { scope: '', login_hint: '', request, ...more }, asDesk(id))

  test('and what it has signed counts, once', async () => {
    const person = meet()
    const request = await sign(person, { binding_message: 'SIGNED' })
    const answer = await send(request, 'signer', { binding_message: 'BESIDE' })
    expect(answer.status).toBe(200)
    const { page } = await openRequests(shared(), person)
    expect(page.text).toContain('SIGNED')
    expect(page.text).not.toContain('BESIDE')
    const again = await send(request)
    expect([again.status, again.body.error]).toEqual([400, 'invalid_request'])
  })

  test.each(['iat', 'nbf', 'exp', 'jti', 'aud'])('but is refused without %s', async (claim) => {
    const answer = await send(await sign(meet(), { [claim]: undefined }))
    expect([answer.status, answer.body.error]).toEqual([400, 'invalid_request'])
  })

  test('with no other algorithm than it has said', async () => {
    const parameters = { scope: 'openid', login_hint: meet() }
    const claims = () => describeRequestObject('narrow', shared().issuer, parameters)
    expect((await send(await signClaims(claims(), otherKey), 'narrow')).status).toBe(200)
    const refused = await send(await signClaims(claims(), signingKey), 'narrow')
    expect([refused.status, refused.body.error]).toEqual([400, 'invalid_request'])
  })

  test('for another server, by another key, or not at all where it has to', async () => {
    const foreignKey = await makeSigningKey('own')
    const claims = describeRequestObject('signer', shared().issuer, { scope: 'openid' })
    const answers = [
      await send(await sign(meet(), { aud: 'https://else.example' })),
      await send(await signClaims({ ...claims, login_hint: meet() }, foreignKey)),
      await ask(shared().issuer, { login_hint: meet() }, asDesk('strict')),
    ]
    expect(answers.map(({ status, body }) => [status, body.error])).toEqual(
      answers.map(() => [400, 'invalid_request']),
    )
    expect((await send(await sign(meet(), {}, 'strict'), 'strict')).status).toBe(200)
  })
})

describe('§8 a person', () => {
  test('finds the request at their account, and sees who asks for what', async () => {
    const server = shared()
    const person = meet()
    const scope = 'openid notes:read notes:write'
    await ask(server.issuer, { login_hint: person, scope, binding_message: '<b>W4SCT</b>' })
    const { browser, page } = await openRequests(server, person)
    for (const text of ['The Service Desk', '&lt;b&gt;W4SCT&lt;/b&gt;', 'Change your notes']) {
      expect(page.text).toContain(text)
    }
    expect(page.headers.get('cache-control')).toBe('no-store')
    const account = await browser.get(`${server.issuer}/account`)
    expect(account.text).toContain('An application waits for your answer.')
    await browser.submit(page, '/approve')
    const after = await browser.get(`${server.issuer}/account`)
    expect(after.text).not.toContain('waits for your answer')
    const none = await browser.get(`${server.issuer}/account/requests`)
    expect(none.text).toContain('Nothing waits for your answer')
  })

  test('approves, and the client has its tokens', async () => {
    const server = shared()
    const person = meet()
    const scope = 'openid profile notes:read notes:write'
    const { body } = await ask(server.issuer, { login_hint: person, scope })
    const { page } = await answerRequest(server, person)
    expect([page.status, page.text]).toEqual([200, expect.stringContaining('You have approved')])
    const tokens = await pollRequest(server.issuer, body.auth_req_id)
    expect([tokens.status, tokens.body.scope]).toEqual([200, scope])
    const { claims } = decodeJwt(tokens.body.id_token)
    const access = decodeJwt(tokens.body.access_token).claims
    const proof = { auth_time: expect.any(Number), acr: 'urn:portreeve:acr:password', amr: ['pwd'] }
    expect(claims).toMatchObject({ iss: server.issuer, aud: 'desk', ...proof })
    expect(access).toMatchObject({ sub: claims['sub'], client_id: 'desk', ...proof })
    const userinfo = await askUserinfo(server.issuer, tokens.body.access_token)
    expect(userinfo.body).toMatchObject({ preferred_username: person })
    const refreshed = await requestToken(
      server.issuer,
      { grant_type: 'refresh_token', refresh_token: tokens.body.refresh_token },
      asDesk(),
    )
    expect([refreshed.status, refreshed.body.scope]).toEqual([200, scope])
  })

  test('refuses, and the client is told so however often it asks', async () => {
    const server = shared()
    const person = meet()
    const { body } = await ask(server.issuer, { login_hint: person })
    const { page } = await answerRequest(server, person, 'refuse')
    expect([page.status, page.text]).toEqual([200, expect.stringContaining('You have refused')])
    for (let count = 0; count < 2; count += 1) {
      const answer = await pollRequest(server.issuer, body.auth_req_id)
      expect([answer.status, answer.body.error]).toEqual([400, 'access_denied'])
    }
  })

  test('gives no more than their roles allow, and sees what is left out', async () => {
    await using server = await start()
    const scope = 'openid notes:read notes:write'
    const { body } = await ask(server.issuer, { login_hint: 'bob', scope })
    const { browser, page } = await openRequests(server, 'bob')
    expect(page.text).toContain('Not included: your role does not allow it')
    await browser.submit(page, '/approve')
    const tokens = await pollRequest(server.issuer, body.auth_req_id)
    expect(tokens.body.scope).toBe('openid notes:read')
  })

  test('who may give nothing can only refuse', async () => {
    await using server = await start()
    await ask(server.issuer, { login_hint: 'nobody' })
    const { page } = await openRequests(server, 'nobody')
    expect(page.text).toContain('/account/requests/refuse')
    expect(page.text).not.toContain('/account/requests/approve')
  })

  test('has to have signed in lately', async () => {
    const server = shared()
    const person = meet()
    const { browser } = await openRequests(server, person)
    turnClock(601)
    await ask(server.issuer, { login_hint: person })
    const page = await browser.get(`${server.issuer}/account/requests`)
    expect(page.url).toContain('/interaction/')
    expect(page.text).not.toContain('The Service Desk')
  })

  test('has answered once: of two answers at one moment one counts', async () => {
    const server = shared()
    const person = meet()
    const { body } = await ask(server.issuer, { login_hint: person })
    const { browser, page } = await openRequests(server, person)
    const ends = await Promise.all([
      browser.submit(page, '/approve'),
      browser.submit(page, '/refuse'),
      browser.submit(page, '/approve'),
    ])
    const statuses = ends.map(({ status }) => String(status))
    expect(statuses.toSorted()).toEqual(['200', '409', '409'])
    const isApproved = ends.some(({ text }) => text.includes('You have approved'))
    const answer = await pollRequest(server.issuer, body.auth_req_id)
    expect(answer.body.error).toBe(isApproved ? undefined : 'access_denied')
  })

  test('answers after the keys of the running server have changed', async () => {
    const rootKey = randomBytes(32)
    await using server = await startServer(
      (config) => ({ ...withDesks()(config), rootKey: { env: 'ROOT' } }),
      {},
      { ROOT: rootKey.toString('base64url') },
    )
    const { body } = await ask(server.issuer)
    const { browser, page } = await openRequests(server)
    const listKeys = async () => (await fetch(`${server.issuer}/jwks`)).text()
    const change = async () => {
      const before = await listKeys()
      await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
      const events = createEvents(createLog('silent'))
      const sealKey = deriveKey(rootKey, 'seal')
      const collaborators = { keys: stores.keys, sealKey, clock: systemClock, events }
      await rotateKeys(collaborators, ['ES256', 'RS256'], { how: 'withdraw', by: 'operator' })
      await expect.poll(listKeys, { timeout: 5000 }).not.toBe(before)
    }
    await change()
    expect((await browser.submit(page, '/approve')).text).toContain('You have approved')
    await change()
    expect((await pollRequest(server.issuer, body.auth_req_id)).status).toBe(200)
  })

  test('answers at another server than the client asks', async () => {
    await using server = await start()
    const { body } = await ask(server.issuer)
    await using other = await server.startAnother()
    const { page } = await answerRequest(other, 'alice')
    expect(page.text).toContain('You have approved')
    expect((await pollRequest(server.issuer, body.auth_req_id)).status).toBe(200)
  })
})

describe('§10.1 and §11 a client that polls', () => {
  test('is told to wait, and to slow down', async () => {
    const server = shared()
    const person = meet()
    const { body } = await ask(server.issuer, { login_hint: person })
    const poll = async () => (await pollRequest(server.issuer, body.auth_req_id)).body.error
    expect([await poll(), await poll()]).toEqual(['authorization_pending', 'slow_down'])
    turnClock(5)
    expect(await poll()).toBe('authorization_pending')
    await answerRequest(server, person)
    expect(await poll()).toBeUndefined()
  })

  test('is told that its request has expired, and the person is asked no more', async () => {
    const server = shared()
    const person = meet()
    const { body } = await ask(server.issuer, { login_hint: person, requested_expiry: '60' })
    turnClock(61)
    const answer = await pollRequest(server.issuer, body.auth_req_id)
    expect([answer.status, answer.body.error]).toEqual([400, 'expired_token'])
    const { page } = await openRequests(server, person)
    expect(page.text).toContain('Nothing waits for your answer')
  })

  test('gets its tokens once, also when it asks twice at the same moment', async () => {
    const server = shared()
    const person = meet()
    const { body } = await ask(server.issuer, { login_hint: person })
    await answerRequest(server, person)
    const answers = await Promise.all(
      [1, 2].map(() => pollRequest(server.issuer, body.auth_req_id)),
    )
    expect(answers.map(({ status }) => String(status)).toSorted()).toEqual(['200', '400'])
    const lost = answers.find(({ status }) => status === 400)
    expect(lost?.body.error).toBe('invalid_grant')
  })

  test('loses what it has by coming again', async () => {
    const server = shared()
    const person = meet()
    const { body } = await ask(server.issuer, { login_hint: person })
    await answerRequest(server, person)
    const first = await pollRequest(server.issuer, body.auth_req_id)
    const again = await pollRequest(server.issuer, body.auth_req_id)
    expect(again.body.error).toBe('invalid_grant')
    const refreshed = await requestToken(
      server.issuer,
      { grant_type: 'refresh_token', refresh_token: first.body.refresh_token },
      asDesk(),
    )
    expect(refreshed.body.error).toBe('invalid_grant')
  })

  test('gets nothing for what another client has asked, which gets it all the same', async () => {
    const server = shared()
    const person = meet()
    const { body } = await ask(server.issuer, { login_hint: person })
    await answerRequest(server, person)
    const other = await pollRequest(server.issuer, body.auth_req_id, asDesk('other-desk'))
    expect([other.status, other.body.error]).toEqual([400, 'invalid_grant'])
    expect((await pollRequest(server.issuer, body.auth_req_id)).status).toBe(200)
  })

  test.each([
    ['nothing', ''],
    ['what is no id', 'nonsense'],
  ])('gets nothing for %s', async (_what, id) => {
    const answer = await pollRequest(shared().issuer, id)
    expect(answer.status).toBe(400)
    expect(answer.body.error).toMatch(/^invalid_(?:grant|request)$/)
  })

  test('RFC 9449 §5: that proves a key gets a token for that key', async () => {
    const server = shared()
    const person = meet()
    const key = await createProofClient()
    const { body } = await ask(server.issuer, { login_hint: person })
    await answerRequest(server, person)
    const elsewhere = { ...asDesk(), dpop: prove(key, server.issuer, '/backchannel') }
    const refused = await pollRequest(server.issuer, body.auth_req_id, elsewhere)
    expect(refused.body.error).toBe('invalid_dpop_proof')
    const headers = { ...asDesk(), dpop: prove(key, server.issuer) }
    const tokens = await pollRequest(server.issuer, body.auth_req_id, headers)
    expect([tokens.status, tokens.body.token_type]).toEqual([200, 'DPoP'])
    expect(decodeJwt(tokens.body.access_token).claims['cnf']).toEqual({ jkt: key.thumbprint })
  })
})

describe('§10.2 a client that is pinged', () => {
  const askPinged = (login_hint: string, id = 'pinged') =>
    ask(shared().issuer, { login_hint, client_notification_token: CLIENT_TOKEN }, asDesk(id))
  const noticesOf = (id: string) => receiver.received.filter(({ text }) => text.includes(id))
  const countNoticed = (outcome: string) =>
    shared()
      .logged()
      .split('\n')
      .filter((line) => line.includes('"ciba_notified"') && line.includes(`"${outcome}"`)).length

  test.each(['approve', 'refuse'] as const)('is told that there is an answer: %s', async (how) => {
    const server = shared()
    const person = meet()
    receiver.answer = answerWith(204)
    const { body } = await askPinged(person)
    await answerRequest(server, person, how)
    await expect.poll(() => noticesOf(body.auth_req_id)).toHaveLength(1)
    const [notice] = noticesOf(body.auth_req_id)
    expect(notice).toMatchObject({
      method: 'POST',
      headers: { authorization: `Bearer ${CLIENT_TOKEN}`, 'content-type': 'application/json' },
      text: JSON.stringify({ auth_req_id: body.auth_req_id }),
    })
    const answer = await pollRequest(server.issuer, body.auth_req_id, asDesk('pinged'))
    expect(answer.body.error).toBe(how === 'approve' ? undefined : 'access_denied')
    expect(server.logged()).not.toContain(CLIENT_TOKEN)
    expect(server.logged()).not.toContain(body.auth_req_id)
  })

  test.each([
    ['fails', answerWith(500)],
    ['sends elsewhere', answerWith(307, { location: '/elsewhere' })],
  ])('and %s loses nothing', async (_how, answer) => {
    const server = shared()
    const person = meet()
    receiver.answer = answer
    const before = countNoticed('status')
    const { body } = await askPinged(person)
    const { page } = await answerRequest(server, person)
    expect(page.text).toContain('You have approved')
    await expect.poll(() => noticesOf(body.auth_req_id)).toHaveLength(1)
    await expect.poll(() => countNoticed('status')).toBe(before + 1)
    expect(receiver.received.map(({ url }) => url)).not.toContain('/elsewhere')
    const tokens = await pollRequest(server.issuer, body.auth_req_id, asDesk('pinged'))
    expect(tokens.status).toBe(200)
  })

  test.each<[string, Answer]>([
    [
      'packed',
      (response) => void response.writeHead(200, { 'content-encoding': 'gzip' }).end('not packed'),
    ],
    ['without an end', (response) => void response.writeHead(200).write('x')],
  ])('and answers %s was told', async (_how, answer) => {
    const person = meet()
    receiver.answer = answer
    const before = countNoticed('told')
    const { body } = await askPinged(person)
    await answerRequest(shared(), person)
    await expect.poll(() => countNoticed('told')).toBe(before + 1)
    expect(noticesOf(body.auth_req_id)).toHaveLength(1)
  })

  test('and is not there loses nothing', async () => {
    const server = shared()
    const person = meet()
    const { body } = await askPinged(person, 'unreachable')
    await answerRequest(server, person)
    await expect.poll(() => countNoticed('network')).toBe(1)
    const tokens = await pollRequest(server.issuer, body.auth_req_id, asDesk('unreachable'))
    expect(tokens.status).toBe(200)
  })

  test.each([
    ['no token', ''],
    ['what is no bearer token', 'two words'],
    ['a very long one', 't'.repeat(1025)],
  ])('§7.1 is refused where it sends %s', async (_what, token) => {
    const request = { login_hint: meet(), client_notification_token: token }
    const answer = await ask(shared().issuer, request, asDesk('pinged'))
    expect([answer.status, answer.body.error]).toEqual([400, 'invalid_request'])
  })

  test('has no secret in the database', async () => {
    const server = shared()
    const { body } = await askPinged(meet())
    using database = new DatabaseSync(path.join(server.folder, 'portreeve.sqlite'))
    const rows = JSON.stringify(database.prepare('select * from engine_model').all())
    expect(rows).toContain('BackchannelAuthenticationRequest')
    for (const secret of [body.auth_req_id, CLIENT_TOKEN, SERVICE_SECRET]) {
      expect(rows).not.toContain(secret)
    }
  })
})

/** Posts an answer as the browser would, with other fields or headers. */
function post(
  browser: Browser,
  page: Page,
  fields: Readonly<Record<string, string>>,
  headers: Record<string, string> = {},
): Promise<Page> {
  const { action, hidden } = readForm(page.text, '/approve')
  const body = new URLSearchParams({ ...hidden, ...fields }).toString()
  return browser.post(new URL(action, page.url).href, body, headers)
}

describe('§14 an attacker', () => {
  test('does not learn who exists', async () => {
    await using server = await start()
    await using second = await server.startAnother({}, (config) => ({
      ...config,
      users: config.users?.filter(({ username }) => username !== 'bob'),
    }))
    const names = ['alice', 'bob', 'whoever', 'ALICE', ' ', 'a\0b', 'x'.repeat(500)]
    for (const name of names) {
      const { status, body } = await ask(second.issuer, { login_hint: name })
      expect([name, status, Object.keys(body)]).toEqual([
        name,
        200,
        ['expires_in', 'auth_req_id', 'interval'],
      ])
      const poll = async () => (await pollRequest(second.issuer, body.auth_req_id)).body.error
      expect([await poll(), await poll()]).toEqual(['authorization_pending', 'slow_down'])
      turnClock(601)
      expect(await poll()).toBe('expired_token')
      vi.useRealTimers()
    }
    expect(server.logged()).toContain('"outcome":"unknown"')
    expect(server.logged()).not.toContain('whoever')
  })

  test('does not learn who is asked too much, nor fill their page', async () => {
    const server = shared()
    const person = meet()
    for (const login_hint of [person, 'whoever is not there']) {
      const answers = []
      for (let count = 0; count < MOST_ASKED + 2; count += 1) {
        const { status, body } = await ask(server.issuer, { login_hint })
        const { error } = (await pollRequest(server.issuer, body.auth_req_id)).body
        answers.push([status, body.expires_in, error])
      }
      expect(new Set(answers.map(String))).toEqual(new Set(['200,600,authorization_pending']))
    }
    // One client does not keep another from asking.
    await ask(server.issuer, { login_hint: person }, asDesk('other-desk'))
    const { page } = await openRequests(server, person)
    expect(page.text.match(/The Service Desk<\/bdi><\/span> asks/g)).toHaveLength(MOST_ASKED)
    expect(page.text).toContain('Another Desk')
    expect(server.logged()).toContain('"outcome":"too_many"')
  })

  test('wears nobody down by asking again after each refusal', async () => {
    const server = shared()
    const person = meet()
    const { browser } = await openRequests(server, person)
    const open = () => browser.get(`${server.issuer}/account/requests`)
    for (let count = 0; count < MOST_ASKED; count += 1) {
      await ask(server.issuer, { login_hint: person })
      await browser.submit(await open(), '/refuse')
    }
    expect((await ask(server.issuer, { login_hint: person })).status).toBe(200)
    expect((await open()).text).toContain('Nothing waits for your answer')
  })

  test('floods the server with one client until it has to wait', async () => {
    await using server = await start()
    const statuses = new Map<number, number>()
    let last
    for (let round = 0; round < 31; round += 1) {
      const answers = await Promise.all(
        Array.from({ length: 10 }, () => ask(server.issuer, { login_hint: 'whoever' })),
      )
      for (const { status } of answers) statuses.set(status, (statuses.get(status) ?? 0) + 1)
      last = answers.at(-1)
    }
    expect(Object.fromEntries(statuses)).toEqual({ 200: 300, 429: 10 })
    expect(last?.body.error).toBe('temporarily_unavailable')
    expect(last?.headers.get('retry-after')).toMatch(/^\d+$/)
  })

  test('gets nothing for what stands in the database, or on the page', async () => {
    const server = shared()
    const person = meet()
    await ask(server.issuer, { login_hint: person })
    const { browser, page } = await openRequests(server, person)
    const { id = '' } = readForm(page.text, '/approve').hidden
    await browser.submit(page, '/approve')
    for (const stolen of [`~${id}`, id]) {
      const answer = await pollRequest(server.issuer, stolen)
      expect([answer.status, answer.body.error]).toEqual([400, 'invalid_grant'])
    }
  })

  test('answers for nobody else', async () => {
    const server = shared()
    const [victim, attacker] = [meet(), meet()]
    const { body } = await ask(server.issuer, { login_hint: victim })
    await ask(server.issuer, { login_hint: attacker })
    const theirs = await openRequests(server, victim)
    const { id = '' } = readForm(theirs.page.text, '/approve').hidden
    const { browser, page } = await openRequests(server, attacker)
    const answer = await post(browser, page, { id })
    expect([answer.status, answer.text]).toEqual([409, expect.stringContaining('has expired')])
    expect((await pollRequest(server.issuer, body.auth_req_id)).body.error).toBe(
      'authorization_pending',
    )
  })

  test.each([
    ['without a token', { csrf: '' }, {}],
    ['with the token of another form', 'refuse', {}],
    ['from another site', {}, { 'sec-fetch-site': 'cross-site' }],
    ['from a page of another origin', {}, { origin: 'https://evil.example' }],
  ] as const)('has no answer sent %s', async (_how, fields, headers) => {
    const server = shared()
    const person = meet()
    const { body } = await ask(server.issuer, { login_hint: person })
    const { browser, page } = await openRequests(server, person)
    const wrong =
      fields === 'refuse' ? { csrf: readForm(page.text, '/refuse').hidden['csrf'] ?? '' } : fields
    const answer = await post(browser, page, wrong, headers)
    expect([answer.status, answer.text]).toEqual([
      403,
      expect.stringContaining('came from another page'),
    ])
    expect((await pollRequest(server.issuer, body.auth_req_id)).body.error).toBe(
      'authorization_pending',
    )
  })

  test('has no answer sent by whoever is not signed in', async () => {
    const server = shared()
    const browser = createBrowser(server.issuer)
    const answer = await browser.post(`${server.issuer}/account/requests/approve`, 'id=a&csrf=b')
    expect(answer.url).toContain('/interaction/')
  })

  test('does not have more agreed to than what the person has read', async () => {
    await using server = await start()
    const scope = 'openid notes:read notes:write'
    const { body } = await ask(server.issuer, { login_hint: 'bob', scope })
    const { browser, page } = await openRequests(server, 'bob')
    const promoted = await server.startAnother({}, (config) => ({
      ...config,
      users: config.users?.map((user) =>
        user.username === 'bob' ? { ...user, roles: ['editor'] } : user,
      ),
    }))
    await promoted[Symbol.asyncDispose]()
    const answer = await browser.submit(page, '/approve')
    expect(answer.status).toBe(403)
    expect(answer.text).toContain('Change your notes')
    expect((await pollRequest(server.issuer, body.auth_req_id)).body.error).toBe(
      'authorization_pending',
    )
  })

  test('gets nothing for a person who is gone since, whether they had answered or not', async () => {
    await using server = await start()
    const waiting = await ask(server.issuer)
    const { body } = await ask(server.issuer)
    await answerRequest(server, 'alice')
    const second = await server.startAnother({}, (config) => ({
      ...config,
      users: config.users?.filter(({ username }) => username !== 'alice'),
    }))
    await second[Symbol.asyncDispose]()
    for (const id of [body.auth_req_id, waiting.body.auth_req_id]) {
      expect((await pollRequest(server.issuer, id)).body.error).toBe('invalid_grant')
    }
  })

  test('uses a code of the browser flow for nothing here', async () => {
    const server = shared()
    const { refresh_token } = await obtainTokens(server.issuer)
    expect((await pollRequest(server.issuer, refresh_token)).body.error).toBe('invalid_grant')
  })
})
