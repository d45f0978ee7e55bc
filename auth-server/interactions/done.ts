/**
 * What the page of an account says after something was ended there. Its address then has a word of ours,
 * and nothing of what was ended: whoever makes somebody follow such a link has them read one of these
 * sentences, and no text of their own.
 */
export const DONE_TEXTS = {
  session: 'You are signed out of that browser.',
  others: 'You are signed out everywhere else.',
  app: 'The access of that app is removed.',
  key: 'That API key is revoked.',
} as const

export type Done = keyof typeof DONE_TEXTS

/** `value`: of the parameter in the query. */
export function readDone(value: unknown): Done | undefined {
  return typeof value === 'string' && Object.hasOwn(DONE_TEXTS, value) ? (value as Done) : undefined
}
