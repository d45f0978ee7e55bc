import { createPrivateKey, createPublicKey, sign, verify, type JsonWebKey } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { Client } from 'pg'
import { describe, expect, test } from 'vitest'
import { createPasswordHasher } from '../../auth-server/accounts/password.ts'
import { createAuditKey, verifyLog } from '../../auth-server/audit/audit.ts'
import { verifyClientSecret } from '../../auth-server/clients/secret.ts'
import { deriveKey, unseal } from '../../auth-server/keys/seal.ts'
import type { Database } from '../../auth-server/storage/database.ts'
import { migrate, MIGRATIONS } from '../../auth-server/storage/migrate.ts'
import type { Receiver } from '../../auth-server/revocation/receiver.ts'
import { openDatabase, openStores, type Stores } from '../../auth-server/storage/stores.ts'
import { createTestClock } from '../support/clock.ts'
import {
  ACCOUNTS,
  API_KEYS,
  ANNS_PASSWORD,
  CLIENTS,
  DEVICE_CODE,
  DUE_LOGOUT,
  FEED_ID,
  INVITE,
  KID,
  MODELS,
  NEXT_SESSION_OF_ANN,
  OLD_REVOCATIONS,
  RECEIVER,
  REVOCATIONS,
  ROBOT_SECRET,
  ROOT_KEY,
  SESSION_OF_ANN,
  UNUSABLE,
  USE_OF_GRANT,
  USE_OF_KEYS,
  USE_OF_SESSION,
  WEB_SECRET,
} from './expected.ts'
import type { StorageEngine } from '../storage/world.ts'

const FOLDER = path.join(import.meta.dirname, 'data')
const NAMES = MIGRATIONS.map(({ name }) => name)
const clock = createTestClock()
const hasher = createPasswordHasher({ concurrency: 2, queue: 10 })

/** What every version has left behind is read by this one. */
export function testMigrations(engine: StorageEngine): void {
  describe(`migrations on ${engine.name}`, () => {
    test('have a file of data each', () => {
      expect(readdirSync(FOLDER).toSorted()).toEqual(NAMES.map((name) => `${name}.sql`))
    })

    test.each(NAMES)('read what was there after %s', async (name) => {
      await using place = await engine.create()
      await makeOld(place.url, name)
      await using stores = await openStores(place.url, clock)
      expect(await stores.accounts.list()).toEqual(ACCOUNTS)
      expect(await stores.clients.list()).toEqual(CLIENTS)
      await expectSecrets(stores)
      await expectModels(stores, isSince(name, '0002-session-handover'))
      await expectRevocations(stores, isSince(name, '0003-revocation'))
      await expectAudit(stores, isSince(name, '0004-audit') ? 2 : 0)
      const hasKeys = isSince(name, '0005-api-keys')
      const hasUses = isSince(name, '0009-last-use')
      const keys = API_KEYS.map((key) => (hasUses ? { ...key, ...USE_OF_KEYS.get(key.id) } : key))
      expect(await stores.apiKeys.list()).toEqual(hasKeys ? keys : [])
      await expectUses(stores, hasUses)
      await expectLogouts(stores, isSince(name, '0006-logout-delivery'))
      await expectRegistrations(stores, isSince(name, '0007-registration'))
      const unusable = isSince(name, '0010-unusable-revocations') ? UNUSABLE : []
      await expectFeed(stores, isSince(name, '0008-revocation-feed'), { ...RECEIVER, unusable })
    })

    test.each(NAMES)('go on with what was there after %s', async (name) => {
      await using place = await engine.create()
      await makeOld(place.url, name)
      await using stores = await openStores(place.url, clock)
      await expectEnded(stores)
      expect(await stores.accounts.remove(ACCOUNTS[0]?.id ?? '')).toBe(true)
      await expectLast(stores)
    })

    test('of several programs that start at once are done once', async () => {
      await using place = await engine.create()
      await makeOld(place.url, NAMES[0] ?? '')
      const opened = await Promise.all(
        Array.from({ length: 5 }, () => openStores(place.url, clock)),
      )
      for (const stores of opened) await stores[Symbol.asyncDispose]()
      await using database = openDatabase(place.url)
      expect((await readSteps(database)).map((step) => step.name).toSorted()).toEqual(NAMES)
    })

    test('refuse an older program, and leave the database as it is', async () => {
      await using place = await engine.create()
      await makeOld(place.url, NAMES.at(-1) ?? '')
      await using database = openDatabase(place.url)
      const before = await readSteps(database)
      await expect(migrate(database, clock, MIGRATIONS.slice(0, -1))).rejects.toMatchObject({
        code: 'misconfigured',
        message: `The database was made by a newer version of Portreeve (it has ${NAMES.at(-1)}). Run that version, or point at another database.`,
      })
      expect(await readSteps(database)).toEqual(before)
    })

    test('that fail change nothing', async () => {
      await using place = await engine.create()
      await makeOld(place.url, NAMES[0] ?? '')
      await using database = openDatabase(place.url)
      const before = await readSteps(database)
      const broken = { name: '9999-broken', statements: ['delete from account', 'no statement'] }
      await expect(migrate(database, clock, [...MIGRATIONS, broken])).rejects.toThrow(
        'syntax error',
      )
      expect(await readSteps(database)).toEqual(before)
      await using stores = await openStores(place.url, clock)
      expect(await stores.accounts.list()).toHaveLength(ACCOUNTS.length)
    })
  })
}

