import { existsSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import type { SigningAlgorithm } from '../../auth-server/config/schema.ts'
import type { AuthServer } from '../../auth-server/server.ts'
import { authorizationUrl, decodeJwt, makePkce, obtainTokens, refresh } from '../support/flow.ts'
import { createKeyWorld, fetchKeyIds, fetchKeys, requestServiceToken } from '../support/keys.ts'

const MINUTE = 60_000
const DAY = 86_400_000
const ANNOUNCED = 11 * MINUTE
/** What another process has changed is in force within this time. */
const SOON = { timeout: 1000, interval: 10 }
const ALL: readonly SigningAlgorithm[] = ['ES256', 'EdDSA', 'PS256', 'RS256']
const OPENID = { scope: 'openid notes:read' }

const kidOf = (token: string) => String(decodeJwt(token).header['kid'])

async function askUserinfo({ issuer }: AuthServer, token: string): Promise<number> {
  const headers = { authorization: `Bearer ${token}` }
  return (await fetch(`${issuer}/userinfo`, { headers })).status
}

/** Whether the server takes an ID token as the word about who is to be signed out. */
async function askSignOut({ issuer }: AuthServer, idToken: string): Promise<number> {
  return (await fetch(`${issuer}/session/end?id_token_hint=${idToken}`)).status
}

/** The key of the algorithm that is to sign next. */
async function findNext(server: AuthServer, algorithm: SigningAlgorithm, known: readonly string[]) {
  const keys = await fetchKeys(server)
  const next = keys.find(({ kid, alg }) => alg === algorithm && !known.includes(kid))
  if (!next) throw new Error('no key comes next')
  return next.kid
}

describe('signing keys', () => {
  test('of all algorithms stand side by side, and each rotates by itself', async () => {
    await using world = await createKeyWorld()
    const server = await world.start()
    const before = await fetchKeys(server)
    expect(before.map(({ alg }) => alg)).toEqual(ALL)
    for (const { kid, alg } of before) {
      const { header } = decodeJwt(await requestServiceToken(server, alg))
      expect(header).toEqual({ alg, typ: 'at+jwt', kid })
    }
    const [rotation] = await world.operator.rotate({ algorithm: 'EdDSA', withdraws: false })
    await vi.waitFor(async () => expect(await fetchKeys(server)).toHaveLength(5), SOON)
    world.clock.advance(ANNOUNCED)
    await vi.waitFor(async () => {
      expect(kidOf(await requestServiceToken(server, 'EdDSA'))).toBe(rotation?.next.kid)
    }, SOON)
    for (const { kid, alg } of before.filter((key) => key.alg !== 'EdDSA')) {
      expect(kidOf(await requestServiceToken(server, alg))).toBe(kid)
    }
  })

  test('go through their phases on every instance, and fail nobody on the way', async () => {
    await using world = await createKeyWorld()
    const server = await world.start()
    const other = await world.start()
    const known = await fetchKeyIds(server)
    const tokens = await obtainTokens(server.issuer, OPENID)
    const ids = [tokens.access_token, tokens.id_token].map(kidOf)

    // Announced: everybody can know them, and nothing is signed with them.
    const rotations = await world.operator.rotate({ algorithm: undefined, withdraws: false })
    expect(rotations.map(({ algorithm, isNew }) => [algorithm, isNew])).toEqual(
      ALL.map((algorithm) => [algorithm, true]),
    )
    const announced = rotations.map(({ next }) => next.kid)
    for (const one of [server, other]) {
      await vi.waitFor(async () => {
        expect(new Set(await fetchKeyIds(one))).toEqual(new Set([...known, ...announced]))
      }, SOON)
    }
    world.clock.advance(ANNOUNCED - 1)
    expect(known).toContain(kidOf(await requestServiceToken(server, 'ES256')))

    // Active: they sign, and what was signed before is as good as it was.
    world.clock.advance(1)
    for (const one of [server, other]) {
      await vi.waitFor(async () => {
        expect(announced).toContain(kidOf(await requestServiceToken(one, 'ES256')))
      }, SOON)
    }
    expect(await askUserinfo(server, tokens.access_token)).toBe(200)
    expect(await askSignOut(server, tokens.id_token)).toBe(200)
    const refreshed = await refresh(server.issuer, tokens.refresh_token)
    expect(refreshed.status).toBe(200)
    expect(announced).toEqual(
      expect.arrayContaining([refreshed.body.access_token, refreshed.body.id_token].map(kidOf)),
    )

    // Retired: nobody can sign with the old ones any more, whoever reads the database.
    world.clock.advance(MINUTE + 1)
    await vi.waitFor(async () => {
      const sealed = (await world.stores.keys.list()).filter((key) => key.sealedPrivateJwk)
      expect(new Set(sealed.map(({ kid }) => kid))).toEqual(new Set(announced))
    }, SOON)
    expect(await fetchKeyIds(other)).toEqual(expect.arrayContaining(known))
    expect(await askUserinfo(server, tokens.access_token)).toBe(200)

    // Purged: what they signed is dead, but an ID token still says who is to be signed out.
    world.clock.advance(DAY)
    for (const one of [server, other]) {
      await vi.waitFor(async () => {
        expect(new Set(await fetchKeyIds(one))).toEqual(new Set(announced))
      }, SOON)
    }
    expect(await askUserinfo(server, tokens.access_token)).toBe(401)
    expect(await askSignOut(server, tokens.id_token)).toBe(200)
    world.clock.advance(30 * DAY)
    await vi.waitFor(async () => {
      expect((await world.operator.list()).map(({ kid }) => kid)).not.toContain(ids[1])
    }, SOON)
    await vi.waitFor(async () => expect(await askSignOut(server, tokens.id_token)).toBe(400), SOON)
  })

  test('are not rotated again while a new one is announced', async () => {
    await using world = await createKeyWorld()
    await world.start()
    const first = await world.operator.rotate({ algorithm: 'ES256', withdraws: false })
    world.clock.advance(ANNOUNCED - 1)
    const second = await world.operator.rotate({ algorithm: 'ES256', withdraws: false })
    expect(second).toEqual(first.map((rotation) => ({ ...rotation, isNew: false })))
    world.clock.advance(1)
    const third = await world.operator.rotate({ algorithm: 'ES256', withdraws: false })
    expect(third).toMatchObject([{ isNew: true }])
  })

  test.each([
    ['after 90 days', {}, 90],
    ['as often as is configured', { rotateEveryDays: 7 }, 7],
  ])('are rotated %s, once, by whichever instance comes first', async (_case, keys, days) => {
    await using world = await createKeyWorld((config) => ({ ...config, keys }))
    const server = await world.start()
    const other = await world.start()
    const known = await fetchKeyIds(server)
    world.clock.advance(days * DAY)
    for (const one of [server, other]) {
      // Making keys takes a moment.
      await vi.waitFor(async () => expect(await fetchKeyIds(one)).toHaveLength(8), {
        ...SOON,
        timeout: 3000,
      })
    }
    const next = await findNext(server, 'ES256', known)
    expect(await findNext(other, 'ES256', known)).toBe(next)
    const told = world.logged().match(/"action":"announced"/g)
    expect(told).toHaveLength(4)
    expect(world.logged()).toContain(
      `"event":"object_changed","kind":"key","action":"announced","id":"${next}","algorithm":"ES256","by":"server"`,
    )
  })

  test('stay for ever where nobody wants a schedule', async () => {
    await using world = await createKeyWorld((config) => ({
      ...config,
      keys: { rotateEveryDays: 0 },
    }))
    const server = await world.start()
    const known = await fetchKeyIds(server)
    world.clock.advance(1000 * DAY)
    // A rotation by hand is noticed at a look that came after the clock was turned.
    await world.operator.rotate({ algorithm: 'EdDSA', withdraws: false })
    await vi.waitFor(async () => expect(await fetchKeyIds(server)).toHaveLength(5), SOON)
    expect(await fetchKeyIds(server)).toEqual(expect.arrayContaining(known))
    expect((await world.operator.list()).filter(({ phase }) => phase === 'announced')).toHaveLength(
      1,
    )
  })
})

describe('a stolen key', () => {
  test('is out of the key set at once, and what it signed is good for nothing', async () => {
    await using world = await createKeyWorld()
    const server = await world.start()
    const other = await world.start()
    const known = await fetchKeyIds(server)
    const tokens = await obtainTokens(server.issuer, OPENID)
    expect(await askUserinfo(server, tokens.access_token)).toBe(200)
    const rotations = await world.operator.rotate({ algorithm: undefined, withdraws: true })
    expect(rotations.flatMap(({ withdrawn }) => withdrawn).toSorted()).toEqual(known.toSorted())
    const next = rotations.map(({ next: { kid } }) => kid)
    for (const one of [server, other]) {
      await vi.waitFor(async () => {
        expect(new Set(await fetchKeyIds(one))).toEqual(new Set(next))
      }, SOON)
      expect(next).toContain(kidOf(await requestServiceToken(one, 'ES256')))
    }
    expect(await askUserinfo(server, tokens.access_token)).toBe(401)
    expect(await askSignOut(server, tokens.id_token)).toBe(400)
    const log = await world.stores.revocations.list(0, 10)
    expect(log).toHaveLength(known.length)
    for (const kid of known) {
      expect(log).toContainEqual({
        sequence: expect.any(Number),
        kind: 'key',
        subject: kid,
        reason: 'key_withdrawn',
        revokedAt: world.clock.now(),
        expiresAt: world.clock.now() + 2 * DAY,
      })
    }
    const stored = await world.stores.keys.list()
    const gone = stored.filter(({ kid }) => known.includes(kid))
    expect(gone.every(({ sealedPrivateJwk }) => sealedPrivateJwk === undefined)).toBe(true)
    for (const kid of known) {
      expect(world.logged()).toContain(`"action":"withdrawn","id":"${kid}","algorithm":"`)
    }

    // People go on: a refresh brings tokens of the new key.
    const refreshed = await refresh(server.issuer, tokens.refresh_token)
    expect(refreshed.status).toBe(200)
    expect(next).toContain(kidOf(refreshed.body.access_token))
    expect(await askUserinfo(server, refreshed.body.access_token)).toBe(200)
  })

  test('takes with it the keys beside it, and leaves other algorithms alone', async () => {
    await using world = await createKeyWorld()
    const server = await world.start()
    await world.operator.rotate({ algorithm: 'ES256', withdraws: false })
    world.clock.advance(ANNOUNCED)
    await world.operator.rotate({ algorithm: 'ES256', withdraws: false })
    const before = await world.operator.list()
    const own = before.filter(({ algorithm }) => algorithm === 'ES256')
    expect(own.map(({ phase }) => phase)).toEqual(['announced', 'active', 'retired'])
    const [rotation] = await world.operator.rotate({ algorithm: 'ES256', withdraws: true })
    expect(rotation?.withdrawn.toSorted()).toEqual(own.map(({ kid }) => kid).toSorted())
    const others = before.filter(({ algorithm }) => algorithm !== 'ES256').map(({ kid }) => kid)
    await vi.waitFor(async () => {
      expect(new Set(await fetchKeyIds(server))).toEqual(new Set([...others, rotation?.next.kid]))
    }, SOON)
  })
})

describe('the key that seals the signing keys', () => {
  const pointTo = (file: string) => (config: object) => ({
    ...config,
    keys: { encryptionKey: { file } },
  })

  test('is changed under a running server, and nobody is signed out', async () => {
    await using world = await createKeyWorld()
    const file = path.join(world.folder, 'new.key')
    const server = await world.start()
    const tokens = await obtainTokens(server.issuer, OPENID)
    const known = await fetchKeyIds(server)
    const { resealed, encryptionKey } = await world.operator.reseal({ file })
    expect([resealed.toSorted(), encryptionKey]).toEqual([known.toSorted(), { file }])
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(world.logged()).not.toContain(readFileSync(file, 'utf8').trim())

    // The running server goes on, with the keys and the phases that it has.
    const operator = world.operate(pointTo(file))
    const [rotation] = await operator.rotate({ algorithm: 'EdDSA', withdraws: false })
    await vi.waitFor(async () => expect(await fetchKeyIds(server)).toHaveLength(5), SOON)
    expect(world.logged()).toContain(`"event":"key_unopened","kid":"${rotation?.next.kid}"`)
    expect((await refresh(server.issuer, tokens.refresh_token)).status).toBe(200)
    expect(await askUserinfo(server, tokens.access_token)).toBe(200)
    world.clock.advance(ANNOUNCED)
    await operator.rotate({ algorithm: 'ES256', withdraws: false })
    await vi.waitFor(async () => expect(await fetchKeyIds(server)).toHaveLength(6), SOON)
    // It cannot open the key that signs now: it goes on with the one before, which is still known.
    expect(known).toContain(kidOf(await requestServiceToken(server, 'EdDSA')))

    // With the old key no server starts, with the new one it does: its cookies and grants are the same.
    await expect(world.start()).rejects.toMatchObject({
      code: 'misconfigured',
      message: expect.stringContaining('keys.encryptionKey'),
    })
    const restarted = await world.start(pointTo(file))
    expect(await fetchKeyIds(restarted)).toHaveLength(6)
    expect(kidOf(await requestServiceToken(restarted, 'EdDSA'))).toBe(rotation?.next.kid)
    const { challenge } = makePkce()
    const cookie = tokens.browser.cookies().map(({ name, value }) => `${name}=${value}`)
    const headers = { cookie: cookie.join('; ') }
    const url = authorizationUrl(restarted.issuer, challenge, OPENID)
    const signedOn = await fetch(url, { headers, redirect: 'manual' })
    expect(new URL(signedOn.headers.get('location') ?? 'x:').searchParams.get('code')).toBeTruthy()
  })

  test('may be in the environment, and become the one of the root key again', async () => {
    const key = Buffer.alloc(32, 7).toString('base64url')
    await using world = await createKeyWorld(undefined, { environment: { SEAL: key } })
    const server = await world.start()
    await world.operator.reseal({ env: 'SEAL' })
    await server[Symbol.asyncDispose]()
    const inEnvironment = (config: object) => ({
      ...config,
      keys: { encryptionKey: { env: 'SEAL' } },
    })
    const again = await world.start(inEnvironment)
    const known = await fetchKeyIds(again)
    await again[Symbol.asyncDispose]()
    const root = path.join(world.folder, 'portreeve.key')
    await world.operate(inEnvironment).reseal({ file: root })
    const last = await world.start()
    expect(await fetchKeyIds(last)).toEqual(known)
    expect(world.logged()).not.toContain(key)
  })

  test('may be unknown to a running server: then what it cannot sign is refused, and nothing else', async () => {
    await using world = await createKeyWorld()
    const server = await world.start()
    const tokens = await obtainTokens(server.issuer, OPENID)
    const file = path.join(world.folder, 'new.key')
    await world.operator.reseal({ file })
    const [rotation] = await world
      .operate(pointTo(file))
      .rotate({ algorithm: 'ES256', withdraws: true })
    const next = rotation?.next.kid
    await vi.waitFor(async () => expect(await fetchKeyIds(server)).toContain(next), SOON)
    expect(await fetchKeyIds(server)).toHaveLength(4)
    await expect(requestServiceToken(server, 'ES256')).rejects.toThrow(
      /token endpoint: 500 .*"server_error"/,
    )
    expect(await askUserinfo(server, tokens.access_token)).toBe(401)
    expect(kidOf(await requestServiceToken(server, 'EdDSA'))).not.toBe('')
    expect(await askSignOut(server, tokens.id_token)).toBe(200)
    expect(world.logged()).toContain('No key of ES256 can be opened')
    const restarted = await world.start(pointTo(file))
    expect(kidOf(await requestServiceToken(restarted, 'ES256'))).toBe(next)
  })

  test('is changed once: who does it again changes nothing', async () => {
    await using world = await createKeyWorld()
    await world.start()
    const file = path.join(world.folder, 'new.key')
    await world.operator.reseal({ file })
    const before = await world.stores.keys.list()
    expect(await world.operator.reseal({ file })).toMatchObject({ resealed: [] })
    expect(await world.operate(pointTo(file)).reseal({ file })).toMatchObject({ resealed: [] })
    expect(await world.stores.keys.list()).toEqual(before)
  })

  test('is needed for a new key: with another one nothing is made', async () => {
    await using world = await createKeyWorld()
    const server = await world.start()
    const file = path.join(world.folder, 'new.key')
    await world.operator.reseal({ file })
    const before = await world.stores.keys.list()
    for (const withdraws of [false, true]) {
      const rotating = world.operator.rotate({ algorithm: undefined, withdraws })
      await expect(rotating).rejects.toMatchObject({ code: 'misconfigured' })
    }
    const missing = path.join(world.folder, 'no.key')
    const rotating = world
      .operate(pointTo(missing))
      .rotate({ algorithm: undefined, withdraws: false })
    await expect(rotating).rejects.toThrow(/keys\.encryptionKey: the file .*no\.key does not exist/)
    await expect(world.start(pointTo(missing))).rejects.toThrow(/keys\.encryptionKey: the file/)
    expect(existsSync(missing)).toBe(false)
    expect(await world.stores.keys.list()).toEqual(before)
    expect(await fetchKeyIds(server)).toHaveLength(4)
  })
})

test('no private half is in a log, nor in what is published', async () => {
  await using world = await createKeyWorld()
  const server = await world.start()
  await world.operator.rotate({ algorithm: undefined, withdraws: false })
  await world.operator.rotate({ algorithm: 'RS256', withdraws: true })
  await vi.waitFor(async () => expect(await fetchKeyIds(server)).toHaveLength(7), SOON)
  const keys = (await (await fetch(`${server.issuer}/jwks`)).json()) as { keys: object[] }
  const members = new Set(keys.keys.flatMap((key) => Object.keys(key)))
  expect([...members].toSorted()).toEqual(['alg', 'crv', 'e', 'kid', 'kty', 'n', 'use', 'x', 'y'])
  const sealed = (await world.stores.keys.list()).flatMap((key) => key.sealedPrivateJwk ?? [])
  expect(sealed).toHaveLength(7)
  expect(sealed.filter((text) => world.logged().includes(text))).toEqual([])
})
