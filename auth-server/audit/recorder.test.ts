import { DatabaseSync } from 'node:sqlite'
import { describe, expect, test } from 'vitest'
import { createTestClock } from '../../test/support/clock.ts'
import { makeFolder } from '../../test/support/folder.ts'
import { createLog, currentRequest } from '../log.ts'
import { openStores } from '../storage/stores.ts'
import { createAuditKey, verifyLog, type AuditEvent, type AuditStore } from './audit.ts'
import { createAuditRecorder } from './recorder.ts'

const KEY = createAuditKey(Buffer.alloc(32, 1))
const MINUTE = 60_000
/** A hundred commits and more. */
const PATIENCE = { timeout: 30_000 }

/** A recorder on a real file. `wrap` stands between the recorder and its store. */
async function start(wrap: (store: AuditStore) => Pick<AuditStore, 'append'> = (store) => store) {
  await using cleanUp = new AsyncDisposableStack()
  const folder = cleanUp.use(makeFolder())
  const file = folder.file('a.sqlite')
  const clock = createTestClock()
  const { audit } = cleanUp.use(await openStores(`sqlite:${file}`, clock))
  const lines: string[] = []
  const log = createLog('info', { write: (line) => void lines.push(line) })
  const counted = { waiting: 0, batches: [] as number[], failed: 0, lost: 0, leftOut: 0 }
  const meter = {
    waiting: (entries: number) => void (counted.waiting = entries),
    wrote: (entries: number) => void counted.batches.push(entries),
    failed: () => void (counted.failed += 1),
    lost: (entries: number) => void (counted.lost += entries),
    leftOut: () => void (counted.leftOut += 1),
  }
  const recorder = createAuditRecorder({ store: wrap(audit), key: KEY, clock, log, meter })
  const running = cleanUp.move()
  return {
    ...recorder,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
    /** As when the server stops: the database is closed after it. */
    stop: () => recorder[Symbol.asyncDispose](),
    audit,
    clock,
    counted,
    logged: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>),
    read: () => audit.page(undefined, 100_000),
    /** Keeps everybody else from writing until it is disposed of. */
    lock(): Disposable {
      const database = new DatabaseSync(file)
      database.exec('begin immediate')
      return { [Symbol.dispose]: () => database.close() }
    },
  }
}

function event(n: number, by: AuditEvent['by'] = 'user'): AuditEvent {
  return { event: 'e', by, accountId: 'acc_a', facts: { n } }
}

test('writes what was recorded with its time and its request, in the order in which it came', async () => {
  await using it = await start()
  currentRequest.run({ requestId: 'one' }, () => it.record(event(1)))
  it.clock.advance(500)
  currentRequest.run({ requestId: 'two' }, () => it.record(event(2)))
  it.record(event(3))
  const now = it.clock.now()
  await it.flush()
  expect(await it.read()).toMatchObject([
    { sequence: 1, at: now - 500, requestId: 'one', facts: '{"n":1}' },
    { sequence: 2, at: now, requestId: 'two', facts: '{"n":2}' },
    { sequence: 3, at: now, requestId: undefined, facts: '{"n":3}' },
  ])
  expect(it.counted).toMatchObject({ waiting: 0, failed: 0, lost: 0 })
})

test('writes by itself, and its own lines in the log belong to no request', async () => {
  const { promise, resolve } = Promise.withResolvers<void>()
  await using it = await start((store) => ({
    append: async (extend) => {
      await store.append(extend)
      resolve()
    },
  }))
  currentRequest.run({ requestId: 'one' }, () => it.record(event(1)))
  await promise
  expect(await it.read()).toHaveLength(1)
  await it.stop()
  expect(it.logged()).toMatchObject([{ event: 'audit_head', sequence: 1 }])
  expect(it.logged()[0]).not.toHaveProperty('requestId')
})

test('flushes nothing where there is nothing, and once where there is', async () => {
  await using it = await start()
  await it.flush()
  expect(await it.read()).toEqual([])
  it.record(event(1))
  await Promise.all([it.flush(), it.flush()])
  await it.flush()
  expect(await it.read()).toHaveLength(1)
  expect(it.counted.batches).toEqual([1])
})

