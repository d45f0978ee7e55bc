import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Account } from '../../auth-server/accounts/account.ts'
import {
  createApiKeyId,
  generateApiKey,
  hashApiKey,
  type StoredApiKey,
} from '../../auth-server/api-keys/api-key.ts'
import { systemClock } from '../../auth-server/clock.ts'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { openStores, type Stores } from '../../auth-server/storage/stores.ts'
import { nextSecond } from '../support/clock.ts'
import { introspect, prove } from '../support/endpoints.ts'
import { basic, decodeJwt, requestToken } from '../support/flow.ts'
import { createProofClient } from '../support/proof.ts'
import { BILLING, NOTES, SERVICE_SECRET, startServer, type TestServer } from '../support/server.ts'

const GRANT = 'urn:portreeve:params:oauth:grant-type:api-key'
const DAY_MS = 86_400_000

/** A gateway that may have whatever its keys may, one that may read alone, and a public client. */
function withGrant(config: ConfigInput): ConfigInput {
  return {
    ...config,
    clients: [
      ...(config.clients ?? []),
      {
        id: 'gateway',
        grants: ['api_key'],
        secret: { env: 'SERVICE_SECRET' },
        scopes: ['openid', 'notes:read', 'notes:write', 'billing:read'],
      },
      {
        id: 'reader',
        grants: ['api_key'],
        secret: { env: 'SERVICE_SECRET' },
        scopes: ['notes:read'],
      },
      {
        id: 'bound',
        grants: ['api_key'],
        dpop: 'required',
        secret: { env: 'SERVICE_SECRET' },
        scopes: ['notes:read'],
      },
      { id: 'cli', grants: ['api_key'], authMethod: 'none', scopes: ['notes:read'] },
    ],
  }
}

interface World extends AsyncDisposable {
  readonly server: TestServer
  readonly stores: Stores
  readonly account: (username: string) => Promise<Account>
  readonly makeKey: (more?: Partial<StoredApiKey>, username?: string) => Promise<MadeKey>
}

interface MadeKey {
  readonly id: string
  readonly text: string
}

