import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { isWithdrawn, keyPhase, type KeyState } from '../../auth-server/keys/keyset.ts'
import {
  planRotation,
  planUpkeep,
  planWithdrawal,
  type RotationPlan,
} from '../../auth-server/keys/rotate.ts'
import { tryOut } from './seed.ts'

const MINUTE = 60_000
const DAY = 86_400_000
const EVERY_DAYS = 7

type Step =
  | { readonly kind: 'wait'; readonly milliseconds: number }
  | { readonly kind: 'announce' | 'withdraw' | 'tend' }

const wait = fc
  .oneof(
    fc.integer({ min: 0, max: 15 * MINUTE }),
    fc.integer({ min: 0, max: 2 * DAY }),
    fc.integer({ min: 0, max: 40 * DAY }),
  )
  .map((milliseconds): Step => ({ kind: 'wait', milliseconds }))
const change = fc.constantFrom<Step>({ kind: 'announce' }, { kind: 'withdraw' }, { kind: 'tend' })
const steps = fc.array(fc.oneof(wait, change), { maxLength: 60 })

/** The keys of one algorithm, and the time. */
interface Moment {
  readonly now: number
  readonly keys: readonly KeyState[]
}

const START: Moment = { now: 0, keys: [toKey(0, { activeAt: 0, announcedAt: 0 })] }

function toKey(number: number, times: Pick<KeyState, 'announcedAt' | 'activeAt'>): KeyState {
  const ends = { retiredAt: undefined, purgedAt: undefined }
  return { kid: `k${number}`, algorithm: 'ES256', seal: 'seal', ...ends, ...times }
}

function take({ now, keys }: Moment, step: Step, number: number): Moment {
  switch (step.kind) {
    case 'wait':
      return { now: now + step.milliseconds, keys }
    case 'announce':
      return { now, keys: carryOut(keys, planRotation(keys, now), number) }
    case 'withdraw': {
      const suspects = new Set(keys.map(({ kid }) => kid))
      return { now, keys: carryOut(keys, planWithdrawal(keys, suspects, now), number) }
    }
    case 'tend':
      return { now, keys: tend(keys, now, number) }
  }
}

function carryOut(keys: readonly KeyState[], plan: RotationPlan, number: number) {
  if (plan.kind !== 'rotate') return keys
  const changed = keys.map((key) => {
    const end = plan.ended.find((one) => one.key.kid === key.kid)
    if (!end) return key
    const { retiredAt, purgedAt, revokedUntil } = end
    return { ...key, retiredAt, purgedAt, ...(revokedUntil ? { seal: undefined } : {}) }
  })
  return [...changed, toKey(number, plan.times)]
}

function tend(keys: readonly KeyState[], now: number, number: number) {
  const { eraseBefore, removeBefore, due } = planUpkeep(keys, { rotateEveryDays: EVERY_DAYS }, now)
  const erased = keys.map((key) =>
    (key.retiredAt ?? Infinity) < (eraseBefore ?? -1) ? { ...key, seal: undefined } : key,
  )
  const left = erased.filter((key) => (key.purgedAt ?? Infinity) >= (removeBefore ?? -1))
  return due.length === 0 ? left : carryOut(left, planRotation(left, now), number)
}

/** What does not hold, and has to whenever somebody looks. */
function findFaults({ now, keys }: Moment): readonly string[] {
  const phases = keys.map((key) => keyPhase(key, now))
  const count = (phase: string) => phases.filter((one) => one === phase).length
  return [
    ...(count('active') === 1 ? [] : [`${count('active')} keys sign`]),
    ...(count('announced') <= 1 ? [] : ['more than one key comes next']),
    ...(keys.filter(({ retiredAt }) => retiredAt === undefined).length === 1
      ? []
      : ['not one key goes on']),
    ...keys.flatMap((key) => findFaultsOf(key, now)),
  ]
}

function findFaultsOf(key: KeyState, now: number): string[] {
  const { kid, announcedAt, activeAt, retiredAt, purgedAt, seal } = key
  const isStopgap = activeAt === announcedAt
  const isKnownInTime = activeAt - announcedAt >= 10 * MINUTE
  const isLeftToDie = (purgedAt ?? 0) - (retiredAt ?? 0) >= DAY
  const hasEnd = retiredAt !== undefined
  const isNeeded = ['announced', 'active'].includes(keyPhase(key, now))
  return [
    ...(isStopgap || isKnownInTime ? [] : [`${kid} signs before verifiers know it`]),
    ...(hasEnd === (purgedAt !== undefined) ? [] : [`${kid} has half an end`]),
    ...(!hasEnd || isWithdrawn(key) || isLeftToDie ? [] : [`${kid} goes before what it signed`]),
    ...(isNeeded && seal === undefined ? [`${kid} has to sign, and cannot`] : []),
  ]
}

test('whatever is done with keys and whenever, one signs and all are known in time', async () => {
  expect.hasAssertions()
  await tryOut(
    fc.property(steps, (taken) => {
      let moment = START
      for (const [index, step] of taken.entries()) {
        moment = take(moment, step, index + 1)
        expect(findFaults(moment)).toEqual([])
      }
      // However long nobody does anything: upkeep may come late.
      expect(findFaults({ ...moment, now: moment.now + 1000 * DAY })).toEqual([])
    }),
    500,
  )
})
