import { setTimeout as wait } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { PortreeveError } from '../errors.ts'
import { createBreaker } from './breaker.ts'

const TIMEOUT_MS = 600

const open = () =>
  createBreaker((error) =>
    error instanceof RangeError ? new PortreeveError('busy', 'gone', { cause: error }) : undefined,
  )
const succeed = async () => 'answer'
const fail = async () => {
  throw new RangeError('refused')
}
const timeOut = async () => {
  await wait(TIMEOUT_MS)
  throw new RangeError('no answer')
}
const GONE = { code: 'busy', message: 'gone' }

describe('a store that fails', () => {
  test('is tried by one at a time, and whoever comes meanwhile is refused at once', async () => {
    const breaker = open()
    await expect(breaker.run(fail)).rejects.toMatchObject(GONE)
    const trial = Promise.withResolvers<string>()
    const trying = breaker.run(() => trial.promise)
    await expect(breaker.run(succeed)).rejects.toMatchObject(GONE)
    trial.resolve('back')
    expect(await trying).toBe('back')
    expect(await breaker.run(succeed)).toBe('answer')
  })

  test('is tried by the next at once, if it failed at once', async () => {
    const breaker = open()
    await expect(breaker.run(fail)).rejects.toMatchObject(GONE)
    expect(await breaker.run(succeed)).toBe('answer')
  })

  test('is waited for once by whoever needs it several times', async () => {
    const breaker = open()
    const startedAt = performance.now()
    for (let count = 0; count < 4; count += 1) {
      await expect(breaker.run(timeOut)).rejects.toMatchObject(GONE)
    }
    expect(performance.now() - startedAt).toBeLessThan(2 * TIMEOUT_MS)
  })

  test('does not fail by what is the fault of the statement', async () => {
    const breaker = open()
    const wrong = async () => {
      throw new TypeError('a mistake')
    }
    await expect(breaker.run(wrong)).rejects.toThrow('a mistake')
    const trial = breaker.run(() => wait(20, 'slow'))
    expect(await breaker.run(succeed)).toBe('answer')
    expect(await trial).toBe('slow')
  })
})
