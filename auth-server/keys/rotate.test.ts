import { describe, expect, test } from 'vitest'
import type { KeyState, KeyTimes } from './keyset.ts'
import { isWithdrawn, keyPhase } from './keyset.ts'
import {
  JWKS_LIFETIME_SECONDS,
  nextPhaseAt,
  planRotation,
  planUpkeep,
  planWithdrawal,
  type RotationPlan,
} from './rotate.ts'

const NOW = 1_750_000_000_000
const MINUTE = 60_000
const DAY = 86_400_000
/** What the functions decide, in numbers of their own. */
const ANNOUNCED = 11 * MINUTE
const RETIRED = DAY + MINUTE

function key(kid: string, times: Partial<KeyState> = {}): KeyState {
  return {
    kid,
    algorithm: 'ES256',
    announcedAt: NOW - 100 * DAY,
    activeAt: NOW - 100 * DAY,
    retiredAt: undefined,
    purgedAt: undefined,
    seal: `seal of ${kid}`,
    ...times,
  }
}

const active = key('active')
const announced = key('announced', { announcedAt: NOW - MINUTE, activeAt: NOW + 10 * MINUTE })
const leaving = key('leaving', {
  retiredAt: announced.activeAt,
  purgedAt: announced.activeAt + RETIRED,
})
const retired = key('retired', { retiredAt: NOW - MINUTE, purgedAt: NOW + DAY })
const purged = key('purged', { retiredAt: NOW - 2 * DAY, purgedAt: NOW - DAY })

function carriedOut(keys: readonly KeyState[], plan: RotationPlan): readonly KeyState[] {
  if (plan.kind !== 'rotate') throw new Error(`nothing to carry out: ${plan.kind}`)
  const ends = new Map(plan.ended.map((end) => [end.key.kid, end]))
  const changed = keys.map((one) => {
    const end = ends.get(one.kid)
    return end ? { ...one, retiredAt: end.retiredAt, purgedAt: end.purgedAt } : one
  })
  return [...changed, key('new', plan.times)]
}

const phasesAt = (keys: readonly KeyTimes[], now: number) => keys.map((one) => keyPhase(one, now))

describe('a rotation', () => {
  test('announces a key that signs after two lives of a key set and a minute', () => {
    expect(JWKS_LIFETIME_SECONDS).toBe(300)
    expect(planRotation([purged, retired, active], NOW)).toEqual({
      kind: 'rotate',
      times: {
        announcedAt: NOW,
        activeAt: NOW + ANNOUNCED,
        retiredAt: undefined,
        purgedAt: undefined,
      },
      ended: [
        {
          key: active,
          retiredAt: NOW + ANNOUNCED,
          purgedAt: NOW + ANNOUNCED + RETIRED,
          revokedUntil: undefined,
        },
      ],
    })
  })

  test.each([
    [0, ['active', 'announced']],
    [ANNOUNCED - 1, ['active', 'announced']],
    [ANNOUNCED, ['retired', 'active']],
    [ANNOUNCED + RETIRED - 1, ['retired', 'active']],
    [ANNOUNCED + RETIRED, ['purged', 'active']],
  ])('leaves one key that signs at every moment: after %i ms', (after, phases) => {
    const keys = carriedOut([active], planRotation([active], NOW))
    expect(phasesAt(keys, NOW + after)).toEqual(phases)
  })

  test('keeps the old key until a token of a day, signed at its last moment, is dead', () => {
    const plan = planRotation([active], NOW)
    if (plan.kind !== 'rotate') throw new Error('nothing to do')
    const [end] = plan.ended
    expect((end?.purgedAt ?? 0) - (end?.retiredAt ?? 0)).toBeGreaterThanOrEqual(DAY)
  })

  test.each([
    ['one is announced already', [leaving, announced], NOW, announced],
    ['the clock was turned back to before the last one', [leaving, announced], 0, announced],
  ])('has nothing to do where %s', (_case, keys, now, next) => {
    expect(planRotation(keys, now)).toEqual({ kind: 'done', next })
  })

  test('needs a key to come after', () => {
    expect(planRotation([], NOW)).toEqual({ kind: 'none' })
    expect(planWithdrawal([], new Set(['active']), NOW)).toEqual({ kind: 'none' })
  })

  test('comes at the very moment when an announced key begins to sign, and not before', () => {
    expect(planRotation([leaving, announced], announced.activeAt - 1).kind).toBe('done')
    expect(planRotation([leaving, announced], announced.activeAt).kind).toBe('rotate')
  })
})

