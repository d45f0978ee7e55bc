import { describe, expect, test } from 'vitest'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import type { RevokedKind } from '../../auth-server/revocation/revocation.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import {
  createRevocationFeed,
  type PrivateJwk,
  type RevocationFeed,
} from '../../resource-server/index.ts'
import { systemClock } from '../../resource-server/clock.ts'
import { createBrowser } from '../support/browser.ts'
import { revoke, withClients } from '../support/endpoints.ts'
import { findFreePort } from '../support/engines/service.ts'
import { LISTENER_SECRET, withListener } from '../support/feed.ts'
import { authorize, basic, decodeJwt, obtainTokens, requestToken } from '../support/flow.ts'
import { createKey } from '../support/issuer.ts'
import { startApi } from '../support/protected-api.ts'
import { NOTES, REDIRECT, SERVICE_SECRET, startServer, type TestServer } from '../support/server.ts'

const listener = { clientId: 'api', clientSecret: LISTENER_SECRET }

function start(change: (config: ConfigInput) => ConfigInput = (config) => config) {
  return startServer((config) => withListener(change(config)), {}, { LISTENER_SECRET })
}

/** An API that takes only tokens of which it knows whether they are revoked. */
async function startNotes(issuer: string, feed: RevocationFeed) {
  await feed.whenFresh()
  const verifier = { issuer, audience: NOTES, revocations: feed, clock: systemClock }
  return startApi(verifier, { scope: 'notes:read', whenStale: 'closed' })
}

/** Resolves when the feed has learned of something more. */
function learn(feed: RevocationFeed): Promise<void> {
  return new Promise((resolve) => {
    const unsubscribe = feed.subscribe(() => {
      unsubscribe()
      resolve()
    })
  })
}

async function serviceToken({ issuer }: Pick<TestServer, 'issuer'>): Promise<string> {
  const form = { grant_type: 'client_credentials', scope: 'notes:read' }
  const { body } = await requestToken(issuer, form, {
    authorization: basic('service', SERVICE_SECRET),
  })
  return body.access_token
}

