import { expect, test } from 'vitest'
import { createSessions } from './sessions.ts'

const person = { subject: 'acc_1', name: 'Ann', username: undefined }
const tokens = { accessToken: 'a', refreshToken: undefined, expiresAt: 0 }

test('the thousand sessions used last are kept, and no more', () => {
  const sessions = createSessions({ now: () => 0 })
  const ids = Array.from({ length: 1000 }, () => sessions.begin(person, tokens))
  const [first = '', second = ''] = ids
  expect(new Set(ids).size).toBe(1000)
  sessions.find(first)
  sessions.begin(person, tokens)
  expect(sessions.find(first)?.person).toBe(person)
  expect(sessions.find(second)).toBeUndefined()
})
