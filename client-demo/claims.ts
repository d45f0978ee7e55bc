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

const HEADER_MEANINGS: Readonly<Record<string, string>> = {
  alg: 'how it is signed: the API accepts this and no other',
  typ: 'what it is, an access token: an ID token will not pass for one (RFC 9068)',
  kid: 'which of the server’s public keys checks it',
}

const CLAIM_MEANINGS: Readonly<Record<string, string>> = {
  iss: 'who issued it',
  sub: 'whom it is about: an id, which stays when a name changes',
  aud: 'where it is good, and nowhere else',
  exp: 'when it ends',
  iat: 'when it was issued',
  jti: 'its own number',
  client_id: 'which application holds it',
  scope: 'what that application may do for this person',
  roles: 'what this person is, for APIs that decide by role',
  sid: 'the sign-in session that it hangs on',
  grant_id: 'the consent that it hangs on',
  auth_time: 'when the person last signed in',
  acr: 'how sure that sign-in was',
  amr: 'by which means',
}

export function explainHeader(name: string): string {
  return HEADER_MEANINGS[name] ?? ''
}

export function explainClaim(name: string, claims: Readonly<Record<string, unknown>>): string {
  const meaning = CLAIM_MEANINGS[name] ?? ''
  if (name !== 'exp') return meaning
  return `${meaning}: ${Number(claims['exp']) - Number(claims['iat'])} seconds after its issue`
}
