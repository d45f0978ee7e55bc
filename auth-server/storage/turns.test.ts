import { expect, test, vi } from 'vitest'
import { createTurns } from './turns.ts'

/** Work that ends when it is told to. */
function createWork() {
  const { promise, resolve } = Promise.withResolvers<void>()
  const begun: string[] = []
  return { begun, end: resolve, named: (name: string) => async () => (begun.push(name), promise) }
}

test('what names the same goes one after the other, and what does not goes at once', async () => {
  const takeTurn = createTurns()
  const first = createWork()
  const then = createWork()
  const done = [
    takeTurn(['a', 'b'], first.named('one')),
    takeTurn(['b', 'c'], then.named('two')),
    takeTurn(['d'], first.named('other')),
    takeTurn(['c', 'a'], then.named('three')),
  ]
  await vi.waitFor(() => expect(first.begun).toEqual(['one', 'other']))
  expect(then.begun).toEqual([])
  first.end()
  await vi.waitFor(() => expect(then.begun).toEqual(['two']))
  then.end()
  await Promise.all(done)
  expect(then.begun).toEqual(['two', 'three'])
})

test('work that fails holds nobody up, and its error is for its own caller', async () => {
  const takeTurn = createTurns()
  const failed = takeTurn(['a'], async () => Promise.reject(new Error('mine')))
  const after = takeTurn(['a'], async () => 'done')
  await expect(failed).rejects.toThrow('mine')
  await expect(after).resolves.toBe('done')
})

test('a crowd is refused at once, and who waits too long after two seconds', async () => {
  const takeTurn = createTurns()
  const work = createWork()
  const first = takeTurn(['a'], work.named('first'))
  const crowd = Array.from({ length: 150 }, () => takeTurn(['a'], async () => 'done'))
  const startedAt = performance.now()
  await expect(crowd.at(-1)).rejects.toMatchObject({ code: 'busy' })
  expect(performance.now() - startedAt).toBeLessThan(500)
  const outcomes = await Promise.allSettled(crowd)
  expect(performance.now() - startedAt).toBeLessThan(3000)
  expect(outcomes.every(({ status }) => status === 'rejected')).toBe(true)
  // Those that gave up keep their place for nobody, and the order holds all the same.
  const next = takeTurn(['a'], async () => work.begun.push('next'))
  expect(work.begun).toEqual(['first'])
  work.end()
  await Promise.all([first, next])
  expect(work.begun).toEqual(['first', 'next'])
})
