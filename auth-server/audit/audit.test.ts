import { DatabaseSync } from 'node:sqlite'
import { describe, expect, test } from 'vitest'
import { makeFolder } from '../../test/support/folder.ts'
import { openStores } from '../storage/stores.ts'
import {
  chainRecords,
  createAuditKey,
  requireSameKey,
  verifyLog,
  type AuditEntry,
  type AuditRecord,
} from './audit.ts'

const KEY = createAuditKey(Buffer.alloc(32, 1))
const OTHER_KEY = createAuditKey(Buffer.alloc(32, 2))
const clock = { now: () => 1_750_000_000_000 }

function records(count: number, from = 1): AuditRecord[] {
  return Array.from({ length: count }, (_, index) => ({
    event: 'signed_in',
    by: 'user',
    at: 1000 + index,
    accountId: `acc_${from + index}`,
    requestId: undefined,
    facts: { n: from + index },
  }))
}

/** A log of so many entries in a file that others can reach, too. */
async function start(count: number, key = KEY) {
  await using cleanUp = new AsyncDisposableStack()
  const folder = cleanUp.use(makeFolder())
  const file = folder.file('a.sqlite')
  const { audit } = cleanUp.use(await openStores(`sqlite:${file}`, clock))
  const append = (more: readonly AuditRecord[]) =>
    audit.append(async (head) => chainRecords(key, head, more))
  await append(records(count))
  const running = cleanUp.move()
  return {
    audit,
    append,
    /** Behind the back of the program. */
    tamper(...statements: string[]) {
      using database = new DatabaseSync(file)
      for (const statement of statements) database.exec(statement)
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

describe('a whole log', () => {
  test('is as it was written, over several pages, and says its head', async () => {
    await using log = await start(2500)
    const [newest] = await log.audit.list({}, 1)
    const head = { sequence: 2500, hash: newest?.hash }
    expect(await verifyLog(log.audit, KEY)).toEqual({ ok: true, entries: 2500, head })
  })

  test('has hashes that nobody can make without the key', async () => {
    const [one] = chainRecords(KEY, undefined, records(1))
    const [two] = chainRecords(OTHER_KEY, undefined, records(1))
    expect(one?.hash).toMatch(/^[\w-]{8}\.[\w-]{43}$/)
    expect(one?.hash.split('.')).not.toEqual(two?.hash.split('.'))
    expect(one?.hash.slice(9)).not.toBe(two?.hash.slice(9))
  })

  test.each<[string, Partial<AuditRecord>]>([
    ['time', { at: 2000 }],
    ['event', { event: 'signed_out' }],
    ['actor', { by: 'operator' }],
    ['account', { accountId: 'acc_2' }],
    ['account, of which there is none', { accountId: undefined }],
    ['client', { clientId: 'web' }],
    ['request', { requestId: 'r' }],
    ['facts', { facts: { n: 2 } }],
  ])('has another hash for another %s', (_member, change) => {
    const [record] = records(1) as [AuditRecord]
    const hashes = [record, { ...record, ...change }].map(
      (one) => chainRecords(KEY, undefined, [one])[0]?.hash,
    )
    expect(new Set(hashes).size).toBe(2)
  })

  test('does not mistake one member for another', () => {
    const [record] = records(1) as [AuditRecord]
    const pairs: readonly (readonly [Partial<AuditRecord>, Partial<AuditRecord>])[] = [
      [
        { accountId: 'a', clientId: undefined },
        { accountId: undefined, clientId: 'a' },
      ],
      [
        { accountId: 'a","b', clientId: 'c' },
        { accountId: 'a', clientId: 'b","c' },
      ],
      [{ accountId: 'null' }, { accountId: undefined }],
    ]
    for (const pair of pairs) {
      const hashes = pair.map((change) => {
        const [entry] = chainRecords(KEY, undefined, [{ ...record, ...change }])
        return entry?.hash
      })
      expect(new Set(hashes).size).toBe(2)
    }
  })

  test('is written alike in whatever order the facts come', () => {
    const [record] = records(1) as [AuditRecord]
    const facts = [
      { a: 1, b: { c: [2, { d: 3, e: 4 }] } },
      { b: { c: [2, { e: 4, d: 3 }] }, a: 1 },
    ]
    const entries = facts.map((one) => chainRecords(KEY, undefined, [{ ...record, facts: one }])[0])
    expect(entries[0]).toEqual(entries[1])
    expect(entries[0]?.facts).toBe('{"a":1,"b":{"c":[2,{"d":3,"e":4}]}}')
  })
})

const COLUMNS = 'happened_at, event, actor, account_id, client_id, request_id, facts'

/** What somebody does who can write to the database, and where it is noticed. */
const TAMPERING: readonly (readonly [string, string[], number, AuditEntryPart])[] = [
  [
    'changes who it was',
    ["update audit_entry set account_id = 'acc_9' where sequence = 5"],
    5,
    'hash',
  ],
  [
    'takes away who it was',
    ['update audit_entry set account_id = null where sequence = 5'],
    5,
    'hash',
  ],
  ['changes what it was', ["update audit_entry set event = 'x' where sequence = 1"], 1, 'hash'],
  ['changes who did it', ["update audit_entry set actor = 'file' where sequence = 10"], 10, 'hash'],
  ['changes the time', ['update audit_entry set happened_at = 0 where sequence = 5'], 5, 'hash'],
  ['changes the facts', [`update audit_entry set facts = '{"n":6}' where sequence = 5`], 5, 'hash'],
  [
    'adds a space to the facts',
    [`update audit_entry set facts = '{ "n":5}' where sequence = 5`],
    5,
    'hash',
  ],
  ['changes the request', ["update audit_entry set request_id = '' where sequence = 5"], 5, 'hash'],
  ['changes a hash', ["update audit_entry set hash = 'x' where sequence = 5"], 5, 'hash'],
  ['changes a link', ["update audit_entry set previous = 'x' where sequence = 5"], 5, 'previous'],
  ['changes a place', ['update audit_entry set sequence = 50 where sequence = 5'], 5, 'sequence'],
  ['removes one in the middle', ['delete from audit_entry where sequence = 5'], 5, 'sequence'],
  ['removes the first', ['delete from audit_entry where sequence = 1'], 1, 'sequence'],
  [
    'removes one and closes the gap',
    [
      'delete from audit_entry where sequence = 5',
      'update audit_entry set sequence = sequence - 1 where sequence > 5',
    ],
    5,
    'previous',
  ],
  [
    'removes one and mends the link',
    [
      'delete from audit_entry where sequence = 5',
      'update audit_entry set sequence = sequence - 1 where sequence > 5',
      'update audit_entry set previous = (select hash from audit_entry where sequence = 4) where sequence = 5',
    ],
    5,
    'hash',
  ],
  [
    'swaps two',
    [
      'update audit_entry set sequence = 100 where sequence = 5',
      'update audit_entry set sequence = 5 where sequence = 6',
      'update audit_entry set sequence = 6 where sequence = 100',
    ],
    5,
    'previous',
  ],
  [
    'puts one in',
    [
      'update audit_entry set sequence = -sequence where sequence > 5',
      'update audit_entry set sequence = 1 - sequence where sequence < 0',
      `insert into audit_entry select 6, ${COLUMNS}, hash, hash from audit_entry where sequence = 5`,
    ],
    6,
    'hash',
  ],
  [
    'puts one between two',
    [
      `insert into audit_entry select 5.5, ${COLUMNS}, previous, hash from audit_entry where sequence = 5`,
    ],
    6,
    'sequence',
  ],
  [
    'puts one before the first',
    [`insert into audit_entry select 0, ${COLUMNS}, '', hash from audit_entry where sequence = 1`],
    1,
    'sequence',
  ],
  [
    'puts one at the end',
    [
      `insert into audit_entry select 11, ${COLUMNS}, hash, hash from audit_entry where sequence = 10`,
    ],
    11,
    'hash',
  ],
  [
    'puts one far away',
    [
      `insert into audit_entry select 9007199254740991, ${COLUMNS}, hash, hash from audit_entry where sequence = 10`,
    ],
    11,
    'sequence',
  ],
  [
    'repeats the last one',
    [
      `insert into audit_entry select 11, ${COLUMNS}, previous, hash from audit_entry where sequence = 10`,
    ],
    11,
    'previous',
  ],
]

type AuditEntryPart = 'sequence' | 'previous' | 'hash'

describe('a log is found out where somebody', () => {
  test.each(TAMPERING)('%s', async (_what, statements, sequence, what) => {
    await using log = await start(10)
    log.tamper(...statements)
    const verdict = await verifyLog(log.audit, KEY)
    expect(verdict).toEqual({
      ok: false,
      reason: { sequence, what, expected: expect.any(String), found: expect.any(String) },
    })
  })

  test('writes it anew from some place on, with hashes made without the key', async () => {
    await using log = await start(10)
    const forged = chainRecords(OTHER_KEY, (await log.audit.page(3, 1))[0], records(6, 105))
    log.tamper('delete from audit_entry where sequence > 4')
    await log.audit.append(async () => forged)
    const [first] = forged as [AuditEntry]
    expect(await verifyLog(log.audit, KEY)).toMatchObject({
      ok: false,
      reason: { sequence: 5, what: 'hash', found: first.hash },
    })
    // That it goes on rightly after that mends nothing.
    await log.append(records(3))
    expect(await verifyLog(log.audit, KEY)).toMatchObject({ ok: false, reason: { sequence: 5 } })
  })

  test('puts an entry back that was in its place once, and mends the link to it', async () => {
    await using log = await start(5)
    log.tamper('create table kept as select * from audit_entry where sequence = 5')
    log.tamper('delete from audit_entry where sequence = 5')
    await log.append(records(2, 100))
    expect(await verifyLog(log.audit, KEY)).toMatchObject({ ok: true, entries: 6 })
    log.tamper(
      'delete from audit_entry where sequence = 5',
      'insert into audit_entry select * from kept',
      'update audit_entry set previous = (select hash from kept) where sequence = 6',
    )
    expect(await verifyLog(log.audit, KEY)).toMatchObject({
      ok: false,
      reason: { sequence: 6, what: 'hash' },
    })
  })

  test('writes under another key, under its name or that of ours', async () => {
    await using log = await start(3, OTHER_KEY)
    expect(await verifyLog(log.audit, KEY)).toMatchObject({
      ok: false,
      reason: { sequence: 1, what: 'hash', found: expect.stringMatching(`^${OTHER_KEY.id}[.]`) },
    })
    log.tamper(`update audit_entry set hash = '${KEY.id}' || substr(hash, 9)`)
    expect(await verifyLog(log.audit, KEY)).toMatchObject({ ok: false, reason: { sequence: 1 } })
  })
})

describe('the end of a log', () => {
  test('can be cut off, unless its head was noted', async () => {
    await using log = await start(10)
    const whole = await verifyLog(log.audit, KEY)
    const noted = whole.ok ? whole.head : undefined
    expect(noted).toMatchObject({ sequence: 10 })
    log.tamper('delete from audit_entry where sequence > 8')
    expect(await verifyLog(log.audit, KEY)).toMatchObject({ ok: true, entries: 8 })
    expect(await verifyLog(log.audit, KEY, noted)).toMatchObject({
      ok: false,
      reason: { sequence: 10, what: 'head', expected: noted?.hash },
    })
    // The server itself has gone on from there.
    await log.append(records(5))
    expect(await verifyLog(log.audit, KEY)).toMatchObject({ ok: true, entries: 13 })
    const [tenth] = await log.audit.page(9, 1)
    expect(await verifyLog(log.audit, KEY, noted)).toEqual({
      ok: false,
      reason: { sequence: 10, what: 'head', expected: noted?.hash, found: tenth?.hash },
    })
  })

  test('may be anywhere after a head that was noted', async () => {
    await using log = await start(10)
    const [fourth] = (await log.audit.page(3, 1)) as [AuditEntry]
    const noted = { sequence: fourth.sequence, hash: fourth.hash }
    expect(await verifyLog(log.audit, KEY, noted)).toMatchObject({ ok: true, entries: 10 })
  })
})

test('nothing is added to a log that was written under another key', async () => {
  await using log = await start(1)
  await expect(requireSameKey(log.audit, KEY)).resolves.toBeUndefined()
  await expect(requireSameKey(log.audit, OTHER_KEY)).rejects.toMatchObject({
    code: 'misconfigured',
    message: expect.stringContaining('written under another root key'),
  })
  log.tamper('delete from audit_entry')
  await expect(requireSameKey(log.audit, OTHER_KEY)).resolves.toBeUndefined()
})
