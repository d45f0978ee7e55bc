import { expect, test } from 'vitest'
import { SIGNED_OUT_BY_SERVER } from './arrows.ts'
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
  sessions.endSignIn(sid, [])
  const left = [first, second, other, nameless].map((id) => sessions.find(id ?? '') !== undefined)
  expect(left).toEqual([false, false, true, true])
})

test('a sign-in that was over before it was finished begins no session', () => {
  const sessions = createSessions({ now: () => 0 })
  sessions.endSignIn(sid, [])
  expect(sessions.find(sessions.begin({ person, sid, tokens }))).toBeUndefined()
  expect(sessions.find(sessions.begin({ person, sid: 'sid_2', tokens }))).toBeDefined()
})

test('what was sent in a session that others have ended is gone, also what is said in it still', () => {
  const sessions = createSessions({ now: () => 0 })
  const id = sessions.begin({ person, sid, tokens })
  const session = sessions.find(id)
  const [said] = SIGNED_OUT_BY_SERVER
  if (!session || !said) throw new TypeError('there is a session, and an arrow')
  const arrow = { ...said, title: 'POST /notes', fields: [{ name: 'text', value: 'a secret' }] }
  session.trace.append(Array.from({ length: 100 }, () => arrow))
  sessions.endSignIn(sid, SIGNED_OUT_BY_SERVER)
  session.trace.append([arrow])
  const { trace, lastPlace } = sessions.findSignedOut(id) ?? {}
  const arrows = trace?.list() ?? []
  expect(trace?.id).not.toBe(session.trace.id)
  expect([arrows.length, lastPlace]).toEqual([80, 102])
  expect(arrows.map(({ place }) => place)).toEqual(Array.from({ length: 80 }, (_, at) => at + 23))
  expect(arrows.slice(-3).map(({ title }) => title)).toEqual([
    'POST /notes',
    'POST /backchannel-logout',
    '200 OK',
  ])
  expect(JSON.stringify(arrows)).not.toContain('a secret')
  sessions.end(id)
  expect(sessions.findSignedOut(id)).toBeUndefined()
})

test('what is left is kept of the hundred sessions that were ended last', () => {
  const sessions = createSessions({ now: () => 0 })
  const ids = Array.from({ length: 101 }, () => sessions.begin({ person, sid, tokens }))
  sessions.endSignIn(sid, [])
  const kept = ids.map((id) => sessions.findSignedOut(id) !== undefined)
  expect(kept).toEqual([false, ...Array.from({ length: 100 }, () => true)])
})
