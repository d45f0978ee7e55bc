import { expect, test } from 'vitest'
import { createSessions } from './sessions.ts'

const person = { subject: 'acc_1', name: 'Ann', username: undefined }
const sid = 'sid_1'
const tokens = { accessToken: 'a', refreshToken: undefined, expiresAt: 0 }

test('the thousand sessions used last are kept, and no more', () => {
  const sessions = createSessions({ now: () => 0 })
  const ids = Array.from({ length: 1000 }, () => sessions.begin({ person, sid, tokens }))
  const [first = '', second = ''] = ids
  expect(new Set(ids).size).toBe(1000)
  sessions.find(first)
  sessions.begin({ person, sid, tokens })
  expect(sessions.find(first)?.person).toBe(person)
  expect(sessions.find(second)).toBeUndefined()
})

test('a sign-in that is over takes its sessions with it, and no others', () => {
  const sessions = createSessions({ now: () => 0 })
  const [first, second, other, nameless] = [sid, sid, 'sid_2', undefined].map((name) =>
    sessions.begin({ person, sid: name, tokens }),
  )
  sessions.endSignIn(sid)
  const left = [first, second, other, nameless].map((id) => sessions.find(id ?? '') !== undefined)
  expect(left).toEqual([false, false, true, true])
})

test('a sign-in that was over before it was finished begins no session', () => {
  const sessions = createSessions({ now: () => 0 })
  sessions.endSignIn(sid)
  expect(sessions.find(sessions.begin({ person, sid, tokens }))).toBeUndefined()
  expect(sessions.find(sessions.begin({ person, sid: 'sid_2', tokens }))).toBeDefined()
})
