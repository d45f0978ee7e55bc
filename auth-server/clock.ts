/** The time, as a collaborator: whoever needs it is handed one, so that tests can turn it. */
export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number
}

export const systemClock: Clock = { now: () => Date.now() }

const TIME = /^(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?)(Z|[+-]\d\d:\d\d)?)?$/

/** Reads a time in ISO 8601, or the start of a day; one without a zone is UTC. */
export function parseTime(text: string): number | undefined {
  const [, day, time = '00:00', zone = 'Z'] = TIME.exec(text) ?? []
  const milliseconds = day === undefined ? NaN : Date.parse(`${day}T${time}${zone}`)
  return Number.isNaN(milliseconds) ? undefined : milliseconds
}

/** Reads the date of an HTTP header, in the form that is sent today (RFC 9110 §5.6.7). */
export function parseHttpDate(text: string): number | undefined {
  if (!/^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/.test(text)) return undefined
  const milliseconds = Date.parse(text)
  return Number.isNaN(milliseconds) ? undefined : milliseconds
}

/** ISO 8601 in UTC. */
export function formatTime(milliseconds: number): string {
  return new Date(milliseconds).toISOString()
}
