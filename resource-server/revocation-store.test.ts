import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  createRevocationStore,
  type RevocationEntry,
  type RevokedKind,
} from './revocation-store.ts'

const NOW = 1_750_000_000

function entry(change: Partial<RevocationEntry> = {}): RevocationEntry {
  return { kind: 'session', subject: 'a', revokedAt: NOW, until: NOW + 600, ...change }
}

describe('the store of revocations', () => {
  test('knows what was added, and nothing else', () => {
    const store = createRevocationStore(100)
    expect(store.isRevoked('session', 'a')).toBe(false)
    expect(store.add(entry(), NOW)).toBe('added')
    expect(store.isRevoked('session', 'a')).toBe(true)
    expect(store.isRevoked('session', 'b')).toBe(false)
    expect(store.isRevoked('grant', 'a')).toBe(false)
    expect(store.size).toBe(1)
  })

  test('says of an entry that it has already that it is known', () => {
    const store = createRevocationStore(100)
    store.add(entry(), NOW)
    expect(store.add(entry(), NOW)).toBe('known')
    expect(store.add(entry({ until: NOW + 5 }), NOW)).toBe('known')
    expect(store.add(entry({ until: NOW + 601 }), NOW)).toBe('added')
    expect(store.size).toBe(1)
  })

  test.each<[RevokedKind, boolean]>([
    ['user', false],
    ['client', false],
    ['all', false],
    ['token', true],
    ['grant', true],
    ['session', true],
    ['key', true],
  ])('of the kind %s, what is issued later is revoked: %s', (kind, isRevoked) => {
    const store = createRevocationStore(100)
    store.add(entry({ kind }), NOW)
    expect(store.isRevoked(kind, 'a', NOW + 1)).toBe(isRevoked)
    expect(store.isRevoked(kind, 'a', NOW)).toBe(true)
    expect(store.isRevoked(kind, 'a', NOW + 0.9)).toBe(true)
    expect(store.isRevoked(kind, 'a', undefined)).toBe(true)
  })

  test('forgets an entry at its time, not before, and takes none that is over', () => {
    const store = createRevocationStore(100)
    store.add(entry(), NOW)
    store.sweep(NOW + 599)
    expect(store.isRevoked('session', 'a')).toBe(true)
    store.sweep(NOW + 600)
    expect(store.isRevoked('session', 'a')).toBe(false)
    expect(store.size).toBe(0)
    expect(store.add(entry(), NOW + 600)).toBe('known')
    expect(store.isRevoked('session', 'a')).toBe(false)
  })

  test('says that it is full, makes room by what is over, and never drops what is alive', () => {
    const store = createRevocationStore(1000)
    for (let count = 0; count < 1000; count += 1) {
      const until = NOW + (count < 10 ? 60 : 600)
      expect(store.add(entry({ subject: `s${count}`, until }), NOW)).toBe('added')
    }
    expect(store.add(entry({ subject: 'one more' }), NOW)).toBe('full')
    expect(store.isRevoked('session', 'one more')).toBe(false)
    expect(store.add(entry({ subject: 's5', until: NOW + 700 }), NOW)).toBe('added')
    expect(store.add(entry({ subject: 'one more' }), NOW + 60)).toBe('added')
    expect(store.size).toBe(992)
    for (let count = 10; count < 1000; count += 1) {
      expect(store.isRevoked('session', `s${count}`)).toBe(true)
    }
  })

  test('takes 32 bytes for an entry at most, and gives them back', () => {
    const store = createRevocationStore(1_000_000)
    for (let count = 0; count < 50_000; count += 1) {
      store.add(entry({ subject: `s${count}`, until: NOW + 1 + (count % 2) }), NOW)
    }
    expect(store.bytes).toBeLessThan(50_000 * 32)
    store.sweep(NOW + 1)
    expect(store.bytes).toBeLessThan(25_000 * 32)
    store.sweep(NOW + 2)
    expect(store.bytes).toBeLessThan(20_000)
  })

  test('sweeps a part at a time, and comes round', () => {
    const store = createRevocationStore(10_000)
    for (let count = 0; count < 5000; count += 1) store.add(entry({ subject: `s${count}` }), NOW)
    store.sweep(NOW + 600, 64)
    expect(store.size).toBeGreaterThan(3000)
    for (let count = 0; count < 3; count += 1) store.sweep(NOW + 600, 64)
    expect(store.size).toBe(0)
  })

  test('answers as a Map of the latest times would, whatever is added and swept', () => {
    const kinds: readonly RevokedKind[] = ['token', 'user', 'all', 'key']
    const added = fc.record({
      kind: fc.constantFrom(...kinds),
      subject: fc.constantFrom('', 'a', 'b', 'é', '__proto__', 'c'.repeat(300)),
      revokedAt: fc.integer({ min: NOW - 20, max: NOW + 20 }),
      until: fc.integer({ min: NOW - 5, max: NOW + 50 }),
    })
    const step = fc.oneof(
      added.map((made) => ({ made })),
      fc.integer({ min: 0, max: 10 }).map((seconds) => ({ seconds })),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const store = createRevocationStore(1000)
        const model = new Map<string, { before: number; until: number }>()
        let now = NOW
        for (const each of steps) {
          if ('seconds' in each) {
            now += each.seconds
            store.sweep(now)
            for (const [name, { until }] of model) if (until <= now) model.delete(name)
          } else if (each.made.until > now) {
            const { kind, subject, revokedAt, until } = each.made
            const name = `${kind}:${subject}`
            const known = model.get(name) ?? { before: 0, until: 0 }
            const isTimed = kind === 'user' || kind === 'all'
            const before = Math.max(known.before, isTimed ? revokedAt : Infinity)
            store.add(each.made, now)
            model.set(name, { before, until: Math.max(known.until, until) })
          } else store.add(each.made, now)
          expect(store.size).toBe(model.size)
        }
        for (const kind of kinds) {
          for (const subject of ['', 'a', 'b', 'é', '__proto__', 'c'.repeat(300), 'never']) {
            for (const issuedAt of [NOW - 21, NOW, NOW + 21]) {
              const known = model.get(`${kind}:${subject}`)
              const expected = known !== undefined && issuedAt <= known.before
              expect(store.isRevoked(kind, subject, issuedAt)).toBe(expected)
            }
          }
        }
      }),
    )
  })
})
