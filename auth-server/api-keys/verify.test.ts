import { describe, expect, test } from 'vitest'
import { openStores } from '../storage/stores.ts'
import { createGuessThrottle } from '../throttle.ts'
import type { Account } from '../accounts/account.ts'
import { generateApiKey, hashApiKey, type ApiKeyStore, type StoredApiKey } from './api-key.ts'
import { createApiKeyVerifier, type ApiKeyVerifierOptions } from './verify.ts'

const LIMIT = { attempts: 3, windowSeconds: 60 }
const LIMITS = { perAccount: LIMIT, perAddress: { attempts: 9, windowSeconds: 60 }, overall: LIMIT }
const ROOMY = { ...LIMITS, overall: { attempts: 1000, windowSeconds: 60 } }
const GATEWAY = { clientId: 'gateway', address: '192.0.2.1' }

const ALICE: Account = {
  id: 'acc_alice',
  username: 'alice',
  passwordHash: undefined,
  roles: ['reader'],
  groups: [],
  profile: {},
  disabled: false,
  accessEndedAt: undefined,
  owner: 'operator',
  createdAt: 0,
  updatedAt: 0,
}

async function start(options: ApiKeyVerifierOptions = {}) {
  await using cleanUp = new AsyncDisposableStack()
  let now = 1_767_225_600_000
  const clock = { now: () => now }
  const stores = cleanUp.use(await openStores('sqlite::memory:', clock))
  await stores.accounts.insert(ALICE)
  const refused: unknown[] = []
  const events = { apiKeyRefused: (facts: unknown) => void refused.push(facts) }
  const throttle = createGuessThrottle(ROOMY, { what: 'api_key' })
  const { apiKeys, accounts } = stores
  const verifyWith = (store: Pick<ApiKeyStore, 'findByHash' | 'recordUse'>) =>
    createApiKeyVerifier({ apiKeys: store, accounts, throttle, events, clock }, options)
  const verify = verifyWith(apiKeys)
  let count = 0
  const running = cleanUp.move()
  return {
    stores,
    verify,
    verifyWith,
    refused,
    turnClock: (milliseconds: number) => (now += milliseconds),
    async make(more: Partial<StoredApiKey> = {}) {
      const key = generateApiKey()
      count += 1
      const stored = storeKey({
        id: `key_${count}`,
        hash: hashApiKey(key),
        createdAt: now,
        ...more,
      })
      expect(await apiKeys.insert(stored, 50)).toBe('added')
      return key
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

function storeKey(more: Partial<StoredApiKey>): StoredApiKey {
  return {
    id: 'key_chosen',
    accountId: ALICE.id,
    name: 'Backup',
    resource: 'https://notes.example/',
    scopes: ['notes:read'],
    hash: '',
    createdAt: 0,
    expiresAt: undefined,
    lastUsedAt: undefined,
    revokedAt: undefined,
    ...more,
  }
}

const wrong = () => generateApiKey()

describe('an API key', () => {
  test('answers the key and its owner, both as they are now', async () => {
    await using it = await start()
    const key = await it.make()
    await it.stores.accounts.update({ ...ALICE, roles: ['editor'] })
    expect(await it.verify(key, GATEWAY)).toMatchObject({
      ok: true,
      value: { key: { id: 'key_1', scopes: ['notes:read'] }, owner: { roles: ['editor'] } },
    })
    expect(it.refused).toEqual([])
  })

  test.each([
    ['not_a_key', () => 'ABCDE'],
    ['mistyped', (key: string) => `${key.slice(0, -1)}${key.endsWith('0') ? '1' : '0'}`],
    ['unknown', wrong],
  ])('is told at once where it is %s, and names nobody', async (kind, change) => {
    await using it = await start()
    const key = await it.make()
    expect(await it.verify(change(key), GATEWAY)).toEqual({ ok: false, reason: { kind } })
    const facts = { reason: kind, clientId: 'gateway', keyId: undefined, accountId: undefined }
    expect(it.refused).toEqual([facts])
  })

  test('ends in the moment it expires in', async () => {
    await using it = await start()
    const key = await it.make({ expiresAt: 1_767_225_600_000 + 1000 })
    it.turnClock(999)
    expect(await it.verify(key, GATEWAY)).toMatchObject({ ok: true })
    it.turnClock(1)
    const reason = { kind: 'expired', key: { id: 'key_1' } }
    expect(await it.verify(key, GATEWAY)).toMatchObject({ ok: false, reason })
  })

  test('ends when it is revoked', async () => {
    await using it = await start()
    const key = await it.make()
    expect(await it.verify(key, GATEWAY)).toMatchObject({ ok: true })
    await it.stores.apiKeys.revoke('key_1')
    expect(await it.verify(key, GATEWAY)).toMatchObject({ reason: { kind: 'revoked' } })
    const facts = { clientId: 'gateway', keyId: 'key_1', accountId: ALICE.id }
    expect(it.refused).toEqual([{ reason: 'revoked', ...facts }])
  })

  test('is refused while its owner is disabled, even where it was not ended', async () => {
    await using it = await start()
    const key = await it.make()
    await it.stores.accounts.update({ ...ALICE, disabled: true })
    expect(await it.verify(key, GATEWAY)).toMatchObject({ reason: { kind: 'owner' } })
  })

  test('does not come back with an owner who was disabled and enabled', async () => {
    await using it = await start()
    const key = await it.make()
    await it.stores.accounts.updateAndEndAccess({ ...ALICE, disabled: true })
    await it.stores.accounts.update(ALICE)
    expect(await it.verify(key, GATEWAY)).toMatchObject({ reason: { kind: 'revoked' } })
  })

  test('is refused where its owner’s access ends while its use is being written', async () => {
    await using it = await start()
    const key = await it.make()
    const { apiKeys, accounts } = it.stores
    const slow: Pick<ApiKeyStore, 'findByHash' | 'recordUse'> = {
      ...apiKeys,
      async recordUse(id, use, notSince) {
        await apiKeys.recordUse(id, use, notSince)
        await accounts.updateAndEndAccess(ALICE)
      },
    }
    const verify = it.verifyWith(slow)
    expect(await verify(key, GATEWAY)).toMatchObject({ reason: { kind: 'revoked' } })
    expect(await it.stores.revocations.isRevoked('grant', 'key_1')).toBe(true)
  })

  test('is remembered as used, at most once a minute', async () => {
    await using it = await start()
    const key = await it.make()
    const use = async (milliseconds: number) => {
      it.turnClock(milliseconds)
      await it.verify(key, GATEWAY)
      return (await it.stores.apiKeys.findById('key_1'))?.lastUsedAt
    }
    const first = (await use(0)) ?? 0
    expect(first).toBeGreaterThan(0)
    expect(await use(59_999)).toBe(first)
    expect(await use(1)).toBe(first + 60_000)
  })
})

describe('wrong API keys', () => {
  test('are counted by client and address', async () => {
    await using it = await start()
    for (let count = 0; count < 3; count += 1) await it.verify(wrong(), GATEWAY)
    const refused = { ok: false, reason: { kind: 'throttled', retryAfterSeconds: 60 } }
    expect(await it.verify(wrong(), GATEWAY)).toEqual(refused)
    expect(await it.verify(wrong(), { ...GATEWAY, clientId: 'other' })).toMatchObject({
      reason: { kind: 'unknown' },
    })
  })

  test('keep out no key that was made, used before or not, and a right one resets nothing', async () => {
    await using it = await start()
    for (let count = 0; count < 5; count += 1) {
      await it.verify(wrong(), GATEWAY)
      expect(await it.verify(await it.make(), GATEWAY)).toMatchObject({ ok: true })
    }
    expect(await it.verify(wrong(), GATEWAY)).toMatchObject({ reason: { kind: 'throttled' } })
  })

  test('are no guesses where they have not the form of a key', async () => {
    await using it = await start()
    const key = await it.make()
    for (let count = 0; count < 20; count += 1) await it.verify(`${key}x`, GATEWAY)
    expect(await it.verify(key, GATEWAY)).toMatchObject({ ok: true })
  })

  test('leave a hundred right ones at once alone', async () => {
    await using it = await start()
    const keys = await Promise.all(Array.from({ length: 40 }, () => it.make()))
    const verified = await Promise.all(keys.map((key) => it.verify(key, GATEWAY)))
    expect(verified.filter(({ ok }) => ok)).toHaveLength(40)
  })
})

describe('a key that somebody chose', () => {
  const chosen = [storeKey({ hash: hashApiKey('ABCDE') })]

  test('is good where it was named, and has no form to keep to', async () => {
    await using it = await start({ chosen })
    expect(await it.verify('ABCDE', GATEWAY)).toMatchObject({
      value: { key: { id: 'key_chosen' } },
    })
    expect(await it.verify('ABCDF', GATEWAY)).toEqual({ ok: false, reason: { kind: 'not_a_key' } })
    expect(await it.verify('', GATEWAY)).toMatchObject({ ok: false })
  })

  test('is nothing elsewhere', async () => {
    await using it = await start()
    expect(await it.verify('ABCDE', GATEWAY)).toEqual({ ok: false, reason: { kind: 'not_a_key' } })
  })

  test('is not found by a hundred guesses at once, the right one among them', async () => {
    await using it = await start({ chosen })
    const guesses = Array.from({ length: 100 }, (_, n) => `guess ${n}`)
    const verified = await Promise.all(
      [...guesses, 'ABCDE'].map((text) => it.verify(text, GATEWAY)),
    )
    expect(verified.filter(({ ok }) => ok)).toEqual([])
    const looked = verified.filter((one) => !one.ok && one.reason.kind === 'not_a_key')
    expect(looked).toHaveLength(3)
  })

  test('costs a right one nothing', async () => {
    await using it = await start({ chosen })
    for (let count = 0; count < 20; count += 1) {
      expect(await it.verify('ABCDE', GATEWAY)).toMatchObject({ ok: true })
    }
  })
})
