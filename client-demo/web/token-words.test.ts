import { expect, test } from 'vitest'
import { encodePart } from '../claims.ts'
import { describeToken } from './token-words.ts'

const LONG = 'aB3_xYz-7Kq0LmN9pRs5TuVwXyZ12345'

test.each(['sid', 'grant_id', 'jti', 'nonce', 'a_claim_of_theirs'])(
  'shows of %s no more than the terminal does',
  (name) => {
    const claims = { iss: 'https://id.example', [name]: LONG, cnf: { jkt: LONG }, list: [LONG] }
    const token = `${encodePart({ alg: 'ES256', typ: 'JWT' })}.${encodePart(claims)}.c2ln`
    const words = describeToken(token)
    expect(words?.claims.find((claim) => claim.name === name)?.value).toBe('aB3_xYz-7Kq0…')
    expect(words?.claims.find((claim) => claim.name === 'iss')?.value).toBe('https://id.example')
    expect(JSON.stringify(words)).not.toContain(LONG.slice(0, 13))
  },
)

test('shows times and lists as people read them', () => {
  const claims = { aud: ['https://a.example/', 'https://b.example/'], exp: 1_795_733_589 }
  const token = `${encodePart({ alg: 'ES256', typ: 'at+jwt' })}.${encodePart(claims)}.c2ln`
  expect(describeToken(token)?.claims).toMatchObject([
    { name: 'aud', value: 'https://a.example/, https://b.example/' },
    { name: 'exp', value: '26 Nov 2026, 22:53:09 UTC' },
  ])
})
