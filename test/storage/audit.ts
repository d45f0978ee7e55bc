import { describe, expect, test } from 'vitest'
import {
  chainRecords,
  createAuditKey,
  verifyLog,
  type AuditEntry,
  type AuditRecord,
} from '../../auth-server/audit/audit.ts'
import { createAuditRecorder } from '../../auth-server/audit/recorder.ts'
import { createLog } from '../../auth-server/log.ts'
import { startProgram } from '../support/program.ts'
import { AUDIT_SECRET, PER_WRITER } from './audit-race.ts'
import { atOnce, type WithWorld } from './world.ts'

const KEY = createAuditKey(AUDIT_SECRET)
const log = createLog('silent')

function record(event: string, more: Partial<AuditRecord> = {}): AuditRecord {
  return { event, by: 'user', at: 1000, requestId: undefined, ...more }
}

export function testAudit(withWorld: WithWorld): void {
  describe('the audit log', () => {
    test('gives back what was appended as it was, whatever the text', () =>
      withWorld(async ({ stores: { audit }, other }) => {
        const facts = {
          scopes: ['a', 'b'],
          odd: '\u0000 \uD800 \u202E 😀 "\\',
          n: 1,
          none: undefined,
        }
        const records = [
          record('one', { accountId: 'acc_a', clientId: 'web', requestId: 'r', facts }),
          record('two', { by: 'operator', at: 2 ** 45, clientId: 'a\u0000b\uDC00' }),
        ]
        const expected = chainRecords(KEY, undefined, records)
        await audit.append(async (head) => chainRecords(KEY, head, records))
        expect(await other.audit.page(undefined, 10)).toEqual(expected)
        expect(JSON.parse(expected[0]?.facts ?? '')).toEqual(JSON.parse(JSON.stringify(facts)))
        expect(await verifyLog(other.audit, KEY)).toMatchObject({ ok: true, entries: 2 })
      }))

    test('is empty at first, and whole', () =>
      withWorld(async ({ stores: { audit } }) => {
        await audit.append(async () => [])
        expect(await audit.page(undefined, 10)).toEqual([])
        expect(await audit.list({}, 10)).toEqual([])
        expect(await verifyLog(audit, KEY)).toEqual({ ok: true, entries: 0, head: undefined })
      }))

    test('hands the newest entry and any earlier one to whoever appends', () =>
      withWorld(async ({ stores, other }) => {
        const seen: unknown[] = []
        for (const [index, { audit }] of [stores, other, stores].entries()) {
          await audit.append(async (head, find) => {
            seen.push(head?.event, (await find(1))?.event, (await find(index + 1))?.event)
            return chainRecords(KEY, head, [record(`event ${index}`)])
          })
        }
        const [none] = [undefined]
        const [first, second] = ['event 0', 'event 1']
        expect(seen).toEqual([none, none, none, first, first, none, second, first, none])
      }))

    test('keeps nothing of an append that fails', () =>
      withWorld(async ({ stores: { audit } }) => {
        await audit.append(async (head) => chainRecords(KEY, head, [record('one')]))
        const failing = audit.append(async () => {
          throw new Error('no')
        })
        await expect(failing).rejects.toThrow('no')
        const [taken] = chainRecords(KEY, undefined, [record('a second first')]) as [AuditEntry]
        await expect(audit.append(async () => [taken])).rejects.toThrow(/unique/i)
        expect(await audit.page(undefined, 10)).toMatchObject([{ sequence: 1, event: 'one' }])
      }))

    test('is listed by user, by client and from a time on, the newest first, and read in pages', () =>
      withWorld(async ({ stores: { audit } }) => {
        const records = Array.from({ length: 60 }, (_, index) =>
          record(`${index + 1}`, {
            at: 1000 + index,
            accountId: index % 2 === 0 ? 'ann' : undefined,
            clientId: index % 3 === 0 ? 'web' : undefined,
          }),
        )
        await audit.append(async (head) => chainRecords(KEY, head, records))
        const events = async (...args: Parameters<typeof audit.list>) =>
          (await audit.list(...args)).map(({ event }) => Number(event))
        expect(await events({}, 3)).toEqual([60, 59, 58])
        expect(await events({ accountId: 'ann' }, 3)).toEqual([59, 57, 55])
        expect(await events({ clientId: 'web' }, 3)).toEqual([58, 55, 52])
        expect(await events({ accountId: 'ann', clientId: 'web' }, 3)).toEqual([55, 49, 43])
        expect(await events({ since: 1057 }, 9)).toEqual([60, 59, 58])
        expect(await events({ since: 1050, accountId: 'ann', clientId: 'web' }, 9)).toEqual([55])
        expect(await events({ accountId: 'ben' }, 9)).toEqual([])
        expect(await events({ since: 2000 }, 9)).toEqual([])
        const pages = [
          await audit.page(undefined, 25),
          await audit.page(25, 25),
          await audit.page(50, 25),
        ]
        expect(pages.map((page) => page.map(({ sequence }) => sequence))).toEqual([
          Array.from({ length: 25 }, (_, index) => index + 1),
          Array.from({ length: 25 }, (_, index) => index + 26),
          Array.from({ length: 10 }, (_, index) => index + 51),
        ])
      }))

    test('is one chain whoever appends at once', () =>
      withWorld(async (world) => {
        await atOnce(world, 50, ({ audit }, index) =>
          audit.append(async (head) =>
            chainRecords(KEY, head, [record(`${index} a`), record(`${index} b`)]),
          ),
        )
        const entries = await world.stores.audit.page(undefined, 1000)
        expect(entries.map(({ sequence }) => sequence)).toEqual(
          entries.map((_, index) => index + 1),
        )
        expect(new Set(entries.map(({ event }) => event)).size).toBe(100)
        expect(await verifyLog(world.other.audit, KEY)).toMatchObject({ ok: true, entries: 100 })
      }))

    test('is one chain that two processes write at once, each in its order, nothing lost', () =>
      withWorld(async ({ url, stores: { audit } }) => {
        const names = ['one', 'two']
        const writers = names.map((name) =>
          startProgram('test/storage/audit-racer.ts', [url, name]),
        )
        await using cleanUp = new AsyncDisposableStack()
        for (const writer of writers) cleanUp.use(writer)
        await Promise.all(writers.map(({ firstLine }) => firstLine))
        for (const writer of writers) writer.signal('SIGUSR2')
        for (const { ended } of writers) expect(await ended).toMatchObject({ code: 0, stderr: '' })
        const entries = await audit.page(undefined, 10_000)
        for (const name of names) {
          const own = entries.filter(({ event }) => event === name).map(({ facts }) => facts)
          expect(own).toEqual(Array.from({ length: PER_WRITER }, (_, n) => JSON.stringify({ n })))
        }
        const taken = entries.map(({ event }) => event)
        expect(taken.filter((event, index) => event !== taken[index - 1]).length).toBeGreaterThan(2)
        expect(await verifyLog(audit, KEY)).toMatchObject({ ok: true, entries: 2 * PER_WRITER })
      }))

    test('is written in batches, each event in its place', () =>
      withWorld(async ({ stores: { audit }, clock }) => {
        const sizes: number[] = []
        const meter = {
          waiting: () => {},
          wrote: (entries: number) => void sizes.push(entries),
          failed: () => {},
          lost: () => {},
          leftOut: () => {},
        }
        const recorder = createAuditRecorder({ store: audit, key: KEY, clock, log, meter })
        for (let n = 0; n < 250; n += 1) recorder.record({ event: 'e', by: 'user', facts: { n } })
        await recorder.flush()
        const entries = await audit.page(undefined, 1000)
        expect(entries.map(({ facts }) => facts)).toEqual(
          Array.from({ length: 250 }, (_, n) => JSON.stringify({ n })),
        )
        expect(sizes).toEqual([1, 100, 100, 49])
      }))
  })
}
