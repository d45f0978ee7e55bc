import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { createEvents } from '../../auth-server/events.ts'
import {
  keyPhase,
  toState,
  type KeyEnd,
  type Rotation,
  type StoredKey,
} from '../../auth-server/keys/keyset.ts'
import {
  createMissingKeys,
  resealKeys,
  rotateKeys,
  type RotationOptions,
} from '../../auth-server/keys/rotation.ts'
import { unseal } from '../../auth-server/keys/seal.ts'
import { createLog } from '../../auth-server/log.ts'
import type { Stores } from '../../auth-server/storage/stores.ts'
import { key } from './records.ts'
import { atOnce, readLog, type WithWorld, type World } from './world.ts'

const SEAL_KEY = randomBytes(32)
const OTHER_KEY = randomBytes(32)

/** Ends `ended` in its time, or at once, for `added`. */
function rotation(ended: StoredKey, added: StoredKey, revokedUntil?: number): Rotation {
  return { added: [added], ended: [end(ended, revokedUntil)] }
}

function end(ended: StoredKey, revokedUntil?: number): KeyEnd {
  const times = { retiredAt: 20, purgedAt: revokedUntil === undefined ? 30 : 20, revokedUntil }
  return { key: toState(ended), ...times }
}

const byId = (keys: readonly { kid: string }[]) =>
  keys.toSorted((one, two) => (one.kid < two.kid ? -1 : 1))
const ids = (keys: readonly { kid: string }[]) => byId(keys).map(({ kid }) => kid)

/** The keys as a server has them: really made, and really sealed. */
function createKeeper({ clock }: Pick<World, 'clock'>) {
  const lines: string[] = []
  const events = createEvents(createLog('info', { write: (line) => void lines.push(line) }))
  const collaborators = ({ keys }: Stores) => ({ keys, sealKey: SEAL_KEY, clock, events })
  return {
    begin: (stores: Stores) => createMissingKeys(collaborators(stores), ['ES256', 'EdDSA']),
    rotate: (stores: Stores, how: RotationOptions['how']) =>
      rotateKeys(collaborators(stores), ['ES256', 'EdDSA'], { how, by: 'operator' }),
    reseal: (stores: Stores) => resealKeys(collaborators(stores), OTHER_KEY),
    told: () =>
      lines
        .map((line) => JSON.parse(line) as { action: string; id: string })
        .map((one) => one.action),
  }
}

