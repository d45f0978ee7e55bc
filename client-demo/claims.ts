import { conceal } from './conceal.ts'
import type { Fact } from './report.ts'

/** The parts of a JWT, unverified: for showing, never for deciding. */
export function decodeJwt(token: string): {
  readonly header: Readonly<Record<string, unknown>>
  readonly claims: Readonly<Record<string, unknown>>
} {
  const [header = '', claims = ''] = token.split('.')
  return { header: decodePart(header), claims: decodePart(claims) }
}

export function encodePart(part: Readonly<Record<string, unknown>>): string {
  return Buffer.from(JSON.stringify(part)).toString('base64url')
}

function decodePart(part: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(part, 'base64url').toString('utf8')) as Record<string, unknown>
}

/** What members of headers and claims mean, best known first. */
export const MEANINGS: Readonly<Record<string, string>> = {
  alg: 'how it is signed: the API accepts this and no other',
  typ: 'an access token (RFC 9068): an ID token will not pass for one',
  kid: 'which of the server’s public keys checks it',
  iss: 'who issued it',
  sub: 'whom it is about: an id that stays when a name changes',
  aud: 'where it is good, and nowhere else',
  client_id: 'which application holds it',
  scope: 'what that application may do for this person',
  username: 'the name that this person types',
  user: 'the name of who has the key',
  client: 'the name of the service that calls',
  authorized: 'that it may: the API wants to read it',
  roles: 'what this person is, for APIs that decide by role',
  iat: 'when it was issued',
  exp: 'when it ends',
  auth_time: 'when the person last signed in',
  acr: 'how sure the server is of that',
  amr: 'by which means',
  sid: 'the sign-in session that it hangs on',
  grant_id: 'the consent that it hangs on',
  act: 'who acts for this person',
  cnf: 'the key that it is bound to',
  jti: 'its own number',
}

/** The members of a header or a set of claims, best known first, each with what it means. */
export function explainMembers(members: Readonly<Record<string, unknown>>): Fact[] {
  const known = Object.keys(MEANINGS)
  const rank = (name: string) => (known.includes(name) ? known.indexOf(name) : known.length)
  return Object.entries(members)
    .toSorted(([one], [other]) => rank(one) - rank(other))
    .map(([name, value]) => ({
      name,
      value: conceal(name, value),
      meaning: `${explain(name, value)}${addTime(name, value)}`,
    }))
}

function explain(name: string, value: unknown): string {
  // What RFC 9068 says holds of no other type.
  if (name === 'typ' && value !== 'at+jwt') return 'a JWT'
  return MEANINGS[name] ?? ''
}

const TIMES = new Set(['iat', 'exp', 'auth_time'])
const CLOCK = new Intl.DateTimeFormat('en-GB', { timeStyle: 'medium', timeZone: 'UTC' })

function addTime(name: string, value: unknown): string {
  if (!TIMES.has(name) || typeof value !== 'number') return ''
  return `: ${CLOCK.format(value * 1000)} UTC`
}
