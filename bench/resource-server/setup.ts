/** What every contender is told and has to answer. */
export interface Setup {
  readonly algorithm: Algorithm
  readonly issuer: string
  readonly jwksUri: string
  readonly audience: string
  readonly scope: string
}

export type Algorithm = (typeof ALGORITHMS)[number]

export const ALGORITHMS = ['RS256', 'ES256', 'EdDSA'] as const
export const AUDIENCE = 'https://notes.example'
export const SCOPE = 'notes:read'
export const PATH = '/secret'
export const ANSWER = { secret: 'the answer is forty-two' } as const

/** Whether the `scope` claim of a token holds the scope: what each contender's handler asks. */
export function hasScope(claim: unknown, scope: string): boolean {
  return typeof claim === 'string' && claim.split(' ').includes(scope)
}

/** What a verifier has to know. */
export function pickExpectations({ issuer, audience }: Setup) {
  return { issuer, audience }
}