function isSince(name: string, step: string): boolean {
  return NAMES.indexOf(name) >= NAMES.indexOf(step)
}

/** A database as the version left it whose last step has this name. */
async function makeOld(url: string, name: string): Promise<void> {
  const text = readFileSync(path.join(FOLDER, `${name}.sql`), 'utf8')
  {
    await using database = openDatabase(url)
    await migrate(database, clock, MIGRATIONS.slice(0, NAMES.indexOf(name) + 1))
    const step = (await readSteps(database)).find((it) => it.name === name)
    // A step that was released never changes.
    expect(/^-- checksum (\S+)$/m.exec(text)?.[1]).toBe(step?.checksum)
  }
  await run(url, text)
}

/** Past our own code, which may be newer than the data. */
async function run(url: string, statements: string): Promise<void> {
  if (url.startsWith('sqlite:')) {
    using database = new DatabaseSync(url.slice('sqlite:'.length))
    database.exec(statements)
    return
  }
  const client = new Client({ connectionString: url })
  await client.connect()
  await client.query(statements).finally(() => client.end())
}

function readSteps({ kysely }: Database) {
  return kysely.selectFrom('schema_migration').selectAll().orderBy('name').execute()
}

async function expectSecrets({ accounts, clients, keys }: Stores): Promise<void> {
  const ann = await accounts.findByUsername('ann')
  expect(await hasher.verify(ANNS_PASSWORD, ann?.passwordHash ?? '')).toBe(true)
  const [web, robot] = await Promise.all([clients.findById('web'), clients.findById('robot')])
  expect(await verifyClientSecret(WEB_SECRET, web?.secretHash ?? '', hasher)).toBe(true)
  expect(await verifyClientSecret(ROBOT_SECRET, robot?.secretHash ?? '', hasher)).toBe(true)
  const stored = await keys.list()
  expect(stored.map(({ kid }) => kid).toSorted()).toEqual([KID, 'a-key-that-is-gone'])
  const key = stored.find(({ kid }) => kid === KID)
  const privateJwk = unseal(deriveKey(ROOT_KEY, 'seal'), key?.sealedPrivateJwk ?? '', KID)
  const text = Buffer.from('a text')
  const signed = sign(
    'sha256',
    text,
    createPrivateKey({ key: JSON.parse(privateJwk) as JsonWebKey, format: 'jwk' }),
  )
  expect(
    verify('sha256', text, createPublicKey({ key: key?.publicJwk ?? {}, format: 'jwk' }), signed),
  ).toBe(true)
}

async function expectModels({ models }: Stores, hasHandover: boolean): Promise<void> {
  for (const { model, ...row } of [...MODELS, ...(hasHandover ? [NEXT_SESSION_OF_ANN] : [])]) {
    expect(await models.find(model, row.key)).toEqual({
      consumedAt: undefined,
      replaces: undefined,
      ...row,
      payload: expect.objectContaining(row.payload),
    })
  }
  const session = hasHandover ? NEXT_SESSION_OF_ANN : SESSION_OF_ANN
  expect(await models.findByUid('Session', 'uid-of-ann')).toMatchObject({ key: session.key })
  const found = await models.findByUserCode('DeviceCode', 'user-code-of-tool')
  expect(found).toMatchObject({ key: DEVICE_CODE.key })
}