describe('an API that follows a real server', () => {
  test('refuses a token that its client has given back, and no other', async () => {
    await using server = await start()
    await using feed = createRevocationFeed({ issuer: server.issuer, ...listener })
    await using api = await startNotes(server.issuer, feed)
    const [given, kept] = [await serviceToken(server), await serviceToken(server)]
    expect([await api.status(given), await api.status(kept)]).toEqual([200, 200])
    const learned = learn(feed)
    await revoke(server.issuer, given, { authorization: basic('service', SERVICE_SECRET) })
    await learned
    expect([await api.status(given), await api.status(kept)]).toEqual([401, 200])
    expect(api.refusals).toEqual([{ kind: 'revoked' }])
  })

  test('refuses a token whose person has signed out', async () => {
    await using server = await start()
    await using feed = createRevocationFeed({ issuer: server.issuer, ...listener })
    await using api = await startNotes(server.issuer, feed)
    const browser = createBrowser(server.issuer)
    const { code, verifier } = await authorize(server.issuer, {}, 'alice', browser)
    const { body } = await requestToken(server.issuer, {
      grant_type: 'authorization_code',
      code,
      code_verifier: verifier,
      redirect_uri: REDIRECT,
    })
    const bobs = await obtainTokens(server.issuer, {}, 'bob')
    expect(await api.status(body.access_token)).toBe(200)
    const learned = learn(feed)
    const page = await browser.get(`${server.issuer}/session/end?client_id=web`)
    await browser.submit(page, '/session/end/confirm', { logout: 'yes' })
    await learned
    expect(await api.status(body.access_token)).toBe(401)
    expect(await api.status(bobs.access_token)).toBe(200)
  })

  test('knows at its start what was revoked before', async () => {
    await using server = await start()
    const [given, kept] = [await serviceToken(server), await serviceToken(server)]
    await revoke(server.issuer, given, { authorization: basic('service', SERVICE_SECRET) })
    await using feed = createRevocationFeed({ issuer: server.issuer, ...listener })
    await using api = await startNotes(server.issuer, feed)
    expect([await api.status(given), await api.status(kept)]).toEqual([401, 200])
  })

  test('refuses what any process ends: of a client, of a person, of a key, everything', async () => {
    await using server = await start()
    await using feed = createRevocationFeed({ issuer: server.issuer, ...listener })
    await using api = await startNotes(server.issuer, feed)
    await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
    const end = async (kind: RevokedKind, subject: string) => {
      const learned = learn(feed)
      const now = systemClock.now()
      const times = { revokedAt: now, expiresAt: now + 60_000 }
      await stores.revocations.append([{ kind, subject, reason: 'operator', ...times }])
      await learned
    }
    const services = await serviceToken(server)
    const alices = (await obtainTokens(server.issuer)).access_token
    const bobs = (await obtainTokens(server.issuer, {}, 'bob')).access_token
    const ask = () => Promise.all([services, alices, bobs].map((token) => api.status(token)))
    expect(await ask()).toEqual([200, 200, 200])
    await end('client', 'service')
    expect(await ask()).toEqual([401, 200, 200])
    await end('user', String(decodeJwt(alices).claims['sub']))
    expect(await ask()).toEqual([401, 401, 200])
    await end('key', String(decodeJwt(bobs).header['kid']))
    expect(await ask()).toEqual([401, 401, 401])
  })

  test('refuses everything that was issued until all of it was ended', async () => {
    await using server = await start()
    await using feed = createRevocationFeed({ issuer: server.issuer, ...listener })
    await using api = await startNotes(server.issuer, feed)
    const token = await serviceToken(server)
    expect(await api.status(token)).toBe(200)
    await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
    const learned = learn(feed)
    const now = systemClock.now()
    const all = { kind: 'all', subject: '', reason: 'operator', revokedAt: now } as const
    await stores.revocations.append([{ ...all, expiresAt: now + 60_000 }])
    await learned
    expect(await api.status(token)).toBe(401)
  })

  test('comes back to a server that was away, and knows what was revoked meanwhile', async () => {
    const port = await findFreePort()
    const issuer = `http://127.0.0.1:${port}`
    const atPort = (config: ConfigInput) => ({
      ...config,
      issuer,
      listen: { ...config.listen, port },
    })
    await using server = await start(atPort)
    await using feed = createRevocationFeed({ issuer, ...listener })
    await using api = await startNotes(issuer, feed)
    const [given, kept] = [await serviceToken(server), await serviceToken(server)]
    expect([await api.status(given), await api.status(kept)]).toEqual([200, 200])
    await server.stop()
    await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
    const now = systemClock.now()
    const jti = String(decodeJwt(given).claims['jti'])
    const times = { revokedAt: now, expiresAt: now + 60_000 }
    const entry = { kind: 'token', subject: jti, reason: 'operator', ...times } as const
    await stores.revocations.append([entry])
    expect([await api.status(given), await api.status(kept)]).toEqual([200, 200])
    const learned = learn(feed)
    await using again = await server.startAnother()
    await learned
    expect([await api.status(given), await api.status(kept)]).toEqual([401, 200])
    expect([feed.state.connections, again.issuer]).toEqual([2, issuer])
  })

  test('may prove itself by a key, and has its progress known at the server', async () => {
    const { jwk, privateKey: key } = await createKey('ES256')
    const { kid = '', alg = '' } = jwk
    const privateKey = { ...key.export({ format: 'jwk' }), kid, alg } as PrivateJwk
    const signing = withClients({
      id: 'signing-api',
      grants: ['client_credentials'],
      authMethod: 'private_key_jwt',
      jwks: { keys: [{ ...jwk }] },
      scopes: ['revocations:read'],
    })
    await using server = await start(signing)
    const { issuer } = server
    const how = { issuer, clientId: 'signing-api', privateKey, receiver: 'replica-1' }
    await using feed = createRevocationFeed(how)
    await using api = await startNotes(issuer, feed)
    const token = await serviceToken(server)
    const learned = learn(feed)
    await revoke(issuer, token, { authorization: basic('service', SERVICE_SECRET) })
    await learned
    expect(await api.status(token)).toBe(401)
    await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
    await expect
      .poll(() => stores.receivers.find('signing-api', 'replica-1'), { timeout: 5000 })
      .toMatchObject({ place: 1 })
  })

  test('lets nobody in, and says so, where it may not follow', async () => {
    await using server = await start()
    const fault = Promise.withResolvers<Error>()
    await using feed = createRevocationFeed({
      issuer: server.issuer,
      clientId: 'service',
      clientSecret: SERVICE_SECRET,
      onFault: fault.resolve,
    })
    expect(await fault.promise).toMatchObject({
      code: 'turned_away',
      message: `${server.issuer}/token answered 400 invalid_scope: register the client with the scope revocations:read`,
    })
    const verifier = {
      issuer: server.issuer,
      audience: NOTES,
      revocations: feed,
      clock: systemClock,
    }
    await using api = await startApi(verifier, { whenStale: 'closed' })
    expect(await api.status(await serviceToken(server))).toBe(503)
  })
})