/** A server, and the store of its keys as the command line has it. */
async function start(change = withGrant): Promise<World> {
  await using cleanUp = new AsyncDisposableStack()
  const server = cleanUp.use(await startServer(change))
  const stores = cleanUp.use(
    await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock),
  )
  const account = async (username: string) => {
    const found = await stores.accounts.findByUsername(username)
    if (!found) throw new Error(`no ${username}`)
    return found
  }
  const running = cleanUp.move()
  return {
    server,
    stores,
    account,
    async makeKey(more = {}, username = 'alice') {
      const text = generateApiKey()
      const stored: StoredApiKey = {
        id: createApiKeyId(),
        accountId: (await account(username)).id,
        name: 'A test',
        resource: NOTES,
        scopes: ['notes:read', 'notes:write'],
        hash: hashApiKey(text),
        createdAt: systemClock.now(),
        expiresAt: undefined,
        lastUsedAt: undefined,
        revokedAt: undefined,
        ...more,
      }
      expect(await stores.apiKeys.insert(stored, 50)).toBe('added')
      return { id: stored.id, text }
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

const as = (clientId: string) => ({ authorization: basic(clientId, SERVICE_SECRET) })

function redeem(
  { server }: Pick<World, 'server'>,
  apiKey: string,
  more: Record<string, string> = {},
  headers: Record<string, string> = as('gateway'),
) {
  return requestToken(server.issuer, { grant_type: GRANT, api_key: apiKey, ...more }, headers)
}

function refusal(error: string, error_description: string, status = 400) {
  return { status, body: { error, error_description } }
}

let shared: World
beforeAll(async () => {
  shared = await start()
})
afterAll(async () => {
  await shared[Symbol.asyncDispose]()
})

describe('API keys: the request (RFC 6749 §4.5)', () => {
  test('a key is redeemed for an access token of its owner and its resource (§5.1)', async () => {
    const key = await shared.makeKey()
    const { status, headers, body } = await redeem(shared, key.text)
    expect([status, headers.get('cache-control')]).toEqual([200, 'no-store'])
    expect(body).toEqual({
      access_token: expect.any(String),
      expires_in: 600,
      scope: 'notes:read notes:write',
      token_type: 'Bearer',
    })
    const { header, claims } = decodeJwt(body.access_token)
    expect(header).toMatchObject({ typ: 'at+jwt', alg: 'ES256' })
    expect(claims).toMatchObject({
      iss: shared.server.issuer,
      sub: (await shared.account('alice')).id,
      aud: NOTES,
      client_id: 'gateway',
      scope: 'notes:read notes:write',
      grant_id: key.id,
      roles: ['editor'],
      jti: expect.any(String),
    })
    expect(claims['sid']).toBeUndefined()
    expect(claims['auth_time']).toBeUndefined()
  })

  test('the discovery document names the grant (RFC 8414 §2)', async () => {
    const response = await fetch(`${shared.server.issuer}/.well-known/openid-configuration`)
    expect(await response.json()).toMatchObject({
      grant_types_supported: expect.arrayContaining([GRANT]),
    })
  })

  test('a request without a key is refused (§5.2)', async () => {
    const missing = refusal('invalid_request', "missing required parameter 'api_key'")
    expect(
      await requestToken(shared.server.issuer, { grant_type: GRANT }, as('gateway')),
    ).toMatchObject(missing)
    expect(await redeem(shared, '')).toMatchObject(missing)
  })

  test('a request with two keys is refused (§3.2)', async () => {
    const [one, two] = [await shared.makeKey(), await shared.makeKey()]
    const body = `grant_type=${encodeURIComponent(GRANT)}&api_key=${one.text}&api_key=${two.text}`
    const { status, body: answer } = await requestToken(shared.server.issuer, body, as('gateway'))
    expect([status, answer.error]).toEqual([400, 'invalid_request'])
  })

  test('a key in the query is not read (§3.2)', async () => {
    const key = await shared.makeKey()
    const url = `${shared.server.issuer}/token?api_key=${key.text}`
    const response = await fetch(url, {
      method: 'POST',
      headers: { ...as('gateway'), 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams({ grant_type: GRANT }).toString(),
    })
    expect([response.status, await response.json()]).toMatchObject([
      400,
      { error: 'invalid_request' },
    ])
    expect(shared.server.logged()).not.toContain(key.text)
  })
})

describe('API keys: the client (RFC 6749 §3.2.1)', () => {
  test('a public client may redeem a key where it is registered for that', async () => {
    const key = await shared.makeKey()
    const { status, body } = await redeem(shared, key.text, { client_id: 'cli' }, {})
    expect([status, body.scope]).toEqual([200, 'notes:read'])
  })

  test.each([
    ['with a wrong secret', { authorization: basic('gateway', 'wrong') }, 401, 'invalid_client'],
    ['that says nothing of itself', {}, 400, 'invalid_request'],
    ['without this grant', as('service'), 400, 'invalid_request'],
  ])(
    'a client %s is refused, and the key is not looked at',
    async (_how, headers, status, error) => {
      const key = await shared.makeKey()
      const refused = await redeem(shared, key.text, {}, headers)
      expect(refused).toMatchObject({ status, body: { error } })
      expect(await shared.stores.apiKeys.findById(key.id)).toMatchObject({ lastUsedAt: undefined })
    },
  )
})

describe('API keys: the key (RFC 6749 §5.2, invalid_grant)', () => {
  test('a mistyped key is told apart from one that was never made', async () => {
    const { text } = await shared.makeKey()
    const mistyped = `${text.slice(0, 10)}${text[10] === 'a' ? 'b' : 'a'}${text.slice(11)}`
    const description = 'the API key is mistyped or cut off: its checksum does not fit'
    expect(await redeem(shared, mistyped)).toMatchObject(refusal('invalid_grant', description))
    expect(await redeem(shared, text.slice(0, -1))).toMatchObject(
      refusal('invalid_grant', description),
    )
    expect(await redeem(shared, generateApiKey())).toMatchObject(
      refusal('invalid_grant', 'there is no such API key'),
    )
    expect(await redeem(shared, 'ABCDE')).toMatchObject(
      refusal('invalid_grant', 'this is no API key: one begins with prk_'),
    )
  })

  test('a key is good until it expires, and its tokens end with it', async () => {
    const soon = await shared.makeKey({ expiresAt: systemClock.now() + 60_000 })
    const { status, body } = await redeem(shared, soon.text)
    expect(status).toBe(200)
    expect(body.expires_in).toBeLessThanOrEqual(60)
    const { claims } = decodeJwt(body.access_token)
    expect(Number(claims['exp']) * 1000).toBeLessThanOrEqual(systemClock.now() + 60_000)
    const now = systemClock.now()
    const late = await shared.makeKey({ createdAt: now - DAY_MS, expiresAt: now })
    expect(await redeem(shared, late.text)).toMatchObject(
      refusal('invalid_grant', 'the API key has expired'),
    )
  })

  test('a revoked key is refused, and its tokens are in the log of what was revoked', async () => {
    const key = await shared.makeKey()
    const { claims } = decodeJwt((await redeem(shared, key.text)).body.access_token)
    await shared.stores.apiKeys.revoke(key.id)
    expect(await redeem(shared, key.text)).toMatchObject(
      refusal('invalid_grant', 'the API key was revoked'),
    )
    const isRevoked = await shared.stores.revocations.isRevoked('grant', String(claims['grant_id']))
    expect(isRevoked).toBe(true)
  })

  test('a key whose owner is disabled, or gone, is refused as if it were revoked', async () => {
    await using world = await start()
    const revoked = refusal('invalid_grant', 'the API key was revoked')
    const bob = await world.account('bob')
    const key = await world.makeKey({ scopes: ['notes:read'] }, 'bob')
    await world.stores.accounts.update({ ...bob, disabled: true })
    expect(await redeem(world, key.text)).toMatchObject(revoked)
    await world.stores.accounts.update(bob)
    expect(await redeem(world, key.text)).toMatchObject({ status: 200 })
    await world.stores.accounts.updateAndEndAccess({ ...bob, disabled: true })
    await world.stores.accounts.update(bob)
    expect(await redeem(world, key.text)).toMatchObject(revoked)
    await world.stores.accounts.remove(bob.id)
    expect(await redeem(world, key.text)).toMatchObject(
      refusal('invalid_grant', 'there is no such API key'),
    )
  })

  test('its use is remembered, once a minute at most', async () => {
    const key = await shared.makeKey()
    await redeem(shared, key.text)
    const { lastUsedAt } = (await shared.stores.apiKeys.findById(key.id)) ?? {}
    expect(lastUsedAt).toBeGreaterThan(0)
    await redeem(shared, key.text)
    expect(await shared.stores.apiKeys.findById(key.id)).toMatchObject({ lastUsedAt })
  })

  test('wrong keys are throttled by client and address, and good ones go on', async () => {
    await using world = await start((config) => ({
      ...withGrant(config),
      signIn: { perAccount: { attempts: 3, windowSeconds: 60 } },
    }))
    const fresh = await world.makeKey()
    for (let count = 0; count < 3; count += 1) await redeem(world, generateApiKey())
    const throttled = await redeem(world, generateApiKey())
    expect(throttled).toMatchObject({ status: 429, body: { error: 'temporarily_unavailable' } })
    expect(Number(throttled.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(await redeem(world, fresh.text)).toMatchObject({ status: 200 })
  })
})

describe('API keys: the scope (RFC 6749 §3.3)', () => {
  test('a request may ask for less than the key has', async () => {
    const key = await shared.makeKey()
    const { body } = await redeem(shared, key.text, { scope: 'notes:read' })
    expect(body.scope).toBe('notes:read')
  })

  test.each([
    ['than the key has', ['notes:read'], 'alice', 'gateway'],
    ['than its client may', ['notes:read', 'notes:write'], 'alice', 'reader'],
    ['than its owner may now', ['notes:read', 'notes:write'], 'bob', 'gateway'],
  ])('no more is granted %s', async (_what, scopes, owner, client) => {
    const key = await shared.makeKey({ scopes }, owner)
    const asked = { scope: 'notes:write notes:read' }
    const { status, body } = await redeem(shared, key.text, asked, as(client))
    expect([status, body.scope]).toEqual([200, 'notes:read'])
    expect(decodeJwt(body.access_token).claims['scope']).toBe('notes:read')
  })

  test('a scope that the key has not at all is refused (§5.2, invalid_scope)', async () => {
    const key = await shared.makeKey({ scopes: ['notes:read'] })
    expect(await redeem(shared, key.text, { scope: 'notes:write' })).toMatchObject(
      refusal('invalid_scope', 'the credential carries none of these scopes'),
    )
    expect(await redeem(shared, key.text, { scope: 'openid' })).toMatchObject({
      status: 400,
      body: { error: 'invalid_scope' },
    })
  })

  test('a demotion of the owner counts at once, and one to nothing is refused', async () => {
    await using world = await start()
    const alice = await world.account('alice')
    const key = await world.makeKey()
    await world.stores.accounts.update({ ...alice, roles: ['reader'] })
    await nextSecond()
    expect((await redeem(world, key.text)).body.scope).toBe('notes:read')
    await world.stores.accounts.update({ ...alice, roles: [] })
    expect(await redeem(world, key.text)).toMatchObject({
      status: 400,
      body: { error: 'invalid_grant' },
    })
  })
})

describe('API keys: the resource (RFC 8707 §2.2)', () => {
  test('the resource of the key may be named', async () => {
    const key = await shared.makeKey()
    const { status, body } = await redeem(shared, key.text, { resource: NOTES })
    expect([status, decodeJwt(body.access_token).claims['aud']]).toEqual([200, NOTES])
  })

  test('another resource is refused (invalid_target)', async () => {
    const key = await shared.makeKey()
    const refused = await redeem(shared, key.text, { resource: BILLING })
    expect(refused).toMatchObject({ status: 400, body: { error: 'invalid_target' } })
  })

  test('a key of a resource that is gone is refused (invalid_target)', async () => {
    const key = await shared.makeKey({ resource: 'https://gone.example/' })
    const refused = await redeem(shared, key.text)
    expect(refused).toMatchObject({ status: 400, body: { error: 'invalid_target' } })
  })

  test('the token is not good at userinfo', async () => {
    const key = await shared.makeKey()
    const { body } = await redeem(shared, key.text)
    const response = await fetch(`${shared.server.issuer}/userinfo`, {
      headers: { authorization: `Bearer ${body.access_token}` },
    })
    expect(response.status).toBe(401)
  })
})

describe('API keys: the proof of possession (RFC 9449 §5)', () => {
  test('a proof binds the token to its key', async () => {
    const [key, proofKey] = [await shared.makeKey(), await createProofClient()]
    const dpop = prove(proofKey, shared.server.issuer)
    const first = await redeem(shared, key.text, {}, { ...as('gateway'), dpop })
    const again = await redeem(shared, key.text, {}, { ...as('gateway'), dpop })
    expect([first.status, first.body.token_type]).toEqual([200, 'DPoP'])
    expect(decodeJwt(first.body.access_token).claims['cnf']).toEqual({ jkt: proofKey.thumbprint })
    expect([again.status, again.body.error]).toEqual([400, 'invalid_dpop_proof'])
  })

  test('a client that has to prove its key gets no token without (§8: with a nonce)', async () => {
    const [key, proofKey] = [await shared.makeKey(), await createProofClient()]
    const ask = (dpop: Record<string, string>) =>
      redeem(shared, key.text, {}, { ...as('bound'), ...dpop })
    const bare = await ask({})
    expect([bare.status, bare.body.access_token]).toEqual([400, undefined])
    const first = await ask({ dpop: prove(proofKey, shared.server.issuer) })
    expect(first.body.error).toBe('use_dpop_nonce')
    const nonce = first.headers.get('dpop-nonce') ?? ''
    const claims = { nonce }
    const bound = await ask({ dpop: prove(proofKey, shared.server.issuer, '/token', { claims }) })
    expect([bound.status, bound.body.token_type]).toEqual([200, 'DPoP'])
  })

  test('a proof for another address is refused', async () => {
    const [key, proofKey] = [await shared.makeKey(), await createProofClient()]
    const wrong = prove(proofKey, shared.server.issuer, '/userinfo')
    expect(await redeem(shared, key.text, {}, { ...as('gateway'), dpop: wrong })).toMatchObject({
      status: 400,
      body: { error: 'invalid_dpop_proof' },
    })
  })
})

describe('API keys: what was issued (RFC 7662 §2.2)', () => {
  test('a token is active until its key is revoked, and those of another key go on', async () => {
    const [one, two] = [await shared.makeKey(), await shared.makeKey()]
    const tokens = [await redeem(shared, one.text), await redeem(shared, two.text)]
    const ask = async () => {
      const answers = tokens.map(({ body }) =>
        introspect(shared.server.issuer, body.access_token, as('gateway')),
      )
      return (await Promise.all(answers)).map(({ body }) => body['active'])
    }
    expect(await ask()).toEqual([true, true])
    await shared.stores.apiKeys.revoke(one.id)
    expect(await ask()).toEqual([false, true])
  })
})

describe('API keys: what is written down', () => {
  test('neither the log nor the database has a key, right or wrong, and both say what was', async () => {
    await using world = await start()
    const key = await world.makeKey()
    const wrong = generateApiKey()
    await redeem(world, key.text)
    await redeem(world, wrong)
    await redeem(world, `${key.text}x`)
    const logged = world.server.logged()
    const files = readdirSync(world.server.folder).filter((name) => name.includes('.sqlite'))
    const bytes = files.map((name) => readFileSync(path.join(world.server.folder, name), 'latin1'))
    expect(bytes.join('')).toContain(key.id)
    for (const text of [key.text, wrong]) expect(logged + bytes.join('')).not.toContain(text)
    expect(logged).toMatch(new RegExp(`"event":"token_issued",.*"keyId":"${key.id}"`))
    expect(logged).toContain('"event":"api_key_refused","reason":"unknown","clientId":"gateway"')
    expect(logged).toContain('"event":"api_key_refused","reason":"mistyped"')
  })
})
