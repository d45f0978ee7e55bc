import { expect, test } from 'vitest'
import { rememberWrong } from './wrong-secrets.ts'

function list(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `fingerprint ${index}`)
}

test('knows what was wrong for a client, and for no other', () => {
  const wrong = rememberWrong()
  wrong.add('api', 'old')
  expect(wrong.has('api', 'old')).toBe(true)
  expect(wrong.has('api', 'new')).toBe(false)
  expect(wrong.has('shop', 'old')).toBe(false)
})

test('forgets of one client what was sent least recently, and of others nothing', () => {
  const wrong = rememberWrong()
  wrong.add('shop', 'old')
  wrong.add('api', 'old')
  for (const one of list(99)) wrong.add('api', one)
  expect(wrong.has('api', 'old')).toBe(true)
  for (const one of list(199).slice(99, 198)) wrong.add('api', one)
  expect(wrong.has('api', 'old')).toBe(true)
  expect(list(199).filter((one) => wrong.has('api', one))).toHaveLength(99)
  expect(wrong.has('shop', 'old')).toBe(true)
})

test('keeps ten thousand in all, and what is still sent', () => {
  const wrong = rememberWrong()
  wrong.add('api', 'old')
  for (const client of list(300)) {
    for (const one of list(60)) wrong.add(client, one)
    expect(wrong.has('api', 'old')).toBe(true)
  }
  const kept = list(300).flatMap((client) => list(60).filter((one) => wrong.has(client, one)))
  expect(kept).toHaveLength(9999)
})