export function testKeys(withWorld: WithWorld): void {
  describe('the key store', () => {
    test('answers keys as they were given, whole and in small', () =>
      withWorld(async ({ stores, other }) => {
        const ended = { ...key('b', 'RS256', 7), retiredAt: 8, purgedAt: 9 }
        const keys = [
          { ...key('a', 'ES256'), sealedPrivateJwk: `v1.${'x'.repeat(400)}` },
          { ...ended, sealedPrivateJwk: undefined },
        ]
        expect(await stores.keys.insertIfNone(keys)).toEqual(['a', 'b'])
        expect(byId(await other.keys.list())).toEqual(keys)
        expect(byId(await other.keys.listStates())).toEqual(keys.map(toState))
      }))

    test('adds keys only for algorithms that have none that goes on', () =>
      withWorld(async ({ stores: { keys } }) => {
        const gone = { ...key('gone', 'RS256'), retiredAt: 1, purgedAt: 2 }
        await keys.insertIfNone([key('one', 'ES256'), gone])
        const more = [key('two', 'ES256'), key('three', 'RS256'), key('four', 'EdDSA')]
        expect(await keys.insertIfNone(more)).toEqual(['three', 'four'])
        expect(await keys.insertIfNone(more)).toEqual([])
        expect(ids(await keys.list())).toEqual(['four', 'gone', 'one', 'three'])
      }))

    test('adds nothing where what was there is sealed otherwise by now', () =>
      withWorld(async ({ stores: { keys } }) => {
        const [one, two] = [key('one', 'ES256'), key('two', 'RS256')]
        const state = toState({ ...one, sealedPrivateJwk: `v1.${'a'.repeat(40)}` })
        await keys.insertIfNone([one])
        expect(await keys.insertIfNone([two], [state])).toEqual([])
        expect(await keys.insertIfNone([two], [toState(key('gone', 'ES256'))])).toEqual([])
        expect(await keys.insertIfNone([two], [toState(one)])).toEqual(['two'])
      }))

    test('rotates once, however many try at once', () =>
      withWorld(async (world) => {
        const first = key('first', 'ES256')
        await world.stores.keys.insertIfNone([first])
        const won = await atOnce(world, 50, ({ keys }, index) =>
          keys.rotate(rotation(first, key(`next ${index}`, 'ES256'))),
        )
        expect(won.filter(Boolean)).toHaveLength(1)
        expect(byId(await world.other.keys.list())).toEqual([
          { ...first, retiredAt: 20, purgedAt: 30 },
          key(`next ${won.indexOf(true)}`, 'ES256'),
        ])
        expect(await readLog(world.stores)).toEqual([])
      }))

    test('changes nothing where one of several keys is no longer as it was', () =>
      withWorld(async ({ stores, other }) => {
        const [es, rs] = [key('es', 'ES256'), key('rs', 'RS256')]
        await stores.keys.insertIfNone([es, rs])
        const purgedElsewhere = { ...rs, retiredAt: 1, purgedAt: 2 }
        const changes: Rotation = {
          added: [key('new', 'ES256')],
          ended: [end(es, 1000), end(purgedElsewhere, 1000)],
        }
        expect(await other.keys.rotate(changes)).toBe(false)
        const sealedElsewhere = { ...rs, sealedPrivateJwk: 'otherwise' }
        const sealed = { ...changes, ended: [end(es, 1000), end(sealedElsewhere, 1000)] }
        expect(await other.keys.rotate(sealed)).toBe(false)
        const unknown = { ...changes, ended: [end(es, 1000), end(key('no', 'ES256'), 1000)] }
        expect(await other.keys.rotate(unknown)).toBe(false)
        expect(byId(await stores.keys.list())).toEqual([es, rs])
        expect(await readLog(stores)).toEqual([])
      }))

    test('withdraws keys: erased, purged, and what they signed revoked', () =>
      withWorld(async ({ stores, other, clock }) => {
        const stolen = key('stolen', 'ES256')
        await stores.keys.insertIfNone([stolen])
        expect(await other.keys.rotate(rotation(stolen, key('new', 'ES256'), 1000))).toBe(true)
        expect(byId(await stores.keys.list())).toEqual([
          key('new', 'ES256'),
          { ...stolen, sealedPrivateJwk: undefined, retiredAt: 20, purgedAt: 20 },
        ])
        expect(await readLog(stores)).toMatchObject([
          {
            kind: 'key',
            subject: 'stolen',
            reason: 'key_withdrawn',
            revokedAt: clock.now(),
            expiresAt: 1000,
          },
        ])
      }))

    test('seals all keys anew, or none', () =>
      withWorld(async ({ stores, other }) => {
        const keys = [key('a', 'ES256'), key('b', 'RS256')]
        const erased = { ...key('c', 'ES256'), retiredAt: 1, sealedPrivateJwk: undefined }
        await stores.keys.insertIfNone([...keys, erased])
        const [one, two] = keys.map(({ kid }) => ({ kid, from: 'sealed', to: `anew ${kid}` }))
        if (!one || !two) throw new Error('no keys')
        for (const wrong of [[one], [one, { ...two, from: 'other' }], [one, two, one]]) {
          expect(await other.keys.reseal(wrong)).toBe(false)
        }
        expect(byId(await stores.keys.list())).toEqual([...keys, erased])
        expect(await other.keys.reseal([one, two])).toBe(true)
        const seals = byId(await stores.keys.list()).map((stored) => [
          stored.kid,
          'sealedPrivateJwk' in stored && stored.sealedPrivateJwk,
        ])
        expect(seals).toEqual([
          ['a', 'anew a'],
          ['b', 'anew b'],
          ['c', undefined],
        ])
      }))

    test('erases and forgets each key once, whoever tries', () =>
      withWorld(async (world) => {
        const { keys } = world.stores
        const times = [
          { retiredAt: undefined, purgedAt: undefined },
          { retiredAt: 9, purgedAt: 99 },
          { retiredAt: 10, purgedAt: 100 },
        ]
        const stored = times.map((time, index) => ({ ...key(`k${index}`, 'ES256'), ...time }))
        await keys.insertIfNone(stored)
        const erased = await atOnce(world, 20, (stores) => stores.keys.erase(10))
        expect(erased.flat()).toEqual(['k1'])
        const left = byId(await keys.list())
        expect(left).toEqual([stored[0], { ...stored[1], sealedPrivateJwk: undefined }, stored[2]])
        const removed = await atOnce(world, 20, (stores) => stores.keys.remove(100))
        expect(removed.flat()).toEqual(['k1'])
        expect(ids(await keys.list())).toEqual(['k0', 'k2'])
      }))
  })

  describe('the keys of several servers', () => {
    test('are made once', () =>
      withWorld(async (world) => {
        const keeper = createKeeper(world)
        await atOnce(world, 20, keeper.begin)
        const stored = await world.stores.keys.list()
        expect(stored.map(({ algorithm }) => algorithm).toSorted()).toEqual(['ES256', 'EdDSA'])
        expect(keeper.told()).toEqual(['added', 'added'])
      }))

    test('get one successor each, whoever rotates at once', () =>
      withWorld(async (world) => {
        const keeper = createKeeper(world)
        await keeper.begin(world.stores)
        const results = await atOnce(world, 20, (stores) => keeper.rotate(stores, 'announce'))
        const stored = await world.stores.keys.list()
        const phases = stored.map((one) => keyPhase(one, world.clock.now())).toSorted()
        expect(phases).toEqual(['active', 'active', 'announced', 'announced'])
        const named = new Set(results.flat().map(({ next }) => next.kid))
        expect(named.size).toBe(2)
        expect(results.flat().filter(({ isNew }) => isNew)).toHaveLength(2)
        expect(keeper.told()).toEqual(['added', 'added', 'announced', 'announced'])
      }))

    test('are withdrawn once each, and end with one new key each', () =>
      withWorld(async (world) => {
        const keeper = createKeeper(world)
        await keeper.begin(world.stores)
        await keeper.rotate(world.stores, 'announce')
        const suspects = ids(await world.stores.keys.list())
        const results = await atOnce(world, 20, (stores) => keeper.rotate(stores, 'withdraw'))
        const stored = await world.stores.keys.list()
        const live = stored.filter((one) => keyPhase(one, world.clock.now()) !== 'purged')
        expect(live.map(({ algorithm }) => algorithm).toSorted()).toEqual(['ES256', 'EdDSA'])
        expect(live.every((one) => keyPhase(one, world.clock.now()) === 'active')).toBe(true)
        // Who comes when another one is done withdraws what that one made.
        const named = new Set(results.flat().map(({ next }) => next.kid))
        expect(ids(live).filter((kid) => !named.has(kid))).toEqual([])
        const withdrawn = ids(stored.filter((one) => one.sealedPrivateJwk === undefined))
        const over = [...suspects, ...named].filter((kid) => !ids(live).includes(kid))
        expect(new Set(withdrawn)).toEqual(new Set(over))
        const log = await readLog(world.stores)
        expect(log.map(({ kind, subject }) => `${kind} ${subject}`).toSorted()).toEqual(
          withdrawn.map((kid) => `key ${kid}`).toSorted(),
        )
      }))

    test('are all sealed with one key, whoever rotates meanwhile', () =>
      withWorld(async (world) => {
        const keeper = createKeeper(world)
        await keeper.begin(world.stores)
        const results = await Promise.allSettled([
          ...Array.from({ length: 10 }, () => keeper.reseal(world.other)),
          ...Array.from({ length: 10 }, () => keeper.rotate(world.stores, 'withdraw')),
        ])
        // Whoever comes after the new seal does not know it.
        const failures = results.flatMap((result) =>
          result.status === 'rejected' ? [(result.reason as { code?: string }).code] : [],
        )
        expect(failures.every((code) => code === 'misconfigured')).toBe(true)
        expect(results.slice(0, 10).every(({ status }) => status === 'fulfilled')).toBe(true)
        const sealed = (await world.stores.keys.list()).flatMap((one) =>
          one.sealedPrivateJwk === undefined ? [] : [[one.kid, one.sealedPrivateJwk] as const],
        )
        expect(sealed.length).toBeGreaterThanOrEqual(2)
        for (const [kid, text] of sealed) expect(unseal(OTHER_KEY, text, kid)).toContain(kid)
      }))

    test('refuse whoever would seal a new one with another key', () =>
      withWorld(async ({ stores, clock }) => {
        const keeper = createKeeper({ clock })
        await keeper.begin(stores)
        const before = await stores.keys.list()
        const { keys } = stores
        const events = createEvents(createLog('silent'))
        const stranger = { keys, sealKey: OTHER_KEY, clock, events }
        for (const how of ['announce', 'withdraw'] as const) {
          const rotating = rotateKeys(stranger, ['ES256'], { how, by: 'operator' })
          await expect(rotating).rejects.toMatchObject({ code: 'misconfigured' })
        }
        await expect(createMissingKeys(stranger, ['RS256'])).rejects.toMatchObject({
          code: 'misconfigured',
        })
        await expect(resealKeys(stranger, randomBytes(32))).rejects.toMatchObject({
          code: 'misconfigured',
        })
        expect(await stores.keys.list()).toEqual(before)
      }))
  })
}
