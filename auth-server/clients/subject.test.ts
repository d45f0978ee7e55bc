import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { ACCOUNT_ID_PREFIX } from '../config/built-in.ts'
import { createSubjects } from './subject.ts'

const ACCOUNT = 'acc_x'
const client = {
  id: 'app',
  applicationType: 'web',
  subjectType: 'pairwise',
  redirectUris: ['https://app.example/cb', 'https://app.example/other'],
} as const

describe('what a client knows a person by', () => {
  test('is the account where its subjects are public', () => {
    const subjectOf = createSubjects(randomBytes(32))
    expect(subjectOf({ ...client, subjectType: 'public' }, ACCOUNT)).toBe(ACCOUNT)
    expect(subjectOf({ ...client, subjectType: undefined }, ACCOUNT)).toBe(ACCOUNT)
  })

  test('is made of the key, the sector and the account, and of nothing else', () => {
    const key = randomBytes(32)
    const subjectOf = createSubjects(key)
    const sub = subjectOf(client, ACCOUNT)
    const sectorIdentifierUri = 'https://app.example/uris.json'
    const elsewhere = { ...client, redirectUris: ['https://x.example/'], sectorIdentifierUri }
    expect(createSubjects(Buffer.from(key))({ ...elsewhere, id: 'other' }, ACCOUNT)).toBe(sub)
    const others = [
      createSubjects(randomBytes(32))(client, ACCOUNT),
      subjectOf(client, 'acc_y'),
      subjectOf({ ...client, redirectUris: ['https://app.example.org/'] }, ACCOUNT),
      subjectOf({ ...client, sectorIdentifierUri: 'https://org.example/' }, ACCOUNT),
    ]
    expect(new Set([sub, ...others]).size).toBe(5)
  })

  test('is never like an account, nor like the id of a client', () => {
    const sub = createSubjects(randomBytes(32))(client, ACCOUNT)
    expect(sub).not.toMatch(new RegExp(`^${ACCOUNT_ID_PREFIX}`))
    expect(sub).toMatch(/^pairwise:[\w-]{43}$/)
    // OpenID Connect Core §2: 255 ASCII characters at most.
    expect(sub.length).toBeLessThan(256)
  })

  test('is nothing where there is no sector', () => {
    const subjectOf = createSubjects(randomBytes(32))
    const lost = { ...client, redirectUris: ['https://a.example/', 'https://b.example/'] }
    expect(() => subjectOf(lost, ACCOUNT)).toThrow('the client app has no sector')
  })
})
