import { createHash } from 'node:crypto'
import * as fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { isBearableHash } from '../../auth-server/accounts/phc.ts'
import { createPasswordHasher } from '../../auth-server/accounts/password.ts'
import { createOperations, type Operations } from '../../auth-server/admin/operations.ts'
import { prepareConfig } from '../../auth-server/config/load.ts'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { PortreeveError } from '../../auth-server/errors.ts'
import { createEvents } from '../../auth-server/events.ts'
import { createLog } from '../../auth-server/log.ts'
import { openStores, type Stores } from '../../auth-server/storage/stores.ts'
import { createTestClock } from '../support/clock.ts'
import { tryOut } from './seed.ts'

const RUNS = 400
const REFUSALS = new Set(['invalid_input', 'read_only', 'conflict'])
const CONFIG: ConfigInput = {
  roles: { reader: { scopes: ['notes:read'] } },
  resources: [
    {
      identifier: 'https://notes.example/',
      audience: 'notes',
      name: 'Notes',
      scopes: { 'notes:read': { description: 'Read your notes' } },
    },
  ],
}
const HASH =
  '$argon2id$v=19$m=19456,t=2,p=1$Ks3tSL/eyp60FD98fCUo/w$kdJECPyKGb4NoFnK3w5h5yJfImOQmEUMJlGkMpt62MY'
const VICTIM = 'acc_VVVVVVVVVVVVVVVVVVVVVA'

let stores: Stores
let operations: Operations

beforeAll(async () => {
  const clock = createTestClock()
  stores = await openStores('sqlite::memory:', clock)
  const hasher = createPasswordHasher({ concurrency: 1, queue: 8 })
  const collaborators = { ...stores, hasher, clock, events: createEvents(createLog('silent')) }
  operations = createOperations(collaborators, { ...prepareConfig(CONFIG), file: undefined })
  await stores.accounts.insert({
    id: VICTIM,
    username: 'victim',
    passwordHash: HASH,
    roles: ['reader'],
    groups: [],
    profile: {},
    disabled: false,
    accessEndedAt: undefined,
    owner: 'file',
    createdAt: 1,
    updatedAt: 1,
  })
})
afterAll(() => stores[Symbol.asyncDispose]())

/** What mistakes and attacks are made of, beside whatever comes. */
const value = fc.oneof(
  { weight: 3, arbitrary: fc.jsonValue({ maxDepth: 3 }) },
  {
    weight: 2,
    arbitrary: fc.constantFrom<unknown>(
      VICTIM,
      'victim',
      'VICTIM',
      'notes',
      'https://notes.example/',
      HASH,
      HASH.replace('19456', '4294967295'),
      `sha256:${'A'.repeat(43)}`,
      '../../etc/passwd',
      "'; drop table account; --",
      '\u0000',
      '\ud800',
      '__proto__',
      Number.MAX_SAFE_INTEGER,
      [],
      {},
    ),
  },
)

const member = fc.constantFrom(
  'id',
  'username',
  'passwordHash',
  'secretHash',
  'password',
  'secret',
  'owner',
  'roles',
  'groups',
  'profile',
  'disabled',
  'authMethod',
  'grants',
  'redirectUris',
  'scopes',
  'createdAt',
  'expiresAt',
  'user',
  'resource',
  'hash',
  '__proto__',
  'constructor',
  'toString',
)

/** A sound entry of which some members are something else. */
const spoil = (sound: object) =>
  fc.array(fc.tuple(member, value), { maxLength: 3 }).map((changes) => {
    const text = changes.map(([name, it]) => `,${JSON.stringify(name)}:${JSON.stringify(it)}`)
    // As text, because `__proto__` cannot be set.
    return `${JSON.stringify(sound).slice(0, -1)}${text.join('')}}`
  })

const user = fc
  .string({ minLength: 1, maxLength: 12, unit: 'grapheme' })
  .chain((username) => spoil({ username, passwordHash: HASH, roles: ['reader'] }))
const client = fc
  .stringMatching(/^[a-z]{1,8}$/)
  .chain((id) => spoil({ id, authMethod: 'none', redirectUris: ['https://app.example/'] }))

const apiKey = fc.stringMatching(/^[A-Z][a-z]{20}A$/).chain((name) =>
  spoil({
    id: `key_${name}`,
    user: 'victim',
    name,
    resource: 'https://notes.example/',
    scopes: ['notes:read'],
    hash: createHash('sha256').update(name).digest('base64url'),
    createdAt: '2026-01-01T00:00:00Z',
  }),
)

const document = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .tuple(
        fc.array(user, { maxLength: 3 }),
        fc.array(client, { maxLength: 3 }),
        fc.array(apiKey, { maxLength: 2 }),
      )
      .map(
        ([users, clients, apiKeys]) =>
          `{"version":1,"users":[${users.join()}],"clients":[${clients.join()}],"apiKeys":[${apiKeys.join()}]}`,
      ),
  },
  {
    weight: 1,
    arbitrary: value.map((config) => JSON.stringify({ version: 1, config })),
  },
  { weight: 1, arbitrary: value.map((it) => JSON.stringify(it) ?? '') },
  { weight: 1, arbitrary: fc.string({ maxLength: 200 }) },
)

const snapshot = async () =>
  JSON.stringify([
    await stores.accounts.list(),
    await stores.clients.list(),
    await stores.apiKeys.list(),
  ])

test(
  'no document becomes somebody else, or leaves what could not be',
  { timeout: 120_000 },
  async () => {
    const victim = await stores.accounts.findById(VICTIM)
    const counts = { refused: 0, imported: 0 }
    await tryOut(
      fc.asyncProperty(document, async (text) => {
        const before = await snapshot()
        const wasDone = await isImported(text)
        counts[wasDone ? 'imported' : 'refused'] += 1
        expect(wasDone || (await snapshot()) === before).toBe(true)
        expect(await stores.accounts.findById(VICTIM)).toEqual(victim)
        const accounts = await stores.accounts.list()
        const clients = await stores.clients.list()
        expect(new Set(accounts.map(({ id }) => id)).size).toBe(accounts.length)
        for (const { id, username, owner, roles, passwordHash } of accounts) {
          if (id === VICTIM) continue
          expect(id).toMatch(/^acc_[\w-]{22}$/)
          expect([username, owner]).toEqual([username.toLowerCase(), 'operator'])
          expect(roles.filter((role) => role !== 'reader')).toEqual([])
          expect(passwordHash === undefined || isBearableHash(passwordHash)).toBe(true)
        }
        for (const { id, owner } of clients) {
          expect(id).not.toMatch(/^acc_|^notes$|^https:/)
          expect(owner).toBe('operator')
        }
        const known = new Set(accounts.map(({ id }) => id))
        for (const key of await stores.apiKeys.list()) {
          expect(key.id).toMatch(/^key_[\w-]{22}$/)
          expect(known).toContain(key.accountId)
          expect([key.resource, key.scopes.filter((scope) => scope !== 'notes:read')]).toEqual([
            'https://notes.example/',
            [],
          ])
          expect(key.hash).toMatch(/^[\w-]{43}$/)
        }
        expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
      }),
      RUNS,
    )
    console.log(counts)
    expect(Math.min(counts.refused, counts.imported)).toBeGreaterThan(5)
  },
)

async function isImported(text: string): Promise<boolean> {
  try {
    await operations.transfer.import(text, { isDryRun: false })
    return true
  } catch (error) {
    if (error instanceof PortreeveError && REFUSALS.has(error.code)) return false
    throw error
  }
}