async function expectRevocations({ revocations }: Stores, hasLog: boolean): Promise<void> {
  const expected = hasLog ? REVOCATIONS : OLD_REVOCATIONS
  expect(await revocations.list(0, 100)).toEqual(expected)
  for (const { kind, subject } of expected) {
    expect(await revocations.isRevoked(kind, subject)).toBe(true)
  }
}

async function expectAudit({ audit }: Stores, entries: number): Promise<void> {
  const verdict = await verifyLog(audit, createAuditKey(deriveKey(ROOT_KEY, 'audit')))
  expect(verdict).toMatchObject({ ok: true, entries })
}

async function expectLogouts({ logouts }: Stores, hasQueue: boolean): Promise<void> {
  const soon = clock.now() + 60_000
  expect(await logouts.listDue('web', soon, 10)).toEqual(hasQueue ? [DUE_LOGOUT] : [])
  expect(await logouts.listDue('spa', soon, 10)).toEqual([])
  expect(await logouts.nextClient('operator', '')).toBe(hasQueue ? 'spa' : undefined)
}

async function expectFeed(
  { revocations, receivers }: Stores,
  isThere: boolean,
  receiver: Receiver,
): Promise<void> {
  const id = await revocations.feedId()
  expect(id).toMatch(isThere ? FEED_ID : /^[\w-]{22}$/)
  expect(await receivers.listSeen(0, 10)).toEqual(isThere ? [receiver] : [])
}

async function expectUses({ ownAccess }: Stores, areThere: boolean): Promise<void> {
  const ann = ACCOUNTS[0]?.id ?? ''
  const [session] = (await ownAccess.listSessions(ann, 10)).sessions
  expect(session).toMatchObject({ uid: 'uid-of-ann' })
  expect(session?.lastUse).toEqual(areThere ? USE_OF_SESSION : undefined)
  const grants = await ownAccess.listGrants(ann, 10, '')
  const grant = grants.find(({ id }) => id === 'grant-of-web')
  expect(grant).toMatchObject({ clientId: 'web' })
  expect(grant?.lastUse).toEqual(areThere ? USE_OF_GRANT : undefined)
}

async function expectRegistrations({ registrations }: Stores, areThere: boolean): Promise<void> {
  expect(await registrations.listInvites()).toEqual(areThere ? [INVITE] : [])
  const hash = await registrations.findTokenHash('tool')
  expect(hash).toBe(areThere ? 'hash-of-the-token-of-the-tool' : undefined)
}

/** What has ended stays ended, and what is used twice ends. */
async function expectEnded({ models, revocations }: Stores): Promise<void> {
  const expiresAt = clock.now() + 60_000
  const revoked = { grantId: 'grant-that-was-revoked', payload: {}, expiresAt }
  const token = { kind: 'put', model: 'AccessToken', key: 'late', ...revoked } as const
  expect(await models.apply([token])).toMatchObject({ outcome: 'lost' })
  const ended = [
    { key: 'session-that-ended', uid: 'another-uid' },
    { key: 'another-key', uid: 'uid-that-ended' },
  ]
  for (const session of ended) {
    await models.apply([{ kind: 'put', model: 'Session', payload: {}, expiresAt, ...session }])
    expect(await models.find('Session', session.key)).toBeUndefined()
  }
  const used = {
    kind: 'consume',
    model: 'RefreshToken',
    key: 'refresh-token-that-was-used',
  } as const
  expect(await models.apply([used])).toMatchObject({ outcome: 'lost', grantId: 'grant-of-web' })
  expect(await models.find('RefreshToken', 'refresh-token-that-is-next')).toBeUndefined()
  expect(await revocations.isRevoked('grant', 'grant-of-web')).toBe(true)
}

/** Nothing is left of the person who was removed, and the log goes on where it was. */
async function expectLast({ models, revocations, apiKeys }: Stores): Promise<void> {
  expect(await models.findByUid('Session', 'uid-of-ann')).toBeUndefined()
  expect(await apiKeys.listByAccount(ACCOUNTS[0]?.id ?? '')).toEqual([])
  expect(await revocations.isRevoked('session', 'sid-of-web')).toBe(true)
  const log = await revocations.list(0, 100)
  const places = log.map(({ sequence }) => sequence)
  expect(places).toEqual(Array.from(places, (_, index) => (places[0] ?? 0) + index))
  expect(await models.purge(clock.now() + 10 * 365 * 86_400_000, 100)).toBeGreaterThan(0)
}
