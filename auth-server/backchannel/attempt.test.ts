import { describe, expect, test } from 'vitest'
import { judgeAttempt, type Attempt } from './attempt.ts'

const NOW = 1_750_000_000_000
const DAY = 86_400_000

const judge = (attempt: Attempt, { attempts = 1, queuedAt = NOW, chance = 1 } = {}) =>
  judgeAttempt(attempt, { attempts, queuedAt }, NOW, chance)
const answered = (status: number): Attempt => ({ kind: 'answered', status })

describe('an attempt', () => {
  test.each([200, 204])('that is answered %i is the last', (status) => {
    expect(judge(answered(status))).toEqual({ kind: 'delivered' })
  })

  test('that is answered 400 is not made again', () => {
    expect(judge(answered(400))).toEqual({ kind: 'given_up', reason: 'refused' })
  })

  test.each([201, 202, 301, 302, 307, 401, 403, 404, 429, 500, 501, 503])(
    'that is answered %i is made again',
    (status) => {
      expect(judge(answered(status))).toMatchObject({ kind: 'retry', reason: 'status' })
    },
  )

  test.each(['timeout', 'network', 'keys', 'disabled'] as const)(
    'that ends in a %s is made again',
    (reason) => {
      expect(judge({ kind: 'unreachable', reason })).toMatchObject({ kind: 'retry', reason })
    },
  )

  test('waits twice as long as the one before, and an hour at most', () => {
    const pauses = Array.from({ length: 60 }, (_, index) => {
      const verdict = judge(answered(500), { attempts: index + 1 })
      return verdict.kind === 'retry' ? verdict.dueAt - NOW : undefined
    })
    expect(pauses.slice(0, 4)).toEqual([10_000, 20_000, 40_000, 80_000])
    expect(pauses.at(-1)).toBe(3_600_000)
  })

  test('waits half as long at least, by chance', () => {
    const due = (chance: number) => judge(answered(500), { attempts: 2, chance })
    expect(due(0)).toMatchObject({ dueAt: NOW + 10_000 })
    expect(due(0.5)).toMatchObject({ dueAt: NOW + 15_000 })
  })

  test('is the last where the next one would come after a day', () => {
    const old = { attempts: 30, queuedAt: NOW - DAY + 3_600_000 }
    expect(judge(answered(500), old)).toMatchObject({ kind: 'retry' })
    expect(judge(answered(500), { ...old, queuedAt: old.queuedAt - 1 })).toEqual({
      kind: 'given_up',
      reason: 'status',
    })
  })

  test('of a queue that nobody has looked at for days is made once', () => {
    const late = { attempts: 1, queuedAt: NOW - 3 * DAY }
    expect(judge(answered(200), late)).toEqual({ kind: 'delivered' })
    expect(judge({ kind: 'unreachable', reason: 'network' }, late)).toMatchObject({
      kind: 'given_up',
    })
  })
})