describe('while the log cannot be written', () => {
  test('everything waits, and is written when that is over', async () => {
    await using it = await start()
    const lock = it.lock()
    for (let n = 1; n <= 300; n += 1) it.record(event(n))
    expect(it.counted.waiting).toBe(300)
    expect(await it.read()).toEqual([])
    lock[Symbol.dispose]()
    await it.flush()
    expect(await it.read()).toHaveLength(300)
    expect(await verifyLog(it.audit, KEY)).toMatchObject({ ok: true, entries: 300 })
    expect(it.counted.waiting).toBe(0)
  })

  test(
    'it says that it is behind, then loses what is too much, and the log says how much that was',
    PATIENCE,
    async () => {
      await using it = await start()
      const lock = it.lock()
      for (let n = 1; n < 8000; n += 1) it.record(event(n))
      expect(it.isBehind()).toBe(false)
      it.record(event(8000))
      expect(it.isBehind()).toBe(true)
      for (let n = 8001; n <= 10_007; n += 1) it.record(event(n))
      expect(it.counted).toMatchObject({ waiting: 10_000, lost: 7 })
      expect(it.logged()).toMatchObject([{ level: 50, event: 'audit_overflow', entries: 10_000 }])
      lock[Symbol.dispose]()
      await it.flush()
      expect(it.isBehind()).toBe(false)
      const entries = await it.read()
      expect(entries).toHaveLength(10_001)
      expect(entries.filter(({ event: name }) => name !== 'e')).toMatchObject([
        { event: 'audit_entries_lost', by: 'server', facts: '{"entries":7}' },
      ])
      expect(await verifyLog(it.audit, KEY)).toMatchObject({ ok: true, entries: 10_001 })
    },
  )

  test('a flush gives up after a few attempts, and nothing is lost by that', async () => {
    let isBroken = true
    await using it = await start((store) => ({
      append: (extend) => (isBroken ? Promise.reject(new Error('no disk')) : store.append(extend)),
    }))
    it.record(event(1))
    await expect(it.flush()).rejects.toThrow('no disk')
    expect(it.counted).toMatchObject({ failed: 3, waiting: 1, lost: 0 })
    expect(it.logged()).toMatchObject([
      { level: 50, event: 'audit_write_failed', waiting: 1, failures: 1 },
      { failures: 2 },
      { failures: 3, err: { message: 'no disk' } },
    ])
    isBroken = false
    it.record(event(2))
    await it.flush()
    expect(await it.read()).toMatchObject([{ facts: '{"n":1}' }, { facts: '{"n":2}' }])
  })

  test('a server that stops says how much it takes with it', async () => {
    await using it = await start(() => ({ append: () => Promise.reject(new Error('no disk')) }))
    it.record(event(1))
    it.record(event(2))
    await it.stop()
    expect(it.logged().at(-1)).toMatchObject({
      level: 50,
      event: 'audit_entries_lost',
      entries: 2,
    })
    expect(it.counted.lost).toBe(2)
  })
})

test('writes once what was written although the connection was lost before it was answered', async () => {
  let failures = 2
  await using it = await start((store) => ({
    async append(extend) {
      await store.append(extend)
      if ((failures -= 1) >= 0) throw new Error('connection lost')
    },
  }))
  for (let n = 1; n <= 5; n += 1) it.record(event(n))
  // Somebody else may be next before it is tried again.
  await it.flush()
  it.record(event(6))
  await it.flush()
  const entries = await it.read()
  expect(entries.map(({ facts }) => facts)).toEqual([1, 2, 3, 4, 5, 6].map((n) => `{"n":${n}}`))
  expect(it.counted.failed).toBe(2)
  expect(await verifyLog(it.audit, KEY)).toMatchObject({ ok: true, entries: 6 })
})

test('writes again what was lost together with the connection, after what another has written since', async () => {
  let isFirst = true
  await using it = await start((store) => ({
    async append(extend) {
      if (!isFirst) {
        await store.append(extend)
        return
      }
      isFirst = false
      const undone = new Error('connection lost')
      await store
        .append(async (...log) => {
          await extend(...log)
          throw undone
        })
        .catch(() => {})
      const other = createAuditRecorder({
        store,
        key: KEY,
        clock: it.clock,
        log: createLog('silent'),
      })
      other.record(event(100))
      await other.flush()
      throw undone
    },
  }))
  it.record(event(1))
  await it.flush()
  expect((await it.read()).map(({ facts }) => facts)).toEqual(['{"n":100}', '{"n":1}'])
  expect(await verifyLog(it.audit, KEY)).toMatchObject({ ok: true, entries: 2 })
})

describe('of what strangers cause', () => {
  test('records a hundred a minute, says where that was reached, and counts the rest', async () => {
    await using it = await start()
    for (let n = 1; n <= 250; n += 1) it.record(event(n, 'stranger'))
    it.record(event(251))
    it.clock.advance(MINUTE)
    for (let n = 301; n <= 350; n += 1) it.record(event(n, 'stranger'))
    await it.flush()
    const entries = await it.read()
    expect(entries).toHaveLength(100 + 1 + 1 + 50)
    expect(entries[100]).toMatchObject({
      event: 'audit_limited',
      by: 'server',
      facts: '{"entries":100,"windowMs":60000}',
    })
    expect(entries[101]).toMatchObject({ facts: '{"n":251}' })
    expect(entries[102]).toMatchObject({ facts: '{"n":301}' })
    expect(it.counted.leftOut).toBe(150)
  })

  test('goes on counting where the clock is turned back', async () => {
    await using it = await start()
    it.record(event(0, 'stranger'))
    it.clock.advance(-2 * MINUTE)
    for (let n = 1; n <= 150; n += 1) it.record(event(n, 'stranger'))
    await it.flush()
    expect(it.counted.leftOut).toBe(50)
  })
})

test('tells the log of the process the head of the chain, once a minute and at its end', async () => {
  await using it = await start()
  const flushOne = async (n: number) => {
    it.record(event(n))
    await it.flush()
  }
  await flushOne(1)
  await flushOne(2)
  it.clock.advance(MINUTE)
  await flushOne(3)
  await flushOne(4)
  await it.stop()
  await it.stop()
  const heads = it.logged().map(({ event: name, sequence }) => [name, sequence])
  expect(heads).toEqual([
    ['audit_head', 1],
    ['audit_head', 3],
    ['audit_head', 4],
  ])
  const [newest] = await it.audit.list({}, 1)
  expect(it.logged().at(-1)).toMatchObject({ hash: newest?.hash })
})
