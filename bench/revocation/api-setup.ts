/** What it is told. */
export interface ApiSetup {
  readonly issuer: string
  readonly audience: string
  readonly scope: string
  readonly clientId: string
  readonly clientSecret: string
  readonly receiver: string
  readonly staleAfterSeconds: number
  readonly youngSeconds: number
  /** Whether it follows from the start on. */
  readonly follows: boolean
}

/** A route for each answer to a stale view, under the name of it. */
export type Rule = (typeof RULES)[number]

export const RULES = ['young', 'closed', 'introspect', 'open'] as const

/** What the other side reads. */
export interface ApiAddress {
  readonly port: number
  readonly control: number
}

/** How it came to know what is revoked. */
export interface Followed {
  readonly milliseconds: number
  readonly entries: number
}

/** The kind of refusal, for who measures. */
export const REFUSAL_HEADER = 'x-refusal'
