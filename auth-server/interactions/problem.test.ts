import { expect, test } from 'vitest'
import { describeWait } from './problem.ts'

test.each([
  [1, '1 second'],
  [59, '59 seconds'],
  [60, '1 minute'],
  [61, '2 minutes'],
  [900, '15 minutes'],
  [3540, '59 minutes'],
  [3541, '1 hour'],
  [7201, '3 hours'],
])('a wait of %d seconds is told as %s', (seconds, text) => {
  expect(describeWait(seconds)).toBe(text)
})