describe('a withdrawal', () => {
  const all = [purged, retired, leaving, announced]
  const suspects = new Set(all.map(({ kid }) => kid))

  test('ends every published key at once, and what it signed, for one that signs at once', () => {
    const plan = planWithdrawal(all, suspects, NOW)
    const end = { retiredAt: NOW, purgedAt: NOW, revokedUntil: NOW + 2 * DAY }
    expect(plan).toEqual({
      kind: 'rotate',
      times: { announcedAt: NOW, activeAt: NOW, retiredAt: undefined, purgedAt: undefined },
      ended: [
        { key: retired, ...end },
        { key: leaving, ...end },
        { key: announced, ...end },
      ],
    })
    expect(phasesAt(carriedOut(all, plan), NOW)).toEqual([
      'purged',
      'purged',
      'purged',
      'purged',
      'active',
    ])
  })

  test('tells a withdrawn key from one that was purged in its time', () => {
    const after = carriedOut(all, planWithdrawal(all, suspects, NOW))
    expect(after.map(isWithdrawn)).toEqual([false, true, true, true, false])
  })

  test('is done where somebody else has withdrawn the same keys', () => {
    const after = carriedOut(all, planWithdrawal(all, suspects, NOW))
    expect(planWithdrawal(after, suspects, NOW)).toMatchObject({
      kind: 'done',
      next: { kid: 'new' },
    })
  })

  test('goes on where somebody else has only announced a successor meanwhile', () => {
    const after = carriedOut([active], planRotation([active], NOW))
    const plan = planWithdrawal(after, new Set(['active']), NOW)
    expect(plan.kind === 'rotate' && plan.ended.map((end) => end.key.kid)).toEqual([
      'active',
      'new',
    ])
  })

  test('remembers what is revoked longer than any token lives', () => {
    const plan = planWithdrawal([active], new Set(['active']), NOW)
    const until = plan.kind === 'rotate' ? plan.ended[0]?.revokedUntil : undefined
    expect((until ?? 0) - NOW).toBeGreaterThan(DAY)
  })
})

describe('the upkeep', () => {
  const NEVER = { rotateEveryDays: 0 }
  const QUARTERLY = { rotateEveryDays: 90 }
  const nothing = { eraseBefore: undefined, removeBefore: undefined, due: [] }
  const young = key('young', { activeAt: NOW - 90 * DAY + 1 })
  const old = key('old', { activeAt: NOW - 90 * DAY })

  test.each([
    ['a key has not signed for long enough', [young], QUARTERLY],
    ['nobody wants a schedule', [old], NEVER],
    ['its successor is announced', [{ ...old, retiredAt: NOW + 1 }, announced], QUARTERLY],
    ['the clock was turned back', [key('later', { activeAt: NOW + 1000 * DAY })], QUARTERLY],
    ['there is no key', [], QUARTERLY],
    ['a key has just retired', [key('r', { retiredAt: NOW - MINUTE })], NEVER],
    ['a private half is erased', [key('r', { retiredAt: 0, seal: undefined })], NEVER],
    ['a key was purged lately', [key('p', { purgedAt: NOW - 30 * DAY })], NEVER],
  ])('leaves everything where %s', (_case, keys, options) => {
    expect(planUpkeep(keys, options, NOW)).toEqual(nothing)
  })

  test('rotates each algorithm by itself', () => {
    const keys = [old, { ...young, algorithm: 'RS256' } as const]
    expect(planUpkeep(keys, QUARTERLY, NOW)).toEqual({ ...nothing, due: ['ES256'] })
    expect(planUpkeep(keys, QUARTERLY, NOW + 1)).toEqual({ ...nothing, due: ['ES256', 'RS256'] })
  })

  test('erases private halves a minute after their keys have retired everywhere', () => {
    const keys = [key('r', { retiredAt: NOW - MINUTE - 1 })]
    expect(planUpkeep(keys, NEVER, NOW)).toEqual({ ...nothing, eraseBefore: NOW - MINUTE })
  })

  test('forgets keys a month after they were purged', () => {
    const keys = [key('p', { purgedAt: NOW - 30 * DAY - 1 })]
    expect(planUpkeep(keys, NEVER, NOW)).toEqual({ ...nothing, removeBefore: NOW - 30 * DAY })
  })
})

describe('the next phase', () => {
  test.each([
    [NOW, announced.activeAt],
    [announced.activeAt - 1, announced.activeAt],
    [announced.activeAt, announced.activeAt + RETIRED],
    [announced.activeAt + RETIRED, undefined],
  ])('after %i begins at %s', (now, at) => {
    expect(nextPhaseAt([leaving, announced], now)).toBe(at)
  })
})
