import { expect, onTestFinished, test, vi } from 'vitest'
import { createGuessThrottle, type GuessLimits } from './throttle.ts'

const MANY = { attempts: 1000, windowSeconds: 60 }

function start(limits: Partial<GuessLimits> = {}) {
  const throttle = createGuessThrottle({
    perAccount: MANY,
    perAddress: MANY,
    overall: MANY,
    ...limits,
  })
  /** Whether one more wrong guess was let through. */
  const guess = async (subject: string, address: string) =>
    !('retryAfterSeconds' in (await throttle.begin(subject, address)))
  return { throttle, guess }
}

test('stops guesses at one subject from one address, and lets others go on', async () => {
  const { guess } = start({ perAccount: { attempts: 2, windowSeconds: 60 } })
  const answers = []
  for (let count = 0; count < 3; count += 1) answers.push(await guess('alice', '192.0.2.1'))
  expect(answers).toEqual([true, true, false])
  expect(await guess('alice', '192.0.2.2')).toBe(true)
  expect(await guess('bob', '192.0.2.1')).toBe(true)
})

test('lets no more through when all come at once', async () => {
  const { guess } = start({ perAccount: { attempts: 3, windowSeconds: 60 } })
  const answers = await Promise.all(Array.from({ length: 50 }, () => guess('alice', '192.0.2.1')))
  expect(answers.filter(Boolean)).toHaveLength(3)
})

test('stops guesses at one subject from many addresses', async () => {
  const { guess } = start({ perAccount: { attempts: 1, windowSeconds: 60 } })
  const answers = []
  for (let host = 1; host <= 11; host += 1) answers.push(await guess('alice', `192.0.2.${host}`))
  expect(answers.filter(Boolean)).toHaveLength(10)
  expect(answers.at(-1)).toBe(false)
})

test('stops guesses at many subjects from one address, or one IPv6 network', async () => {
  const { guess } = start({ perAddress: { attempts: 2, windowSeconds: 60 } })
  expect(await guess('a', '2001:db8::1')).toBe(true)
  expect(await guess('b', '2001:0db8:0:ff::ffff')).toBe(true)
  expect(await guess('c', '2001:db8:0:1:1::')).toBe(false)
  expect(await guess('c', '2001:db8:0:100::1')).toBe(true)
  expect(await guess('a', '192.0.2.1')).toBe(true)
  expect(await guess('b', '::ffff:192.0.2.1')).toBe(true)
  expect(await guess('c', '192.0.2.1')).toBe(false)
})

test('stops guesses at the whole server', async () => {
  const { guess } = start({ overall: { attempts: 2, windowSeconds: 60 } })
  expect(await guess('a', '192.0.2.1')).toBe(true)
  expect(await guess('b', '192.0.2.2')).toBe(true)
  expect(await guess('c', '192.0.2.3')).toBe(false)
})

test('does not count what is forgiven, nor what another limit refused', async () => {
  const { throttle, guess } = start({
    perAccount: { attempts: 1, windowSeconds: 60 },
    perAddress: { attempts: 2, windowSeconds: 60 },
  })
  for (let count = 0; count < 5; count += 1) {
    const right = await throttle.begin('alice', '192.0.2.1')
    if ('retryAfterSeconds' in right) throw new Error('throttled')
    await right.forgive()
  }
  expect(await guess('alice', '192.0.2.1')).toBe(true)
  for (let count = 0; count < 5; count += 1) {
    expect(await guess('alice', '192.0.2.1')).toBe(false)
  }
  expect(await guess('bob', '192.0.2.1')).toBe(true)
})

test('keeps nothing of the names that a refused address makes up', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  const { guess } = start({ perAddress: { attempts: 2, windowSeconds: 60 } })
  // A counter is kept until its timer runs out.
  const countKept = async (name: string, address = '192.0.2.1') => {
    const before = vi.getTimerCount()
    await guess(name, address)
    return vi.getTimerCount() - before
  }
  await guess('a', '192.0.2.1')
  expect(await countKept('b')).toBeGreaterThan(0)
  for (let count = 0; count < 100; count += 1) expect(await countKept(`name-${count}`)).toBe(0)
  expect(await countKept('c', '192.0.2.2')).toBeGreaterThan(0)
})

test('says how long to wait, and peeking counts nothing', async () => {
  const { throttle } = start({ perAccount: { attempts: 1, windowSeconds: 60 } })
  for (let count = 0; count < 5; count += 1) {
    expect(await throttle.peek('alice', '192.0.2.1')).toBeUndefined()
  }
  await throttle.begin('alice', '192.0.2.1')
  const refused = await throttle.begin('alice', '192.0.2.1')
  expect(refused).toEqual({ retryAfterSeconds: expect.any(Number) })
  const { retryAfterSeconds } = (await throttle.peek('alice', '192.0.2.1')) ?? {}
  expect(retryAfterSeconds).toBeGreaterThan(0)
  expect(retryAfterSeconds).toBeLessThanOrEqual(60)
})
