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

/** ISO 8601 in UTC. */
export function formatTime(milliseconds: number): string {
  return new Date(milliseconds).toISOString()
}
